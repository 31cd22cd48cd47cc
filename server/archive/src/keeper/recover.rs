//! What an earlier process left in the store.
//!
//! The head says which pages may still change; only these are read, and what the folder of
//! records holds beyond them. Without a head that can be read, all pages are.

use std::collections::BTreeSet;

use zipnet_protocol::{Epoch, Instance, InstanceId};

use super::chain::Chain;
use crate::objects::{ObjectError, Objects};
use zipnet_history::{
    head::{Head, MAX_HEAD, Span},
    index::{Entry, Gap, MAX_PAGE, Page},
    layout::{self, Name},
    record::{MAX_RECORD, RecordFile},
};

/// What is in the store cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store.
    #[error("The archive's store could not be read")]
    Store(#[source] ObjectError),
    /// Somebody else's.
    #[error(
        "The archive holds the records of instance {found}, and this is instance {expected}; a place for each instance would be right"
    )]
    Instance {
        /// Whose it is.
        found: InstanceId,
        /// Ours.
        expected: InstanceId,
    },
}

pub async fn chains(instance: &Instance, objects: &Objects) -> Result<Vec<Chain>, RecoverError> {
    let head = objects.get(&Name::Head, MAX_HEAD).await;
    let head = head.map_err(RecoverError::Store)?;
    let head = head.and_then(|bytes| match Head::decode(&bytes) {
        Ok(head) => Some(head),
        Err(error) => {
            tracing::warn!(
                because = %zipnet::report::chain(&error),
                "archive: the head cannot be read; it is made anew of the files that are there"
            );
            None
        }
    });
    if let Some(head) = &head
        && head.instance != *instance.id()
    {
        return Err(RecoverError::Instance {
            found: head.instance,
            expected: *instance.id(),
        });
    }
    let spans = head.map(|head| head.spans).unwrap_or_default();
    let mut chains = Vec::new();
    for span in &spans {
        let chain = resume(instance, objects, span).await;
        chains.push(chain.map_err(RecoverError::Store)?);
    }
    let mut found = Vec::new();
    let folders = objects.folders("records").await;
    for name in folders.map_err(RecoverError::Store)? {
        let Ok(epoch) = name.parse::<Epoch>() else {
            continue;
        };
        if !spans.iter().any(|span| span.epoch == epoch) {
            let chain = rebuild(instance, objects, epoch).await;
            found.push(chain.map_err(RecoverError::Store)?);
        }
    }
    found.retain(|chain| chain.newest().is_some());
    found.sort_by_key(|chain| chain.newest().map(|newest| newest.at));
    chains.extend(found);
    Ok(chains)
}

/// A page that is written; one that cannot be read counts as none, and is said so.
pub async fn page(objects: &Objects, epoch: Epoch, page: u64) -> Result<Option<Page>, ObjectError> {
    let name = Name::Page(epoch, page);
    let Some(bytes) = objects.get(&name, MAX_PAGE).await? else {
        return Ok(None);
    };
    match Page::decode(&bytes) {
        Ok(read) if read.epoch == epoch && read.page == page => Ok(Some(read)),
        other => {
            tracing::warn!(
                file = %name,
                because = %other.err().map(|error| error.to_string()).unwrap_or_default(),
                "archive: a page of the index cannot be read; it is made anew"
            );
            Ok(None)
        }
    }
}

/// An epoch that the head tells of.
async fn resume(instance: &Instance, objects: &Objects, span: &Span) -> Result<Chain, ObjectError> {
    let mut chain = Chain::resume(span);
    for number in &span.open {
        let Some(read) = page(objects, span.epoch, *number).await? else {
            return rebuild(instance, objects, span.epoch).await;
        };
        chain.load(read);
    }
    // Pages and records that were written after the head.
    let newest = layout::page_of(span.last);
    for later in pages(objects, span.epoch, newest).await? {
        if let Some(read) = page(objects, span.epoch, later).await? {
            chain.load(read);
        }
    }
    // Elsewhere there is no room for any.
    let gaps: Vec<_> = chain.gaps().collect();
    let last = chain.newest().map_or(0, |newest| newest.number);
    let room = |number: u64| {
        let in_gap = |gap: &Gap| gap.after < number && number < gap.before;
        number > last || gaps.iter().any(in_gap)
    };
    adopt(instance, objects, &mut chain, room).await?;
    Ok(chain)
}

/// An epoch that no head tells of.
async fn rebuild(
    instance: &Instance,
    objects: &Objects,
    epoch: Epoch,
) -> Result<Chain, ObjectError> {
    let mut chain = Chain::new(epoch);
    let mut all = pages(objects, epoch, 0).await?;
    all.insert(0, 0);
    for number in all {
        if let Some(read) = page(objects, epoch, number).await? {
            chain.load(read);
        }
    }
    chain.count();
    adopt(instance, objects, &mut chain, |_| true).await?;
    Ok(chain)
}

/// The pages behind a page, ascending.
async fn pages(objects: &Objects, epoch: Epoch, after: u64) -> Result<Vec<u64>, ObjectError> {
    let within = format!("index/{epoch}");
    let found = objects.files(&within, |name| match name {
        Name::Page(of, page) if of == epoch && page > after => Some(page),
        _ => None,
    });
    let mut pages = found.await?;
    pages.sort_unstable();
    Ok(pages)
}

/// Takes up records that no page lists, of numbers for which there is room.
async fn adopt(
    instance: &Instance,
    objects: &Objects,
    chain: &mut Chain,
    room: impl Fn(u64) -> bool,
) -> Result<(), ObjectError> {
    let epoch = chain.epoch;
    let within = format!("records/{epoch}");
    let found = objects.files(&within, |name| match name {
        Name::Record(of, number, digest) if of == epoch && room(number) => Some((number, digest)),
        _ => None,
    });
    let mut names = found.await?;
    names.sort_unstable();
    let mut written = BTreeSet::new();
    for (number, digest) in names {
        if chain.knows_at(number, &digest) {
            continue;
        }
        let name = Name::Record(epoch, number, digest);
        let Some(entry) = read(instance, objects, &name).await? else {
            tracing::warn!(file = %name, "archive: a file that is no record of this instance is left alone");
            continue;
        };
        written.extend(chain.insert(entry).pages);
        tracing::info!(file = %name, "archive: a record that no index listed is taken up");
    }
    for page in written {
        let text = chain.page(page).encode();
        objects
            .replace(&Name::Page(epoch, page), text.into())
            .await?;
    }
    chain.close();
    Ok(())
}

/// The entry of a record that is in the store, if it is what it is called.
async fn read(
    instance: &Instance,
    objects: &Objects,
    name: &Name,
) -> Result<Option<Entry>, ObjectError> {
    let Some(bytes) = objects.get(name, MAX_RECORD as usize).await? else {
        return Ok(None);
    };
    let Ok(file) = RecordFile::decode(&bytes) else {
        return Ok(None);
    };
    let Ok(done) = file
        .published
        .record
        .verify(instance, &file.published.bundles)
    else {
        return Ok(None);
    };
    let header = done.round().header();
    let entry = Entry {
        number: header.number,
        record: *done.digest(),
        previous: header.previous,
        at: file.at,
        size: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
    };
    Ok((entry.name(header.epoch) == *name).then_some(entry))
}
