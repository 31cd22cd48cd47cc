//! The door: how everybody who is not in the committee speaks with those who are.
//!
//! One QUIC connection for each peer that a process speaks with, under one ALPN
//! ([`ALPN`]), which lasts; on it, a stream for each call, and one that stays open
//! where news are pushed. `docs/protocol.md` describes it to the byte.
//!
//! - [`frame`]: what is on a stream. Every length is bounded by the kind of call
//!   before memory is taken.
//! - [`Door`] lets peers in: a [`Desk`] says which calls it answers, [`Limits`] how
//!   many connections there may be of one address, of strangers and of all.
//! - [`Doors`] keeps this process's connections to the doors of others.
//! - [`gate`]: how many callers a call has at once, and how many of them may be
//!   strangers.
//!
//! The transport authenticates peers by their keys and addresses before it keeps
//! any state of them. What they say is not trusted here, and not looked at: whoever
//! is called verifies it.

mod call;
mod desk;
mod dial;
mod endpoint;
pub mod frame;
pub mod gate;
mod lobby;
mod open;

pub use call::{Call, Refused};
pub use desk::{Admission, Caller, Desk, Pushes};
pub use dial::{CallError, Doors, Stream};
pub use endpoint::{Bind, OpenError, Reach, Seed};
pub use iroh;
pub use lobby::{Counts, Limits};
pub use open::{Door, DoorSettings};

/// The transport identity of a peer: its Ed25519 key.
pub type PeerId = iroh::EndpointId;

/// The protocol's name in the handshake. Peers that do not speak it are turned away
/// by TLS.
pub const ALPN: &[u8] = b"zipnet/door/1";
