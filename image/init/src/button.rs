//! The power button: what the host presses to stop a guest, as the input
//! device that ACPI's driver makes of it.

use std::{
    fs::{self, File, OpenOptions},
    io::Read as _,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::Path,
};

use nix::fcntl::OFlag;

const INPUTS: &str = "/sys/class/input";
const NAME: &str = "Power Button";
/// `struct input_event` of 64-bit Linux: two words of time, then type (u16),
/// code (u16), value (i32).
const EVENT: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

/// The machine's power buttons; it may have none.
#[derive(Debug, Default)]
pub struct Buttons {
    devices: Vec<File>,
}

impl Buttons {
    /// Opens all that there are.
    #[must_use]
    pub fn open() -> Self {
        let devices = fs::read_dir(INPUTS)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let event = entry.file_name();
                let named = fs::read_to_string(entry.path().join("device/name")).ok()?;
                let is_event = event.to_str()?.starts_with("event");
                (is_event && named.trim() == NAME).then_some(())?;
                OpenOptions::new()
                    .read(true)
                    .custom_flags(OFlag::O_NONBLOCK.bits())
                    .open(Path::new("/dev/input").join(event))
                    .ok()
            })
            .collect();
        Self { devices }
    }

    /// Whether there is one.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// What to wait for.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.devices.iter().map(AsFd::as_fd)
    }

    /// Whether one was pressed since it was last looked at. Does not wait.
    #[must_use]
    pub fn pressed(&self) -> bool {
        let mut pressed = false;
        let mut events = [0; EVENT * 16];
        for mut device in &self.devices {
            if let Ok(length) = device.read(&mut events) {
                pressed |= is_press(events.get(..length).unwrap_or_default());
            }
        }
        pressed
    }
}

fn is_press(events: &[u8]) -> bool {
    events.chunks_exact(EVENT).any(|event| {
        let Some((_, rest)) = event.split_at_checked(16) else {
            return false;
        };
        let key = [EV_KEY.to_ne_bytes(), KEY_POWER.to_ne_bytes()].concat();
        rest.strip_prefix(&*key) == Some(&1_i32.to_ne_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut event = vec![7; 16];
        event.extend(kind.to_ne_bytes());
        event.extend(code.to_ne_bytes());
        event.extend(value.to_ne_bytes());
        event
    }

    #[test]
    fn only_a_press_of_the_power_key_counts() {
        assert!(is_press(
            &[event(0, 0, 0), event(EV_KEY, KEY_POWER, 1)].concat()
        ));
        for other in [
            event(EV_KEY, KEY_POWER, 0),
            event(EV_KEY, 30, 1),
            event(0, KEY_POWER, 1),
            event(EV_KEY, KEY_POWER, 1)[..20].to_vec(),
            Vec::new(),
        ] {
            assert!(!is_press(&other));
        }
    }
}
