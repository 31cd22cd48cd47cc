//! `release`: writes a manifest.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    Manifest,
    drivers::{self, TCG2_DXE},
    machine::FROZEN,
    release::{InputFile, ReleaseInputs},
    report::MAX_REPORT,
};
use clap::Args;

use crate::cli::{
    Failure, Outcome,
    files::{self, FileError},
    inputs::{Guest, GuestArguments},
    predict, say, say_json,
};

/// Arguments of `release`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    guest: GuestArguments,
    /// The release
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// What built it: rustc=1.95.0
    #[arg(long, value_name = "NAME=VERSION", value_parser = tool)]
    toolchain: Vec<(String, String)>,
    /// The manifest of the release before
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// Folder to write `VERSION.json` to
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the manifest
    #[arg(long)]
    json: bool,
}

fn tool(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, version)) if !name.is_empty() && !version.is_empty() => {
            Ok((name.to_owned(), version.to_owned()))
        }
        _ => Err("a name, `=` and a version would be right".to_owned()),
    }
}

pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if !arguments.version.chars().all(plain) || arguments.version.starts_with('.') {
        return Err(Failure::Usage(
            "A version is made of letters, digits and . _ + -".to_owned(),
        ));
    }
    if arguments.guest.acpi.is_some() {
        return Err(Failure::Usage(
            "A release is of the frozen machine; --acpi names tables of another one".to_owned(),
        ));
    }
    if arguments.guest.qemu_patches_kernel {
        return Err(Failure::Usage(
            "A release runs in TDs, whose kernel QEMU leaves alone; it goes without --qemu-patches-kernel"
                .to_owned(),
        ));
    }
    let guest = Guest::read(&arguments.guest)?;
    let previous = match &arguments.previous {
        Some(path) => {
            let bytes = files::read(path, MAX_REPORT)?;
            Some(Manifest::from_json(&bytes).map_err(|error| Failure::input(path, error))?)
        }
        None => None,
    };
    let reports = guest.reports()?;
    let inputs = inputs(&arguments.guest, &guest)?;
    let toolchain: BTreeMap<_, _> = arguments.toolchain.iter().cloned().collect();
    let manifest = Manifest::new(
        &arguments.version,
        inputs,
        toolchain,
        &FROZEN,
        reports.clone(),
        previous.as_ref(),
    )
    .map_err(Failure::Release)?;
    if let Some(dir) = &arguments.out {
        let path = dir.join(format!("{}.json", manifest.version));
        let mut text = serde_json::to_vec_pretty(&manifest).map_err(|source| FileError::Write {
            path: path.clone(),
            source: source.into(),
        })?;
        text.push(b'\n');
        files::write(&path, &text)?;
    }
    if arguments.json {
        say_json(&manifest);
    } else {
        predict::say_table(&reports);
        say(&manifest.changes.line);
    }
    Ok(Outcome::Done)
}

fn inputs(arguments: &GuestArguments, guest: &Guest<'_>) -> Result<ReleaseInputs, Failure> {
    let missing = |what: &str| Failure::Usage(format!("A release needs {what}"));
    let file = |path: Option<&PathBuf>, bytes: Option<&Vec<u8>>, what: &str| {
        let (path, bytes) = path.zip(bytes).ok_or_else(|| missing(what))?;
        Ok::<_, Failure>(InputFile::new(&files::name(path), bytes))
    };
    let firmware = InputFile::new(&files::name(&arguments.firmware), &guest.firmware);
    let firmware_profile = guest.profile().map(|profile| profile.id.to_owned());
    if let Some(unified) = guest.unified()? {
        return Ok(ReleaseInputs {
            firmware,
            firmware_profile,
            unified: Some(file(
                arguments.image.as_ref(),
                guest.image.as_ref(),
                "--image",
            )?),
            kernel: InputFile::new(".linux", unified.linux),
            initrd: InputFile::new(".initrd", unified.initrd),
            cmdline: unified.cmdline.to_owned(),
        });
    }
    if drivers::names(&guest.firmware, &TCG2_DXE)
        .map_err(|error| Failure::input(&arguments.firmware, error))?
    {
        return Err(Failure::input(&arguments.firmware, Tcg2));
    }
    Ok(ReleaseInputs {
        firmware,
        firmware_profile,
        unified: None,
        kernel: file(arguments.kernel.as_ref(), guest.kernel.as_ref(), "--kernel")?,
        initrd: file(arguments.initrd.as_ref(), guest.initrd.as_ref(), "--initrd")?,
        cmdline: arguments
            .cmdline
            .clone()
            .ok_or_else(|| missing("--cmdline"))?,
    })
}

/// A host could boot anything behind such a release (docs/decisions/0018).
#[derive(Debug, thiserror::Error)]
#[error(
    "It drives a TPM (Tcg2Dxe): a host that gives one boots a command line and initramfs that no register shows; \
     all in one image, by --image, or a firmware without that driver would be right"
)]
struct Tcg2;
