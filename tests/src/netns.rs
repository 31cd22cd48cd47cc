//! Network namespaces: a bridge with one namespace for each server, and the
//! power to cut each off. Needs root and iproute2; the namespaces are ours and
//! go when this is dropped.

use std::{path::Path, process::Command};

/// A namespace could not be made.
#[derive(Debug, thiserror::Error)]
#[error("`{command}` failed: {message}; root, CAP_NET_ADMIN and iproute2 would be right")]
pub struct NamespaceError {
    command: String,
    message: String,
}

/// A hub in the caller's namespace and spokes around it.
#[derive(Debug)]
pub struct Namespaces {
    tag: String,
    subnet: u8,
    count: usize,
}

impl Namespaces {
    /// Makes a bridge and `count` namespaces.
    ///
    /// # Errors
    /// [`NamespaceError`] of the first command that fails.
    pub fn new(count: usize) -> Result<Self, NamespaceError> {
        let tag = format!("z{}", std::process::id() % 1_000_000);
        let subnet = u8::try_from(std::process::id() % 200).unwrap_or(0);
        let this = Self { tag, subnet, count };
        let bridge = this.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&[
            "addr",
            "add",
            &format!("{}/24", this.address(None)),
            "dev",
            &bridge,
        ])?;
        ip(&["link", "set", &bridge, "up"])?;
        for index in 0..count {
            this.add(index, &bridge)?;
        }
        Ok(this)
    }

    fn add(&self, index: usize, bridge: &str) -> Result<(), NamespaceError> {
        let (name, outer, inner) = (self.name(index), self.outer(index), "eth0");
        ip(&["netns", "add", &name])?;
        ip(&[
            "link", "add", &outer, "type", "veth", "peer", "name", inner, "netns", &name,
        ])?;
        ip(&["link", "set", &outer, "master", bridge])?;
        ip(&["link", "set", &outer, "up"])?;
        let address = format!("{}/24", self.address(Some(index)));
        ip(&["-n", &name, "addr", "add", &address, "dev", inner])?;
        ip(&["-n", &name, "link", "set", inner, "up"])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])
    }

    /// The address of a spoke, or of the hub.
    #[must_use]
    pub fn address(&self, index: Option<usize>) -> String {
        let host = index.map_or(1, |index| index + 10);
        format!("10.213.{}.{host}", self.subnet)
    }

    /// A command that runs a program in a spoke.
    #[must_use]
    pub fn command(&self, index: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name(index)])
            .arg(program);
        command
    }

    /// Cuts a spoke off: its cable is pulled.
    ///
    /// # Errors
    /// [`NamespaceError`].
    pub fn cut(&self, index: usize) -> Result<(), NamespaceError> {
        ip(&["link", "set", &self.outer(index), "down"])
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// [`NamespaceError`].
    pub fn heal(&self, index: usize) -> Result<(), NamespaceError> {
        ip(&["link", "set", &self.outer(index), "up"])
    }

    fn bridge(&self) -> String {
        format!("{}br", self.tag)
    }

    fn outer(&self, index: usize) -> String {
        format!("{}v{index}", self.tag)
    }

    fn name(&self, index: usize) -> String {
        format!("{}n{index}", self.tag)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for index in 0..self.count {
            let _ = ip(&["netns", "del", &self.name(index)]);
            let _ = ip(&["link", "del", &self.outer(index)]);
        }
        let _ = ip(&["link", "del", &self.bridge()]);
    }
}

pub(crate) fn ip(arguments: &[&str]) -> Result<(), NamespaceError> {
    let failed = |message: String| NamespaceError {
        command: format!("ip {}", arguments.join(" ")),
        message,
    };
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }
}
