#!/usr/bin/env bash
# Becomes the systemd of a machine of its own: this machine's files under a layer of
# memory, nothing enabled, its own processes, mounts and network. Nothing it does
# outlasts it.
#
#   unshare --mount --pid --uts --ipc --net --cgroup --fork tests/systemd/boot.sh DIR FILES
#
# DIR is an empty folder to mount in. FILES is a folder that the machine sees as /mnt.
set -euo pipefail

dir=$(realpath "$1")
files=$(realpath "$2")
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
cd "$dir/root"

mount -t proc proc proc
# Not this machine's: the kernel's settings are everybody's.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind "$files" mnt
mount -o remount,bind,ro mnt

# None of what this machine mounts or runs.
: >etc/fstab
: >etc/machine-id
rm -rf etc/systemd/system
mkdir -p etc/systemd/system/multi-user.target.wants run/systemd/system
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >run/systemd/system/zipnet-test.target

mkdir run/old
pivot_root . run/old
umount -l /run/old
# As systemd does outside of containers: credentials are mounted by a child of it.
mount --make-rshared /
# It cannot touch the clock, the kernel or hardware.
exec env -i container=zipnet-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-sys_boot \
    /lib/systemd/systemd --system --unit=zipnet-test.target --show-status=false
