#!/usr/bin/env bash
# The same properties as ci/test.sh, at far greater length: hours on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
export PROPTEST_CASES="${PROPTEST_CASES:-20000}"
WALKER_PROGRAM=3 cargo test --release -p pv-mmu --test contract interleaving -- --nocapture
WALKER_ROUNDS=1954 cargo test -p xen-lab --test lab every_dirty_bit -- --nocapture
# Figures in docs/conformance.md.
for preempt in none step random; do
    cargo run --release -- conform --ops 1000000 --preempt "$preempt"
done
cargo run --release -- conform --ops 10000000 --preempt random
# S60 whole: every program of four operations for each of two tasks. Figures in docs/decisions/exploring.md.
cargo run --release -- explore S60 --operations 4 --deviations 2
cargo run --release -- explore S60 --operations 4 --deviations 2 --nested
# Two deviations where invalidations wait. Figures in docs/arch/README.md.
cargo run --release -- explore --arch all --all
# Tasks preempted and moved on the real Xen. Figures in docs/decisions/exploring.md.
cargo run --release -- soak --updates 10000000
# The mock of a PAPR hypervisor held against QEMU's. Figures in docs/arch/powerpc64-lab.md.
cargo run --release -p papr-lab -- --ops 10000000 --seed 7
cargo run --release -p papr-lab -- --ops 10000000 --seed 7 --loads
cargo test --release -p hypercall -p pv-mmu -p mock-xen -p mmu-trace -p pvmmu
# Each fuzz target for ten minutes; docs/decisions/fuzzing.md.
ci/fuzz.sh 600
# Linux on Xen, recorded by three tools at once; docs/record-linux.md.
ci/record-linux.sh
# Every command of the example pipelines, pv-mmu built anew for them; docs/campaigns.md.
ci/pipelines.sh
# Packages, features, the oldest compiler, public interfaces as the nightly compiler tells them.
ci/packages.sh
# Every change of pv-mmu/src is noticed or explained. Figures in docs/decisions/mutants.md.
ci/mutants.sh
