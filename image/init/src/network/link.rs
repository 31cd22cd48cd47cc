//! The network interface.

use core::time::Duration;
use std::{fs, io, path::Path, thread, time::Instant};

const NET: &str = "/sys/class/net";
const LOOPBACK: &str = "lo";
/// A device may turn up a little after its driver.
const PATIENCE: Duration = Duration::from_secs(5);

/// A network interface that is no loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

/// There is no usable interface.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// None at all.
    #[error(
        "This machine has no network interface; one that virtio_net drives would be right, such as QEMU's -device virtio-net-pci"
    )]
    None,
    /// The kernel's files about it.
    #[error("The kernel does not describe the network interface {0:?}")]
    Unknown(String, #[source] io::Error),
}

impl Link {
    /// The first interface by name; waits a little for it.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn first() -> Result<Self, LinkError> {
        let start = Instant::now();
        loop {
            let mut names: Vec<_> = fs::read_dir(NET)
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|name| name != LOOPBACK)
                .collect();
            names.sort();
            if let Some(name) = names.into_iter().next() {
                return Self::named(name);
            }
            if start.elapsed() >= PATIENCE {
                return Err(LinkError::None);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// [`LinkError::Unknown`].
    pub fn named(name: String) -> Result<Self, LinkError> {
        let read = |file| fs::read_to_string(Path::new(NET).join(&name).join(file));
        let found = read("ifindex").and_then(|index| Ok((index, read("address")?)));
        match found {
            Ok((index, address)) => match (index.trim().parse(), mac(address.trim())) {
                (Ok(index), Some(mac)) => Ok(Self { name, index, mac }),
                _ => Err(LinkError::Unknown(
                    name,
                    io::Error::other("no Ethernet address"),
                )),
            },
            Err(error) => Err(LinkError::Unknown(name, error)),
        }
    }

    /// The loopback interface's number: 1, in every network namespace.
    pub const LOOPBACK: u32 = 1;
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    hex::decode_to_slice(text.replace(':', ""), &mut mac).ok()?;
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_addresses_are_read() {
        assert_eq!(
            mac("52:54:00:12:34:56"),
            Some([0x52, 0x54, 0, 0x12, 0x34, 0x56])
        );
        for bad in ["", "52:54", "zz:54:00:12:34:56", "52:54:00:12:34:56:78"] {
            assert_eq!(mac(bad), None, "{bad}");
        }
    }
}
