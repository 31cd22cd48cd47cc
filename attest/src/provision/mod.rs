//! How a guest gets its secrets.
//!
//! A guest is measured and has no secrets: its image is public, and what its
//! host hands it the host knows. So whoever has the secrets, the *giver*,
//! first looks at the guest's evidence, then seals them to a key that only
//! this guest has. A giver is an operator, or a member of the committee.
//!
//! ```text
//! giver → guest   Hello     nonce
//! guest → giver   Offer     statement, quote, configuration
//! giver → guest   Sealed    encapsulated key, ciphertext
//! guest → giver   Accepted  proof
//! ```
//!
//! Instead of each message either side may send `Refused` with a reason. The
//! [`GuestStatement`] holds the giver's nonce and a key that the guest made for
//! this connection alone; its SHA-512 is REPORTDATA of the quote. The sealed
//! message is bound to the statement's bytes, so that it opens nowhere else.
//!
//! * A [`Giver`] verifies quote, policy, machine, configuration and nonce; only
//!   then is there a [`Welcome`], and only to a `Welcome` anything is sealed.
//! * A [`Guest`] accepts a [`Parcel`] that was sealed with the [`GiverKey`] whose
//!   public half its configuration names, whose policy enough of the keys
//!   signed that it names too, and whose giver's clock its own is not behind;
//!   only then are there [`Provisions`].
//! * `Accepted` is exported from the sealing's own context over all messages:
//!   only the guest that opened the secrets can send it.
//! * A [`relay`] passes messages between the two and holds nothing.
//!
//! The giver proves that it has the committee secret, and not who it is: any
//! operator or member may give.
//!
//! No message, error or line that is said holds a secret. Whatever comes from
//! the other side ends in an error, within the time-outs and the bounds.

mod config;
mod giver;
mod guest;
mod obtain;
mod parcel;
mod relay;
mod seal;
mod statement;
mod wire;

pub use config::{Config, ConfigError, Difference, MAX_CONFIG, NAME, PROVISION_KEY};
pub use giver::{GiveError, Giver, Known, Machines, Welcome};
pub use guest::{AttemptError, Guest, GuestError};
pub use obtain::{Limits, ObtainError};
pub use parcel::{
    CLOCK_FLOOR_FILE, COMMITTEE_SECRET_FILE, POLICY_FILE, Parcel, ParcelError, Provisions,
    SECRET_FILE, StoreError,
};
pub use relay::{RelayError, Side, relay};
pub use seal::GiverKey;
pub(crate) use seal::key_pair;
pub use statement::{GuestStatement, STATEMENT_BYTES};
pub use wire::{Stream, WireError};
