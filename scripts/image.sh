#!/usr/bin/env bash
# Builds the guest image into target/image/FLAVOR.
#
# FLAVOR      production (default), or local, which knows simulated evidence and is
#             made of the programs that this machine runs itself
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/places.sh

flavor=${FLAVOR:-production}
out=$target/image/$flavor

say() { echo "image: $*" >&2; }

firmware=$target/firmware/OVMF.inteltdx.fd
case $flavor in
    production)
        scripts/packages.sh image/inputs.lock "$target/machine"
        # As one of the workspace: alone, its dependencies would have other features, and
        # be built a second time.
        scripts/progress.sh builder cargo build --locked --workspace --bin zipnet-image
        [[ -e $out ]] || say "the production image; its programs take about 6 minutes on 2 cores the first time"
        scripts/firmware.sh
        exec scripts/progress.sh image "$built/zipnet-image" build --firmware "$firmware" \
            --target "$target/image-build" --inputs "$target/machine" --out "$out" ;;
    local)
        scripts/packages.sh image/inputs.lock "$target/machine" kernel-only
        scripts/build.sh scripts/firmware.sh
        for part in "$built"/zipnet-{image,init,server} "$firmware" image/inputs.lock image/modules; do
            [[ $out/manifest.json -nt $part ]] || newer=$part
        done
        [[ ${newer:-} ]] || exit 0
        say "the local image, of the programs that were just built"
        exec "$built/zipnet-image" build --programs "$built" --firmware "$firmware" --target "$target/image-build" \
            --inputs "$target/machine" --out "$out" ;;
    *)
        say "FLAVOR is '$flavor'; production or local would be right"
        exit 2 ;;
esac
