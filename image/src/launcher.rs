//! The launcher: a script with the image behind it.

use zipnet_measurements::{digest::sha256, machine::FROZEN};

use crate::recipe::{Flavor, LAUNCHER};

/// Names under which the launcher unpacks firmware and image; those of the
/// artifacts.
pub const UNPACKED: [&str; 2] = ["zipnet-ovmf.fd", "zipnet-image.efi"];

/// The launcher for an image.
#[must_use]
pub fn launcher(flavor: Flavor, firmware: &[u8], unified: &[u8]) -> Vec<u8> {
    let payload = [firmware, unified];
    let sums = payload
        .iter()
        .zip(UNPACKED)
        .map(|(bytes, name)| format!("{}  {name}", sha256(bytes)))
        .collect::<Vec<_>>()
        .join("\n");
    let (accel, cpus, memory) = match flavor {
        Flavor::Production => ("tdx", "2", "2G"),
        Flavor::Local => ("auto", "1", "1G"),
    };
    let qemu = FROZEN.id.split('-').nth(1).unwrap_or_default();
    let script = LAUNCHER
        .replace("@VERSION@", &flavor.version())
        .replace("@ACCEL@", accel)
        .replace("@CPUS@", cpus)
        .replace("@MEMORY@", memory)
        .replace("@FIRMWARE_SIZE@", &firmware.len().to_string())
        .replace("@IMAGE_SIZE@", &unified.len().to_string())
        .replace("@SUMS@", &sums)
        .replace("@QEMU_VERSION@", qemu);
    [script.as_bytes(), &payload.concat()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in_and_the_payload_is_at_the_end() {
        let launcher = launcher(Flavor::Local, b"firmware", b"image");
        let script = launcher.strip_suffix(b"firmwareimage").unwrap();
        let script = core::str::from_utf8(script).unwrap();
        assert!(script.contains("frozen=\"11.1.3\""));
        assert!(script.contains("firmware_size=8 image_size=5"));
        let open =
            |line: &&str| line.contains('@') && !line.contains("\"$@\"") && !line.contains("[@]");
        assert_eq!(script.lines().find(open), None);
    }
}
