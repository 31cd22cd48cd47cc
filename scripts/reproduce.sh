#!/usr/bin/env bash
# Builds the production image twice and compares every byte. The second build has
# another path, user, home, umask, time zone, locale, number of jobs and cargo home,
# and nothing that was compiled before; whatever is not cargo's has another clock.
#
# The first build is that of `make image` and of the tests, if it is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/places.sh

target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && realpath "${CARGO_TARGET_DIR:-target}")
other=$target/reproduce

say() { echo "reproduce: $*" >&2; }
die() { say "$*"; exit 1; }

say "the first build"
FLAVOR=production scripts/image.sh
builder=$(realpath "$built/zipnet-image")

rm -rf "$other"
source="$other/another place/zipnet"
mkdir -p "$source" "$other/home"
# What is committed or about to be; not what was built.
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
    [[ ! -e $file ]] || printf '%s\0' "$file"
done | tar --null --no-recursion -T - -cf - | tar -C "$source" -xf -

surroundings=(env -u CARGO -u CARGO_BUILD_JOBS
    "HOME=$other/home" "CARGO_HOME=$other/home/.cargo" "RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}"
    "PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" USER=somebody LOGNAME=somebody
    TZ=Pacific/Kiritimati LANG=tr_TR.UTF-8 LC_ALL=C.UTF-8 CARGO_BUILD_JOBS=3)
mkdir -p "$other/home/.cargo"
# How registries are reached may be in cargo's own settings.
for file in config.toml config; do
    [[ ! -f ${CARGO_HOME:-$HOME/.cargo}/$file ]] || cp "${CARGO_HOME:-$HOME/.cargo}/$file" "$other/home/.cargo/"
done
if unshare --user --map-user=12345 --map-group=12345 true 2>/dev/null; then
    surroundings=(unshare --user --map-user=12345 --map-group=12345 "${surroundings[@]}")
else
    say "no user namespaces here: the second build has the same user"
fi
# Cargo, whose environment the builder clears, waits for ever under another clock.
scripts/packages.sh image/reproduce.lock "$target/machine"
clock=("LD_PRELOAD=$target/machine/faketime-only/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
    FAKETIME=+400d NO_FAKE_STAT=1 FAKETIME_DONT_FAKE_MONOTONIC=1)

say "the second build, in $source as another user, about 9 minutes on 2 cores"
(
    umask 0077
    cd "$source"
    "${surroundings[@]}" "${clock[@]}" "CARGO_TARGET_DIR=$other/firmware" "ZIPNET_PACKAGES=${ZIPNET_PACKAGES:-$target/packages}" \
        scripts/firmware.sh "$other/OVMF.fd"
    scripts/progress.sh reproduce "${surroundings[@]}" "${clock[@]}" "$builder" build --inputs "$target/machine" \
        --firmware "$other/OVMF.fd" --target "$other/built" --out "$other/image" >&2
) || die "the second build failed"
"$builder" compare "$target/image/production" "$other/image"
rm -rf "$other"
