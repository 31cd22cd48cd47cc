#!/usr/bin/env bash
# Fetches and unpacks the machines that measurements are checked against: QEMU in
# two versions, a TPM emulator, busybox, the locked kernel and firmware.
#
#   scripts/machine.sh [DIR]        DIR is target/machine if not given
#
# Needs no root. Every package of measurements/tests/machine/packages.lock is
# checked by its SHA-256; what was unpacked before is kept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lock=$PWD/measurements/tests/machine/packages.lock
dir=${1:-target/machine}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

say() { echo "machine: $*" >&2; }
die() { say "$*"; exit 1; }

for tool in apt-get dpkg-deb flock sha256sum; do
    command -v "$tool" >/dev/null || die "$tool is missing: a Debian machine has it"
done

exec 9>"$dir/lock"
flock 9

stamp=$(sha256sum <"$lock" | cut -d' ' -f1)
[[ -f $dir/done && $(<"$dir/done") == "$stamp" ]] && exit 0
rm -f "$dir/done"

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -f $keyring ]] || die "$keyring is missing: install debian-archive-keyring"

# The mirrors that this machine uses already: by what their lists say of
# themselves, or without lists by their address.
mirror() {
    local found
    # shellcheck disable=SC2016 # apt replaces these.
    found=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
        sed -n "s,^Debian|$1|,,p" | head -n 1)
    [[ $found ]] || found=$(grep -rhv '^ *#' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
        grep -oE "[a-z+]+://[^ ]*/$2/?( |\$)" | head -n 1) || true
    echo "${found%% *}"
}
main=${ZIPNET_DEBIAN_MIRROR:-$(mirror Debian debian)}
security=${ZIPNET_DEBIAN_SECURITY_MIRROR:-$(mirror Debian-Security debian-security)}
[[ $main ]] || die "this machine's apt knows no Debian mirror; name one in ZIPNET_DEBIAN_MIRROR"
[[ $security ]] || security=$main

# apt ROOT SUITES ARGUMENTS: apt with lists, state and sources of its own.
apt() {
    local home=$dir/apt/$1 suites=$2 suite release=()
    shift 2
    mkdir -p "$home/lists/partial" "$home/archives/partial"
    # Nothing comes from backports by itself.
    [[ $suites == *-backports ]] && release=(-t "${suites##*,}")
    for suite in ${suites//,/ }; do
        if [[ $suite == *-security ]]; then
            echo "deb [signed-by=$keyring] $security $suite main"
        else
            echo "deb [signed-by=$keyring] $main $suite main"
        fi
    done >"$home/sources"
    # This machine's hooks tidy up its own apt, which is not touched.
    printf '#clear %s;\n' APT::Update::Pre-Invoke APT::Update::Post-Invoke \
        APT::Update::Post-Invoke-Success DPkg::Post-Invoke >"$home/hooks"
    (cd "$home/archives" && apt-get -qq -c "$home/hooks" \
        -o Dir::Etc::SourceList="$home/sources" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o Dir::State="$home" -o Dir::State::Lists="$home/lists" -o Dir::State::Status=/dev/null \
        -o Dir::Cache="$home" -o Dir::Cache::Archives="$home/archives" \
        -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o APT::Architecture=amd64 \
        -o Acquire::Retries=3 "${release[@]}" "$@")
}

locked() { grep -v '^#' "$lock" | awk -v root="$1" '$1 == root'; }

mapfile -t roots < <(grep -v '^#' "$lock" | awk '!seen[$1]++ { print $1 }')
for root in "${roots[@]}"; do
    suites=$(locked "$root" | awk 'NR == 1 { print $2 }')
    names=$(locked "$root" | awk '{ print $3 "=" $4 }')
    say "fetching $root"
    rm -rf "${dir:?}/$root" "${dir:?}/apt/$root"
    mkdir -p "$dir/$root"
    apt "$root" "$suites" update || die "apt-get update failed for $suites"
    gone="one of these is gone from the mirror; newer versions change what is measured: ${names//$'\n'/ }"
    if [[ $root == *-only ]]; then
        # shellcheck disable=SC2086 # A list of packages.
        apt "$root" "$suites" download $names || die "$gone"
    else
        # shellcheck disable=SC2086
        apt "$root" "$suites" install --download-only -y --no-install-recommends $names >/dev/null ||
            die "$gone"
    fi
    while read -r _ _ package version sum; do
        found=
        for file in "$dir/apt/$root/archives/$package"_*.deb; do
            [[ $(dpkg-deb -f "$file" Version) == "$version" ]] && found=$file
        done
        [[ $found ]] || die "$package $version was not fetched"
        [[ $(sha256sum <"$found" | cut -d' ' -f1) == "$sum" ]] ||
            die "$found has another SHA-256 than $lock says"
    done < <(locked "$root")
    for file in "$dir/apt/$root/archives/"*.deb; do
        dpkg-deb -x "$file" "$dir/$root"
    done
    rm -rf "${dir:?}/apt/$root"
done

# What guests get, by names without versions.
cp "$dir"/kernel-only/boot/vmlinuz-* "$dir/vmlinuz"
"$dir/tools/bin/busybox" xz -dc \
    "$dir"/kernel-only/lib/modules/*/kernel/drivers/firmware/qemu_fw_cfg.ko.xz >"$dir/qemu_fw_cfg.ko"
cp "$dir/firmware-only/usr/share/ovmf/OVMF.fd" "$dir/OVMF.fd"
cp "$dir/tools/bin/busybox" "$dir/busybox"
rm -rf "$dir/kernel-only" "$dir/firmware-only" "$dir/apt"
echo "$stamp" >"$dir/done"
