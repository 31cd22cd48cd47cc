//! Certificates: rounds that every server of the roster stands for (I13).
//!
//! One server opens a round; a header that only its opener signed may be made
//! up. So each server of the roster signs the round's context besides, after it
//! has compared the header with what it holds itself, and nobody seals, folds or
//! follows before all have.

use core::ops::Deref;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    bundle::ServerBundle,
    canonical::Canonical,
    ids::{RoundContext, ServerId},
    instance::Instance,
    keys::{KeyError, Signature, SigningSecret},
    round::{HeaderError, MAX_ROSTER, Round, SignedHeader},
};

const CERTIFICATE: &str = "zipnet/certificate/v1";

/// A certificate that certifies nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The header under it.
    #[error("The certificate's header is refused")]
    Header(#[source] HeaderError),
    /// Not one signature for each server of the roster.
    #[error(
        "The certificate has {found} signatures; one of each of the {expected} servers in its roster would be right"
    )]
    Signatures {
        /// Signatures that came.
        found: usize,
        /// Servers in the roster.
        expected: usize,
    },
    /// For another round.
    #[error("The certification is of another round than the open one")]
    Context,
    /// From outside of the roster.
    #[error("Server {server} is not in the roster of this round")]
    Stranger {
        /// Who.
        server: ServerId,
    },
    /// The server's signature is in already.
    #[error("The certification of server {server} is in already")]
    Repeated {
        /// Who.
        server: ServerId,
    },
    /// One of the signatures.
    #[error("The round is not certified by server {server}")]
    Signature {
        /// Whose.
        server: ServerId,
        /// What is wrong.
        #[source]
        source: KeyError,
    },
}

/// One server's word that a round is right: number, predecessor, registry,
/// participation floor, aggregator and roster are what it holds itself. Not
/// trusted before it is [added](Certifications::add).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certification {
    /// The round.
    pub context: RoundContext,
    /// Who stands for it.
    pub server: ServerId,
    signature: Signature,
}

impl Certification {
    /// Signs for a round. The caller answers for I13: one round for each number,
    /// and only one that it has compared with what it holds.
    #[must_use]
    pub fn sign(context: RoundContext, server: ServerId, signing: &SigningSecret) -> Self {
        Self {
            context,
            server,
            signature: signing.sign(CERTIFICATE, &body(&context, &server)),
        }
    }

    /// The signature, as a [`Certificate`] lists it.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }
}

fn body(context: &RoundContext, server: &ServerId) -> Canonical {
    Canonical::new()
        .fixed(context.as_bytes())
        .fixed(server.as_bytes())
}

fn check(round: &Round, server: ServerId, signature: &Signature) -> Result<(), CertificateError> {
    let key = round
        .server(&server)
        .ok_or(CertificateError::Stranger { server })?;
    key.signing()
        .verify(CERTIFICATE, &body(round.context(), &server), signature)
        .map_err(|source| CertificateError::Signature { server, source })
}

/// Collects the certifications of a round until every server of the roster has
/// given its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certifications(BTreeMap<ServerId, Signature>);

impl Certifications {
    /// Whether a server's certification is in.
    #[must_use]
    pub fn contains(&self, server: &ServerId) -> bool {
        self.0.contains_key(server)
    }

    /// The certifications that are in, to hand on.
    pub fn iter(&self, context: &RoundContext) -> impl Iterator<Item = Certification> {
        self.0.iter().map(|(server, signature)| Certification {
            context: *context,
            server: *server,
            signature: *signature,
        })
    }

    /// Takes a certification in. With the last one, the certified round comes
    /// out.
    ///
    /// # Errors
    /// [`CertificateError`]; the collection is then as it was.
    pub fn add(
        &mut self,
        round: &Round,
        certification: &Certification,
    ) -> Result<Option<CertifiedRound>, CertificateError> {
        let server = certification.server;
        if certification.context != *round.context() {
            return Err(CertificateError::Context);
        }
        if self.contains(&server) {
            return Err(CertificateError::Repeated { server });
        }
        check(round, server, &certification.signature)?;
        self.0.insert(server, certification.signature);
        let signatures: Option<Vec<_>> = round
            .roster()
            .iter()
            .map(|server| self.0.get(server.id()).copied())
            .collect();
        Ok(signatures.map(|signatures| CertifiedRound {
            certificate: Certificate {
                header: round.signed().clone(),
                signatures,
            },
            round: round.clone(),
        }))
    }
}

/// A header with the signatures of its whole roster, as it travels. Not trusted
/// before [`Certificate::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The header, signed by its opener.
    pub header: SignedHeader,
    /// One signature of each roster server, in the order of the roster.
    pub signatures: Vec<Signature>,
}

impl Certificate {
    /// Checks the header against the bundles of its roster, and every signature.
    /// Then each server of the roster says that the round follows from the
    /// committee's state; one honest server among them is enough for it to be so.
    ///
    /// # Errors
    /// [`CertificateError`], naming the first check that failed.
    pub fn verify(
        &self,
        instance: &Instance,
        bundles: &[ServerBundle],
    ) -> Result<CertifiedRound, CertificateError> {
        let round = self
            .header
            .verify(instance, bundles)
            .map_err(CertificateError::Header)?;
        self.verify_in(round)
    }

    /// As [`Certificate::verify`], for a header that was verified before.
    ///
    /// # Errors
    /// [`CertificateError`], naming the first check that failed.
    pub fn verify_in(&self, round: Round) -> Result<CertifiedRound, CertificateError> {
        if self.header != *round.signed() {
            return Err(CertificateError::Context);
        }
        let expected = round.roster().len();
        if self.signatures.len() != expected {
            return Err(CertificateError::Signatures {
                found: self.signatures.len(),
                expected,
            });
        }
        for (server, signature) in round.roster().iter().zip(&self.signatures).take(MAX_ROSTER) {
            check(&round, *server.id(), signature)?;
        }
        Ok(CertifiedRound {
            certificate: self.clone(),
            round,
        })
    }
}

/// A round that its whole roster has certified: the only kind that anybody
/// seals for, folds, or draws conclusions from (I13). What holds of a
/// [`Round`] holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedRound {
    round: Round,
    certificate: Certificate,
}

impl CertifiedRound {
    /// The round.
    #[must_use]
    pub const fn round(&self) -> &Round {
        &self.round
    }

    /// The certificate, to hand on.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

impl Deref for CertifiedRound {
    type Target = Round;

    fn deref(&self) -> &Round {
        &self.round
    }
}
