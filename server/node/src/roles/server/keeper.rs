//! Leaves this server's identity with members, and keeps theirs.

use core::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

use mosaik::{Network, PeerId};
use tokio::time::Instant;
use zeroize::Zeroizing;
use zipnet_attest::{
    SecretText,
    keepsake::{self, KeepsakeError},
};
use zipnet_protocol::{AdmittedServer, Digest, KeyError, PeerKey};

use super::{context::Context, desk::member_of};
use crate::{
    attestation::{Giving, ServerAttestation},
    members,
    peers::{PeerError, Peers},
    roles::common::peer_id,
    wire::{KeepCall, Keeper, KeeperCall, Keepsake, Refused},
};

/// How often the registry is looked at.
const TICK: Duration = Duration::from_secs(2);
/// How long a member may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon a member that kept nothing is asked again: at first, since it may not have
/// verified this server yet, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(4), Duration::from_mins(1));

/// What became of a member's boot.
enum Asked {
    Keeps,
    /// Nothing was kept; to be asked again then, and after that with twice the pause.
    NotBefore(Instant, Duration),
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
    let instance = &context.rules.instance;
    let members = Members {
        seed: SecretText::from(seed.as_str()),
        keepers: Peers::on::<KeeperCall>(&members::Members(network.clone()), instance, None),
        keeps: Peers::on::<KeepCall>(&members::Members(network), instance, None),
    };
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
            // Should it name this server again, members have forgotten it meanwhile.
            asked.clear();
            continue;
        }
        let view = context.view();
        let servers = view.state.servers();
        asked.retain(|digest, _| servers.values().any(|server| server.digest() == digest));
        for server in servers.values().filter(|server| server.id() != me.id()) {
            let (due, pause) = match asked.get(server.digest()) {
                None => (true, AGAIN.0),
                Some(Asked::Keeps) => (false, AGAIN.0),
                Some(Asked::NotBefore(at, pause)) => (Instant::now() >= *at, *pause),
            };
            let Some(peer) = peer_id(&server.member()).filter(|_| due) else {
                continue;
            };
            // Never to anybody whose evidence this server has not verified.
            if !context.stands(&view, server) {
                continue;
            }
            let kept = members.leave(&context, &me, server, peer).await;
            let outcome = match kept {
                Ok(()) => {
                    tracing::info!(
                        server = %server.id().short(),
                        "provisioning: left this server's identity with a member, for its next boot"
                    );
                    Asked::Keeps
                }
                Err(error) => {
                    tracing::debug!(server = %server.id().short(), because = %crate::report::chain(&error), "a member keeps no identity");
                    Asked::NotBefore(Instant::now() + pause, (pause * 2).min(AGAIN.1))
                }
            };
            asked.insert(*server.digest(), outcome);
        }
    }
}

/// Members, as they are asked.
struct Members {
    seed: SecretText,
    keepers: Peers<(), Keeper>,
    keeps: Peers<Keepsake, ()>,
}

/// A member did not take this server's identity.
#[derive(Debug, thiserror::Error)]
enum LeaveError {
    #[error("It names no key")]
    Keeper(#[source] PeerError),
    #[error("The key that it names is not its own")]
    Key(#[source] KeyError),
    #[error("The identity cannot be sealed")]
    Seal(#[source] KeepsakeError),
    #[error("It does not keep it")]
    Keep(#[source] PeerError),
}

impl Members {
    /// Seals the seed to a key that the member's TD has signed, and sends it.
    async fn leave(
        &self,
        context: &Context,
        me: &AdmittedServer,
        member: &AdmittedServer,
        peer: PeerId,
    ) -> Result<(), LeaveError> {
        let instance = &context.rules.instance;
        let keeper = self.keepers.call_peer(peer, &(), PATIENCE).await;
        let keeper = keeper.map_err(LeaveError::Keeper)?;
        keeper.verify(instance, member).map_err(LeaveError::Key)?;
        let of = Keepsake::of(instance, me.peer(), member.digest());
        let sealed = keepsake::seal(&keeper.key, &self.seed, of.as_bytes());
        let sealed = sealed.map_err(LeaveError::Seal)?;
        let keepsake = Keepsake { sealed };
        let kept = self.keeps.call_peer(peer, &keepsake, PATIENCE).await;
        kept.map_err(LeaveError::Keep)
    }
}

/// What this server keeps, if it gives secrets.
fn giving(context: &Context) -> Result<(&ServerAttestation, &Giving), Refused> {
    let attestation = context.settings.attestation.as_deref();
    attestation
        .and_then(|with| with.giving.as_deref().map(|giving| (with, giving)))
        .ok_or_else(|| Refused::Text("this server gives no secrets, and keeps none".to_owned()))
}

/// The key to which others seal what they leave here.
pub(super) fn keeper(context: &Context) -> Result<Keeper, Refused> {
    let (_, giving) = giving(context)?;
    let instance = &context.rules.instance;
    let key = giving.keepsakes.key().public();
    Ok(Keeper::sign(
        instance,
        &context.id(),
        key,
        &context.keys().signing,
    ))
}

/// Keeps the identity of a server that is registered.
pub(super) fn keep(
    context: &Context,
    keepsake: &Keepsake,
    caller: &PeerKey,
) -> Result<(), Refused> {
    let (with, giving) = giving(context)?;
    let owner = member_of(context, caller).ok_or(Refused::NotOpen)?;
    let caller = owner.peer();
    let of = Keepsake::of(&context.rules.instance, caller, context.me().digest());
    let seed = giving.keepsakes.key().open(&keepsake.sealed, of.as_bytes());
    let seed = seed.map_err(|error| crate::wire::because(&error))?;
    let policy = with.authority.policy();
    giving
        .keepsakes
        .keep(policy.verifier.policy(), caller, seed)
        .map_err(|error| crate::wire::because(&error))
}
