//! What servers say to the committee, signed (I12).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zipnet_protocol::{
    Aggregate, AggregatorBundle, Canonical, Certification, ClientBundle, Digest, Epoch, Instance,
    KeyError, PeerKey, RoundContext, ServerBundle, ServerId, Signature, SignedHeader,
    SignedPartial, SigningPublic, SigningSecret, Withdrawal,
};

use super::{invites::Wish, strikes::Strike};
use crate::attestation::Credential;
pub use crate::wire::Published;

const COMMAND: &str = "zipnet/command/v1";

/// Most client bundles or withdrawals in one command.
pub const MAX_BATCH: usize = 256;

/// An order to the committee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// A server lists itself, its new keys after a restart, or new evidence
    /// for the same keys.
    RegisterServer(ServerRegistration),
    /// A server mirrors clients that registered with it.
    RegisterClients(Vec<Wish>),
    /// A server mirrors clients that left.
    WithdrawClients(Vec<Withdrawal>),
    /// The leader opens a round.
    OpenRound(SignedHeader),
    /// A server relays what an aggregator sent it.
    SubmitAggregate(Aggregate),
    /// A server unblinds.
    SubmitPartial(SignedPartial),
    /// The leader strikes a server whose lease ran out, as registered with
    /// this bundle.
    Lapse {
        /// Who.
        server: ServerId,
        /// Digest of the bundle that lapsed; a newer one is not touched.
        bundle: Digest,
    },
    /// A server strikes itself.
    Leave,
    /// A server reminds the committee of what it forgot.
    Resume(Resume),
    /// A server of the roster stands for the open round (I13).
    Certify(Certification),
    /// A server commits to its partial before it has seen anybody's (I17).
    CommitPartial(PartialCommitment),
    /// A server mirrors aggregators that want to serve.
    RegisterAggregators(Vec<AggregatorBundle>),
    /// A server has an aggregator struck, on proof or by its vote.
    StrikeAggregator {
        /// Whom.
        aggregator: PeerKey,
        /// Why.
        strike: Strike,
    },
}

impl Order {
    /// Registers clients without invites.
    #[must_use]
    pub fn clients(bundles: impl IntoIterator<Item = ClientBundle>) -> Self {
        Self::RegisterClients(bundles.into_iter().map(Wish::from).collect())
    }
}

/// What a server commits to: [`zipnet_protocol::SignedPartial::commitment`]. The
/// command around it is signed by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialCommitment {
    /// The round.
    pub context: RoundContext,
    /// Digest of the aggregate that the partial unblinds.
    pub aggregate: Digest,
    /// Digest of the signed partial.
    pub commitment: Digest,
}

/// A server as it wants to be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRegistration {
    /// Its keys.
    pub bundle: ServerBundle,
    /// Its evidence, in an attested instance.
    pub presented: Option<Presented>,
}

impl ServerRegistration {
    /// A registration without evidence.
    #[must_use]
    pub const fn unattested(bundle: ServerBundle) -> Self {
        Self {
            bundle,
            presented: None,
        }
    }
}

/// Evidence as it is presented to the committee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    /// Evidence and collateral.
    pub credential: Credential,
    /// The sender's time in seconds since 1970, by which all servers judge it.
    /// It may not lie before that of an earlier registration.
    pub at: u64,
    /// A policy that is newer than the committee's.
    pub policy: Option<SignedPolicy>,
}

/// A policy as it travels, believed for its signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPolicy {
    /// The bytes of the policy file.
    pub policy: Bytes,
    /// Its minisign signatures.
    pub signatures: String,
}

impl From<&zipnet_attest::PolicyFile> for SignedPolicy {
    fn from(file: &zipnet_attest::PolicyFile) -> Self {
        Self {
            policy: Bytes::copy_from_slice(&file.policy),
            signatures: file.signatures.clone(),
        }
    }
}

impl From<&SignedPolicy> for zipnet_attest::PolicyFile {
    fn from(signed: &SignedPolicy) -> Self {
        Self {
            policy: signed.policy.to_vec(),
            signatures: signed.signatures.clone(),
        }
    }
}

/// What a server that lived through a partition or a loss of the committee's
/// state tells the others. Believed only as far as signatures carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The newest record that the server knows, with its roster's bundles.
    pub record: Option<Published>,
    /// The clients of the registry that the record's participants refer to: the
    /// next floor is counted by them.
    pub registry: Vec<ClientBundle>,
    /// The epoch that `floor` counts in.
    pub epoch: Epoch,
    /// The highest round number that the server has signed a partial for.
    pub floor: u64,
}

/// An order with its sender's signature, as it travels and as the replicated
/// log holds it. Not trusted before [`Command::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    sender: ServerId,
    order: Bytes,
    signature: Signature,
}

impl Command {
    /// Encodes and signs an order.
    ///
    /// # Errors
    /// The encoder's error, which no order of ours provokes.
    pub fn sign(
        instance: &Instance,
        sender: ServerId,
        order: &Order,
        signing: &SigningSecret,
    ) -> Result<Self, postcard::Error> {
        let order: Bytes = postcard::to_stdvec(order)?.into();
        let signature = signing.sign(COMMAND, &body(instance, &sender, &order));
        Ok(Self {
            sender,
            order,
            signature,
        })
    }

    /// Who says to have sent it.
    #[must_use]
    pub const fn sender(&self) -> &ServerId {
        &self.sender
    }

    /// The order's encoding.
    #[must_use]
    pub(super) const fn order(&self) -> &Bytes {
        &self.order
    }

    /// Whether it says to be [`Order::RegisterClients`]: it is the second of them.
    #[must_use]
    pub(super) fn registers_clients(&self) -> bool {
        self.order.first() == Some(&1)
    }

    /// The order, unverified.
    ///
    /// # Errors
    /// The decoder's error.
    pub fn decode(&self) -> Result<Order, postcard::Error> {
        postcard::from_bytes(&self.order)
    }

    /// Checks the signature under the key that the sender is registered with.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self, instance: &Instance, key: &SigningPublic) -> Result<(), KeyError> {
        key.verify(
            COMMAND,
            &body(instance, &self.sender, &self.order),
            &self.signature,
        )
    }
}

fn body(instance: &Instance, sender: &ServerId, order: &[u8]) -> Canonical {
    Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(sender.as_bytes())
        .bytes(order)
}
