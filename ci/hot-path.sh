#!/usr/bin/env bash
# Prints the loop that writes entries one by one in a region, as the kernel on the real Xen runs it: what
# docs/decisions/hot-path.md explains.
set -euo pipefail
cd "$(dirname "$0")/../crates/xen-guest/kernel"
target=../../../target/xen-guest
cargo build --release --locked --quiet --target x86_64-unknown-linux-gnu --target-dir "$target"
objdump --disassemble --no-show-raw-insn -M intel "$target/x86_64-unknown-linux-gnu/release/lab-kernel" |
    awk '/^[0-9a-f]+ <.*lab_kernel8commands5smoke5smoke/ { on = 1 }
         on && /cmp +BYTE PTR gs:0x9,0x0/ { from = NR } { line[NR] = $0 }
         on && /inc +WORD PTR/ { for (n = from - 1; n < NR; n++) print line[n]; rest = 9; on = 0 }
         rest-- > 0 { print }' |
    sed 's/<[^>]*>//' | grep . || { echo "hot-path: the loop is not found in the image; look for it where docs/decisions/hot-path.md says" >&2; exit 1; }
