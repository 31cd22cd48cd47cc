//! Measurements of a TDX guest, predicted from its files.
//!
//! A TD quote names four digests of what runs in the TD. Whoever is to trust
//! them needs to know which files make them:
//!
//! | register | of | needs |
//! | --- | --- | --- |
//! | MRTD | memory before the first instruction | firmware |
//! | RTMR0 | the firmware's configuration | firmware, memory, processors, machine |
//! | RTMR1 | what the firmware booted | kernel, or one image with command line and initramfs |
//! | RTMR2 | what the kernel took from outside | command line, initramfs |
//!
//! RTMR2 alone is no proof of command line and initramfs: a kernel that finds a TPM,
//! which the host can emulate, measures them there instead. Only an image in one file
//! ([`unified`]) binds them, in RTMR1.
//!
//! [`predict()`] makes them with the list of events behind each; [`diff`] says
//! which event is the first that differs from what was measured, and why;
//! [`release`] writes down a release. A value that cannot be predicted is
//! absent with a reason, never guessed.
//!
//! The parsers ([`tdvf`], [`pe`], [`unified`], [`linux`], [`eventlog`], [`acpi`], [`quote`])
//! take any bytes: they refuse with an offset, with bounded work, and never
//! panic. Nothing here reads a clock, a file or a socket.

#![deny(clippy::indexing_slicing)]

pub mod acpi;
mod bytes;
#[cfg(feature = "cli")]
pub mod cli;
pub mod confirm;
pub mod diff;
pub mod digest;
#[cfg(feature = "drivers")]
pub mod drivers;
pub mod efi;
pub mod event;
pub mod eventlog;
mod guid;
pub mod hob;
pub mod linux;
pub mod machine;
pub mod mrtd;
pub mod pe;
pub mod predict;
pub mod profile;
pub mod quote;
pub mod release;
pub mod report;
pub mod shape;
pub mod tdvf;
pub mod unified;

pub use bytes::Truncated;
pub use digest::{Digest, Digest256, Digest384};
pub use event::{DependsOn, Event, Register};
pub use guid::Guid;
pub use predict::{Inputs, Kernel, Prediction, predict};
pub use release::Manifest;
pub use report::Report;
pub use shape::{Memory, Shape};
pub use unified::Unified;
