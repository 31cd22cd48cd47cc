//! Messages on a stream: a byte for the kind, four for the length (big
//! endian), the body. No length beyond the kind's bound is believed, and
//! nobody is waited for beyond a deadline.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

use super::{
    config::MAX_CONFIG,
    parcel::MAX_PARCEL,
    seal::{Proof, Sealed, TAG_BYTES},
    statement::STATEMENT_BYTES,
};
use crate::{quote::MAX_QUOTE, report};

/// First 32 bytes of the first message: the protocol and its version.
const TAG: [u8; 32] = *b"zipnet/provisioning-stream/v2\0\0\0";
/// Longest reason, in bytes.
const MAX_REASON: usize = 1024;

/// A stream whose waiting can be bounded.
pub trait Stream: Read + Write {
    /// Bounds every later wait for reading or writing; `left` is not zero.
    ///
    /// # Errors
    /// The stream's own.
    fn wait_at_most(&self, left: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn wait_at_most(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

#[cfg(unix)]
impl Stream for std::os::unix::net::UnixStream {
    fn wait_at_most(&self, left: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(left))?;
        self.set_write_timeout(Some(left))
    }
}

/// The messages, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Giver to guest: tag and nonce.
    Hello = 1,
    /// Guest to giver: statement, quote, configuration.
    Offer = 2,
    /// Giver to guest: encapsulated key, ciphertext.
    Sealed = 3,
    /// Guest to giver: proof that it opened the secrets and kept them.
    Accepted = 4,
    /// Either to the other, instead of anything: why not, in words.
    Refused = 5,
}

impl Kind {
    /// What it is, in words.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Hello => "a nonce",
            Self::Offer => "the guest's evidence",
            Self::Sealed => "the sealed secrets",
            Self::Accepted => "the guest's acceptance",
            Self::Refused => "a refusal",
        }
    }

    /// Longest body, in bytes.
    const fn limit(self) -> usize {
        match self {
            Self::Hello => 64,
            Self::Offer => STATEMENT_BYTES + 4 + MAX_QUOTE + MAX_CONFIG,
            Self::Sealed => 32 + MAX_PARCEL + TAG_BYTES,
            Self::Accepted => 32,
            Self::Refused => MAX_REASON,
        }
    }
}

/// A message could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// It did not come in time.
    #[error("The other side did not send {0} in time; whoever asks would be right to try again")]
    Late(&'static str),
    /// It is gone.
    #[error("The other side closed the connection before it sent {0}")]
    Closed(&'static str),
    /// The connection.
    #[error("The connection broke before {what} came through")]
    Broken {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else came.
    #[error("The other side sent a message of kind {found} and {length} bytes where {what} is due")]
    Unexpected {
        /// Its kind.
        found: u8,
        /// Its length by its own word.
        length: u32,
        /// What was expected.
        what: &'static str,
    },
    /// The message is not of its form.
    #[error(
        "{0} of the other side is not of its form; zipnet's provisioning, version 2, would be right"
    )]
    Form(&'static str),
    /// The other side refuses.
    #[error("The other side refuses: {0}")]
    Refused(String),
}

/// A message as it travels.
#[derive(Debug)]
pub struct Frame {
    /// Its kind.
    pub kind: Kind,
    /// Its body, within the bound of its kind.
    pub body: Vec<u8>,
}

/// A stream with a deadline.
pub struct Connection<S> {
    stream: S,
    until: Instant,
    /// Of all messages so far, refusals apart.
    transcript: Sha256,
}

impl<S: Stream> Connection<S> {
    pub fn new(stream: S, within: Duration) -> Self {
        Self {
            stream,
            until: Instant::now() + within,
            transcript: Sha256::new(),
        }
    }

    /// The digest of all messages that were sent and received so far.
    pub fn transcript(&self) -> [u8; 32] {
        self.transcript.clone().finalize().into()
    }

    /// Kind and length belong to it: messages cannot be cut otherwise.
    fn note(&mut self, kind: Kind, body: &[u8]) {
        if kind != Kind::Refused {
            self.transcript.update([kind as u8]);
            self.transcript.update((body.len() as u64).to_be_bytes());
            self.transcript.update(body);
        }
    }

    /// Sets a new deadline.
    pub fn within(&mut self, time: Duration) {
        self.until = Instant::now() + time;
    }

    /// The time that is left, if there is any.
    fn wait(&self, what: &'static str) -> Result<(), WireError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(WireError::Late(what));
        }
        let set = self.stream.wait_at_most(left);
        set.map_err(|source| WireError::Broken { what, source })
    }

    fn fill(&mut self, mut buffer: &mut [u8], what: &'static str) -> Result<(), WireError> {
        while !buffer.is_empty() {
            self.wait(what)?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(WireError::Closed(what)),
                Ok(read) => buffer = buffer.get_mut(read..).unwrap_or_default(),
                Err(error) => failed(what, error)?,
            }
        }
        Ok(())
    }

    /// Receives a message of a kind, or a refusal.
    pub fn receive_frame(&mut self, kind: Kind) -> Result<Frame, WireError> {
        let what = kind.what();
        let mut head = [0; 5];
        self.fill(&mut head, what)?;
        let [found, length @ ..] = head;
        let length = u32::from_be_bytes(length);
        let kinds = [kind, Kind::Refused];
        let expected = kinds.into_iter().find(|kind| *kind as u8 == found);
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(kind) = expected.filter(|kind| size <= kind.limit()) else {
            return Err(WireError::Unexpected {
                found,
                length,
                what,
            });
        };
        let mut body = vec![0; size];
        self.fill(&mut body, what)?;
        self.note(kind, &body);
        Ok(Frame { kind, body })
    }

    /// Receives the body of a message of a kind.
    ///
    /// # Errors
    /// [`WireError`]; [`WireError::Refused`] if a refusal came instead.
    fn receive(&mut self, kind: Kind) -> Result<Vec<u8>, WireError> {
        let frame = self.receive_frame(kind)?;
        if frame.kind == Kind::Refused {
            return Err(WireError::Refused(reason(&frame.body)));
        }
        Ok(frame.body)
    }

    /// Sends a message.
    pub fn send_frame(&mut self, kind: Kind, body: &[u8]) -> Result<(), WireError> {
        let what = kind.what();
        let length = u32::try_from(body.len()).map_err(|_| WireError::Form(what))?;
        self.note(kind, body);
        let mut frame = Vec::with_capacity(body.len().saturating_add(5));
        frame.push(kind as u8);
        frame.extend(length.to_be_bytes());
        frame.extend(body);
        let mut rest = &frame[..];
        while !rest.is_empty() {
            self.wait(what)?;
            match self.stream.write(rest) {
                Ok(0) => return Err(WireError::Closed(what)),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) => failed(what, error)?,
            }
        }
        self.stream
            .flush()
            .map_err(|source| WireError::Broken { what, source })
    }

    pub fn send_hello(&mut self, nonce: &[u8; 32]) -> Result<(), WireError> {
        self.send_frame(Kind::Hello, &[TAG, *nonce].concat())
    }

    pub fn receive_hello(&mut self) -> Result<[u8; 32], WireError> {
        let body = self.receive(Kind::Hello)?;
        let nonce = body.strip_prefix(&TAG);
        let nonce = nonce.and_then(|nonce| nonce.try_into().ok());
        nonce.ok_or(WireError::Form("The first message"))
    }

    pub fn send_offer(&mut self, offer: &Offer) -> Result<(), WireError> {
        let quote = u32::try_from(offer.quote.len()).unwrap_or(u32::MAX);
        let length = quote.to_be_bytes();
        let parts = [&offer.statement[..], &length, &offer.quote, &offer.config];
        self.send_frame(Kind::Offer, &parts.concat())
    }

    pub fn receive_offer(&mut self) -> Result<Offer, WireError> {
        let body = self.receive(Kind::Offer)?;
        let split = || {
            let (statement, rest) = body.split_at_checked(STATEMENT_BYTES)?;
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (quote, config) = rest.split_at_checked(length)?;
            Some(Offer {
                statement: statement.to_vec(),
                quote: quote.to_vec(),
                config: config.to_vec(),
            })
        };
        split().ok_or(WireError::Form("The evidence"))
    }

    pub fn send_sealed(&mut self, sealed: &Sealed) -> Result<(), WireError> {
        let parts = [&sealed.encapsulated[..], &sealed.ciphertext];
        self.send_frame(Kind::Sealed, &parts.concat())
    }

    pub fn receive_sealed(&mut self) -> Result<Sealed, WireError> {
        let body = self.receive(Kind::Sealed)?;
        let (encapsulated, ciphertext) = body
            .split_first_chunk::<32>()
            .ok_or(WireError::Form("The sealed message"))?;
        Ok(Sealed {
            encapsulated: *encapsulated,
            ciphertext: ciphertext.to_vec(),
        })
    }

    /// Sends the proof over all messages so far.
    pub fn send_accepted(&mut self, proof: &Proof) -> Result<(), WireError> {
        let shown = proof.over(&self.transcript());
        self.send_frame(Kind::Accepted, &shown)
    }

    /// Whether the guest shows the proof over all messages so far.
    pub fn receive_accepted(&mut self, proof: &Proof) -> Result<bool, WireError> {
        let transcript = self.transcript();
        let body = self.receive(Kind::Accepted)?;
        let shown = <[u8; 32]>::try_from(body.as_slice());
        Ok(shown.is_ok_and(|shown| proof.is(&transcript, &shown)))
    }

    /// Says why not. Whether that comes through changes nothing.
    pub fn refuse(&mut self, why: &str) {
        let end = why.floor_char_boundary(MAX_REASON);
        let why = why.get(..end).unwrap_or_default();
        let _ = self.send_frame(Kind::Refused, why.as_bytes());
    }
}

/// A guest's evidence as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The statement.
    pub statement: Vec<u8>,
    /// The quote.
    pub quote: Vec<u8>,
    /// The configuration.
    pub config: Vec<u8>,
}

/// A refusal's reason, without what would move a terminal's cursor.
pub fn reason(body: &[u8]) -> String {
    report::plain(&String::from_utf8_lossy(body))
}

/// Waiting that was interrupted goes on; all else is an end.
fn failed(what: &'static str, error: io::Error) -> Result<(), WireError> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(WireError::Late(what)),
        _ => Err(WireError::Broken {
            what,
            source: error,
        }),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{os::unix::net::UnixStream, sync::mpsc, thread};

    use super::*;

    #[test]
    fn a_byte_now_and_then_does_not_move_the_deadline() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (stop, stopped) = mpsc::channel::<()>();
        // So long as somebody reads: seven minutes for a whole offer.
        let dripping = thread::spawn(move || {
            let length = u32::try_from(Kind::Offer.limit()).unwrap().to_be_bytes();
            let head = [&[Kind::Offer as u8][..], &length].concat();
            theirs.write_all(&head).unwrap();
            let pace = Duration::from_millis(5);
            while stopped.recv_timeout(pace) == Err(mpsc::RecvTimeoutError::Timeout) {
                if theirs.write_all(&[0]).is_err() {
                    break;
                }
            }
        });
        let start = Instant::now();
        let mut connection = Connection::new(ours, Duration::from_millis(100));
        let late = connection.receive_offer();
        assert!(matches!(late, Err(WireError::Late(_))), "{late:?}");
        assert!(start.elapsed() < Duration::from_secs(10));
        drop(stop);
        dripping.join().unwrap();
    }
}
