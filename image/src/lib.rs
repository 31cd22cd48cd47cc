//! The guest image of zipnet's committee server.
//!
//! [`build()`] makes it from locked inputs: a kernel and a firmware of Debian's
//! and two programs of this repository, linked statically by a locked toolchain.
//! The same recipe gives the same bytes on every machine; [`compare()`] shows
//! where two builds differ. What an image measures is in its manifest. The local
//! flavor, to try things out, takes its programs as the machine's own build left
//! them; nobody is asked to come to the same bytes.
//!
//! Files are read and written here; what they become is pure: [`newc`] archives,
//! the [`Lock`], the [`launcher`], the registers.

pub mod build;
pub mod compare;
pub mod compile;
pub mod elf;
pub mod files;
pub mod initramfs;
pub mod launcher;
pub mod lock;
pub mod measure;
pub mod modules;
pub mod newc;
pub mod recipe;
pub mod sbom;
pub mod unified;

pub use build::build;
pub use compare::compare;
pub use lock::Lock;
pub use recipe::Flavor;
