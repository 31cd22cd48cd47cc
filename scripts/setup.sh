#!/usr/bin/env bash
# Installs what is missing on a Debian machine that has Rust; says one line
# before each step, and nothing when all is there.
#
#   scripts/setup.sh SET...     SET is one of: build test check guests docs dashboard
#
# Debian packages come by apt-get (as root or through sudo). Every other tool
# goes to target/tools, and nothing to the user's home.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly nextest=0.9.143 deny=0.20.2 typos=1.49.0 mdbook=0.5.4

tools=$PWD/target/tools
export PATH=$tools/bin:$PATH

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null; }

packages=()

install_packages() {
    ((${#packages[@]})) || return 0
    local by_hand="install by hand, then run this again: ${packages[*]}"
    local root=()
    have apt-get || die "no apt-get here; $by_hand"
    if ((EUID != 0)); then
        have sudo || die "neither root nor sudo; $by_hand"
        root=(sudo)
    fi
    say "installing Debian packages: ${packages[*]}"
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get
        -qq -o DPkg::Lock::Timeout=120)
    # A list that could not be renewed may still do.
    "${apt[@]}" update >/dev/null || true
    "${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null ||
        die "apt-get failed; $by_hand"
}

# Not into CARGO_TARGET_DIR: cargo then builds in a directory that it deletes.
# Unoptimized: these tools wait for others or read a few files, and are built in a
# third of the time.
cargo_install() {
    local quiet=()
    [[ -t 2 ]] || quiet=(--quiet)
    env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_OPT_LEVEL=0 cargo install "${quiet[@]}" --locked --root "$tools" "$@" ||
        die "cargo install $1 failed"
}

# take PACKAGE PROGRAM...: programs out of a Debian package that is not installed, since
# that would start a service.
take() {
    local package=$1 work program
    shift
    { have apt-get && have dpkg-deb; } || die "no apt-get here; put into target/tools/bin by hand: $*"
    say "taking $* out of Debian's package $package into target/tools"
    work=$(mktemp -d)
    # A mirror that was just asked for its list has it; another one is asked first.
    (cd "$work" && apt-get download -qq "$package" >/dev/null 2>&1) || {
        ((EUID != 0)) || apt-get -qq -o DPkg::Lock::Timeout=120 update >/dev/null || true
        (cd "$work" && apt-get download -qq "$package" >/dev/null 2>&1)
    } || die "apt-get download $package failed"
    dpkg-deb -x "$work"/*.deb "$work/root"
    mkdir -p "$tools/bin"
    for program; do
        install -m 755 "$work/root/usr/bin/$program" "$tools/bin/$program"
    done
    rm -rf "$work"
}

want() { [[ " $sets " == *" $1 "* ]]; }

sets="$*"
for set in "$@"; do
    case $set in
        build | test | check | guests | docs | dashboard) ;;
        *) die "unknown set '$set'; known: build test check guests docs dashboard" ;;
    esac
done

have cargo || die "Rust is missing: install it by rustup (https://rustup.rs), open a new shell, run this again"

if want build; then
    have cc || packages+=(gcc libc6-dev)
    have make || packages+=(make)
fi
# Units are judged, and run in a machine that has packages of its own installed.
if want check || want test; then
    [[ -x /lib/systemd/systemd ]] && have systemd-analyze || packages+=(systemd)
fi
if want test; then
    have lintian || packages+=(lintian)
    have strip || packages+=(binutils)
fi
if want test; then
    # The tests put hosts into network namespaces.
    PATH=$PATH:/usr/sbin:/sbin have ip || packages+=(iproute2)
    # What the book's commands use.
    have minisign || packages+=(minisign)
    have jq || packages+=(jq)
    have curl || packages+=(curl)
    # The archive's page is looked at.
    have chromium || packages+=(chromium)
    # What libvirt's validator calls.
    have xmllint || packages+=(libxml2-utils)
fi
if want check; then
    have shellcheck || packages+=(shellcheck)
    have typos || python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
fi
if want guests; then
    # What unpacks locked packages; every Debian machine has it but the smallest.
    have flock || packages+=(util-linux)
    [[ -f /usr/share/keyrings/debian-archive-keyring.gpg ]] || packages+=(debian-archive-keyring)
fi
if want dashboard; then
    have chromium || packages+=(chromium)
    have curl || packages+=(curl)
fi
install_packages

if want check || want dashboard; then
    { have promtool && have prometheus; } || take prometheus promtool prometheus
fi
if want test && ! cargo nextest --version >/dev/null 2>&1; then
    say "building cargo-nextest $nextest into target/tools (1 to 2 minutes on 2 cores)"
    cargo_install cargo-nextest --version "$nextest" \
        --no-default-features --features default-no-update
fi
if want check && ! cargo deny --version >/dev/null 2>&1; then
    say "building cargo-deny $deny into target/tools (1 to 2 minutes on 2 cores)"
    cargo_install cargo-deny --version "$deny"
fi
if want check && ! have typos; then
    say "installing typos $typos into target/tools"
    # The wheel carries the binary. A virtual environment, as Debian's pip
    # installs into nothing else.
    python3 -m venv --clear "$tools/python"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check \
        --only-binary :all: "typos==$typos" || die "pip install typos failed"
    mkdir -p "$tools/bin"
    ln -sf ../python/bin/typos "$tools/bin/typos"
fi
if want docs && [[ $(mdbook --version 2>/dev/null) != "mdbook v$mdbook" ]]; then
    say "building mdBook $mdbook into target/tools (1 to 2 minutes on 2 cores)"
    cargo_install mdbook --version "$mdbook" --no-default-features --features search
fi
