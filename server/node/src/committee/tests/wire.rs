//! Commands and snapshots as they lie on the wire, to take apart and to put
//! together wrongly.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zipnet_protocol::{
    Aggregate, AggregatorBundle, Canonical, Certification, ClientBundle, ClientId, Digest, Epoch,
    PeerKey, ServerBundle, ServerId, ShownInvite, Signature, SignedHeader, SignedPartial,
};

use super::fixture::{Server, bytes};
use crate::{
    attestation::Credential,
    committee::{
        admission::Absent,
        command::{Command, Published, SignedPolicy},
        state::CommitteeState,
        strikes::Strikes,
    },
    settings::CommitteeRules,
};

/// A command as it lies on the wire, to take apart and put together wrongly.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireCommand {
    pub sender: ServerId,
    pub order: Bytes,
    pub signature: Signature,
}

impl WireCommand {
    pub fn of(command: &Command) -> Self {
        postcard::from_bytes(&postcard::to_stdvec(command).unwrap()).unwrap()
    }

    pub fn command(&self) -> Command {
        postcard::from_bytes(&postcard::to_stdvec(self).unwrap()).unwrap()
    }

    /// Any bytes as an order, with a right signature.
    pub fn signed(rules: &CommitteeRules, server: &Server, order: Vec<u8>) -> Self {
        let body = Canonical::new()
            .fixed(rules.instance.id().as_bytes())
            .fixed(server.id().as_bytes())
            .bytes(&order);
        Self {
            sender: server.id(),
            signature: server.signing.sign("zipnet/command/v1", &body),
            order: order.into(),
        }
    }
}

/// A snapshot as it lies on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireSnapshot {
    pub epoch: Option<Epoch>,
    pub opened: u64,
    pub head: Option<Published>,
    pub head_registry: Option<Vec<ClientBundle>>,
    pub servers: Vec<ServerBundle>,
    pub admissions: Option<WireAdmissions>,
    pub absent: Vec<(ServerId, Absent)>,
    pub clients: Vec<(ClientBundle, u64)>,
    pub aggregators: Vec<(AggregatorBundle, u64)>,
    pub turn: Option<PeerKey>,
    pub leaves: WireLeaves,
    pub current: Option<WireOpen>,
    pub strikes: Strikes,
    pub invites: Vec<(ClientId, ShownInvite)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireLeaves {
    pub absent: BTreeMap<PeerKey, u64>,
    pub rest: u64,
    pub lasted: u64,
    pub good: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireAdmissions {
    pub clock: u64,
    pub policy: SignedPolicy,
    pub credentials: Vec<(Credential, u64)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireOpen {
    pub header: SignedHeader,
    pub bundles: Vec<ServerBundle>,
    pub registry: Option<Vec<ClientBundle>>,
    pub certifications: Vec<Certification>,
    pub tally: Option<WireTally>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WireTally {
    pub aggregate: Aggregate,
    pub commitments: Vec<(ServerId, Digest)>,
    pub partials: Vec<SignedPartial>,
}

impl WireSnapshot {
    pub fn of(state: &CommitteeState) -> Self {
        postcard::from_bytes(&bytes(state)).unwrap()
    }

    pub fn bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap()
    }
}
