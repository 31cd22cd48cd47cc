//! `policy new`: a first policy, of a release manifest or of a quote.

use std::path::{Path, PathBuf};

use crate::{
    Collateral, Edition, Policy, Quote, Refusal,
    collateral::MAX_COLLATERAL,
    hexes::Hexes,
    policy::{First, PolicyError, Server, Track},
    quote::MAX_QUOTE,
};
use clap::Args;
use serde_json::json;
use zipnet_measurements::{Manifest, release::ReleaseError, report::MAX_REPORT};

use super::{
    explain,
    release::{PinError, Release},
};
use crate::cli::{FileError, Outcome, answer, files, now, say, say_aside};

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
    /// Collateral as Intel publishes it today on the track: it says which TCB
    /// evaluation counts. Not verified
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "evaluation",
        conflicts_with = "evaluation"
    )]
    collateral: Option<PathBuf>,
    /// The TCB evaluation that counts, instead of --collateral
    #[arg(long, value_name = "N")]
    evaluation: Option<u32>,
    /// Intel's track: `standard`, by which platforms have had time to be updated, or
    /// `early`, by which they fall on the day of a disclosure
    #[arg(long, value_name = "TRACK", default_value = "standard", value_parser = track)]
    track: Track,
    /// Platform instance id of a machine to accept, 16 bytes as hex, as `verify` and
    /// `provision` print it; repeated or comma separated
    #[arg(
        long,
        value_name = "HEX",
        value_delimiter = ',',
        required_unless_present_any = ["any_platform", "server"],
        conflicts_with = "any_platform"
    )]
    platform: Vec<Hexes<16>>,
    /// Accept every machine that Intel certifies: whoever broke one of them, anywhere, can
    /// then make up servers
    #[arg(long)]
    any_platform: bool,
    /// A server, its peer id and the platforms that it may run on; repeated. With any, no
    /// other peer is a server
    #[arg(long, value_name = "NAME=PEERID@PLATFORM[+PLATFORM]", value_parser = server, conflicts_with = "any_platform")]
    server: Vec<Server>,
}

pub fn track(name: &str) -> Result<Track, String> {
    serde_json::from_value(name.into())
        .map_err(|_| "`standard` or `early` would be right".to_owned())
}

fn server(text: &str) -> Result<Server, String> {
    let right = || "NAME=PEERID@PLATFORM, in 64 and 32 hex digits, would be right".to_owned();
    let (name, rest) = text.split_once('=').ok_or_else(right)?;
    let (peer, platforms) = rest.split_once('@').ok_or_else(right)?;
    let platforms = platforms.split('+').map(str::parse);
    Ok(Server {
        name: name.to_owned(),
        peer: peer.parse().map_err(|_| right())?,
        platforms: platforms.collect::<Result<_, _>>().map_err(|_| right())?,
    })
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
    /// Not collateral.
    #[error("{path} is no collateral: {refusal}", path = .path.display())]
    Collateral {
        /// Which.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// The parts do not go together.
    #[error("The policy would be refused")]
    Unsound(#[source] PolicyError),
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
            _ => matches!(self, Self::Shapes { .. } | Self::Xfam | Self::Unsound(_)),
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<Outcome, NewError> {
    let first = first(arguments)?;
    let mut policy = match (&arguments.quote, &arguments.manifest) {
        (Some(quote), _) => match of_quote(arguments, quote, first)? {
            Ok(policy) => policy,
            Err(refusal) => {
                answer::say_refusal(&refusal, false);
                return Ok(Outcome::Refused);
            }
        },
        (None, manifest) => of_manifest(
            arguments,
            manifest.as_deref().unwrap_or(Path::new("")),
            first,
        )?,
    };
    if arguments.track == Track::Early {
        (policy.tcb.track, policy.tcb.max_evaluation) = (Track::Early, None);
    }
    if !arguments.server.is_empty() {
        policy.servers = Some(arguments.server.clone());
    }
    policy.sound().map_err(NewError::Unsound)?;
    for line in explain::lines(&policy) {
        explain::say(&line);
    }
    say(&format!("{:#}", json!(policy)));
    Ok(Outcome::Verified)
}

/// What the user knows.
fn first(arguments: &Arguments) -> Result<First, NewError> {
    let evaluations = match (&arguments.collateral, arguments.evaluation) {
        (Some(path), _) => {
            let bytes = files::read(path, MAX_COLLATERAL)?;
            let edition = Collateral::from_json(&bytes).and_then(|found| Edition::of(&found));
            let refused = |refusal| NewError::Collateral {
                path: path.clone(),
                refusal,
            };
            let edition = edition.map_err(refused)?;
            (edition.evaluation, edition.highest)
        }
        (None, evaluation) => {
            let evaluation = evaluation.unwrap_or_default();
            (evaluation, evaluation)
        }
    };
    // The machines of named servers need not be named twice.
    let mut platforms = arguments.platform.clone();
    platforms.extend(arguments.server.iter().flat_map(|server| &server.platforms));
    platforms.sort_unstable();
    platforms.dedup();
    Ok(First {
        serial: arguments.serial,
        issued: now(),
        evaluations,
        platforms: (!arguments.any_platform).then_some(platforms),
    })
}

fn of_quote(
    arguments: &Arguments,
    path: &Path,
    first: First,
) -> Result<Result<Policy, Refusal>, NewError> {
    let shape = match arguments.shape.as_slice() {
        [] => "default",
        [shape] => shape,
        many => return Err(NewError::Shapes { found: many.len() }),
    };
    let bytes = files::read(path, MAX_QUOTE)?;
    let image = arguments.image.as_deref().unwrap_or_default();
    Ok(Quote::parse(&bytes).map(|quote| Policy::accepting(&quote, image, shape, first)))
}

fn of_manifest(arguments: &Arguments, path: &Path, first: First) -> Result<Policy, NewError> {
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
    Ok(Policy::first(image, xfam, first))
}
