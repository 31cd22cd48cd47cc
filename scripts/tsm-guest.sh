#!/usr/bin/env bash
# Builds what the guest of tests/tests/tsm_guest.rs is made of, besides what
# scripts/machine.sh has: a kernel module and a static program.
#
#   scripts/tsm-guest.sh [DIR]      DIR is target/machine if not given
#
# Needs no root. DIR/faketsm.ko and DIR/tsm-probe are for tests, never in an image.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/places.sh

say() { echo "tsm-guest: $*" >&2; }
die() { say "$*"; exit 1; }

dir=${1:-$target/machine}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

exec 7>"$dir/tsm-guest.lock"
flock 7
scripts/machine.sh "$dir"
scripts/packages.sh tests/tsm/headers.lock "$dir"

# The module, by the headers of the very kernel that is booted and the compiler
# that the image is built with.
module() {
    local headers=$dir/headers-only toolchain=$dir/toolchain build=$dir/faketsm kernel tree
    kernel=$(echo "$dir"/kernel-only/lib/modules/*)
    kernel=${kernel##*/}
    tree=$headers/usr/src/linux-headers-$kernel
    [[ -d $tree ]] || die "tests/tsm/headers.lock has no headers of $kernel, the kernel of image/inputs.lock;
          \`scripts/packages.sh --renew tests/tsm/headers.lock $dir\` locks today's"
    rm -rf "$build"
    mkdir "$build"
    cp tests/tsm/Kbuild tests/tsm/faketsm.c "$build"
    # The packages expect to be in /usr/src; their common Makefile runs anywhere.
    # Type information would take one more tool, and nothing in the test reads it.
    env -i PATH="$toolchain/usr/bin:$PATH" LC_ALL=C \
        LD_LIBRARY_PATH="$toolchain/usr/lib/x86_64-linux-gnu:$headers/usr/lib/x86_64-linux-gnu:$headers/lib/x86_64-linux-gnu" \
        make --silent -C "$tree" -f "$headers/usr/src/linux-headers-${kernel%-cloud-amd64}-common/Makefile" \
        M="$build" CONFIG_DEBUG_INFO_BTF_MODULES= modules >"$build/log" 2>&1 ||
        die "faketsm.ko could not be built:
$(<"$build/log")"
    cp "$build/faketsm.ko" "$dir/faketsm.ko"
}
stamp=$(cat image/inputs.lock tests/tsm/{headers.lock,Kbuild,faketsm.c} scripts/tsm-guest.sh | sha256sum)
if ! [[ -f $dir/faketsm.ko && -f $dir/faketsm.done && $(<"$dir/faketsm.done") == "$stamp" ]]; then
    rm -f "$dir/faketsm.done"
    module
    echo "$stamp" >"$dir/faketsm.done"
fi

# The program: static like all that cargo builds here. Cargo knows what is up to date,
# unless a test that runs this passes its own package's variables on.
unset "${!CARGO_PKG_@}" "${!CARGO_MANIFEST_@}"
cargo build --quiet --locked --workspace --bin zipnet-tsm-probe
cmp --quiet "$built/zipnet-tsm-probe" "$dir/tsm-probe" || cp "$built/zipnet-tsm-probe" "$dir/tsm-probe"
