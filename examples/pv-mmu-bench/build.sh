#!/usr/bin/env bash
# Builds the bootable image: target/pv-mmu-bench.elf
set -euo pipefail
cd "$(dirname "$0")/../../crates/xen-guest/kernel"
target=../../../target/xen-guest
cargo build --release --locked --quiet --target x86_64-unknown-linux-gnu --target-dir "$target"
cp "$target/x86_64-unknown-linux-gnu/release/lab-kernel" ../../../target/pv-mmu-bench.elf
echo "target/pv-mmu-bench.elf"
