//! The policy: which platforms, launches and images a verifier accepts.
//!
//! Every field is mandatory and unknown ones are refused, so that nothing is
//! accepted because somebody forgot to forbid it.

use serde::{Deserialize, Serialize};

use crate::{
    genuine::{Genuine, TrustRoot},
    hexes::Hexes,
    quote::{Quote, Registers},
    rules::{Refusal, Rule},
    tcb::{TcbRules, TcbStatus},
};

/// Longest policy file, in bytes.
pub const MAX_POLICY: usize = 256 << 10;

/// TDATTRIBUTES of a TD that is launched safely: `SEPT_VE_DISABLE` alone.
const SEPT_VE_DISABLE: [u8; 8] = [0, 0, 0, 0x10, 0, 0, 0, 0];
const DAY: u64 = 86_400;
const HOUR: u64 = 3600;

/// A policy. Not authenticated by itself: whoever loads one knows where from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Version of the format: 1.
    pub version: u32,
    /// Counts the policies of an instance; only ever goes up.
    pub serial: u64,
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
    /// TCB statuses to accept.
    pub accept: Vec<TcbStatus>,
    /// Lowest TCB evaluation number of collateral.
    pub min_evaluation: u32,
    /// Advisories that are refused whatever the status.
    pub reject_advisories: Vec<String>,
    /// Oldest collateral, counted from its earliest issue date.
    pub max_collateral_age_days: u32,
    /// Whether hyperthreading may be on.
    pub smt: bool,
    /// Whether packages may be added to the platform.
    pub dynamic_platform: bool,
    /// Whether the platform's keys may be cached by its registration service.
    pub cached_keys: bool,
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
}

/// One release. MRTD, RTMR1 and RTMR2 hold together with one of the shapes:
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

/// A policy could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Too long.
    #[error("The policy has {found} bytes; at most {MAX_POLICY} are read")]
    Length {
        /// Its length.
        found: usize,
    },
    /// Not the format.
    #[error("The policy is not of the format; every field has to be there, and no other")]
    Json(#[source] serde_json::Error),
    /// A later format.
    #[error("The policy is of version {found}; 1 is known here")]
    Version {
        /// By its word.
        found: u32,
    },
    /// It accepts what nobody may.
    #[error("The policy accepts the TCB status Revoked, which is never accepted")]
    Revoked,
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
        let policy: Self = serde_json::from_slice(bytes).map_err(PolicyError::Json)?;
        if policy.version != 1 {
            return Err(PolicyError::Version {
                found: policy.version,
            });
        }
        if policy.tcb.accept.contains(&TcbStatus::Revoked) {
            return Err(PolicyError::Revoked);
        }
        Ok(policy)
    }

    /// A first policy, to be gone through by a person: it accepts what runs in
    /// a quote, as `image` in the shape `shape`. The quote is not verified, and one whose
    /// guest has extended RTMR3 is refused by this policy, too.
    #[must_use]
    pub fn accepting(quote: &Quote, image: &str, shape: &str, serial: u64) -> Self {
        let registers = &quote.report.registers;
        let [rtmr0, rtmr1, rtmr2, _] = registers.rtmr;
        let image = Image {
            id: image.to_owned(),
            not_before: 0,
            not_after: None,
            mrtd: Hexes(registers.mrtd),
            rtmr1: Hexes(rtmr1),
            rtmr2: Hexes(rtmr2),
            shapes: vec![Shape {
                id: shape.to_owned(),
                rtmr0: Hexes(rtmr0),
            }],
        };
        Self::first(image, vec![Hexes(quote.report.xfam)], serial)
    }

    /// A first policy, to be gone through by a person: it accepts an image on any
    /// platform under Intel's root that is up to date, with one of these XFAM.
    #[must_use]
    pub fn first(image: Image, xfam: Vec<Hexes<8>>, serial: u64) -> Self {
        Self {
            version: 1,
            serial,
            root: Root::Intel {},
            tcb: Tcb {
                accept: vec![TcbStatus::UpToDate],
                min_evaluation: 0,
                reject_advisories: Vec::new(),
                max_collateral_age_days: 30,
                smt: true,
                dynamic_platform: true,
                cached_keys: true,
            },
            td: Td {
                attributes: Hexes(SEPT_VE_DISABLE),
                xfam,
                mr_config_id: Hexes([0; 48]),
                mr_owner: Hexes([0; 48]),
                mr_owner_config: Hexes([0; 48]),
            },
            images: vec![image],
            platforms: None,
            max_statement_hours: 168,
        }
    }

    /// Longest time that a statement may be in force, in seconds.
    #[must_use]
    pub fn max_statement_seconds(&self) -> u64 {
        u64::from(self.max_statement_hours).saturating_mul(HOUR)
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

    /// Judges platform, launch and measurements of a genuine quote; yields the
    /// image that runs and its shape.
    ///
    /// # Errors
    /// [`Refusal`] of the first rule that is broken, of ZA-307, ZA-308, ZA-4xx,
    /// ZA-5xx or ZA-6xx.
    pub(crate) fn judge(&self, found: &Genuine, now: u64) -> Result<(&Image, &Shape), Refusal> {
        self.judge_platform(found, now)?;
        self.judge_launch(found)?;
        self.judge_image(&found.quote().report.registers, now)
    }

    fn judge_platform(&self, found: &Genuine, now: u64) -> Result<(), Refusal> {
        let tcb = &self.tcb;
        let rules = TcbRules {
            accept: tcb.accept.clone(),
            min_evaluation: tcb.min_evaluation,
            reject_advisories: tcb.reject_advisories.clone(),
        };
        rules.check(found)?;
        let age = now.saturating_sub(found.issued());
        let oldest = u64::from(tcb.max_collateral_age_days).saturating_mul(DAY);
        if age > oldest {
            return Err(Rule::CollateralAge.refuse(
                format!("{} days", age / DAY),
                format!("at most {} days", tcb.max_collateral_age_days),
            ));
        }
        let flags = [
            ("SMT", found.smt(), tcb.smt),
            (
                "a dynamic platform",
                found.dynamic_platform(),
                tcb.dynamic_platform,
            ),
            ("cached keys", found.cached_keys(), tcb.cached_keys),
        ];
        for (what, is, may) in flags {
            if is && !may {
                return Err(Rule::PlatformFlags.refuse(what, "a platform without"));
            }
        }
        if let Some(platforms) = &self.platforms {
            let id = found.platform_instance();
            if !platforms.iter().any(|listed| Some(listed.0) == id) {
                return Err(Rule::PlatformUnlisted.refuse(
                    id.map_or_else(|| "no platform instance id".to_owned(), hex::encode),
                    format!("one of {} listed", platforms.len()),
                ));
            }
        }
        Ok(())
    }

    fn judge_launch(&self, found: &Genuine) -> Result<(), Refusal> {
        let report = &found.quote().report;
        let td = &self.td;
        if report.td_attributes != td.attributes.0 {
            return Err(Rule::Attributes.refuse(hex::encode(report.td_attributes), td.attributes));
        }
        if !td.xfam.iter().any(|xfam| xfam.0 == report.xfam) {
            let listed: Vec<_> = td.xfam.iter().map(ToString::to_string).collect();
            return Err(Rule::Xfam.refuse(hex::encode(report.xfam), listed.join(" or ")));
        }
        let fields = [
            (Rule::ConfigId, report.mr_config_id, td.mr_config_id),
            (Rule::Owner, report.mr_owner, td.mr_owner),
            (
                Rule::OwnerConfig,
                report.mr_owner_config,
                td.mr_owner_config,
            ),
        ];
        for (rule, is, wanted) in fields {
            if is != wanted.0 {
                return Err(rule.refuse(hex::encode(is), wanted));
            }
        }
        Ok(())
    }

    fn judge_image(&self, registers: &Registers, now: u64) -> Result<(&Image, &Shape), Refusal> {
        let fitting = self.images.iter().find_map(|image| {
            let shape = image.shape_of(registers)?;
            Some((image, shape))
        });
        let Some((image, shape)) = fitting else {
            return Err(self.no_image(registers));
        };
        let ended = image.not_after.is_some_and(|end| now >= end);
        if now < image.not_before || ended {
            let end = image
                .not_after
                .map_or_else(|| "no end".to_owned(), |end| end.to_string());
            return Err(Rule::ImageWindow.refuse(
                format!("{} at {now}", image.id),
                format!("from {} to {end}", image.not_before),
            ));
        }
        Ok((image, shape))
    }

    /// Names the image that comes nearest, and the registers that differ.
    fn no_image(&self, registers: &Registers) -> Refusal {
        let nearest = self
            .images
            .iter()
            .map(|image| (image.differing(registers), &image.id))
            .min_by_key(|(differing, _)| differing.len());
        let found = format!("MRTD {}", hex::encode(registers.mrtd));
        match nearest {
            Some((differing, id)) => Rule::Measurements.refuse(
                found,
                format!("{id}, which differs in {}", differing.join(", ")),
            ),
            None => Rule::Measurements.refuse(found, "an image, but the policy lists none"),
        }
    }
}

/// RTMR3 is the guest's own, and no image of a policy extends it: whatever did is
/// another guest, or one that was taken over.
const UNEXTENDED: [u8; 48] = [0; 48];

impl Image {
    fn shape_of(&self, registers: &Registers) -> Option<&Shape> {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = &registers.rtmr;
        let image = registers.mrtd == self.mrtd.0
            && *rtmr1 == self.rtmr1.0
            && *rtmr2 == self.rtmr2.0
            && *rtmr3 == UNEXTENDED;
        self.shapes
            .iter()
            .find(|shape| image && shape.rtmr0.0 == *rtmr0)
    }

    fn differing(&self, registers: &Registers) -> Vec<&'static str> {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = &registers.rtmr;
        let shape = self.shapes.iter().any(|shape| shape.rtmr0.0 == *rtmr0);
        [
            ("MRTD", registers.mrtd == self.mrtd.0),
            ("RTMR0", shape),
            ("RTMR1", *rtmr1 == self.rtmr1.0),
            ("RTMR2", *rtmr2 == self.rtmr2.0),
            ("RTMR3", *rtmr3 == UNEXTENDED),
        ]
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| name)
        .collect()
    }
}
