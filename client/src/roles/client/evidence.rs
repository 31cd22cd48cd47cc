//! What a server shows of itself, fetched and not judged.

use core::time::Duration;

use tokio::time::Instant;
use zipnet_door::PeerId;
use zipnet_protocol::{AdmittedServer, BundleError, Instance, InstanceName};

use crate::{
    attestation::Credential,
    book::{AtDoors, Book},
    ground::Ground,
    peers::{PeerError, Peers},
    roles::common::{self, KnockError},
    settings::{BootstrapHint, NetworkSettings},
    wire::MemberCall,
};

/// How long the server may take to be found.
const FOUND: Duration = Duration::from_secs(15);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon it is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// What a server shows. The transport has authenticated its peer id, and its
/// bundle verifies; its evidence was not looked at.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The instance that it says it belongs to.
    pub instance: Instance,
    /// Its keys.
    pub server: AdmittedServer,
    /// Its evidence.
    pub credential: Credential,
}

/// A server's evidence could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// No network.
    #[error("Could not knock at the server's door")]
    Knock(#[source] KnockError),
    /// It does not answer.
    #[error("Server {peer} did not answer within {} s", FOUND.as_secs())]
    Silent {
        /// Whom.
        peer: PeerId,
        /// What the last attempt met.
        #[source]
        source: PeerError,
    },
    /// It shows none.
    #[error("Server {peer} of instance {name} shows no evidence")]
    None {
        /// Who.
        peer: PeerId,
        /// The instance.
        name: InstanceName,
    },
    /// Its bundle is no bundle.
    #[error("The bundle that server {peer} shows is refused")]
    Bundle {
        /// Who.
        peer: PeerId,
        /// Why.
        #[source]
        source: BundleError,
    },
    /// It shows somebody else's.
    #[error("Server {peer} shows the bundle of another peer")]
    Foreign {
        /// Who.
        peer: PeerId,
    },
}

/// Joins the network, asks one server of an instance for its evidence, and
/// leaves.
///
/// # Errors
/// [`EvidenceError`].
pub async fn fetch(
    settings: &NetworkSettings,
    name: &InstanceName,
    of: &BootstrapHint,
) -> Result<Shown, EvidenceError> {
    let (doors, _) = common::knock(settings)
        .await
        .map_err(EvidenceError::Knock)?;
    let book = Book::new(doors.clone(), core::slice::from_ref(of));
    let shown = ask(&AtDoors(book), name, of.peer).await;
    doors.close().await;
    shown
}

async fn ask(ground: &AtDoors, name: &InstanceName, peer: PeerId) -> Result<Shown, EvidenceError> {
    let until = Instant::now() + FOUND;
    let silent = |source| EvidenceError::Silent { peer, source };
    let peers = Peers::hello(ground, name, None);
    let hello = loop {
        match peers.call_peer(peer, &(), PATIENCE).await {
            Ok(hello) => break hello,
            Err(source) if Instant::now() >= until => return Err(silent(source)),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    };
    let bare = || EvidenceError::None {
        peer,
        name: name.clone(),
    };
    let anchor = hello.anchor.ok_or_else(bare)?;
    let instance = Instance::attested(name.clone(), hello.committee, anchor);
    let peers = Peers::on::<MemberCall>(ground, &instance, None);
    let member = peers.call_peer(peer, &(), PATIENCE).await.map_err(silent)?;
    let server = member
        .bundle
        .verify(&instance)
        .map_err(|source| EvidenceError::Bundle { peer, source })?;
    if !ground.is_at(&server, &peer) {
        return Err(EvidenceError::Foreign { peer });
    }
    Ok(Shown {
        instance,
        server,
        credential: member.credential.ok_or_else(bare)?,
    })
}
