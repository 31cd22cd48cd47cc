//! Records as they came, for whoever hands them on. Others do without, and nothing is kept.

use std::collections::VecDeque;

use zipnet_protocol::{Digest, FinalizedRound};

use crate::wire::{Published, vector_bytes};

/// The last records that were verified and are trusted.
#[derive(Debug, Default)]
pub(super) struct Kept {
    most: usize,
    most_bytes: usize,
    bytes: usize,
    records: VecDeque<(Digest, Published)>,
}

impl Kept {
    /// Keeps so many records, and so many bytes of vectors.
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            most,
            most_bytes,
            ..Self::default()
        }
    }

    /// Keeps a record in place of the oldest ones.
    pub fn push(&mut self, done: &FinalizedRound, published: &Published) {
        if self.most == 0 || self.get(done.digest()).is_some() {
            return;
        }
        self.bytes = self.bytes.saturating_add(vector_bytes(published));
        self.records.push_back((*done.digest(), published.clone()));
        while self.records.len() > self.most
            || (self.records.len() > 1 && self.bytes > self.most_bytes)
        {
            if let Some((_, oldest)) = self.records.pop_front() {
                self.bytes = self.bytes.saturating_sub(vector_bytes(&oldest));
            }
        }
    }

    /// The record of a digest.
    pub fn get(&self, record: &Digest) -> Option<&Published> {
        let mut newest = self.records.iter().rev();
        let found = newest.find(|(digest, _)| digest == record);
        found.map(|(_, published)| published)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn the_last_records_are_kept_and_by_whom_it_was_asked_for_alone() {
        let mut world = World::new(3, 3);
        let mut state = world.founded();
        let records: Vec<_> = (0..4).map(|_| world.play(&mut state, &[0, 1, 2])).collect();
        let bytes = vector_bytes(&records[0].published);
        for (most, most_bytes, kept) in [
            (0, usize::MAX, 0),
            (3, usize::MAX, 3),
            (9, 2 * bytes, 2),
            // One alone may be longer.
            (9, 1, 1),
        ] {
            let mut shelf = Kept::new(most, most_bytes);
            for done in records.iter().chain(&records[3..]) {
                shelf.push(&done.checked, &done.published);
            }
            let found: Vec<_> = records
                .iter()
                .filter(|done| shelf.get(done.checked.digest()) == Some(&done.published))
                .collect();
            assert_eq!(found.len(), kept, "{most} records, {most_bytes} bytes");
            assert!(
                found
                    .iter()
                    .zip(&records[4 - kept..])
                    .all(|(one, other)| *one == other)
            );
        }
    }
}
