//! The door of this process: opening it, and saying where it is.

use core::{net::IpAddr, net::Ipv4Addr, net::SocketAddr, time::Duration};

use tokio::time::{Instant, sleep};
pub use zipnet_door::Limits;
use zipnet_door::{Door, DoorSettings, OpenError};
use zipnet_protocol::domain_digest;

use crate::{
    metrics,
    network::steady_address,
    roles::common::reach,
    settings::{BootstrapHint, RelaySetting, TransportSeed},
};

/// How long to wait for the addresses of this machine.
const ADDRESSES: Duration = Duration::from_secs(1);
/// How often to look.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is shown what a door holds.
const SHOWN: Duration = Duration::from_secs(1);

/// What an operator sets for a door.
#[derive(Debug, Clone, Default)]
pub struct DoorOptions {
    /// Where it listens (UDP); a port that follows from its key, on all interfaces,
    /// if nothing is said.
    pub bind: Option<SocketAddr>,
    /// Where others reach it, if that is not where it listens.
    pub addresses: Vec<SocketAddr>,
    /// How many connections it holds.
    pub limits: Limits,
}

/// The seed of a server's identity in the committee's own network, which follows from
/// that of its transport identity. Another key than that one, under which its door
/// answers: a relay serves each key once.
#[must_use]
pub fn member_seed(transport: &TransportSeed) -> TransportSeed {
    let digest = domain_digest("zipnet/member-key/v1", transport.as_bytes().as_slice());
    TransportSeed::from_entropy(zeroize::Zeroizing::new(*digest.as_bytes()))
}

/// Opens a door, and says where others may reach it; nobody is let in yet.
///
/// # Errors
/// [`OpenError`].
pub async fn open(
    seed: &TransportSeed,
    relay: &RelaySetting,
    options: &DoorOptions,
) -> Result<(Door, Vec<SocketAddr>), OpenError> {
    let steady = || steady_address(seed, Ipv4Addr::UNSPECIFIED.into());
    let bind = Some(options.bind.unwrap_or_else(steady));
    let door = Door::open(&DoorSettings {
        seed: seed.as_bytes().clone(),
        bind,
        reach: reach(relay),
        limits: options.limits,
    })
    .await?;
    let addresses = if options.addresses.is_empty() {
        reachable(&door).await
    } else {
        options.addresses.clone()
    };
    Ok((door, addresses))
}

/// Shows what a door holds as metrics, for ever.
pub async fn watch(door: &Door) {
    loop {
        metrics::door(door);
        sleep(SHOWN).await;
    }
}

/// Addresses at which others may reach a door. iroh learns those of this machine in a
/// moment.
async fn reachable(door: &Door) -> Vec<SocketAddr> {
    let until = Instant::now() + ADDRESSES;
    loop {
        let mut addresses = door.addresses();
        addresses.retain(|address| !address.ip().is_unspecified());
        // Those of other machines before loopback.
        addresses.sort_by_key(|address| (address.ip().is_loopback(), address.is_ipv6()));
        if !addresses.is_empty() || Instant::now() >= until {
            return addresses;
        }
        sleep(LOOK).await;
    }
}

/// The hint with which others find a door: by the first address that is known,
/// else by loopback.
#[must_use]
pub fn hint(door: &Door, addresses: &[SocketAddr]) -> BootstrapHint {
    let listening = || {
        let socket = *door.sockets().first()?;
        let ip = match socket.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        Some(SocketAddr::from((ip, socket.port())))
    };
    BootstrapHint {
        peer: door.id(),
        address: addresses.first().copied().or_else(listening),
    }
}
