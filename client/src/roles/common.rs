//! What all roles do alike: say that they are up, reach doors, find the committee key.

use core::time::Duration;
use std::sync::Arc;

use crate::{
    entropy::EntropyError,
    ground::Ground,
    peers::{PeerError, Peers, only},
    settings::{self, BootstrapHint, NetworkSettings, RelaySetting, TrustSettings},
    wire::Hello,
};
use zipnet_door::{Doors, OpenError, PeerId, Reach};
use zipnet_protocol::{
    Digest, Instance, InstanceName, PeerKey, SigningPublic, SigningSecret, domain_digest,
};

/// How long a client looks for somebody who tells it the committee key.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// Under which name this is logged: lines and their targets are those of the reference
/// system.
const TARGET: &str = "zipnet_node::roles::common";

/// Says who this process is, and with which hint others find it.
pub fn up_at(
    hint: &BootstrapHint,
    settings: &NetworkSettings,
    name: &InstanceName,
    role: &'static str,
) {
    up(&hint.peer, settings, name, role);
    tracing::info!(target: TARGET, "bootstrap={hint}");
}

/// Says who this process is.
pub fn up(peer: &PeerId, settings: &NetworkSettings, name: &InstanceName, role: &'static str) {
    tracing::info!(
        target: TARGET,
        "zipnet up: network={} instance={name} peer={peer} role={}",
        settings.universe,
        domain_digest("zipnet/role/v1", role.as_bytes()).short(),
    );
}

/// Somebody without a door could not reach those of others.
#[derive(Debug, thiserror::Error)]
pub enum KnockError {
    /// No randomness.
    #[error("Could not make a transport identity")]
    Entropy(#[source] EntropyError),
    /// The socket.
    #[error("Could not open a socket")]
    Open(#[source] OpenError),
}

/// A socket to reach doors from, and the key of its transport identity.
///
/// # Errors
/// [`KnockError`].
pub async fn knock(settings: &NetworkSettings) -> Result<(Arc<Doors>, SigningSecret), KnockError> {
    let seed = settings.seed_or_fresh().map_err(KnockError::Entropy)?;
    let doors = Doors::open(seed.as_bytes(), settings.bind, &reach(&settings.relay))
        .await
        .map_err(KnockError::Open)?;
    Ok((doors, SigningSecret::from_seed(seed.as_bytes())))
}

/// How doors are found and reached. A relay inside of a process is of no use to
/// others; only the committee's own network wants one.
#[must_use]
pub fn reach(relay: &RelaySetting) -> Reach {
    match relay {
        RelaySetting::Default => Reach::Public,
        RelaySetting::Embedded => Reach::Direct,
        RelaySetting::Url(url) => Reach::Relay(url.clone()),
    }
}

/// What a node says of the instance that it belongs to.
#[must_use]
pub fn hello(instance: &Instance) -> Hello {
    Hello {
        name: instance.name().to_string(),
        committee: *instance.committee(),
        anchor: instance.anchor().copied(),
    }
}

/// The committee key could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum CommitteeKeyError {
    /// Nobody told it.
    #[error(
        "Nobody told the committee key of instance {name} within {} s; a reachable --bootstrap peer of that instance, or --committee with its key, would be right",
        HELLO_TIMEOUT.as_secs()
    )]
    Unknown {
        /// The instance.
        name: InstanceName,
        /// What the last attempt met.
        #[source]
        source: PeerError,
    },
    /// Evidence that this node does not ask for.
    #[error(
        "The servers of instance {name} show evidence, and this node judges none; ZIPNET_ATTESTATION and ZIPNET_POLICY as its operators published them would be right"
    )]
    Attested {
        /// The instance.
        name: InstanceName,
    },
    /// No evidence.
    #[error(
        "The servers of instance {name} show no evidence, and this node asks for some; another bootstrap peer, or ZIPNET_ATTESTATION=none, would be right"
    )]
    Unattested {
        /// The instance.
        name: InstanceName,
    },
    /// Judged by something else.
    #[error(
        "The committee of instance {name} trusts another root or other policy keys than this node; those that its operators published would be right"
    )]
    Anchor {
        /// The instance.
        name: InstanceName,
    },
    /// Two committees.
    #[error(
        "Two committees use the instance name {name}: {one} and {other}; --committee with the right one is needed"
    )]
    Ambiguous {
        /// The instance.
        name: InstanceName,
        /// One key.
        one: String,
        /// Another key.
        other: String,
    },
}

/// Says so if a peer's committee judges evidence by something else than this
/// node does: the two are in different instances and will never meet.
fn same_anchor(trust: &TrustSettings, theirs: Option<&Digest>) -> Result<(), CommitteeKeyError> {
    let authority = trust.authority.as_ref();
    let ours = authority.map(|authority| Digest::new(*authority.base().anchor()));
    let name = || trust.name.clone();
    match (ours.as_ref(), theirs) {
        (ours, theirs) if ours == theirs => Ok(()),
        (None, _) => Err(CommitteeKeyError::Attested { name: name() }),
        (_, None) => Err(CommitteeKeyError::Unattested { name: name() }),
        _ => Err(CommitteeKeyError::Anchor { name: name() }),
    }
}

/// Asks the bootstrap peers in the background whether they judge evidence by
/// what this node does. Otherwise it would wait for an instance that is not
/// there, and not know why.
fn warn_of_other_anchor(ground: &Arc<dyn Ground>, trust: &TrustSettings, hints: &[BootstrapHint]) {
    let asked: Vec<PeerId> = hints.iter().map(|hint| hint.peer).collect();
    let trust = trust.clone();
    // Whoever leaves does not wait for this.
    let ground = Arc::downgrade(ground);
    tokio::spawn(async move {
        let asking = async {
            while let Some(ground) = ground.upgrade() {
                let allowed = (!asked.is_empty()).then(|| only(asked.clone()));
                let peers = Peers::hello(&*ground, &trust.name, allowed);
                drop(ground);
                if let Ok((peer, hello)) = peers.call(&(), Duration::from_secs(3)).await
                    && Some(hello.committee) == trust.committee
                {
                    if let Err(error) = same_anchor(&trust, hello.anchor.as_ref()) {
                        tracing::error!(
                            told_by = %peer.fmt_short(),
                            because = %crate::report::chain(&error),
                            "this node waits for servers that are not there"
                        );
                    }
                    return;
                }
                drop(peers);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        let _ = tokio::time::timeout(HELLO_TIMEOUT, asking).await;
    });
}

/// The instance that a node without the committee secret belongs to: by the pinned
/// committee key, or else by the word of its bootstrap peers.
///
/// # Errors
/// [`CommitteeKeyError`].
pub async fn find_instance(
    ground: &Arc<dyn Ground>,
    trust: &TrustSettings,
    hints: &[BootstrapHint],
) -> Result<Instance, CommitteeKeyError> {
    let authority = trust.authority.as_deref();
    let instance = |committee| settings::instance(trust.name.clone(), committee, authority);
    if let Some(committee) = trust.committee {
        warn_of_other_anchor(ground, trust, hints);
        return Ok(instance(committee));
    }
    let bootstrap: Vec<PeerId> = hints.iter().map(|hint| hint.peer).collect();
    let asked = (!bootstrap.is_empty()).then(|| only(bootstrap));
    let peers = Peers::hello(&**ground, &trust.name, asked);
    let deadline = tokio::time::Instant::now() + HELLO_TIMEOUT;
    let mut found: Option<(PeerId, SigningPublic)> = None;
    let mut last = PeerError::Nobody { call: "hello" };
    while tokio::time::Instant::now() < deadline {
        for peer in peers.serving() {
            match peers.call_peer(peer, &(), Duration::from_secs(3)).await {
                Ok(hello) if hello.name != trust.name.as_str() => {
                    tracing::debug!(peer = %peer.fmt_short(), "a peer belongs to another instance");
                }
                Ok(hello) => match found {
                    Some((_, key)) if key != hello.committee => {
                        return Err(CommitteeKeyError::Ambiguous {
                            name: trust.name.clone(),
                            one: PeerKey::new(*key.as_bytes()).to_string(),
                            other: PeerKey::new(*hello.committee.as_bytes()).to_string(),
                        });
                    }
                    _ => {
                        same_anchor(trust, hello.anchor.as_ref())?;
                        found = Some((peer, hello.committee));
                    }
                },
                Err(error) => last = error,
            }
        }
        if let Some((peer, key)) = found {
            tracing::warn!(
                committee = %PeerKey::new(*key.as_bytes()),
                told_by = %peer.fmt_short(),
                "took the committee key on a peer's word; pin it with --committee to trust nobody for it"
            );
            return Ok(instance(key));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(CommitteeKeyError::Unknown {
        name: trust.name.clone(),
        source: last,
    })
}

/// A peer id out of a transport key; `None` if it is no curve point.
#[must_use]
pub fn peer_id(key: &PeerKey) -> Option<PeerId> {
    PeerId::from_bytes(key.as_bytes()).ok()
}
