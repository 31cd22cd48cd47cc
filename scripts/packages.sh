#!/usr/bin/env bash
# Fetches, verifies and unpacks locked Debian packages. Needs no root, and leaves
# this machine's own packages alone.
#
#   scripts/packages.sh LOCK DIR [ROOT...]  each root of LOCK, or each that is named,
#                                           becomes a folder of DIR
#   scripts/packages.sh --renew LOCK DIR    writes today's versions into LOCK first
#
# Interrupted, it goes on with what it had fetched.
#
# A line of LOCK: ROOT SUITES PACKAGE VERSION SHA-256 [META]. Every package of LOCK
# is checked by its SHA-256. A root whose name ends in -only holds these packages
# alone; any other also what they depend on, checked by the suites' signatures. META
# is a package that needs PACKAGE, whatever version is in its name today.
# A root whose name ends in -source holds tarballs of source packages as they are; a
# line names one, and META says which: orig (what upstream made) or debian (patches).
#
# ZIPNET_PACKAGES                 where fetched packages are kept (target/packages)
# ZIPNET_DEBIAN_MIRROR            mirrors, if not those that this machine's apt uses
# ZIPNET_DEBIAN_SECURITY_MIRROR
# ZIPNET_MIRROR_PATIENCE          seconds for which a mirror may be silent, twice (15)
set -euo pipefail

say() { echo "packages: $*" >&2; }
die() { say "$*"; exit 1; }

renew=
if [[ ${1:-} == --renew ]]; then
    renew=yes
    shift
fi
(($# >= 2)) || die "usage: scripts/packages.sh [--renew] LOCK DIR [ROOT...]"
[[ -f $1 ]] || die "$1 is missing: it lists the packages to fetch"
lock=$(realpath "$1")
shown=$1
mkdir -p "$2"
dir=$(realpath "$2")
wanted=" ${*:3} "
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "${ZIPNET_PACKAGES:=${CARGO_TARGET_DIR:-target}/packages}"
cache=$(realpath "$ZIPNET_PACKAGES")

for tool in apt-get dpkg-deb flock sha256sum; do
    command -v "$tool" >/dev/null || die "$tool is missing: a Debian machine has it"
done

exec 9>"$dir/lock"
flock 9

patience=${ZIPNET_MIRROR_PATIENCE:-15}

sum() { sha256sum <"$1" | cut -d' ' -f1; }
lines() { grep -Ev '^ *(#|$)' "$lock" || true; }
roots() { lines | awk '!seen[$1]++ { print $1 }'; }
locked() { lines | awk -v root="$1" '$1 == root'; }

while read -r root suites package version digest meta; do
    [[ $root != *-source || $meta == orig || $meta == debian ]] ||
        die "$shown: a line of $root is a tarball; orig or debian behind its SHA-256 would be right: $package"
    [[ $root =~ ^[a-z0-9][a-z0-9.-]*$ && $suites =~ ^[a-z0-9,-]+$ && $package =~ ^[a-z0-9][a-z0-9.+-]*$ &&
        $version =~ ^[A-Za-z0-9.+:~-]+$ && $digest =~ ^[0-9a-f]{64}$ && $meta =~ ^[a-z0-9.+-]*$ ]] ||
        die "$shown has a line that is not ROOT SUITES PACKAGE VERSION SHA-256 [META]: $root $package"
done < <(lines)

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

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

# apt ROOT SUITES ARGUMENTS: apt with lists, state, sources and archives of its own.
apt() {
    local home=$cache/$1 suites=$2 suite release=() kind=deb
    [[ $1 != *-source ]] || kind=deb-src
    shift 2
    mkdir -p "$home/lists/partial" "$home/archives/partial"
    # Nothing comes from backports by itself.
    [[ $suites == *-backports ]] && release=(-t "${suites##*,}")
    for suite in ${suites//,/ }; do
        if [[ $suite == *-security ]]; then
            echo "$kind [signed-by=$keyring] $security $suite main"
        else
            echo "$kind [signed-by=$keyring] $main $suite main"
        fi
    done >"$home/sources"
    # This machine's settings, such as a proxy, without its hooks: they tidy up its
    # own apt, which is not touched. The last file has the last word.
    mkdir -p "$home/conf.d"
    cp /etc/apt/apt.conf.d/* "$home/conf.d/" 2>/dev/null || true
    printf '#clear %s;\n' APT::Update::Pre-Invoke APT::Update::Post-Invoke \
        APT::Update::Post-Invoke-Success DPkg::Post-Invoke >"$home/conf.d/zzz-no-hooks"
    echo "Dir::Etc::Parts \"$home/conf.d\";" >"$home/conf"
    (cd "$home/archives" && APT_CONFIG=$home/conf "${apt_tool:-apt-get}" -qq \
        -o Dir::Etc::SourceList="$home/sources" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
        -o Dir::State="$home" -o Dir::State::Lists="$home/lists" -o Dir::State::Status=/dev/null \
        -o Dir::Cache="$home" -o Dir::Cache::Archives="$home/archives" \
        -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o APT::Architecture=amd64 \
        -o Acquire::Retries=1 -o Acquire::http::Timeout="$patience" -o Acquire::https::Timeout="$patience" \
        -o APT::Update::Error-Mode=any "${release[@]}" "$@" 2>"$home/said")
}

# What apt said last, in one line.
reason() { grep -E '^[EW]: ' "$cache/$1/said" | head -n 1 | sed 's/^.: //'; }

# The suites of a root, after its lists were brought up to date.
update() {
    [[ -f $keyring ]] || die "$keyring is missing: install debian-archive-keyring"
    if [[ -z ${main:-} ]]; then
        main=${ZIPNET_DEBIAN_MIRROR:-$(mirror Debian debian)}
        security=${ZIPNET_DEBIAN_SECURITY_MIRROR:-$(mirror Debian-Security debian-security)}
        [[ $main ]] || die "this machine's apt knows no Debian mirror; name one in ZIPNET_DEBIAN_MIRROR"
        [[ $security ]] || security=$main
    fi
    apt "$1" "$2" update ||
        die "the lists of $2 could not be fetched ($(reason "$1")); is the mirror reachable, and is there room in $cache? What was fetched is kept, and the next try goes on from there"
}

# The kept file of a locked package, if it is the right one.
kept() {
    local file
    for file in "$cache/$1/archives/$2"_*.{deb,tar.*}; do
        [[ -f $file && $(sum "$file") == "$3" ]] && echo "$file" && return
    done
}

# needed ROOT SUITES META PACKAGE: what META needs, directly or not, that is named
# like PACKAGE but for digits.
needed() {
    apt_tool=apt-cache apt "$1" "$2" depends --recurse --important "$3" | sed -n 's/^ *|\?Depends: //p' |
        awk -v package="$4" '
            function stem(name) { gsub(/[0-9.]+/, "0", name); return name }
            !found && stem($1) == stem(package) { print $1; found = 1 }'
}

# newest_source ROOT SUITES PACKAGE orig|debian: the newest version, and the SHA-256 of
# that tarball of it.
newest_source() {
    local version digest best=
    while read -r version digest; do
        [[ -z $best ]] || dpkg --compare-versions "$version" gt "${best% *}" || continue
        best="$version $digest"
    done < <(apt_tool=apt-cache apt "$1" "$2" showsrc --only-source "$3" | awk -v part="[.]$4[.]tar[.]" '
        /^[^ ]/ { sums = $1 == "Checksums-Sha256:" }
        $1 == "Version:" { version = $2 }
        sums && $3 ~ part "[a-z0-9]+$" { print version, $1 }')
    echo "$best"
}

renew_lock() {
    local fresh=$lock.new line root suites package version digest meta updated=" "
    : >"$fresh"
    while IFS= read -r line; do
        if [[ $line =~ ^\ *(#|$) ]]; then
            echo "$line" >>"$fresh"
            continue
        fi
        read -r root suites package _ _ meta <<<"$line"
        [[ $updated == *" $root "* ]] || { update "$root" "$suites"; updated+="$root "; }
        if [[ $meta && $root != *-source ]]; then
            package=$(needed "$root" "$suites" "$meta" "$package")
            [[ $package ]] || die "$meta is in none of $suites, or needs no such package any more"
        fi
        if [[ $root == *-source ]]; then
            read -r version digest < <(newest_source "$root" "$suites" "$package" "$meta") || true
            [[ $version ]] || die "the source of $package is in none of $suites"
        else
            version=$(apt_tool=apt-cache apt "$root" "$suites" policy "$package" | sed -n 's/^ *Candidate: //p')
            [[ $version && $version != "(none)" ]] || die "$package is in none of $suites"
            digest=$(apt_tool=apt-cache apt "$root" "$suites" show "$package=$version" | sed -n 's/^SHA256: //p' | head -n 1)
        fi
        printf '%-13s %-38s %-38s %-30s %s%s\n' "$root" "$suites" "$package" "$version" "$digest" "${meta:+ $meta}" >>"$fresh"
    done <"$lock"
    diff -U0 --label "$shown" --label "$shown, renewed" "$lock" "$fresh" || true
    mv "$fresh" "$lock"
}
[[ $renew ]] && renew_lock

# Each tarball by itself: the description that lists both is not needed.
fetch_source() {
    local package version meta part
    while read -r _ _ package version _ meta; do
        part=--tar-only
        [[ $meta == orig ]] || part=--diff-only
        apt "$1" "$2" source --download-only --only-source "$part" "$package=$version" >/dev/null || return
    done < <(locked "$1")
}

fetch() {
    local root=$1 suites names verb reason
    suites=$(locked "$root" | awk 'NR == 1 { print $2 }')
    mapfile -t names < <(locked "$root" | awk '{ name = $3 "=" $4 } !seen[name]++ { print name }')
    say "fetching $root: ${names[*]}"
    update "$root" "$suites"
    if [[ $root == *-source ]]; then
        fetch_source "$root" "$suites" && return
    elif [[ $root == *-only ]]; then
        verb=(download)
    else
        verb=(install --download-only -y --no-install-recommends)
    fi
    [[ $root == *-source ]] || { apt "$root" "$suites" "${verb[@]}" "${names[@]}" >/dev/null && return; }
    reason=$(reason "$root")
    case $reason in
        *'was not found'* | *'Unable to locate'* | *'has no installation candidate'* | \
            *'Can not find version'* | *'Unable to find a source package'*)
            die "a locked version is gone from the mirror ($reason); \`scripts/packages.sh --renew $shown $dir\` locks today's, which
          changes what is built or measured. Wanted: ${names[*]}" ;;
        *) die "$root could not be fetched ($reason); is the mirror reachable, and is there room in $cache? What was fetched is kept, and the next try goes on from there" ;;
    esac
}

# Deletes what was fetched of a root, but for whole packages of an interrupted try.
keep() {
    local archives=$cache/$1/archives begun=$cache/$1/begun stamp package digest
    stamp=$(locked "$1" | sha256sum)
    mkdir -p "$archives"
    [[ -f $begun && $(<"$begun") == "$stamp" ]] || rm -f "$archives/"*.{deb,tar.*}
    echo "$stamp" >"$begun"
    while read -r _ _ package _ digest _; do
        [[ $(kept "$1" "$package" "$digest") ]] || [[ $1 == *-source ]] || rm -f "$archives/$package"_*.deb
    done < <(locked "$1")
}

unpack() {
    local root=$1 file package version digest missing=
    while read -r _ _ package _ digest _; do
        [[ $(kept "$root" "$package" "$digest") ]] || missing=yes
    done < <(locked "$root")
    # What packages depend on is not locked: apt says what that is today.
    if [[ $missing || $root != *-@(only|source) ]]; then
        keep "$root"
        fetch "$root"
        rm -f "$cache/$root/begun"
    fi
    while read -r _ _ package version digest _; do
        [[ $(kept "$root" "$package" "$digest") ]] ||
            die "$package $version has another SHA-256 than $shown says, which is $digest"
    done < <(locked "$root")
    rm -rf "${dir:?}/$root" "${dir:?}/$root.new"
    mkdir "$dir/$root.new"
    if [[ $root == *-source ]]; then
        while read -r _ _ package _ digest _; do
            file=$(kept "$root" "$package" "$digest")
            cp "$file" "$dir/$root.new/" || die "$file could not be copied into $dir"
        done < <(locked "$root")
    else
        unpack_packages "$root"
    fi
    mv "$dir/$root.new" "$dir/$root"
    locked "$root" | sha256sum >"$dir/$root.done"
}

unpack_packages() {
    local root=$1 file package digest
    for file in "$cache/$root/archives/"*.deb; do
        package=$(basename "$file" | cut -d_ -f1)
        if [[ $root == *-only ]]; then
            digest=$(locked "$root" | awk -v package="$package" '$3 == package { print $5 }')
            [[ $digest && $(sum "$file") == "$digest" ]] || continue
        fi
        dpkg-deb -x "$file" "$dir/$root.new" || die "$file could not be unpacked into $dir"
    done
}

while read -r root; do
    [[ $wanted == "  " || $wanted == *" $root "* ]] || continue
    [[ -d $dir/$root && -f $dir/$root.done && $(<"$dir/$root.done") == "$(locked "$root" | sha256sum)" ]] && continue
    unpack "$root"
done < <(roots)
