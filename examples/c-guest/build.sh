#!/usr/bin/env bash
# Builds the guest kernel in C: `build.sh xen DIRECTORY` for the real Xen, as DIRECTORY/c-guest; `build.sh mock DIRECTORY` for
# user space on the mock, with sanitizers, as DIRECTORY/c-guest-mock.
set -euo pipefail
what=${1:?xen or mock} to=${2:?a directory}
mkdir -p "$to"
to=$(cd "$to" && pwd)
cd "$(dirname "$0")"
root=../..
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
strict=(-std=c11 -Wall -Wextra -Werror -pedantic -I. "-I$what" "-I$root/crates/pv-mmu-c/include")

# The library, with its own cargo configuration, which flags in the environment would replace.
(cd $root/crates/pv-mmu-c && env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_RUSTFLAGS -u RUSTC_WORKSPACE_WRAPPER \
    "${CARGO:-cargo}" build --quiet --release --locked --target-dir "$target/pv-mmu-c")
library="$target/pv-mmu-c/x86_64-unknown-linux-gnu/release/libpvmmu.a"

case "$what" in
    xen)
        # Xen pushes an upcall's frame right below the stack pointer; and the kernel's own code uses no SSE.
        gcc "${strict[@]}" -O2 -ffreestanding -fno-builtin -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fno-pie \
            -fno-asynchronous-unwind-tables -fcf-protection=none -nostdlib -static -no-pie -Wl,--build-id=none \
            -Wl,--gc-sections -Wl,--no-warn-rwx-segments -Wl,-T,xen/guest.ld ./*.c xen/*.c xen/entry.S "$library" -o "$to/c-guest"
        ;;
    mock)
        (cd $root && "${CARGO:-cargo}" build --quiet --release -p mock-xen-c --target-dir "$target")
        gcc "${strict[@]}" "-I$root/crates/mock-xen-c/include" -g -O1 -fsanitize=address,undefined \
            -fno-sanitize-recover=all ./*.c mock/*.c "$library" "$target/release/libmockxen.a" -lpthread -ldl -lm \
            -o "$to/c-guest-mock"
        ;;
    *)
        echo "build.sh: '$what' is none of xen and mock" >&2
        exit 2
        ;;
esac
