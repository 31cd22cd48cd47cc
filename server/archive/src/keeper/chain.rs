//! The part of an epoch's index that may still change. No clock and no file.

use std::collections::{BTreeMap, BTreeSet};

use zipnet_protocol::{Digest, Epoch};

use zipnet_history::{
    head::Span,
    index::{Entry, Fate, Gap, Page},
    layout::page_of,
};

/// An epoch: how far it goes, its open pages, and its gaps.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The epoch.
    pub epoch: Epoch,
    first: u64,
    records: u64,
    /// The record with the highest number.
    newest: Option<Entry>,
    /// The records of pages that may still change.
    entries: BTreeMap<(u64, Digest), Entry>,
    /// What is missing, by the digest that is named and not in hand, and the number of the
    /// record that names it. Whether it is lost.
    gaps: BTreeMap<(u64, Digest), Fate>,
}

/// What a new record changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The pages to write.
    pub pages: BTreeSet<u64>,
    /// The gap before it.
    pub gap: Option<Gap>,
}

impl Chain {
    /// An epoch without records.
    pub const fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            first: u64::MAX,
            records: 0,
            newest: None,
            entries: BTreeMap::new(),
            gaps: BTreeMap::new(),
        }
    }

    /// An epoch as a head tells of it; its open pages are to be loaded.
    pub const fn resume(span: &Span) -> Self {
        let mut chain = Self::new(span.epoch);
        chain.first = span.first;
        chain.records = span.records;
        chain
    }

    /// Takes in the records and gaps of a page that is written already.
    pub fn load(&mut self, page: Page) {
        for entry in page.entries {
            self.entries.insert((entry.number, entry.record), entry);
            self.note_newest(&entry);
        }
        for gap in page.gaps {
            self.gaps.insert((gap.before, gap.wanted), gap.fate);
        }
    }

    /// Counts the records of pages that were loaded without a head.
    pub fn count(&mut self) {
        self.records = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        let first = self.entries.keys().next();
        self.first = first.map_or(u64::MAX, |(number, _)| *number);
    }

    /// Whether a page may be written already and is not in hand.
    pub fn must_load(&self, page: u64) -> bool {
        let newest = self
            .newest
            .is_some_and(|newest| page <= page_of(newest.number));
        newest
            && !self
                .entries
                .keys()
                .any(|(number, _)| page_of(*number) == page)
    }

    /// Whether a record is in hand.
    pub fn knows(&self, digest: &Digest) -> bool {
        self.newest.is_some_and(|newest| newest.record == *digest)
            || self.entries.keys().any(|(_, record)| record == digest)
    }

    /// Whether a record of a number is in hand.
    pub fn knows_at(&self, number: u64, digest: &Digest) -> bool {
        self.entries.contains_key(&(number, *digest))
    }

    /// The record with the highest number.
    pub const fn newest(&self) -> Option<&Entry> {
        self.newest.as_ref()
    }

    /// The time to write beside a record that is there now: not after that of a record that
    /// names it, and not before that of one with a lower number.
    pub fn time_of(&self, number: u64, digest: &Digest, now: u64) -> u64 {
        let child = self
            .entries
            .values()
            .find(|entry| entry.previous == *digest);
        let before = self.entries.range(..(number, Digest::ZERO)).next_back();
        let floor = before.map_or(0, |(_, entry)| entry.at);
        child.map_or(now, |child| now.min(child.at)).max(floor)
    }

    /// Adds a record.
    pub fn insert(&mut self, entry: Entry) -> Change {
        let mut pages = BTreeSet::from([page_of(entry.number)]);
        let closed: Vec<_> = self
            .gaps
            .keys()
            .filter(|(_, wanted)| *wanted == entry.record)
            .copied()
            .collect();
        for gap in closed {
            pages.insert(page_of(gap.0));
            self.gaps.remove(&gap);
        }
        let missing = entry.previous != Digest::ZERO && !self.knows(&entry.previous);
        self.entries.insert((entry.number, entry.record), entry);
        self.note_newest(&entry);
        self.first = self.first.min(entry.number);
        self.records = self.records.saturating_add(1);
        let key = (entry.number, entry.previous);
        let gap = missing.then(|| {
            self.gaps.insert(key, Fate::Missing);
            self.gap(key, Fate::Missing)
        });
        // A gap may be said to lie behind this record now.
        let behind = self.gaps().filter(|gap| gap.after == entry.number);
        pages.extend(behind.map(|gap| page_of(gap.before)));
        Change { pages, gap }
    }

    /// Writes down what became of a gap, if that is new.
    pub fn settle(&mut self, wanted: &Digest, fate: Fate) -> Option<Gap> {
        let found = self
            .gaps
            .iter_mut()
            .find(|((_, missing), known)| missing == wanted && **known != fate);
        let (key, known) = found?;
        *known = fate;
        let key = *key;
        Some(self.gap(key, fate))
    }

    /// The gaps, newest first.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.gaps
            .iter()
            .rev()
            .map(|(key, fate)| self.gap(*key, *fate))
    }

    fn gap(&self, (before, wanted): (u64, Digest), fate: Fate) -> Gap {
        let after = self.entries.range(..(before, Digest::ZERO)).next_back();
        Gap {
            after: after.map_or(0, |((number, _), _)| *number),
            before,
            wanted,
            fate,
        }
    }

    /// The pages that may still change, ascending: that of the newest record, and those that a
    /// gap lies in or at.
    pub fn open(&self) -> BTreeSet<u64> {
        let mut open: BTreeSet<_> = self
            .newest
            .iter()
            .map(|entry| page_of(entry.number))
            .collect();
        let written: BTreeSet<_> = self
            .entries
            .keys()
            .map(|(number, _)| page_of(*number))
            .collect();
        for gap in self.gaps() {
            open.extend(written.range(page_of(gap.after)..=page_of(gap.before)));
        }
        open
    }

    /// Forgets the records of pages that do not change any more.
    pub fn close(&mut self) {
        let open = self.open();
        self.entries
            .retain(|(number, _), _| open.contains(&page_of(*number)));
    }

    /// A page, as far as it is in hand.
    pub fn page(&self, page: u64) -> Page {
        let within = |number: &u64| page_of(*number) == page;
        let entries = self.entries.values().filter(|entry| within(&entry.number));
        let mut gaps: Vec<_> = self.gaps().filter(|gap| within(&gap.before)).collect();
        gaps.reverse();
        Page {
            epoch: self.epoch,
            page,
            entries: entries.copied().collect(),
            gaps,
        }
    }

    /// How far it goes, if there is anything.
    pub fn span(&self) -> Option<Span> {
        let newest = self.newest?;
        Some(Span {
            epoch: self.epoch,
            first: self.first,
            last: newest.number,
            newest: newest.record,
            records: self.records,
            open: self.open().into_iter().collect(),
        })
    }

    fn note_newest(&mut self, entry: &Entry) {
        let rank = |entry: &Entry| (entry.number, entry.record);
        if self.newest.is_none_or(|newest| rank(&newest) < rank(entry)) {
            self.newest = Some(*entry);
        }
    }
}
