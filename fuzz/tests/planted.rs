//! What is broken on purpose is found: by the same inputs with which the targets are tried.
#![cfg(feature = "planted")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use mock_xen::GuestBuilder;
use pv_mmu_fuzz::{
    CProgram, FaceFault, Program, Script, Story, account, plant, run_c_program, run_program, run_script,
};

/// The inputs in the corpus of a target, and random ones.
fn inputs<I: for<'b> Arbitrary<'b>>(target: &str, random: usize) -> Vec<I> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(folder).expect("the corpus is there").map(|file| file.expect("it can be read").path());
    let mut bytes: Vec<Vec<u8>> = files.map(|path| fs::read(path).expect("a seed can be read")).collect();
    let mut generator = fastrand::Rng::with_seed(1);
    // Odd bytes make long lists.
    let mut next = || (0..1000).map(|_| generator.u8(..) | u8::from(generator.u8(..) < 220)).collect();
    bytes.extend((0..random).map(|_| next()).collect::<Vec<Vec<u8>>>());
    bytes.iter().filter_map(|bytes| I::arbitrary_take_rest(Unstructured::new(bytes)).ok()).collect()
}

/// Faults of the library that no program here can show: they take callbacks, tables that are unpinned while in use, ranges
/// longer than the queue, or a read-modify-write of what is pending. The explorer finds these.
const UNSEEN: &[pv_mmu::Fault] = &[
    pv_mmu::Fault::PendingOverlooked,
    pv_mmu::Fault::OthersStay,
    pv_mmu::Fault::CallbacksForgotten,
    pv_mmu::Fault::RangeUndivided,
    pv_mmu::Fault::OutsideLooks,
];

#[test]
fn every_rule_that_a_program_can_show_broken_is_found_broken() {
    let programs: Vec<Program> = inputs("regions", 6000);
    let is_found = |fault| programs.iter().any(|program| run_program(program, Some(fault)).is_err());
    let unseen: Vec<_> = pv_mmu::Fault::ALL.iter().copied().filter(|fault| !is_found(*fault)).collect();
    assert_eq!(unseen, UNSEEN);
}

/// Faults of the mock that count a reference too often or too rarely.
const MISCOUNTS: &[mock_xen::Fault] = &[
    mock_xen::Fault::WritableUncounted,
    mock_xen::Fault::WritableKept,
    mock_xen::Fault::ReadOnlyCountedWritable,
    mock_xen::Fault::ChildUncounted,
    mock_xen::Fault::ChildKept,
    mock_xen::Fault::UserBaseUncounted,
    mock_xen::Fault::PinUncounted,
    mock_xen::Fault::UnpinKept,
];

#[test]
fn every_miscount_is_found() {
    let scripts: Vec<Script> = inputs("hypercall", 3000);
    let is_found = |fault| {
        scripts.iter().any(|script| {
            let builder = || {
                let mut builder = GuestBuilder::new(2);
                builder.plant(fault);
                builder
            };
            // What is miscounted may be used until the mock itself gives up.
            catch_unwind(|| run_script(script, builder())).map_or(true, |run| run.is_err())
        })
    };
    let missed: Vec<_> = MISCOUNTS.iter().filter(|fault| !is_found(**fault)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn every_fault_of_the_face_is_found() {
    let programs: Vec<CProgram> = inputs("c-face", 3000);
    let is_found = |fault| {
        plant(Some(fault));
        programs.iter().any(|program| run_c_program(program).is_err())
    };
    let missed: Vec<_> = FaceFault::ALL.into_iter().filter(|fault| !is_found(*fault)).collect();
    plant(None);
    assert!(missed.is_empty(), "{missed:?}");
    let honest = programs.iter().find_map(|program| run_c_program(program).err().map(|finding| (finding, program)));
    assert!(honest.is_none(), "{honest:?}");
}

#[test]
fn a_line_or_an_event_that_is_lost_is_found() {
    let mut reader = mmu_trace::EventReader::new(mmu_trace::BUNDLED[0].gzip).expect("a bundled trace");
    let events: Vec<_> = reader.by_ref().take(100_000).collect::<Result<_, _>>().expect("it can be read");
    let story = Story { events, summary: reader.summary().clone(), whole: true };
    assert_eq!(account(&story), Ok(()));
    let mut lost = Story { events: story.events.clone(), ..story };
    lost.events.pop();
    assert!(account(&lost).is_err());
    let mut unnoted = lost;
    unnoted.events = story.events;
    unnoted.summary.lines += 1;
    assert!(account(&unnoted).is_err());
}
