//! What a kernel calls of the guest crates, reachable from exported functions, so that what is left in
//! the archive is what a kernel would link. Formatting of errors is left out: it goes through `core::fmt`,
//! and a kernel that prints errors links that anyway.
#![no_std]

use core::cell::RefCell;

use hypercall::{
    Batch, Errno, FaultAt, Hypervisor, InterruptContext, Level, Mfn, MmuUpdate, MmuextOp, Operation, Outcome,
    PreparedCall, PreparedCalls, Pte, PteSlot, Recorder, Subject, SwitchContext, TaskContext, VcpuMask, VirtAddr,
    issue_operation,
};
use pv_mmu::{
    Callback, Context, HeldBuffer, Mmu, Operations, Platform, ReadModifyWrite, Report, TaskState, VcpuQueue,
    table::{Alias, Draft, TableMemory},
};

/// A hypervisor behind C functions.
pub struct Foreign {
    update: extern "C" fn(*const MmuUpdate, usize, u32) -> i64,
    call: extern "C" fn(u32, *const u64) -> i64,
}

impl Hypervisor for Foreign {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        let answer = (self.update)(updates.as_ptr(), updates.len(), subject.bits());
        match Errno::from_return(answer) {
            Ok(_) => Outcome::all(updates.len() as u32),
            Err(errno) => Outcome::refused(0, errno),
        }
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        let answer = (self.call)(call.raw().number, call.raw().args.as_ptr());
        call.outcome(answer)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        for index in 0..calls.len() {
            let Some(call) = calls.call(index) else { break };
            let answer = (self.call)(call.raw().number, call.raw().args.as_ptr());
            calls.set_result(index, answer);
        }
        Ok(())
    }
}

/// One vCPU's kernel.
pub struct Kernel {
    vcpu: RefCell<(VcpuQueue, Foreign)>,
    memory: extern "C" fn(u64, u64) -> u64,
    report: extern "C" fn(u32),
}

impl Platform for Kernel {
    type Hypervisor = Foreign;
    type Queue = VcpuQueue;

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut Foreign) -> R) -> R {
        loop {
            if let Ok(mut vcpu) = self.vcpu.try_borrow_mut() {
                let (queue, hypervisor) = &mut *vcpu;
                return step(queue, hypervisor);
            }
        }
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        Pte::from_bits((self.memory)(slot.bits(), 0))
    }

    fn online(&self) -> VcpuMask {
        VcpuMask::from_words([3, 0])
    }

    fn flush_others(&self, table: Mfn) {
        (self.report)(table.number() as u32);
    }

    fn report(&self, report: &Report) {
        (self.report)(matches!(report, Report::Failed(_)).into());
    }
}

fn task_context() -> TaskContext {
    // SAFETY: 1. the functions below are a task's own code by their contract with C.
    unsafe { TaskContext::assume() }
}

/// A region with every kind of operation.
#[unsafe(no_mangle)]
pub extern "C" fn guest_region(kernel: &Kernel, task: &mut TaskState, slot: PteSlot, pte: Pte, run: &Operation) -> u32 {
    fn done(_: usize, _: pv_mmu::Status) {}
    let context = task_context();
    let mut region = Mmu::new(kernel).enter(task, &context);
    region.set_pte(slot, pte);
    region.commit_pte(slot, pte);
    region.set_upper(slot, pte);
    region.mmuext(MmuextOp::TlbFlushAll);
    region.operation_then(run, Callback::new(done, 0));
    region.after_flush(Callback::new(done, 1));
    let range = region.set_ptes(slot, 16, |n| Pte::from_bits(pte.bits() + n as u64)).is_err();
    let old = region.get_and_clear(slot).map_or(0, |held| held.pte().bits()) ^ region.read_pte(slot).bits();
    let change = region.modify_start(slot);
    region.modify_commit(change, pte);
    region.wrprotect(slot);
    let young = region.test_and_clear_young_range(slot, 16).map_or(0, |young| young.count());
    let mut buffer = HeldBuffer::<16>::new();
    let mut harvest = region.harvest(&mut buffer).cleaning();
    let full = harvest.get_and_clear_range(slot, 16).is_err();
    let dirty = harvest.finish().iter().filter(|held| held.was_dirty()).count();
    let paused = region.pause().set_pte(slot, pte).is_err();
    region.flush();
    let told = u32::from(range) + u32::from(paused) + u32::from(full) + old as u32 + young + dirty as u32;
    region.leave().map_or_else(|failures| failures.count(), |()| told)
}

/// The same without a region.
#[unsafe(no_mangle)]
pub extern "C" fn guest_outside(
    kernel: &Kernel,
    task: &mut TaskState,
    slot: PteSlot,
    pte: Pte,
    run: &Operation,
) -> u32 {
    let context = task_context();
    let mut outside = Mmu::new(kernel).outside(task, &context);
    let set = outside.set_pte(slot, pte).map(|owed| owed.flush_page(VirtAddr::unchecked(0)).is_ok()).is_ok();
    let range = outside.set_ptes(slot, 8, |_| pte).map(|owed| owed.not_cached()).is_ok();
    let other = outside.operation(run).map(|owed| owed.deferred()).is_ok();
    let mut buffer = HeldBuffer::<16>::new();
    let cleared = outside.get_and_clear(slot).map(|(_, owed)| owed.deferred()).is_ok();
    let zapped = outside.get_and_clear_range(slot, 16, &mut buffer).map(|(_, owed)| owed.deferred()).is_ok();
    let protected = outside.wrprotect_range(slot, 16).map(|owed| owed.deferred()).is_ok();
    let aged = outside.test_and_clear_young_range(slot, 16).map(|(_, owed)| owed.deferred()).is_ok();
    [set, range, other, cleared, zapped, protected, aged].iter().map(|ok| u32::from(*ok)).sum()
}

/// A page behind C functions.
#[derive(Debug)]
pub struct ForeignPage {
    frame: u64,
    memory: extern "C" fn(u64, u64) -> u64,
}

impl TableMemory for ForeignPage {
    fn frame(&self) -> Mfn {
        Mfn::new(self.frame)
    }

    fn alias(&self) -> Alias {
        Alias { address: VirtAddr::unchecked(self.frame << 12), writable: Pte::from_bits(self.frame << 12 | 3) }
    }

    fn load(&self, index: usize) -> Pte {
        Pte::from_bits((self.memory)(index as u64, 0))
    }

    fn store(&mut self, index: usize, pte: Pte) {
        (self.memory)(index as u64, pte.bits());
    }
}

/// The life of a table.
#[unsafe(no_mangle)]
pub extern "C" fn guest_table(kernel: &Kernel, task: &mut TaskState, at: PteSlot, pte: Pte, page: &ForeignPage) -> u32 {
    let context = task_context();
    let page = ForeignPage { frame: page.frame, memory: page.memory };
    let mut outside = Mmu::new(kernel).outside(task, &context);
    let mut draft = Draft::new(page, Level::L1);
    draft.fill(|_| pte);
    let Ok(mut live) = draft.validate(&mut outside) else { return 0 };
    let attached = live.attach(&mut outside, at, pte.flags()).is_ok();
    let Ok(live) = live.rewrite(&mut outside, 300, |_, old| Some(old)) else { return 1 };
    let Ok(draft) = live.retire(&mut outside) else { return 2 };
    let held = draft.entries().count();
    let Ok(live) = draft.attach(&mut outside, at, pte.flags()) else { return 3 };
    u32::from(attached) + held as u32 + live.slot(3).index() as u32
}

/// A task by the dynamic rules.
#[unsafe(no_mangle)]
pub extern "C" fn guest_dynamic(kernel: &Kernel, task: &mut TaskState, slot: PteSlot, pte: Pte) -> u32 {
    let context = task_context();
    let mut dynamic = Mmu::new(kernel).dynamic(task, Context::Task(&context));
    let calls = [
        dynamic.enter().is_ok(),
        dynamic.set_pte(slot, pte).is_ok(),
        dynamic.pause().is_ok(),
        dynamic.resume().is_ok(),
        dynamic.set_ptes(slot, 3, |_| pte).is_ok(),
        dynamic.leave().is_ok(),
    ];
    Mmu::new(kernel).exit_task(task, &context);
    calls.iter().map(|ok| u32::from(*ok)).sum()
}

/// An interrupt handler and a context switch.
#[unsafe(no_mangle)]
pub extern "C" fn guest_interrupt_and_switch(kernel: &Kernel, slot: PteSlot, pte: Pte, table: Mfn) -> u64 {
    // SAFETY: 1. an interrupt handler by this function's contract with C; 2. and then the switch code.
    let (interrupt, switch) = unsafe { (InterruptContext::assume(), SwitchContext::assume()) };
    let mut handler = Mmu::new(kernel).interrupt(&interrupt);
    let ok = handler.set_pte(slot, pte).is_ok();
    handler.flush();
    let mut hook = Mmu::new(kernel).switch(&switch);
    hook.base_pointers(table, table);
    hook.stack(0xe02b, VirtAddr::unchecked(0));
    hook.finish();
    Mmu::new(kernel).count(false);
    Mmu::new(kernel).stats().queued + u64::from(ok)
}

/// What the gate exists to find.
#[cfg(feature = "planted-panic")]
#[unsafe(no_mangle)]
pub extern "C" fn planted(values: &[u32; 4], index: usize) -> u32 {
    values[index]
}

/// A handler by the dynamic rules.
#[unsafe(no_mangle)]
pub extern "C" fn guest_dynamic_interrupt(kernel: &Kernel, task: &mut TaskState, slot: PteSlot, pte: Pte) -> u32 {
    // SAFETY: 1. an interrupt handler by this function's contract with C.
    let context = unsafe { InterruptContext::assume() };
    let mut dynamic = Mmu::new(kernel).dynamic(task, Context::Interrupt(&context));
    let refused = dynamic.enter().is_err() && dynamic.leave().is_err();
    let old = dynamic.get_and_clear(slot).map_or(0, |held| held.pte().bits()) ^ dynamic.read_pte(slot).bits();
    dynamic.flush();
    u32::from(refused) + u32::from(dynamic.set_pte(slot, pte).is_ok()) + old as u32
}

/// The two adapters, as a kernel's self-test would put them in between.
#[unsafe(no_mangle)]
pub extern "C" fn guest_adapters(hypervisor: &mut Foreign, run: &Operation, at: u64) -> u64 {
    let mut told = 0;
    let mut recorder = Recorder::new(FaultAt::new(hypervisor, at, Errno::INVAL), |_| told += 1);
    let issued = issue_operation(&mut recorder, run).is_ok();
    let mut batch = Batch::<4, 4, 40>::new();
    let pushed = batch.push(run).is_ok() && batch.push(run).is_ok();
    let multicall = recorder.multicall(&mut batch.prepare()).is_ok();
    told + u64::from(issued) + u64::from(pushed) + u64::from(multicall)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
