//! Proof against an aggregator: two things that it signed and that cannot both
//! be true. Anybody can verify one, long after and without a connection.
//!
//! None can be made against an aggregator that keeps to the protocol: all of
//! them need its own signatures, and it signs one aggregate for a round, the XOR of
//! the envelopes in its list, with everybody in it who has a receipt. That an
//! aggregator is silent is no proof, nor that it shows something else than
//! it signed for; the servers vote on that.

use serde::{Deserialize, Serialize};

use crate::{
    fold::{Aggregate, envelope_list},
    ids::{ClientId, Digest, PeerKey},
    instance::Instance,
    keys::KeyError,
    pad::xor,
    receipt::EnvelopeReceipt,
    registry::ClientRegistry,
    registry_tree::{RegistryEntry, RegistryProof},
    round::RoundHeader,
    slot_tree::SlotOpening,
};

/// A proof that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Of another deployment.
    #[error("The proof is of another instance")]
    Instance,
    /// Its parts belong to different rounds.
    #[error("The parts of the proof are not all of the round in its header")]
    Context,
    /// Not signed by whom it accuses.
    #[error("A part of the proof is not signed by the aggregator of its round")]
    Signature(#[source] KeyError),
    /// The parts fit each other.
    #[error("The parts of the proof do not contradict each other")]
    Consistent,
    /// Envelopes that the aggregator did not sign for.
    #[error("The slots are not of the envelopes whose list the aggregator signed")]
    List,
    /// Another registry, or another place in it.
    #[error("The client is not at that position of the registry that the header names")]
    Registry,
}

/// What an aggregator did, with what shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// It gave a receipt, and the aggregate lacks the position in it.
    Dropped {
        /// The receipt.
        receipt: EnvelopeReceipt,
    },
    /// In one slot the aggregate is not the XOR of its envelopes.
    Noise {
        /// Which slot.
        slot: u32,
        /// That slot of every envelope in the aggregator's list, ascending by
        /// client.
        shares: Vec<(ClientId, SlotOpening)>,
    },
    /// It gave a receipt for a position that is another client's.
    Misplaced {
        /// The receipt.
        receipt: EnvelopeReceipt,
        /// Whose it is.
        entry: RegistryEntry,
        /// What leads from there to the registry that the header names.
        proof: RegistryProof,
    },
    /// It signed another aggregate for the same round.
    Forked {
        /// The other one.
        other: Box<Aggregate>,
    },
}

impl Fault {
    /// A word for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Dropped { .. } => "dropped",
            Self::Noise { .. } => "noise",
            Self::Misplaced { .. } => "misplaced",
            Self::Forked { .. } => "forked",
        }
    }
}

/// Proof of an aggregator's fault. Not trusted before [`Proof::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The round's header; it names the aggregator. Nobody's signature of it
    /// is needed: what the aggregator signed is over its digest.
    pub header: RoundHeader,
    /// What the aggregator signed for the round.
    pub aggregate: Aggregate,
    /// What is wrong with it.
    pub fault: Fault,
}

impl Proof {
    /// A proof of [`Fault::Misplaced`]; `None` if the registry has no such
    /// position.
    #[must_use]
    pub fn misplaced(
        header: RoundHeader,
        aggregate: Aggregate,
        receipt: EnvelopeReceipt,
        registry: &ClientRegistry,
    ) -> Option<Self> {
        let position = receipt.position as usize;
        let fault = Fault::Misplaced {
            receipt,
            entry: RegistryEntry::from(registry.at(position)?),
            proof: registry.proof(position)?,
        };
        Some(Self {
            header,
            aggregate,
            fault,
        })
    }

    /// Checks the proof by what is in it alone. Returns whom it is against.
    ///
    /// # Errors
    /// [`ProofError`] if it is against nobody.
    pub fn verify(&self, instance: &Instance) -> Result<PeerKey, ProofError> {
        let header = &self.header;
        if header.instance != *instance.id() {
            return Err(ProofError::Instance);
        }
        if header.context() != self.aggregate.context {
            return Err(ProofError::Context);
        }
        let aggregator = header.aggregator;
        self.aggregate
            .verify(&aggregator)
            .map_err(ProofError::Signature)?;
        match &self.fault {
            Fault::Dropped { receipt } => self.dropped(receipt)?,
            Fault::Noise { slot, shares } => self.noise(*slot, shares)?,
            Fault::Misplaced {
                receipt,
                entry,
                proof,
            } => self.misplaces(receipt, entry, proof)?,
            Fault::Forked { other } => self.forks(other)?,
        }
        Ok(aggregator)
    }

    fn receipt(&self, receipt: &EnvelopeReceipt) -> Result<(), ProofError> {
        if receipt.context != self.aggregate.context {
            return Err(ProofError::Context);
        }
        receipt
            .verify(&self.header.aggregator)
            .map_err(ProofError::Signature)
    }

    fn dropped(&self, receipt: &EnvelopeReceipt) -> Result<(), ProofError> {
        self.receipt(receipt)?;
        if self
            .aggregate
            .participants
            .contains(receipt.position as usize)
        {
            return Err(ProofError::Consistent);
        }
        Ok(())
    }

    fn misplaces(
        &self,
        receipt: &EnvelopeReceipt,
        entry: &RegistryEntry,
        proof: &RegistryProof,
    ) -> Result<(), ProofError> {
        self.receipt(receipt)?;
        let header = &self.header;
        proof
            .verify(&header.registry, header.clients, receipt.position, entry)
            .map_err(|_| ProofError::Registry)?;
        if entry.client == receipt.client {
            return Err(ProofError::Consistent);
        }
        Ok(())
    }

    fn noise(&self, slot: u32, shares: &[(ClientId, SlotOpening)]) -> Result<(), ProofError> {
        let params = self.header.params;
        let list: Option<Vec<(ClientId, Digest)>> = shares
            .iter()
            .map(|(client, share)| Some((*client, share.root(params, slot)?)))
            .collect();
        let fits = list.is_some_and(|list| envelope_list(list.iter()) == self.aggregate.envelopes);
        if !fits || self.aggregate.vector.len() != params.broadcast_bytes() {
            return Err(ProofError::List);
        }
        let mut sum = vec![0; params.slot_bytes()];
        for (_, share) in shares {
            xor(&mut sum, share.content());
        }
        let vector = &self.aggregate.vector;
        let theirs = vector.chunks(params.slot_bytes()).nth(slot as usize);
        if theirs == Some(&*sum) {
            return Err(ProofError::Consistent);
        }
        Ok(())
    }

    fn forks(&self, other: &Aggregate) -> Result<(), ProofError> {
        if other.context != self.aggregate.context {
            return Err(ProofError::Context);
        }
        other
            .verify(&self.header.aggregator)
            .map_err(ProofError::Signature)?;
        if other.digest() == self.aggregate.digest() {
            return Err(ProofError::Consistent);
        }
        Ok(())
    }
}
