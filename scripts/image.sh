#!/usr/bin/env bash
# Builds the guest image into target/image/FLAVOR.
#
# FLAVOR      production (default), or local, which knows simulated evidence
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

flavor=${FLAVOR:-production}
target=${CARGO_TARGET_DIR:-target}

say() { echo "image: $*" >&2; }

case $flavor in
    production | local) ;;
    *)
        say "FLAVOR is '$flavor'; production or local would be right"
        exit 2 ;;
esac
say "inputs: Debian packages of image/inputs.lock"
scripts/packages.sh image/inputs.lock "$target/machine"
say "the builder"
# As one of the workspace: alone, its dependencies would have other features, and be
# built a second time.
cargo build --quiet --locked --workspace --bin zipnet-image
say "the $flavor image; its programs take about 8 minutes on 2 cores the first time"
exec "$target/debug/zipnet-image" build --flavor "$flavor" --inputs "$target/machine" \
    --target "$target/image-build" --out "$target/image/$flavor"
