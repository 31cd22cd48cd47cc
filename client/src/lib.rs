//! Clients and readers of a zipnet deployment, and whoever judges its servers: what one
//! depends on who is not in the committee.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use zipnet::Zipnet;
//!
//! let zipnet = Zipnet::connect("zipnet:acme.mainnet?committee=KEY&bootstrap=PEERID@ip:port").await?;
//! let mut reader = zipnet.reader();
//! let sending = zipnet.publisher().send("hello");
//! while let Some(round) = reader.next().await {
//!     for (slot, message) in round?.messages() {
//!         println!("{slot}: {}", String::from_utf8_lossy(&message));
//!     }
//! }
//! # sending.await?; Ok(()) }
//! ```
//!
//! - [`Zipnet`] is a client, set up of a [`Uri`] or a [`Builder`]: a [`Publisher`], a
//!   [`Reader`], what became of messages ([`Receipts`]), and whether it is ready
//!   ([`Readiness`]). [`typed`] has messages of types of one's own.
//!
//! What that stands on is there for others who build on it. The rules of a round live in
//! [`zipnet_protocol`], those of evidence in [`zipnet_attest`];
//! this crate moves checked values between them and the doors of servers ([`zipnet_door`])
//! and decides *when*, never *what*. Nothing here knows mosaik, the committee's own network.
//!
//! - [`roles::client`]: the client itself, and its settings one by one.
//! - [`roles::follow`]: the committee's news, verified.
//! - [`attestation`]: whose evidence a process believes.
//! - [`health`]: whether the process is well, and why not.
//! - [`pace`]: what everybody reads from a record, and how often to talk.
//! - [`settings`], [`ground`], [`book`], [`wire`], [`peers`], [`backoff`], [`entropy`],
//!   [`metrics`]: the ground they stand on.
//!
//! Every await on the network has a time-out. Secrets live in
//! [`zeroize::Zeroizing`] or types that zeroize themselves, and none has a
//! `Debug` that shows it.

pub mod attestation;
pub mod backoff;
pub mod book;
mod connect;
pub mod entropy;
pub mod ground;
pub mod health;
pub mod metrics;
pub mod pace;
pub mod peers;
pub mod roles;
pub mod settings;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod typed;
pub mod uri;
pub mod wire;

pub use connect::{Builder, ConnectError, Zipnet};
pub use roles::client::{
    GivenUp, Lagged, MessageId, NotReady, Participation, PublishError, PublishOptions, Publisher,
    Reader, Readiness, Receipt, Receipts, Sending, TakesPart, Told,
};
pub use typed::{Message, Received, Typed};
pub use uri::{Evidence, Uri, UriError};
pub use zipnet_attest::report;
pub use zipnet_door::PeerId;
pub use zipnet_protocol::{FinalizedRound, Invite};
