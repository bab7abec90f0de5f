#!/usr/bin/env bash
# The fuzz targets. Without an argument, as ordinary tests on the stable compiler: over their corpora, over some inputs made
# from those, and with what is broken on purpose. With a number of seconds, each by libFuzzer for as long, on a nightly
# compiler; what that finds is kept under target/fuzz.
#
#   ci/fuzz.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
targets=(ftrace native hypercall regions)
# Unsafe code is fuzzed here.
checked=(c-face)

case "${1:-}" in
    "")
        cd fuzz
        export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../target/fuzz}"
        cargo fmt --check
        cargo clippy --quiet --locked --all-targets --features planted -- -D warnings
        cargo clippy --quiet --locked --lib -- -D warnings
        cargo test --quiet --locked --features planted
        ;;
    *[!0-9]*) echo "usage: ci/fuzz.sh [SECONDS]" >&2; exit 2 ;;
    *)
        ci/tools.sh cargo-fuzz
        rustup run nightly true 2> /dev/null || rustup toolchain install nightly --profile minimal
        export PATH="$PWD/target/tools/bin:$PATH" work="$PWD/target/fuzz"
        host=$(rustc -vV | sed -n 's/^host: //p')
        build() { cargo +nightly fuzz build --sanitizer "$1" --features libfuzzer --target-dir "$work/$1" "${@:2}"; }
        for target in "${targets[@]}"; do build none "$target"; done
        for target in "${checked[@]}"; do build address "$target"; done
        for target in "${targets[@]}" "${checked[@]}"; do
            mkdir -p "$work/corpus/$target" "$work/found/$target"
            echo "fuzz: $target for $1 seconds"
            sanitizer=none
            [[ " ${checked[*]} " = *" $target "* ]] && sanitizer=address
            # What is new goes to the first folder; the checked-in corpus is only read.
            "$work/$sanitizer/$host/release/$target" -max_total_time="$1" -max_len=4096 -timeout=20 -verbosity=0 -print_final_stats=1 \
                -artifact_prefix="$work/found/$target/" "$work/corpus/$target" "fuzz/corpus/$target" ||
                { echo "fuzz: $target has found something: see $work/found/$target; fix it and add the file to fuzz/corpus/$target" >&2; exit 1; }
        done
        ;;
esac
