#!/usr/bin/env bash
# Counts again what is kept in bench/results, on the real Xen, on a hypervisor that does nothing and under valgrind, and fails where
# a figure has changed by more than a hundredth, or is beyond its limit. `--renew`: keeps what is counted now.
set -euo pipefail
cd "$(dirname "$0")/.."

instructions() {
    ci/tools.sh gungraun-runner
    command -v valgrind > /dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends valgrind; }
    # Of what it prints for a person, only what went wrong: the figures are compared next.
    GUNGRAUN_RUNNER="$PWD/target/tools/bin/gungraun-runner" \
        cargo bench --quiet -p pv-mmu-bench --bench instructions -- --save-summary=json > target/instructions.txt ||
        { cat target/instructions.txt >&2; exit 1; }
    cargo run --release --quiet -p pv-mmu-bench --bin instructions -- "$@"
}

case "${1:-}" in
    "")
        instructions
        cargo test -p pvmmu --test measured -- --nocapture
        ;;
    # The other half of the above is one of the tests.
    --instructions) instructions ;;
    --renew)
        instructions --renew
        cargo build --release --quiet -p pvmmu
        for what in "bench --on xen:xen-4.17-bench" "bench --on null:null-bench" "cost:xen-4.17-cost"; do
            # shellcheck disable=SC2086
            target/release/pvmmu ${what%%:*} --format json > "bench/results/${what##*:}.json.new"
            mv "bench/results/${what##*:}.json.new" "bench/results/${what##*:}.json"
        done
        ;;
    *) echo "usage: ci/bench.sh [--renew | --instructions]" >&2; exit 2 ;;
esac
