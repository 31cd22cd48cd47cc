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

const PARTIAL: &str = "zipnet/partial/v1";

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
    /// I6, I12.
    #[error("The partial is not signed by the server that it names")]
    Signature(#[source] KeyError),
}

/// A server's partial, signed over context, aggregate and vector (I6). Not
/// trusted before [`SignedPartial::verify`]; that its vector is the XOR of the
/// right pads, nobody but its maker can tell.
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
    signature: Signature,
}

impl SignedPartial {
    /// Computes and signs the partial of a server. The caller answers for I2
    /// and I3: once per round number, for a roster that it has verified.
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
        Self::sign(
            *round.context(),
            *aggregate.digest(),
            server,
            vector.into(),
            signing,
        )
    }

    /// Signs a vector as the partial of a server.
    #[must_use]
    pub fn sign(
        context: RoundContext,
        aggregate: Digest,
        server: ServerId,
        vector: Bytes,
        signing: &SigningSecret,
    ) -> Self {
        let body = body(&context, &aggregate, &server, &vector);
        Self {
            context,
            aggregate,
            server,
            vector,
            signature: signing.sign(PARTIAL, &body),
        }
    }

    /// What the server commits to before it has seen anybody's vector (I17). It
    /// covers the signature, which nobody else can make: so nobody can try out
    /// vectors against it.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        body(&self.context, &self.aggregate, &self.server, &self.vector)
            .fixed(&self.signature.to_bytes())
            .digest("zipnet/partial-commitment/v1")
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
        let body = body(&self.context, &self.aggregate, &self.server, &self.vector);
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
