#!/usr/bin/env bash
# Which share of the lines of `hypercall`, `mock-xen` and `pv-mmu` their tests run (those of `pv_mmu::arch` are in `arch-model`): no
# less than is kept in ci/coverage.txt.
# What is not run, and why: docs/decisions/coverage.md.
#
#   ci/coverage.sh              checks
#   ci/coverage.sh --renew      keeps what is measured now
#   ci/coverage.sh --missing    also names the lines that are not run
#   ci/coverage.sh --if-possible    checks, and passes where this toolchain has no llvm-tools and none can be fetched
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in "" | --renew | --missing | --if-possible) ;; *) echo "usage: ci/coverage.sh [--renew | --missing | --if-possible]" >&2; exit 2 ;; esac
if ! { rustup component list --installed | grep -q '^llvm-tools' || rustup component add llvm-tools; }; then
    printf '\n!! coverage: NOT MEASURED: this toolchain has no llvm-tools, and none can be fetched\n\n' >&2
    [ "${1:-}" = --if-possible ]
    exit
fi
ci/tools.sh cargo-llvm-cov
export PATH="$PWD/target/tools/bin:$PATH"
# The same inputs in every run, so that the figures repeat.
export PROPTEST_RNG_SEED=1 CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/coverage"
out="$CARGO_TARGET_DIR"
mkdir -p "$out"

# Compile-fail tests run no line, and documentation tests need a nightly compiler for this.
cargo llvm-cov --quiet --no-report -p hypercall -p mock-xen -p pv-mmu -p arch-model --features pv-mmu/caller-location --lib --tests -- --skip compile_fail > "$out/tests.txt" 2>&1 ||
    { cat "$out/tests.txt" >&2; exit 1; }
cargo llvm-cov report --json --summary-only --ignore-filename-regex '/tests/' > "$out/coverage.json"

ci/coverage.py "$out/coverage.json" ci/coverage.txt "$@"
[ "${1:-}" != --missing ] || cargo llvm-cov report --show-missing-lines --ignore-filename-regex '/tests/' | sed -n '/^Uncovered Lines/,$p'
