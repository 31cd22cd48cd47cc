//! Real zipnet processes under test.
//!
//! [`process`] runs one binary and waits on its [`lines`]; [`server`] is a
//! server seen from outside, [`cluster`] a committee with an aggregator and
//! clients, [`attestation`] its simulated Intel, [`rogue`] who wants to be
//! one of them and is not, [`cheat`] an aggregator that cheats, [`embedded`] a client in the test itself; [`netns`] gives each a network of
//! its own, and [`clock`] a time of its own; [`fuzz`] holds the bodies of the fuzz
//! targets; [`book`] takes the commands of `docs/` from their pages and runs them, [`lifecycle`] on a committee
//! that publishes. The binaries
//! `zipnet-local` (`make run`), `zipnet-bench` (`make bench`) and `zipnet-soak`
//! (`make soak`, in [`soak`]) stand on the same ground.
//!
//! [`archive`] is an archive beside a cluster, [`readers`] are many of it, [`browser`] one that looks at a page, and [`systemd`] a whole machine, to install packages in.
//!
//! Every wait has a time-out and is on a condition, never on time alone.

pub mod archive;
pub mod attacks;
pub mod attestation;
pub mod book;
pub mod browser;
pub mod cheat;
pub mod clock;
pub mod cluster;
pub mod embedded;
pub mod fuzz;
pub mod guest;
pub mod lifecycle;
pub mod lines;
pub mod markdown;
pub mod memory;
pub mod netns;
pub mod process;
pub mod readers;
pub mod rogue;
pub mod server;
pub mod settings;
pub mod sim;
pub mod soak;
pub mod systemd;
pub mod tpm;
