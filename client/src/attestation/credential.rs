//! What a server shows of itself: its evidence, with the collateral to judge
//! it by.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zipnet_attest::{Collateral, Evidence, Refusal, Rule, verified::Expected};
use zipnet_protocol::{AdmittedServer, Canonical, Digest, Instance, domain_digest};

/// Longest collateral of a credential, in bytes. Intel's has about 25,000.
const MAX_COLLATERAL: usize = 64 << 10;

/// Evidence and collateral of a server, in their encoded forms. Nothing of it
/// is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The evidence, as [`Evidence::encode`] writes it.
    pub evidence: Bytes,
    /// The collateral of its platform, as `QuoteCollateralV3` JSON.
    pub collateral: Bytes,
}

impl Credential {
    /// Encodes both parts.
    #[must_use]
    pub fn of(evidence: &Evidence, collateral: &Collateral) -> Self {
        Self {
            evidence: evidence.encode().into(),
            collateral: collateral.to_json().into_bytes().into(),
        }
    }

    /// The digest that tickets name.
    #[must_use]
    pub fn digest(&self) -> Digest {
        domain_digest("zipnet/evidence/v1", &self.evidence)
    }

    /// The digest of both parts.
    #[must_use]
    pub fn whole(&self) -> Digest {
        Canonical::new()
            .bytes(&self.evidence)
            .bytes(&self.collateral)
            .digest("zipnet/credential/v1")
    }

    /// Decodes both parts.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-301, ZA-701, ZA-704 or ZA-714.
    pub fn decode(&self) -> Result<(Evidence, Collateral), Refusal> {
        if self.collateral.len() > MAX_COLLATERAL {
            return Err(Rule::CollateralForm.refuse(
                format!("{} bytes", self.collateral.len()),
                format!("at most {MAX_COLLATERAL} beside evidence"),
            ));
        }
        let evidence = Evidence::decode(&self.evidence)?;
        Ok((evidence, Collateral::from_json(&self.collateral)?))
    }
}

/// What the evidence of a server has to state, by the bundle that it is shown
/// for.
#[must_use]
pub fn expected(instance: &Instance, server: &AdmittedServer) -> Expected {
    Expected {
        instance: *instance.id().as_bytes(),
        server: *server.id().as_bytes(),
        peer: *server.peer().as_bytes(),
        x25519: *server.dh().as_bytes(),
        signing: *server.signing().as_bytes(),
    }
}
