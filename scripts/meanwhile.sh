#!/usr/bin/env bash
# What guests need besides programs, fetched and built while those are compiled: the
# machine they run in, and their firmware.
#
#   scripts/meanwhile.sh [--least]      as scripts/machine.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/machine.sh "$@"
exec scripts/firmware.sh
