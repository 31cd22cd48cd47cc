#!/usr/bin/env bash
# Runs a command that runs cargo, and says in one line at a time how far cargo is. What
# stopped it is one line if that was the network or the disk; any other warning or
# error comes through at the end.
#
#   scripts/progress.sh NAME COMMAND...     NAME is what the lines begin with
set -uo pipefail

name=$1
shift
# Seconds between two lines, where a line cannot be written over.
readonly pause=20
readonly bar='Building \[[=> ]*\] +([0-9]+)/([0-9]+)'
readonly usual='^ +(Updating|Locking|Fresh|Finished|Blocking|Fetch|Building|Waiting) '
said=()
compiled=0 shown=0

clock() { printf '%d min %02d s' $((SECONDS / 60)) $((SECONDS % 60)); }

tell() {
    if [[ -t 2 ]]; then
        printf '\r\e[K%s: %s' "$name" "$1" >&2
    elif ((SECONDS - shown >= pause)); then
        shown=$SECONDS
        echo "$name: $1" >&2
    fi
}

clear() { [[ ! -t 2 ]] || printf '\r\e[K' >&2; }

# What cargo writes over itself ends with a carriage return, all else with a line feed.
listen() {
    local chunk line
    while IFS= read -r -d $'\r' chunk || [[ $chunk ]]; do
        chunk=${chunk//$'\e[K'/}
        while IFS= read -r line; do
            if [[ $line =~ $bar ]]; then
                ((compiled == 0)) || tell "step ${BASH_REMATCH[1]} of ${BASH_REMATCH[2]}, $(clock)"
            elif [[ $line =~ ^\ +(Compiling|Checking)\  ]]; then
                compiled=$((compiled + 1))
            elif [[ $line =~ ^\ +(Downloading|Downloaded)\  ]]; then
                tell "fetching crates, $(clock)"
            elif [[ $line == 'warning: spurious network error'* ]]; then
                tell "the registry of crates is slow to answer, $(clock)"
            elif [[ $line && ! $line =~ $usual ]]; then
                said+=("$line")
            fi
        done <<<"${chunk%$'\n'}"
        chunk=
    done
    clear
    ((compiled == 0)) || echo "$name: $compiled crates compiled in $(clock)" >&2
    ((${#said[@]} == 0)) || explain
}

# What was said, or what it comes to if it is no fault of the code.
explain() {
    local text
    text=$(printf '%s\n' "${said[@]}")
    # A message about a line of code may quote any of the words below.
    if grep -qE '^ +--> ' <<<"$text"; then
        echo "$text" >&2
        return
    fi
    case $text in
        *'No space left on device'* | *'Disk quota exceeded'*)
            echo "$name: the disk is full ($(df -Ph "${CARGO_TARGET_DIR:-.}" | awk 'NR == 2 { print $4 }') free; everything takes 6 GB). What was built is kept: free some, and the next try goes on from there" >&2 ;;
        *'download of '*' failed'* | *'failed to download'* | *'failed to fetch'* | *'network failure'*)
            echo "$name: the registry of crates does not answer ($(tail -n 1 <<<"$text" | sed 's/^ *//')). What was fetched and built is kept, and the next try goes on from there" >&2 ;;
        *) echo "$text" >&2 ;;
    esac
}

export CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=80 CARGO_TERM_COLOR=never
{ "$@" 2>&1 >&3 3>&- | listen; exit "${PIPESTATUS[0]}"; } 3>&1
