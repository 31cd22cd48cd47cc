//! The head of an archive: its epochs, and how far each goes. The only file that changes
//! without end.

use core::fmt::Write as _;

use zipnet_protocol::{Digest, Epoch, InstanceId};

use crate::text::{self, TextError, Words};

const FIRST: &str = "zipnet-archive 1";
/// Longest head, in bytes: some four thousand epochs.
pub const MAX_HEAD: usize = 1 << 20;

/// What an archive has of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The epoch.
    pub epoch: Epoch,
    /// The lowest number of a record.
    pub first: u64,
    /// The highest number.
    pub last: u64,
    /// The digest of that record.
    pub newest: Digest,
    /// How many records there are.
    pub records: u64,
    /// Pages of the index that still change, ascending.
    pub open: Vec<u64>,
}

/// The head of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The instance whose records these are.
    pub instance: InstanceId,
    /// Its epochs, in the order in which the archive met them.
    pub spans: Vec<Span>,
}

impl Head {
    /// The head as it is written.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{FIRST}\ninstance {}\n", self.instance);
        for Span {
            epoch,
            first,
            last,
            newest,
            records,
            open,
        } in &self.spans
        {
            let open: Vec<_> = open.iter().map(u64::to_string).collect();
            let open = open.join(",");
            // A String takes everything.
            let _ = writeln!(
                text,
                "epoch {epoch} {first} {last} {newest} {records} {open}"
            );
        }
        text.push_str(text::END);
        text.push('\n');
        text
    }

    /// Reads a head.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TextError> {
        let mut lines = text::lines(bytes, MAX_HEAD, FIRST)?;
        let instance = lines.next().and_then(|(_, line)| {
            let mut words = Words::of(line);
            (words.word()? == "instance").then_some(())?;
            let id = words.digest()?;
            words.end().map(|()| InstanceId::new(*id.as_bytes()))
        });
        let instance = instance.ok_or(TextError::Line { line: 2 })?;
        let mut spans: Vec<Span> = Vec::new();
        for (line, text) in lines {
            let span = span(text).ok_or(TextError::Line { line })?;
            if spans.iter().any(|known| known.epoch == span.epoch) {
                return Err(TextError::Order { line });
            }
            spans.push(span);
        }
        Ok(Self { instance, spans })
    }
}

fn span(line: &str) -> Option<Span> {
    let mut words = Words::of(line);
    (words.word()? == "epoch").then_some(())?;
    let span = Span {
        epoch: words.epoch()?,
        first: words.number()?,
        last: words.number()?,
        newest: words.digest()?,
        records: words.number()?,
        open: {
            let pages = words.word()?.split(',').map(|page| {
                let number: u64 = page.parse().ok()?;
                (number.to_string() == page).then_some(number)
            });
            pages.collect::<Option<_>>()?
        },
    };
    words.end()?;
    let ascending = span.open.is_sorted_by(|one, next| one < next);
    (ascending && span.first <= span.last && span.records > 0).then_some(span)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    type Made = ([u8; 32], (u64, u64), [u8; 32], u64, BTreeSet<u64>);

    fn any_head() -> impl Strategy<Value = Head> {
        let span = (
            any::<[u8; 32]>(),
            any::<(u64, u64)>(),
            any::<[u8; 32]>(),
            1_u64..,
            proptest::collection::btree_set(any::<u64>(), 1..5),
        );
        (any::<[u8; 32]>(), proptest::collection::vec(span, 0..6)).prop_map(|(instance, spans)| {
            let span = |(epoch, (one, other), newest, records, open): Made| Span {
                epoch: Epoch::new(epoch),
                first: one.min(other),
                last: one.max(other),
                newest: Digest::new(newest),
                records,
                open: open.into_iter().collect(),
            };
            let mut spans: Vec<_> = spans.into_iter().map(span).collect();
            spans.sort_by_key(|span| span.epoch);
            spans.dedup_by_key(|span| span.epoch);
            Head {
                instance: InstanceId::new(instance),
                spans,
            }
        })
    }

    proptest! {
        #[test]
        fn a_head_is_read_as_it_was_written(head in any_head()) {
            prop_assert_eq!(Head::decode(head.encode().as_bytes()), Ok(head));
        }

        #[test]
        fn a_head_that_was_cut_off_anywhere_is_none(head in any_head(), at in any::<prop::sample::Index>()) {
            let text = head.encode();
            let cut = at.index(text.len());
            prop_assert!(Head::decode(&text.as_bytes()[..cut]).is_err());
        }

        #[test]
        fn what_is_read_is_written_the_same(head in any_head(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = head.encode().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = Head::decode(&bytes) {
                prop_assert_eq!(read.encode().into_bytes(), bytes);
            }
        }
    }
}
