//! What is to run, what runs, and how far an upgrade is: the state that verbs share,
//! each in a file of the guest's folder.

use core::{fmt, str::FromStr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zipnet_measurements::Digest256;

use crate::{
    alive::{Alive, Birth},
    files::{self, FileError},
    place::Folder,
};

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// A TD.
    Tdx,
    /// KVM without TDX: protects nothing.
    Kvm,
    /// Emulation: protects nothing.
    Tcg,
    /// KVM if a probe boot succeeds, or emulation: protects nothing.
    Auto,
}

impl Accel {
    /// As the launcher takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tdx => "tdx",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
            Self::Auto => "auto",
        }
    }
}

/// A port of the host that leads to one of the guest: `tcp|udp:[IP:]PORT:GUESTPORT`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Forward {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Of the host; all of them if there is none.
    pub address: Option<std::net::Ipv4Addr>,
    /// Of the host.
    pub port: u16,
    /// Of the guest.
    pub guest: u16,
}

/// Text forwards nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tcp or udp, [IP:]PORT and GUESTPORT, such as tcp:127.0.0.1:7650:7650, would be right")]
pub struct ForwardError;

impl FromStr for Forward {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let words: Vec<_> = text.split(':').collect();
        let (protocol, address, port, guest) = match words.as_slice() {
            [protocol, port, guest] => (protocol, None, port, guest),
            [protocol, address, port, guest] => {
                let address = address.parse().map_err(|_| ForwardError)?;
                (protocol, Some(address), port, guest)
            }
            _ => return Err(ForwardError),
        };
        let number = |text: &str| match text.parse() {
            Ok(0) | Err(_) => Err(ForwardError),
            Ok(number) => Ok(number),
        };
        if !["tcp", "udp"].contains(protocol) {
            return Err(ForwardError);
        }
        Ok(Self {
            protocol: (*protocol).to_owned(),
            address,
            port: number(port)?,
            guest: number(guest)?,
        })
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.protocol)?;
        if let Some(address) = self.address {
            write!(f, "{address}:")?;
        }
        write!(f, "{}:{}", self.port, self.guest)
    }
}

impl TryFrom<String> for Forward {
    type Error = ForwardError;

    fn try_from(text: String) -> Result<Self, ForwardError> {
        text.parse()
    }
}

impl From<Forward> for String {
    fn from(forward: Forward) -> Self {
        forward.to_string()
    }
}

/// All that a launch of a guest is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// SHA-256 of the launcher, which names the kept image.
    pub image: Digest256,
    /// The image's version, by its manifest.
    pub version: String,
    /// Processors and memory, as in `2c2G`.
    pub shape: String,
    /// Processors.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory: u64,
    /// What runs it.
    pub accel: Accel,
    /// SHA-256 of the configuration, which names the kept one.
    pub config: Digest256,
    /// The file that it was when it was launched.
    pub config_file: PathBuf,
    /// Ports that lead to the guest.
    pub forward: Vec<Forward>,
    /// A tap interface instead of the emulated network.
    pub tap: Option<String>,
    /// The hardware address.
    pub mac: Option<String>,
    /// Where quotes come from.
    pub quotes: String,
    /// QEMU.
    pub qemu: PathBuf,
}

impl Plan {
    /// The launcher's arguments.
    #[must_use]
    pub fn arguments(&self, folder: &Folder) -> Vec<std::ffi::OsString> {
        let mut arguments: Vec<std::ffi::OsString> = vec![
            "--config".into(),
            folder.config(self.config).into(),
            "--accel".into(),
            self.accel.name().into(),
            "--cpus".into(),
            self.cpus.to_string().into(),
            "--memory".into(),
            format!("{}M", self.memory >> 20).into(),
            "--quotes".into(),
            (&self.quotes).into(),
        ];
        let mut more = |option: &str, value: String| {
            arguments.push(option.into());
            arguments.push(value.into());
        };
        for forward in &self.forward {
            more("--forward", forward.to_string());
        }
        if let Some(tap) = &self.tap {
            more("--tap", tap.clone());
        }
        if let Some(mac) = &self.mac {
            more("--mac", mac.clone());
        }
        arguments
    }
}

/// What is to run. Whoever watches a guest starts it anew when it ends and a later
/// generation is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Counts launches.
    pub generation: u64,
    /// Whether it is to run at all.
    pub run: bool,
    /// What.
    pub plan: Plan,
}

/// The process that runs a generation. It writes this itself before it becomes the
/// launcher, so that no guest runs of which nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Which.
    pub generation: u64,
    /// The launcher's process.
    pub birth: Birth,
    /// When, in seconds since 1970.
    pub since: u64,
}

/// An upgrade under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// What ran before.
    pub from: Plan,
    /// What is to run.
    pub to: Plan,
    /// The generation of `to`.
    pub generation: u64,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// How long the new guest may take, in seconds.
    pub within: u64,
}

impl Folder {
    /// What is to run; `None` if the guest was never launched.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read_wanted(&self) -> Result<Option<Wanted>, FileError> {
        files::read_state(&self.wanted())
    }

    /// The guest's process, if it lives.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn alive(&self) -> Result<Option<(Ran, Alive)>, FileError> {
        let ran: Option<Ran> = files::read_state(&self.ran())?;
        Ok(ran.and_then(|ran| {
            let alive = ran.birth.find()?;
            Some((ran, alive))
        }))
    }

    /// The upgrade that is under way, or was interrupted.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read_journal(&self) -> Result<Option<Journal>, FileError> {
        files::read_state(&self.journal())
    }

    /// Whether somebody watches the guest.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        files::is_held(&self.supervisor_lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_is_what_the_launcher_takes() {
        for right in ["udp:4400:4400", "tcp:127.0.0.1:7650:7650"] {
            assert_eq!(right.parse::<Forward>().unwrap().to_string(), right);
        }
        for wrong in [
            "",
            "sctp:1:1",
            "tcp:1",
            "tcp:0:1",
            "tcp:1:65536",
            "tcp:[::1]:1:1",
            "tcp:localhost:1:1",
            "tcp:1:1,x",
        ] {
            assert_eq!(wrong.parse::<Forward>(), Err(ForwardError), "{wrong}");
        }
    }
}
