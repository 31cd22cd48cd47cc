//! The zipnet protocol: wire types, keys, pads and the round algebra.
//!
//! Contract of this crate: it is **pure**. No clock, no socket, no runtime and
//! no randomness of its own; whoever calls brings entropy as bytes. Nothing
//! that arrives from outside can make it panic or allocate without bound.
//!
//! What comes off the wire is a plain struct ([`ServerBundle`],
//! [`SignedHeader`], [`Aggregate`], [`BroadcastRecord`], …) and is **not
//! trusted**. Each has one checked form that only its `verify` or `check`
//! builds ([`AdmittedServer`], [`Round`], [`CheckedAggregate`],
//! [`FinalizedRound`], …), and the functions that touch secrets take only the
//! checked form.
//!
//! | step | untrusted | checked |
//! | --- | --- | --- |
//! | registration | [`ClientBundle`], [`ServerBundle`] | [`RegisteredClient`], [`AdmittedServer`] |
//! | opening | [`SignedHeader`] | [`Round`] |
//! | folding | [`SealedEnvelope`], [`Part`], [`Aggregate`] | [`CheckedEnvelope`], [`CheckedPart`], [`Fold`], [`CheckedAggregate`] |
//! | unblinding | [`SignedPartial`] | [`Tally`] |
//! | registry | [`RegistryDelta`], [`RegistryProof`] | [`ClientRegistry`] with the root of a [`Round`] |
//! | auditing | [`EnvelopeReceipt`], [`Proof`] | [`Audit`], the [`PeerKey`] that a proof is against |
//! | reading | [`BroadcastRecord`], [`LightRecord`] | [`FinalizedRound`] |
//!
//! The paper is ZIPNet, eprint 2024/1227: sealing is its algorithm 1, folding
//! algorithm 2, partials and finalization algorithm 3. Every derivation is
//! spelled out in `docs/protocol.md` and pinned by the golden vectors in
//! `server/protocol/vectors/`.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod aggregator;
mod audit;
mod bundle;
mod canonical;
mod certificate;
mod envelope;
mod floor;
mod fold;
mod header_delta;
mod ids;
mod instance;
mod invite;
mod keys;
mod leaves;
mod light;
mod merkle;
mod pad;
mod pad_table;
mod params;
mod part;
mod partial;
mod participants;
mod proof;
mod receipt;
mod record;
mod registry;
mod registry_delta;
mod registry_tree;
mod round;
mod slot;
mod slot_tree;
mod tally;
mod whereabouts;

pub use aggregator::{Admission, AggregatorBundle, AggregatorError};
pub use audit::{Audit, Finding, WrongRegistry, adds_up, audit, first_difference, honours};
pub use bundle::{
    AdmittedServer, BundleError, ClientBundle, LeastServers, RegisteredClient, ServerBundle,
    Withdrawal,
};
pub use canonical::{Canonical, domain_digest};
pub use certificate::{
    Certificate, CertificateError, Certification, Certifications, CertifiedRound,
};
pub use envelope::{CheckedEnvelope, FoldError, SealError, SealedEnvelope, Sealer};
pub use floor::{distinct_peers, participation_floor};
pub use fold::{Aggregate, AggregateError, CheckedAggregate, Fold};
pub use header_delta::{HeaderDelta, NoBase};
pub use ids::{
    ClientId, Digest, Epoch, InstanceId, Nonce, ParseIdError, PeerKey, RoundContext, ServerId,
};
pub use instance::{CommitteeSecret, Instance, InstanceName, InstanceNameError};
pub use invite::{Invite, InviteError, ShownInvite};
pub use keys::{DhPublic, DhSecret, KeyError, Signature, SigningPublic, SigningSecret};
pub use leaves::{Leaves, MAX_LEAVES};
pub use light::{ClaimedRound, LightError, LightRecord};
pub use pad::{PadSecret, RoundPads};
pub use pad_table::PadTable;
pub use params::{ParamsError, RoundParams, TAG_BYTES};
pub use part::{CheckedPart, Part, PartError, PartReceipt, PartSeal};
pub use partial::{Partial, PartialError, SignedPartial, commitments_digest};
pub use participants::{Participants, ParticipantsError};
pub use proof::{Fault, Proof, ProofError};
pub use receipt::{EnvelopeReceipt, ReceiptError};
pub use record::{BroadcastRecord, FinalizedRound, RecordError};
pub use registry::{ClientRegistry, MAX_CLIENTS};
pub use registry_delta::{DeltaError, RegistryDelta};
pub use registry_tree::{NotListed, RegistryEntry, RegistryProof};
pub use round::{HeaderError, MAX_ROSTER, RosterEntry, Round, RoundHeader, SignedHeader};
pub use slot::{Message, MessageError, SlotContent, SlotKey};
pub use slot_tree::SlotOpening;
pub use tally::Tally;
pub use whereabouts::{MAX_ADDRESSES, Whereabouts};
