//! `policy new`: a first policy, of a release manifest or of a quote.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use zipnet_attest::{Policy, Quote, Refusal, hexes::Hexes, quote::MAX_QUOTE};
use zipnet_measurements::{Manifest, release::ReleaseError, report::MAX_REPORT};

use super::release::{PinError, Release};
use crate::{FileError, Outcome, answer, files, say, say_aside};

/// Arguments of `policy new`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File that holds a quote of the image and shape to accept; not verified
    #[arg(
        long,
        value_name = "FILE",
        requires = "image",
        required_unless_present = "manifest",
        conflicts_with = "manifest"
    )]
    quote: Option<PathBuf>,
    /// Release manifest to accept, as `zipnet-measure release` writes it
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Quote of a boot of the release in one of its shapes, on hardware that you
    /// trust; not verified. It gives that shape's RTMR0 if the manifest has none,
    /// and has to agree with all that the manifest has
    #[arg(long, value_name = "[SHAPE=]FILE", conflicts_with = "quote")]
    reference: Vec<String>,
    /// Name of the image [default with --manifest: the release's version]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// With --quote, name of its shape of VM [default: default]; with --manifest,
    /// the shapes to accept [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    shape: Vec<String>,
    /// An XFAM to accept besides those of references: a manifest says nothing of it
    #[arg(
        long,
        value_name = "HEX",
        value_delimiter = ',',
        conflicts_with = "quote"
    )]
    xfam: Vec<Hexes<8>>,
    /// Serial of the policy; one more than the last
    #[arg(long, value_name = "N", default_value_t = 1)]
    serial: u64,
}

/// No policy was made.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a manifest.
    #[error("{path} is no release manifest", path = .path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ReleaseError>,
    },
    /// Not a quote.
    #[error("{path} is no quote: {refusal}", path = .path.display())]
    Reference {
        /// Which.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// Manifest, shapes and references do not make an image.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// One quote is of one shape.
    #[error("A quote is of one shape; --shape names {found}")]
    Shapes {
        /// How many.
        found: usize,
    },
    /// Nobody says which processor features a TD may use.
    #[error(
        "A manifest does not say which XFAM its TDs have; --reference with a quote, or --xfam as `zipnet-attest show` prints it, would be right"
    )]
    Xfam,
}

impl NewError {
    /// Whether the user named the wrong thing, or too little.
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Pin(error) => error.is_usage(),
            _ => matches!(self, Self::Shapes { .. } | Self::Xfam),
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<Outcome, NewError> {
    let policy = match (&arguments.quote, &arguments.manifest) {
        (Some(quote), _) => match of_quote(arguments, quote)? {
            Ok(policy) => policy,
            Err(refusal) => {
                answer::say_refusal(&refusal, false);
                return Ok(Outcome::Refused);
            }
        },
        (None, manifest) => of_manifest(arguments, manifest.as_deref().unwrap_or(Path::new("")))?,
    };
    say(&format!("{:#}", json!(policy)));
    Ok(Outcome::Verified)
}

fn of_quote(arguments: &Arguments, path: &Path) -> Result<Result<Policy, Refusal>, NewError> {
    let shape = match arguments.shape.as_slice() {
        [] => "default",
        [shape] => shape,
        many => return Err(NewError::Shapes { found: many.len() }),
    };
    let bytes = files::read(path, MAX_QUOTE)?;
    let image = arguments.image.as_deref().unwrap_or_default();
    Ok(Quote::parse(&bytes).map(|quote| Policy::accepting(&quote, image, shape, arguments.serial)))
}

fn of_manifest(arguments: &Arguments, path: &Path) -> Result<Policy, NewError> {
    let bytes = files::read(path, MAX_REPORT)?;
    let manifest = Manifest::from_json(&bytes).map_err(|source| NewError::Manifest {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    let mut release = Release::new(manifest, &arguments.shape)?;
    let mut xfam = arguments.xfam.clone();
    for reference in &arguments.reference {
        let (shape, path) = release.named(reference);
        let bytes = files::read(path, MAX_QUOTE)?;
        let quote = Quote::parse(&bytes).map_err(|refusal| NewError::Reference {
            path: path.to_owned(),
            refusal,
        })?;
        release.compare(shape, path, &quote.report)?;
        xfam.push(Hexes(quote.report.xfam));
    }
    let image = release.image(arguments.image.as_deref())?;
    if xfam.is_empty() {
        return Err(NewError::Xfam);
    }
    xfam.sort_unstable();
    xfam.dedup();
    for line in release.unconfirmed() {
        say_aside(&line);
    }
    Ok(Policy::first(image, xfam, arguments.serial))
}
