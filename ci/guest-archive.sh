#!/usr/bin/env bash
# The guest crates as a kernel links them: no panic, allocator or std symbol may be left.
set -euo pipefail
cd "$(dirname "$0")/guest-archive"
target="${CARGO_TARGET_DIR:-../../target}/guest-archive"

symbols() {
    cargo build --quiet --release --target-dir "$target" "$@"
    # Objects that hold only bitcode have no symbols for nm, which says so at length.
    nm -C "$target/release/libguest_archive.a" 2>/dev/null || true
}
unwanted() { grep -E 'panic|unwrap_failed|_fail\b|slice_index|__rust_alloc|alloc::|std::' || true; }

clean=$(symbols)
grep -q ' T guest_region$' <<<"$clean" || { echo "guest-archive: nm shows no guest code; is binutils installed?" >&2; exit 1; }
found=$(unwanted <<<"$clean")
[ -z "$found" ] || { printf 'guest-archive: the guest crates can panic or allocate:\n%s\n' "$found" >&2; exit 1; }
planted=$(symbols --features planted-panic | unwanted)
[ -n "$planted" ] || { echo "guest-archive: the planted panic was not found, so this gate finds nothing" >&2; exit 1; }
if grep -rn 'unsafe' ../../pv-mmu/src | grep -vE '//|forbid'; then
    echo "guest-archive: pv-mmu has unsafe code" >&2
    exit 1
fi
echo "guest-archive: $(grep -c ' [Tt] ' <<<"$clean") functions, no panic, alloc or std symbol; the planted panic was found"
