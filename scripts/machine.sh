#!/usr/bin/env bash
# Fetches and unpacks the machines that guests run in: QEMU in two versions, a TPM
# emulator, busybox, the image's kernel, and Debian's generic firmware, which drives a
# TPM and so tells tests what it measured.
#
#   scripts/machine.sh [DIR]        DIR is target/machine if not given
#   scripts/machine.sh --least      only what `make run` needs: kernel and one QEMU, in
#                                   target/machine, and the image's firmware
#
# Needs no root. DIR/bin has qemu-system-x86_64 (11.1), qemu-7.2 and swtpm, which
# run with the libraries that were unpacked with them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

least=
if [[ ${1:-} == --least ]]; then
    least=yes
    shift
fi
dir=${1:-${CARGO_TARGET_DIR:-target}/machine}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
locks=(image/inputs.lock measurements/tests/machine/packages.lock)
stamp=$(cat "${locks[@]}" scripts/machine.sh | sha256sum)

exec 8>"$dir/machine.lock"
flock 8
[[ -f $dir/done && $(<"$dir/done") == "$stamp" ]] && exit 0
[[ $least && -f $dir/done.least && $(<"$dir/done.least") == "$stamp" ]] && exit 0
rm -f "$dir/done" "$dir/done.least"
qemus=(11.1)
if [[ $least ]]; then
    scripts/packages.sh "${locks[0]}" "$dir" kernel-only
    scripts/packages.sh "${locks[1]}" "$dir" qemu-11.1
else
    qemus+=(7.2)
    for lock in "${locks[@]}"; do
        scripts/packages.sh "$lock" "$dir"
    done
fi

# wrapper NAME ROOT PROGRAM ARGUMENTS: bin/NAME runs a program with its own loader
# and libraries, on any Linux.
wrapper() {
    local name=$1 root=$dir/$2 program=$3 loader=$dir/$2/lib64/ld-linux-x86-64.so.2 libraries=
    shift 3
    [[ -e $loader ]] || loader=$root/usr/lib64/ld-linux-x86-64.so.2
    [[ -e $loader ]] || { echo "machine: $root has no loader; remove it and run this again" >&2; exit 1; }
    for sub in lib usr/lib; do
        libraries+="$root/$sub/x86_64-linux-gnu:"
    done
    for sub in swtpm pulseaudio; do
        libraries+="$root/usr/lib/x86_64-linux-gnu/$sub:"
    done
    printf '#!/bin/sh\nQEMU_MODULE_DIR=%q exec %q --library-path %q %q%s "$@"\n' \
        "$root/usr/lib/x86_64-linux-gnu/qemu" "$loader" "${libraries%:}" "$root/usr/bin/$program" \
        "${*:+ $(printf '%q ' "$@")}" >"$dir/bin/$name"
    chmod +x "$dir/bin/$name"
}
mkdir -p "$dir/bin"
for version in "${qemus[@]}"; do
    wrapper "qemu-$version" "qemu-$version" qemu-system-x86_64 \
        -L "$dir/qemu-$version/usr/share/qemu" -L "$dir/tools/usr/share/seabios"
done
ln -sf qemu-11.1 "$dir/bin/qemu-system-x86_64"
if [[ $least ]]; then
    echo "$stamp" >"$dir/done.least"
    exit 0
fi
wrapper swtpm tools swtpm

# What guests get, by names without versions.
cp "$dir"/kernel-only/boot/vmlinuz-* "$dir/vmlinuz"
"$dir/tools/bin/busybox" xz -dc \
    "$dir"/kernel-only/lib/modules/*/kernel/drivers/firmware/qemu_fw_cfg.ko.xz >"$dir/qemu_fw_cfg.ko"
cp "$dir/firmware-only/usr/share/ovmf/OVMF.fd" "$dir/OVMF.fd"
cp "$dir/tools/bin/busybox" "$dir/busybox"
echo "$stamp" >"$dir/done"
