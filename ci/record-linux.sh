#!/usr/bin/env bash
# Records one run of Debian's Linux, dom0 of Debian's Xen in QEMU, by its own tracer, trace-cmd and perf at the same time,
# by the commands of docs/record-linux.md, and judges all three. What crates/mmu-trace/tests/recorded/ was cut from.
# Root, for Debian's packages; four minutes. The texts stay in target/record-linux/.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD/ci/record-linux
work=$PWD/target/record-linux
rm -rf "$work" && mkdir -p "$work/packages" "$work/files" "$work/root"

missing=()
for pair in perf:linux-perf trace-cmd:trace-cmd qemu-system-x86_64:qemu-system-x86; do
    command -v "${pair%%:*}" > /dev/null || missing+=("${pair#*:}")
done
((${#missing[@]} == 0)) || apt-get install -y --no-install-recommends "${missing[@]}"

# Kernel, Xen and shell are taken out of their packages, not installed.
image=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-6[^ ]*\).*/\1/p' | head -1)
(cd "$work/packages" && apt-get download -q "$image" xen-hypervisor-4.17-amd64 busybox-static)
for package in "$work"/packages/*.deb; do dpkg -x "$package" "$work/files"; done
zcat "$work"/files/boot/xen-4.17-amd64.gz > "$work/xen"
cp "$work"/files/boot/vmlinuz-* "$work/vmlinuz"

# The tools with their libraries, and what is run.
cd "$work/root"
mkdir -p bin dev proc sys tmp usr/bin
cp "$work/files/bin/busybox" bin/
cp -L "$(command -v perf)" "$(command -v trace-cmd)" usr/bin/
ldd usr/bin/perf usr/bin/trace-cmd | grep -oE '/[^ ]+\.so[^ ]*' | sort -u | while read -r library; do
    install -D "$(readlink -f "$library")" ".$library"
done
cp "$here/init" "$here/session" .
find . | bin/busybox cpio -o -H newc 2> /dev/null | gzip -1 > "$work/initrd"

cd "$work"
timeout 900 qemu-system-x86_64 -no-user-config -display none -monitor none -serial stdio -nic none -no-reboot \
    -cpu Haswell-noTSX -m 2048 -smp 2 -accel tcg,thread=multi -kernel xen \
    -append "console=com1 com1=115200,8n1 dom0_mem=1536M dom0_max_vcpus=2 loglvl=error" \
    -initrd "vmlinuz console=hvc0 no_hash_pointers preempt=full quiet,initrd" > console
python3 "$here/files.py" console

trace-cmd report -l -r '.*' -i trace.dat | sed 's/^recorder: *//' > trace-cmd.txt
perf script --show-lost-events -s ../../docs/perf-fields.py -i perf.data > perf.txt
cd ../..
cargo run --release -- check target/record-linux/{tracefs,trace-cmd,perf}.txt
