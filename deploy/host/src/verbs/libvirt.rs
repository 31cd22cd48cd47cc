//! `libvirt`: a guest as a domain of libvirt.

use std::path::{Path, PathBuf};

use clap::Args;

use super::launch::{self, ImageArguments, LaunchError};
use crate::{
    image::{Image, ImageError},
    libvirt::{Domain, LibvirtError},
    output,
    place::Name,
    plan::Forward,
    quotes::Quotes,
};

/// Arguments of `libvirt`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The domain's name
    #[arg(value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    image: ImageArguments,
    /// The guest's settings
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The folder to write firmware and image to, which libvirt reads at each start
    #[arg(long, value_name = "DIR")]
    files: PathBuf,
    /// Processors and memory: one of the manifest's shapes
    #[arg(long, value_name = "ID", default_value = "2c2G")]
    shape: String,
    /// A port of this host that leads to one of the guest, by passt; repeated:
    /// `udp|tcp:[IP:]PORT:GUESTPORT`
    #[arg(long, value_name = "RULE", conflicts_with = "tap")]
    forward: Vec<Forward>,
    /// A tap interface that is there already
    #[arg(long, value_name = "INTERFACE")]
    tap: Option<String>,
    /// Hardware address of the guest's interface
    #[arg(long, value_name = "ADDRESS")]
    mac: Option<String>,
    /// Where QEMU reaches the quote generation service: `unix:PATH`
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "unix:/var/run/tdx-qgs/qgs.socket"
    )]
    quotes: Quotes,
    /// QEMU, if not the one that libvirt finds
    #[arg(long, value_name = "PROGRAM")]
    qemu: Option<PathBuf>,
}

/// A domain was not printed.
#[derive(Debug, thiserror::Error)]
pub enum LibvirtVerbError {
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The settings, or another argument.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The domain.
    #[error(transparent)]
    Libvirt(#[from] LibvirtError),
}

impl LibvirtVerbError {
    /// Whether an argument is wrong.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        match self {
            Self::Launch(error) => error.is_usage(),
            Self::Libvirt(_) => true,
            Self::Image(_) => false,
        }
    }
}

/// Writes the image's files, and prints the domain's XML.
///
/// # Errors
/// [`LibvirtVerbError`].
pub fn run(arguments: &Arguments) -> Result<(), LibvirtVerbError> {
    let path = arguments.image.image.as_ref().ok_or(LaunchError::NoImage)?;
    let (config, ..) = launch::read_config(&arguments.config)?;
    launch::check_words(arguments.tap.as_ref(), arguments.mac.as_ref())?;
    let image = Image::open(path, arguments.image.manifest.as_deref())?;
    let shape = image.shape(&arguments.shape)?;
    let folder = std::path::absolute(&arguments.files).unwrap_or_else(|_| arguments.files.clone());
    let domain = |firmware: &Path, unified: &Path| {
        Domain {
            name: &arguments.name.to_string(),
            shape,
            firmware,
            unified,
            config: &config,
            qemu: arguments.qemu.as_deref(),
            tap: arguments.tap.as_deref(),
            mac: arguments.mac.as_deref(),
            forward: &arguments.forward,
            quotes: &arguments.quotes,
        }
        .xml()
    };
    // What cannot be said is found out before anything is written.
    domain(&folder, &folder)?;
    let (firmware, unified) = image.extract(&folder)?;
    output::say(domain(&firmware, &unified)?.trim_end());
    Ok(())
}
