//! The smallest initramfs: busybox, a script as PID 1, one module. The format is
//! newc (kernel `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::path::Path;

const DIRECTORY: u32 = 0o40_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o20_600;

/// An initramfs whose `/init` prints what was measured.
pub fn initramfs(machine: &Path) -> Vec<u8> {
    let read = |name: &str| std::fs::read(machine.join(name)).unwrap();
    let mut archive = Vec::new();
    let mut inode = 0;
    let mut add = |name: &str, mode: u32, device: (u32, u32), data: &[u8]| {
        inode += 1;
        entry(&mut archive, inode, name, mode, device, data);
    };
    for name in ["bin", "dev", "proc", "sys"] {
        add(name, DIRECTORY, (0, 0), &[]);
    }
    add("dev/console", CHARACTER_DEVICE, (5, 1), &[]);
    add("bin/busybox", PROGRAM, (0, 0), &read("busybox"));
    add("init", PROGRAM, (0, 0), include_bytes!("init.sh"));
    add("qemu_fw_cfg.ko", FILE, (0, 0), &read("qemu_fw_cfg.ko"));
    add("TRAILER!!!", 0, (0, 0), &[]);
    archive
}

fn entry(
    archive: &mut Vec<u8>,
    inode: u32,
    name: &str,
    mode: u32,
    (major, minor): (u32, u32),
    data: &[u8],
) {
    let length = |bytes: usize| u32::try_from(bytes).unwrap();
    archive.extend(b"070701");
    let name_length = length(name.len() + 1);
    for field in [
        inode,
        mode,
        0,
        0,
        1,
        0,
        length(data.len()),
        0,
        0,
        major,
        minor,
        name_length,
        0,
    ] {
        archive.extend(format!("{field:08X}").into_bytes());
    }
    archive.extend(name.as_bytes());
    archive.push(0);
    align(archive);
    archive.extend(data);
    align(archive);
}

fn align(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}
