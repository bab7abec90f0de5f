//! What was asked on one vCPU and is not yet known to be effective, in the order asked.
//!
//! A request enters by [`Queue::push`] and goes by one of three ways: an arrival or a report stands
//! for it (`arrival.rs`), or a sync point finds it still there ([`Queue::drain`]). What a sync point
//! has drained is kept apart as overdue, so that its late arrival is recognised and does not disturb
//! the order of what is asked since.

mod arrival;

use core::ops::Bound;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};

use hypercall::{Errno, Level, Operation, PteSlot, Subject, VcpuId, VcpuMask};

use super::{
    Moment,
    chain::{Chain, Settled, Write},
    choices::Shared,
    counters::Counters,
    effect::{Effect, EntryKey},
    history::{Fate, History},
    reach::Reach,
    request::{Deferral, Excuse, PassedBy, Request, Standing},
    settings::Settings,
};

pub(super) use arrival::{Arrival, Taken};

/// The requests of one vCPU.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    vcpu: VcpuId,
    online: Option<VcpuMask>,
    requests: BTreeMap<Moment, Request>,
    /// Chains of each entry, oldest run first.
    chains: HashMap<EntryKey, VecDeque<Chain>>,
    /// Chains whose count is not certain, by run and entry.
    uncertain: HashSet<(u64, EntryKey)>,
    /// Number of the present run: L1 updates of one subject with nothing between them but registers.
    run: u64,
    /// That subject.
    run_subject: Subject,
    overdue: VecDeque<Request>,
    overdue_limit: usize,
    /// When the hypercall under way began, if that was told.
    pub(super) hypercall: Option<Moment>,
    /// TLB flushes that an arrival made needless, and that may arrive by themselves all the same.
    spare: Vec<Reach>,
    /// Whether a write that stood behind a refused one was applied later: flushes may be issued again.
    belated: bool,
    /// When something that a refusal had excused arrived after all.
    pub(super) resumed: Moment,
    pub(super) history: History,
    pub(super) counters: Counters,
    /// Between requests of which any can be meant, while there is doubt.
    pub(super) choices: Option<Shared>,
}

impl Queue {
    /// `choices`: how they are made.
    pub(super) fn new(vcpu: VcpuId, settings: &Settings, choices: Option<Shared>) -> Self {
        Self {
            vcpu,
            online: settings.online,
            requests: BTreeMap::new(),
            chains: HashMap::new(),
            uncertain: HashSet::new(),
            run: 0,
            run_subject: Subject::SELF,
            overdue: VecDeque::new(),
            overdue_limit: settings.remembered,
            hypercall: None,
            spare: Vec::new(),
            belated: false,
            resumed: Moment::default(),
            history: History::new(settings.remembered),
            counters: Counters::default(),
            choices,
        }
    }

    /// The effect of `operation` if it is issued here; an update is of a table of `level`.
    pub(super) fn effect(&self, operation: &Operation, level: Level) -> Effect {
        Effect::of(operation, level, self.vcpu, self.online)
    }

    pub(super) fn push(&mut self, request: Request) {
        self.counters.asked += 1;
        if self.requests.is_empty() && request.deferral == Deferral::Outside {
            self.forget_spare();
        }
        match request.effect {
            Effect::Entry(key, write) => self.push_entry(key, request.moment, write),
            Effect::Flush(reach) if reach.is_empty() => {
                self.counters.superseded += 1;
                return;
            }
            // It commutes with every L1 update, so it separates none.
            Effect::Register => {}
            _ => self.run += 1,
        }
        self.requests.insert(request.moment, Request { run: self.run, ..request });
    }

    /// From now on nothing is queued here that is not pending: no flush comes again that another has made needless.
    pub(super) fn forget_spare(&mut self) {
        if self.requests.is_empty() {
            self.spare.clear();
            self.belated = false;
        }
    }

    /// Takes out what nothing has arrived for; `false` if something has.
    pub(super) fn withdraw(&mut self, moment: Moment) -> bool {
        let is_untouched = |request: &Request| matches!(request.standing, Standing::Queued);
        let is_out = self.requests.get(&moment).is_some_and(is_untouched) && self.remove(moment).is_some();
        self.counters.asked -= u64::from(is_out);
        is_out
    }

    fn push_entry(&mut self, key: EntryKey, moment: Moment, write: Write) {
        if self.run_subject != key.subject {
            self.run_subject = key.subject;
            self.run += 1;
        }
        let chains = self.chains.entry(key).or_default();
        if chains.back().is_none_or(|chain| chain.run != self.run) {
            chains.push_back(Chain::new(self.run));
        }
        if let Some(chain) = chains.back_mut() {
            chain.push(moment, write);
        }
    }

    /// Number of the present run.
    pub(super) const fn run_now(&self) -> u64 {
        self.run
    }

    /// The chains of an entry.
    pub(super) fn chains_of(&self, key: EntryKey) -> impl Iterator<Item = &Chain> {
        self.chains.get(&key).into_iter().flatten()
    }

    /// Feeds what is neither in the requests nor a moment.
    pub(super) fn digest_rest(&self, hasher: &mut impl Hasher) {
        (self.run_subject, self.overdue.len(), &self.spare, self.belated).hash(hasher);
    }

    /// Requests that have certainly not arrived.
    pub(super) fn pending(&self) -> usize {
        self.requests
            .values()
            .filter(|request| !matches!(request.standing, Standing::Perhaps | Standing::Early))
            .count()
    }

    pub(super) fn request(&self, moment: Moment) -> Option<&Request> {
        self.requests.get(&moment)
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &Request> {
        self.requests.values()
    }

    /// The oldest request that a write of `entry` past the library would overtake.
    pub(super) fn conflicting(&self, effect: &Effect) -> Option<&Request> {
        let waits = |request: &&Request| matches!(request.standing, Standing::Queued | Standing::Cut(_));
        self.requests.values().filter(waits).find(|request| !request.effect.commutes(effect))
    }

    /// The newest pending update of the entry at `slot`, of whatever level.
    pub(super) fn last_write(&self, slot: PteSlot) -> Option<&Request> {
        self.writes(slot).last()
    }

    /// What the entry at `slot` will hold, given what `memory` holds of it now: with what stood behind a refused operation;
    /// without it, since that may have been given up; and with writes for which an arrival may have stood, or not.
    pub(super) fn values(&self, slot: PteSlot, memory: u64) -> [u64; 3] {
        let over = |held, request: &Request| match request.operation {
            Operation::Update { update, .. } => Write::of(&update).map_or(held, |write| write.over(held)),
            _ => held,
        };
        let kept = self.writes(slot).filter(|request| !self.is_tail(request));
        let all = self.requests.values().filter(|request| request.writes(slot));
        [self.writes(slot).fold(memory, over), kept.fold(memory, over), all.fold(memory, over)]
    }

    fn writes(&self, slot: PteSlot) -> impl Iterator<Item = &Request> {
        self.requests
            .values()
            .filter(move |request| !matches!(request.standing, Standing::Perhaps) && request.writes(slot))
    }

    /// Takes out the requests that `is_due`, which had to be effective by now, each with whether it was
    /// dropped behind a refused one. Early TLB flushes among them are effective, and go without a word. What was dropped
    /// stays where it `may_be_told_later`.
    pub(super) fn drain(
        &mut self,
        now: Moment,
        may_be_told_later: bool,
        is_due: impl Fn(&Request) -> bool,
    ) -> Vec<(Request, bool)> {
        let due: Vec<Request> = self.requests.values().filter(|request| is_due(request)).copied().collect();
        let is_open = due.iter().any(|request| matches!(request.standing, Standing::Perhaps));
        // A handler's write, which is not due, may be open in the chain of one that is.
        let in_chain = |key| due.iter().any(|request| matches!(request.effect, Effect::Entry(of, _) if of == key));
        self.settle_where(now, |_, key| is_open || in_chain(key));
        let stays =
            |queue: &Self, moment| may_be_told_later && queue.request(moment).is_some_and(|it| queue.is_tail(it));
        let due: Vec<Request> = due
            .into_iter()
            .filter_map(|request| if stays(self, request.moment) { None } else { self.remove(request.moment) })
            .collect();
        let (early, late): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|request| matches!(request.standing, Standing::Early));
        self.counters.applied += early.len() as u64;
        // They may have stood behind a refused operation too, and that may be told.
        self.spare.extend(early.iter().filter_map(|flush| flush.effect.reach()));
        self.counters.overdue += late.len() as u64;
        self.remember_overdue(&late);
        late.into_iter().map(|request| (request, self.is_tail(&request))).collect()
    }

    fn remember_overdue(&mut self, late: &[Request]) {
        self.overdue.extend(late);
        let excess = self.overdue.len().saturating_sub(self.overdue_limit);
        self.overdue.drain(..excess);
    }

    /// Whether `request` stood behind a refused operation after which nothing went on.
    fn is_tail(&self, request: &Request) -> bool {
        let is_cut = matches!(request.standing, Standing::Cut(_));
        is_cut || request.excuse.is_some_and(|excuse| excuse.since > self.resumed)
    }

    /// Excuses what was asked after `moment`: something asked then was refused. What is asked from now on
    /// had no part in that.
    pub(super) fn excuse_behind(&mut self, moment: Moment, now: Moment) {
        for (_, request) in self.requests.range_mut((Bound::Excluded(moment), Bound::Unbounded)) {
            let call = request.excuse.and_then(|excuse| excuse.call);
            request.excuse = Some(Excuse { since: now, call });
        }
    }

    /// Excuses everything: a hypercall that may have carried it was refused with `errno`.
    pub(super) fn excuse_all(&mut self, errno: Errno, now: Moment) {
        let excuse = Some(Excuse { since: now, call: Some(errno) });
        self.requests.values_mut().for_each(|request| request.excuse = excuse);
    }

    /// Remembers an access to the entry at `slot` past the library: writes of it that an arrival may stand
    /// for are passed by it, if a later arrival shows that they were still pending.
    pub(super) fn pass_by(&mut self, slot: PteSlot, by: impl Fn(&Request) -> PassedBy) {
        for request in self.requests.values_mut() {
            if matches!(request.standing, Standing::Perhaps) && request.writes(slot) {
                request.passed_by = Some(by(request));
            }
        }
    }

    /// Forgets overdue requests for which `operation` may stand; `false` if there is none.
    pub(super) fn take_overdue(&mut self, operation: &Operation) -> bool {
        let before = self.overdue.len();
        let arriving = self.effect(operation, Level::L1);
        self.overdue.retain(|late| match (&arriving, &late.effect) {
            (Effect::Entry(key, _), Effect::Entry(due, _)) => key != due,
            (Effect::Flush(reach), Effect::Flush(due)) => !reach.covers(due),
            _ => late.operation != *operation,
        });
        self.overdue.len() < before
    }

    /// Decides which updates the arrivals so far stand for, wherever that is open, for entries and runs
    /// that are over: nothing more will arrive for them.
    fn settle_where(&mut self, now: Moment, is_over: impl Fn(u64, EntryKey) -> bool) {
        let over: Vec<(u64, EntryKey)> = self.uncertain.extract_if(|(run, key)| is_over(*run, *key)).collect();
        for (run, key) in over {
            // What has been cut and the writes behind it are two chains of one run.
            let chains = self.chains.get(&key).into_iter().flatten().enumerate();
            let of_run: Vec<usize> = chains.filter(|(_, chain)| chain.run == run).map(|(index, _)| index).collect();
            of_run.into_iter().rev().for_each(|index| self.settle_chain(key, index, now));
        }
    }

    fn settle_chain(&mut self, key: EntryKey, index: usize, now: Moment) {
        let Some(chains) = self.chains.get_mut(&key) else { return };
        let Some(chain) = chains.get_mut(index) else { return };
        let Settled { writes, arrivals } = chain.settle();
        if chain.is_empty() {
            chains.remove(index);
        }
        if chains.is_empty() {
            self.chains.remove(&key);
        }
        self.counters.merged += writes.len().saturating_sub(arrivals) as u64;
        let settled: Vec<Request> = writes.iter().filter_map(|moment| self.requests.remove(moment)).collect();
        if let Some((last, merged)) = settled.split_last()
            && settled.len() > arrivals
        {
            self.remember_merged(merged, last, now);
        }
    }

    fn remember_merged(&mut self, merged: &[Request], by: &Request, now: Moment) {
        for request in merged {
            let arrived = self.history.fate(&request.operation).is_some_and(|(at, _)| at > request.moment);
            if !arrived {
                let by = by.overtaking(request);
                let is_excused = request.excuse.is_some();
                let fate = Fate::Merged { asker: request.asker, asked: request.moment, by, is_excused };
                self.history.note(request.operation, now, fate);
            }
        }
    }

    /// Takes out one request, its chain's count being certain.
    fn remove(&mut self, moment: Moment) -> Option<Request> {
        let request = self.requests.remove(&moment)?;
        if let Effect::Entry(key, _) = request.effect
            && let Some(chains) = self.chains.get_mut(&key)
        {
            chains.iter_mut().for_each(|chain| chain.forget(moment));
            chains.retain(|chain| !chain.is_empty());
            if chains.is_empty() {
                self.chains.remove(&key);
            }
        }
        Some(request)
    }
}
