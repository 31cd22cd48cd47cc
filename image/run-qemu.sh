#!/usr/bin/env bash
# zipnet's committee server @VERSION@ as a TDX guest: launcher and image in one file.
#
#   zipnet-run-qemu.sh --config FILE [OPTIONS] [-- QEMU ARGUMENTS]
#
#   --config FILE        settings of the guest; the host and everybody may read them
#   --accel tdx|kvm|tcg|auto
#                        tdx: a TD. The others are for trying things out and protect
#                        nothing; auto takes kvm if a probe boot succeeds [@ACCEL@]
#   --cpus N             processors, 1, 2, 4 or 8 for a shape of the manifest [@CPUS@]
#   --memory SIZE        memory, 1G, 2G, 4G or 8G for a shape of the manifest [@MEMORY@]
#   --forward udp|tcp:[IP:]PORT:GUESTPORT
#                        with the emulated network: a port of this host that leads to
#                        one of the guest, repeated
#   --tap INTERFACE      a tap interface instead of the emulated network
#   --mac ADDRESS        hardware address of the guest's interface
#   --quotes unix:PATH|vsock:CID:PORT
#                        where QEMU reaches the quote generation service [vsock:2:4050]
#   --extract DIR        write firmware and image to DIR, start nothing
#
# SIGTERM, Ctrl-C and the end of the terminal press the guest's power button: it ends
# its server and powers off. QEMU names another qemu-system-x86_64, TMPDIR another
# folder than /tmp for the image's files, which are gone when the guest is.
set -euo pipefail

readonly firmware_size=@FIRMWARE_SIZE@ image_size=@IMAGE_SIZE@
readonly sums="@SUMS@"
readonly frozen="@QEMU_VERSION@"

die() { echo "run-qemu: $*" >&2; exit 1; }
usage() { echo "run-qemu: $*; --help lists the options" >&2; exit 2; }

config='' accel=@ACCEL@ cpus=@CPUS@ memory=@MEMORY@ forwards='' tap='' mac='' quotes=vsock:2:4050 extract=''
while (($#)); do
    case $1 in
        --help | -h)
            sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
            exit ;;
        --)
            shift
            break ;;
        --config | --accel | --cpus | --memory | --forward | --tap | --mac | --quotes | --extract)
            (($# > 1)) || usage "$1 has no value"
            case $1 in
                --config) config=$2 ;;
                --accel) accel=$2 ;;
                --cpus) cpus=$2 ;;
                --memory) memory=$2 ;;
                --forward)
                    [[ $2 =~ ^(udp|tcp):(([0-9.]+):)?([0-9]+):([0-9]+)$ ]] ||
                        usage "--forward $2 is not PROTOCOL:[IP:]PORT:GUESTPORT"
                    forwards+=",hostfwd=${BASH_REMATCH[1]}:${BASH_REMATCH[3]}:${BASH_REMATCH[4]}-:${BASH_REMATCH[5]}" ;;
                --tap) tap=$2 ;;
                --mac) mac=$2 ;;
                --quotes) quotes=$2 ;;
                --extract) extract=$2 ;;
            esac
            shift 2 ;;
        *) usage "$1 is no option" ;;
    esac
done
[[ $accel =~ ^(tdx|kvm|tcg|auto)$ ]] || usage "--accel $accel is none of tdx, kvm, tcg, auto"
[[ $cpus =~ ^[1-9][0-9]*$ ]] || usage "--cpus $cpus is no number"
[[ $memory =~ ^[1-9][0-9]*[MG]$ ]] || usage "--memory $memory is no size such as 2G"
[[ ! $tap || $tap =~ ^[A-Za-z0-9_.-]+$ ]] || usage "--tap $tap is no name of an interface"
[[ ! $mac || $mac =~ ^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$ ]] || usage "--mac $mac is no address such as 52:54:00:12:34:56"
[[ $quotes =~ ^(unix:[^\"\\]+|vsock:[0-9]+:[0-9]+)$ ]] ||
    usage "--quotes $quotes is neither unix:PATH nor vsock:CID:PORT"
[[ ! $tap || ! $forwards ]] || usage "--tap and --forward exclude each other"

dir=$extract
if [[ $extract ]]; then
    mkdir -p "$extract"
else
    [[ $config ]] || usage "--config is missing: a file with the settings of the guest"
    [[ -f $config && -r $config ]] || usage "$config, named by --config, is not a readable file"
    dir=$(mktemp -d "${TMPDIR:-/tmp}/zipnet.XXXXXX" 2>&1) ||
        die "no folder for the image's files ($dir); TMPDIR can name another place"
    trap 'rm -rf "$dir"' EXIT
fi

# The payload: firmware and image, one after the other, at the end.
at=$(($(stat -Lc %s "$0") - firmware_size - image_size))
((at > 0)) || die "this file is damaged or cut: it is shorter than its image"
take() {
    local problem
    problem=$(dd if="$0" of="$dir/$1" bs=1M iflag=skip_bytes,count_bytes skip="$at" count="$2" status=none 2>&1) ||
        die "could not unpack $1 to $dir ($problem); is the disk full?"
    at=$((at + $2))
}
take zipnet-ovmf.fd "$firmware_size"
take zipnet-image.efi "$image_size"
(cd "$dir" && sha256sum --quiet --check <<<"$sums") ||
    die "this file is damaged or cut, or $dir is full: the sums are not those of the image"
[[ ! $extract ]] || exit 0

qemu=${QEMU:-qemu-system-x86_64}
version=$("$qemu" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p') || true
[[ $version ]] || die "$qemu does not run; a QEMU on PATH, or one named by QEMU, would be right"

# Whether KVM runs a guest here, which its device file does not say: the image
# without a configuration ends by itself within seconds.
probe() {
    [[ -r /dev/kvm && -w /dev/kvm ]] &&
        timeout --kill-after 2 10 "$qemu" -accel kvm -cpu host -machine q35 -m 512M -nodefaults -display none \
            -no-reboot -bios "$dir/zipnet-ovmf.fd" -kernel "$dir/zipnet-image.efi" >/dev/null 2>&1 </dev/null
}
if [[ $accel == auto ]]; then
    accel=tcg
    probe && accel=kvm
fi

machine=q35,smm=off,pic=off,hpet=off,kernel_irqchip=split
arguments=(-smp "$cpus" -m "$memory")
case $accel in
    tdx)
        [[ -w /dev/kvm ]] || die "/dev/kvm cannot be written to; a host with KVM and TDX would be right"
        [[ $(cat /sys/module/kvm_intel/parameters/tdx 2>/dev/null) == [Y1] ]] ||
            die "this host's KVM has no TDX (kvm_intel's parameter tdx); --accel tcg is for trying things out"
        [[ $version == "$frozen" ]] ||
            echo "run-qemu: this is QEMU $version: RTMR0 of the manifest is that of $frozen" >&2
        case $quotes in
            unix:?*) service="{\"type\":\"unix\",\"path\":\"${quotes#unix:}\"}" ;;
            *)
                IFS=: read -r _ cid port <<<"$quotes"
                service="{\"type\":\"vsock\",\"cid\":\"$cid\",\"port\":\"$port\"}" ;;
        esac
        arguments+=(-accel kvm -cpu host -machine "$machine,confidential-guest-support=td"
            -object "{\"qom-type\":\"tdx-guest\",\"id\":\"td\",\"quote-generation-socket\":$service}") ;;
    kvm) arguments+=(-accel kvm -cpu host -machine "$machine") ;;
    tcg) arguments+=(-accel tcg -cpu "max,phys-bits=46,host-phys-bits=off" -machine "$machine") ;;
esac
if [[ $tap ]]; then
    arguments+=(-netdev "tap,id=n,ifname=$tap,script=no,downscript=no")
else
    arguments+=(-netdev "user,id=n$forwards")
fi

mkfifo "$dir/monitor.in" "$dir/monitor.out"
# However this script ends, QEMU does not outlive it. In a session of its own it
# does not see Ctrl-C, which would end it at once.
setsid setpriv --pdeathsig KILL -- "$qemu" "${arguments[@]}" -nodefaults -display none -no-reboot -serial stdio \
    -monitor "pipe:$dir/monitor" \
    -device "virtio-net-pci,netdev=n,addr=2,disable-legacy=on,romfile=${mac:+,mac=$mac}" \
    -bios "$dir/zipnet-ovmf.fd" -kernel "$dir/zipnet-image.efi" -fw_cfg "name=opt/org.zipnet/config,file=${config//,/,,}" "$@" </dev/null &
pid=$!
# The monitor's answers are of no interest, but have to go somewhere.
setsid cat "$dir/monitor.out" >/dev/null &
# Opened for both, as QEMU may not listen yet or any more.
trap 'echo system_powerdown 1<>"$dir/monitor.in"' TERM INT HUP
status=0
# A signal ends wait before QEMU ends.
while kill -0 "$pid" 2>/dev/null; do
    status=0
    wait "$pid" || status=$?
done
exit "$status"
# What follows is the payload.
