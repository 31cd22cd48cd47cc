//! Builds the guest image, and compares and lists images.
//!
//! Exit status: 0 done and the same, 1 a difference or failure, 2 usage.

use std::{
    error::Error,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use zipnet_image::{
    Flavor,
    build::{self, BuildError, Image, Origin, Places},
    compare::{self, OpenError},
    files::{self, FileError},
    newc::Entry,
};
use zipnet_measurements::digest::sha256;

/// Builds the guest image of zipnet's committee server, and compares images.
#[derive(Debug, Parser)]
#[command(
    name = "zipnet-image",
    version,
    after_help = "Exit status: 0 done and the same, 1 a difference or failure, 2 usage."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build an image from unpacked inputs
    Build(Build),
    /// Say where the files of two builds differ
    Compare {
        /// Folder of one build
        one: PathBuf,
        /// Folder of the other
        other: PathBuf,
    },
    /// Print what is in an initramfs: permissions, bytes, SHA-256, name
    List {
        /// A file *-initramfs.cpio.zst
        initramfs: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Build {
    /// The repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
    /// Folder of the packages of image/inputs.lock, as scripts/packages.sh unpacks them
    #[arg(long, value_name = "DIR")]
    inputs: PathBuf,
    /// The firmware, as scripts/firmware.sh builds it
    #[arg(
        long,
        value_name = "FILE",
        default_value = "target/firmware/OVMF.inteltdx.fd"
    )]
    firmware: PathBuf,
    /// Target directory for what is compiled: the program that firmware starts, and those
    /// of the production image
    #[arg(long, value_name = "DIR", default_value = "target/image-build")]
    target: PathBuf,
    /// Build the local image, to try things out, of the programs in this folder
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Folder to write; replaced as a whole
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Why a verb came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("The image could not be built; {out} is as it was", out = .out.display())]
    Build {
        out: PathBuf,
        #[source]
        source: BuildError,
    },
    #[error("The builds could not be compared")]
    Compare(#[source] FileError),
    #[error("{path} could not be listed", path = .path.display())]
    List {
        path: PathBuf,
        #[source]
        source: OpenError,
    },
    #[error("A folder could not be found")]
    Folder(#[source] FileError),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Build(arguments) => build(&arguments),
        Verb::Compare { one, other } => compare(&one, &other),
        Verb::List { initramfs } => list(initramfs),
    };
    done.unwrap_or_else(|error| {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "error: {error}");
        let mut next = error.source();
        while let Some(cause) = next {
            let _ = writeln!(err, "because: {cause}");
            next = cause.source();
        }
        ExitCode::FAILURE
    })
}

fn build(arguments: &Build) -> Result<ExitCode, Failure> {
    // What cargo builds in has to have one name only.
    let whole = |path: &Path| {
        let whole = std::path::absolute(path).and_then(|path| path.canonicalize());
        whole
            .map_err(FileError::of("find", path))
            .map_err(Failure::Folder)
    };
    std::fs::create_dir_all(&arguments.target)
        .map_err(FileError::of("make the folder", &arguments.target))
        .map_err(Failure::Folder)?;
    let programs = match &arguments.programs {
        Some(folder) => Origin::Taken(whole(folder)?),
        None => Origin::Compiled,
    };
    let places = Places {
        repository: whole(&arguments.repository)?,
        inputs: whole(&arguments.inputs)?,
        firmware: arguments.firmware.clone(),
        programs,
        target: whole(&arguments.target)?,
        out: arguments.out.clone(),
    };
    let image = build::build(&places).map_err(|source| Failure::Build {
        out: places.out.clone(),
        source,
    })?;
    tell(&image, places.programs.flavor(), &places.out);
    Ok(ExitCode::SUCCESS)
}

fn tell(image: &Image, flavor: Flavor, out: &Path) {
    say(&format!(
        "The {flavor} image {} is in {}:",
        image.manifest.version,
        out.display()
    ));
    for (name, bytes) in &image.artifacts {
        say(&format!("{bytes:>11}  {name}"));
    }
    say("In the initramfs, uncompressed:");
    for (name, bytes) in &image.members {
        say(&format!("{bytes:>11}  /{name}"));
    }
    say("It measures, in every shape:");
    let registers = [
        ("MRTD ", image.manifest.mrtd),
        ("RTMR1", image.manifest.rtmr1),
        ("RTMR2", image.manifest.rtmr2),
    ];
    for (name, digest) in registers {
        say(&format!("  {name} {digest}"));
    }
    say("RTMR0 depends on the shape: see manifest.json, or `make measure`.");
}

fn compare(one: &Path, other: &Path) -> Result<ExitCode, Failure> {
    let differences = compare::compare(one, other).map_err(Failure::Compare)?;
    for line in &differences {
        say(line);
    }
    if differences.is_empty() {
        say("Both builds are the same, byte by byte.");
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::FAILURE)
    }
}

fn list(path: PathBuf) -> Result<ExitCode, Failure> {
    let archive = files::read(&path)
        .map_err(OpenError::from)
        .and_then(|bytes| compare::open(&bytes))
        .map_err(|source| Failure::List { path, source })?;
    for (name, entry) in &archive {
        let (kind, mode) = match entry {
            Entry::Folder { mode } => ('d', mode),
            Entry::File { mode, .. } => ('-', mode),
            Entry::Device { mode, .. } => ('c', mode),
        };
        let sum = match entry {
            Entry::File { data, .. } => sha256(data).to_string(),
            Entry::Folder { .. } | Entry::Device { .. } => format!("{:64}", ""),
        };
        say(&format!(
            "{kind}{mode:04o} {:>10} {sum} /{name}",
            entry.data().len()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a line to standard output; a reader that has gone is no failure.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
