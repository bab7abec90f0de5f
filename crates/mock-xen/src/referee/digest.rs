//! Telling whether two referees will judge alike whatever comes.
//!
//! Moments count every event there ever was, so two ways to one situation have different ones. Only
//! their order matters: each is fed as its rank among those that are still remembered.

use std::hash::{Hash, Hasher};

use super::{
    Moment,
    effect::Effect,
    queue::Queue,
    request::{Request, Standing},
    state::{Callback, Owed, State, Vcpu},
};

/// The moments a referee still remembers, ascending.
struct Ranks(Vec<Moment>);

impl Ranks {
    fn of(state: &State) -> Self {
        let queues = state.vcpus.values().flat_map(|vcpu| vcpu.queue.moments());
        let tasks = state.tasks.values().filter_map(|task| task.sync_began());
        let owed = state.owed.iter().flat_map(|owed| owed.requests.iter().map(|request| request.moment));
        let callbacks = state.callbacks.iter().flat_map(|(id, callback)| [id.0, callback.request.moment]);
        let mut moments: Vec<Moment> = queues.chain(tasks).chain(owed).chain(callbacks).collect();
        moments.sort_unstable();
        moments.dedup();
        Self(moments)
    }

    fn rank(&self, moment: Moment) -> usize {
        self.0.binary_search(&moment).unwrap_or(usize::MAX)
    }
}

impl State {
    /// See [`Referee::digest`](super::Referee::digest).
    pub(super) fn digest(&self, hasher: &mut impl Hasher) {
        let ranks = Ranks::of(self);
        let mut tasks: Vec<_> = self.tasks.iter().collect();
        tasks.sort_unstable_by_key(|(id, _)| **id);
        for (id, task) in tasks {
            (id, task.sync_began().map(|moment| ranks.rank(moment))).hash(hasher);
            task.digest(hasher);
        }
        for (id, vcpu) in &self.vcpus {
            id.hash(hasher);
            vcpu.digest(&ranks, hasher);
        }
        self.owed.iter().for_each(|owed| owed.digest(&ranks, hasher));
        for (id, callback) in &self.callbacks {
            ranks.rank(id.0).hash(hasher);
            callback.digest(&ranks, hasher);
        }
        self.violation_count.hash(hasher);
    }
}

impl Vcpu {
    fn digest(&self, ranks: &Ranks, hasher: &mut impl Hasher) {
        // The stretch counts only while upcalls are masked.
        let stretch = if self.masked > 0 { self.stretch } else { 0 };
        (self.masked, stretch, self.shadow, self.bases).hash(hasher);
        self.queue.digest(ranks, hasher);
    }
}

impl Owed {
    fn digest(&self, ranks: &Ranks, hasher: &mut impl Hasher) {
        (self.operation, self.vcpu, self.errno, self.is_told).hash(hasher);
        self.requests.iter().for_each(|request| ranks.rank(request.moment).hash(hasher));
    }
}

impl Callback {
    fn digest(&self, ranks: &Ranks, hasher: &mut impl Hasher) {
        (self.asker, ranks.rank(self.request.moment), self.given_up, self.has_run).hash(hasher);
    }
}

impl Queue {
    /// Moments that are compared with others.
    fn moments(&self) -> impl Iterator<Item = Moment> {
        let requests = self.requests().flat_map(Request::moments);
        requests.chain(self.hypercall).chain([self.resumed])
    }

    fn digest(&self, ranks: &Ranks, hasher: &mut impl Hasher) {
        for request in self.requests() {
            request.digest(ranks, self.run_now(), hasher);
            if let Effect::Entry(key, _) = request.effect {
                self.chains_of(key).for_each(|chain| chain.digest(hasher));
            }
        }
        (self.hypercall.map(|moment| ranks.rank(moment)), ranks.rank(self.resumed)).hash(hasher);
        self.digest_rest(hasher);
    }
}

impl Request {
    fn moments(&self) -> impl Iterator<Item = Moment> {
        let cut = if let Standing::Cut(cut) = self.standing { Some(cut) } else { None };
        let of_cut = cut.into_iter().flat_map(|cut| cut.hypercall.into_iter().chain(cut.overtaken.map(|by| by.asked)));
        [self.moment].into_iter().chain(of_cut).chain(self.excuse.map(|excuse| excuse.since))
    }

    fn digest(&self, ranks: &Ranks, run_now: u64, hasher: &mut impl Hasher) {
        (ranks.rank(self.moment), self.asker, self.operation, self.effect, self.deferral).hash(hasher);
        (run_now - self.run, self.passed_by).hash(hasher);
        self.excuse.map(|excuse| (ranks.rank(excuse.since), excuse.call)).hash(hasher);
        std::mem::discriminant(&self.standing).hash(hasher);
        if let Standing::Cut(cut) = self.standing {
            let overtaken = cut.overtaken.map(|by| (by.operation, ranks.rank(by.asked), by.rule));
            (cut.hypercall.map(|moment| ranks.rank(moment)), overtaken).hash(hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher};

    use hypercall::{Mfn, MmuUpdate, Operation, Pte, PteSlot, Subject, VcpuId};

    use crate::referee::{Asker, Profile, Referee, Settings, TaskId};

    fn digest(referee: &Referee) -> u64 {
        let mut hasher = DefaultHasher::new();
        referee.digest(&mut hasher);
        hasher.finish()
    }

    fn write(index: usize) -> Operation {
        let update = MmuUpdate::new(PteSlot::of(Mfn::new(9), index), Pte::EMPTY);
        Operation::Update { update, subject: Subject::SELF }
    }

    #[test]
    fn only_what_is_still_open_tells() {
        let referee = || Referee::with_settings(Settings::new(Profile::Strict).remembering(0));
        let asker = Asker::task(TaskId::new(1), VcpuId::new(0));
        let region = |referee: &Referee, indices: &[usize]| {
            referee.enter(asker, true);
            indices.iter().for_each(|index| _ = referee.ask(asker, write(*index)));
        };
        let close = |referee: &Referee, indices: &[usize]| {
            referee.leave(asker);
            indices.iter().for_each(|index| referee.arrived(asker.vcpu, &write(*index), Some(Ok(()))));
            referee.left(asker, true);
        };
        let (short, long) = (referee(), referee());
        region(&short, &[1]);
        close(&short, &[1]);
        for _ in 0..3 {
            region(&long, &[1, 2]);
            close(&long, &[1, 2]);
        }
        assert_eq!(digest(&short), digest(&long));
        region(&short, &[1, 2]);
        region(&long, &[2, 1]);
        assert_ne!(digest(&short), digest(&long), "the order of what is pending tells");
        close(&short, &[1, 2]);
        close(&long, &[2, 1]);
        assert_eq!(digest(&short), digest(&long));
        assert!(short.verdict().is_clean() && long.verdict().is_clean());
    }
}
