#!/usr/bin/env bash
# Builds the firmware of the guest: edk2's IntelTdx platform, RELEASE, of Debian's
# source package. The same bytes wherever it is built; nothing where it is built already.
#
#   scripts/firmware.sh [OUT]       OUT is target/firmware/OVMF.inteltdx.fd if not given
#
# It has no network, no Secure Boot, no shell and no TPM, so that nothing but the
# registers of a TD can be measured into (docs/firmware.md). Needs no root. All that
# makes code is in image/firmware.lock, down to its libc; sh, coreutils, grep, sed and
# tar are the machine's.
#
# ZIPNET_FIRMWARE_JOBS    how much at the same time (as many as there are processors)
# ZIPNET_FIRMWARE_KEEP    if set, the folder that it was built in stays
set -euo pipefail

say() { echo "firmware: $*" >&2; }
die() { say "$*"; exit 1; }

(($# <= 1)) || die "usage: scripts/firmware.sh [OUT]"
out=${1:+$(realpath -m -- "$1")}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
out=${out:-$target/firmware/OVMF.inteltdx.fd}
lock=image/firmware.lock

# What is built: whatever has a say in its bytes is in here.
inputs() {
    grep -Ev '^ *(#|$)' "$lock"
    sha256sum <scripts/firmware.sh
    sha256sum <scripts/firmware-modules.py
    cat image/firmware/*.patch | sha256sum
}
# Package and version of a root's first line.
locked() { awk -v root="$1" '$1 == root { print $3, $4; exit }' "$lock"; }
sum() { sha256sum <"$1" | cut -d' ' -f1; }

mkdir -p "$(dirname "$out")"
exec 7>"$out.lock"
flock 7
stamp=$(inputs | sha256sum | cut -d' ' -f1)
[[ -f $out && -f $out.inputs && $(<"$out.inputs") == "$stamp $(sum "$out")" ]] && exit 0

jobs=${ZIPNET_FIRMWARE_JOBS:-$(nproc)}
machine=$target/machine
scripts/packages.sh "$lock" "$machine"
work=$out.work
rm -rf "$work"
mkdir -p "$work"/{bin,parts,edk2,home}

# edk2 takes no folder with a space in its name. It gets to see short names, which are
# others in each build: if one of them were in the result, two builds would tell.
temporary=${TMPDIR:-/tmp}
[[ $temporary != *[[:space:]]* ]] || die "TMPDIR is '$temporary', and edk2 takes no spaces; another folder would be right"
place=$(mktemp -d "$temporary/zipnet-firmware.XXXXXX")
trap 'rm -rf "$place"' EXIT
ln -s "$work" "$place/w"
ln -s "$machine/edk2-tools-only" "$place/t"
tools=$place/t work=$place/w
edk2=$work/edk2
gcc=$tools/usr/lib/gcc/x86_64-linux-gnu/12

# program FOLDER NAME COMMAND...: FOLDER/NAME runs a locked program with the loader and
# the libraries that are locked with it.
program() {
    local file=$1/$2
    shift 2
    printf '#!/bin/sh\n%sexec %s %s--library-path %s %s "$@"\n' "${before:-}" "$tools/lib64/ld-linux-x86-64.so.2" \
        "${name_of:-}" "$tools/lib/x86_64-linux-gnu:$tools/usr/lib/x86_64-linux-gnu" "$*" >"$file"
    chmod 0755 "$file"
}
# What the compiler looks for, and what a path begins with in what it writes.
for name in cc1 cc1plus lto1 lto-wrapper collect2; do
    program "$work/parts" "$name" "$gcc/$name"
done
for name in as ld; do
    program "$work/parts" "$name" "$tools/usr/bin/x86_64-linux-gnu-$name"
done
flags="--sysroot=$tools -B$work/parts/ -ffile-prefix-map=$edk2=/edk2 -ffile-prefix-map=$tools=/tools"
# compiler NAME COMMAND...: one that calls itself, for which it must know its name.
compiler() {
    before="GCC_EXEC_PREFIX=$tools/usr/lib/gcc/ " name_of="--argv0 $work/bin/$1 " program "$work/bin" "$@"
}
compiler gcc "$tools/usr/bin/x86_64-linux-gnu-gcc-12" "$flags"
# With this edk2 makes tools of its tools, which run right away.
compiler cc "$tools/usr/bin/x86_64-linux-gnu-gcc-12" "$flags" -static
compiler g++ "$tools/usr/bin/x86_64-linux-gnu-g++-12" "$flags"
program "$work/bin" ar "$tools/usr/bin/x86_64-linux-gnu-ar"
program "$work/bin" gcc-ar "$tools/usr/bin/x86_64-linux-gnu-ar" --plugin "$gcc/liblto_plugin.so"
program "$work/bin" objcopy "$tools/usr/bin/x86_64-linux-gnu-objcopy"
program "$work/bin" python3 "$tools/usr/bin/python3.11"
for name in nasm iasl make patch xz; do
    program "$work/bin" "$name" "$tools/usr/bin/$name"
done
# All else that the build calls. Nothing of it makes code.
for name in basename bash cat chmod cp cut date dirname echo env expr grep head ln ls mkdir mv pwd \
    readlink rm rmdir sed sh sort tar test touch tr true uname wc; do
    file=$(type -P "$name") || die "$name is missing: a Debian machine has it"
    ln -s "$file" "$work/bin/$name"
done

# clean COMMAND...: in the folder of edk2, with nothing of this machine's environment.
clean() {
    (cd "$edk2" && umask 022 && exec env -i PATH="$work/bin:$edk2/BaseTools/BinWrappers/PosixLike" \
        HOME="$work/home" TMPDIR="$work/home" LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH="${epoch:-0}" \
        PYTHONHASHSEED=0 PYTHONNOUSERSITE=1 PYTHONPYCACHEPREFIX="$work/python" PYTHON_COMMAND=python3 \
        WORKSPACE="$edk2" EDK_TOOLS_PATH="$edk2/BaseTools" CONF_PATH="$edk2/Conf" \
        "$@" </dev/null >>"$work/log" 2>&1)
}
failed() {
    tail -n 15 "$out.work/log" >&2
    die "$1; above is the end of $out.work/log"
}

source=$(locked edk2-source)
version=${source##* }
say "edk2 $version, about 3 minutes on 2 cores"
for part in orig debian; do
    tarballs=("$machine/edk2-source/edk2_"*".$part.tar.xz")
    [[ -f ${tarballs[0]} && ${#tarballs[@]} == 1 ]] || die "$machine/edk2-source has not one $part tarball; remove it and run this again"
    ln -s "${tarballs[0]}" "$work/$part.tar.xz"
done
clean tar -xf "$work/orig.tar.xz" --no-same-owner --strip-components=1 || failed "the source could not be unpacked"
clean tar -xf "$work/debian.tar.xz" --no-same-owner || failed "Debian's patches could not be unpacked"
while read -r patch; do
    clean patch -p1 --no-backup-if-mismatch --fuzz=0 -i "debian/patches/$patch" || failed "Debian's patch $patch does not apply"
done < <(sed 's/[ \t]*#.*//; /^$/d' "$edk2/debian/patches/series")
for patch in image/firmware/*.patch; do
    clean patch -p1 --no-backup-if-mismatch --fuzz=0 --binary -i "$PWD/$patch" || failed "$patch does not apply"
done
# The day of the source package.
epoch=$(date -d "$(sed -n 's/^ -- .*>  //p' "$edk2/debian/changelog" | head -n 1)" +%s)
day=$(TZ=UTC LC_ALL=C date -d "@$epoch" +%m/%d/%Y)
for name in build_rule tools_def target; do
    cp "$edk2/BaseTools/Conf/$name.template" "$edk2/Conf/$name.txt"
done

SECONDS=0
clean make -C BaseTools/Source/C -j"$jobs" HOST_ARCH=X64 EXTRA_LDFLAGS=-static || failed "edk2's tools could not be built"
say "edk2's tools are built, in $SECONDS s"
SECONDS=0
report=()
[[ ! ${ZIPNET_FIRMWARE_KEEP:-} ]] || report=(-y "$edk2/Build/report.txt" -Y LIBRARY -Y PCD)
clean build -a X64 -t GCC -b RELEASE -p OvmfPkg/IntelTdx/IntelTdxX64.dsc -n "$jobs" "${report[@]}" \
    -D SECURE_BOOT_ENABLE=FALSE -D BUILD_SHELL=FALSE -D FD_SIZE_4MB \
    --pcd "gEfiMdeModulePkgTokenSpaceGuid.PcdFirmwareVersionString=L$version\\0" \
    --pcd "gEfiMdeModulePkgTokenSpaceGuid.PcdFirmwareReleaseDateString=L$day\\0" ||
    failed "the firmware could not be built"
built=$edk2/Build/IntelTdx/RELEASE_GCC/FV/OVMF.fd
[[ $(stat -c %s "$built") == 4194304 ]] || die "$built has $(stat -c %s "$built") bytes; 4194304 would be right"

# A TPM that the host emulates must find no driver, and the registers one.
"$work/bin/python3" scripts/firmware-modules.py "$built" >"$work/modules" || die "the volumes of $built cannot be read"
has() { grep -q "^$1 " "$work/modules"; }
for module in FDFF263D-5F68-4591-87BA-B768F445A9AF:Tcg2Dxe A0C98B77-CBA5-4BB8-993B-4AF6CE33ECE4:Tcg2Pei \
    BF7F2B0C-9F2F-4889-AB5C-12460022BE87:Tcg2ConfigPei; do
    ! has "${module%:*}" || die "${module#*:} is in the firmware, which must not know a TPM"
done
has F062221E-C607-44C2-B0B4-C3886331D351 || die "TdTcg2Dxe is not in the firmware, which then measures nothing"

cp "$built" "$out.new"
cp "$work/modules" "$out.modules"
chmod 0644 "$out.new" "$out.modules"
mv "$out.new" "$out"
echo "$stamp $(sum "$out")" >"$out.inputs"
say "$out in $SECONDS s, SHA-256 $(sum "$out")"
[[ ${ZIPNET_FIRMWARE_KEEP:-} ]] || rm -rf "$out.work"
