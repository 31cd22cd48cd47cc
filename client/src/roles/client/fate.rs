//! What became of a message (I14): the rule by which it is sealed, and sealed
//! again. No clock, no socket, no randomness.
//!
//! A message that appears in two records tells every server, the aggregator and
//! each reader whose participants they have in common. So an envelope is
//! repeated only when it is *known* that the first one is in no record, or in
//! one where its slot does not hold the message. What is withheld makes the
//! client wait (and cover), never repeat.
//!
//! | state | fact | next | sealed again? |
//! | --- | --- | --- | --- |
//! | queued | a certified round, and the pace says so | sealed for *r*, remembering the head *D* that it names as `previous` | - |
//! | queued | no attempt left | spent | never |
//! | sealed | a verified record of *r*, or of an earlier attempt, holds the message | landed | never |
//! | sealed | a later certified round of the epoch names *D* as `previous`: *r* is in no record | queued | yes |
//! | sealed | it names the end of a chain of records in hand that goes back to *D*, without *r* | queued | yes |
//! | sealed | the same, with *r* in it, where the slot does not hold the message | queued | yes |
//! | sealed | that chain has a hole | sealed | no: cover meanwhile |
//! | sealed | a certified round that some server of *r*'s roster did not sign | sealed | no |
//! | sealed | anything of another epoch | sealed | no |
//! | sealed | the deadline | unknown | never |
//! | queued, spent | a record of an earlier attempt holds the message | landed | never |
//! | queued | the deadline | not landed | never |
//! | spent | at once | not landed | never |
//! | landed, spent, unknown | anything else | the same | never |
//!
//! That a record *lacks* the message counts only if a certified round names its
//! digest: one server of a roster may sign as many partials as it likes, so it
//! can make a valid record of *r* in which any slot is garbled, for one client's
//! eyes only. Its word that the message is *in* one harms nobody.
//!
//! What stays: a server that withholds the last partial of a round given up
//! reads that round alone, and nobody else ever sees a record of it. Such a
//! message is sealed again. Who cannot bear that asks for *at most once*.

use std::collections::{BTreeMap, BTreeSet};

use zipnet_protocol::{Digest, Epoch, RoundContext, ServerId};

/// Most records that are kept for a chain: as many rounds as a deadline of
/// minutes may see.
const MAX_CHAIN: usize = 4096;

/// A certified round, as far as the fate of a message depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub number: u64,
    /// Its context.
    pub context: RoundContext,
    /// The record that every server of its roster held as the newest.
    pub previous: Digest,
    /// Who signed it.
    pub roster: BTreeSet<ServerId>,
}

/// A verified record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub number: u64,
    /// Its context.
    pub context: RoundContext,
    /// What the next header names.
    pub digest: Digest,
    /// What its own header names.
    pub previous: Digest,
    /// Whether the slot that the message was sealed into holds it. `false` for
    /// a round that it was not sealed for.
    pub holds: bool,
}

/// An attempt: what the message was sealed for.
#[derive(Debug, Clone)]
struct Attempt {
    round: Opened,
    slot: u32,
}

/// A record in the chain.
#[derive(Debug, Clone, Copy)]
struct Link {
    previous: Digest,
    context: RoundContext,
}

#[derive(Debug)]
enum State {
    Queued,
    /// For the last attempt's round. Records since then, by their digests, and
    /// the earliest certified round behind it.
    Sealed {
        chain: BTreeMap<Digest, Link>,
        later: Option<Opened>,
    },
    Landed(RoundContext),
    Spent,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may be sealed, if the round takes it.
    Queued,
    /// An envelope is out, and nobody told yet what became of it.
    Undecided,
    /// A verified record of this round holds it.
    Landed(RoundContext),
    /// It is in no record, and no attempt is left.
    Spent,
}

/// The fate of one message.
#[derive(Debug)]
pub struct Fate {
    budget: u32,
    /// In the order of sealing; at most `budget`.
    attempts: Vec<Attempt>,
    state: State,
}

/// Leave to seal the message for one round.
#[derive(Debug)]
pub struct Permit<'a> {
    fate: &'a mut Fate,
    round: Opened,
}

impl Permit<'_> {
    /// The message was sealed into `slot`. Nothing else makes another permit
    /// possible but knowledge of this envelope's fate.
    pub fn sealed(self, slot: u32) {
        let round = self.round;
        self.fate.attempts.push(Attempt { round, slot });
        self.fate.state = State::Sealed {
            chain: BTreeMap::new(),
            later: None,
        };
    }
}

impl Fate {
    /// A message that may be sealed `budget` times, at least once.
    #[must_use]
    pub fn new(budget: u32) -> Self {
        Self {
            budget: budget.max(1),
            attempts: Vec::new(),
            state: State::Queued,
        }
    }

    /// How often it was sealed.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.attempts.len()).unwrap_or(u32::MAX)
    }

    /// Where it stands.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        match &self.state {
            State::Queued => Standing::Queued,
            State::Sealed { .. } => Standing::Undecided,
            State::Landed(context) => Standing::Landed(*context),
            State::Spent => Standing::Spent,
        }
    }

    /// The slot that it was sealed into in a round, if it was.
    #[must_use]
    pub fn slot(&self, context: &RoundContext) -> Option<u32> {
        self.attempts
            .iter()
            .find(|attempt| attempt.round.context == *context)
            .map(|attempt| attempt.slot)
    }

    /// Takes note of a certified round.
    pub fn opened(&mut self, round: &Opened) {
        let (State::Sealed { later, .. }, Some(attempt)) = (&mut self.state, self.attempts.last())
        else {
            return;
        };
        let sealed = &attempt.round;
        let follows = round.epoch == sealed.epoch && round.number > sealed.number;
        // Whoever signed for r must say what became of it: a smaller roster may
        // be one liar and others that were cut off.
        if !follows || !sealed.roster.is_subset(&round.roster) {
            return;
        }
        // The earliest one needs the fewest records.
        if later
            .as_ref()
            .is_none_or(|known| round.number < known.number)
        {
            *later = Some(round.clone());
        }
        self.decide();
    }

    /// Takes note of a verified record.
    pub fn recorded(&mut self, record: &Recorded) {
        if matches!(self.state, State::Landed(_)) {
            return;
        }
        // Any attempt that shows is the last one.
        if record.holds && self.slot(&record.context).is_some() {
            self.state = State::Landed(record.context);
            return;
        }
        let (State::Sealed { chain, later }, Some(attempt)) =
            (&mut self.state, self.attempts.last())
        else {
            return;
        };
        let sealed = &attempt.round;
        if record.epoch != sealed.epoch || record.number < sealed.number {
            return;
        }
        if chain.len() >= MAX_CHAIN {
            keep_chain(chain, later.as_ref());
        }
        if chain.len() < MAX_CHAIN {
            let link = Link {
                previous: record.previous,
                context: record.context,
            };
            chain.insert(record.digest, link);
        }
        self.decide();
    }

    /// Leave to seal it for a certified round, which is taken note of first.
    pub fn permit(&mut self, round: &Opened) -> Option<Permit<'_>> {
        self.opened(round);
        let ascending = self.attempts.iter().all(|attempt| {
            attempt.round.epoch != round.epoch || attempt.round.number < round.number
        });
        (matches!(self.state, State::Queued) && ascending).then(|| Permit {
            round: round.clone(),
            fate: self,
        })
    }

    /// Whether the last attempt is known to be in no record, or in one without
    /// the message.
    fn decide(&mut self) {
        let (State::Sealed { chain, later }, Some(attempt)) = (&self.state, self.attempts.last())
        else {
            return;
        };
        let Some(later) = later else {
            return;
        };
        let sealed = &attempt.round;
        let mut at = later.previous;
        // Digests make no circles; what is no digest might.
        for _ in 0..=chain.len() {
            if at == sealed.previous {
                return self.lost();
            }
            match chain.get(&at) {
                // The record that counts, and it lacks the message.
                Some(link) if link.context == sealed.context => return self.lost(),
                Some(link) => at = link.previous,
                None => return,
            }
        }
    }

    fn lost(&mut self) {
        self.state = if self.attempts() < self.budget {
            State::Queued
        } else {
            State::Spent
        };
    }
}

/// Forgets records that no certified round leads to: one server can make any
/// number of them.
fn keep_chain(chain: &mut BTreeMap<Digest, Link>, later: Option<&Opened>) {
    let mut kept = BTreeMap::new();
    let mut at = later.map(|round| round.previous);
    while let Some((digest, link)) = at.and_then(|at| chain.remove_entry(&at)) {
        at = Some(link.previous);
        kept.insert(digest, link);
    }
    *chain = kept;
}

#[cfg(test)]
#[path = "fate_tests.rs"]
mod tests;
