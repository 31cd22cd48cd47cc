//! The gate of the committee's group: a peer may bond if its ticket names
//! evidence that this server has verified.
//!
//! mosaik asks for a verdict again and again, in the loop that the group lives
//! in. So [`Validator::validate`] looks one up and does nothing else. A ticket
//! that is not known yet is refused and put on a list; a task fetches the
//! evidence from the peer, verifies it, and has mosaik ask again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use mosaik::{
    PeerId, UniqueId,
    discovery::PeerEntry,
    tickets::{Duration, Expiration, InvalidTicket, Ticket, TicketValidator},
};
use tokio::sync::mpsc;
use zipnet_attest::Refusal;
use zipnet_protocol::Digest;

use super::Authority;

/// Most verdicts that are remembered. Anybody may announce any number of
/// tickets.
const MAX_VERDICTS: usize = 4096;
/// Most tickets that wait to be looked into.
const MAX_WAITING: usize = 64;

/// The class of tickets that name evidence.
#[must_use]
pub fn class() -> UniqueId {
    UniqueId::from("zipnet.tickets.evidence.v1")
}

/// The ticket for evidence: its digest, 32 bytes. Evidence is too long for an
/// announcement, and mosaik signs the ticket together with the peer's id.
#[must_use]
pub fn ticket(evidence: &Digest) -> Ticket {
    Ticket::new(class(), Bytes::copy_from_slice(evidence.as_bytes()))
}

/// What was found about a peer's ticket.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Its evidence holds until then, seconds since 1970.
    Holds(u64),
    /// It is refused.
    Refused(Arc<Refusal>),
    /// Somebody looks into it.
    Asked,
}

/// A peer and the evidence that its ticket names.
pub type Claim = (PeerId, Digest);

/// Verdicts on tickets.
#[derive(Debug)]
pub struct Tickets {
    verdicts: Mutex<HashMap<Claim, Verdict>>,
    waiting: mpsc::Sender<Claim>,
}

impl Tickets {
    /// No verdict yet, and the tickets that wait for one.
    #[must_use]
    pub fn new() -> (Arc<Self>, mpsc::Receiver<Claim>) {
        let (waiting, claims) = mpsc::channel(MAX_WAITING);
        let tickets = Self {
            verdicts: Mutex::default(),
            waiting,
        };
        (Arc::new(tickets), claims)
    }

    /// Writes down what was found.
    pub fn settle(&self, claim: Claim, verdict: Verdict) {
        let mut verdicts = self.lock();
        // The latest word on a peer counts; a server shows two tickets at
        // most, while one takes the other's place.
        if let Verdict::Holds(_) = verdict {
            verdicts.retain(|(peer, _), old| {
                *peer != claim.0 || matches!(old, Verdict::Holds(_) | Verdict::Asked)
            });
        }
        verdicts.insert(claim, verdict);
    }

    /// Forgets a claim that is not believed, so that it is looked into again.
    pub fn forget(&self, claim: &Claim) {
        let mut verdicts = self.lock();
        if !matches!(verdicts.get(claim), Some(Verdict::Holds(_))) {
            verdicts.remove(claim);
        }
    }

    /// The claims that are believed.
    #[must_use]
    pub fn believed(&self) -> Vec<Claim> {
        let verdicts = self.lock();
        let held = verdicts
            .iter()
            .filter(|(_, verdict)| matches!(verdict, Verdict::Holds(_)));
        held.map(|(claim, _)| *claim).collect()
    }

    /// The verdict on a peer at a time: the best one of its tickets.
    #[must_use]
    pub fn verdict(&self, peer: &PeerId, now: u64) -> Option<Verdict> {
        let mut verdicts = self.lock();
        verdicts.retain(|_, verdict| !matches!(verdict, Verdict::Holds(until) if *until <= now));
        let of_peer = || verdicts.iter().filter(|((of, _), _)| of == peer);
        of_peer()
            .find(|(_, verdict)| matches!(verdict, Verdict::Holds(_)))
            .or_else(|| of_peer().find(|(_, verdict)| matches!(verdict, Verdict::Refused(_))))
            .map(|(_, verdict)| verdict.clone())
    }

    /// The verdict on a claim. One that is not known is put on the list.
    fn look_up(&self, claim: Claim) -> Option<Verdict> {
        let mut verdicts = self.lock();
        if let Some(verdict) = verdicts.get(&claim) {
            return Some(verdict.clone());
        }
        if verdicts.len() >= MAX_VERDICTS {
            verdicts.retain(|_, verdict| matches!(verdict, Verdict::Holds(_)));
        }
        if verdicts.len() < MAX_VERDICTS && self.waiting.try_send(claim).is_ok() {
            verdicts.insert(claim, Verdict::Asked);
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Claim, Verdict>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Judges tickets by what is known of them.
#[derive(Debug, Clone)]
pub struct Validator {
    authority: Arc<Authority>,
    tickets: Arc<Tickets>,
}

impl Validator {
    /// A validator that looks its verdicts up in `tickets`.
    #[must_use]
    pub const fn new(authority: Arc<Authority>, tickets: Arc<Tickets>) -> Self {
        Self { authority, tickets }
    }
}

impl TicketValidator for Validator {
    fn class(&self) -> UniqueId {
        class()
    }

    /// Names what is trusted for good, not the policy: a new policy must not
    /// split the group.
    fn signature(&self) -> UniqueId {
        class().derive(self.authority.base().anchor())
    }

    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        self.judge(ticket, peer.id())
    }
}

impl Validator {
    /// The verdict on a ticket that a peer shows, if it is known.
    ///
    /// # Errors
    /// [`InvalidTicket`].
    pub fn judge(&self, ticket: &[u8], peer: &PeerId) -> Result<Expiration, InvalidTicket> {
        let digest = <[u8; 32]>::try_from(ticket).map_err(|_| InvalidTicket)?;
        let claim = (*peer, Digest::new(digest));
        match self.tickets.look_up(claim) {
            Some(Verdict::Holds(until)) => until
                .checked_sub(self.authority.now())
                .filter(|left| *left > 0)
                .and_then(|left| Duration::try_seconds(i64::try_from(left).ok()?))
                .map(Expiration::after)
                .ok_or(InvalidTicket),
            _ => Err(InvalidTicket),
        }
    }
}
