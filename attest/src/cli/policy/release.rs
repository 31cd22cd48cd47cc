//! A release as a policy pins it: the manifest's registers, and RTMR0 of shapes
//! that reference boots have shown.

use std::path::{Path, PathBuf};

use crate::{TdReport, hexes::Hexes, policy};
use zipnet_measurements::{Digest384, Manifest, Register};

/// TDATTRIBUTES, first byte: the host can read and write the TD.
const DEBUG: u8 = 1;

/// Manifest, shapes and references do not make an image.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Its registers do not say what runs.
    #[error(
        "RTMR1 of release {version} does not cover command line and initramfs: a host that gives a TPM boots others behind its registers (decision 0018); a release whose parts are in one image would be right"
    )]
    Unbound {
        /// Of the release.
        version: String,
    },
    /// Not a shape of it.
    #[error("Release {version} has no shape {shape}; it has {known}")]
    Shape {
        /// The release.
        version: String,
        /// Which.
        shape: String,
        /// Those of the manifest.
        known: String,
    },
    /// Of another release.
    #[error(
        "The reference boot {path} is not of release {version}: it differs in {registers}; `zipnet-measure diff` says why",
        path = .path.display()
    )]
    Differs {
        /// The quote's file.
        path: PathBuf,
        /// The release.
        version: String,
        /// Names of registers.
        registers: String,
    },
    /// Of another shape.
    #[error(
        "The reference boot {path} has RTMR0 {found}; {expected} would be right for {shape}, and `zipnet-measure diff` says why it differs",
        path = .path.display()
    )]
    Rtmr0 {
        /// The quote's file.
        path: PathBuf,
        /// Of the quote.
        found: String,
        /// Of the manifest, or of another reference.
        expected: String,
        /// Which shape.
        shape: String,
    },
    /// Of no shape that has a value, and several have none or one has another.
    #[error(
        "The reference boot {path} has an RTMR0 of no shape of the manifest; --reference SHAPE={path} says in which of {shapes} it was",
        path = .path.display()
    )]
    Unnamed {
        /// The quote's file.
        path: PathBuf,
        /// The shapes.
        shapes: String,
    },
    /// Its registers are worth nothing.
    #[error("The reference boot {path} {what}, so that it pins nothing", path = .path.display())]
    Worthless {
        /// The quote's file.
        path: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// Nobody knows the value.
    #[error(
        "RTMR0 of {shape} has no value in the manifest ({reason}); --reference {shape}=FILE with the quote of a boot in that shape gives one, or --shape names other shapes"
    )]
    Unknown {
        /// Which.
        shape: String,
        /// By the manifest's word.
        reason: String,
    },
}

impl PinError {
    /// Whether the user named the wrong thing, or too little.
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Shape { .. } | Self::Unnamed { .. } | Self::Unknown { .. }
        )
    }
}

/// A shape that is to be accepted.
struct Pinned {
    id: String,
    rtmr0: Option<Digest384>,
    reason: Option<String>,
    /// Whether a reference boot has shown that value.
    seen: bool,
}

/// A release and the shapes of it that are to be accepted.
pub struct Release {
    manifest: Manifest,
    shapes: Vec<Pinned>,
}

impl Release {
    /// The shapes that are named, or all.
    pub fn new(manifest: Manifest, named: &[String]) -> Result<Self, PinError> {
        if !manifest.binds_what_runs() {
            return Err(PinError::Unbound {
                version: manifest.version.clone(),
            });
        }
        let ids = || manifest.shapes.iter().map(|shape| shape.id.as_str());
        if let Some(unknown) = named.iter().find(|name| !ids().any(|id| id == *name)) {
            return Err(PinError::Shape {
                version: manifest.version.clone(),
                shape: unknown.clone(),
                known: ids().collect::<Vec<_>>().join(", "),
            });
        }
        let shapes = manifest
            .shapes
            .iter()
            .filter(|shape| named.is_empty() || named.contains(&shape.id))
            .map(|shape| Pinned {
                id: shape.id.clone(),
                rtmr0: shape.rtmr0,
                reason: shape.reason.clone(),
                seen: false,
            })
            .collect();
        Ok(Self { manifest, shapes })
    }

    /// `SHAPE=FILE` or `FILE` in its parts.
    pub fn named<'a>(&self, reference: &'a str) -> (Option<&'a str>, &'a Path) {
        match reference.split_once('=') {
            Some((shape, path)) if self.shapes.iter().any(|known| known.id == shape) => {
                (Some(shape), Path::new(path))
            }
            _ => (None, Path::new(reference)),
        }
    }

    /// Compares a reference boot with all that is known, and takes RTMR0 from it
    /// where that is not known.
    pub fn compare(
        &mut self,
        shape: Option<&str>,
        path: &Path,
        report: &TdReport,
    ) -> Result<(), PinError> {
        let path = path.to_owned();
        let [attributes, ..] = report.td_attributes;
        if attributes & DEBUG != 0 {
            let what = "is of a TD in debug mode, whose host can write its registers";
            return Err(PinError::Worthless { path, what });
        }
        let [rtmr0, rtmr1, rtmr2, rtmr3] = report.registers.rtmr.map(zipnet_measurements::Digest);
        let manifest = &self.manifest;
        let registers: Vec<_> = [
            (Register::Mrtd, report.registers.mrtd == manifest.mrtd.0),
            (Register::Rtmr1, rtmr1 == manifest.rtmr1),
            (Register::Rtmr2, rtmr2 == manifest.rtmr2),
        ]
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(register, _)| register.to_string())
        .collect();
        if !registers.is_empty() {
            return Err(PinError::Differs {
                path,
                version: manifest.version.clone(),
                registers: registers.join(", "),
            });
        }
        if rtmr0 == Digest384::ZERO {
            let what = "measured nothing into RTMR0";
            return Err(PinError::Worthless { path, what });
        }
        if rtmr3 != Digest384::ZERO {
            let what = "has an RTMR3 that its guest has extended, which no verifier accepts";
            return Err(PinError::Worthless { path, what });
        }
        let pinned = self.shape_of(shape, &path, &rtmr0)?;
        let expected = *pinned.rtmr0.get_or_insert(rtmr0);
        if expected != rtmr0 {
            return Err(PinError::Rtmr0 {
                path,
                found: rtmr0.to_string(),
                expected: expected.to_string(),
                shape: pinned.id.clone(),
            });
        }
        pinned.seen = true;
        Ok(())
    }

    /// The shape that is named, or the one with that RTMR0, or the only one.
    fn shape_of(
        &mut self,
        named: Option<&str>,
        path: &Path,
        rtmr0: &Digest384,
    ) -> Result<&mut Pinned, PinError> {
        let place = match named {
            Some(name) => self.shapes.iter().position(|shape| shape.id == name),
            None if self.shapes.len() == 1 => Some(0),
            None => {
                let has = |shape: &Pinned| shape.rtmr0.as_ref() == Some(rtmr0);
                self.shapes.iter().position(has)
            }
        };
        let ids: Vec<_> = self.shapes.iter().map(|shape| shape.id.clone()).collect();
        place
            .and_then(|place| self.shapes.get_mut(place))
            .ok_or_else(|| PinError::Unnamed {
                path: path.to_owned(),
                shapes: ids.join(", "),
            })
    }

    /// The image: each shape's RTMR0 beside the registers that all share.
    pub fn image(&self, name: Option<&str>) -> Result<policy::Image, PinError> {
        let manifest = &self.manifest;
        let shapes = self.shapes.iter().map(|shape| {
            let rtmr0 = shape.rtmr0.ok_or_else(|| PinError::Unknown {
                shape: shape.id.clone(),
                reason: shape.reason.clone().unwrap_or_default(),
            })?;
            Ok(policy::Shape {
                id: shape.id.clone(),
                rtmr0: Hexes(rtmr0.0),
            })
        });
        Ok(policy::Image {
            id: name.unwrap_or(&manifest.version).to_owned(),
            not_before: 0,
            not_after: None,
            mrtd: Hexes(manifest.mrtd.0),
            rtmr1: Hexes(manifest.rtmr1.0),
            rtmr2: Hexes(manifest.rtmr2.0),
            rtmr3: Hexes([0; 48]),
            shapes: shapes.collect::<Result<_, _>>()?,
        })
    }

    /// What was computed and not yet seen in a TD, a sentence each; and which
    /// values rest on a quote that nobody verified.
    pub fn unconfirmed(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let of = |seen| {
            let shapes = self.shapes.iter().filter(|shape| shape.seen == seen);
            let ids: Vec<_> = shapes.map(|shape| shape.id.as_str()).collect();
            ids.join(", ")
        };
        let (seen, unseen) = (of(true), of(false));
        if !seen.is_empty() {
            lines.push(format!(
                "Registers of {seen} are those of the reference boots, whose quotes were not verified: `zipnet-attest verify` does"
            ));
        }
        for register in Register::ALL {
            let standing = self.manifest.standing.get(&register);
            let confirmed = standing.is_some_and(|standing| standing.confirmed);
            let shapes = match register {
                _ if confirmed => continue,
                Register::Rtmr0 if unseen.is_empty() => continue,
                Register::Rtmr0 => format!(" of {unseen}"),
                _ if !seen.is_empty() => continue,
                _ => String::new(),
            };
            let evidence = standing.map_or("the manifest does not say how it was checked", |s| {
                s.evidence.as_str()
            });
            lines.push(format!(
                "{register}{shapes} is unconfirmed: {evidence}. A boot of that shape on hardware that you trust, given by --reference SHAPE=QUOTE, confirms it"
            ));
        }
        lines
    }
}
