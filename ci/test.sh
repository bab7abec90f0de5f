#!/usr/bin/env bash
# Everything that has to hold, the same here and in CI. Installs what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-auto}"

step() { printf '\n== %s\n' "$*"; }

step "formatting"
cargo fmt --all --check
step "lints"
cargo clippy --workspace --all-targets --all-features -- -D warnings
step "licences, bans and sources of dependencies"
ci/tools.sh cargo-deny
target/tools/bin/cargo-deny check licenses bans sources
step "tests"
cargo test --workspace
step "tests with caller locations"
cargo test -p pv-mmu --features caller-location
step "coverage, no lower than kept"
ci/coverage.sh --if-possible
step "a gigabyte of trace in bounded memory"
cargo test --release -p mmu-trace --test memory -- --nocapture
step "the mock held against real Xen"
ci/conform.sh
step "every planted fault of the mock is found by real Xen"
cargo test --release -p xen-conform --test planted -- --nocapture
step "every interleaving, within the bounds of the catalogue"
cargo run --release -- explore --all
step "campaigns: shards, merged, are the whole"
ci/campaign.sh
step "instructions of every policy, by valgrind"
ci/bench.sh --instructions
step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
step "fuzz targets, on their corpora and what is made from them"
ci/fuzz.sh
step "the guest crates as a kernel links them"
ci/guest-archive.sh
step "the kernel for the real Xen: formatting, lints, and nothing below the stack pointer"
ci/xen-kernel.sh
step "the face for kernels in C"
ci/c-face.sh
step "reports for pipelines, against their schema"
ci/junit.sh
step "pages, in a real Chromium"
ci/pages.sh
step "house rules"
ci/house.py
step "the main job"
cargo run --release
echo
echo "all of it passed"
