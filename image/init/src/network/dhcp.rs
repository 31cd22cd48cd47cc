//! A DHCP client's states (RFC 2131, section 4.4), without a socket: what to
//! send when, and what follows from what comes.

use core::{net::Ipv4Addr, time::Duration};
use std::time::Instant;

use super::lease::{Answer, Lease, Question, answer, message};

/// The first wait for an answer; it doubles (RFC 2131, section 4.1).
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// An offer that is asked for this often without an answer is stale.
const REQUESTS: u32 = 4;
/// Between two requests for a renewal (RFC 2131, section 4.4.5, says no less).
const RENEWAL_WAIT: Duration = Duration::from_mins(1);

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// Everybody on the link.
    All,
    /// One server.
    Server(Ipv4Addr),
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Send(Vec<u8>, To),
    /// The lease is over; give the address back.
    Lost(Lease),
    /// Listen until then.
    Wait(Instant),
}

#[derive(Debug)]
enum State {
    Selecting,
    Requesting(Lease),
    Bound { lease: Lease, since: Instant },
}

/// A DHCP client.
#[derive(Debug)]
pub struct Client {
    mac: [u8; 6],
    transaction: u32,
    state: State,
    since: Instant,
    /// When there is something to send.
    next: Instant,
    tries: u32,
    /// When the question was sent that is open, if one is.
    asked: Option<Instant>,
}

impl Client {
    /// A client that has nothing yet. `transaction` is a random number, so
    /// that others on the link have to listen before they lie.
    #[must_use]
    pub const fn new(mac: [u8; 6], transaction: u32, now: Instant) -> Self {
        Self {
            mac,
            transaction,
            state: State::Selecting,
            since: now,
            next: now,
            tries: 0,
            asked: None,
        }
    }

    /// What to do at `now`.
    pub fn step(&mut self, now: Instant) -> Step {
        let over = match &self.state {
            State::Bound { lease, since } if now >= at(*since, lease.expire) => Some(lease.clone()),
            _ => None,
        };
        if let Some(lease) = over {
            self.select(now);
            return Step::Lost(lease);
        }
        if now < self.next {
            return Step::Wait(self.next);
        }
        let (question, to, wait) = match &self.state {
            State::Selecting => (Question::Discover, To::All, self.wait()),
            State::Requesting(_) if self.tries >= REQUESTS => {
                self.select(now);
                return self.step(now);
            }
            State::Requesting(offer) => {
                let question = Question::Request {
                    address: offer.net.address,
                    server: offer.server,
                };
                (question, To::All, self.wait())
            }
            State::Bound { lease, since } => {
                let question = Question::Renew {
                    address: lease.net.address,
                };
                let end = at(*since, lease.expire).saturating_duration_since(now);
                if now < at(*since, lease.rebind) {
                    let to_rebind = at(*since, lease.rebind).saturating_duration_since(now);
                    let wait = RENEWAL_WAIT.min(to_rebind);
                    (question, To::Server(lease.server), wait)
                } else {
                    (question, To::All, RENEWAL_WAIT.min(end))
                }
            }
        };
        let secs = now.saturating_duration_since(self.since).as_secs();
        let secs = u16::try_from(secs).unwrap_or(u16::MAX);
        self.next = at(now, wait.max(FIRST_WAIT));
        self.tries = self.tries.saturating_add(1);
        self.asked = Some(now);
        match message(question, self.mac, self.transaction, secs) {
            Some(bytes) => Step::Send(bytes, to),
            None => Step::Wait(self.next),
        }
    }

    /// Takes what came in; a lease, if one is given or renewed.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) -> Option<Lease> {
        // Nothing was asked: whatever it is, it is no answer.
        let asked = self.asked?;
        match (answer(bytes, self.mac, self.transaction)?, &self.state) {
            (Answer::Offer(offer), State::Selecting) => {
                self.state = State::Requesting(offer);
                self.next = now;
                self.tries = 0;
                None
            }
            (Answer::Ack(lease), State::Requesting(offer))
                if lease.net.address == offer.net.address && lease.server == offer.server =>
            {
                Some(self.bind(lease, asked))
            }
            (Answer::Ack(lease), State::Bound { lease: old, .. })
                if lease.net.address == old.net.address =>
            {
                Some(self.bind(lease, asked))
            }
            (Answer::Nak, State::Requesting(_)) => {
                self.select(now);
                // Not at once: a server that refuses all would be flooded.
                self.next = at(now, FIRST_WAIT);
                None
            }
            (Answer::Nak, State::Bound { .. }) => {
                // It is over now; `step` says so.
                if let State::Bound { lease, .. } = &mut self.state {
                    lease.expire = Duration::ZERO;
                }
                None
            }
            _ => None,
        }
    }

    fn bind(&mut self, lease: Lease, asked: Instant) -> Lease {
        // Counted from the request: the server counts from no earlier.
        self.next = at(asked, lease.renew);
        self.tries = 0;
        self.asked = None;
        self.state = State::Bound {
            lease: lease.clone(),
            since: asked,
        };
        lease
    }

    fn select(&mut self, now: Instant) {
        self.state = State::Selecting;
        self.since = now;
        self.next = now;
        self.tries = 0;
        self.asked = None;
    }

    fn wait(&self) -> Duration {
        FIRST_WAIT
            .saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX))
            .min(LONGEST_WAIT)
    }
}

/// `Instant`s of a year ahead are there.
fn at(start: Instant, after: Duration) -> Instant {
    start.checked_add(after).unwrap_or(start)
}

#[cfg(test)]
#[path = "dhcp_tests.rs"]
mod tests;
