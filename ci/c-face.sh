#!/usr/bin/env bash
# The library's face for kernels in C: formatting and lints, headers that are what the code says, an archive a kernel can link, the
# guest kernel in C in user space on the mock and on the real Xen, the commands of docs/c-face.md, and every planted fault found.
# `--write` makes the headers anew. The last line says what ran: without QEMU or Xen nothing does on Xen, which with CI set is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
out="$target/c-guest"
strict=(-std=c11 -Wall -Wextra -Werror -pedantic -fsyntax-only -Icrates/pv-mmu-c/include -Icrates/mock-xen-c/include)
fail() { printf 'c-face: %s\n' "$*" >&2; exit 1; }
step() { printf '\n== c-face: %s\n' "$*"; }

install() { apt-get install -y --no-install-recommends gcc g++ libc6-dev binutils >/dev/null; }
for tool in gcc g++ objdump; do
    command -v "$tool" >/dev/null && continue
    [ "$(id -u)" = 0 ] || fail "$tool is missing; as root: apt-get install gcc g++ libc6-dev binutils"
    install || { apt-get update >/dev/null && install; }
done

step "formatting and lints of the face"
(cd crates/pv-mmu-c && cargo fmt --check && cargo clippy --quiet --release --locked --target-dir "$target/pv-mmu-c" -- -D warnings)

step "headers: what the code says, in C and C++, each function with its rule and errors"
ci/tools.sh cbindgen
mkdir -p "$out"
for pair in pv-mmu-c/include/pvmmu.h mock-xen-c/include/mockxen.h; do
    crate=${pair%%/*} fresh="$out/$(basename "$pair")"
    target/tools/bin/cbindgen --quiet --config "crates/$crate/cbindgen.toml" --output "$fresh" "crates/$crate"
    if [ "${1:-}" = --write ]; then cp "$fresh" "crates/$pair"; fi
    diff -u "crates/$pair" "$fresh" || fail "crates/$pair is not what the code says; run ci/c-face.sh --write"
    printf '#include "%s"\n' "$(basename "$pair")" >"$out/include.c"
    gcc "${strict[@]}" "$out/include.c"
    g++ -x c++ -std=c++11 -Wall -Wextra -Werror -pedantic -fsyntax-only "-Icrates/$crate/include" "$out/include.c"
done
# Every function says its rule and its errors.
awk '
    /^\/\// { doc = doc $0; next }
    match($0, /^[a-z].* \**pvmmu_[a-z_]+\(/) && !/static/ {
        if (doc !~ /R[0-9]/) print $0 " names no rule"
        if (doc !~ /Errors:/) print $0 " names no errors"
    }
    { doc = "" }
' crates/pv-mmu-c/include/pvmmu.h >"$out/undocumented"
[ ! -s "$out/undocumented" ] || fail "$(cat "$out/undocumented")"
# One word for another is none.
printf '#include "pvmmu.h"\nvoid f(struct pvmmu_task *task, struct pvmmu_slot slot, struct pvmmu_pte pte);\n' >"$out/mixed.c"
printf 'void f(struct pvmmu_task *task, struct pvmmu_slot slot, struct pvmmu_pte pte) { pvmmu_set_pte(task, pte, slot, 0); }\n' >>"$out/mixed.c"
mixed=$(gcc "${strict[@]}" "$out/mixed.c" 2>&1) && fail "a slot in the place of an entry compiles"
grep -q 'incompatible type' <<<"$mixed" || fail "mixed.c fails otherwise: $mixed"

step "the archive: no panic, no allocation; the planted panic is found"
symbols() {
    (cd crates/pv-mmu-c && cargo build --quiet --release --locked --target-dir "$target/pv-mmu-c$2" ${1:+--features "$1"})
    nm -C "$target/pv-mmu-c$2/x86_64-unknown-linux-gnu/release/libpvmmu.a" 2>/dev/null || true
}
unwanted() { grep -E 'panic|unwrap_failed|_fail\b|slice_index|__rust_alloc|alloc::|std::' || true; }
clean=$(symbols "" "")
found=$(unwanted <<<"$clean")
[ -z "$found" ] || fail "the archive can panic or allocate: $found"
for function in $(grep -oE '\bpvmmu_[a-z_]+\(' crates/pv-mmu-c/include/pvmmu.h | tr -d '(' | sort -u | grep -vE 'slot_of|pte_of|pte_frame|pte_is_none'); do
    grep -q " T $function$" <<<"$clean" || fail "the header has $function, and the archive has not"
done
planted=$(symbols planted-panic -planted | unwanted)
[ -n "$planted" ] || fail "the planted panic was not found, so this gate finds nothing"

step "14 scenarios in user space, with sanitizers"
examples/c-guest/build.sh mock "$out"
# `scenario NAME STATUS TEXT`: ends with this status and says this.
scenario() {
    local said status=0
    said=$("$out/c-guest-mock" "$1" 2>&1) || status=$?
    [ "$status" = "$2" ] && grep -qF -- "$3" <<<"$said" || fail "$1 ends with $status, not $2 and '$3': $said"
}
scenario work 0 'rules_wrong=0'
scenario planted-rules 1 'rules_wrong=32768'
scenario misuse 0 'rules=0'
scenario forgotten-leave 1 '1 open'
scenario leak-at-exit 0 'rules=0'
scenario behind-its-back 1 'R13 (exactly once)'
scenario trapped-store 1 'R10 (no overtaking)'
scenario forgotten-switch 1 'R7 (preemption)'
scenario migration 0 'rules=0'
scenario forgotten-migration 1 'R8 (migration)'
scenario threads 0 'rules=0'
scenario short-buffer 1 'heap-buffer-overflow'
scenario short-arguments 1 'heap-buffer-overflow'
scenario bad-shift 1 'shift exponent 64'

step "the example and the commands of docs/c-face.md"
awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' docs/c-face.md >"$out/region.c"
# `documented SECTION STATUS`: its first block that this script tests, on files of this run, ends so and says what stands there.
documented() {
    local block said status=0
    block=$(awk -v section="## $1" '$0 == section { here = 1 } here && /^```console$/ { on = 1; next } on && /^```$/ { exit } on' docs/c-face.md |
        sed -e ':joined' -e '/\\$/ { N; s/\\\n *//; b joined' -e '}')
    [ -n "$block" ] || fail "docs/c-face.md has no commands in '$1'"
    said=$(bash -euc "$(sed -n 's/^\$ //p' <<<"$block" | sed "s#/tmp/#$out/#g; s# target/# $target/#g")" 2>&1) || status=$?
    [ "$status" = "$2" ] || fail "docs/c-face.md, '$1' ends with $status, not $2: $said"
    while IFS= read -r line; do
        grep -qxF -- "$line" <<<"$said" || fail "docs/c-face.md, '$1' says '$line', and the program '$said'"
    done < <(grep -v '^\$ ' <<<"$block")
}
documented "Compiling it" 0
# What it asks for and never does is found and said.
sed -i '/pvmmu_set_pte(/d' "$out/region.c"
missed=$(documented "Compiling it" 0 2>&1) && fail "the example of docs/c-face.md passes without its writes"
grep -qF 'R2 (' <<<"$missed" || fail "docs/c-face.md: the example without its writes says '$missed'"
documented "In user space" 1

step "the kernel for Xen: nothing below the stack pointer, small frames"
examples/c-guest/build.sh xen "$out"
found=$(ci/red-zone.sh "$out/c-guest")
[ -z "$found" ] || fail "the kernel in C uses memory below rsp: $found"
# A kernel's stacks are small. The benchmark's own room for a table is the one frame that has to be found.
large=$(objdump -d --no-show-raw-insn -M intel "$out/c-guest" | awk '
    /^[0-9a-f]+ <.*>:$/ { name = $2; next }
    /sub +rsp,0x([89a-f][0-9a-f][0-9a-f]|[0-9a-f][0-9a-f][0-9a-f][0-9a-f]+)$/ { print name }
' | sort -u | tr -d '<>:\n')
[ "$large" = once ] || fail "functions with 2 KiB of stack or more are '$large', not the benchmark's 'once' alone"

step "the guest on the real Xen: smoke test, rules, refusals"
on_xen() { cargo test -p xen-lab --test lab -- "$@" 2>&1 | tee "$out/on-xen" >&2; }
skipped() { grep -o 'SKIPPED: .*' "$out/on-xen" || true; }
(unset CI; export XEN_LAB_QEMU=/no/qemu; on_xen c_guest::the_kernel_in_c_passes) 2>/dev/null
[ -n "$(skipped)" ] || fail "a test that finds no Xen is not noticed, so nothing says that the guest ran"
# Its costs are held against those of the kernel in Rust, which takes longer: `cargo test -p xen-lab --test lab c_guest::`.
on_xen c_guest:: --skip hardly_more
skipped=$(skipped)
there="3 tests on the real Xen as they should be"
if [ -n "$skipped" ]; then
    skipped=${skipped%%$'\n'*}
    [ -z "${CI:-}" ] || fail "in CI the guest has to run on Xen: $skipped"
    there="NOTHING ON XEN: $skipped"
fi
echo "c-face: headers fresh in C and C++, no panic in the archive, 14 scenarios in user space as they should be; $there"
