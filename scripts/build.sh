#!/usr/bin/env bash
# Builds the programs of the whole workspace, and says how far it is; nothing if
# nothing is to be done.
#
#   scripts/build.sh [COMMAND...]
#
# COMMAND runs meanwhile, such as one that fetches packages. What it says goes to
# target/meanwhile.log, and is shown if it fails.
#
# Always the whole workspace: one package alone gets other features of its
# dependencies, and they would be built a second time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/places.sh

meanwhile=
if (($#)); then
    mkdir -p "$target"
    # A group of its own: a build that fails leaves nobody behind.
    set -m
    "$@" </dev/null >"$target/meanwhile.log" 2>&1 &
    set +m
    meanwhile=$!
    trap 'kill -- "-$meanwhile" 2>/dev/null || true' EXIT
fi
scripts/progress.sh build cargo build --workspace --bins --locked
if [[ $meanwhile ]]; then
    ! kill -0 "$meanwhile" 2>/dev/null || echo "build: done; what is fetched meanwhile is still missing" >&2
    wait "$meanwhile" || { cat "$target/meanwhile.log" >&2; exit 1; }
fi
