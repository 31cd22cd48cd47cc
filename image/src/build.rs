//! The whole recipe, and the folder that it ends in.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use zipnet_measurements::{Digest384, Manifest, digest::sha256, release::ReleaseError};

use crate::{
    compile::{CompileError, Compiler, Programs},
    elf::{self, ElfError},
    files::{self, FileError},
    initramfs::{self, InitramfsError},
    launcher::{self, launcher},
    lock::{Lock, LockError, Package},
    measure::{self, MeasureError, Measured},
    newc::Archive,
    recipe::{CMDLINE, Flavor, MODULES},
    sbom::{self, SbomError},
    unified::{UnifiedError, unified},
};

/// Names of the artifacts that are in the image, for whoever wants to look at them
/// apart.
const PARTS: [&str; 2] = ["zipnet-vmlinuz", "zipnet-initramfs.cpio.zst"];

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Places {
    /// The repository.
    pub repository: PathBuf,
    /// The unpacked packages of `inputs.lock`.
    pub inputs: PathBuf,
    /// The firmware, as `scripts/firmware.sh` builds it.
    pub firmware: PathBuf,
    /// Where the programs come from.
    pub programs: Origin,
    /// Cargo's target directory for what is built here alone: the program that
    /// firmware starts, and those of the production image.
    pub target: PathBuf,
    /// The folder to write.
    pub out: PathBuf,
}

/// Where the programs of an image come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// Compiled by the locked toolchain: the production image.
    Compiled,
    /// Taken from the folder where cargo left what this machine runs itself, the
    /// simulation included: the local image.
    Taken(PathBuf),
}

impl Origin {
    /// What an image of these programs is for.
    #[must_use]
    pub const fn flavor(&self) -> Flavor {
        match self {
            Self::Compiled => Flavor::Production,
            Self::Taken(_) => Flavor::Local,
        }
    }
}

/// An image cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file.
    #[error("The image could not be put together")]
    File(#[from] FileError),
    /// The lock file.
    #[error("A lock of the image, image/*.lock, cannot be read")]
    Lock(#[from] LockError),
    /// There is no kernel in the package.
    #[error("{dir} has {found} files vmlinuz-*; one would be right", dir = .dir.display())]
    Kernel {
        /// Where it should be.
        dir: PathBuf,
        /// How many.
        found: usize,
    },
    /// It names another Rust than the one that runs.
    #[error("The compiler is rustc {found}; the one of the line `channel` in {path} would be right", path = .path.display())]
    Rust {
        /// Which.
        path: PathBuf,
        /// By its own word.
        found: String,
    },
    /// The programs.
    #[error("The programs of the image could not be built")]
    Compile(#[from] CompileError),
    /// A program that was built before.
    #[error("{path} is no program for a guest", path = .path.display())]
    Program {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ElfError,
    },
    /// The initramfs.
    #[error("The initramfs could not be made")]
    Initramfs(#[from] InitramfsError),
    /// One image of all parts.
    #[error("Kernel, command line and initramfs could not be put together")]
    Unified(#[from] UnifiedError),
    /// The registers.
    #[error("The image could not be measured")]
    Measure(#[from] MeasureError),
    /// The release before.
    #[error("{path} is no release manifest", path = .path.display())]
    Previous {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ReleaseError>,
    },
    /// The bill of materials.
    #[error("The bill of materials could not be made")]
    Sbom(#[from] SbomError),
    /// It grew.
    #[error("{what} has {found} bytes; at most {limit} would be right")]
    Large {
        /// What.
        what: &'static str,
        /// Its bytes.
        found: usize,
        /// Its limit.
        limit: usize,
    },
}

/// What was built.
#[derive(Debug)]
pub struct Image {
    /// Name and size in bytes of every artifact.
    pub artifacts: Vec<(String, usize)>,
    /// Name and size in bytes of every file of the initramfs.
    pub members: Vec<(String, usize)>,
    /// What it measures.
    pub manifest: Manifest,
}

/// Builds an image. The folder is replaced as a whole, or left as it was.
///
/// # Errors
/// [`BuildError`].
pub fn build(places: &Places) -> Result<Image, BuildError> {
    let lock = lock(&places.repository)?;
    let kernel_root = places.inputs.join("kernel-only");
    let kernel = files::read(&kernel_path(&kernel_root.join("boot"))?)?;
    let firmware = files::read(&places.firmware)?;
    measure::check(&firmware, &kernel)?;
    let flavor = places.programs.flavor();
    let compiler = Compiler {
        repository: &places.repository,
        toolchain: &places.inputs.join("toolchain"),
        target: &places.target,
    };
    if flavor == Flavor::Production {
        compiler.settings()?;
    }
    let stub = files::read(&compiler.stub()?)?;
    let [init, server] = programs(&places.programs, &compiler)?;
    let modules = kernel_root.join("lib/modules");
    let archive = initramfs::archive(init, server, &modules, MODULES)?;
    let initramfs = initramfs::compress(&archive, flavor.compression())?;
    let unified = unified(&stub, &kernel, CMDLINE, &initramfs)?;
    limits(flavor, &firmware, &unified, &initramfs)?;
    let [firmware_name, unified_name] = launcher::UNPACKED;
    let measured = Measured {
        firmware: (firmware_name, &firmware),
        unified: (unified_name, &unified),
        parts: PARTS,
    };
    let [kernel_name, initramfs_name] = PARTS;
    let toolchain = toolchain(&compiler, &lock, flavor)?;
    let previous = previous(&places.repository)?;
    let manifest = measured.manifest(&flavor.version(), toolchain, previous.as_ref())?;
    let mut json = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    json.push(b'\n');
    let hex = |register: Digest384| format!("{register}\n").into_bytes();
    let mut artifacts = vec![
        ("zipnet-run-qemu.sh", launcher(flavor, &firmware, &unified)),
        (firmware_name, firmware),
        (unified_name, unified),
        (kernel_name, kernel),
        (initramfs_name, initramfs),
        ("zipnet-cmdline", format!("{CMDLINE}\n").into_bytes()),
        ("zipnet-mrtd.hex", hex(manifest.mrtd)),
        ("zipnet-rtmr1.hex", hex(manifest.rtmr1)),
        ("zipnet-rtmr2.hex", hex(manifest.rtmr2)),
        ("manifest.json", json),
        (
            "zipnet-sbom.cdx.json",
            sbom::bill(&compiler.tree(flavor)?, &lock, flavor)?,
        ),
    ];
    artifacts.sort_by_key(|(name, _)| *name);
    let sums: Vec<_> = artifacts
        .iter()
        .map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes)))
        .collect();
    artifacts.push(("SHA256SUMS", sums.concat().into_bytes()));
    write(&places.out, &artifacts)?;
    Ok(Image {
        artifacts: artifacts
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes.len()))
            .collect(),
        members: members(&archive),
        manifest,
    })
}

/// What the image is made of, and what its firmware is built of and with.
fn lock(repository: &Path) -> Result<Lock, BuildError> {
    let mut packages = Vec::new();
    for name in ["inputs", "firmware"] {
        let text = files::read(&repository.join(format!("image/{name}.lock")))?;
        for package in Lock::parse(&String::from_utf8_lossy(&text))?.0 {
            // Some tools are of both.
            let same = |known: &Package| known.sha256 == package.sha256;
            if !packages.iter().any(same) {
                packages.push(package);
            }
        }
    }
    Ok(Lock(packages))
}

/// PID 1 and the server.
fn programs(origin: &Origin, compiler: &Compiler) -> Result<[Vec<u8>; 2], BuildError> {
    let (Programs { init, server }, own) = match origin {
        Origin::Compiled => (compiler.compile()?, true),
        Origin::Taken(folder) => (Programs::within(folder), false),
    };
    let [init, server] = [init, server].map(|path| {
        let bytes = files::read(&path)?;
        if own {
            return Ok(bytes);
        }
        elf::loaded(&bytes).map_err(|source| BuildError::Program { path, source })
    });
    Ok([init?, server?])
}

fn members(archive: &Archive) -> Vec<(String, usize)> {
    let sizes = archive
        .iter()
        .map(|(name, entry)| (name.clone(), entry.data().len()));
    sizes.filter(|(_, size)| *size > 0).collect()
}

fn kernel_path(dir: &Path) -> Result<PathBuf, BuildError> {
    let mut found = files::entries(dir)?;
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vmlinuz-")
    });
    match <[PathBuf; 1]>::try_from(found) {
        Ok([path]) => Ok(path),
        Err(found) => Err(BuildError::Kernel {
            dir: dir.to_owned(),
            found: found.len(),
        }),
    }
}

fn limits(
    flavor: Flavor,
    firmware: &[u8],
    unified: &[u8],
    initramfs: &[u8],
) -> Result<(), BuildError> {
    let image = firmware.len() + unified.len();
    let sizes = [
        ("The initramfs", initramfs.len(), flavor.max_initramfs()),
        ("The image", image, flavor.max_image()),
    ];
    match sizes.into_iter().find(|(_, found, limit)| found > limit) {
        Some((what, found, limit)) => Err(BuildError::Large { what, found, limit }),
        None => Ok(()),
    }
}

/// What the programs are built with; a local image's are linked by the machine's own
/// tools.
fn toolchain(
    compiler: &Compiler<'_>,
    lock: &Lock,
    flavor: Flavor,
) -> Result<BTreeMap<String, String>, BuildError> {
    let path = compiler.repository.join("rust-toolchain.toml");
    let text = files::read(&path)?;
    let text = String::from_utf8_lossy(&text);
    let named = text
        .lines()
        .find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
    let (found, commit) = compiler.rustc()?;
    if named != Some(&found) {
        return Err(BuildError::Rust { path, found });
    }
    let mut tools = BTreeMap::from([
        ("rustc".to_owned(), found),
        ("rustc commit".to_owned(), commit),
    ]);
    if flavor == Flavor::Production {
        for name in ["gcc-12", "binutils", "libc6-dev"] {
            tools.insert(name.to_owned(), lock.version(name)?.to_owned());
        }
    }
    Ok(tools)
}

/// The manifest of the release before this version, if there is one.
fn previous(repository: &Path) -> Result<Option<Manifest>, BuildError> {
    let numbers = |version: &str| -> Vec<u64> {
        let parts = version.split(|c: char| !c.is_ascii_digit());
        parts.filter_map(|part| part.parse().ok()).collect()
    };
    let own = numbers(env!("CARGO_PKG_VERSION"));
    let mut newest: Option<Manifest> = None;
    for path in files::entries(&repository.join("measurements/releases"))? {
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        let manifest =
            Manifest::from_json(&files::read(&path)?).map_err(|source| BuildError::Previous {
                path,
                source: Box::new(source),
            })?;
        let version = numbers(&manifest.version);
        let later = |known: &Manifest| numbers(&known.version) < version;
        if version < own && newest.as_ref().is_none_or(later) {
            newest = Some(manifest);
        }
    }
    Ok(newest)
}

/// Puts a folder with all artifacts in the place of another, or leaves that.
fn write(out: &Path, artifacts: &[(&str, Vec<u8>)]) -> Result<(), FileError> {
    let fresh = out.with_extension("new");
    let _ = fs::remove_dir_all(&fresh);
    let written = fill(&fresh, artifacts).and_then(|()| match fs::remove_dir_all(out) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::of("replace", out)(error))
        }
        _ => fs::rename(&fresh, out).map_err(FileError::of("put into place", out)),
    });
    if written.is_err() {
        // It may be what fills the disk.
        let _ = fs::remove_dir_all(&fresh);
    }
    written
}

fn fill(folder: &Path, artifacts: &[(&str, Vec<u8>)]) -> Result<(), FileError> {
    fs::create_dir_all(folder).map_err(FileError::of("make the folder", folder))?;
    for (name, bytes) in artifacts {
        let path = folder.join(name);
        files::write(&path, bytes)?;
        let mode = if path.extension().is_some_and(|kind| kind == "sh") {
            0o755
        } else {
            0o644
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(FileError::of("set the permissions of", &path))?;
    }
    Ok(())
}
