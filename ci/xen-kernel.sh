#!/usr/bin/env bash
# The kernel the lab boots: its own workspace, so formatting and lints are checked here; and its image,
# in which nothing may touch memory below rsp, because Xen pushes the frame of an upcall right there.
set -euo pipefail
cd "$(dirname "$0")/../crates/xen-guest/kernel"
target="${CARGO_TARGET_DIR:-../../../target}"
triple=x86_64-unknown-linux-gnu

# The image at `$1` below the target directory, built with the flags that `RUSTFLAGS` has.
build() {
    cargo build --quiet --release --locked --target "$triple" --target-dir "$target/$1"
    echo "$target/$1/$triple/release/lab-kernel"
}

cargo fmt --check
cargo clippy --quiet --locked --target "$triple" --target-dir "$target/xen-guest" -- -D warnings

image=$(build xen-guest)
found=$(../../../ci/red-zone.sh "$image")
[ -z "$found" ] || { printf 'xen-kernel: the kernel uses memory below rsp:\n%s\n' "$found" >&2; exit 1; }
# The same kernel with a red zone is the fault that has to be found.
image=$(RUSTFLAGS="-Crelocation-model=static -Cforce-unwind-tables=no" build xen-guest-red-zone)
planted=$(../../../ci/red-zone.sh "$image")
[ -n "$planted" ] || { echo "xen-kernel: a kernel with a red zone was not found, so this gate finds nothing" >&2; exit 1; }
echo "xen-kernel: formatted, no lints, nothing below rsp; with a red zone $(wc -l <<<"$planted") instructions were found"
