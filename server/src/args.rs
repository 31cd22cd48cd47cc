//! Arguments of servers and aggregators, besides those of all programs.

use core::net::SocketAddr;

use clap::Args;
pub use zipnet_cli::args::*;
use zipnet_node::door::{DoorOptions, Limits};

/// The door, for everybody who is not in the committee.
#[derive(Debug, Args)]
pub struct DoorArgs {
    /// Addresses at which others reach the door, up to four, repeated or comma separated
    /// [default: where it listens]
    #[arg(
        long,
        env = "ZIPNET_DOOR_ADDRESS",
        value_name = "IP:PORT",
        value_delimiter = ','
    )]
    pub door_address: Vec<SocketAddr>,
    /// Most connections of those who are registered
    #[arg(long, env = "ZIPNET_DOOR_KNOWN", value_name = "N", default_value_t = Limits::default().known)]
    pub door_known: usize,
    /// Most connections of strangers
    #[arg(long, env = "ZIPNET_DOOR_STRANGERS", value_name = "N", default_value_t = Limits::default().strangers)]
    pub door_strangers: usize,
    /// Most connections of strangers from one address; of IPv6, from one /64
    #[arg(long, env = "ZIPNET_DOOR_EACH_ADDRESS", value_name = "N", default_value_t = Limits::default().each_address)]
    pub door_each_address: usize,
}

impl DoorArgs {
    /// How the door is opened on `bind`.
    #[must_use]
    pub fn options(&self, bind: Option<SocketAddr>) -> DoorOptions {
        DoorOptions {
            bind,
            addresses: self.door_address.clone(),
            limits: Limits {
                known: self.door_known,
                strangers: self.door_strangers,
                each_address: self.door_each_address,
                ..Limits::default()
            },
        }
    }
}

/// Parses a number of bytes such as `512M`.
///
/// # Errors
/// A sentence that says what would be right.
pub fn bytes(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'K')) => (text.get(..at), 10),
        Some((at, 'M')) => (text.get(..at), 20),
        Some((at, 'G')) => (text.get(..at), 30),
        _ => (Some(text), 0),
    };
    digits
        .and_then(|digits| digits.parse::<usize>().ok())
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "a number of bytes such as 512M would be right".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_in_powers_of_1024() {
        assert_eq!(bytes("17"), Ok(17));
        assert_eq!(bytes("4K"), Ok(4096));
        assert_eq!(bytes("512M"), Ok(512 << 20));
        assert_eq!(bytes("1G"), Ok(1 << 30));
        for bad in ["", "0", "M", "1T", "-1K", "1.5G", "99999999999G", "é"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
