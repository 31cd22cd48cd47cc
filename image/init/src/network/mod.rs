//! The guest's one link: an address of the configuration, or of DHCP.

mod client;
mod dhcp;
mod lease;
mod link;
mod netlink;

use core::net::Ipv4Addr;
use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

pub use client::{DhcpError, run as run_dhcp};
pub use link::{Link, LinkError};
pub use netlink::{Netlink, NetlinkError};

use crate::{
    paths::{ADDRESS, RESOLV_CONF},
    settings::Ipv4Net,
};

/// The link has no address.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel.
    #[error("The network interface could not be set up")]
    Kernel(#[from] NetlinkError),
    /// Our own notes.
    #[error("Could not write {path}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Gives a link its address, router and name servers, and notes that the
/// network is there.
///
/// # Errors
/// [`NetworkError`].
pub fn configure(
    link: &Link,
    net: Ipv4Net,
    gateway: Option<Ipv4Addr>,
    dns: &[IpAddr],
) -> Result<(), NetworkError> {
    let mut kernel = Netlink::open()?;
    kernel.add_address(link.index, net)?;
    if let Some(gateway) = gateway {
        kernel.add_default_route(link.index, net, gateway)?;
    }
    let servers: Vec<_> = dns
        .iter()
        .map(|server| format!("nameserver {server}\n"))
        .collect();
    replace(Path::new(RESOLV_CONF), &servers.concat())?;
    // Last: whoever waits for it finds everything.
    replace(Path::new(ADDRESS), &format!("{net}\n"))
}

/// Writes a file so that readers see all of it or what was there before.
fn replace(path: &Path, text: &str) -> Result<(), NetworkError> {
    let write = || {
        let draft = path.with_extension("draft");
        fs::write(&draft, text)?;
        fs::rename(&draft, path)
    };
    write().map_err(|source| NetworkError::Write {
        path: path.to_owned(),
        source,
    })
}

/// `10.0.2.15/24, gateway 10.0.2.2, name servers 10.0.2.3`.
#[must_use]
pub fn describe(net: Ipv4Net, gateway: Option<Ipv4Addr>, dns: &[IpAddr]) -> String {
    let dns: Vec<_> = dns.iter().map(ToString::to_string).collect();
    let dns = if dns.is_empty() {
        "no name servers".to_owned()
    } else {
        format!("name servers {}", dns.join(" "))
    };
    let gateway = gateway.map_or_else(
        || "no gateway".to_owned(),
        |gateway| format!("gateway {gateway}"),
    );
    format!("{net}, {gateway}, {dns}")
}
