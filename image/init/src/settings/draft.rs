//! Settings in the making: one setting after the other.

use core::{net::Ipv4Addr, str::FromStr, time::Duration};
use std::net::{IpAddr, SocketAddr};

use zipnet_attest::{Mode, provision::PROVISION_KEY};
use zipnet_protocol::InstanceName;

use super::{
    Address, Ipv4Net, SettingError, Settings,
    keys::{self, Meaning},
};

const DEFAULT_HOSTNAME: &str = "zipnet";
const DEFAULT_PROVISION: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7650);
const DEFAULT_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9100);
/// The resolver reads no more than three.
const MAX_DNS: usize = 3;

/// What no guest does without, and what would be right.
pub const NEEDED: [(&str, &str); 4] = [
    ("ZIPNET_INSTANCE", "the name of the deployment"),
    ("ZIPNET_ATTESTATION", "`tdx`"),
    (
        "ZIPNET_POLICY_KEYS",
        "the minisign public keys of those who sign policies",
    ),
    (
        PROVISION_KEY,
        "the key of whoever has the committee secret, as `zipnet-server keys` prints it",
    ),
];

/// Settings in the making.
#[derive(Default)]
pub struct Draft {
    instance: Option<InstanceName>,
    attestation: Option<Mode>,
    hostname: Option<String>,
    /// Without one: DHCP.
    address: Option<Ipv4Net>,
    gateway: Option<Ipv4Addr>,
    dns: Vec<IpAddr>,
    provision: Option<SocketAddr>,
    peers: Vec<SocketAddr>,
    provision_timeout: Option<Duration>,
    inventory: bool,
    event_log: bool,
    metrics: Option<SocketAddr>,
    server: Vec<(String, String)>,
}

impl Draft {
    /// Takes one line.
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        match keys::meaning(key) {
            None => Err(SettingError::Unknown(keys::nearest(key))),
            Some(Meaning::Secret) => Err(SettingError::Secret),
            Some(Meaning::Fixed) => Err(SettingError::Fixed),
            // As in a shell's environment file: nothing is not set.
            Some(_) if value.is_empty() => Ok(()),
            Some(Meaning::Guest) => self.set_guest(key, value),
            Some(Meaning::Server) => {
                self.look_at(key, value)?;
                self.server.push((key.to_owned(), value.to_owned()));
                Ok(())
            }
        }
    }

    fn set_guest(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        match key {
            "GUEST_HOSTNAME" => self.hostname = Some(hostname(value)?),
            "GUEST_ADDRESS" if value == "dhcp" => self.address = None,
            "GUEST_ADDRESS" => {
                let net = parse(value, "`dhcp`, or an address such as 192.0.2.7/24")?;
                self.address = Some(net);
            }
            "GUEST_GATEWAY" => {
                self.gateway = Some(parse(value, "the router's address, such as 192.0.2.1")?);
            }
            "GUEST_DNS" => {
                let right = "up to three addresses with commas between them";
                self.dns = list(value, right)?;
                if self.dns.len() > MAX_DNS {
                    return Err(SettingError::value(value, right));
                }
            }
            "GUEST_PROVISION" => {
                self.provision = Some(parse(
                    value,
                    "an address with a port, such as 0.0.0.0:7650",
                )?);
            }
            PROVISION_KEY => {
                let right = "the 64 hex digits that `zipnet-server keys` prints";
                let is = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
                if !is {
                    return Err(SettingError::value(value, right));
                }
            }
            "GUEST_PROVISION_FROM" => {
                self.peers = list(
                    value,
                    "IP:PORT of committee members, with commas between them",
                )?;
            }
            "GUEST_PROVISION_TIMEOUT" => {
                let wait = humantime::parse_duration(value).ok();
                let wait = wait.filter(|wait| !wait.is_zero());
                let right = "a duration such as 12h";
                self.provision_timeout =
                    Some(wait.ok_or_else(|| SettingError::value(value, right))?);
            }
            "GUEST_INVENTORY" => self.inventory = yes(value)?,
            "GUEST_EVENT_LOG" => self.event_log = yes(value)?,
            _ => return Err(SettingError::Unknown(None)),
        }
        Ok(())
    }

    /// What the guest itself has to know of the server's settings.
    fn look_at(&mut self, key: &str, value: &str) -> Result<(), SettingError> {
        match key {
            "ZIPNET_INSTANCE" => {
                self.instance = Some(value.parse().map_err(SettingError::Instance)?);
            }
            "ZIPNET_ATTESTATION" => {
                let mode: Mode = value.parse().map_err(SettingError::Mode)?;
                if mode == Mode::None {
                    return Err(SettingError::NoAttestation);
                }
                self.attestation = Some(mode);
            }
            "ZIPNET_COLLATERAL" if !value.contains("://") => return Err(SettingError::Folder),
            "ZIPNET_METRICS" => {
                self.metrics = Some(parse(
                    value,
                    "an address with a port, such as 0.0.0.0:9100",
                )?);
            }
            _ => {}
        }
        Ok(())
    }

    /// The settings, unless something is missing.
    #[must_use]
    pub fn finish(self) -> Option<Settings> {
        let mut server = self.server;
        let metrics = self.metrics.unwrap_or_else(|| {
            server.push(("ZIPNET_METRICS".to_owned(), DEFAULT_METRICS.to_string()));
            DEFAULT_METRICS
        });
        Some(Settings {
            instance: self.instance?,
            attestation: self.attestation?,
            hostname: self.hostname.unwrap_or_else(|| DEFAULT_HOSTNAME.to_owned()),
            address: match self.address {
                None => Address::Dhcp,
                Some(address) => Address::Static {
                    address,
                    gateway: self.gateway,
                },
            },
            dns: self.dns,
            provision: self.provision.unwrap_or(DEFAULT_PROVISION),
            peers: self.peers,
            provision_timeout: self.provision_timeout,
            inventory: self.inventory,
            event_log: self.event_log,
            metrics,
            server,
        })
    }

    /// What does not go together.
    ///
    /// # Errors
    /// A sentence of what is wrong.
    pub fn check(&self) -> Result<(), Contradiction> {
        match (self.address, self.gateway) {
            (None, Some(_)) => Err(Contradiction::GatewayOfDhcp),
            // A network of one address has its router elsewhere.
            (Some(net), Some(gateway)) if net.prefix < 32 && !net.contains(gateway) => {
                Err(Contradiction::Gateway { net, gateway })
            }
            _ => Ok(()),
        }
    }
}

/// Settings that contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum Contradiction {
    /// DHCP names the router.
    #[error(
        "GUEST_GATEWAY is set, but the address comes from DHCP, which names the router; GUEST_ADDRESS=a.b.c.d/nn or no GUEST_GATEWAY would be right"
    )]
    GatewayOfDhcp,
    /// The router cannot be reached.
    #[error(
        "GUEST_GATEWAY {gateway} is not in the network of GUEST_ADDRESS {net}; an address of that network would be right"
    )]
    Gateway {
        /// The guest's.
        net: Ipv4Net,
        /// The router's.
        gateway: Ipv4Addr,
    },
}

fn parse<T: FromStr>(value: &str, right: &'static str) -> Result<T, SettingError> {
    value.parse().map_err(|_| SettingError::value(value, right))
}

fn list<T: FromStr>(value: &str, right: &'static str) -> Result<Vec<T>, SettingError> {
    value
        .split(',')
        .map(|item| parse(item.trim(), right))
        .collect()
}

/// RFC 1123, section 2.1: letters, digits and hyphens, not at the ends.
fn hostname(value: &str) -> Result<String, SettingError> {
    let letters = value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let ends = value.starts_with('-') || value.ends_with('-');
    if value.len() > 63 || !letters || ends {
        let right = "1 to 63 letters, digits and hyphens";
        return Err(SettingError::value(value, right));
    }
    Ok(value.to_owned())
}

fn yes(value: &str) -> Result<bool, SettingError> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(SettingError::value(value, "`yes` or `no`")),
    }
}
