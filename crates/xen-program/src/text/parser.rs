//! Tokens into programs.

use std::string::String;
use std::vec::Vec;

use hypercall::ENTRIES_PER_TABLE;

use super::lexer::{Placed, Token, tokens};
use super::names;
use super::{Case, CaseStep, Cases, Position, TextError, TextFault, Unproved};
use crate::arena::{FIRST_PAGE, FIRST_WINDOW, WINDOWS, address_under};
use crate::expect::{Expectation, Expected, Of};
use crate::frame::{Frame, PAGES, Table};
use crate::machine::Interrupt;
use crate::numbers::UNTOUCHED;
use crate::outcome::Place;
use crate::program::{Buffer, Program, Step, Value};
use crate::record::Refusal;

type Parsed<T> = Result<T, TextError>;

/// The registers of a hypercall's arguments, in order.
pub(super) const REGISTERS: [&str; 5] = ["rdi", "rsi", "rdx", "r10", "r8"];

/// Reads the text form (see the module).
///
/// # Errors
/// The first place where the text is none, or a step that no executor would take.
pub fn parse(text: &str) -> Result<Cases, TextError> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let mut cases = Cases::default();
    while let Some(token) = parser.peek() {
        match token {
            Token::EndOfLine => parser.at += 1,
            Token::Word(word) if word == "case" => {
                let (name, title) = parser.header()?;
                cases.cases.push(Case { name, title, steps: Vec::new() });
            }
            Token::Word(word) if word == "unproved" => {
                let (name, reason) = parser.header()?;
                cases.unproved.push(Unproved { name, reason });
            }
            _ => {
                let step = parser.line()?;
                if cases.cases.is_empty() {
                    cases.cases.push(Case::default());
                }
                cases.cases.last_mut().into_iter().for_each(|case| case.steps.push(step.clone()));
            }
        }
    }
    Ok(cases)
}

struct Parser<'a> {
    tokens: &'a [Placed],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn position(&self) -> Position {
        let last = self.tokens.last().map_or(Position { line: 1, column: 1 }, |(_, position)| *position);
        self.tokens.get(self.at).map_or(last, |(_, position)| *position)
    }

    fn error<T>(&self, fault: TextFault) -> Parsed<T> {
        Err(TextError { position: self.position(), fault })
    }

    fn expected<T>(&self, what: &'static str) -> Parsed<T> {
        self.error(TextFault::Expected(what))
    }

    /// Takes the mark, if it is next.
    fn take(&mut self, mark: &str) -> bool {
        let found = self.peek().is_some_and(|token| is_mark(token, mark));
        self.at += usize::from(found);
        found
    }

    fn mark(&mut self, mark: &'static str) -> Parsed<()> {
        if self.take(mark) { Ok(()) } else { self.expected(mark) }
    }

    fn word(&mut self, what: &'static str) -> Parsed<String> {
        let Some(Token::Word(word)) = self.peek() else { return self.expected(what) };
        let word = word.clone();
        self.at += 1;
        Ok(word)
    }

    fn header(&mut self) -> Parsed<(String, String)> {
        self.at += 1;
        let name = match self.peek() {
            Some(Token::Number(number)) => std::format!("{number}"),
            Some(Token::Word(word)) => word.clone(),
            _ => return self.expected("the case's name"),
        };
        self.at += 1;
        let Some(Token::Title(title)) = self.peek() else { return self.expected("`:` and the rest of the line") };
        let title = title.clone();
        self.at += 1;
        Ok((name, title))
    }

    fn line(&mut self) -> Parsed<CaseStep> {
        let start = self.position();
        let step = self.step()?;
        let travels = Program { steps: [step.clone()].into() }.to_bytes();
        if let Err(malformed) = Program::from_bytes(&travels) {
            return Err(TextError { position: start, fault: TextFault::TooLarge(malformed) });
        }
        let mut expected = Vec::new();
        if self.take("->") {
            expected.push(self.expectation(&step)?);
            while self.take(",") {
                expected.push(self.expectation(&step)?);
            }
        }
        if self.peek() != Some(&Token::EndOfLine) {
            return self.expected("the end of the line, `->` or `,`");
        }
        self.at += 1;
        Ok(CaseStep { step, expected })
    }

    fn step(&mut self) -> Parsed<Step> {
        let interrupt = if self.take("@") { Some(self.interrupt()?) } else { None };
        let position = self.position();
        let name = self.word("a step")?;
        self.mark("(")?;
        let step = match (name.as_str(), interrupt) {
            ("store", None) => Step::Store { address: self.value()?, word: self.second()? },
            ("exchange", None) => Step::Exchange { address: self.value()?, word: self.second()? },
            ("load", None) => Step::Load { address: self.value()? },
            ("probe", None) => Step::Probe(self.observed()?),
            ("call", _) => {
                let number = self.number()? as u32;
                let args = if self.take(",") { self.arguments()? } else { Vec::new() };
                Step::Call { interrupt, number, args }
            }
            _ => match names::number_of(names::HYPERCALLS, &name) {
                Some(number) => Step::Call { interrupt, number: number as u32, args: self.arguments()? },
                None => return Err(TextError { position, fault: TextFault::Unknown(name, "a step") }),
            },
        };
        self.mark(")")?;
        Ok(step)
    }

    fn interrupt(&mut self) -> Parsed<Interrupt> {
        match self.word("`pending` or `step`")?.as_str() {
            "pending" => Ok(Interrupt::Pending),
            "step" => Ok(Interrupt::Step),
            other => self.error(TextFault::Unknown(other.into(), "an interruption")),
        }
    }

    fn arguments(&mut self) -> Parsed<Vec<Value>> {
        let mut args = Vec::new();
        while !self.peek().is_some_and(|token| is_mark(token, ")")) {
            if !args.is_empty() {
                self.mark(",")?;
            }
            args.push(self.value()?);
        }
        Ok(args)
    }

    fn second(&mut self) -> Parsed<Value> {
        self.mark(",")?;
        self.value()
    }

    fn value(&mut self) -> Parsed<Value> {
        match self.peek() {
            Some(Token::Mark("&[")) => return self.buffer(false),
            Some(Token::Word(word)) if word == "edge" => {
                self.at += 1;
                return self.buffer(true);
            }
            Some(Token::Word(word)) if word == "done" => {
                self.at += 1;
                return Ok(Value::Buffer(Buffer::new([UNTOUCHED.into()].into())));
            }
            _ => {}
        }
        let position = self.position();
        let Expected { of, add } = self.sum()?;
        Ok(match of {
            Of::Number => Value::Literal(add),
            Of::Mfn(frame) if add == 0 => Value::Mfn(frame),
            Of::Page(frame) => Value::Page(frame, add),
            Of::Word(frame, index, flipped) if add == 0 => Value::Word(frame, index, flipped),
            _ => return Err(TextError { position, fault: TextFault::Expected("a value that a program can say") }),
        })
    }

    fn buffer(&mut self, edge: bool) -> Parsed<Value> {
        self.mark("&[")?;
        let mut words = Vec::new();
        while !self.take("]") {
            if !words.is_empty() && !self.take(";") {
                self.mark(",")?;
            }
            words.push(self.value()?);
        }
        Ok(Value::Buffer(Buffer { words, edge }))
    }

    fn number(&mut self) -> Parsed<u64> {
        let position = self.position();
        match self.sum()? {
            Expected { of: Of::Number, add } => Ok(add),
            _ => Err(TextError { position, fault: TextFault::Expected("a number") }),
        }
    }

    /// A sum of numbers and at most one thing of another kind.
    fn sum(&mut self) -> Parsed<Expected> {
        let mut sum = self.term()?;
        while self.take("+") {
            let Expected { of, add } = self.term()?;
            sum.add = sum.add.wrapping_add(add);
            match (sum.of, of) {
                (_, Of::Number) => {}
                (Of::Number, of) => sum.of = of,
                _ => return self.error(TextFault::Sum),
            }
        }
        Ok(sum)
    }

    fn term(&mut self) -> Parsed<Expected> {
        if self.take("-") {
            let number = self.term()?.add.wrapping_neg();
            return Ok(Expected { of: Of::Number, add: number });
        }
        if self.take("&") {
            let buffer = self.plain_number()? as usize;
            return Ok(Expected { of: Of::Buffer(buffer), add: 0 });
        }
        if let Some(Token::Number(number)) = self.peek() {
            let number = *number;
            self.at += 1;
            return Ok(number.into());
        }
        let position = self.position();
        let name = self.word("a value")?;
        let of = match name.as_str() {
            "xen" => Of::Xen,
            "masked" => Of::Masked,
            "home" => Of::Home,
            "mfn" | "pte" | "slot" | "word" | "va" => return self.function(&name),
            _ => match names::constant(&name) {
                Some(number) => return Ok(number.into()),
                None => return Err(TextError { position, fault: TextFault::Unknown(name, "a value") }),
            },
        };
        Ok(Expected { of, add: 0 })
    }

    fn function(&mut self, name: &str) -> Parsed<Expected> {
        self.mark("(")?;
        let expected = match name {
            "mfn" => Expected { of: Of::Mfn(self.frame()?), add: 0 },
            "pte" => {
                let frame = self.frame()?;
                self.mark(",")?;
                Expected { of: Of::Page(frame), add: self.number()? }
            }
            "slot" => {
                let (frame, index) = self.place()?;
                Expected { of: Of::Page(frame), add: 8 * index as u64 }
            }
            "word" => {
                let (frame, index) = self.place()?;
                let flipped = if self.take(",") { self.number()? } else { 0 };
                Expected { of: Of::Word(frame, index, flipped), add: 0 }
            }
            _ => self.translated_address()?.into(),
        };
        self.mark(")")?;
        Ok(expected)
    }

    fn translated_address(&mut self) -> Parsed<u64> {
        match self.place()? {
            (Frame::Table(table), index) => Ok(address_under(table, index)),
            _ => self.expected("a page, a window, or an entry of `l1`, `l2`, `l3` or `root`"),
        }
    }

    fn frame(&mut self) -> Parsed<Frame> {
        let position = self.position();
        let name = self.word("a frame")?;
        names::frame(&name).ok_or(TextError { position, fault: TextFault::Unknown(name, "a frame") })
    }

    fn observed(&mut self) -> Parsed<Frame> {
        let position = self.position();
        let fault = TextFault::Expected("a page or a table");
        self.frame()?.observed().and_then(|code| Frame::from_code(code as u8)).ok_or(TextError { position, fault })
    }

    /// A word of an observed frame; a page or window alone stands for its L1 entry.
    fn place(&mut self) -> Parsed<(Frame, usize)> {
        if let Some(index) = self.home() {
            let home = (Frame::from(Table::L1), index);
            if !self.tokens.get(self.at + 1).is_some_and(|(token, _)| is_mark(token, "[")) {
                self.at += 1;
                return Ok(home);
            }
        }
        let frame = self.observed()?;
        self.mark("[")?;
        let index = self.index()?;
        self.mark("]")?;
        Ok((frame, index))
    }

    /// The L1 entry that the next word names.
    fn home(&self) -> Option<usize> {
        let Some(Token::Word(name)) = self.peek() else { return None };
        let page = names::numbered(name, "p", PAGES).map(|number| FIRST_PAGE + number);
        page.or_else(|| names::numbered(name, "w", WINDOWS).map(|number| FIRST_WINDOW + number))
    }

    fn index(&mut self) -> Parsed<usize> {
        if let Some(index) = self.home() {
            self.at += 1;
            return Ok(index);
        }
        let index = self.number()?;
        if index < ENTRIES_PER_TABLE as u64 { Ok(index as usize) } else { self.error(TextFault::Index(index)) }
    }

    fn plain_number(&mut self) -> Parsed<u64> {
        let Some(Token::Number(number)) = self.peek() else { return self.expected("a number") };
        let number = *number;
        self.at += 1;
        Ok(number)
    }

    fn expectation(&mut self, step: &Step) -> Parsed<Expectation> {
        let Some(Token::Word(word)) = self.peek() else { return self.answer_or_argument() };
        let word = word.clone();
        let simple = match word.as_str() {
            "stored" => Some(Expectation::Stored),
            "refused" => Some(Expectation::Refused(None)),
            "kept" => Some(Expectation::Kept),
            _ => None,
        };
        if let Some(simple) = simple {
            self.at += 1;
            return if simple == Expectation::Refused(None) { self.refused() } else { Ok(simple) };
        }
        match word.as_str() {
            "fault" | "probe" | "done" | "upcalls" | "upcall.entry" | "m2p" => self.special(&word, step),
            _ if word.starts_with("upcall.") || REGISTERS.contains(&word.as_str()) => self.register(&word),
            _ if self.home().is_some() || names::frame(&word).is_some_and(|frame| frame.observed().is_some()) => {
                self.memory()
            }
            _ => Ok(Expectation::Returns(self.sum()?)),
        }
    }

    fn answer_or_argument(&mut self) -> Parsed<Expectation> {
        let Expected { of: Of::Buffer(buffer), add: 0 } = self.sum_before_index()? else {
            return Ok(Expectation::Returns(self.sum()?));
        };
        self.mark("[")?;
        let word = self.number()? as usize;
        self.mark("]")?;
        self.mark("=")?;
        Ok(Expectation::Argument { buffer, word, value: self.sum()? })
    }

    /// `&k` before `[`; nothing is taken where there is none.
    fn sum_before_index(&mut self) -> Parsed<Expected> {
        if self.take("&") {
            let buffer = self.plain_number()? as usize;
            return Ok(Expected { of: Of::Buffer(buffer), add: 0 });
        }
        Ok(0.into())
    }

    fn refused(&mut self) -> Parsed<Expectation> {
        if !self.take("(") {
            return Ok(Expectation::Refused(None));
        }
        let position = self.position();
        let name = self.word("why")?;
        let refusal = Refusal::ALL.into_iter().find(|refusal| super::printer::refusal(*refusal) == name);
        let fault = TextFault::Unknown(name, "a refusal");
        let refusal = refusal.ok_or(TextError { position, fault })?;
        self.mark(")")?;
        Ok(Expectation::Refused(Some(refusal)))
    }

    fn special(&mut self, word: &str, step: &Step) -> Parsed<Expectation> {
        self.at += 1;
        match word {
            "fault" => {
                self.mark("(")?;
                let code = self.number()?;
                self.mark(")")?;
                Ok(Expectation::Fault(code))
            }
            "probe" => self.probe(),
            "done" => {
                self.mark("=")?;
                let buffer = done_buffer(step);
                if self.take("-") {
                    return Ok(Expectation::Untouched { buffer });
                }
                Ok(Expectation::Argument { buffer, word: 0, value: self.sum()? })
            }
            "upcalls" => {
                self.mark("=")?;
                Ok(Expectation::Interruptions(self.number()?))
            }
            "upcall.entry" => {
                self.mark("[")?;
                let word = self.number()? as usize;
                self.mark("]")?;
                self.mark("=")?;
                Ok(Expectation::EntryAtInterruption { word, value: self.sum()? })
            }
            _ => {
                self.mark("(")?;
                let frame = self.frame()?;
                self.mark(")")?;
                self.mark("=")?;
                Ok(Expectation::Memory { place: Place::MachineToPhysical(frame), word: self.sum()? })
            }
        }
    }

    fn probe(&mut self) -> Parsed<Expectation> {
        self.mark("(")?;
        let mut answers = Vec::new();
        while !self.take(")") {
            if !answers.is_empty() {
                self.mark(",")?;
            }
            answers.push(self.number()? as i64);
        }
        match answers.as_slice() {
            [writable] => Ok(Expectation::Probed { writable: *writable, levels: None }),
            [writable, levels @ ..] => match levels.try_into() {
                Ok(levels) => Ok(Expectation::Probed { writable: *writable, levels: Some(levels) }),
                Err(_) => self.expected("one answer, or five"),
            },
            [] => self.expected("one answer, or five"),
        }
    }

    fn register(&mut self, word: &str) -> Parsed<Expectation> {
        let (interrupted, name) = match word.strip_prefix("upcall.") {
            Some(name) => (true, name),
            None => (false, word),
        };
        let Some(register) = REGISTERS.iter().position(|register| *register == name) else {
            return self.error(TextFault::Unknown(name.into(), "a register"));
        };
        self.at += 1;
        self.mark("=")?;
        let value = self.sum()?;
        Ok(if interrupted {
            Expectation::RegisterAtInterruption { register, value }
        } else {
            Expectation::Register { register, value }
        })
    }

    fn memory(&mut self) -> Parsed<Expectation> {
        let (frame, index) = self.place()?;
        self.mark("=")?;
        Ok(Expectation::Memory { place: Place::Word(frame, index), word: self.sum()? })
    }
}

fn is_mark(token: &Token, mark: &str) -> bool {
    matches!(token, Token::Mark(found) if *found == mark)
}

/// The number of the buffer that the third register points at.
pub(super) fn done_buffer(step: &Step) -> usize {
    let Step::Call { args, .. } = step else { return 0 };
    args.iter().take(2).map(Value::buffers_inside).sum()
}
