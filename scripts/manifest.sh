#!/usr/bin/env bash
# Copies the manifest of the production image to measurements/releases/VERSION.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

built=${CARGO_TARGET_DIR:-target}/image/production/manifest.json
[[ -f $built ]] || { echo "manifest: $built is missing: make image makes it" >&2; exit 1; }
version=$(sed -n 's/^  "version": "\([0-9A-Za-z.+-]*\)",$/\1/p' "$built")
release=measurements/releases/$version.json
if cmp --silent "$built" "$release"; then
    echo "$release is what was built."
    exit
fi
cp "$built" "$release"
echo "wrote $release"
