//! Proof against an aggregator or a leaf: two things that it signed and that cannot both
//! be true. Anybody can verify one, long after and without a connection.
//!
//! None can be made against one that keeps to the protocol: all of them need its own
//! signatures, and it signs one aggregate for a round (a leaf: one part), the XOR of
//! the envelopes in its list and of the parts in it, with everybody in it who has a
//! receipt. What a leaf has promised is not held against an aggregate that lacks its
//! part; whose fault that is, its receipt for the part says. That an aggregator is silent is no proof, nor that it shows something else than
//! it signed for; the servers vote on that.

use serde::{Deserialize, Serialize};

use crate::{
    audit::promised,
    fold::{Aggregate, envelope_list},
    ids::{ClientId, Digest, PeerKey},
    instance::Instance,
    keys::KeyError,
    pad::xor,
    part::{PartError, PartReceipt, PartSeal},
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
    #[error("Not all that is in the proof is of the round in its header")]
    Context,
    /// Not signed by whom it accuses.
    #[error("Something in the proof is not signed by the aggregator of its round, or by the leaf")]
    Signature(#[source] KeyError),
    /// The parts fit each other.
    #[error("What is in the proof does not contradict itself")]
    Consistent,
    /// Envelopes that the aggregator did not sign for.
    #[error("The slots are not of the envelopes and parts that were signed for")]
    List,
    /// Another registry, or another place in it.
    #[error("The client is not at that position of the registry that the header names")]
    Registry,
}

/// What an aggregator or a leaf did, with what shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// It gave a receipt, and the aggregate, or its part, lacks the position in it.
    Dropped {
        /// The receipt.
        receipt: EnvelopeReceipt,
    },
    /// In one slot the aggregate is not the XOR of its envelopes and parts.
    Noise {
        /// Which slot.
        slot: u32,
        /// That slot of every envelope in the aggregator's list, ascending by
        /// client.
        shares: Vec<(ClientId, SlotOpening)>,
        /// That slot of every part in the aggregate.
        parts: Vec<SlotOpening>,
    },
    /// In one slot a leaf's part is not the XOR of its envelopes.
    PartNoise {
        /// Which leaf.
        leaf: u8,
        /// Which slot.
        slot: u32,
        /// That slot of every envelope in the leaf's list, ascending by client.
        shares: Vec<(ClientId, SlotOpening)>,
        /// That slot of the part.
        part: SlotOpening,
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
    /// The aggregator gave a leaf a receipt, and the aggregate lacks that part.
    Omitted {
        /// The receipt.
        receipt: PartReceipt,
    },
    /// The aggregator signed another aggregate for the same round.
    Forked {
        /// The other one.
        other: Box<Aggregate>,
    },
    /// A leaf signed another part for the same round.
    PartForked {
        /// The other one.
        other: Box<PartSeal>,
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
            Self::PartNoise { .. } => "part-noise",
            Self::Omitted { .. } => "omitted",
            Self::PartForked { .. } => "part-forked",
        }
    }
}

/// Proof of a fault of an aggregator, or of a leaf. Not trusted before [`Proof::verify`].
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
        self.aggregate
            .verify(&header.aggregator)
            .map_err(ProofError::Signature)?;
        match &self.fault {
            Fault::Dropped { receipt } => self.dropped(receipt),
            Fault::Noise {
                slot,
                shares,
                parts,
            } => self.noise(*slot, shares, parts),
            Fault::PartNoise {
                leaf,
                slot,
                shares,
                part,
            } => self.part_noise(*leaf, *slot, shares, part),
            Fault::Misplaced {
                receipt,
                entry,
                proof,
            } => self.misplaces(receipt, entry, proof),
            Fault::Omitted { receipt } => self.omits(receipt),
            Fault::Forked { other } => self.forks(other),
            Fault::PartForked { other } => self.part_forks(other),
        }
    }

    /// Whose receipt it is.
    fn receipt(&self, receipt: &EnvelopeReceipt) -> Result<PeerKey, ProofError> {
        if receipt.context != self.aggregate.context {
            return Err(ProofError::Context);
        }
        receipt.signer(&self.header).map_err(ProofError::Signature)
    }

    fn dropped(&self, receipt: &EnvelopeReceipt) -> Result<PeerKey, ProofError> {
        let signer = self.receipt(receipt)?;
        let all = promised(&self.header, &self.aggregate, &signer);
        match all {
            Some(all) if !all.contains(receipt.position as usize) => {
                self.part_of(&signer).map(|_| signer)
            }
            _ => Err(ProofError::Consistent),
        }
    }

    fn misplaces(
        &self,
        receipt: &EnvelopeReceipt,
        entry: &RegistryEntry,
        proof: &RegistryProof,
    ) -> Result<PeerKey, ProofError> {
        let signer = self.receipt(receipt)?;
        let header = &self.header;
        proof
            .verify(&header.registry, header.clients, receipt.position, entry)
            .map_err(|_| ProofError::Registry)?;
        if entry.client == receipt.client {
            return Err(ProofError::Consistent);
        }
        Ok(signer)
    }

    /// The part of a leaf, which it signed; nothing of the aggregator.
    fn part_of(&self, signer: &PeerKey) -> Result<Option<&PartSeal>, ProofError> {
        if *signer == self.header.aggregator {
            return Ok(None);
        }
        let leaf = self.header.leaves.number(signer);
        leaf.map(|leaf| self.part(leaf)).transpose()
    }

    /// The part of a leaf in the aggregate, which the leaf signed.
    fn part(&self, leaf: u8) -> Result<&PartSeal, ProofError> {
        let part = self.aggregate.part(leaf).ok_or(ProofError::Consistent)?;
        self.signed(part)?;
        Ok(part)
    }

    /// Which leaf signed a part.
    fn signed(&self, part: &PartSeal) -> Result<PeerKey, ProofError> {
        let signer = part.verify(&self.aggregate.context, &self.header);
        signer.map_err(|error| match error {
            PartError::Signature(source) => ProofError::Signature(source),
            _ => ProofError::List,
        })
    }

    /// The XOR of a slot of all envelopes in a list that was signed.
    fn sum(
        &self,
        slot: u32,
        shares: &[(ClientId, SlotOpening)],
        signed: &Digest,
    ) -> Result<Vec<u8>, ProofError> {
        let params = self.header.params;
        let list: Option<Vec<(ClientId, Digest)>> = shares
            .iter()
            .map(|(client, share)| Some((*client, share.root(params, slot)?)))
            .collect();
        if list.is_none_or(|list| envelope_list(list.iter()) != *signed) {
            return Err(ProofError::List);
        }
        let mut sum = vec![0; params.slot_bytes()];
        for (_, share) in shares {
            xor(&mut sum, share.content());
        }
        Ok(sum)
    }

    fn noise(
        &self,
        slot: u32,
        shares: &[(ClientId, SlotOpening)],
        parts: &[SlotOpening],
    ) -> Result<PeerKey, ProofError> {
        let params = self.header.params;
        let mut sum = self.sum(slot, shares, &self.aggregate.envelopes)?;
        let seals = &self.aggregate.parts;
        let opened = parts.iter().zip(seals);
        let fits = parts.len() == seals.len()
            && opened
                .into_iter()
                .all(|(opening, seal)| opening.root(params, slot) == Some(seal.vector));
        if !fits || self.aggregate.vector.len() != params.broadcast_bytes() {
            return Err(ProofError::List);
        }
        for part in parts {
            xor(&mut sum, part.content());
        }
        let vector = &self.aggregate.vector;
        let theirs = vector.chunks(params.slot_bytes()).nth(slot as usize);
        if theirs == Some(&*sum) {
            return Err(ProofError::Consistent);
        }
        Ok(self.header.aggregator)
    }

    fn part_noise(
        &self,
        leaf: u8,
        slot: u32,
        shares: &[(ClientId, SlotOpening)],
        opening: &SlotOpening,
    ) -> Result<PeerKey, ProofError> {
        let part = self.part(leaf)?;
        let sum = self.sum(slot, shares, &part.envelopes)?;
        if opening.root(self.header.params, slot) != Some(part.vector) {
            return Err(ProofError::List);
        }
        if opening.content() == sum {
            return Err(ProofError::Consistent);
        }
        self.signed(part)
    }

    fn omits(&self, receipt: &PartReceipt) -> Result<PeerKey, ProofError> {
        if receipt.context != self.aggregate.context {
            return Err(ProofError::Context);
        }
        let aggregator = self.header.aggregator;
        receipt.verify(&aggregator).map_err(ProofError::Signature)?;
        let part = self.aggregate.part(receipt.leaf);
        let context = &self.aggregate.context;
        if part.is_some_and(|part| part.digest(context) == receipt.part) {
            return Err(ProofError::Consistent);
        }
        Ok(aggregator)
    }

    fn forks(&self, other: &Aggregate) -> Result<PeerKey, ProofError> {
        if other.context != self.aggregate.context {
            return Err(ProofError::Context);
        }
        let aggregator = self.header.aggregator;
        other.verify(&aggregator).map_err(ProofError::Signature)?;
        if other.digest() == self.aggregate.digest() {
            return Err(ProofError::Consistent);
        }
        Ok(aggregator)
    }

    fn part_forks(&self, other: &PartSeal) -> Result<PeerKey, ProofError> {
        let part = self.part(other.leaf)?;
        let leaf = self.signed(other)?;
        let context = &self.aggregate.context;
        if part.digest(context) == other.digest(context) {
            return Err(ProofError::Consistent);
        }
        Ok(leaf)
    }
}
