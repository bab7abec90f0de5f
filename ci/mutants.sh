#!/usr/bin/env bash
# Changes pv-mmu/src in every way cargo-mutants knows, one at a time, and demands that a test notices:
# pv-mmu's own first, then, for what survives those, that the explorer finds each planted fault.
# Whatever survives both is explained in docs/decisions/mutants.md, or this fails.
#
#   ci/mutants.sh                       all of them: more than an hour on two cores
#   ci/mutants.sh --shard 0/8           an eighth; any other option of `cargo mutants` goes the same way
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_PROFILE_DEV_DEBUG="${CARGO_PROFILE_DEV_DEBUG:-0}"
ci/tools.sh cargo-mutants
out=target/mutants
found="$out/mutants.out"
rm -rf "$found" "$found.old"
mkdir -p "$out"
# A change may queue without end: it gets no more memory than this, in KiB, and is found out by that.
ulimit -v "${MUTANTS_MEMORY:-8000000}"

# Exit status 2 and 3 mean survivors and timeouts; the lists tell.
mutants() {
    local status=0
    nice target/tools/bin/cargo-mutants mutants -p pv-mmu --jobs 1 --no-shuffle -o "$out" "$@" || status=$?
    case "$status" in 0 | 2 | 3) ;; *) echo "mutants: cargo-mutants failed with status $status" >&2; exit 1 ;; esac
}

lines() { cat "$@" 2>/dev/null | grep -c . || true; }

mutants "$@" --features caller-location -- --lib --test contract
echo "mutants: $(lines "$found/caught.txt") caught, $(lines "$found/timeout.txt") timed out," \
    "$(lines "$found/unviable.txt") do not build, $(lines "$found/missed.txt") survive pv-mmu's own tests"
cp "$found/missed.txt" "$out/survivors.txt"
if [ -s "$out/survivors.txt" ]; then
    # By name, not by `--iterate`: that would try timeouts again, and knows nothing of shards.
    selected=()
    while IFS= read -r name; do selected+=(--re "^$name\$"); done < <(sed 's/[][\.*^$+?(){}|]/\\&/g' "$out/survivors.txt")
    # The tool tries the unchanged tree with the tests of the changed package only; so that is done here.
    cargo test --quiet -p guest-model --test planted
    mutants "${selected[@]}" --baseline skip --timeout 120 --test-package guest-model -- --test planted
    # Changes that delete a field pass any `--re`: what was not to be tried does not count.
    grep -Fxf "$found/missed.txt" "$out/survivors.txt" > "$out/both.txt" || true
    mv "$out/both.txt" "$out/survivors.txt"
    echo "mutants: $(lines "$out/survivors.txt") of these survive the explorer too"
fi
ci/mutants.py "$out/survivors.txt" "$@"
