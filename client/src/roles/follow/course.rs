//! Where a follower stands in the committee's history, and what news means for
//! it. No clock and no socket; all that comes here was verified.
//!
//! Records make a chain by their digests, and certified rounds say which chain
//! it is: every server of a roster signed the digest that it held as the newest.
//! A record alone may be one that a single server signed a second time.

use std::collections::{BTreeSet, VecDeque};

use zipnet_door::PeerId;
use zipnet_protocol::{Digest, Epoch, FinalizedRound, Round};

/// Most epochs that are remembered as left, and most that are heard of.
const MAX_EPOCHS: usize = 64;
/// Most records that are remembered behind the last one that a certified round
/// named.
const MAX_KNOWN: usize = 1024;
/// Farthest that a record which is not trusted is passed over.
const MAX_PASSED: u64 = 64;

/// How far a follower is in one epoch.
#[derive(Debug, Clone)]
struct Place {
    epoch: Epoch,
    /// Number of the newest record.
    number: u64,
    /// The last record that a certified round named, if any did, and those that
    /// came since, by number and digest.
    known: VecDeque<(u64, Digest)>,
    /// The last records that were reported: none is news twice, whichever way
    /// it comes.
    reported: VecDeque<Digest>,
    /// Number of the newest certified round that was reported.
    opened: u64,
    /// Number of a later record that is not trusted and not waited for.
    passed: u64,
}

impl Place {
    const fn new(epoch: Epoch, number: u64) -> Self {
        Self {
            epoch,
            number,
            known: VecDeque::new(),
            reported: VecDeque::new(),
            opened: 0,
            passed: 0,
        }
    }

    fn knows(&self, digest: &Digest) -> Option<usize> {
        self.known.iter().position(|(_, known)| known == digest)
    }

    fn tip(&self) -> Option<&Digest> {
        self.known.back().map(|(_, digest)| digest)
    }

    /// Forgets what came before a record, and what came after it but before
    /// round `until`: that is not in the chain.
    fn rest_on(&mut self, at: usize, until: u64) {
        let next = at.saturating_add(1);
        if self
            .known
            .get(next)
            .is_some_and(|(number, _)| *number < until)
        {
            self.known.truncate(next);
        }
        self.known.drain(..at);
        self.number = self.known.back().map_or(self.number, |(at, _)| *at);
        self.passed = 0;
    }

    /// Goes on to a record. `false` if it was reported before.
    fn advance(&mut self, number: u64, digest: Digest) -> bool {
        if self.known.len() >= MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((number, digest));
        self.number = number;
        if self.reported.contains(&digest) {
            return false;
        }
        if self.reported.len() >= MAX_KNOWN {
            self.reported.pop_front();
        }
        self.reported.push_back(digest);
        true
    }
}

/// What a record means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The newest record at the start: where to begin, not news.
    Start,
    /// The next one.
    New,
    /// It was seen, or lies behind.
    Old,
    /// Records before it are missing.
    Gap,
    /// Of an epoch that too few servers speak of.
    Foreign,
}

/// What a certified round means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It follows the newest record in hand.
    Next,
    /// The record that it names as the newest is not in hand.
    Gap,
    /// It was seen, or lies behind.
    Old,
    /// Of an epoch that too few servers speak of.
    Foreign,
}

/// A follower's place, and those of the epochs that it left.
#[derive(Debug, Default)]
pub struct Course {
    here: Option<Place>,
    left: VecDeque<Place>,
    /// Who speaks of another epoch than this one.
    voices: VecDeque<(Epoch, BTreeSet<PeerId>)>,
}

impl Course {
    /// The newest record, to ask for what comes after.
    #[must_use]
    pub fn position(&self) -> Option<(Epoch, u64)> {
        let here = self.here.as_ref();
        here.map(|here| (here.epoch, here.number.max(here.passed)))
    }

    /// The digest of the newest record, if it is that of this round.
    #[must_use]
    pub fn tip_of(&self, (epoch, number): (Epoch, u64)) -> Option<&Digest> {
        let here = self.here.as_ref().filter(|here| here.epoch == epoch)?;
        let newest = here.known.iter().rev();
        let mut found = newest.filter(|(at, _)| *at == number);
        found.next().map(|(_, digest)| digest)
    }

    /// The number of the newest record that a certified round named: what comes
    /// after it is to be asked for to fill a gap.
    #[must_use]
    pub fn certain(&self) -> Option<(Epoch, u64)> {
        let here = self.here.as_ref()?;
        let number = here
            .known
            .front()
            .map_or(here.number, |(number, _)| *number);
        Some((here.epoch, number))
    }

    /// Whether a record is in hand, was reported, or was named as the newest.
    #[must_use]
    pub fn knows(&self, digest: &Digest) -> bool {
        let here = self.here.as_ref();
        here.is_some_and(|here| here.knows(digest).is_some() || here.reported.contains(digest))
    }

    /// The highest number that was heard of in an epoch.
    #[must_use]
    pub fn highest(&self, epoch: &Epoch) -> u64 {
        let places = self.here.iter().chain(&self.left);
        places
            .filter(|place| place.epoch == *epoch)
            .map(|place| place.number.max(place.opened))
            .max()
            .unwrap_or(0)
    }

    /// Takes note of a record of `from`. As many servers as `quorum` have to
    /// speak of an epoch before it is gone into: one alone may keep records of
    /// a life of the committee that is long over (A13).
    pub fn record(&mut self, done: &FinalizedRound, from: PeerId, quorum: usize) -> Step {
        let (epoch, number) = done.round().position();
        let started = self.here.is_some();
        if !self.enter((epoch, number), from, quorum) {
            return Step::Foreign;
        }
        let Some(here) = &mut self.here else {
            return Step::Foreign;
        };
        let digest = *done.digest();
        if !started {
            here.advance(number, digest);
            return Step::Start;
        }
        if number <= here.number {
            return Step::Old;
        }
        let fits = here
            .tip()
            .is_none_or(|tip| *tip == done.round().header().previous);
        if !fits {
            return Step::Gap;
        }
        if here.advance(number, digest) {
            Step::New
        } else {
            Step::Old
        }
    }

    /// Takes note of a certified round of `from`.
    pub fn open(&mut self, round: &Round, from: PeerId, quorum: usize) -> Turn {
        let (epoch, number) = round.position();
        let started = self.here.is_some();
        if !self.enter((epoch, number), from, quorum) {
            return Turn::Foreign;
        }
        let previous = round.header().previous;
        // At the start, what was before is history; and so it is if nothing was
        // before in this epoch.
        let first = !started
            || number == 1
            || previous == Digest::new([0; 32])
            || self.left.iter().any(|left| left.knows(&previous).is_some());
        let Some(here) = &mut self.here else {
            return Turn::Foreign;
        };
        if number <= here.number || number <= here.opened {
            return Turn::Old;
        }
        here.opened = number;
        if here.known.is_empty() && first {
            here.advance(number.saturating_sub(1), previous);
        }
        if self.confirm(&previous, number) {
            Turn::Next
        } else {
            Turn::Gap
        }
    }

    /// Certified round `number` names this record as the newest. Whether it is in
    /// hand; if so, what came between the two is not in the chain: one server
    /// signed it a second time, or held it back. The round's own record, and those
    /// behind it, may be in hand as well.
    pub fn confirm(&mut self, previous: &Digest, number: u64) -> bool {
        let Some(here) = &mut self.here else {
            return false;
        };
        let Some(at) = here.knows(previous) else {
            return false;
        };
        here.rest_on(at, number);
        true
    }

    /// Fills a gap with records that lead to `wanted`, oldest first, as far as
    /// they are of this epoch. Returns those that are news. With `anyway` they
    /// need not go back to a record in hand: nobody has those any more.
    pub fn fill<'a>(
        &mut self,
        chain: &'a [FinalizedRound],
        wanted: &Digest,
        anyway: bool,
    ) -> Vec<&'a FinalizedRound> {
        let Some(here) = &mut self.here else {
            return Vec::new();
        };
        let mut path = Vec::new();
        let mut at = *wanted;
        for done in chain.iter().rev() {
            // What is in hand was reported.
            if here.knows(&at).is_some() {
                break;
            }
            if *done.digest() == at && done.round().position().0 == here.epoch {
                at = done.round().header().previous;
                path.push(done);
            }
        }
        let base = here.knows(&at);
        // Where nothing is in hand, all of it is news.
        let anyway = anyway || here.known.is_empty();
        if path.is_empty() || (base.is_none() && !anyway) {
            return Vec::new();
        }
        // Forget what is not in the chain, and begin behind what is.
        match base {
            Some(base) => here.rest_on(base, u64::MAX),
            None => here.known.clear(),
        }
        path.reverse();
        path.retain(|done| here.advance(done.round().position().1, *done.digest()));
        path
    }

    /// Nobody has the record that a certified round named: goes on as if it
    /// were in hand.
    pub fn skip(&mut self, wanted: Digest) {
        if let Some(here) = &mut self.here {
            let number = here.number;
            here.known.clear();
            here.known.push_back((number, wanted));
        }
    }

    /// Asks for what is behind a record that is not trusted, but not far: it may
    /// be made up. The next certified round tells.
    pub fn pass_over(&mut self, round: &Round) {
        let (epoch, number) = round.position();
        if let Some(here) = &mut self.here
            && here.epoch == epoch
            && number.saturating_sub(here.number) <= MAX_PASSED
        {
            here.passed = number;
        }
    }

    /// Goes to an epoch, if this is it or enough servers speak of it.
    fn enter(&mut self, (epoch, number): (Epoch, u64), from: PeerId, quorum: usize) -> bool {
        let here = self.here.as_ref().map(|here| here.epoch);
        if here == Some(epoch) {
            return true;
        }
        // The committee may come back to an epoch, but only to go on.
        if number <= self.highest(&epoch) {
            return false;
        }
        let at = self.voices.iter().position(|(of, _)| *of == epoch);
        let mut voices = at
            .and_then(|at| self.voices.remove(at))
            .map(|(_, voices)| voices)
            .unwrap_or_default();
        voices.insert(from);
        if voices.len() < quorum.max(1) {
            if self.voices.len() >= MAX_EPOCHS {
                self.voices.pop_front();
            }
            self.voices.push_back((epoch, voices));
            return false;
        }
        self.voices.clear();
        let at = self.left.iter().position(|place| place.epoch == epoch);
        let place = at.and_then(|at| self.left.remove(at));
        let before = self
            .here
            .replace(place.unwrap_or_else(|| Place::new(epoch, 0)));
        if let Some(before) = before {
            tracing::warn!(epoch = %epoch.short(), "the committee went on in another epoch");
            if self.left.len() >= MAX_EPOCHS {
                self.left.pop_front();
            }
            self.left.push_back(before);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn a1_a_late_certified_round_makes_no_record_news_again() {
        let mut world = World::new(3, 3);
        let mut state = world.founded();
        let records: Vec<_> = (0..4).map(|_| world.play(&mut state, &[0, 1, 2])).collect();
        let from = PeerId::from_bytes(world.servers[0].admitted.peer().as_bytes()).unwrap();
        let mut course = Course::default();
        let take = |course: &mut Course, at: usize| course.record(&records[at].checked, from, 1);
        assert_eq!(take(&mut course, 0), Step::Start);
        for at in [1, 2] {
            assert_eq!(take(&mut course, at), Step::New);
        }
        // Round 3 was certified on top of record 2, and its own record is here.
        assert!(course.confirm(records[1].checked.digest(), 3));
        assert_eq!(take(&mut course, 2), Step::Old);
        assert_eq!(take(&mut course, 3), Step::New);
        // Round 9 on top of record 3: what came between is not in the chain.
        assert!(course.confirm(records[2].checked.digest(), 9));
        assert_eq!(take(&mut course, 3), Step::Old, "it was reported");
        // A gap that somebody fills late, whether he has all of it or not.
        let chain: Vec<_> = records.iter().map(|done| done.checked.clone()).collect();
        for anyway in [false, true] {
            let wanted = records[2].checked.digest();
            assert!(course.fill(&chain[1..3], wanted, anyway).is_empty());
            assert!(course.knows(wanted));
        }
        assert_eq!(take(&mut course, 3), Step::Old);
    }
}
