//! Images: a launcher with its payload, compared with manifest and sums, and kept as
//! they were compared.
//!
//! All of these files are the host's. That they fit each other shows that nothing was
//! damaged or mixed up; what runs in the end is shown by the guest's quote alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use zipnet_measurements::{
    Digest256, Manifest, Shape,
    release::{InputFile, ReleaseError},
    report::MAX_REPORT,
};

use crate::{
    files::{self, FileError, Lock},
    place::{Place, PlaceError},
};

/// The launcher's name in the folder that `make image` makes.
pub const LAUNCHER: &str = "zipnet-run-qemu.sh";
/// The manifest's.
const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
/// Longest script in front of a payload, and longest list of sums, in bytes.
const MAX_SCRIPT: u64 = 1 << 20;
const MAX_SUMS: u64 = 64 << 10;

/// An image is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The run folder.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The manifest.
    #[error("{path} is no release manifest", path = .0.display())]
    Manifest(PathBuf, #[source] Box<ReleaseError>),
    /// It was never in one file.
    #[error(
        "{path} is of a release without an image in one file; that of the image itself would be right",
        path = .0.display()
    )]
    NotUnified(PathBuf),
    /// Shorter or longer than its parts.
    #[error(
        "{path} is damaged, cut, or of another release than the manifest: it has {found} bytes, of which {payload} would be firmware and image",
        path = .path.display()
    )]
    Length {
        /// Which.
        path: PathBuf,
        /// How long.
        found: u64,
        /// What the manifest's files need.
        payload: u64,
    },
    /// A part is not the manifest's.
    #[error(
        "{path} is damaged or of another release than the manifest: {part} in it has the SHA-256 {found}, and {right} would be right",
        path = .path.display()
    )]
    Part {
        /// Which.
        path: PathBuf,
        /// Of what.
        part: String,
        /// By the file.
        found: Digest256,
        /// By the manifest.
        right: Digest256,
    },
    /// A file is not that of the sums.
    #[error("{path} has the SHA-256 {found}; {sums} beside it says {right}", path = .path.display())]
    Sum {
        /// Which.
        path: PathBuf,
        /// By the file.
        found: Digest256,
        /// The list.
        sums: &'static str,
        /// By the list.
        right: String,
    },
    /// The shape is not predicted.
    #[error(
        "The manifest predicts no shape {asked}, so that no policy made of it accepts one; it has {known}"
    )]
    Shape {
        /// By whoever launches.
        asked: String,
        /// Those that it has.
        known: String,
    },
    /// No shape at all.
    #[error("{0} is no shape such as 2c2G: processors, c, and memory")]
    NoShape(String),
}

/// The files of an image, before anything but their manifest was looked at.
#[derive(Debug)]
pub struct Image {
    /// The launcher.
    pub launcher: PathBuf,
    /// What the release says of itself.
    pub manifest: Manifest,
    manifest_bytes: Vec<u8>,
    manifest_path: PathBuf,
    unified: InputFile,
}

/// An image whose files fit each other, in a folder of its own.
#[derive(Debug)]
pub struct Kept {
    /// SHA-256 of the launcher.
    pub digest: Digest256,
    // Nobody tidies up until it is said which guest it is for.
    _lock: Lock,
}

impl Image {
    /// Reads the manifest of an image: `path` is the folder that `make image` made, or
    /// the launcher in it; the manifest is beside it unless another is named.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn open(path: &Path, manifest: Option<&Path>) -> Result<Self, ImageError> {
        let launcher = if path.is_dir() {
            path.join(LAUNCHER)
        } else {
            path.to_owned()
        };
        let manifest_path =
            manifest.map_or_else(|| launcher.with_file_name(MANIFEST), Path::to_owned);
        let manifest_bytes = files::read(&manifest_path, MAX_REPORT as u64)?;
        let manifest = Manifest::from_json(&manifest_bytes)
            .map_err(|error| ImageError::Manifest(manifest_path.clone(), Box::new(error)))?;
        let Some(unified) = manifest.inputs.unified.clone() else {
            return Err(ImageError::NotUnified(manifest_path));
        };
        Ok(Self {
            launcher,
            manifest,
            manifest_bytes,
            manifest_path,
            unified,
        })
    }

    /// A shape that the manifest predicts all registers of.
    ///
    /// # Errors
    /// [`ImageError::Shape`] with those that there are.
    pub fn shape(&self, asked: &str) -> Result<Shape, ImageError> {
        let predicted = || {
            self.manifest
                .shapes
                .iter()
                .filter(|shape| shape.rtmr0.is_some())
        };
        let found = predicted().find(|shape| shape.id == asked);
        found.map(|shape| shape.shape).ok_or_else(|| {
            let known: Vec<_> = predicted().map(|shape| shape.id.as_str()).collect();
            ImageError::Shape {
                asked: asked.to_owned(),
                known: known.join(", "),
            }
        })
    }

    /// Compares the launcher and its payload with manifest and sums, and yields its
    /// SHA-256.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn check(&self) -> Result<Digest256, ImageError> {
        self.copy(&mut [&mut io::sink(), &mut io::sink(), &mut io::sink()])
    }

    /// Compares as [`Image::check`] does and keeps what was compared: nobody changes it
    /// between now and the launch, or the next one.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn keep(&self, place: &Place) -> Result<Kept, ImageError> {
        let lock = Lock::wait(&place.images_lock())?;
        let fresh = place.images().join(".new");
        files::remove(&fresh)?;
        files::private_folder(&fresh)?;
        let path = fresh.join(LAUNCHER);
        let failed = |source| FileError::Write(path.clone(), source);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(&path)
            .map_err(failed)?;
        let digest = self.copy(&mut [&mut &file, &mut &file, &mut &file])?;
        files::write(&fresh.join(MANIFEST), &self.manifest_bytes)?;
        let kept = folder(place, digest);
        if kept.is_dir() {
            // Another guest may be reading it.
            files::remove(&fresh)?;
        } else {
            fs::rename(&fresh, &kept).map_err(failed)?;
        }
        Ok(Kept {
            digest,
            _lock: lock,
        })
    }

    /// Compares as [`Image::check`] does, and writes firmware and image to a folder.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn extract(&self, folder: &Path) -> Result<(PathBuf, PathBuf), ImageError> {
        let create = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(folder)
                .and_then(|()| File::create(&path))
                .map(|file| (path.clone(), file))
                .map_err(|source| FileError::Write(path, source))
        };
        let (firmware, mut first) = create(&self.manifest.inputs.firmware.name)?;
        let (unified, mut second) = create(&self.unified.name)?;
        let copied = self.copy(&mut [&mut io::sink(), &mut first, &mut second]);
        if let Err(error) = copied {
            let _ = fs::remove_file(&firmware);
            let _ = fs::remove_file(&unified);
            return Err(error);
        }
        Ok((firmware, unified))
    }

    /// Copies script, firmware and image, each to its own, and compares.
    fn copy(
        &self,
        [script, firmware, image]: &mut [&mut dyn Write; 3],
    ) -> Result<Digest256, ImageError> {
        let path = &self.launcher;
        let read = |source| FileError::Read(path.clone(), source);
        let file = File::open(path).map_err(read)?;
        let found = file.metadata().map_err(read)?.len();
        let parts = [&self.manifest.inputs.firmware, &self.unified];
        let payload = parts
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(part.size));
        let length = found
            .checked_sub(payload)
            .filter(|script| (1..=MAX_SCRIPT).contains(script));
        let length = length.ok_or_else(|| ImageError::Length {
            path: path.clone(),
            found,
            payload,
        })?;
        let mut reader = Hashing {
            file,
            whole: Sha256::new(),
        };
        reader
            .part(length, script)
            .map_err(|source| self.failed(source))?;
        for (part, to) in parts.into_iter().zip([firmware, image]) {
            let found = reader
                .part(part.size, to)
                .map_err(|source| self.failed(source))?;
            if found != part.sha256 {
                return Err(ImageError::Part {
                    path: path.clone(),
                    part: part.name.clone(),
                    found,
                    right: part.sha256,
                });
            }
        }
        let whole = zipnet_measurements::Digest(reader.whole.finalize().into());
        self.compare_sums(whole)?;
        Ok(whole)
    }

    fn failed(&self, source: CopyError) -> FileError {
        match source {
            CopyError::Read(source) => FileError::Read(self.launcher.clone(), source),
            CopyError::Write(source) => FileError::Write(self.launcher.clone(), source),
        }
    }

    fn compare_sums(&self, launcher: Digest256) -> Result<(), ImageError> {
        let sums = files::read(&self.launcher.with_file_name(SUMS), MAX_SUMS)?;
        let sums = String::from_utf8_lossy(&sums);
        let manifest = zipnet_measurements::digest::sha256(&self.manifest_bytes);
        for (path, found, name) in [
            (&self.launcher, launcher, LAUNCHER),
            (&self.manifest_path, manifest, MANIFEST),
        ] {
            let right = sums
                .lines()
                .filter_map(|line| line.split_once("  "))
                .find_map(|(sum, of)| (of == name).then_some(sum))
                .unwrap_or("nothing of it");
            if right != found.to_string() {
                return Err(ImageError::Sum {
                    path: path.clone(),
                    found,
                    sums: SUMS,
                    right: zipnet_attest::report::plain(right),
                });
            }
        }
        Ok(())
    }
}

/// Where an image is kept.
#[must_use]
pub fn folder(place: &Place, digest: Digest256) -> PathBuf {
    place.images().join(digest.to_string())
}

/// Removes all images but those that are needed.
///
/// # Errors
/// [`FileError`].
pub fn tidy(place: &Place, _held: &Kept, needed: &[Digest256]) -> Result<(), FileError> {
    let needed: Vec<_> = needed.iter().map(ToString::to_string).collect();
    let images = place.images();
    let entries = fs::read_dir(&images).map_err(|source| FileError::Read(images, source))?;
    for entry in entries.filter_map(Result::ok) {
        if !needed.iter().any(|name| entry.file_name() == name.as_str()) {
            files::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Which end of a copy failed.
enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

struct Hashing {
    file: File,
    whole: Sha256,
}

impl Hashing {
    /// Copies so many bytes, and yields their digest.
    fn part(&mut self, length: u64, to: &mut dyn Write) -> Result<Digest256, CopyError> {
        let mut hash = Sha256::new();
        let mut left = length;
        let mut buffer = vec![0; 256 << 10];
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let room = buffer.get_mut(..most).unwrap_or_default();
            let read = self.file.read(room).map_err(CopyError::Read)?;
            let bytes = room.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                return Err(CopyError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            hash.update(bytes);
            self.whole.update(bytes);
            to.write_all(bytes).map_err(CopyError::Write)?;
            left -= bytes.len() as u64;
        }
        Ok(zipnet_measurements::Digest(hash.finalize().into()))
    }
}
