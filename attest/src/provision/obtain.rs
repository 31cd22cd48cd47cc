//! A guest that waits until somebody gives it its secrets.

use core::time::Duration;
use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use super::{guest::Guest, parcel::Provisions};
use crate::{report, source::SourceError};

/// How often the door is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long a peer may take to answer the telephone.
const DIAL_WITHIN: Duration = Duration::from_secs(5);

/// For how long, and how often, a guest tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// It waits no longer than this.
    pub within: Duration,
    /// It makes quotes for no more strangers than this.
    pub attempts: u32,
    /// It rests so long after each connection that came to nothing, so that
    /// strangers do not set its pace.
    pub pause: Duration,
    /// It asks its peers so often.
    pub dial: Duration,
}

impl Default for Limits {
    /// Half a day, 32 strangers, a second's rest, peers every 15 seconds.
    fn default() -> Self {
        Self {
            within: Duration::from_hours(12),
            attempts: 32,
            pause: Duration::from_secs(1),
            dial: Duration::from_secs(15),
        }
    }
}

/// A guest got no secrets.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// Nobody came.
    #[error("Nobody gave this guest its secrets within {} s; an operator, or a peer that it may ask, would be right", .0.as_secs())]
    Late(Duration),
    /// Too many came.
    #[error(
        "{0} connections asked this guest for evidence and gave it nothing that it accepts; it starts over only by a restart"
    )]
    Attempts(u32),
    /// The door.
    #[error("Could not wait for connections")]
    Listen(#[source] std::io::Error),
}

impl Guest {
    /// Waits at `listener` for somebody with secrets, and asks `peers` for
    /// them, one after the other, until `keep` has kept what was given. One
    /// connection at a time. `say` is told what happens, in lines without
    /// secrets.
    ///
    /// Connections that never ask for evidence do not count as attempts: they
    /// cost no quote. Nor do peers: they were named by whoever wrote the
    /// configuration.
    ///
    /// # Errors
    /// [`ObtainError`].
    pub fn obtain<T>(
        &self,
        listener: Option<&TcpListener>,
        peers: &[SocketAddr],
        limits: &Limits,
        mut keep: impl FnMut(&Provisions) -> Result<T, SourceError>,
        mut say: impl FnMut(&str),
    ) -> Result<T, ObtainError> {
        if let Some(listener) = listener {
            let set = listener.set_nonblocking(true);
            set.map_err(ObtainError::Listen)?;
        }
        let start = Instant::now();
        let mut peers = peers.iter().cycle();
        let mut dialled: Option<Instant> = None;
        let mut attempts = 0;
        while start.elapsed() < limits.within {
            let (from, is_peer, outcome) = if let Some((stream, from)) = accept(listener)? {
                (from, false, self.attempt(stream, &mut keep))
            } else if dialled.is_none_or(|at| at.elapsed() >= limits.dial)
                && let Some(peer) = peers.next()
            {
                dialled = Some(Instant::now());
                match TcpStream::connect_timeout(peer, DIAL_WITHIN) {
                    Ok(stream) => (*peer, true, self.attempt(stream, &mut keep)),
                    Err(error) => {
                        say(&format!("provisioning: {peer} does not answer: {error}"));
                        continue;
                    }
                }
            } else {
                thread::sleep(TICK);
                continue;
            };
            match outcome {
                Ok(kept) => {
                    say(&format!("provisioning: {from} gave the secrets"));
                    return Ok(kept);
                }
                Err(error) => {
                    say(&format!("provisioning: {from}: {}", report::chain(&error)));
                    if error.cost_a_quote() && !is_peer {
                        attempts += 1;
                    }
                }
            }
            if attempts >= limits.attempts {
                return Err(ObtainError::Attempts(attempts));
            }
            thread::sleep(limits.pause);
        }
        Err(ObtainError::Late(limits.within))
    }
}

/// The next connection, if there is one.
fn accept(listener: Option<&TcpListener>) -> Result<Option<(TcpStream, SocketAddr)>, ObtainError> {
    let Some(listener) = listener else {
        return Ok(None);
    };
    match listener.accept() {
        Ok((stream, from)) => {
            let set = stream.set_nonblocking(false);
            set.map_err(ObtainError::Listen)?;
            Ok(Some((stream, from)))
        }
        Err(error) => match error.kind() {
            // It may be gone again before it is let in.
            ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {
                Ok(None)
            }
            _ => Err(ObtainError::Listen(error)),
        },
    }
}
