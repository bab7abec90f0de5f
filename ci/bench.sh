#!/usr/bin/env bash
# Counts again what is kept in bench/results, on the real Xen and on a hypervisor that does nothing, and fails where a figure has
# changed by more than a hundredth, or is beyond its limit. `--renew`: keeps what is counted now.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
    "") exec cargo test -p pvmmu --test measured -- --nocapture ;;
    --renew)
        cargo build --release --quiet -p pvmmu
        for what in "bench --on xen:xen-4.17-bench" "bench --on null:null-bench" "cost:xen-4.17-cost"; do
            # shellcheck disable=SC2086
            target/release/pvmmu ${what%%:*} --format json > "bench/results/${what##*:}.json.new"
            mv "bench/results/${what##*:}.json.new" "bench/results/${what##*:}.json"
        done
        ;;
    *) echo "usage: ci/bench.sh [--renew]" >&2; exit 2 ;;
esac
