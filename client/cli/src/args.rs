//! Arguments that several binaries take. Each flag has a variable of the same
//! name; a flag beats its variable.

use core::{net::SocketAddr, time::Duration};
use std::{path::PathBuf, sync::Arc};

use clap::Args;
use zipnet::{
    attestation::Authority,
    entropy,
    settings::{
        BootstrapHint, DEFAULT_UNIVERSE, NetworkSettings, PeerId, RelaySetting, SettingError,
        TransportSeed, TrustSettings, parse_peer,
    },
};
use zipnet_protocol::{InstanceName, ParamsError, PeerKey, RoundParams, SigningPublic};

use crate::{
    log::LogFormat,
    process::Failure,
    secrets::{self, SecretText},
};

/// What every binary takes.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Name of the deployment: 1 to 128 of a-z 0-9 . _ -
    #[arg(long, env = "ZIPNET_INSTANCE", value_name = "NAME")]
    pub instance: InstanceName,
    /// Name of the shared network; only for isolated federations
    #[arg(long, env = "ZIPNET_UNIVERSE", value_name = "NAME", default_value = DEFAULT_UNIVERSE)]
    pub universe: String,
    /// Peers to dial until they answer: `PEERID` or `PEERID@ip:port`, repeated or
    /// comma separated
    #[arg(long, env = "ZIPNET_BOOTSTRAP", value_name = "PEER", value_delimiter = ',', value_parser = parse_bootstrap)]
    pub bootstrap: Vec<MaybeHint>,
    /// Seed of the transport identity; 64 hex digits, or any text, which is hashed
    #[arg(
        long,
        env = "ZIPNET_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub secret: Option<SecretText>,
    /// File that holds the seed
    #[arg(long, env = "ZIPNET_SECRET_FILE", value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// UDP address to listen on [default: a port that follows from the peer id, on
    /// all interfaces]
    #[arg(long, env = "ZIPNET_BIND", value_name = "IP:PORT")]
    pub bind: Option<SocketAddr>,
    /// Relay: `default` (needs the internet), `embedded`, or a URL
    #[arg(
        long,
        env = "ZIPNET_RELAY",
        value_name = "RELAY",
        default_value = "default"
    )]
    pub relay: RelaySetting,
    /// How the log is written on standard error: `text`, or `json`, one object a line
    #[arg(
        long,
        env = "ZIPNET_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
    /// Slots of a broadcast; all processes of a deployment alike
    #[arg(long, env = "ZIPNET_SLOTS", value_name = "N", default_value_t = 64)]
    pub slots: u32,
    /// Bytes of a slot, of which 16 are its tag; all processes alike
    #[arg(
        long,
        env = "ZIPNET_SLOT_BYTES",
        value_name = "N",
        default_value_t = 256
    )]
    pub slot_bytes: u32,
}

/// A shape of broadcasts that does not do.
#[derive(Debug, thiserror::Error)]
#[error("ZIPNET_SLOTS and ZIPNET_SLOT_BYTES give no usable broadcast")]
struct ShapeError(#[source] ParamsError);

/// An optional bootstrap hint: an empty variable counts as none.
#[derive(Debug, Clone)]
pub struct MaybeHint(Option<BootstrapHint>);

fn parse_bootstrap(text: &str) -> Result<MaybeHint, SettingError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(MaybeHint(None));
    }
    text.parse().map(|hint| MaybeHint(Some(hint)))
}

impl NodeArgs {
    /// The shape of the broadcasts.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub fn params(&self) -> Result<RoundParams, Failure> {
        RoundParams::new(self.slots, self.slot_bytes)
            .map_err(|source| Failure::usage(ShapeError(source)))
    }

    /// The network settings; the transport identity is made here if none is
    /// set.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn network(&self) -> Result<NetworkSettings, Failure> {
        let secret = secrets::resolve(
            "ZIPNET_SECRET",
            self.secret.as_ref(),
            self.secret_file.as_deref(),
        )
        .map_err(Failure::usage)?;
        let seed = match secret {
            Some(text) => TransportSeed::from_text(text.expose()),
            None => TransportSeed::from_entropy(entropy::fresh().map_err(Failure::runtime)?),
        };
        if !self.instance.is_namespaced() {
            tracing::warn!(
                "instance name {} is not namespaced: all operators of a universe share one flat namespace, and \
                 another may pick the same name; <org>.<env> or <org>.<purpose>.<env> would be right",
                self.instance
            );
        }
        Ok(NetworkSettings {
            universe: self.universe.clone(),
            seed: Some(seed),
            bootstrap: self
                .bootstrap
                .iter()
                .filter_map(|hint| hint.0.clone())
                .collect(),
            bind: self.bind,
            relay: self.relay.clone(),
        })
    }
}

/// How aggregators and clients know the committee.
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// Committee key, as servers log it (`committee=`); without it the bootstrap
    /// peers are asked and believed
    #[arg(long, env = "ZIPNET_COMMITTEE", value_name = "KEY")]
    pub committee: Option<PeerKey>,
    /// Servers (peer ids) without which a roster is refused, repeated or comma
    /// separated
    #[arg(long, env = "ZIPNET_REQUIRE_SERVERS", value_name = "PEERID", value_delimiter = ',', value_parser = parse_peer)]
    pub require_servers: Vec<PeerId>,
    /// Number of servers the committee is meant to have; rounds of another are
    /// refused [default: take the servers that show themselves]
    #[arg(long, env = "ZIPNET_COMMITTEE_SIZE", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub committee_size: Option<u32>,
    /// Fewest servers of a round [default: all of the committee]
    #[arg(long, env = "ZIPNET_MIN_SERVERS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub min_servers: Option<u32>,
    /// Fewest participants that a round must ask for [default: 2 to publish, else
    /// 1]
    #[arg(long, env = "ZIPNET_MIN_PARTICIPANTS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub min_participants: Option<u32>,
    /// Peer ids of the only aggregators to talk to, repeated or comma separated
    #[arg(long, env = "ZIPNET_AGGREGATORS", value_name = "PEERID", value_delimiter = ',', value_parser = parse_peer)]
    pub aggregators: Vec<PeerId>,
}

impl TrustArgs {
    /// The trust settings for an instance.
    #[must_use]
    pub fn trust(&self, name: InstanceName, authority: Option<Arc<Authority>>) -> TrustSettings {
        TrustSettings {
            name,
            committee: self.committee.map(SigningPublic::from),
            required: self.require_servers.clone(),
            committee_size: self.committee_size,
            min_servers: self.min_servers,
            min_participants: self.min_participants.unwrap_or(1),
            aggregators: self.aggregators.clone(),
            authority,
        }
    }
}

/// Parses a duration such as `3s` or `1m 30s`.
///
/// # Errors
/// A sentence that says what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => {
            Err("it is zero; a duration such as 3s would be right".to_owned())
        }
        Ok(duration) if duration > Duration::from_hours(24) => {
            Err("it is longer than a day; a duration such as 3s would be right".to_owned())
        }
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; a duration such as 3s would be right")),
    }
}

/// An address that only this machine reaches.
///
/// # Errors
/// A sentence that says what would be right.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(_) => Err(
            "others could read there how much this client says; an address such as 127.0.0.1:9100 would be right"
                .to_owned(),
        ),
        Err(error) => Err(format!(
            "{error}; an address such as 127.0.0.1:9100 would be right"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_shows_its_metrics_to_its_own_machine_alone() {
        for good in ["127.0.0.1:9100", "127.9.9.9:1", "[::1]:9100"] {
            assert_eq!(loopback(good), Ok(good.parse().unwrap()));
        }
        for bad in [
            "0.0.0.0:9100",
            "10.0.0.1:9100",
            "[::]:9100",
            "127.0.0.1",
            "",
        ] {
            let error = loopback(bad).unwrap_err();
            assert!(
                error.ends_with("such as 127.0.0.1:9100 would be right"),
                "{error}"
            );
        }
    }

    #[test]
    fn durations_are_humantime_with_bounds() {
        assert_eq!(duration("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "3", "0s", "2d", "-1s", "x"] {
            let error = duration(bad).unwrap_err();
            assert!(
                error.ends_with("such as 3s would be right"),
                "{bad}: {error}"
            );
        }
    }
}
