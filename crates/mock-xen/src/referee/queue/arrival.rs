//! Which requests an arriving operation stands for.
//!
//! An L1 update stands for one or several writes of its entry (see `chain.rs`). A TLB flush stands for
//! every pending flush it covers whose earlier writes have all arrived: it is effective after the
//! writes asked before that flush, and before those asked after it, or else one of them has been found
//! to overtake it. Anything else stands for an equal request.
//!
//! Where several requests can be meant, the oldest whose turn it is is meant; so of two equal ones, the
//! one that the hypercall under way has cut off is not.

use std::collections::VecDeque;

use hypercall::{Errno, Level, Operation};

use super::Queue;
use crate::referee::{
    Moment,
    chain::{Chain, Write},
    choices::choose,
    effect::{Effect, EntryKey},
    history::Fate,
    reach::Reach,
    request::{Cut, Request, Standing},
};

/// What an arrival stands for.
#[derive(Debug)]
pub(in crate::referee) enum Arrival {
    /// For these requests.
    For(Taken),
    /// For TLB flushes that have to come again if a write they had to wait for is applied yet.
    Early,
    /// For none, but it is a TLB flush that may come once more.
    Again,
    /// For none.
    Nothing,
}

/// Requests that an arrival stands for.
#[derive(Debug)]
pub(in crate::referee) struct Taken {
    /// The requests, oldest first, in the standing they had; never none.
    pub(in crate::referee) requests: Vec<Request>,
    /// The oldest request that it ought to have come after.
    pub(in crate::referee) overtook: Option<Request>,
}

/// What a TLB flush has to wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wait {
    Nothing,
    /// A write that stood behind a refused operation, or for which an arrival may have stood: it may
    /// still arrive, or not.
    Uncertain,
    Queued,
}

impl Queue {
    /// Takes what `operation`, arriving here, stands for. `is_effective`: it was not refused.
    pub(in crate::referee) fn arrive(&mut self, operation: &Operation, is_effective: bool, now: Moment) -> Arrival {
        let taken = match self.effect(operation, Level::L1) {
            Effect::Entry(key, write) => self
                .take_writes(key, write, is_effective, now)
                .or_else(|| self.take_equal(operation, is_effective, now)),
            Effect::Flush(reach) => return self.take_flushes(operation, &reach, is_effective),
            _ => self.take_equal(operation, is_effective, now),
        };
        taken.map_or(Arrival::Nothing, Arrival::For)
    }

    fn take_writes(&mut self, key: EntryKey, write: Write, is_effective: bool, now: Moment) -> Option<Taken> {
        let is_behind = self.is_behind_cut(key, write);
        let is_other = self.has_cut(key) && self.choose(2) == 1;
        let freed = if is_behind != is_other { self.narrow_cut(key, write) } else { None };
        let (index, requests) = match freed {
            Some(index) => self.take_from(key, index, write),
            None => self.stand_for(key, write, Self::is_in_turn),
        }?;
        let (first, last) = (requests.first()?, requests.last()?);
        let overtook = self.overtaken(first.moment, last, is_effective);
        let run = self.chains.get(&key)?.get(index)?.run;
        self.settle_where(now, |other, entry| other < run && entry != key);
        let index = index - self.give_up_older(key, index, last, now);
        self.settle_if_certain(key, index, now);
        Some(Taken { requests, overtook })
    }

    /// The chain of `key` in which `write` stands for something, and what for.
    fn stand_for(
        &mut self,
        key: EntryKey,
        write: Write,
        is_likely: impl Fn(&Self, Moment) -> bool,
    ) -> Option<(usize, Vec<Request>)> {
        if let Some(index) = self.chosen_behind(key, write) {
            return self.take_from(key, index, write);
        }
        let chosen = self.choose_chain(key, |chain| chain.first_for(write), is_likely);
        let index = chosen.or_else(|| self.narrow_cut(key, write))?;
        self.take_from(key, index, write)
    }

    /// Whether something of the chains of `key` has been cut.
    fn has_cut(&self, key: EntryKey) -> bool {
        self.chains.get(&key).into_iter().flatten().flat_map(Chain::all).any(|moment| self.is_cut(moment))
    }

    /// One of `ways` ways, the likeliest of which is 0.
    pub(in crate::referee) fn choose(&self, ways: usize) -> usize {
        choose(self.choices.as_ref(), ways)
    }

    /// Whether `write` is looked for behind what the hypercall under way has cut: that does not arrive in it, and
    /// nothing else is in turn.
    fn is_behind_cut(&self, key: EntryKey, write: Write) -> bool {
        let chains = || self.chains.get(&key).into_iter().flatten();
        let is_just_cut = |request: &Request| matches!(request.standing, Standing::Cut(cut) if self.is_just_cut(cut));
        let mut writes = chains().flat_map(Chain::all).filter_map(|moment| self.requests.get(&moment));
        let mut firsts = chains().filter_map(|chain| chain.first_for(write));
        writes.any(is_just_cut) && !firsts.any(|moment| self.is_in_turn(moment))
    }

    /// The chain of `key` at `index`, and what `write` stands for in it.
    fn take_from(&mut self, key: EntryKey, index: usize, write: Write) -> Option<(usize, Vec<Request>)> {
        let choices = self.choices.clone();
        let chain = self.chains.get_mut(&key)?.get_mut(index)?;
        let range = chain.arrive(write, |ways| choose(choices.as_ref(), ways))?;
        let moments = chain.moments(range);
        let requests = moments.iter().filter_map(|moment| self.requests.get(moment)).copied().collect();
        for moment in moments {
            self.stand(moment, Standing::Perhaps);
        }
        Some((index, requests))
    }

    /// Where what has been cut stands for fewer writes than it was taken for, and `write` for one of the others: their
    /// chain.
    fn narrow_cut(&mut self, key: EntryKey, write: Write) -> Option<usize> {
        let chains = self.chains.get_mut(&key)?;
        let narrowed = chains.iter_mut().enumerate().find_map(|(index, chain)| Some((index + 1, chain.narrow(write)?)));
        let (index, behind) = narrowed?;
        let freed = behind.all();
        chains.insert(index, behind);
        freed.into_iter().for_each(|moment| self.stand(moment, Standing::Queued));
        Some(index)
    }

    /// Where it is chosen that `write` stands for writes behind others that may be given up: the chain of those behind.
    fn chosen_behind(&mut self, key: EntryKey, write: Write) -> Option<usize> {
        let skipping = self.skipping(key, write);
        let way = if skipping.is_empty() { 0 } else { self.choose(skipping.len() + 1) };
        let (index, count) = *skipping.get(way.checked_sub(1)?)?;
        self.skip(key, index, count)
    }

    /// Where `write` may stand for writes behind others that may be given up: the chain, and how many stand before them.
    fn skipping(&self, key: EntryKey, write: Write) -> Vec<(usize, usize)> {
        let may_be_given_up =
            |moment: &Moment| self.requests.get(moment).is_some_and(|request| request.may_be_reported(None));
        let chains = self.chains.get(&key).into_iter().flatten().enumerate();
        let behind = |(index, chain): (usize, &Chain)| {
            let given_up = chain.waiting_first().into_iter().take_while(may_be_given_up).count();
            chain.behind(given_up, write).into_iter().map(move |count| (index, count)).collect::<Vec<_>>()
        };
        chains.flat_map(behind).collect()
    }

    /// Divides a chain of `key` behind its first `count` writes; answers with the index of those behind.
    fn skip(&mut self, key: EntryKey, index: usize, count: usize) -> Option<usize> {
        let chains = self.chains.get_mut(&key)?;
        let behind = chains.get_mut(index)?.divide(count);
        let freed = behind.all();
        chains.insert(index + 1, behind);
        for moment in freed {
            if self.requests.get(&moment).is_some_and(|request| matches!(request.standing, Standing::Perhaps)) {
                self.stand(moment, Standing::Queued);
            }
        }
        Some(index + 1)
    }

    /// The chain of `key` in which an arrival, or what has been cut, stands for a write; of several, the
    /// likeliest. `first_in`: which write that is in a chain.
    fn choose_chain(
        &self,
        key: EntryKey,
        first_in: impl Fn(&Chain) -> Option<Moment>,
        is_likely: impl Fn(&Self, Moment) -> bool,
    ) -> Option<usize> {
        let chains = self.chains.get(&key)?.iter().enumerate();
        let candidates: Vec<(usize, Moment)> =
            chains.filter_map(|(index, chain)| Some((index, first_in(chain)?))).collect();
        let chosen = self.likeliest(candidates.iter().map(|(_, moment)| *moment), is_likely)?;
        candidates.into_iter().find(|(_, moment)| *moment == chosen).map(|(index, _)| index)
    }

    /// Of several requests of which any can be meant, the oldest that `is_likely`; else the oldest.
    fn likeliest(
        &self,
        mut candidates: impl Iterator<Item = Moment> + Clone,
        is_likely: impl Fn(&Self, Moment) -> bool,
    ) -> Option<Moment> {
        if candidates.clone().nth(1).is_none() {
            return candidates.next();
        }
        let likeliest =
            candidates.clone().find(|moment| is_likely(self, *moment)).or_else(|| candidates.clone().next());
        match self.choose(candidates.clone().count()) {
            0 => likeliest,
            other => candidates.filter(|moment| Some(*moment) != likeliest).nth(other - 1),
        }
    }

    /// Whether a request stood behind a refused one.
    fn is_cut(&self, moment: Moment) -> bool {
        self.requests.get(&moment).is_some_and(|request| matches!(request.standing, Standing::Cut(_)))
    }

    /// Whether a request could arrive now and nothing would be wrong with that: among equal ones, the
    /// one behind another operation waits for it even if they commute.
    fn is_in_turn(&self, moment: Moment) -> bool {
        let Some(request) = self.requests.get(&moment) else { return false };
        let is_ahead = |older: &Request| {
            let may_swap = matches!(older.effect, Effect::Entry(..)) && older.effect.commutes(&request.effect);
            let waits = match older.standing {
                Standing::Queued => true,
                Standing::Cut(cut) => cut.overtaken.is_none() && !self.is_just_cut(cut),
                Standing::Overtaken | Standing::Early | Standing::Again | Standing::Perhaps => false,
            };
            waits && !may_swap
        };
        let is_out = match request.standing {
            Standing::Cut(cut) => cut.overtaken.is_some() || self.is_just_cut(cut),
            Standing::Perhaps => true,
            Standing::Queued | Standing::Overtaken | Standing::Early | Standing::Again => false,
        };
        !is_out && !self.requests.range(..moment).any(|(_, older)| is_ahead(older))
    }

    /// Whether the hypercall under way has cut it.
    fn is_just_cut(&self, cut: Cut) -> bool {
        cut.hypercall.is_some() && cut.hypercall == self.hypercall
    }

    fn settle_if_certain(&mut self, key: EntryKey, index: usize, now: Moment) {
        match self.chains.get(&key).and_then(|chains| chains.get(index)) {
            Some(chain) if !chain.is_certain() => drop(self.uncertain.insert((chain.run, key))),
            _ => self.settle_chain(key, index, now),
        }
    }

    /// Gives up the chains of `key` before `index`, whose values a later one has overwritten. Those
    /// with writes behind a refused operation stay, to be attempted again or reported. Answers with
    /// how many are gone.
    fn give_up_older(&mut self, key: EntryKey, index: usize, by: &Request, now: Moment) -> usize {
        let count = |queue: &Self| queue.chains.get(&key).map_or(0, VecDeque::len);
        let before = count(self);
        for at in (0..index).rev() {
            let chains = count(self);
            self.settle_chain(key, at, now);
            if count(self) == chains {
                self.overwrite_chain(key, at, by, now);
            }
        }
        before - count(self)
    }

    fn overwrite_chain(&mut self, key: EntryKey, index: usize, by: &Request, now: Moment) {
        let chain = self.chains.get(&key).and_then(|chains| chains.get(index));
        let writes = chain.map(Chain::all).unwrap_or_default();
        if writes.iter().any(|moment| self.is_cut(*moment)) {
            return;
        }
        if let Some(chains) = self.chains.get_mut(&key) {
            chains.remove(index);
        }
        let overwritten: Vec<Request> = writes.iter().filter_map(|moment| self.requests.remove(moment)).collect();
        self.counters.merged += overwritten.len() as u64;
        self.remember_merged(&overwritten, by, now);
    }

    /// Takes the flushes that may go now. If there is none but one that has to wait, the arrival
    /// has overtaken what it waits for; unless it may come once more.
    fn take_flushes(&mut self, operation: &Operation, reach: &Reach, is_effective: bool) -> Arrival {
        if self.may_have_come(reach) && self.choose(2) == 1 && self.may_come_again(operation, reach) {
            return Arrival::Again;
        }
        let covered = self.covered(reach);
        let waiting_for = |wait| covered.iter().filter(move |(_, is)| *is == wait).map(|(moment, _)| *moment);
        let early: Vec<Moment> = waiting_for(Wait::Uncertain).collect();
        let mut taken: Vec<Moment> = waiting_for(Wait::Nothing).collect();
        if is_effective {
            early.iter().for_each(|moment| self.stand(*moment, Standing::Early));
        } else {
            taken.extend(&early);
        }
        if taken.is_empty() && !early.is_empty() {
            return Arrival::Early;
        }
        if taken.is_empty() && self.may_come_again(operation, reach) {
            return Arrival::Again;
        }
        if taken.is_empty() {
            taken.extend(waiting_for(Wait::Queued).take(1));
        }
        let requests: Vec<Request> = taken.iter().filter_map(|moment| self.requests.remove(moment)).collect();
        let Some(first) = requests.first() else { return Arrival::Nothing };
        let is_early = |moment: &Moment| self.requests.get(moment).is_some_and(|flush| flush.operation == *operation);
        let own = if early.iter().any(is_early) { None } else { Some(operation) };
        self.spare_others(&requests, own);
        let overtook = self.overtaken(first.moment, first, is_effective);
        Arrival::For(Taken { requests, overtook })
    }

    /// Whether a TLB flush that nothing waits for does no harm: it reaches no TLB, or was asked for and
    /// made needless by one before it, or is issued again after a write behind a refused one.
    fn may_come_again(&mut self, operation: &Operation, reach: &Reach) -> bool {
        self.take_spare(reach) || reach.is_empty() || (self.belated && self.history.fate(operation).is_some())
    }

    /// Whether it may be one that comes once more.
    fn may_have_come(&self, reach: &Reach) -> bool {
        self.belated || self.spare.iter().any(|spare| reach.covers(spare))
    }

    /// Forgets a flush that one before it has made needless, and that one with `reach` stands for; `false` if there is none.
    fn take_spare(&mut self, reach: &Reach) -> bool {
        let equal = self.spare.iter().position(|spare| reach.covers(spare) && spare.covers(reach));
        let spare = equal.or_else(|| self.spare.iter().position(|spare| reach.covers(spare)));
        spare.map(|spare| self.spare.swap_remove(spare)).is_some()
    }

    /// Whether `operation` is a TLB flush that one before it has made needless: that it was not attempted, or was refused,
    /// is true then, and harmless.
    pub(in crate::referee) fn is_needless(&mut self, operation: &Operation) -> bool {
        matches!(self.effect(operation, Level::L1), Effect::Flush(reach) if self.take_spare(&reach))
    }

    /// The pending flushes that one with `reach` covers, and what each still waits for. What the hypercall under way has cut
    /// does not arrive in it: where any other is covered, that is meant.
    fn covered(&self, reach: &Reach) -> Vec<(Moment, Wait)> {
        let arriving = Effect::Flush(*reach);
        let mut wait = Wait::Nothing;
        let mut covered = Vec::new();
        for request in self.requests.values() {
            match (&request.effect, &request.standing) {
                (Effect::Flush(asked), _) if reach.covers(asked) => covered.push((request.moment, wait)),
                (effect, _) if effect.commutes(&arriving) => {}
                (_, Standing::Queued) => wait = Wait::Queued,
                (_, Standing::Cut(_) | Standing::Perhaps) => wait = wait.max(Wait::Uncertain),
                (_, Standing::Overtaken | Standing::Early | Standing::Again) => {}
            }
        }
        let is_meant = |(moment, _): &(Moment, Wait)| match self.requests.get(moment).map(|request| request.standing) {
            Some(Standing::Cut(cut)) => !self.is_just_cut(cut),
            _ => true,
        };
        if covered.iter().any(is_meant) && !covered.iter().all(is_meant) && self.choose(2) == 0 {
            covered.retain(is_meant);
        }
        let is_overtaken =
            |(moment, _): &(Moment, Wait)| match self.requests.get(moment).map(|request| request.standing) {
                Some(Standing::Cut(cut)) => cut.overtaken.is_some(),
                _ => false,
            };
        if covered.iter().any(is_overtaken) && !covered.iter().all(is_overtaken) && self.choose(2) == 1 {
            covered.retain(|flush| !is_overtaken(flush));
        }
        covered
    }

    fn take_equal(&mut self, operation: &Operation, is_effective: bool, now: Moment) -> Option<Taken> {
        let moment = self.find_equal(operation, Self::is_in_turn)?;
        let request = self.requests.remove(&moment)?;
        self.settle_where(now, |run, _| run < request.run);
        let overtook = self.overtaken(moment, &request, is_effective);
        Some(Taken { requests: vec![request], overtook })
    }

    /// The request for `operation`, which is no L1 update, that an arrival is for.
    fn find_equal(&self, operation: &Operation, is_likely: impl Fn(&Self, Moment) -> bool) -> Option<Moment> {
        self.likeliest(self.equal_to(operation).map(|request| request.moment), is_likely)
    }

    /// The requests for `operation`, which is no L1 update, oldest first.
    fn equal_to(&self, operation: &Operation) -> impl Iterator<Item = &Request> + Clone {
        let is_it =
            move |request: &&Request| !matches!(request.effect, Effect::Entry(..)) && request.operation == *operation;
        self.requests.values().filter(is_it)
    }

    /// Marks what was asked before `moment`, does not commute with `by`, and has not arrived though
    /// `by` has. Answers with the oldest of it, writes of the very entry that `by` writes only if
    /// there is nothing else: those are merged. Nothing is found overtaken twice.
    fn overtaken(&mut self, moment: Moment, by: &Request, is_effective: bool) -> Option<Request> {
        let (mut oldest, mut merged) = (None, None);
        let waits = |older: &Request| matches!(older.standing, Standing::Queued) && older.excuse.is_some();
        let is_doubtful =
            self.requests.range(..moment).any(|(_, older)| waits(older) && !older.effect.commutes(&by.effect));
        let excuses = is_doubtful && self.choose(2) == 1;
        for older in self.requests.range_mut(..moment).map(|(_, older)| older) {
            if older.effect.commutes(&by.effect) {
                continue;
            }
            match older.standing {
                // It will have to be told.
                Standing::Queued if excuses && older.excuse.is_some() => {
                    let overtaken = is_effective.then(|| by.overtaking(older));
                    older.standing = Standing::Cut(Cut { hypercall: None, overtaken });
                }
                Standing::Queued => {
                    let found = if older.effect.same_entry(&by.effect) { &mut merged } else { &mut oldest };
                    found.get_or_insert(*older);
                    older.standing = Standing::Overtaken;
                }
                Standing::Cut(Cut { hypercall, overtaken: None }) if is_effective => {
                    older.standing = Standing::Cut(Cut { hypercall, overtaken: Some(by.overtaking(older)) });
                }
                _ => {}
            }
        }
        oldest.or(merged)
    }

    /// Takes what `operation` stands for, though it arrives on another vCPU or not at all. No order is
    /// expected of it, and a TLB flush stands for an equal one only.
    pub(in crate::referee) fn arrive_elsewhere(&mut self, operation: &Operation, now: Moment) -> Option<Request> {
        self.take_anyhow(operation, now, Self::is_cut).pop()
    }

    fn take_anyhow(
        &mut self,
        operation: &Operation,
        now: Moment,
        is_likely: impl Fn(&Self, Moment) -> bool,
    ) -> Vec<Request> {
        if let Effect::Entry(key, write) = self.effect(operation, Level::L1)
            && self.chains.contains_key(&key)
        {
            let Some((index, requests)) = self.stand_for(key, write, is_likely) else { return Vec::new() };
            self.settle_if_certain(key, index, now);
            return requests;
        }
        let found = self.find_equal(operation, is_likely);
        found.and_then(|moment| self.requests.remove(&moment)).into_iter().collect()
    }

    /// Notes that `operation` stood behind a refused one and was not looked at.
    pub(in crate::referee) fn cut(&mut self, operation: &Operation, now: Moment) {
        let is_uncut = |request: &Request| !matches!(request.standing, Standing::Cut(_));
        let moments = match self.effect(operation, Level::L1) {
            Effect::Entry(key, write) if self.chains.contains_key(&key) => self.cut_writes(key, write, now),
            Effect::Flush(reach) => self.mergeable(&reach, is_uncut),
            _ => {
                let uncut = self.equal_to(operation).filter(|equal| is_uncut(equal)).map(|equal| equal.moment);
                self.likeliest(uncut, |_, _| true).into_iter().collect()
            }
        };
        for moment in moments {
            if self.requests.get(&moment).is_some_and(is_uncut) {
                self.excuse_behind_cut(moment, now);
                self.stand(moment, Standing::Cut(Cut { hypercall: self.hypercall, overtaken: None }));
            }
        }
    }

    /// What stands behind an operation that was not looked at has the same excuse, if it has none yet.
    fn excuse_behind_cut(&mut self, moment: Moment, now: Moment) {
        if self.requests.get(&moment).is_some_and(|request| request.excuse.is_none()) {
            self.excuse_behind(moment, now);
        }
    }

    /// The writes of the entry that `write`, which was not looked at, stands for.
    fn cut_writes(&mut self, key: EntryKey, write: Write, now: Moment) -> Vec<Moment> {
        let index = self.choose_chain(key, |chain| chain.first_cut_for(write), Self::is_in_turn);
        let chains = self.chains.get_mut(&key).zip(index);
        let Some((chain, index)) = chains.and_then(|(chains, index)| Some((chains.get_mut(index)?, index))) else {
            return Vec::new();
        };
        let choices = self.choices.clone();
        let Some(range) = chain.cut(write, |ways| choose(choices.as_ref(), ways)) else { return Vec::new() };
        let (cut, waiting) = (chain.moments(range), chain.waiting());
        for moment in waiting {
            if self.requests.get(&moment).is_some_and(|request| matches!(request.standing, Standing::Perhaps)) {
                self.stand(moment, Standing::Queued);
            }
        }
        self.settle_if_certain(key, index, now);
        cut
    }

    /// The oldest of the pending flushes `among` which one with `reach` covers, and those that it can be
    /// merged with.
    fn mergeable(&self, reach: &Reach, among: impl Fn(&Request) -> bool) -> Vec<Moment> {
        let mut covered = self.covered(reach);
        covered.retain(|(moment, _)| self.requests.get(moment).is_some_and(&among));
        let oldest = covered.first().map(|(_, wait)| *wait);
        match if covered.len() < 2 { 0 } else { self.choose(covered.len() + 1) } {
            0 => covered.into_iter().filter(|(_, wait)| Some(*wait) == oldest).map(|(moment, _)| moment).collect(),
            only => covered.get(only - 1).map(|(moment, _)| *moment).into_iter().collect(),
        }
    }

    /// Whether something for which `operation` may stand may be reported so; see
    /// [`Request::may_be_reported`].
    pub(in crate::referee) fn may_report(&self, operation: &Operation, errno: Option<Errno>) -> bool {
        let reported = self.effect(operation, Level::L1);
        let is_named = |request: &Request| match (&reported, &request.effect) {
            (Effect::Flush(reach), Effect::Flush(asked)) => reach.covers(asked),
            (effect, asked) => effect.same_entry(asked) || request.operation == *operation,
        };
        self.requests.values().any(|request| request.may_be_reported(errno) && is_named(request))
    }

    /// Takes out what `operation` stands for because the guest was told that it will not arrive, with
    /// `errno` or as not attempted. If there is no reason for that, it is overdue.
    pub(in crate::referee) fn give_up(
        &mut self,
        operation: &Operation,
        errno: Option<Errno>,
        now: Moment,
    ) -> Option<Vec<Request>> {
        let given_up = match self.effect(operation, Level::L1) {
            Effect::Flush(reach) => self.give_up_flushes(operation, &reach, errno),
            _ => self.take_anyhow(operation, now, |queue, moment| {
                queue.requests.get(&moment).is_some_and(|request| request.may_be_reported(errno))
            }),
        };
        let last = given_up.last()?;
        let fate = match errno {
            _ if !last.may_be_reported(errno) => {
                self.remember_overdue(&[*last]);
                &mut self.counters.overdue
            }
            Some(_) => &mut self.counters.failed,
            None => &mut self.counters.not_attempted,
        };
        *fate += 1;
        Some(given_up)
    }

    /// Of TLB flushes for which one stands, the others may come all the same, or be told. `own`: that one, if it is among
    /// them.
    fn spare_others(&mut self, flushes: &[Request], own: Option<&Operation>) {
        let own = own.map(|own| flushes.iter().position(|flush| flush.operation == *own).unwrap_or(0));
        let others = flushes.iter().enumerate().filter(|(at, _)| Some(*at) != own);
        self.spare.extend(others.filter_map(|(_, spare)| spare.effect.reach()));
        self.counters.superseded += flushes.len().saturating_sub(1) as u64;
    }

    fn give_up_flushes(&mut self, operation: &Operation, reach: &Reach, errno: Option<Errno>) -> Vec<Request> {
        let mut moments = self.mergeable(reach, |request| request.may_be_reported(errno));
        if moments.is_empty() && !self.spare.iter().any(|spare| reach.covers(spare)) {
            moments = self.mergeable(reach, |_| true);
        }
        let given_up: Vec<Request> = moments.iter().filter_map(|moment| self.requests.remove(moment)).collect();
        self.spare_others(&given_up, Some(operation));
        given_up
    }

    /// Makes the flushes asked after `moment`, which came too early for what has just been applied,
    /// wait again.
    pub(in crate::referee) fn expect_flushes_again(&mut self, moment: Moment) {
        self.belated = true;
        for later in self.requests.range_mut(moment..).map(|(_, later)| later) {
            if matches!(later.standing, Standing::Early) {
                later.standing = Standing::Again;
            }
        }
    }

    /// All pending writes of the L1 entry that `operation` updates, given up because it carries
    /// another value.
    pub(in crate::referee) fn take_altered(&mut self, operation: &Operation, now: Moment) -> Vec<Request> {
        let Effect::Entry(key, _) = self.effect(operation, Level::L1) else { return Vec::new() };
        self.settle_where(now, |_, entry| entry == key);
        let chains = self.chains.remove(&key).unwrap_or_default();
        let writes = chains.iter().flat_map(|chain| chain.all());
        let altered: Vec<Request> = writes.filter_map(|moment| self.requests.remove(&moment)).collect();
        self.counters.overdue += altered.len() as u64;
        altered
    }

    /// Records what became of `operation`.
    pub(in crate::referee) fn remember(&mut self, operation: &Operation, now: Moment, is_effective: bool) {
        let fate = if is_effective { Fate::Applied } else { Fate::Refused };
        self.history.note(*operation, now, fate);
    }

    fn stand(&mut self, moment: Moment, standing: Standing) {
        if let Some(request) = self.requests.get_mut(&moment) {
            request.standing = standing;
        }
    }
}
