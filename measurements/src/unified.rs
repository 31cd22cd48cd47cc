//! Kernel, command line and initramfs in one PE image, which the firmware measures
//! whole.
//!
//! Sections by the UAPI group's "Unified Kernel Image (UKI)". That the program in it
//! hands on just these, and nothing of the host's, is not seen here: it is the word of
//! whoever built the image (`image/stub`).

use crate::{
    digest::Digest384,
    pe::{Image, PeError},
    predict::{BootError, Kernel},
};

/// An image is no unified one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnifiedError {
    /// It is no PE image.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// A part is missing, or there are several.
    #[error("The image has {found} sections {name}; one would be right")]
    Section {
        /// Its name.
        name: &'static str,
        /// How many there are.
        found: usize,
    },
    /// The command line.
    #[error("The section .cmdline is no text")]
    Text,
    /// The kernel.
    #[error("The section .linux is no kernel")]
    Kernel(#[source] BootError),
}

/// What a unified image holds.
#[derive(Debug, Clone)]
pub struct Unified<'a> {
    /// Its Authenticode digest.
    pub digest: Digest384,
    /// The kernel, which the firmware loads and measures once more.
    pub kernel: Kernel,
    /// Its bytes.
    pub linux: &'a [u8],
    /// What the kernel gets as its command line.
    pub cmdline: &'a str,
    /// The initramfs.
    pub initrd: &'a [u8],
}

impl<'a> Unified<'a> {
    /// Reads an image.
    ///
    /// # Errors
    /// [`UnifiedError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, UnifiedError> {
        let image = Image::parse(bytes)?;
        let only = |name: &'static str| {
            let mut padded = [0; 8];
            let sections = image.sections().iter().filter(|section| {
                padded
                    .iter_mut()
                    .zip(name.bytes())
                    .for_each(|(at, byte)| *at = byte);
                section.name == padded
            });
            match *sections.collect::<Vec<_>>() {
                [section] => Ok(section.data),
                ref other => Err(UnifiedError::Section {
                    name,
                    found: other.len(),
                }),
            }
        };
        let (linux, cmdline, initrd) = (only(".linux")?, only(".cmdline")?, only(".initrd")?);
        Ok(Self {
            digest: image.sha384(),
            kernel: Kernel::parse(linux).map_err(UnifiedError::Kernel)?,
            cmdline: core::str::from_utf8(cmdline).map_err(|_| UnifiedError::Text)?,
            linux,
            initrd,
        })
    }
}
