#!/usr/bin/env bash
# Prints the registers of an image for every shape that it may run in.
#
# IMAGE       folder of the image (target/image/production): *-ovmf.fd, *-vmlinuz,
#             *-initramfs.cpio*, *-cmdline
# CPUS        1,2,4,8
# MEMORY      1G,2G,4G,8G
#
# Without an image, the locked firmware and kernel alone: MRTD, RTMR0 and RTMR1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/places.sh

image=${IMAGE:-$target/image/production}
measure=$built/zipnet-measure

say() { echo "measure: $*" >&2; }
die() { say "$*"; exit 1; }

# The one file of that name, or nothing.
one() {
    local found
    mapfile -t found < <(find "$image" -maxdepth 1 -name "$1")
    ((${#found[@]} < 2)) || die "$image has several files $1; one would be right"
    echo "${found[0]:-}"
}

arguments=(--cpus "${CPUS:-1,2,4,8}" --memory "${MEMORY:-1G,2G,4G,8G}")
if [[ -d $image ]]; then
    firmware=$(one '*-ovmf.fd')
    kernel=$(one '*-vmlinuz')
    initrd=$(one '*-initramfs.cpio*')
    cmdline=$(one '*-cmdline')
    for part in "$firmware" "$kernel" "$initrd" "$cmdline"; do
        [[ $part ]] || die "$image is not a whole image: *-ovmf.fd, *-vmlinuz, *-initramfs.cpio* and *-cmdline are"
    done
    arguments+=(--initrd "$initrd" --cmdline "$(<"$cmdline")")
else
    say "no image in $image: the locked firmware and kernel"
    scripts/machine.sh
    firmware=$target/machine/OVMF.fd
    kernel=$target/machine/vmlinuz
fi
exec "$measure" predict --firmware "$firmware" --kernel "$kernel" "${arguments[@]}"
