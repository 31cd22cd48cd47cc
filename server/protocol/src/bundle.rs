//! What a client or a server says of itself, in a form that anyone can check
//! without trusting whoever handed it on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    canonical::Canonical,
    ids::{ClientId, Digest, PeerKey, ServerId},
    instance::Instance,
    keys::{DhPublic, DhSecret, KeyError, Signature, SigningPublic, SigningSecret},
    registry_tree::RegistryEntry,
    whereabouts::Whereabouts,
};

const CLIENT_TRANSPORT: &str = "zipnet/client-bundle/v2";
const CLIENT_WITHDRAW: &str = "zipnet/client-withdrawal/v1";
const SERVER_TRANSPORT: &str = "zipnet/server-bundle/transport/v2";
const SERVER_POSSESSION: &str = "zipnet/server-bundle/possession/v2";
const SERVER_ADMISSION: &str = "zipnet/server-bundle/admission/v2";

/// A bundle that does not hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The id is not the digest that it should be.
    #[error("The id is not the one that belongs to the bundle's key and instance")]
    Id,
    /// The X25519 key.
    #[error("The bundle's X25519 key cannot be used")]
    Dh(#[source] KeyError),
    /// More addresses than a door may have.
    #[error("The bundle names too many addresses of its door; {most} are allowed", most = crate::whereabouts::MAX_ADDRESSES)]
    Whereabouts,
    /// The transport key did not sign.
    #[error("The bundle is not signed by the transport key that it names")]
    Transport(#[source] KeyError),
    /// The committee signing key did not sign.
    #[error("The bundle is not signed by the committee signing key that it names")]
    Possession(#[source] KeyError),
    /// The committee key of the instance did not sign.
    #[error("The bundle is not admitted by the committee key of this instance")]
    Admission(#[source] KeyError),
}

/// Fewest servers of a round that a client takes part in. It says so when it
/// registers, for everybody to see: rounds of fewer are opened only if enough
/// clients take them, and no honest server unblinds one in which somebody takes
/// part who asked for more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeastServers(u32);

impl LeastServers {
    /// The whole committee, however many that are.
    pub const ALL: Self = Self(0);

    /// This many; 0 is the whole committee.
    #[must_use]
    pub const fn new(servers: u32) -> Self {
        Self(servers)
    }

    /// The number; 0 stands for the whole committee.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Whether a roster of `servers` out of a committee of `committee` is enough.
    #[must_use]
    pub const fn takes(self, servers: usize, committee: u32) -> bool {
        let least = if self.0 == 0 { committee } else { self.0 };
        servers >= least as usize
    }
}

/// A client's registration, as it travels. Not trusted before
/// [`ClientBundle::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientBundle {
    client_id: ClientId,
    dh: DhPublic,
    peer: PeerKey,
    least_servers: LeastServers,
    transport: Signature,
}

impl ClientBundle {
    /// Builds and signs the bundle of a client process, which takes part in no
    /// round of fewer servers than `least_servers` says.
    #[must_use]
    pub fn sign(
        instance: &Instance,
        dh: &DhPublic,
        least_servers: LeastServers,
        transport: &SigningSecret,
    ) -> Self {
        let peer = transport.peer_key();
        let client_id = client_id(instance, dh, &peer);
        let body = client_body(instance, &client_id, dh, &peer, least_servers);
        Self {
            client_id,
            dh: *dh,
            peer,
            least_servers,
            transport: transport.sign(CLIENT_TRANSPORT, &body),
        }
    }

    /// The id that the bundle claims.
    #[must_use]
    pub const fn client_id(&self) -> ClientId {
        self.client_id
    }

    /// Fewest servers of a round that it claims to take part in.
    #[must_use]
    pub const fn least_servers(&self) -> LeastServers {
        self.least_servers
    }

    /// Checks the id, the key and the signature of the transport key.
    ///
    /// # Errors
    /// [`BundleError`], naming the first check that failed.
    pub fn verify(&self, instance: &Instance) -> Result<RegisteredClient, BundleError> {
        if self.client_id != client_id(instance, &self.dh, &self.peer) {
            return Err(BundleError::Id);
        }
        let body = client_body(
            instance,
            &self.client_id,
            &self.dh,
            &self.peer,
            self.least_servers,
        );
        SigningPublic::from(self.peer)
            .verify(CLIENT_TRANSPORT, &body, &self.transport)
            .map_err(BundleError::Transport)?;
        self.dh.check_contributory().map_err(BundleError::Dh)?;
        Ok(RegisteredClient(Arc::new(Verified {
            leaf: RegistryEntry::from(self).leaf(),
            bundle: self.clone(),
        })))
    }
}

impl From<&ClientBundle> for RegistryEntry {
    fn from(bundle: &ClientBundle) -> Self {
        Self {
            client: bundle.client_id,
            dh: bundle.dh,
            peer: bundle.peer,
            least_servers: bundle.least_servers,
        }
    }
}

/// Names the transport key too: a bundle proves possession of no X25519 key,
/// so nobody else may be able to register under the id of a key that they saw.
fn client_id(instance: &Instance, dh: &DhPublic, peer: &PeerKey) -> ClientId {
    let id = Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(dh.as_bytes())
        .fixed(peer.as_bytes())
        .digest("zipnet/client-id/v1");
    ClientId::new(*id.as_bytes())
}

fn client_body(
    instance: &Instance,
    id: &ClientId,
    dh: &DhPublic,
    peer: &PeerKey,
    least_servers: LeastServers,
) -> Canonical {
    Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(id.as_bytes())
        .fixed(dh.as_bytes())
        .fixed(peer.as_bytes())
        .u32(least_servers.number())
}

/// A client whose bundle was verified. Cheap to clone: registries share their
/// clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredClient(Arc<Verified>);

#[derive(Debug, PartialEq, Eq)]
struct Verified {
    bundle: ClientBundle,
    /// What stands for the client in the registry's tree.
    leaf: Digest,
}

impl RegisteredClient {
    /// The client's id.
    #[must_use]
    pub fn id(&self) -> &ClientId {
        &self.0.bundle.client_id
    }

    /// The client's X25519 key, contributory.
    #[must_use]
    pub fn dh(&self) -> &DhPublic {
        &self.0.bundle.dh
    }

    /// The transport key that may submit this client's envelopes.
    #[must_use]
    pub fn peer(&self) -> &PeerKey {
        &self.0.bundle.peer
    }

    /// Fewest servers of a round that this client takes part in.
    #[must_use]
    pub fn least_servers(&self) -> LeastServers {
        self.0.bundle.least_servers
    }

    pub(crate) fn leaf(&self) -> &Digest {
        &self.0.leaf
    }

    /// The bundle, to hand on.
    #[must_use]
    pub fn bundle(&self) -> &ClientBundle {
        &self.0.bundle
    }
}

/// A client's own word that it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    client_id: ClientId,
    transport: Signature,
}

impl Withdrawal {
    /// Builds and signs the withdrawal of a client process.
    #[must_use]
    pub fn sign(instance: &Instance, client_id: ClientId, transport: &SigningSecret) -> Self {
        let body = withdrawal_body(instance, &client_id);
        Self {
            client_id,
            transport: transport.sign(CLIENT_WITHDRAW, &body),
        }
    }

    /// Who leaves.
    #[must_use]
    pub const fn client_id(&self) -> &ClientId {
        &self.client_id
    }

    /// Checks that the transport key of the registered client signed.
    ///
    /// # Errors
    /// [`BundleError::Id`] for another client, [`BundleError::Transport`].
    pub fn verify(
        &self,
        instance: &Instance,
        client: &RegisteredClient,
    ) -> Result<(), BundleError> {
        if self.client_id != *client.id() {
            return Err(BundleError::Id);
        }
        SigningPublic::from(*client.peer())
            .verify(
                CLIENT_WITHDRAW,
                &withdrawal_body(instance, &self.client_id),
                &self.transport,
            )
            .map_err(BundleError::Transport)
    }
}

fn withdrawal_body(instance: &Instance, id: &ClientId) -> Canonical {
    Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(id.as_bytes())
}

/// A server's registration, as it travels. Not trusted before
/// [`ServerBundle::verify`].
///
/// Three keys sign it: the transport key (nobody can register keys for another
/// peer), the committee signing key (possession), and the committee key of the
/// instance (the process knows the committee secret).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerBundle {
    server_id: ServerId,
    dh: DhPublic,
    signing: SigningPublic,
    peer: PeerKey,
    boot: u64,
    at: Whereabouts,
    transport: Signature,
    possession: Signature,
    admission: Signature,
}

impl ServerBundle {
    /// Builds and signs the bundle of a server process. `boot` orders the
    /// bundles of one server id: the highest is the living process.
    #[must_use]
    pub fn sign(
        instance: &Instance,
        dh: &DhSecret,
        signing: &SigningSecret,
        transport: &SigningSecret,
        committee: &SigningSecret,
        boot: u64,
        at: Whereabouts,
    ) -> Self {
        let peer = transport.peer_key();
        let server_id = instance.server_id(&peer);
        let body = server_body(
            instance,
            &server_id,
            &dh.public(),
            &signing.public(),
            &peer,
            boot,
            &at,
        );
        Self {
            server_id,
            dh: dh.public(),
            signing: signing.public(),
            peer,
            boot,
            transport: transport.sign(SERVER_TRANSPORT, &body),
            possession: signing.sign(SERVER_POSSESSION, &body),
            admission: committee.sign(SERVER_ADMISSION, &body),
            at,
        }
    }

    /// The id that the bundle claims.
    #[must_use]
    pub const fn server_id(&self) -> &ServerId {
        &self.server_id
    }

    /// Checks the id, the keys and the three signatures.
    ///
    /// # Errors
    /// [`BundleError`], naming the first check that failed.
    pub fn verify(&self, instance: &Instance) -> Result<AdmittedServer, BundleError> {
        if self.server_id != instance.server_id(&self.peer) {
            return Err(BundleError::Id);
        }
        if !self.at.is_bounded() {
            return Err(BundleError::Whereabouts);
        }
        let body = server_body(
            instance,
            &self.server_id,
            &self.dh,
            &self.signing,
            &self.peer,
            self.boot,
            &self.at,
        );
        SigningPublic::from(self.peer)
            .verify(SERVER_TRANSPORT, &body, &self.transport)
            .map_err(BundleError::Transport)?;
        self.signing
            .verify(SERVER_POSSESSION, &body, &self.possession)
            .map_err(BundleError::Possession)?;
        instance
            .committee()
            .verify(SERVER_ADMISSION, &body, &self.admission)
            .map_err(BundleError::Admission)?;
        self.dh.check_contributory().map_err(BundleError::Dh)?;
        Ok(AdmittedServer {
            digest: body.digest("zipnet/server-bundle/v2"),
            bundle: self.clone(),
        })
    }
}

fn server_body(
    instance: &Instance,
    id: &ServerId,
    dh: &DhPublic,
    signing: &SigningPublic,
    peer: &PeerKey,
    boot: u64,
    at: &Whereabouts,
) -> Canonical {
    let body = Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(id.as_bytes())
        .fixed(dh.as_bytes())
        .fixed(signing.as_bytes())
        .fixed(peer.as_bytes())
        .u64(boot);
    at.describe(body)
}

/// A server whose bundle was verified. It knows the committee secret and holds
/// the keys that it names; that it is honest nobody can check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmittedServer {
    bundle: ServerBundle,
    digest: Digest,
}

impl AdmittedServer {
    /// The server's id.
    #[must_use]
    pub const fn id(&self) -> &ServerId {
        &self.bundle.server_id
    }

    /// The server's X25519 key of this boot, contributory.
    #[must_use]
    pub const fn dh(&self) -> &DhPublic {
        &self.bundle.dh
    }

    /// The server's committee signing key of this boot.
    #[must_use]
    pub const fn signing(&self) -> &SigningPublic {
        &self.bundle.signing
    }

    /// The server's transport key.
    #[must_use]
    pub const fn peer(&self) -> &PeerKey {
        &self.bundle.peer
    }

    /// Which boot of the server this is.
    #[must_use]
    pub const fn boot(&self) -> u64 {
        self.bundle.boot
    }

    /// The key under which the committee's own network knows the server.
    #[must_use]
    pub fn member(&self) -> PeerKey {
        self.bundle.at.member(&self.bundle.peer)
    }

    /// Where it is found.
    #[must_use]
    pub const fn at(&self) -> &Whereabouts {
        &self.bundle.at
    }

    /// The name of a key that two servers have in common, if there is one.
    #[must_use]
    pub fn shared_key(&self, other: &Self) -> Option<&'static str> {
        if self.dh() == other.dh() {
            Some("X25519")
        } else if self.signing() == other.signing() {
            Some("committee signing")
        } else {
            None
        }
    }

    /// The digest that round headers name.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The bundle, to hand on.
    #[must_use]
    pub const fn bundle(&self) -> &ServerBundle {
        &self.bundle
    }
}
