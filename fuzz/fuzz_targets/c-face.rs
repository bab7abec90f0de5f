//! See [`pv_mmu_fuzz`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pv_mmu_fuzz::Target::named("c-face").check(bytes));
