//! History out of an archive over HTTP. The archive is believed nothing: every record is
//! verified as one that a server hands on is, and where it cannot be, it is not yielded.
//!
//! What an archive can do: keep things back, be late, and say when a record was there. That
//! is what evidence is judged by, as of that time: see [`Checked::at`].

mod check;
mod remote;

use std::{collections::VecDeque, sync::Arc};

use zipnet::settings::TrustSettings;
use zipnet_protocol::{Digest, Epoch, FinalizedRound, Instance, RoundParams};

use crate::{
    head::Head,
    index::{Entry, Fate, Page},
    layout::{self, Name},
};
use check::Checker;
use remote::Remote;

pub use check::CheckError;
pub use remote::{AddressError, ReadError};

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With what is new from now on.
    Now,
    /// With a round of the newest epoch, or the first one behind it.
    Round(u64),
    /// With a round of this epoch; later epochs follow.
    Epoch(Epoch, u64),
    /// With everything that the archive has.
    Start,
}

/// A place to begin that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no place to begin; a round such as 17, EPOCH:17, or `start`, would be right")]
pub struct FromError {
    text: String,
}

impl core::str::FromStr for From {
    type Err = FromError;

    fn from_str(text: &str) -> Result<Self, FromError> {
        let parsed = match text.split_once(':') {
            None if text == "start" => Some(Self::Start),
            None => text.parse().ok().map(Self::Round),
            Some((epoch, round)) => {
                let epoch = epoch.parse().ok();
                epoch
                    .zip(round.parse().ok())
                    .map(|(epoch, round)| Self::Epoch(epoch, round))
            }
        };
        parsed.ok_or_else(|| FromError {
            text: text.chars().take(100).collect(),
        })
    }
}

/// A record that was verified.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The round.
    pub done: Arc<FinalizedRound>,
    /// When the record was there, at the latest, by the archive's word, in seconds since 1970.
    /// Never before that of the record before it, nor after this machine's clock. The evidence
    /// of its whole roster was judged as of then, where servers show any.
    pub at: u64,
}

/// What an archive has, in its order.
#[derive(Debug)]
pub enum Item {
    /// A record.
    Round(Checked),
    /// Another epoch begins. Which epochs there were, and in which order, is the archive's
    /// word.
    Epoch(Epoch),
    /// Records are missing.
    Gap {
        /// The number of the record before them, if one was yielded.
        after: Option<u64>,
        /// That of the record behind them.
        before: u64,
        /// What the archive says of it; `None` if it says nothing.
        said: Option<Fate>,
    },
    /// A record that is listed, and is not there or does not hold. It is not shown.
    Refused {
        /// Its number.
        number: u64,
        /// Why.
        error: CheckError,
    },
}

/// Whom a reader trusts, and for what.
#[derive(Debug)]
pub struct ReadSettings {
    /// The archive's address.
    pub archive: String,
    /// The instance, by a committee key that the archive has not told.
    pub instance: Instance,
    /// Whom to trust.
    pub trust: TrustSettings,
    /// The shape of the broadcasts, which bounds what is read.
    pub params: RoundParams,
    /// Where to begin.
    pub from: From,
}

/// Reads an archive. Its calls block.
#[derive(Debug)]
pub struct History {
    remote: Remote,
    checker: Checker,
    from: From,
    head: Option<Head>,
    place: Option<Place>,
    entries: VecDeque<(Entry, Option<Fate>)>,
    items: VecDeque<Item>,
}

/// How far it was read.
#[derive(Debug, Clone, Copy)]
struct Place {
    epoch: Epoch,
    /// The lowest number that was not read yet.
    next: u64,
    /// The page to read next.
    page: u64,
    /// The last record of the epoch that was yielded.
    last: Option<(u64, Digest)>,
}

impl History {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn new(settings: ReadSettings) -> Result<Self, AddressError> {
        let ReadSettings {
            archive,
            instance,
            trust,
            params,
            from,
        } = settings;
        Ok(Self {
            remote: Remote::new(&archive)?,
            checker: Checker::new(instance, trust, params),
            from,
            head: None,
            place: None,
            entries: VecDeque::new(),
            items: VecDeque::new(),
        })
    }

    /// What comes next; `None` if that is all for now. It can be asked again after an error.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn item(&mut self) -> Result<Option<Item>, ReadError> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            if let Some((entry, fate)) = self.entries.front().copied() {
                self.take(&entry, fate)?;
                self.entries.pop_front();
            } else if !self.turn_page()? && !self.turn_epoch() && !self.look()? {
                return Ok(None);
            }
        }
    }

    /// Reads the head anew; `false` if it is as it was.
    fn look(&mut self) -> Result<bool, ReadError> {
        let Some(head) = self.remote.head()? else {
            return Ok(false);
        };
        let ours = self.checker.instance().id();
        if head.instance != *ours {
            return Err(ReadError::Instance {
                found: head.instance,
                expected: *ours,
            });
        }
        if self.place.is_none() {
            // What comes into an empty archive is new.
            let was_empty = self.head.is_some();
            let from = if was_empty { From::Start } else { self.from };
            self.place = start(&head, from);
        }
        self.head = Some(head);
        Ok(true)
    }

    /// Reads the next page of the epoch at hand; `false` if there is none, or no more of it.
    fn turn_page(&mut self) -> Result<bool, ReadError> {
        let Some(place) = &mut self.place else {
            return Ok(false);
        };
        let spans = self.head.iter().flat_map(|head| &head.spans);
        let Some(span) = spans.into_iter().find(|span| span.epoch == place.epoch) else {
            return Ok(false);
        };
        let newest = layout::page_of(span.last);
        if place.next > span.last || place.page > newest {
            return Ok(false);
        }
        place.page = place.page.max(layout::page_of(span.first.max(place.next)));
        let name = Name::Page(place.epoch, place.page);
        // Where all rounds were given up there is none.
        let page = self.remote.page(&name)?;
        let wanted = place.next..=span.last;
        for entry in page.iter().flat_map(|page| &page.entries) {
            if wanted.contains(&entry.number) {
                self.entries.push_back((*entry, fate(page.as_ref(), entry)));
                place.next = entry.number.saturating_add(1);
            }
        }
        if place.page < newest {
            place.page = place.page.saturating_add(1);
            return Ok(true);
        }
        // The same page again when there is more of it. What a cache holds may be older than
        // the head.
        Ok(!self.entries.is_empty())
    }

    /// Goes to the next epoch; `false` if there is none.
    fn turn_epoch(&mut self) -> bool {
        let Some(place) = &self.place else {
            return false;
        };
        let spans = self.head.iter().flat_map(|head| &head.spans);
        let mut later = spans.skip_while(|span| span.epoch != place.epoch);
        let all_read = later.next().is_some_and(|here| place.next > here.last);
        let Some(span) = later.next().filter(|_| all_read) else {
            return false;
        };
        self.checker.begin();
        self.items.push_back(Item::Epoch(span.epoch));
        self.place = Some(Place {
            epoch: span.epoch,
            next: span.first,
            page: layout::page_of(span.first),
            last: None,
        });
        true
    }

    /// Looks into a record that the index lists.
    fn take(&mut self, entry: &Entry, said: Option<Fate>) -> Result<(), ReadError> {
        let Some(place) = &mut self.place else {
            return Ok(());
        };
        let name = entry.name(place.epoch);
        match self.checker.check(&self.remote, &name, entry)? {
            Ok(checked) => {
                let previous = checked.done.round().header().previous;
                let follows = match place.last {
                    Some((_, last)) => previous == last,
                    // What was before the beginning was not asked for.
                    None => said.is_none(),
                };
                if !follows {
                    self.items.push_back(Item::Gap {
                        after: place.last.map(|(number, _)| number),
                        before: entry.number,
                        said,
                    });
                }
                place.last = Some((entry.number, entry.record));
                self.items.push_back(Item::Round(checked));
            }
            Err(error) => self.items.push_back(Item::Refused {
                number: entry.number,
                error,
            }),
        }
        Ok(())
    }
}

/// What a page says of a gap before a record.
fn fate(page: Option<&Page>, entry: &Entry) -> Option<Fate> {
    let mut gaps = page.into_iter().flat_map(|page| &page.gaps);
    let gap = gaps.find(|gap| gap.before == entry.number && gap.wanted == entry.previous);
    gap.map(|gap| gap.fate)
}

fn start(head: &Head, from: From) -> Option<Place> {
    let at = |epoch, next| Place {
        epoch,
        next,
        page: layout::page_of(next),
        last: None,
    };
    match from {
        From::Now => head
            .spans
            .last()
            .map(|span| at(span.epoch, span.last.saturating_add(1))),
        From::Round(round) => head.spans.last().map(|span| at(span.epoch, round)),
        From::Epoch(epoch, round) => Some(at(epoch, round)),
        From::Start => head.spans.first().map(|span| at(span.epoch, span.first)),
    }
}
