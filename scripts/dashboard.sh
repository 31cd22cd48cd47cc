#!/usr/bin/env bash
# Draws the dashboard from a real run: starts the local deployment as processes and a
# Prometheus that scrapes it, publishes some messages, takes one server away for a while,
# and has a headless Chromium draw what deploy/monitoring/zipnet-dashboard.json asks for.
#
#   scripts/dashboard.sh [PNG]     writes PNG (docs/operator/dashboard.png)
#
# DASHBOARD_MINUTES (3): how long the deployment runs before.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/places.sh

png=$(realpath -m "${1:-docs/operator/dashboard.png}")
minutes=${DASHBOARD_MINUTES:-3}
work=$(mktemp -d)
started=()

finish() {
    exec 3>&- || true
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap finish EXIT

say() { echo "dashboard: $*" >&2; }
die() { say "$*"; cat "$work"/*.log >&2; exit 1; }

# wait_for SECONDS COMMAND...
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < until)) || return 1
        sleep 0.5
    done
}

mkfifo "$work/lines"
"$built/zipnet-local" processes <"$work/lines" >"$work/local.log" 2>&1 &
started+=($!)
exec 3>"$work/lines"
say "waiting for the deployment"
wait_for 120 grep -q 'round r' "$work/local.log" || die "the deployment finalized no round"
config=$(sed -n 's/.*--config.file=//p' "$work/local.log")
logs=$(dirname "$config")

port=$((20000 + RANDOM % 10000))
prometheus --config.file="$config" --storage.tsdb.path="$work/data" \
    --web.listen-address="127.0.0.1:$port" --log.level=warn >"$work/prometheus.log" 2>&1 &
started+=($!)
ready() { curl -fs -o /dev/null "http://127.0.0.1:$port/-/ready"; }
wait_for 30 ready || die "Prometheus did not start"

# The third server's process, by the file that its log goes to, is stopped for a while.
server=
for fd in /proc/[0-9]*/exe; do
    pid=${fd//[!0-9]/}
    [[ $(readlink "$fd") == */zipnet-server ]] || continue
    grep -qz "^ZIPNET_STATE=$logs/state-3\$" "/proc/$pid/environ" 2>/dev/null && server=$pid
done
[[ $server ]] || die "the third server is not there"

say "scraping for $minutes min; one server is stopped for half a minute in the middle"
end=$((SECONDS + minutes * 60)) stop=$((SECONDS + minutes * 25)) go=$((SECONDS + minutes * 25 + 30))
number=0
while ((SECONDS < end)); do
    number=$((number + 1))
    echo "message $number of the run that the dashboard shows" >&3
    ((SECONDS < stop || SECONDS >= go)) || kill -STOP "$server"
    ((SECONDS < go)) || kill -CONT "$server"
    sleep 5
done

say "drawing"
page="file://$PWD/deploy/monitoring/page/index.html?prometheus=http://127.0.0.1:$port&minutes=$minutes"
chrome=(chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --allow-file-access-from-files
    --user-data-dir="$work/chromium" --virtual-time-budget=20000)
"${chrome[@]}" --dump-dom "$page" >"$work/page.html" 2>"$work/chromium.log" || die "Chromium failed"
failed=$(sed -n 's/.*data-done="\([^"]*\)".*/\1/p' "$work/page.html")
[[ $failed == 0 ]] || die "panels failed: ${failed:-the page did not finish}"
"${chrome[@]}" --window-size=1400,2060 --screenshot="$png" "$page" 2>>"$work/chromium.log" || die "Chromium failed"
say "wrote $png, $(($(stat -c %s "$png") / 1000)) kB"
