//! What a user or operator sets, parsed strictly. Everything here is shared by all
//! roles; each role adds its own.

use core::{fmt, net::SocketAddr, str::FromStr};
use std::sync::Arc;

use zeroize::Zeroizing;
pub use zipnet_door::PeerId;
use zipnet_door::iroh;
use zipnet_protocol::{Digest, Instance, InstanceName, LeastServers, SigningPublic};

use crate::{
    attestation::Authority,
    entropy::{self, EntropyError},
};

/// The universe that deployments share unless told otherwise.
pub const DEFAULT_UNIVERSE: &str = "mosaik.universe";

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A bootstrap hint.
    #[error(
        "{text:?} is no bootstrap hint; PEERID or PEERID@ip:port would be right, with 64 hexadecimal digits"
    )]
    Bootstrap {
        /// What was given.
        text: String,
    },
    /// A peer id.
    #[error("{text:?} is no peer id; 64 hexadecimal digits of an Ed25519 key would be right")]
    Peer {
        /// What was given.
        text: String,
    },
    /// An aggregator.
    #[error(
        "{text:?} is no aggregator; 64 hexadecimal digits of an Ed25519 key, or `any`, would be right"
    )]
    Aggregator {
        /// What was given.
        text: String,
    },
    /// Which clients are admitted.
    #[error("{text:?} does not say which clients are admitted; `open` or `invite` would be right")]
    Clients {
        /// What was given.
        text: String,
    },
    /// A relay.
    #[error("{text:?} is no relay; `default`, `embedded` or an http(s) URL would be right")]
    Relay {
        /// What was given.
        text: String,
    },
}

/// A peer to dial at start-up, and again until it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapHint {
    /// Who.
    pub peer: PeerId,
    /// Where, if the hint says so; otherwise discovery has to find out.
    pub address: Option<SocketAddr>,
}

impl BootstrapHint {
    /// The hint as iroh takes it.
    #[must_use]
    pub fn endpoint_addr(&self) -> iroh::EndpointAddr {
        let addr = iroh::EndpointAddr::new(self.peer);
        match self.address {
            Some(address) => addr.with_ip_addr(address),
            None => addr,
        }
    }
}

impl FromStr for BootstrapHint {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let refuse = || SettingError::Bootstrap { text: clip(text) };
        let (peer, address) = match text.split_once('@') {
            Some((peer, address)) => (peer, Some(address.parse().map_err(|_| refuse())?)),
            None => (text, None),
        };
        let peer = parse_peer(peer).map_err(|_| refuse())?;
        Ok(Self { peer, address })
    }
}

impl fmt::Display for BootstrapHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.peer)?;
        self.address
            .map_or(Ok(()), |address| write!(f, "@{address}"))
    }
}

/// Parses a peer id of 64 hexadecimal digits.
///
/// # Errors
/// [`SettingError::Peer`].
pub fn parse_peer(text: &str) -> Result<PeerId, SettingError> {
    let refuse = || SettingError::Peer { text: clip(text) };
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| refuse())?;
    PeerId::from_bytes(&bytes).map_err(|_| refuse())
}

/// How the node reaches a relay. mosaik 0.4.2 does not start without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RelaySetting {
    /// The public relays of iroh; needs the internet.
    #[default]
    Default,
    /// One inside of this process, on loopback: for networks where every node
    /// can dial every other directly.
    Embedded,
    /// An own one.
    Url(iroh::RelayUrl),
}

impl FromStr for RelaySetting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        match text {
            "default" => Ok(Self::Default),
            "embedded" => Ok(Self::Embedded),
            url if url.starts_with("http://") || url.starts_with("https://") => url
                .parse()
                .map(Self::Url)
                .map_err(|_| SettingError::Relay { text: clip(text) }),
            _ => Err(SettingError::Relay { text: clip(text) }),
        }
    }
}

impl fmt::Display for RelaySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Embedded => f.write_str("embedded"),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// As much of a setting as is shown of it.
#[must_use]
pub fn clip(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The seed of a node's transport identity. 64 hexadecimal digits are the seed
/// itself; anything else is hashed into one.
#[derive(Clone)]
pub struct TransportSeed(Zeroizing<[u8; 32]>);

impl TransportSeed {
    /// Makes the seed out of the operator's text.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        if hex::decode_to_slice(text, seed.as_mut_slice()).is_err() {
            *seed = *blake3::hash(text.as_bytes()).as_bytes();
        }
        Self(seed)
    }

    /// A seed out of fresh entropy.
    #[must_use]
    pub const fn from_entropy(entropy: Zeroizing<[u8; 32]>) -> Self {
        Self(entropy)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &Zeroizing<[u8; 32]> {
        &self.0
    }
}

impl fmt::Debug for TransportSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportSeed(..)")
    }
}

/// What every node needs to join the network.
#[derive(Debug, Clone)]
pub struct NetworkSettings {
    /// The name of the universe; 64 hexadecimal digits are its id itself.
    pub universe: String,
    /// The transport identity; fresh if there is none.
    pub seed: Option<TransportSeed>,
    /// Whom to dial.
    pub bootstrap: Vec<BootstrapHint>,
    /// Where to listen (UDP); any port on all interfaces if there is none.
    pub bind: Option<SocketAddr>,
    /// The relay.
    pub relay: RelaySetting,
}

impl NetworkSettings {
    /// The seed of the transport identity, made now if none is set.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn seed_or_fresh(&self) -> Result<TransportSeed, EntropyError> {
        match &self.seed {
            Some(seed) => Ok(seed.clone()),
            None => entropy::fresh().map(TransportSeed::from_entropy),
        }
    }
}

/// The instance of a name and a committee key, as a process knows it that
/// judges evidence by `authority`, or none.
#[must_use]
pub fn instance(
    name: InstanceName,
    committee: SigningPublic,
    authority: Option<&Authority>,
) -> Instance {
    match authority {
        None => Instance::new(name, committee),
        Some(authority) => {
            let anchor = Digest::new(*authority.base().anchor());
            Instance::attested(name, committee, anchor)
        }
    }
}

/// How a client tells the committee that it trusts.
#[derive(Debug, Clone)]
pub struct TrustSettings {
    /// The instance's name.
    pub name: InstanceName,
    /// The committee key, if the operator published it; otherwise the
    /// bootstrap peers are asked for it.
    pub committee: Option<SigningPublic>,
    /// Servers without which a roster is refused (I5).
    pub required: Vec<PeerId>,
    /// How many servers the committee is meant to have, if that is known (I5).
    pub committee_size: Option<u32>,
    /// Fewest servers of a roster; without it, all that are known (I5).
    pub min_servers: Option<u32>,
    /// Fewest participants that a round's header may ask for (I5).
    pub min_participants: u32,
    /// The only aggregators to talk to, if any are named.
    pub aggregators: Vec<PeerId>,
    /// What servers' evidence is judged by; `None` for an instance whose
    /// servers show none.
    pub authority: Option<Arc<Authority>>,
}

impl TrustSettings {
    /// Fewest servers of a round that a client with these settings takes part in, as
    /// it says when it registers.
    #[must_use]
    pub fn least_servers(&self) -> LeastServers {
        LeastServers::new(self.min_servers.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_hints_round_trip() {
        let peer = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";
        for text in [
            peer.to_owned(),
            format!("{peer}@127.0.0.1:4400"),
            format!("{peer}@[::1]:1"),
        ] {
            assert_eq!(text.parse::<BootstrapHint>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "x",
            "@127.0.0.1:1",
            &format!("{peer}@nowhere"),
            &format!("{peer}@1.2.3.4"),
        ] {
            let error = bad.parse::<BootstrapHint>().unwrap_err().to_string();
            assert!(error.contains("PEERID@ip:port would be right"), "{error}");
        }
    }

    #[test]
    fn relays_are_named_or_urls() {
        assert_eq!("default".parse(), Ok(RelaySetting::Default));
        assert_eq!("embedded".parse(), Ok(RelaySetting::Embedded));
        assert!(matches!(
            "http://relay.example:3340".parse(),
            Ok(RelaySetting::Url(_))
        ));
        for bad in ["", "ftp://x", "disabled", "http://"] {
            assert!(bad.parse::<RelaySetting>().is_err(), "{bad}");
        }
    }

    #[test]
    fn i1_a_seed_is_hex_or_hashed_and_never_printed() {
        let hex = "11".repeat(32);
        assert_eq!(**TransportSeed::from_text(&hex).as_bytes(), [0x11; 32]);
        assert_eq!(
            **TransportSeed::from_text("correct horse").as_bytes(),
            *blake3::hash(b"correct horse").as_bytes()
        );
        assert_eq!(
            format!("{:?}", TransportSeed::from_text(&hex)),
            "TransportSeed(..)"
        );
    }
}
