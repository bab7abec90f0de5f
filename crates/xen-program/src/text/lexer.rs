//! Text into tokens.
//!
//! A line ends a step, unless a bracket is open. `#` starts a remark.

use std::string::String;
use std::vec::Vec;

use super::{Position, TextError, TextFault};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Number(u64),
    /// One of the marks of the language.
    Mark(&'static str),
    /// The rest of a line behind a `:`.
    Title(String),
    EndOfLine,
}

const MARKS: [&str; 15] = ["&[", "->", "(", ")", "[", "]", "{", "}", ",", ";", "+", "-", "=", "@", "&"];

/// A token and where it starts.
pub(super) type Placed = (Token, Position);

pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, TextError> {
    let (mut tokens, mut depth) = (Vec::new(), 0_usize);
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.split('#').next().unwrap_or_default();
        let mut rest = content;
        while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
            rest = &rest[start..];
            let position = Position { line, column: content.len() - rest.len() + 1 };
            let (token, behind) = token(rest).ok_or_else(|| unknown(rest, position))?;
            match token {
                Token::Mark("&[" | "(" | "[") => depth += 1,
                Token::Mark(")" | "]") => depth = depth.saturating_sub(1),
                _ => {}
            }
            rest = behind;
            tokens.push((token, position));
        }
        if depth == 0 {
            tokens.push((Token::EndOfLine, Position { line, column: content.len() + 1 }));
        }
    }
    let end = Position { line: text.lines().count() + 1, column: 1 };
    tokens.push((Token::EndOfLine, end));
    Ok(tokens)
}

fn unknown(rest: &str, position: Position) -> TextError {
    TextError { position, fault: TextFault::Character(rest.chars().next().unwrap_or_default()) }
}

/// The token that `text` starts with, and what follows it; `text` starts with no blank.
fn token(text: &str) -> Option<(Token, &str)> {
    if let Some(title) = text.strip_prefix(':') {
        return Some((Token::Title(title.trim().into()), ""));
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    if end == 0 {
        let mark = MARKS.into_iter().find(|mark| text.starts_with(mark))?;
        return Some((Token::Mark(mark), &text[mark.len()..]));
    }
    let (word, rest) = text.split_at(end);
    let token = if word.starts_with(|c: char| c.is_ascii_digit()) {
        Token::Number(number(word)?)
    } else {
        Token::Word(word.into())
    };
    Some((token, rest))
}

fn number(word: &str) -> Option<u64> {
    let digits = word.replace('_', "");
    match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => digits.parse().ok(),
    }
}
