#!/usr/bin/env bash
# The fuzz targets. Without an argument, as ordinary tests on the stable compiler: over their corpora, over some inputs made
# from those, and with what is broken on purpose. With a number of seconds, each by libFuzzer for as long, on a nightly
# compiler; what that finds is kept under target/fuzz.
#
# A shard of a campaign fuzzes every target, with a seed and a corpus of its own, under target/fuzz/I-of-N; --merge adds to
# target/fuzz what all N have found and kept.
#
#   ci/fuzz.sh [SECONDS [--shard I/N]]
#   ci/fuzz.sh --merge N
set -euo pipefail
cd "$(dirname "$0")/.."
targets=(ftrace native hypercall regions)
# Unsafe code is fuzzed here.
checked=(c-face)

usage() { printf 'fuzz: %s\nusage: ci/fuzz.sh [SECONDS [--shard I/N]], with 1 <= I <= N; ci/fuzz.sh --merge N\n' "$1" >&2; exit 2; }
own="" seed=0
case "${2:-}" in
    "") ;;
    --shard)
        [[ "${3:-}" =~ ^([1-9][0-9]*)/([1-9][0-9]*)$ && "${BASH_REMATCH[1]}" -le "${BASH_REMATCH[2]}" ]] || usage "'${3:-}' is no shard"
        own="/${BASH_REMATCH[1]}-of-${BASH_REMATCH[2]}" seed="${BASH_REMATCH[1]}"
        ;;
    *) [ "$1" = --merge ] || usage "'$2' is no option" ;;
esac

# All that shards of a campaign have kept and found; ends with 1 if they found anything, with 2 if one is missing.
merge() {
    local work="${FUZZ_WORK:-target/fuzz}" shard
    for shard in $(seq "$1"); do
        [ -e "$work/$shard-of-$1/ended" ] || { echo "fuzz: shard $shard/$1 has not run to its end: run it, then merge" >&2; exit 2; }
    done
    for shard in $(seq "$1"); do
        # Files are named by what they hold: the same one from two shards is one.
        cp -r "$work/$shard-of-$1/corpus" "$work/$shard-of-$1/found" "$work/"
    done
    find "$work/found" -type f | sort | sed 's/^/fuzz: found: /'
    [ -z "$(find "$work/found" -type f)" ]
}

case "${1:-}" in
    --merge)
        [[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || usage "'${2:-}' is no number of shards"
        merge "$2"
        ;;
    "")
        cd fuzz
        export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../target/fuzz}"
        cargo fmt --check
        cargo clippy --quiet --locked --all-targets --features planted -- -D warnings
        cargo clippy --quiet --locked --lib -- -D warnings
        cargo test --quiet --locked --features planted
        ;;
    *[!0-9]*) usage "'$1' is no number of seconds" ;;
    *)
        ci/tools.sh cargo-fuzz
        rustup run nightly true 2> /dev/null || rustup toolchain install nightly --profile minimal
        export PATH="$PWD/target/tools/bin:$PATH" work="${FUZZ_WORK:-$PWD/target/fuzz}"
        host=$(rustc -vV | sed -n 's/^host: //p')
        build() { cargo +nightly fuzz build --sanitizer "$1" --features libfuzzer --target-dir "$work/$1" "${@:2}"; }
        for target in "${targets[@]}"; do build none "$target"; done
        for target in "${checked[@]}"; do build address "$target"; done
        failed=0
        rm -f "$work$own/ended"
        for target in "${targets[@]}" "${checked[@]}"; do
            mkdir -p "$work$own/corpus/$target" "$work$own/found/$target"
            echo "fuzz: $target for $1 seconds"
            sanitizer=none
            [[ " ${checked[*]} " = *" $target "* ]] && sanitizer=address
            # What is new goes to the first folder; the checked-in corpus is only read.
            "$work/$sanitizer/$host/release/$target" -max_total_time="$1" -max_len=4096 -timeout=20 -verbosity=0 -print_final_stats=1 -seed="$seed" \
                -artifact_prefix="$work$own/found/$target/" "$work$own/corpus/$target" "fuzz/corpus/$target" ||
                { echo "fuzz: $target has found something: see $work$own/found/$target; fix it and add the file to fuzz/corpus/$target" >&2; failed=1; }
        done
        touch "$work$own/ended"
        exit "$failed"
        ;;
esac
