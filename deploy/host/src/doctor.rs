//! Whether a host has what a TD of an image needs: one check for each thing, one line
//! for each check, with a remedy.

mod machine;
mod services;
mod software;

use core::fmt;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use zipnet_measurements::Shape;

use crate::{
    http::Url,
    image::{Image, ImageError},
    quotes::Quotes,
};

/// How long whoever is asked may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// A TD can do without, or it cannot be told from here.
    Warn,
    /// No TD of this image starts or is accepted.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// What it came to.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn warn(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self {
            name,
            verdict: Verdict::Warn,
            found: found.into(),
            remedy,
        }
    }

    fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self {
            name,
            verdict: Verdict::Fail,
            found: found.into(),
            remedy,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        write!(f, "{verdict:<4}  {:<8}  {}", self.name, self.found)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

/// The host that is looked at, through its files.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where its root is.
    pub root: PathBuf,
    /// What it takes the time to be.
    pub now: SystemTime,
}

impl Host {
    /// A path of the host.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file of its kernel or settings.
    fn text(&self, path: &str) -> io::Result<String> {
        fs::read_to_string(self.at(path)).map(|text| text.trim().to_owned())
    }

    fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }
}

/// What it is looked at for.
#[derive(Debug)]
pub struct Purpose {
    /// The image, if there is one yet.
    pub image: Option<Result<Image, ImageError>>,
    /// Its shape, as in `2c2G`.
    pub shape: String,
    /// QEMU.
    pub qemu: PathBuf,
    /// The quote generation service.
    pub quotes: Quotes,
    /// The PCCS; if none is named, that of the host's settings.
    pub pccs: Option<Url>,
}

impl Purpose {
    fn image(&self) -> Option<&Image> {
        self.image.as_ref()?.as_ref().ok()
    }

    /// The shape, whether or not it is predicted.
    fn shape(&self) -> Option<Shape> {
        crate::shape::any(&self.shape).ok()
    }
}

/// Looks at a host.
#[must_use]
pub fn examine(host: &Host, purpose: &Purpose) -> Vec<Check> {
    vec![
        machine::processor(host),
        software::kernel(host),
        machine::kvm(host),
        machine::tdx(host),
        machine::keys(host),
        machine::memory(host, purpose.shape()),
        software::qemu(purpose),
        software::image(purpose),
        software::shape(purpose),
        services::quotes(host, &purpose.quotes),
        services::pccs(host, purpose.pccs.as_ref()),
        services::clock(host),
    ]
}

/// Whether nothing stands in a TD's way.
#[must_use]
pub fn is_fit(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Fail)
}

/// A path for a message: that of the host, wherever its root is looked at from.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
