//! Writes verified records, and says which are missing.
//!
//! A record's evidence is written first, then the record, then the page of the index, then
//! the head: whatever the index lists is there. A process that is killed in between leaves a
//! record that nothing lists, which the next one finds ([`recover`]).
//!
//! Where a record names a predecessor that is not in hand, the index announces a gap. It is
//! closed when somebody still has what is missing, from its end backwards, each by the digest
//! that the record behind it names.

mod chain;
mod recover;

use core::time::Duration;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use tokio::sync::{Notify, broadcast};
use zipnet::{attestation::Credential, wire::Published};
use zipnet_protocol::{Digest, Epoch, FinalizedRound, Instance};

use crate::objects::{ObjectError, Objects};
use chain::Chain;
use zipnet_history::{
    head::Head,
    index::{Entry, Fate, Gap},
    layout::{self, Name},
    record::{self, RecordFile, Shown},
};

pub use recover::RecoverError;

/// News that a subscriber may lag behind before it is cut off.
pub const BACKLOG: usize = 64;

/// A verified record, as it comes.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// As it travels.
    pub published: Published,
    /// As it was checked.
    pub done: Arc<FinalizedRound>,
    /// The evidence of its servers that was judged, by the digest of their bundles.
    pub evidence: Vec<(Digest, Arc<Credential>)>,
}

/// Something new in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A record.
    Record(Epoch, Entry),
    /// A gap, or what became of one.
    Gap(Epoch, Gap),
}

/// A record could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The store.
    #[error("A record could not be kept")]
    Store(#[source] ObjectError),
    /// The encoder.
    #[error("A record could not be encoded")]
    Encode(#[source] postcard::Error),
    /// It was said to be another one.
    #[error("A record is not of the round that it was checked as")]
    Other,
}

/// What is served of the index as it is now.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    /// The head's bytes.
    pub head: Bytes,
    /// The pages that still change.
    pub open: HashMap<(Epoch, u64), Bytes>,
    /// Epochs, with the page of their newest record.
    pub newest: Vec<(Epoch, u64)>,
}

/// Keeps the records of one instance.
#[derive(Debug)]
pub struct Keeper {
    instance: Instance,
    objects: Objects,
    chains: tokio::sync::Mutex<Vec<Chain>>,
    shelf: Mutex<Arc<Shelf>>,
    news: broadcast::Sender<News>,
    gaps: Notify,
}

impl Keeper {
    /// Takes up what is in a store.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub async fn open(instance: Instance, objects: Objects) -> Result<Self, RecoverError> {
        let chains = recover::chains(&instance, &objects).await?;
        let keeper = Self {
            instance,
            objects,
            chains: tokio::sync::Mutex::default(),
            shelf: Mutex::default(),
            news: broadcast::Sender::new(BACKLOG),
            gaps: Notify::new(),
        };
        keeper.show(&chains);
        *keeper.chains.lock().await = chains;
        Ok(keeper)
    }

    /// The instance.
    #[must_use]
    pub const fn instance(&self) -> &Instance {
        &self.instance
    }

    /// The files.
    #[must_use]
    pub const fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The index as it is now.
    #[must_use]
    pub fn shelf(&self) -> Arc<Shelf> {
        let shown = self.shelf.lock();
        shown.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is new from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// How many subscribers there are.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        self.news.receiver_count()
    }

    /// Whether a record is in the part of the index that is in memory: near a gap, or among the
    /// newest.
    pub async fn knows(&self, digest: &Digest) -> bool {
        let chains = self.chains.lock().await;
        chains.iter().any(|chain| chain.knows(digest))
    }

    /// The gaps, newest first in each epoch.
    pub async fn gaps(&self) -> Vec<(Epoch, Gap)> {
        let chains = self.chains.lock().await;
        let of = |chain: &Chain| {
            let gaps: Vec<_> = chain.gaps().map(|gap| (chain.epoch, gap)).collect();
            gaps
        };
        chains.iter().rev().flat_map(of).collect()
    }

    /// Resolves when there is a new gap.
    pub async fn new_gap(&self) {
        self.gaps.notified().await;
    }

    /// Keeps a record. `false` if it is kept already.
    ///
    /// # Errors
    /// [`KeepError`]; the index is then as it was, and the same may be tried again.
    pub async fn add(&self, arrival: &Arrival) -> Result<bool, KeepError> {
        let header = arrival.done.round().header();
        if arrival.published.record.header != *arrival.done.round().signed() {
            return Err(KeepError::Other);
        }
        let (epoch, number) = (header.epoch, header.number);
        let mut chains = self.chains.lock().await;
        let place = chains.iter().position(|chain| chain.epoch == epoch);
        let mut chain = match place.and_then(|place| chains.get(place)) {
            Some(chain) => chain.clone(),
            None => Chain::new(epoch),
        };
        let digest = *arrival.done.digest();
        let page = layout::page_of(number);
        if chain.must_load(page) {
            let found = recover::page(&self.objects, epoch, page).await;
            if let Some(found) = found.map_err(KeepError::Store)? {
                chain.load(found);
            }
        }
        if chain.knows_at(number, &digest) {
            return Ok(false);
        }
        let at = chain.time_of(number, &digest, now());
        let size = self.write(arrival, at).await?;
        let entry = Entry {
            number,
            record: digest,
            previous: header.previous,
            at,
            size,
        };
        let change = chain.insert(entry);
        for page in &change.pages {
            let text = chain.page(*page).encode();
            let name = Name::Page(epoch, *page);
            let put = self.objects.replace(&name, text.into()).await;
            put.map_err(KeepError::Store)?;
        }
        chain.close();
        let mut after = chains.clone();
        match place.and_then(|place| after.get_mut(place)) {
            Some(place) => *place = chain,
            None => after.push(chain),
        }
        self.write_head(&after).await.map_err(KeepError::Store)?;
        self.show(&after);
        *chains = after;
        drop(chains);
        self.tell(News::Record(epoch, entry));
        if let Some(gap) = change.gap {
            self.tell(News::Gap(epoch, gap));
            self.gaps.notify_one();
        }
        Ok(true)
    }

    /// Writes down what became of a gap that nobody can close, or that is tried again.
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn settle(
        &self,
        epoch: &Epoch,
        wanted: &Digest,
        fate: Fate,
    ) -> Result<(), KeepError> {
        let mut chains = self.chains.lock().await;
        let Some(place) = chains.iter_mut().find(|chain| chain.epoch == *epoch) else {
            return Ok(());
        };
        let mut chain = place.clone();
        let Some(gap) = chain.settle(wanted, fate) else {
            return Ok(());
        };
        let page = layout::page_of(gap.before);
        let text = chain.page(page).encode();
        let name = Name::Page(*epoch, page);
        let put = self.objects.replace(&name, text.into());
        put.await.map_err(KeepError::Store)?;
        *place = chain;
        self.show(&chains);
        drop(chains);
        self.tell(News::Gap(*epoch, gap));
        Ok(())
    }

    /// Writes a record and its evidence; yields the length of its file.
    async fn write(&self, arrival: &Arrival, at: u64) -> Result<u32, KeepError> {
        let mut shown = Vec::new();
        for (bundle, credential) in &arrival.evidence {
            let (bundle, whole) = (*bundle, credential.whole());
            let bytes = record::encode_credential(credential).map_err(KeepError::Encode)?;
            // Once for each boot of a server: it is there from the second record on.
            let name = Name::Credential(bundle, whole);
            let created = self.objects.create(&name, bytes);
            created.await.map_err(KeepError::Store)?;
            shown.push(Shown {
                bundle,
                credential: whole,
            });
        }
        let file = RecordFile {
            at,
            evidence: shown,
            published: arrival.published.clone(),
        };
        let bytes = file.encode().map_err(KeepError::Encode)?;
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (epoch, number) = arrival.done.round().position();
        let name = Name::Record(epoch, number, *arrival.done.digest());
        let created = self.objects.create(&name, bytes.clone()).await;
        if created.map_err(KeepError::Store)? {
            return Ok(length);
        }
        // A process before this one wrote it, and was killed before the index; or somebody
        // else's hand was here.
        let most = record::MAX_RECORD as usize;
        let found = self.objects.get(&name, most).await;
        let whole = found.map_err(KeepError::Store)?.filter(|found| {
            RecordFile::decode(found)
                .is_ok_and(|found| found.published.record == arrival.published.record)
        });
        if let Some(found) = whole {
            return Ok(u32::try_from(found.len()).unwrap_or(u32::MAX));
        }
        tracing::warn!(file = %name, "archive: a file that is not the record that it is called by is replaced");
        let put = self.objects.replace(&name, bytes).await;
        put.map_err(KeepError::Store)?;
        Ok(length)
    }

    async fn write_head(&self, chains: &[Chain]) -> Result<(), ObjectError> {
        let head = self.head(chains).encode();
        self.objects.replace(&Name::Head, head.into()).await
    }

    fn head(&self, chains: &[Chain]) -> Head {
        Head {
            instance: *self.instance.id(),
            spans: chains.iter().filter_map(Chain::span).collect(),
        }
    }

    fn show(&self, chains: &[Chain]) {
        let mut now = Shelf {
            head: self.head(chains).encode().into(),
            ..Shelf::default()
        };
        for chain in chains {
            for page in chain.open() {
                let text = chain.page(page).encode();
                now.open.insert((chain.epoch, page), text.into());
            }
            if let Some(newest) = chain.newest() {
                let page = layout::page_of(newest.number);
                now.newest.push((chain.epoch, page));
            }
        }
        let mut shown = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Arc::new(now);
    }

    fn tell(&self, news: News) {
        // Nobody may be listening.
        let _ = self.news.send(news);
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}
