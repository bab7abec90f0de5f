//! What can happen at a point, and how a way is written down.

use core::fmt;
use core::ops::Range;
use core::str::FromStr;

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// The vCPU goes on.
    Go,
    /// An event of this number interrupts it.
    Interrupt(u8),
    /// It is preempted, and this task runs on it.
    Preempt(u8),
    /// Its task moves to this vCPU and takes it over.
    Migrate(u8),
    /// The hypervisor runs this vCPU instead, until it chooses again.
    Hypervisor(u8),
    /// An idle vCPU, or one whose task ends or sleeps, takes this task.
    Wake(u8),
    /// One whose task ends or sleeps becomes idle.
    Idle,
    /// The task does this of its alphabet next; beyond its end, nothing more.
    Do(u8),
    /// In the beginning each vCPU has a task (1), or only the first has (0).
    Spread(u8),
}

impl Choice {
    /// Kinds of choices, as [`Tally`] counts them.
    pub const KINDS: [&'static str; 9] =
        ["go", "interrupt", "preempt", "migrate", "hypervisor", "wake", "idle", "do", "spread"];

    const fn kind(self) -> usize {
        match self {
            Self::Go => 0,
            Self::Interrupt(_) => 1,
            Self::Preempt(_) => 2,
            Self::Migrate(_) => 3,
            Self::Hypervisor(_) => 4,
            Self::Wake(_) => 5,
            Self::Idle => 6,
            Self::Do(_) => 7,
            Self::Spread(_) => 8,
        }
    }

    /// Whether it is within the part of a scenario whose programs begin so.
    pub(crate) fn is_within(self, begin: &Range<u8>) -> bool {
        match self {
            Self::Do(step) => begin.contains(&step),
            _ => true,
        }
    }

    const fn parts(self) -> (char, Option<u8>) {
        match self {
            Self::Go => ('g', None),
            Self::Interrupt(number) => ('i', Some(number)),
            Self::Preempt(task) => ('p', Some(task)),
            Self::Migrate(vcpu) => ('m', Some(vcpu)),
            Self::Hypervisor(vcpu) => ('h', Some(vcpu)),
            Self::Wake(task) => ('w', Some(task)),
            Self::Idle => ('x', None),
            Self::Do(step) => ('d', Some(step)),
            Self::Spread(spread) => ('s', Some(spread)),
        }
    }

    fn from_parts(letter: char, number: Option<u8>) -> Option<Self> {
        match (letter, number) {
            ('g', None) => Some(Self::Go),
            ('x', None) => Some(Self::Idle),
            ('i', Some(number)) => Some(Self::Interrupt(number)),
            ('p', Some(task)) => Some(Self::Preempt(task)),
            ('m', Some(vcpu)) => Some(Self::Migrate(vcpu)),
            ('h', Some(vcpu)) => Some(Self::Hypervisor(vcpu)),
            ('w', Some(task)) => Some(Self::Wake(task)),
            ('d', Some(step)) => Some(Self::Do(step)),
            ('s', Some(spread)) => Some(Self::Spread(spread)),
            _ => None,
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (letter, Some(number)) => write!(f, "{letter}{number}"),
            (letter, None) => write!(f, "{letter}"),
        }
    }
}

/// How often each kind of choice was taken, in the order of [`Choice::KINDS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally([u64; Choice::KINDS.len()]);

impl Tally {
    pub(crate) fn count(&mut self, choice: Choice) {
        self.0[choice.kind()] += 1;
    }

    /// Each kind with how often it was taken.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Choice::KINDS.into_iter().zip(self.0)
    }

    /// How often a kind was taken.
    #[must_use]
    pub fn of(&self, kind: &str) -> u64 {
        self.iter().find(|(name, _)| *name == kind).map_or(0, |(_, count)| count)
    }
}

/// A way through a scenario, as far as it is not the first that offers itself: `4.p1.2.i0` takes the first
/// choice four times, preempts in favour of task 1, takes the first choice twice, has event 0 interrupt,
/// and then always takes the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule(pub(crate) Vec<Move>);

/// A part of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// So many times the first choice.
    First(u32),
    /// This choice.
    Take(Choice),
}

impl Schedule {
    /// The way on which `taken` were taken, each with the choices there were.
    pub(crate) fn of<'a>(taken: impl IntoIterator<Item = (&'a [Choice], usize)>) -> Self {
        let mut moves = Vec::new();
        let mut firsts = 0;
        for (choices, index) in taken {
            if index == 0 {
                firsts += 1;
                continue;
            }
            if firsts > 0 {
                moves.push(Move::First(std::mem::take(&mut firsts)));
            }
            moves.push(Move::Take(choices[index]));
        }
        Self(moves)
    }

    /// The same with the first choice in place of the `number`-th that is not; what is behind it keeps its
    /// distance.
    pub(crate) fn without(&self, number: usize) -> Self {
        let mut moves: Vec<Move> = Vec::new();
        let mut takes = 0;
        for part in &self.0 {
            let is_out = matches!(part, Move::Take(_)) && takes == number;
            takes += usize::from(matches!(part, Move::Take(_)));
            let part = if is_out { Move::First(1) } else { *part };
            match (moves.last_mut(), part) {
                (Some(Move::First(times)), Move::First(more)) => *times += more,
                _ => moves.push(part),
            }
        }
        if let Some(Move::First(_)) = moves.last() {
            moves.pop();
        }
        Self(moves)
    }

    /// Choices that are not the first.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().filter(|part| matches!(part, Move::Take(_))).count()
    }

    /// Whether it is the way on which the first choice is always taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0");
        }
        for (number, part) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(".")?;
            }
            match part {
                Move::First(times) => write!(f, "{times}")?,
                Move::Take(choice) => write!(f, "{choice}")?,
            }
        }
        Ok(())
    }
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleError {
    /// The part that says nothing.
    pub part: String,
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part } = self;
        write!(f, "`{part}` is no part of a schedule: expected a number, or g, i0, p1, m1, h1, w1, x, d0, s1")
    }
}

impl core::error::Error for ScheduleError {}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let part = |part: &str| {
            if let Ok(times) = part.parse() {
                return Ok(Move::First(times));
            }
            let mut rest = part.chars();
            let letter = rest.next();
            let number = if rest.as_str().is_empty() { Some(None) } else { rest.as_str().parse().ok().map(Some) };
            let choice = letter.zip(number).and_then(|(letter, number)| Choice::from_parts(letter, number));
            choice.map(Move::Take).ok_or_else(|| ScheduleError { part: part.into() })
        };
        text.split('.').map(part).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_reads_as_it_is_written() {
        for text in ["0", "4.p1.2.i0", "s1.h1.m0.17.x.w2.d5"] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        assert_eq!("4.q1".parse::<Schedule>(), Err(ScheduleError { part: "q1".into() }));
        assert_eq!("p".parse::<Schedule>(), Err(ScheduleError { part: "p".into() }));
    }
}
