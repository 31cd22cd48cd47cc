//! Leaves this server's identity with members, and keeps theirs.

use core::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

use mosaik::Network;
use tokio::time::Instant;
use zeroize::Zeroizing;
use zipnet_attest::SecretText;
use zipnet_protocol::{Digest, PeerKey};

use super::context::Context;
use crate::{
    peers::Peers,
    roles::common::peer_id,
    wire::{KeepCall, Keepsake, Refused},
};

/// How often the registry is looked at.
const TICK: Duration = Duration::from_secs(2);
/// How long a member may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon a member that kept nothing is asked again.
const AGAIN: Duration = Duration::from_mins(1);

/// What became of a member's boot.
enum Asked {
    Keeps,
    NotBefore(Instant),
}

/// Leaves this server's identity with every registered server whose evidence
/// holds, once for each of its boots, as long as the policy binds the identity to
/// machines.
pub(super) async fn run(context: Arc<Context>, network: Arc<Network>) {
    let Some(own) = context.attested().map(|with| with.own.clone()) else {
        return;
    };
    let Some(seed) = context.settings.network.seed.as_ref() else {
        return;
    };
    let seed = Zeroizing::new(hex::encode(seed.as_bytes()));
    let keepsake = Keepsake {
        seed: SecretText::from(seed.as_str()),
    };
    let members: Peers<Keepsake, ()> =
        Peers::of::<KeepCall>(network, &context.rules.instance, None);
    let mut asked: BTreeMap<Digest, Asked> = BTreeMap::new();
    loop {
        tokio::select! {
            () = context.stop().cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let me = context.me();
        let policy = own.authority().policy();
        if policy
            .verifier
            .policy()
            .server_of(me.peer().as_bytes())
            .is_none()
        {
            continue;
        }
        let view = context.view();
        let servers = view.state.servers();
        asked.retain(|digest, _| servers.values().any(|server| server.digest() == digest));
        for server in servers.values().filter(|server| server.id() != me.id()) {
            let due = match asked.get(server.digest()) {
                None => true,
                Some(Asked::Keeps) => false,
                Some(Asked::NotBefore(at)) => Instant::now() >= *at,
            };
            let Some(peer) = peer_id(server.peer()).filter(|_| due) else {
                continue;
            };
            // Never to anybody whose evidence this server has not verified.
            if !context.stands(&view, server) {
                continue;
            }
            let kept = members.call_peer(peer, &keepsake, PATIENCE).await;
            let outcome = match kept {
                Ok(()) => {
                    tracing::info!(
                        server = %server.id().short(),
                        "provisioning: left this server's identity with a member, for its next boot"
                    );
                    Asked::Keeps
                }
                Err(error) => {
                    tracing::debug!(server = %server.id().short(), because = %error, "a member keeps no identity");
                    Asked::NotBefore(Instant::now() + AGAIN)
                }
            };
            asked.insert(*server.digest(), outcome);
        }
    }
}

/// Keeps the identity of a server that is registered.
pub(super) fn keep(context: &Context, keepsake: Keepsake, caller: &PeerKey) -> Result<(), Refused> {
    let attestation = context.settings.attestation.as_ref();
    let giving = attestation.and_then(|with| with.giving.as_ref().map(|giving| (with, giving)));
    let Some((with, giving)) = giving else {
        return Err(Refused::Text(
            "this server gives no secrets, and keeps none".to_owned(),
        ));
    };
    let policy = with.authority.policy();
    giving
        .keepsakes
        .keep(policy.verifier.policy(), caller, keepsake.seed)
        .map_err(|error| Refused::because(&error))
}
