#!/usr/bin/env bash
# Judges the systemd units of deploy/systemd: that systemd understands every line, that
# the sandbox is the same in all, and that what is left to a unit that needs no KVM is
# 2.0 of 10 at most by systemd's own measure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { echo "units: $*" >&2; exit 1; }

# The units that a guest's hypervisor runs in: /dev/kvm, writable code and vsock are what
# they are for, so the measure says nothing of them.
readonly needs_kvm=" zipnet-guest@.service "
readonly most=20

# Units of this machine are there to depend on; programs only have to be.
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/lib/systemd" "$root/usr/lib"
cp -r /lib/systemd/system "$root/lib/systemd/"
ln -s ../../lib/systemd "$root/usr/lib/systemd"
cp deploy/systemd/*.service "$root/lib/systemd/system/"
sed -n 's/^Exec[A-Za-z]*=[-+!:@]*\([^ ]*\).*/\1/p' deploy/systemd/*.service | sort -u | while read -r program; do
    install -D -m 755 /bin/true "$root$program"
done

# From the line that begins it to the first empty line behind its last part.
sandbox() { sed -n '/^# The sandbox, /,/^\[Install\]/p' "$1"; }

first=
for unit in deploy/systemd/*.service; do
    name=$(basename "$unit")
    said=$(systemd-analyze verify --root="$root" --man=no "${name/@./@acme-mainnet.}" 2>&1) ||
        die "$unit does not hold: $said"
    # What it does not know it ignores, with a word.
    ! grep -F zipnet- <<<"$said" || die "$unit is understood in part"
    if [[ $needs_kvm == *" $name "* ]]; then
        echo "units: $name needs KVM, $(systemd-analyze security --offline=yes --no-pager "$unit" | sed -n 's/^.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p') of 10 is left"
        continue
    fi
    first=${first:-$unit}
    [[ $(sandbox "$unit") == "$(sandbox "$first")" && $(sandbox "$unit") ]] ||
        die "$unit has another sandbox than $first: $(diff <(sandbox "$first") <(sandbox "$unit"))"
    said=$(systemd-analyze security --offline=yes --no-pager --threshold=$most "$unit") ||
        die "$unit leaves more than ${most%?}.${most: -1}: $said"
    sed -n 's/^.*Overall exposure level for \([^:]*\)@i\(.service: [0-9.]*\).*/units: \1@\2 of 10 is left/p' <<<"$said"
done
