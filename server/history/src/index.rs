//! Pages of an epoch's index: which records there are, how they are chained, and where
//! some are missing.

use core::fmt::Write as _;

use zipnet_protocol::{Digest, Epoch};

use crate::{
    layout::{self, Name},
    text::{self, Words},
};

pub use crate::text::TextError;

const FIRST: &str = "zipnet-index 1";
/// Longest page, in bytes. One of 128 records has 25,000; there are more only if records of
/// one number are several.
pub const MAX_PAGE: usize = 256 << 10;

/// A record, as the index lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The round's number.
    pub number: u64,
    /// The record's digest.
    pub record: Digest,
    /// The digest of the record before it, which its header names; zero if it is the epoch's
    /// first.
    pub previous: Digest,
    /// When the record was there, at the latest, in seconds since 1970, by the archive's word.
    pub at: u64,
    /// Bytes of its file.
    pub size: u32,
}

impl Entry {
    /// The file.
    #[must_use]
    pub const fn name(&self, epoch: Epoch) -> Name {
        Name::Record(epoch, self.number, self.record)
    }
}

/// What becomes of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Servers are being asked for it.
    Missing,
    /// No server that answered has it any more.
    Lost,
}

impl Fate {
    /// The word in the index.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Lost => "lost",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Missing, Self::Lost]
            .into_iter()
            .find(|fate| fate.word() == word)
    }
}

/// One or more records that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The round of the newest record before it; 0 if there is none.
    pub after: u64,
    /// The round of the record behind it.
    pub before: u64,
    /// The digest of the newest record in it, which the one behind it names.
    pub wanted: Digest,
    /// What becomes of it.
    pub fate: Fate,
}

/// A page of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The epoch.
    pub epoch: Epoch,
    /// Which page.
    pub page: u64,
    /// Its records, by number and digest.
    pub entries: Vec<Entry>,
    /// Gaps before records of this page, by the number of the record behind.
    pub gaps: Vec<Gap>,
}

impl Page {
    /// The page as it is written.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{FIRST}\nepoch {}\npage {}\n", self.epoch, self.page);
        for entry in &self.entries {
            for gap in self
                .gaps
                .iter()
                .filter(|gap| gap.before == entry.number && gap.wanted == entry.previous)
            {
                let Gap {
                    after,
                    before,
                    wanted,
                    fate,
                } = gap;
                // A String takes everything.
                let _ = writeln!(text, "gap {after} {before} {wanted} {}", fate.word());
            }
            let Entry {
                number,
                record,
                previous,
                at,
                size,
            } = entry;
            let _ = writeln!(text, "record {number} {record} {previous} {at} {size}");
        }
        text.push_str(text::END);
        text.push('\n');
        text
    }

    /// Reads a page.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TextError> {
        let mut lines = text::lines(bytes, MAX_PAGE, FIRST)?;
        let epoch = lines.next().and_then(|(_, line)| {
            let mut words = Words::of(line);
            (words.word()? == "epoch").then_some(())?;
            let epoch = words.epoch()?;
            words.end().map(|()| epoch)
        });
        let epoch = epoch.ok_or(TextError::Line { line: 2 })?;
        let page = lines.next().and_then(|(_, line)| {
            let mut words = Words::of(line);
            (words.word()? == "page").then_some(())?;
            let page = words.number()?;
            words.end().map(|()| page)
        });
        let page = page.ok_or(TextError::Line { line: 3 })?;
        let mut read = Self {
            epoch,
            page,
            entries: Vec::new(),
            gaps: Vec::new(),
        };
        let mut open: Option<Gap> = None;
        for (line, text) in lines {
            match Line::parse(text).ok_or(TextError::Line { line })? {
                Line::Gap(gap) if open.is_none() && gap.after < gap.before => open = Some(gap),
                Line::Record(entry) => {
                    let key = |entry: &Entry| (entry.number, entry.record);
                    let rises = read
                        .entries
                        .last()
                        .is_none_or(|last| key(last) < key(&entry));
                    let follows = open.is_none_or(|gap| {
                        gap.before == entry.number && gap.wanted == entry.previous
                    });
                    if !rises || !follows || layout::page_of(entry.number) != page {
                        return Err(TextError::Order { line });
                    }
                    read.gaps.extend(open.take());
                    read.entries.push(entry);
                }
                Line::Gap(_) => return Err(TextError::Order { line }),
            }
        }
        match open {
            Some(_) => Err(TextError::Cut),
            None => Ok(read),
        }
    }
}

enum Line {
    Record(Entry),
    Gap(Gap),
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut words = Words::of(line);
        let parsed = match words.word()? {
            "record" => Self::Record(Entry {
                number: words.number()?,
                record: words.digest()?,
                previous: words.digest()?,
                at: words.number()?,
                size: words.number()?,
            }),
            "gap" => Self::Gap(Gap {
                after: words.number()?,
                before: words.number()?,
                wanted: words.digest()?,
                fate: words.word().and_then(Fate::parse)?,
            }),
            _ => return None,
        };
        words.end().map(|()| parsed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_page() -> impl Strategy<Value = Page> {
        let entry = (
            0_u64..128,
            any::<[u8; 32]>(),
            any::<[u8; 32]>(),
            any::<u64>(),
            any::<u32>(),
        );
        let entries = proptest::collection::vec((entry, any::<Option<bool>>()), 0..20);
        (any::<[u8; 32]>(), 0_u64..1 << 50, entries).prop_map(|(epoch, page, made)| {
            let mut read = Page {
                epoch: Epoch::new(epoch),
                page,
                entries: Vec::new(),
                gaps: Vec::new(),
            };
            let mut made: Vec<_> = made
                .into_iter()
                .map(|((number, record, previous, at, size), gap)| {
                    let number = page * 128 + number;
                    let (record, previous) = (Digest::new(record), Digest::new(previous));
                    (
                        Entry {
                            number,
                            record,
                            previous,
                            at,
                            size,
                        },
                        gap,
                    )
                })
                .collect();
            made.sort_by_key(|(entry, _)| (entry.number, entry.record));
            made.dedup_by_key(|(entry, _)| (entry.number, entry.record));
            for (entry, gap) in made {
                if let Some(lost) = gap.filter(|_| entry.number > 0) {
                    read.gaps.push(Gap {
                        after: entry.number - 1,
                        before: entry.number,
                        wanted: entry.previous,
                        fate: if lost { Fate::Lost } else { Fate::Missing },
                    });
                }
                read.entries.push(entry);
            }
            read
        })
    }

    proptest! {
        #[test]
        fn a_page_is_read_as_it_was_written(page in any_page()) {
            prop_assert_eq!(Page::decode(page.encode().as_bytes()), Ok(page));
        }

        #[test]
        fn a_page_that_was_cut_off_anywhere_is_none(page in any_page(), at in any::<prop::sample::Index>()) {
            let text = page.encode();
            let cut = at.index(text.len());
            prop_assert!(Page::decode(&text.as_bytes()[..cut]).is_err());
        }

        #[test]
        fn what_is_read_is_written_the_same(page in any_page(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = page.encode().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = Page::decode(&bytes) {
                prop_assert_eq!(read.encode().into_bytes(), bytes);
            }
        }

        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Page::decode(&bytes);
        }
    }

    #[test]
    fn a_line_with_another_end_is_none() {
        let page = Page {
            epoch: Epoch::new([1; 32]),
            page: 10,
            entries: Vec::new(),
            gaps: Vec::new(),
        };
        let text = page.encode().replacen("\nend", "\r\nend", 1);
        let refused = Page::decode(text.as_bytes());
        assert_eq!(refused, Err(TextError::Line { line: 3 }));
    }

    #[test]
    fn a_page_of_128_records_is_within_bounds() {
        let entry = |number| Entry {
            number,
            record: Digest::new([0xee; 32]),
            previous: Digest::new([0xdd; 32]),
            at: u64::MAX,
            size: u32::MAX,
        };
        let first = u64::MAX - 127;
        let page = Page {
            epoch: Epoch::new([1; 32]),
            page: layout::page_of(first),
            entries: (0..128).map(|at| entry(first + at)).collect(),
            gaps: Vec::new(),
        };
        let text = page.encode();
        assert!(text.len() < 32 << 10, "{}", text.len());
        assert_eq!(Page::decode(text.as_bytes()), Ok(page));
        let long = vec![b'a'; MAX_PAGE + 1];
        assert!(matches!(Page::decode(&long), Err(TextError::Form { .. })));
    }
}
