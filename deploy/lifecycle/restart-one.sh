#!/usr/bin/env bash
# Restarts one server of a committee, and refuses while another one is not ready: two
# that are away at once can cost a committee its majority, and with it what it remembers.
#
#   restart-one.sh --ready URL --others URL,URL... [--within SECONDS] [--lock FILE] -- COMMAND...
#
# URL is a server's /readyz. COMMAND restarts the server, and ends when its old process
# has. Afterwards it waits until this server and all others are ready. Exit status 2 is a
# wrong argument, 1 a refusal or a server that is not ready in time; then leave the others
# as they are.
#
# The lock keeps two calls on one machine apart. Between machines nothing but /readyz
# does: agree with the other operators who begins.
set -euo pipefail

say() { echo "restart-one: $*" >&2; }
usage() { say "$*; right would be: --ready URL --others URL,URL... -- COMMAND..."; exit 2; }

ready='' others=() within=120
# A folder where nobody else can put a link.
runtime=${XDG_RUNTIME_DIR:-${HOME:-.}}
((EUID)) || runtime=/run
lock=$runtime/zipnet-restart-one.lock
while (($#)); do
    case $1 in
        --) shift; break ;;
        --ready | --others | --within | --lock) (($# > 1)) || usage "$1 has no value" ;;
        *) usage "unknown argument '$1'" ;;
    esac
    case $1 in
        --ready) ready=$2 ;;
        --others) IFS=, read -ra others <<<"$2" ;;
        --within) within=$2 ;;
        --lock) lock=$2 ;;
    esac
    shift 2
done
[[ $ready ]] || usage "--ready is missing"
((${#others[@]})) || usage "--others is missing"
[[ $within =~ ^[0-9]{1,5}$ ]] || usage "--within is no number of seconds"
(($#)) || usage "there is no command"
for other in "${others[@]}"; do
    [[ $other != "$ready" ]] || usage "$other is the server itself"
done

# is_ready URL: says why not. Nobody is asked for longer than 5 s, or for more than 16 KiB.
is_ready() {
    local answer code
    answer=$(curl -s --noproxy '*' --max-time 5 --max-filesize 16384 -w '\n%{http_code}' -- "$1") || {
        echo "it does not answer"
        return 1
    }
    code=${answer##*$'\n'}
    [[ $code == 200 ]] && return
    # What a server says may not steer a terminal.
    tr -d '\000-\011\013-\037\177' <<<"${answer%$'\n'*}"
    return 1
}

umask 077
exec 9>>"$lock"
flock --nonblock 9 || { say "another restart is under way on this machine ($lock); it has to end first"; exit 1; }

refused=0
for other in "${others[@]}"; do
    why=$(is_ready "$other") || { say "$other is not ready: $why"; refused=1; }
done
((!refused)) || { say "nothing was restarted; all others have to be ready first"; exit 1; }

"$@" 9>&-

SECONDS=0
for url in "$ready" "${others[@]}"; do
    until why=$(is_ready "$url"); do
        ((SECONDS < within)) || { say "$url is not ready $within s after the restart: $why"; exit 1; }
        sleep 0.2
    done
done
say "ready again after $SECONDS s"
