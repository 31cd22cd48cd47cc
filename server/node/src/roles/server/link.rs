//! How a server that starts finds the committee's own network.
//!
//! What operators tell each other are doors. Behind a door, whoever proves that it
//! knows the committee secret is told where the server is in mosaik's network:
//! nobody else needs to reach that, and nobody else is told its addresses.

use core::{net::SocketAddr, time::Duration};
use std::{collections::BTreeMap, sync::Arc};

use mosaik::{Network, PeerId, iroh::EndpointAddr};
use zipnet_protocol::{Instance, PeerKey, SigningSecret};

use super::context::Context;
use crate::{
    book::AtDoors,
    network::bounded,
    peers::{PeerError, Peers},
    roles::common::peer_id,
    wire::{Link, LinkCall, LinkRequest, Refused},
};

/// How long a server may take to answer, and to compare catalogs.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often those that are not known yet are asked.
const AGAIN: Duration = Duration::from_secs(1);
/// Most addresses of a member that are told and tried.
const ADDRESSES: usize = 8;

/// Where this server is in the committee's network, for whoever knows the secret.
pub(super) fn tell(
    context: &Context,
    request: &LinkRequest,
    caller: &PeerKey,
) -> Result<Link, Refused> {
    let me = context.me();
    request
        .verify(&context.rules.instance, caller, me.peer())
        .map_err(|error| crate::wire::because(&error))?;
    let network = context.network().ok_or(Refused::Busy)?;
    let local = network.local();
    let bound = || local.endpoint().bound_sockets();
    let mut addresses: Vec<SocketAddr> = local.addr().ip_addrs().copied().collect();
    if addresses.is_empty() {
        addresses = bound();
    }
    addresses.extend(context.settings.member_addresses.iter().copied());
    addresses.reverse();
    addresses.truncate(ADDRESSES);
    Ok(Link {
        member: PeerKey::new(*local.id().as_bytes()),
        addresses,
    })
}

/// Asks a server at its door where it is in the committee's own network, as one that
/// knows the committee's secret and calls as `me`.
///
/// # Errors
/// [`PeerError`]; `None` if what it says is no key.
pub async fn ask(
    ground: &AtDoors,
    instance: &Instance,
    me: &PeerKey,
    door: PeerId,
    committee: &SigningSecret,
) -> Result<Option<EndpointAddr>, PeerError> {
    let peers = Peers::on::<LinkCall>(ground, instance, None);
    let asked = PeerKey::new(*door.as_bytes());
    let request = LinkRequest::sign(instance, me, &asked, committee);
    let link = peers.call_peer(door, &request, PATIENCE).await?;
    let addresses = link.addresses.iter().take(ADDRESSES);
    Ok(peer_id(&link.member).map(|member| {
        addresses.fold(EndpointAddr::new(member), |address, at| {
            address.with_ip_addr(*at)
        })
    }))
}

/// Looks for the servers whose doors the operator named, for ever: one that is not in
/// mosaik's catalog, or no longer, is asked where it is.
pub(super) async fn run(context: Arc<Context>, network: Arc<Network>) {
    let instance = &context.rules.instance;
    let me = *context.me().peer();
    let hints = context.settings.network.bootstrap.iter();
    let doors: Vec<PeerId> = hints
        .map(|hint| hint.peer)
        .filter(|door| door.as_bytes() != me.as_bytes())
        .collect();
    let network = Arc::downgrade(&network);
    let mut members: BTreeMap<PeerId, PeerId> = BTreeMap::new();
    while !doors.is_empty() {
        for door in &doors {
            let Some(network) = network.upgrade() else {
                return;
            };
            let discovery = network.discovery();
            let known = members
                .get(door)
                .is_some_and(|member| discovery.catalog().get_signed(member).is_some());
            if known {
                continue;
            }
            let committee = &context.keys().committee;
            match ask(&context.ground, instance, &me, *door, committee).await {
                Ok(Some(address)) => {
                    let member = address.id;
                    members.insert(*door, member);
                    bounded(discovery.sync_with(address), &member, PATIENCE).await;
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(
                    because = %crate::report::chain(&error),
                    "a server does not say where it is"
                ),
            }
        }
        tokio::select! {
            () = context.stop().cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}
