//! A hypercall: issued as the program says it, and what it left behind.

use hypercall::RawCall;
use hypercall::abi::{HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_MULTICALL, MMUEXT_TLB_FLUSH_LOCAL};

use super::guard::Guard;
use super::world::NO_INDEX;
use super::{Runner, is_remapped};
use crate::arena::argument_address;
use crate::code::REGISTERS;
use crate::list::Mode;
use crate::machine::{Answer, Arm, Interrupt, Machine};
use crate::record::{CALLED, END, REFUSED, Record, Refusal};
use crate::wire::Sink;

const SELF: u64 = hypercall::DomId::SELF.number() as u64;
/// Words of a multicall's entry, and which of them holds the result.
const ENTRY_WORDS: usize = 8;
const RESULT: usize = 1;
/// Before what a change of the arguments, or of a register, is written down.
const CHANGED: u8 = 1;

impl<M: Machine> Runner<'_, M> {
    /// Issues a call, unless it must not be, and writes down what it came to.
    pub(super) fn call<S: Sink>(
        &mut self,
        interrupt: Option<Interrupt>,
        number: u32,
        args: [u64; REGISTERS],
        sink: &mut S,
    ) {
        let arm = interrupt.map_or_else(|| self.arm(), Arm::from);
        match self.issue(arm, RawCall { number, args }) {
            Ok(answer) => self.record(arm, number, args, &answer, sink),
            Err(refusal) => sink.bytes(&[REFUSED, refusal as u8]),
        }
    }

    fn issue(&mut self, arm: Arm, call: RawCall) -> Result<Answer, Refusal> {
        if self.written.missing.is_some() {
            return Err(Refusal::NoSuchFrame);
        }
        let loaded = Guard::new(self.world, self.written, self.base(), self.loaded).check(call.number, call.args)?;
        if self.leads_to_remapped(call.args) {
            self.flush();
        }
        let answer = self.machine.hypercall(call, arm).ok_or(Refusal::Unarmed)?;
        self.loaded = loaded;
        Ok(answer)
    }

    /// How a call is interrupted that does not say so itself.
    fn arm(&mut self) -> Arm {
        match self.mode {
            Mode::None => Arm::Off,
            Mode::Step => Arm::Step,
            Mode::Random => {
                self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                Arm::Random(self.seed >> 16)
            }
        }
    }

    /// Whether a register or an argument word may be a pointer whose meaning depends on the TLB.
    fn leads_to_remapped(&self, args: [u64; REGISTERS]) -> bool {
        let laid_out = || self.written.room.places().iter().flat_map(|place| place.first..place.first + place.words);
        args.into_iter().any(is_remapped) || laid_out().any(|index| is_remapped(self.written.word(index)))
    }

    fn record<S: Sink>(&mut self, arm: Arm, number: u32, args: [u64; REGISTERS], answer: &Answer, sink: &mut S) {
        let unspecified = matches!(arm, Arm::Random(_));
        sink.byte(CALLED);
        sink.signed(answer.value);
        for (index, (now, before)) in (0..).zip(answer.args.into_iter().zip(args)) {
            if now != before && !unspecified {
                sink.bytes(&[CHANGED, index]);
                sink.number(now);
            }
        }
        sink.byte(END);
        if matches!(arm, Arm::Pending | Arm::Step) {
            self.record_interruptions(answer, sink);
        } else {
            sink.number(0);
        }
        self.record_arguments(unspecified && number == HYPERCALL_MULTICALL, sink);
    }

    /// Writes down which words of the buffers have changed; of the first, results alone, if it holds
    /// a multicall's entries and was interrupted somewhere.
    fn record_arguments<S: Sink>(&mut self, results_alone: bool, sink: &mut S) {
        for number in 0..self.written.room.places().len() {
            let place = self.written.room.places()[number];
            for word in 0..place.words {
                let now = self.machine.argument(place.first + word);
                let left_out = results_alone && number == 0 && word % ENTRY_WORDS != RESULT;
                if now != self.written.word(place.first + word) && !left_out {
                    sink.byte(CHANGED);
                    sink.number(number as u64);
                    sink.number(word as u64);
                    sink.number(now);
                }
            }
        }
        sink.byte(END);
    }

    /// A call of the interpreter's own; its arguments lie in the words kept for that.
    pub(super) fn own(&mut self, number: u32, words: &[u64], count: usize) -> i64 {
        for (index, word) in words.iter().enumerate() {
            self.machine.put_argument(index, *word);
        }
        let args = [argument_address(0), count as u64, 0, SELF, 0];
        let answer = self.machine.hypercall(RawCall { number, args }, Arm::Off);
        answer.map_or(i64::MIN, |answer| answer.value)
    }

    /// One `mmu_update` of the interpreter's own.
    pub(super) fn update(&mut self, slot: u64, word: u64) -> i64 {
        self.own(HYPERCALL_MMU_UPDATE, &[slot, word], 1)
    }

    /// One `mmuext_op` of the interpreter's own.
    pub(super) fn extended(&mut self, command: u32, arg: u64) -> i64 {
        self.own(HYPERCALL_MMUEXT_OP, &[command.into(), arg, 0], 1)
    }

    /// Flushes the TLB, if anything changed that it may still hold.
    pub(super) fn flush(&mut self) {
        if self.stale {
            self.extended(MMUEXT_TLB_FLUSH_LOCAL, 0);
            self.stale = false;
        }
    }

    /// Writes down how often a call was interrupted, and what was found the first time. What a multicall's
    /// entry holds may be frame numbers.
    fn record_interruptions<S: Sink>(&self, answer: &Answer, sink: &mut S) {
        sink.number(answer.interruptions);
        let Some(first) = answer.first.filter(|_| answer.interruptions > 0) else { return };
        first.args.iter().for_each(|word| sink.number(*word));
        sink.byte(first.entry.is_some().into());
        first.entry.iter().flatten().for_each(|word| sink.word(self.world.translated(NO_INDEX, *word)));
    }
}
