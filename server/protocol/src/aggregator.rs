//! Aggregators that the committee deals with.
//!
//! An aggregator learns nothing from what it folds, but it chooses who takes
//! part. So it has a lasting identity, and whoever holds the committee secret
//! has admitted it, by an [`Admission`] that is no secret.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{Canonical, domain_digest},
    ids::{Digest, PeerKey},
    instance::{Instance, InstanceName},
    keys::{KeyError, Signature, SigningPublic, SigningSecret},
    whereabouts::Whereabouts,
};

const ADMISSION: &str = "zipnet/aggregator-admission/v1";
const BUNDLE: &str = "zipnet/aggregator-bundle/v2";

/// An aggregator that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AggregatorError {
    /// The transport key did not sign.
    #[error("The aggregator's bundle is not signed by the transport key that it names")]
    Transport(#[source] KeyError),
    /// More addresses than a door may have.
    #[error("The aggregator's bundle names too many addresses of its door; {most} are allowed", most = crate::whereabouts::MAX_ADDRESSES)]
    Whereabouts,
    /// It shows no admission, or one that is not for it.
    #[error(
        "Aggregator {peer} is not admitted to this instance; one that ZIPNET_AGGREGATORS names, or an admission by `zipnet-server admit --aggregator PEERID`, would be right"
    )]
    NotAdmitted {
        /// Who.
        peer: PeerKey,
        /// What is wrong with the admission that it showed.
        #[source]
        source: Option<KeyError>,
    },
    /// No admission.
    #[error("{found:?} is no admission; 128 hexadecimal digits would be right")]
    Parse {
        /// What was given, cut to a length.
        found: String,
    },
}

/// The committee key's signature over an aggregator's peer id: 64 bytes. It
/// admits to every instance of this name and committee secret, attested or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission(Signature);

impl Admission {
    /// Admits a peer as an aggregator, with the committee key of the name.
    #[must_use]
    pub fn sign(name: &InstanceName, peer: &PeerKey, committee: &SigningSecret) -> Self {
        Self(committee.sign(ADMISSION, &admission_body(name, peer)))
    }

    /// Checks that it admits this peer to this instance.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self, instance: &Instance, peer: &PeerKey) -> Result<(), KeyError> {
        let body = admission_body(instance.name(), peer);
        instance.committee().verify(ADMISSION, &body, &self.0)
    }
}

fn admission_body(name: &InstanceName, peer: &PeerKey) -> Canonical {
    Canonical::new()
        .bytes(name.as_str().as_bytes())
        .fixed(peer.as_bytes())
}

impl fmt::Display for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.to_bytes()))
    }
}

impl FromStr for Admission {
    type Err = AggregatorError;

    fn from_str(text: &str) -> Result<Self, AggregatorError> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| AggregatorError::Parse {
            found: text.chars().take(20).collect(),
        })?;
        Ok(Self(Signature::from_bytes(&bytes)))
    }
}

/// An aggregator as it shows itself. Not trusted before
/// [`AggregatorBundle::verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregatorBundle {
    peer: PeerKey,
    at: Whereabouts,
    admission: Option<Admission>,
    transport: Signature,
}

impl AggregatorBundle {
    /// Builds and signs the bundle of an aggregator.
    #[must_use]
    pub fn sign(
        instance: &Instance,
        admission: Option<Admission>,
        transport: &SigningSecret,
        at: Whereabouts,
    ) -> Self {
        let peer = transport.peer_key();
        let signature = transport.sign(BUNDLE, &body(instance, &peer, &at));
        Self {
            peer,
            at,
            admission,
            transport: signature,
        }
    }

    /// Where its door is, unverified.
    #[must_use]
    pub const fn at(&self) -> &Whereabouts {
        &self.at
    }

    /// Whose it says to be, unverified.
    #[must_use]
    pub const fn peer(&self) -> &PeerKey {
        &self.peer
    }

    /// By what the holder of some says that it has them: a digest of the signatures, which
    /// cover all that is said of the peers.
    #[must_use]
    pub fn told(bundles: &[Self]) -> Digest {
        let signatures = bundles.iter().map(|bundle| bundle.transport.to_bytes());
        let signatures: Vec<_> = signatures.flatten().collect();
        domain_digest("zipnet/aggregator-bundles-told/v1", &signatures)
    }

    /// Checks the signature of the transport key, and the admission unless the
    /// peer is `named`.
    ///
    /// # Errors
    /// [`AggregatorError`], naming the first check that failed.
    pub fn verify(
        &self,
        instance: &Instance,
        named: impl FnOnce(&PeerKey) -> bool,
    ) -> Result<PeerKey, AggregatorError> {
        if !self.at.is_bounded() {
            return Err(AggregatorError::Whereabouts);
        }
        let body = body(instance, &self.peer, &self.at);
        SigningPublic::from(self.peer)
            .verify(BUNDLE, &body, &self.transport)
            .map_err(AggregatorError::Transport)?;
        if named(&self.peer) {
            return Ok(self.peer);
        }
        let shown = self.admission.map(|it| it.verify(instance, &self.peer));
        match shown {
            Some(Ok(())) => Ok(self.peer),
            other => Err(AggregatorError::NotAdmitted {
                peer: self.peer,
                source: other.and_then(Result::err),
            }),
        }
    }
}

fn body(instance: &Instance, peer: &PeerKey, at: &Whereabouts) -> Canonical {
    let body = Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(peer.as_bytes());
    at.describe(body)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::instance::CommitteeSecret;

    fn committee(secret: &str) -> (Instance, SigningSecret) {
        let name: InstanceName = "acme.mix.test".parse().unwrap();
        let secret = CommitteeSecret::new(Zeroizing::new(secret.as_bytes().to_vec()));
        let key = secret.committee_key(&name);
        (Instance::new(name, key.public()), key)
    }

    fn transport(seed: u8) -> SigningSecret {
        SigningSecret::from_seed(&Zeroizing::new([seed; 32]))
    }

    #[test]
    fn a3_only_who_is_admitted_or_named_is_an_aggregator() {
        let (instance, key) = committee("a secret for the tests");
        let (_, other_key) = committee("another secret");
        let (ours, theirs) = (transport(1), transport(2));
        let admit = |key| Admission::sign(instance.name(), &ours.peer_key(), key);
        let verify = |admission, transport: &SigningSecret, named: bool| {
            AggregatorBundle::sign(&instance, admission, transport, Whereabouts::nowhere())
                .verify(&instance, |_| named)
        };
        assert_eq!(verify(Some(admit(&key)), &ours, false), Ok(ours.peer_key()));
        assert_eq!(verify(None, &ours, true), Ok(ours.peer_key()));
        for (admission, transport) in [
            (None, &ours),
            (Some(admit(&other_key)), &ours),
            (Some(admit(&key)), &theirs),
        ] {
            let refusal = verify(admission, transport, false);
            assert!(matches!(refusal, Err(AggregatorError::NotAdmitted { .. })));
        }
        let mut stolen =
            AggregatorBundle::sign(&instance, Some(admit(&key)), &ours, Whereabouts::nowhere());
        stolen.peer = theirs.peer_key();
        assert!(matches!(
            stolen.verify(&instance, |_| true),
            Err(AggregatorError::Transport(_))
        ));
    }

    #[test]
    fn admissions_are_hexadecimal() {
        let (instance, key) = committee("a secret for the tests");
        let admission = Admission::sign(instance.name(), &transport(1).peer_key(), &key);
        assert_eq!(admission.to_string().parse(), Ok(admission));
        for bad in ["", "00", "x"] {
            assert!(bad.parse::<Admission>().is_err(), "{bad}");
        }
    }
}
