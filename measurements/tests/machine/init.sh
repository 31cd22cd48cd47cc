#!/bin/busybox sh
# shellcheck shell=dash
# PID 1 of the machine under test: prints, as hex between markers, what the
# firmware measured and what QEMU gave to it; then powers off.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b mount -t securityfs sec /sys/kernel/security
exec </dev/console >/dev/console 2>&1
$b insmod /qemu_fw_cfg.ko
say() {
    [ -e "$2" ] || return
    echo "@@BEGIN $1"
    $b xxd -p "$2"
    echo "@@END $1"
}
say cmdline /proc/cmdline
say log /sys/kernel/security/tpm0/binary_bios_measurements
for bank in sha256 sha384; do
    for pcr in 1 4 5 7 9; do
        file=/sys/class/tpm/tpm0/pcr-$bank/$pcr
        [ -e "$file" ] && echo "@@PCR $bank $pcr $($b cat "$file")"
    done
done
by_name=/sys/firmware/qemu_fw_cfg/by_name
say tables "$by_name/etc/acpi/tables/raw"
say rsdp "$by_name/etc/acpi/rsdp/raw"
say loader "$by_name/etc/table-loader/raw"
echo "@@DONE"
$b poweroff -f
