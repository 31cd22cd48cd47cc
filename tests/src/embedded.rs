//! Clients and servers inside of the test's own process.

use std::net::{Ipv4Addr, SocketAddr};

use zeroize::Zeroizing;
use zipnet_node::{
    roles::client::ClientSettings,
    settings::{NetworkSettings, RelaySetting, TrustSettings},
};
use zipnet_protocol::{CommitteeSecret, InstanceName, RoundParams};

use crate::{cluster::Cluster, process::TestResult};

/// The committee of `cluster` as a line of text.
///
/// # Errors
/// If the instance's name is none.
pub fn uri(cluster: &Cluster) -> TestResult<String> {
    let settings = &cluster.settings;
    let committee = settings.committee()?;
    let size = settings.committee_size;
    let size = size.map_or_else(String::new, |size| format!("&size={size}"));
    Ok(format!(
        "zipnet:{}?committee={committee}&bootstrap={}&relay=embedded{size}",
        settings.instance,
        cluster.bootstrap()
    ))
}

/// Settings of a client that trusts the committee of `cluster` and no other.
///
/// # Errors
/// If a server's hint or the instance's name does not parse.
pub fn client_settings(cluster: &Cluster, relay: RelaySetting) -> TestResult<ClientSettings> {
    let settings = &cluster.settings;
    let name: InstanceName = settings.instance.parse()?;
    let secret = CommitteeSecret::new(Zeroizing::new(settings.secret.clone().into_bytes()));
    let hints = cluster.servers.iter().map(|server| server.hint.parse());
    Ok(ClientSettings {
        network: NetworkSettings {
            universe: cluster.universe(),
            seed: None,
            bootstrap: hints.collect::<Result<_, _>>()?,
            bind: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            relay,
        },
        trust: TrustSettings {
            committee: Some(secret.committee_key(&name).public()),
            name,
            required: Vec::new(),
            committee_size: settings
                .committee_size
                .and_then(|size| size.try_into().ok()),
            min_servers: None,
            min_participants: 1,
            aggregators: Vec::new(),
            authority: None,
        },
        params: RoundParams::default(),
        invite: None,
    })
}
