//! S10-S16: nesting, pauses, leaks.

use hypercall::{InterruptContext, Pte};
use mock_xen::referee::Profile as Judged;
use pv_mmu::{Context, EnterError, LeaveError, PauseError, Profile, Report, ResumeError, TaskState};

use crate::world::{Watch, World, update};

fn nested() -> (World, TaskState) {
    (World::new(Judged::Nested), TaskState::with_profile(Profile::Nested))
}

#[test]
fn s10_a_nested_leave_flushes_and_laziness_goes_on() {
    let (world, mut state) = nested();
    let kernel = world.kernel::<false>();
    let watch = Watch::new(&world, &kernel, 1);
    let (a, b) = (world.slot(0, 1), world.slot(0, 2));
    let mut task = watch.dynamic(&mut state);
    task.enter().unwrap();
    task.enter().unwrap();
    task.set(a, world.page(0));
    task.leave().unwrap();
    assert_eq!(world.memory(a), world.stored(0));
    task.set(b, world.page(1));
    assert_eq!(world.memory(b), Pte::EMPTY);
    task.leave().unwrap();
    assert_eq!(world.memory(b), world.stored(1));
    world.assert_clean();
}

#[test]
fn s11_a_range_with_a_region_of_its_own_inside_a_region() {
    let (world, mut state) = nested();
    let kernel = world.kernel::<false>();
    let watch = Watch::new(&world, &kernel, 1);
    let mut task = watch.dynamic(&mut state);
    task.enter().unwrap();
    task.enter().unwrap();
    (0..8).for_each(|n| task.set(world.slot(0, n), world.page(n)));
    task.leave().unwrap();
    assert_eq!(world.take_calls()[0].len(), 8);
    task.set(world.slot(0, 20), world.page(20));
    assert!(world.take_calls().is_empty());
    task.leave().unwrap();
    assert_eq!(world.take_calls(), [[update(world.slot(0, 20), world.page(20))]]);
    world.assert_clean();
}

#[test]
fn s12_255_levels_then_an_error_and_never_a_wrap() {
    let (world, mut state) = nested();
    let kernel = world.kernel::<false>();
    let watch = Watch::new(&world, &kernel, 1);
    let mut task = watch.dynamic(&mut state);
    assert_eq!(task.leave(), Err(LeaveError::NotEntered));
    for _ in 0..255 {
        task.enter().unwrap();
    }
    assert_eq!(task.enter(), Err(EnterError::TooDeep));
    for _ in 0..255 {
        task.leave().unwrap();
    }
    assert_eq!(task.leave(), Err(LeaveError::NotEntered));
    assert!(!task.dynamic.is_lazy());
    world.assert_clean();
}

#[test]
fn s12_a_strict_region_does_not_nest_and_the_refusal_changes_nothing() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let watch = Watch::new(&world, &kernel, 1);
    let mut task = watch.dynamic(&mut state);
    task.enter().unwrap();
    task.set(world.slot(0, 1), world.page(0));
    assert_eq!(task.enter(), Err(EnterError::Nested));
    assert!(world.take_calls().is_empty() && task.dynamic.is_lazy());
    task.leave().unwrap();
    world.assert_clean();
}

#[test]
fn s13_a_pause_makes_operations_immediate_at_any_depth() {
    let (world, mut state) = nested();
    let kernel = world.kernel::<false>();
    let watch = Watch::new(&world, &kernel, 1);
    let (a, b) = (world.slot(0, 1), world.slot(0, 2));
    let mut task = watch.dynamic(&mut state);
    (0..3).for_each(|_| task.enter().unwrap());
    task.set(a, world.page(0));
    task.pause().unwrap();
    assert_eq!(world.memory(a), world.stored(0));
    task.enter().unwrap();
    task.set(b, world.page(1));
    assert_eq!(world.memory(b), world.stored(1));
    task.leave().unwrap();
    task.resume().unwrap();
    assert!(task.dynamic.is_lazy());
    (0..3).for_each(|_| task.leave().unwrap());
    assert_eq!(task.leave(), Err(LeaveError::NotEntered));
    world.assert_clean();
}

#[test]
fn s13_a_region_paused_by_guard() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let watch = Watch::new(&world, &kernel, 1);
    let (a, b) = (world.slot(0, 1), world.slot(0, 2));
    let mut region = watch.enter(&mut state);
    region.set(a, world.page(0));
    region.paused(&[update(b, world.page(1))]);
    assert_eq!(world.take_calls().len(), 2);
    region.set(a, world.page(2));
    assert!(world.take_calls().is_empty());
    region.leave().unwrap();
    world.assert_clean();
}

#[test]
fn s14_pauses_nest_and_are_legal_outside_a_region() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let watch = Watch::new(&world, &kernel, 1);
    let mut task = watch.dynamic(&mut state);
    assert_eq!(task.resume(), Err(ResumeError::NotPaused));
    task.pause().unwrap();
    task.resume().unwrap();
    task.enter().unwrap();
    task.pause().unwrap();
    task.pause().unwrap();
    task.resume().unwrap();
    assert!(!task.dynamic.is_lazy());
    task.set(world.slot(0, 1), world.page(0));
    assert_eq!(world.memory(world.slot(0, 1)), world.stored(0));
    task.resume().unwrap();
    assert!(task.dynamic.is_lazy());
    for _ in 0..255 {
        task.pause().unwrap();
    }
    assert_eq!(task.pause(), Err(PauseError::TooDeep));
    (0..255).for_each(|_| task.resume().unwrap());
    task.leave().unwrap();
}

#[test]
fn s15_a_region_opened_in_a_pause_that_outlives_it_is_found() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let watch = Watch::new(&world, &kernel, 1);
    let mut task = watch.dynamic(&mut state);
    task.pause().unwrap();
    task.enter().unwrap();
    assert_eq!(task.resume(), Err(ResumeError::OpenRegions(1)));
    assert_eq!(task.leave(), Err(LeaveError::NotEntered));
    assert!(kernel.reports.borrow().contains(&Report::UnbalancedPause { regions: 1 }));
    world.assert_clean();
}

#[test]
fn s16_an_error_in_the_middle_leaves_a_balanced_region() {
    fn break_out(watch: &Watch<'_>, world: &World, state: &mut TaskState) -> Result<(), &'static str> {
        let mut region = watch.enter(state);
        region.set(world.slot(0, 1), world.page(0));
        let broken = Err("out of memory");
        region.drop_it();
        broken
    }
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let watch = Watch::new(&world, &kernel, 1);
    assert!(break_out(&watch, &world, &mut state).is_err());
    assert_eq!((state.depth(), world.memory(world.slot(0, 1))), (0, world.stored(0)));
    watch.exit(&mut state);
    world.assert_clean();
}

#[test]
fn s16_a_leaked_region_is_found_at_the_next_enter_and_at_exit() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let watch = Watch::new(&world, &kernel, 1);
    let mut leaked = watch.enter(&mut state);
    leaked.set(world.slot(0, 1), world.page(0));
    std::mem::forget(leaked);
    assert_eq!(world.memory(world.slot(0, 1)), Pte::EMPTY);
    let mut again = watch.enter(&mut state);
    assert_eq!(world.memory(world.slot(0, 1)), world.stored(0));
    again.set(world.slot(0, 2), world.page(1));
    std::mem::forget(again);
    watch.exit(&mut state);
    assert_eq!(world.memory(world.slot(0, 2)), world.stored(1));
    assert_eq!(*kernel.reports.borrow(), [Report::LeakedRegion { depth: 1 }; 2]);
    assert_eq!(state.depth(), 0);
    world.assert_clean();
}

#[test]
fn s31_a_region_left_where_leaving_is_refused_is_found_at_exit() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let watch = Watch::new(&world, &kernel, 1);
    watch.dynamic(&mut state).enter().unwrap();
    watch.dynamic(&mut state).set(world.slot(0, 1), world.page(0));
    // Bottom halves disabled counts as interrupt context: the leave is refused, not swallowed.
    let soft = InterruptContext::in_user_space();
    let mut handler = kernel.mmu().dynamic(&mut state, Context::Interrupt(&soft));
    assert_eq!(handler.leave(), Err(LeaveError::Interrupt));
    assert_eq!((handler.enter(), handler.pause()), (Err(EnterError::Interrupt), Err(PauseError::Interrupt)));
    assert_eq!(handler.resume(), Err(ResumeError::Interrupt));
    watch.exit(&mut state);
    assert_eq!(*kernel.reports.borrow(), [Report::LeakedRegion { depth: 1 }]);
    assert_eq!(world.memory(world.slot(0, 1)), world.stored(0));
    world.assert_clean();
}
