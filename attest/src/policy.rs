//! The policy: which platforms, launches and images a verifier accepts.
//!
//! Every field is mandatory and unknown ones are refused, so that nothing is
//! accepted because somebody forgot to forbid it.

use serde::{Deserialize, Serialize};

mod judge;
mod sound;
mod track;

use crate::{
    genuine::TrustRoot,
    hexes::Hexes,
    quote::Quote,
    tcb::{SgxType, TcbStatus},
};

pub(crate) use judge::check_machine;
pub use sound::PolicyError;
pub use track::{Track, Wanted};

/// Longest policy file, in bytes.
pub const MAX_POLICY: usize = 256 << 10;

/// TDATTRIBUTES of a TD that is launched safely: `SEPT_VE_DISABLE` alone.
const SEPT_VE_DISABLE: [u8; 8] = [0, 0, 0, 0x10, 0, 0, 0, 0];
const HOUR: u64 = 3600;
/// Version of the format.
const VERSION: u32 = 2;

/// A policy. Not authenticated by itself: whoever loads one knows where from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of the format: 2.
    pub version: u32,
    /// Counts the policies of an instance; only ever goes up.
    pub serial: u64,
    /// When it was made, seconds since 1970: whoever has a signed policy knows that this time has
    /// passed, whatever its host's clock says.
    pub issued: u64,
    /// Whose word ends every certificate chain.
    pub root: Root,
    /// What is asked of platforms.
    pub tcb: Tcb,
    /// How TDs are launched.
    pub td: Td,
    /// The images that may run.
    pub images: Vec<Image>,
    /// Platform instance ids to accept, 16 bytes each; `null` accepts any. A
    /// list is the only help against a platform whose keys were extracted.
    #[serde(deserialize_with = "mandatory")]
    pub platforms: Option<Vec<Hexes<16>>>,
    /// Who may be a server, and on which machines; `null` leaves that to whoever has the committee
    /// secret. With a list, a transport identity is worth nothing on any other machine, whoever has
    /// its seed, and members keep the seeds of these servers for their restarts.
    #[serde(deserialize_with = "mandatory")]
    pub servers: Option<Vec<Server>>,
    /// Longest time that a statement may be in force.
    pub max_statement_hours: u32,
}

/// An option whose absence is an error, unlike its being `null`.
fn mandatory<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

/// A trust root as a policy names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Root {
    /// Intel's SGX root CA.
    Intel {},
    /// The root of a simulation, by the SHA-256 of its DER (I9).
    Simulation {
        /// 32 bytes.
        sha256: Hexes<32>,
    },
}

/// What is asked of platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// Intel's track. Collateral does not say of which one it is: `min_evaluation` and
    /// `max_evaluation` do.
    pub track: Track,
    /// TCB statuses to accept.
    pub accept: Vec<TcbStatus>,
    /// Lowest TCB evaluation number of collateral.
    pub min_evaluation: u32,
    /// Highest TCB evaluation number of collateral. A number on the track `standard`: what Intel
    /// signed for the other track then condemns nobody. `null` on the track `early`.
    #[serde(deserialize_with = "mandatory")]
    pub max_evaluation: Option<u32>,
    /// Advisories that are refused whatever the status, in any case of letters.
    pub reject_advisories: Vec<String>,
    /// Oldest collateral, counted from its earliest issue date.
    pub max_collateral_age_days: u32,
    /// Whether hyperthreading may be on.
    pub smt: bool,
    /// Whether packages may be added to the platform.
    pub dynamic_platform: bool,
    /// Whether the platform's keys may be cached by its registration service.
    pub cached_keys: bool,
    /// How the platform's memory may be protected.
    pub sgx_types: Vec<SgxType>,
}

/// How TDs are launched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Td {
    /// TDATTRIBUTES, exactly.
    pub attributes: Hexes<8>,
    /// XFAM, one of these.
    pub xfam: Vec<Hexes<8>>,
    /// MRCONFIGID, exactly.
    pub mr_config_id: Hexes<48>,
    /// MROWNER, exactly.
    pub mr_owner: Hexes<48>,
    /// MROWNERCONFIG, exactly.
    pub mr_owner_config: Hexes<48>,
    /// MRSEAM, one of these: the TDX modules that may run; `null` leaves that to Intel's TCB.
    #[serde(deserialize_with = "mandatory")]
    pub mr_seam: Option<Vec<Hexes<48>>>,
}

/// A server and the machines that it may run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its name, by which a guest asks for its identity: its `GUEST_HOSTNAME`.
    pub name: String,
    /// Its transport identity, 32 bytes.
    pub peer: Hexes<32>,
    /// Platform instance ids, 16 bytes each.
    pub platforms: Vec<Hexes<16>>,
}

/// One release. MRTD, RTMR1, RTMR2 and RTMR3 hold together with one of the shapes:
/// registers of two releases are never mixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its name, for people.
    pub id: String,
    /// Accepted from here on, seconds since 1970.
    pub not_before: u64,
    /// No longer accepted from here on; `null` for no end.
    #[serde(deserialize_with = "mandatory")]
    pub not_after: Option<u64>,
    /// Of the firmware.
    pub mrtd: Hexes<48>,
    /// Of what it booted.
    pub rtmr1: Hexes<48>,
    /// Of what that booted.
    pub rtmr2: Hexes<48>,
    /// Of what runs: zeros for images whose guests extend nothing, as zipnet's do not.
    pub rtmr3: Hexes<48>,
    /// The VM shapes that it may run in.
    pub shapes: Vec<Shape>,
}

/// A shape of VM: RTMR0 depends on processors, memory and devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Its name, for people.
    pub id: String,
    /// Of the firmware's configuration.
    pub rtmr0: Hexes<48>,
}

/// What nobody but its author can know of a first policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Its serial.
    pub serial: u64,
    /// When it is made, seconds since 1970.
    pub issued: u64,
    /// The TCB evaluations that Intel's standard track is at: the lower and the higher of QE
    /// identity and TCB info, which Intel raises one by one.
    pub evaluations: (u32, u32),
    /// Platform instance ids to accept; `None` accepts any.
    pub platforms: Option<Vec<Hexes<16>>>,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY {
            return Err(PolicyError::Length { found: bytes.len() });
        }
        let policy: Self = serde_json::from_slice(bytes).map_err(PolicyError::json(bytes))?;
        policy.sound()?;
        Ok(policy)
    }

    /// A first policy, to be gone through by a person: it accepts what runs in
    /// a quote, as `image` in the shape `shape`. The quote is not verified.
    #[must_use]
    pub fn accepting(quote: &Quote, image: &str, shape: &str, first: First) -> Self {
        let registers = &quote.report.registers;
        let [rtmr0, rtmr1, rtmr2, rtmr3] = registers.rtmr;
        let image = Image {
            id: image.to_owned(),
            not_before: 0,
            not_after: None,
            mrtd: Hexes(registers.mrtd),
            rtmr1: Hexes(rtmr1),
            rtmr2: Hexes(rtmr2),
            rtmr3: Hexes(rtmr3),
            shapes: vec![Shape {
                id: shape.to_owned(),
                rtmr0: Hexes(rtmr0),
            }],
        };
        Self::first(image, vec![Hexes(quote.report.xfam)], first)
    }

    /// A first policy, to be gone through by a person: it accepts an image under Intel's root on
    /// platforms that are up to date, with one of these XFAM.
    #[must_use]
    pub fn first(image: Image, xfam: Vec<Hexes<8>>, first: First) -> Self {
        let First {
            serial,
            issued,
            evaluations: (lower, higher),
            platforms,
        } = first;
        Self {
            version: VERSION,
            serial,
            issued,
            root: Root::Intel {},
            tcb: Tcb {
                track: Track::Standard,
                accept: vec![TcbStatus::UpToDate],
                min_evaluation: lower,
                max_evaluation: Some(higher),
                reject_advisories: Vec::new(),
                max_collateral_age_days: 30,
                smt: true,
                dynamic_platform: true,
                cached_keys: true,
                sgx_types: vec![SgxType::Scalable, SgxType::ScalableWithIntegrity],
            },
            td: Td {
                attributes: Hexes(SEPT_VE_DISABLE),
                xfam,
                mr_config_id: Hexes([0; 48]),
                mr_owner: Hexes([0; 48]),
                mr_owner_config: Hexes([0; 48]),
                mr_seam: None,
            },
            images: vec![image],
            platforms,
            servers: None,
            max_statement_hours: 168,
        }
    }

    /// Longest time that a statement may be in force, in seconds.
    #[must_use]
    pub fn max_statement_seconds(&self) -> u64 {
        u64::from(self.max_statement_hours).saturating_mul(HOUR)
    }

    /// Which collateral counts.
    #[must_use]
    pub const fn wanted(&self) -> Wanted {
        Wanted {
            track: self.tcb.track,
            highest: self.tcb.max_evaluation,
        }
    }

    /// When the window of the image of a name ends, the last one if there are several of it;
    /// `None` without an end. An image that the policy does not list has ended already.
    #[must_use]
    pub fn image_ends(&self, id: &str) -> Option<u64> {
        Self::last_end(self.images.iter().filter(|image| image.id == id))
    }

    /// When the last window of any image ends: nobody is accepted from then on.
    #[must_use]
    pub fn ends(&self) -> Option<u64> {
        Self::last_end(self.images.iter())
    }

    fn last_end<'a>(images: impl Iterator<Item = &'a Image>) -> Option<u64> {
        images
            .map(|image| image.not_after)
            .try_fold(0, |last, end| end.map(|end| end.max(last)))
    }

    /// Whether `root` is the one that the policy names.
    pub(crate) fn names(&self, root: &TrustRoot) -> bool {
        use sha2::{Digest as _, Sha256};
        match (&self.root, root) {
            (Root::Intel {}, TrustRoot::Intel) => true,
            (Root::Simulation { sha256 }, TrustRoot::Other(der)) => {
                Sha256::digest(der)[..] == sha256.0
            }
            _ => false,
        }
    }

    /// The server of a name, if the policy names servers and it is one.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers
            .iter()
            .flatten()
            .find(|server| server.name == name)
    }

    /// The server of a transport identity, likewise.
    #[must_use]
    pub fn server_of(&self, peer: &[u8; 32]) -> Option<&Server> {
        self.servers
            .iter()
            .flatten()
            .find(|server| server.peer.0 == *peer)
    }
}
