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

# Instructions of an image that touch the red zone: with an address below rsp, or below rbp by more than
# what has been pushed and subtracted since rbp was set. With an index register, which may begin anywhere,
# it counts where it is more than an element (16 bytes) larger than the room the function has made.
# Adjusting rsp itself and no-ops touch nothing.
red_zone() {
    objdump -d -C -M intel --no-show-raw-insn "$1" | awk '
        function number(hex,    value, at) {
            for (at = 3; at <= length(hex); at++) value = 16 * value + index("0123456789abcdef", substr(hex, at, 1)) - 1
            return value
        }
        # How far below `base` the operand reaches; 0 where it does not.
        function below(base,    operand) {
            if (!match(text, "\\[" base "[^]]*-0x[0-9a-f]+\\]")) return 0
            operand = substr(text, RSTART, RLENGTH - 1)
            indexed = operand ~ /\*/
            return number(substr(operand, index(operand, "-0x") + 1))
        }
        /^[0-9a-f]+ <.*>:$/ { name = $2; frame = 0; room = 0; functions++; next }
        !/^ *[0-9a-f]+:\t/ { next }
        { split($0, part, "\t"); text = part[2] }
        text ~ /^nop/ || text ~ /^lea +rsp,/ { next }
        text ~ /^mov +rbp,rsp$/ { frame = 1; outside = room; next }
        text ~ /^push/ { room += 8 }
        match(text, /^sub +rsp,0x[0-9a-f]+$/) { room += number(substr(text, index(text, "0x"))); next }
        {
            deep = below("rsp")
            if (deep > (indexed ? room + 16 : 0)) print name " " $0
            deep = below("rbp")
            if (frame && deep > room - outside + (indexed ? 16 : 0)) print name " " $0
        }
        END { if (functions < 50) print "only " functions + 0 " functions: this is no kernel" }
    '
}

cargo fmt --check
cargo clippy --quiet --locked --target "$triple" --target-dir "$target/xen-guest" -- -D warnings

image=$(build xen-guest)
found=$(red_zone "$image")
[ -z "$found" ] || { printf 'xen-kernel: the kernel uses memory below rsp:\n%s\n' "$found" >&2; exit 1; }
# The same kernel with a red zone is the fault that has to be found.
image=$(RUSTFLAGS="-Crelocation-model=static -Cforce-unwind-tables=no" build xen-guest-red-zone)
planted=$(red_zone "$image")
[ -n "$planted" ] || { echo "xen-kernel: a kernel with a red zone was not found, so this gate finds nothing" >&2; exit 1; }
echo "xen-kernel: formatted, no lints, nothing below rsp; with a red zone $(wc -l <<<"$planted") instructions were found"
