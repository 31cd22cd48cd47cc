//! Partials: paper algorithm 3, a server's side.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    canonical::{Canonical, domain_digest},
    fold::CheckedAggregate,
    ids::{Digest, RoundContext, ServerId},
    keys::{KeyError, Signature, SigningSecret},
    pad_table::PadTable,
    round::Round,
};

const PARTIAL: &str = "zipnet/partial/v2";
const OPENING: &str = "zipnet/partial-opening/v1";

/// A partial that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartialError {
    /// For another round.
    #[error("The partial is for another round than the open one")]
    Context,
    /// For another aggregate than the committed one.
    #[error("The partial is for another aggregate than the committed one")]
    Aggregate,
    /// From outside of the roster.
    #[error("Server {server} is not in the roster of this round")]
    Stranger {
        /// Who.
        server: ServerId,
    },
    /// Of the wrong length.
    #[error("The partial has {found} bytes; {expected} would be right")]
    Length {
        /// Bytes that came.
        found: usize,
        /// Bytes of a broadcast.
        expected: usize,
    },
    /// The server's partial is in already.
    #[error("The partial of server {server} is in already")]
    Repeated {
        /// Who.
        server: ServerId,
    },
    /// I17: nobody gives a vector before every server has committed to its own.
    #[error("The partial of server {server} comes before all servers have committed to theirs")]
    Early {
        /// Who.
        server: ServerId,
    },
    /// I17: the vector is not the one that its server had committed to.
    #[error("The partial of server {server} is not the one that it committed to")]
    Commitment {
        /// Who.
        server: ServerId,
    },
    /// I17: it was given for other commitments than these.
    #[error(
        "The partial of server {server} was given for other commitments than those of this round"
    )]
    Commitments {
        /// Who.
        server: ServerId,
    },
    /// I6, I12.
    #[error("The partial is not signed by the server that it names")]
    Signature(#[source] KeyError),
}

/// A server's partial as it is computed, before anybody may see it: the server
/// commits to it first, and signs it for the commitments of all (I17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    context: RoundContext,
    aggregate: Digest,
    server: ServerId,
    vector: Bytes,
    opening: Digest,
}

impl Partial {
    /// Computes the partial of a server. The caller answers for I2 and I3: once
    /// per round number, for a roster that it has verified.
    #[must_use]
    pub fn compute(
        round: &Round,
        aggregate: &CheckedAggregate<'_>,
        pads: &PadTable,
        server: ServerId,
        signing: &SigningSecret,
    ) -> Self {
        let vector = pads.xor_of(
            round.context(),
            &aggregate.aggregate().participants,
            &server,
            round.header().params.broadcast_bytes(),
        );
        let aggregate = *aggregate.digest();
        Self::new(*round.context(), aggregate, server, vector.into(), signing)
    }

    /// Takes a vector as the partial of a server.
    #[must_use]
    pub fn new(
        context: RoundContext,
        aggregate: Digest,
        server: ServerId,
        vector: Bytes,
        signing: &SigningSecret,
    ) -> Self {
        // Ed25519 signatures are deterministic, and nobody else can make them.
        let body = body(&context, &aggregate, &server, &vector);
        let secret = signing.sign(OPENING, &body).to_bytes();
        Self {
            context,
            aggregate,
            server,
            vector,
            opening: Canonical::new().fixed(&secret).digest(OPENING),
        }
    }

    /// The round.
    #[must_use]
    pub const fn context(&self) -> &RoundContext {
        &self.context
    }

    /// Digest of the aggregate that it unblinds.
    #[must_use]
    pub const fn aggregate(&self) -> &Digest {
        &self.aggregate
    }

    /// Whose it is.
    #[must_use]
    pub const fn server(&self) -> &ServerId {
        &self.server
    }

    /// The vector, which its server shows to nobody before it has signed.
    #[must_use]
    pub const fn vector(&self) -> &Bytes {
        &self.vector
    }

    /// What the server commits to before it has seen anybody's vector.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        commitment(
            &self.context,
            &self.aggregate,
            &self.server,
            &self.vector,
            &self.opening,
        )
    }

    /// Signs it for the commitments of the whole roster ([`commitments_digest`]). The
    /// caller answers for I17: for one set of them only.
    #[must_use]
    pub fn sign(&self, commitments: Digest, signing: &SigningSecret) -> SignedPartial {
        let body = signed_body(
            &body(&self.context, &self.aggregate, &self.server, &self.vector),
            &self.opening,
            &commitments,
        );
        SignedPartial {
            context: self.context,
            aggregate: self.aggregate,
            server: self.server,
            vector: self.vector.clone(),
            opening: self.opening,
            commitments,
            signature: signing.sign(PARTIAL, &body),
        }
    }
}

/// The digest of what all servers of a roster have committed to, in its order.
#[must_use]
pub fn commitments_digest<'a>(
    context: &RoundContext,
    aggregate: &Digest,
    commitments: impl ExactSizeIterator<Item = (&'a ServerId, Digest)>,
) -> Digest {
    let start = Canonical::new()
        .fixed(context.as_bytes())
        .fixed(aggregate.as_bytes())
        .count(commitments.len());
    commitments
        .fold(start, |to, (server, commitment)| {
            to.fixed(server.as_bytes()).fixed(commitment.as_bytes())
        })
        .digest("zipnet/partial-commitments/v1")
}

/// A server's partial as it travels, signed over context, aggregate, vector and
/// the commitments of all servers (I6, I17): in a round where any of them had
/// committed to something else it is worth nothing. Not trusted before
/// [`SignedPartial::verify`]; that its vector is the XOR of the right pads,
/// nobody but its maker can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPartial {
    /// The round.
    pub context: RoundContext,
    /// Digest of the aggregate that it unblinds.
    pub aggregate: Digest,
    /// Whose it is.
    pub server: ServerId,
    /// As long as a broadcast.
    pub vector: Bytes,
    /// 32 bytes without which nobody could try out vectors against the commitment.
    pub opening: Digest,
    /// Digest of the commitments that it was given for.
    pub commitments: Digest,
    signature: Signature,
}

impl SignedPartial {
    /// What its server had to commit to.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        commitment(
            &self.context,
            &self.aggregate,
            &self.server,
            &self.vector,
            &self.opening,
        )
    }

    /// The digest of the vector.
    #[must_use]
    pub fn vector_digest(&self) -> Digest {
        domain_digest("zipnet/partial-vector/v1", &self.vector)
    }

    /// Checks round, aggregate, sender, length and signature.
    ///
    /// # Errors
    /// [`PartialError`], naming the first check that failed.
    pub fn verify(&self, round: &Round, aggregate: &Digest) -> Result<(), PartialError> {
        if self.context != *round.context() {
            return Err(PartialError::Context);
        }
        if self.aggregate != *aggregate {
            return Err(PartialError::Aggregate);
        }
        let server = round.server(&self.server).ok_or(PartialError::Stranger {
            server: self.server,
        })?;
        let expected = round.header().params.broadcast_bytes();
        if self.vector.len() != expected {
            return Err(PartialError::Length {
                found: self.vector.len(),
                expected,
            });
        }
        let body = signed_body(
            &body(&self.context, &self.aggregate, &self.server, &self.vector),
            &self.opening,
            &self.commitments,
        );
        server
            .signing()
            .verify(PARTIAL, &body, &self.signature)
            .map_err(PartialError::Signature)
    }
}

fn body(context: &RoundContext, aggregate: &Digest, server: &ServerId, vector: &[u8]) -> Canonical {
    Canonical::new()
        .fixed(context.as_bytes())
        .fixed(aggregate.as_bytes())
        .fixed(server.as_bytes())
        .fixed(domain_digest("zipnet/partial-vector/v1", vector).as_bytes())
}

fn signed_body(body: &Canonical, opening: &Digest, commitments: &Digest) -> Canonical {
    Canonical::new()
        .bytes(body.as_bytes())
        .fixed(opening.as_bytes())
        .fixed(commitments.as_bytes())
}

fn commitment(
    context: &RoundContext,
    aggregate: &Digest,
    server: &ServerId,
    vector: &[u8],
    opening: &Digest,
) -> Digest {
    body(context, aggregate, server, vector)
        .fixed(opening.as_bytes())
        .digest("zipnet/partial-commitment/v1")
}
