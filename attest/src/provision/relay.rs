//! Passing messages between a giver and a guest that do not reach each other.

use core::{fmt, time::Duration};

use super::wire::{Connection, Kind, Stream, WireError, reason};

/// How long each side may take for a message.
const STEP_WITHIN: Duration = Duration::from_secs(45);

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Whoever has the secrets.
    Giver,
    /// Whoever is to get them.
    Guest,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Giver => "giver",
            Self::Guest => "guest",
        })
    }
}

/// The guest did not accept.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// A connection.
    #[error("The connection to the {side} failed")]
    Wire {
        /// To whom.
        side: Side,
        /// Why.
        #[source]
        source: WireError,
    },
    /// A refusal.
    #[error("The {side} refuses: {reason}")]
    Refused {
        /// Who.
        side: Side,
        /// Its words.
        reason: String,
    },
}

/// Passes messages on until the guest has accepted. Whoever does this sees
/// public evidence and sealed secrets, and changes neither unnoticed.
///
/// # Errors
/// [`RelayError`]; a refusal reached the other side too.
pub fn relay<A: Stream, B: Stream>(giver: A, guest: B) -> Result<(), RelayError> {
    let mut giver = Connection::new(giver, STEP_WITHIN);
    let mut guest = Connection::new(guest, STEP_WITHIN);
    pass(Kind::Hello, Side::Giver, &mut giver, &mut guest)?;
    pass(Kind::Offer, Side::Guest, &mut guest, &mut giver)?;
    pass(Kind::Sealed, Side::Giver, &mut giver, &mut guest)?;
    pass(Kind::Accepted, Side::Guest, &mut guest, &mut giver)
}

fn pass<A: Stream, B: Stream>(
    kind: Kind,
    from: Side,
    source: &mut Connection<A>,
    sink: &mut Connection<B>,
) -> Result<(), RelayError> {
    let to = match from {
        Side::Giver => Side::Guest,
        Side::Guest => Side::Giver,
    };
    source.within(STEP_WITHIN);
    let frame = match source.receive_frame(kind) {
        Ok(frame) => frame,
        Err(error) => {
            sink.within(STEP_WITHIN);
            sink.refuse(&format!("The {from} is gone: {error}"));
            return Err(RelayError::Wire {
                side: from,
                source: error,
            });
        }
    };
    sink.within(STEP_WITHIN);
    let sent = sink.send_frame(frame.kind, &frame.body);
    if frame.kind == Kind::Refused {
        return Err(RelayError::Refused {
            side: from,
            reason: reason(&frame.body),
        });
    }
    sent.map_err(|source| RelayError::Wire { side: to, source })
}
