#!/usr/bin/env bash
# Prints the registers of an image for every shape that it may run in.
#
# IMAGE       folder of the image (target/image/production): *-ovmf.fd, *-image.efi
# CPUS        1,2,4,8
# MEMORY      1G,2G,4G,8G
#
# Without an image, the firmware alone: MRTD and RTMR0.
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
    unified=$(one '*-image.efi')
    for part in "$firmware" "$unified"; do
        [[ $part ]] || die "$image is not a whole image: *-ovmf.fd and *-image.efi are"
    done
    arguments+=(--image "$unified")
else
    say "no image in $image: the firmware alone"
    scripts/firmware.sh
    firmware=$target/firmware/OVMF.inteltdx.fd
fi
exec "$measure" predict --firmware "$firmware" "${arguments[@]}"
