#!/usr/bin/env bash
# Runs a command far from itself: in a network of its own, where each packet
# comes that late.
#
#   scripts/far.sh DELAY COMMAND...
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
# shellcheck disable=SC2016
exec unshare --map-root-user --net -- bash -euc '
    ip link set lo up
    tc qdisc add dev lo root netem delay "$0" limit 1000000
    exec "$@"
' "$@"
