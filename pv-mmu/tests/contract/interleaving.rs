//! Every interleaving of another processor with zap, write protection and young, on the mock: its stores
//! and loads go through its own TLB, at each moment at which memory can change.

use std::sync::Arc;

use hypercall::{Level, Mfn, MmuextOp, Pte, PteFlags, PteSlot, VcpuId, VirtAddr};
use mock_xen::{
    GuestBuilder, MockVcpu, MockXen, Witness,
    referee::{Finding, Profile, Referee, Rule, Verdict},
};
use parking_lot::Mutex;
use pv_mmu::{HeldBuffer, Operations, ReadModifyWrite, Region, TaskState};

use crate::{
    kernel::{Kernel, Memory},
    world::RW,
};

const THERE: VcpuId = VcpuId::new(1);
const WRITTEN: PteFlags = PteFlags::ACCESSED_DIRTY;

/// The referee's ears for what processors do, and what updates have replaced.
struct Eyes {
    referee: Referee,
    replaced: Mutex<Vec<(PteSlot, Pte, Pte)>>,
}

impl Witness for Eyes {
    fn arrived(&self, _: VcpuId, _: &hypercall::Operation, _: Option<Result<(), hypercall::Errno>>) {}

    fn replaced(&self, vcpu: VcpuId, slot: PteSlot, old: Pte, new: Pte) {
        self.referee.replaced(vcpu, slot, old, new);
        self.replaced.lock().push((slot, old, new));
    }

    fn noted(&self, _: VcpuId, slot: PteSlot, flags: PteFlags) {
        self.referee.noted(slot, flags);
    }

    fn used_stale(&self, vcpu: VcpuId, address: VirtAddr, frame: Mfn, is_store: bool) {
        self.referee.used_stale(vcpu, address, frame, is_store);
    }
}

/// What the other processor does at each moment: 0 nothing, 1 a load, 2 a store.
#[derive(Default)]
struct Script {
    choices: Vec<u8>,
    at: usize,
    /// The first moment at which it did something that changed nothing: the rest is as if it had not.
    idle: Option<usize>,
}

const CHOICES: u8 = 3;

impl Script {
    fn choose(&mut self) -> u8 {
        if self.at == self.choices.len() {
            self.choices.push(0);
        }
        self.at += 1;
        self.choices[self.at - 1]
    }

    fn changed(&mut self, anything: bool) {
        if !anything && self.idle.is_none() {
            self.idle = Some(self.at - 1);
        }
    }

    /// The next interleaving; `false` behind the last.
    fn advance(&mut self) -> bool {
        if let Some(idle) = self.idle.take() {
            self.choices.truncate(idle + 1);
        }
        self.at = 0;
        while let Some(last) = self.choices.pop() {
            if last + 1 < CHOICES {
                self.choices.push(last + 1);
                return true;
            }
        }
        false
    }
}

/// A machine of two vCPUs with one page in a table of its own.
struct Machine {
    xen: MockXen,
    eyes: Arc<Eyes>,
    slot: PteSlot,
    address: VirtAddr,
    pages: [Mfn; 2],
}

impl Machine {
    fn new() -> Self {
        let eyes = Arc::new(Eyes { referee: Referee::new(Profile::Strict), replaced: Mutex::default() });
        let mut builder = GuestBuilder::new(2);
        builder.witness(eyes.clone());
        let (table, pages) = (builder.new_frame(), [builder.new_frame(), builder.new_frame()]);
        builder.table(table, Level::L1);
        let xen = builder.build().expect("a guest without contradictions");
        let map = xen.direct_map(table).expect("the guest's own").value() & !0x3fff_ffff;
        let address = VirtAddr::unchecked(map + (100 << 21));
        let at = xen.slot_of(THERE, address, Level::L2).expect("below the direct map's L3 entry");
        let attach = hypercall::MmuUpdate::new(at, Pte::new(table, RW | WRITTEN));
        let mut vcpu = xen.vcpu(VcpuId::new(0));
        let attached = hypercall::Hypervisor::mmu_update(&mut vcpu, &[attach], hypercall::Subject::SELF);
        assert_eq!(attached.result, Ok(()));
        Self { xen, eyes, slot: PteSlot::of(table, 0), address, pages }
    }

    fn follow(&self, script: Arc<Mutex<Script>>) {
        let (slot, address, eyes) = (self.slot, self.address, self.eyes.clone());
        self.xen.set_walker(move |xen: &MockXen| {
            let choice = script.lock().choose();
            if choice == 0 {
                return;
            }
            let tlb = || xen.tlb(THERE).get(&address).copied();
            let view = || (xen.read_entry(slot), tlb(), eyes.referee.violations().len());
            let before = view();
            // A fault is the guest's business: here it leaves the page alone.
            let _ = if choice == 1 { xen.load(THERE, address).map(drop) } else { xen.store(THERE, address, 1) };
            script.lock().changed(before != view());
        });
    }

    fn kernel(&self) -> Small<'_> {
        Kernel::new(self, [0, 1].map(|vcpu| self.xen.vcpu(VcpuId::new(vcpu))))
    }
}

type Small<'m> = Kernel<MockVcpu<'m>, &'m Machine, 8, 4, 20>;

impl Memory for &Machine {
    fn read(&self, slot: PteSlot) -> Pte {
        self.xen.moment();
        let pte = self.xen.read_entry(slot).expect("the guest's own");
        self.eyes.referee.seen(slot, pte);
        pte
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Map,
    Zap,
    /// Zap, flush every TLB, give the page away.
    Free,
    Protect,
    Permit,
    Age,
}

const ACTS: [Act; 6] = [Act::Map, Act::Zap, Act::Free, Act::Protect, Act::Permit, Act::Age];

/// What a faulty guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Normal updates where preserving ones are due.
    Normal,
    /// No flush before a page is given away.
    NoFlush,
}

/// One run: what was told, and what is in memory but for the notes.
struct Run<'m> {
    machine: &'m Machine,
    planted: Planted,
    mapped: Option<(Mfn, PteFlags)>,
    next: usize,
    held: Vec<Pte>,
    young: usize,
}

impl<'m> Run<'m> {
    fn zap(&mut self, region: &mut Region<'_, Small<'m>>) {
        let slot = self.machine.slot;
        if self.planted == Planted::Normal {
            let _read = region.read_pte(slot);
            region.set_pte(slot, Pte::EMPTY);
            region.flush();
        } else {
            let mut buffer = HeldBuffer::<1>::new();
            let mut harvest = region.harvest(&mut buffer);
            harvest.get_and_clear(slot).expect("there is room");
            self.held.extend(harvest.finish().iter().map(|held| held.pte()));
        }
    }

    fn change(&mut self, region: &mut Region<'_, Small<'m>>, flags: PteFlags) {
        let slot = self.machine.slot;
        let Some((_, now)) = &mut self.mapped else { return };
        *now = flags;
        let modified = |pte: Pte| pte.with_flags((pte.flags().without(PteFlags::RW)) | flags);
        if self.planted == Planted::Normal {
            let known = region.read_pte(slot);
            region.set_pte(slot, modified(known));
            return;
        }
        region.modify_range(slot, 1, |_, known| Some(modified(known.pte()))).expect("a range");
    }

    fn act(&mut self, region: &mut Region<'_, Small<'m>>, act: Act) {
        let (slot, referee) = (self.machine.slot, &self.machine.eyes.referee);
        match act {
            Act::Map if self.mapped.is_none() => {
                let page = self.machine.pages[self.next % 2];
                self.next += 1;
                referee.taken(page);
                self.mapped = Some((page, RW));
                region.set_pte(slot, Pte::new(page, RW));
            }
            Act::Map => {}
            Act::Zap => {
                self.zap(region);
                self.mapped = None;
            }
            Act::Free => {
                self.zap(region);
                if self.planted != Planted::NoFlush {
                    region.mmuext(MmuextOp::TlbFlushAll);
                }
                region.flush();
                if let Some((page, _)) = self.mapped.take() {
                    referee.released(page);
                }
            }
            Act::Protect => self.change(region, PteFlags::PRESENT | PteFlags::USER),
            Act::Permit => self.change(region, RW),
            Act::Age => self.young += usize::from(region.test_and_clear_young(slot)),
        }
    }

    /// What the run shows.
    fn judge(&self) -> Verdict {
        let replaced = self.machine.eyes.replaced.lock();
        let emptied: Vec<Pte> =
            replaced.iter().filter(|(_, old, new)| old.is_present() && !new.is_present()).map(|r| r.1).collect();
        if self.planted != Planted::Normal {
            assert_eq!(self.held, emptied, "what was held, with the notes of that moment");
            let lost = |(_, old, new): &&(PteSlot, Pte, Pte)| {
                old.is_present() && old.flags().without(new.flags()) & WRITTEN != PteFlags::NONE
            };
            let grown_old: Vec<_> = replaced.iter().filter(lost).collect();
            assert!(grown_old.len() <= self.young, "{grown_old:?}");
            grown_old.iter().for_each(|(_, old, new)| {
                assert_eq!(old.flags().without(new.flags()) & WRITTEN, PteFlags::ACCESSED, "dirty stays");
            });
        }
        let left = self.machine.xen.read_entry(self.machine.slot).expect("the guest's own");
        let expected = self.mapped.map(|(page, flags)| (page, flags.contains(PteFlags::RW)));
        let held = left.is_present().then(|| (left.frame(), left.flags().contains(PteFlags::RW)));
        assert_eq!(held, expected);
        self.machine.xen.audit().expect("the frame counts add up");
        self.machine.eyes.referee.verdict()
    }
}

fn run(acts: &[Act], planted: Planted, script: &Arc<Mutex<Script>>) -> Verdict {
    let machine = Machine::new();
    machine.follow(script.clone());
    let kernel = machine.kernel();
    let mut state = TaskState::new();
    let mut run = Run { machine: &machine, planted, mapped: None, next: 0, held: Vec::new(), young: 0 };
    let mut region = kernel.mmu().enter(&mut state, kernel.task());
    run.act(&mut region, Act::Map);
    region.flush();
    acts.iter().for_each(|act| run.act(&mut region, *act));
    region.leave().expect("nothing is refused");
    machine.xen.moment();
    run.judge()
}

/// Runs a program under every interleaving; answers how many there are, and with the findings.
fn explore(acts: &[Act], planted: Planted) -> (usize, Vec<(Rule, Finding)>) {
    let script = Arc::new(Mutex::new(Script::default()));
    let (mut runs, mut found) = (0, Vec::new());
    loop {
        let verdict = run(acts, planted, &script);
        found.extend(verdict.violations.iter().map(|violation| (violation.rule, violation.finding)));
        runs += 1;
        if !script.lock().advance() {
            return (runs, found);
        }
    }
}

fn programs(length: usize) -> Vec<Vec<Act>> {
    (0..length).fold(vec![Vec::new()], |programs, _| {
        let longer = |program: Vec<Act>| ACTS.map(|act| [program.as_slice(), &[act]].concat());
        programs.into_iter().flat_map(longer).collect()
    })
}

#[test]
fn no_interleaving_loses_a_note_or_reaches_a_page_that_was_given_away() {
    // `ci/full.sh` asks for longer ones.
    let longest = std::env::var("WALKER_PROGRAM").map_or(2, |length| length.parse().expect("a number of operations"));
    let mut total = 0;
    for program in (1..=longest).flat_map(programs) {
        let (runs, found) = explore(&program, Planted::Nothing);
        assert!(found.is_empty(), "{program:?}: {found:?}");
        total += runs;
    }
    println!("{total} interleavings of programs of up to {longest} operations");
    assert!(total > 1000, "the other processor has hardly been there: {total}");
}

#[test]
fn a_normal_update_instead_of_a_preserving_one_is_found() {
    for act in [Act::Zap, Act::Protect] {
        let (_, found) = explore(&[act], Planted::Normal);
        assert!(found.iter().any(|found| matches!(found, (Rule::R11, Finding::NotesLost { .. }))), "{act:?}");
        assert!(explore(&[act], Planted::Nothing).1.is_empty());
    }
}

#[test]
fn a_page_given_away_without_a_flush_is_found() {
    let (_, found) = explore(&[Act::Free], Planted::NoFlush);
    assert!(found.iter().any(|found| matches!(found, (Rule::R12, Finding::StaleUse { is_store: true, .. }))));
}
