//! Server-sent events: what is new in the index, told at once.
//!
//! An event of a record has an id, `EPOCH-NUMBER`; whoever comes back says the last one that it
//! has (`Last-Event-ID`) and is told what came since. Gaps, and records that fill them, are told
//! to whoever is there; the index has them for everybody else.

use core::time::Duration;
use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use zipnet_protocol::Epoch;

use crate::keeper::{Keeper, News};
use zipnet_history::{
    index::{Entry, MAX_PAGE, Page},
    layout::{self, Name},
};

/// How often something is said when there is nothing to say: proxies cut what is silent.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How soon whoever was cut off comes back, by its browser.
const AGAIN: Duration = Duration::from_secs(2);
/// Most records that are told of again to whoever comes back.
const AGAIN_MOST: usize = 1024;

/// The position in an event's id.
fn position(id: &str) -> Option<(Epoch, u64)> {
    let (epoch, number) = id.split_once('-')?;
    Some((epoch.parse().ok()?, number.parse().ok()?))
}

fn record(epoch: &Epoch, entry: &Entry) -> String {
    let Entry {
        number,
        record,
        previous,
        at,
        size,
    } = entry;
    let data = json!({
        "epoch": epoch.to_string(),
        "number": number,
        "record": record.to_string(),
        "previous": previous.to_string(),
        "at": at,
        "size": size,
        "path": format!("/{}", entry.name(*epoch)),
    });
    format!("id: {epoch}-{number}\nevent: record\ndata: {data}\n\n")
}

fn text(news: &News) -> String {
    match news {
        News::Record(epoch, entry) => record(epoch, entry),
        News::Gap(epoch, gap) => {
            let data = json!({
                "epoch": epoch.to_string(),
                "after": gap.after,
                "before": gap.before,
                "wanted": gap.wanted.to_string(),
                "fate": gap.fate.word(),
            });
            format!("event: gap\ndata: {data}\n\n")
        }
    }
}

struct Subscriber {
    first: VecDeque<String>,
    news: broadcast::Receiver<News>,
    /// Records that were told of again, up to here: they are not told twice.
    told: Option<(Epoch, u64)>,
    heartbeat: Interval,
    _place: OwnedSemaphorePermit,
}

/// The events for a subscriber, until it lags behind too far.
pub async fn subscribe(
    keeper: &Arc<Keeper>,
    last: Option<&str>,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Bytes> + use<> {
    // First this: what comes while the index is read is not missed.
    let news = keeper.subscribe();
    let mut first = VecDeque::from([format!("retry: {}\n\n", AGAIN.as_millis())]);
    let mut told = None;
    if let Some(last) = last {
        match since(keeper, last).await {
            Some(entries) => {
                told = entries.last().map(|(epoch, entry)| (*epoch, entry.number));
                first.extend(entries.iter().map(|(epoch, entry)| record(epoch, entry)));
            }
            None => first.push_back("event: reset\ndata: {}\n\n".to_owned()),
        }
    }
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let subscriber = Subscriber {
        first,
        news,
        told,
        heartbeat,
        _place: place,
    };
    stream::unfold(subscriber, |mut subscriber| async move {
        let text = subscriber.next().await?;
        Some((Bytes::from(text), subscriber))
    })
}

impl Subscriber {
    async fn next(&mut self) -> Option<String> {
        if let Some(text) = self.first.pop_front() {
            return Some(text);
        }
        loop {
            tokio::select! {
                news = self.news.recv() => match news {
                    Ok(News::Record(epoch, entry))
                        if self.told.is_some_and(|(of, number)| of == epoch && entry.number <= number) => {}
                    Ok(news) => return Some(text(&news)),
                    // It reads too slowly: it is cut off, and knows where it was.
                    Err(_) => return None,
                },
                _ = self.heartbeat.tick() => return Some(":\n\n".to_owned()),
            }
        }
    }
}

/// The records behind the one of an event's id; `None` if these are too many, or there is no
/// such place.
async fn since(keeper: &Keeper, last: &str) -> Option<Vec<(Epoch, Entry)>> {
    let (epoch, number) = position(last)?;
    let shelf = keeper.shelf();
    let place = shelf.newest.iter().position(|(of, _)| *of == epoch)?;
    let mut entries = Vec::new();
    for (at, (of, newest)) in shelf.newest.iter().enumerate().skip(place) {
        let from = if at == place {
            number.checked_add(1)?
        } else {
            0
        };
        let mut page = layout::page_of(from);
        while page <= *newest {
            let name = Name::Page(*of, page);
            let bytes = match shelf.open.get(&(*of, page)) {
                Some(bytes) => Some(bytes.clone()),
                None => keeper.objects().get(&name, MAX_PAGE).await.ok()?,
            };
            let read = bytes.and_then(|bytes| Page::decode(&bytes).ok());
            let found = read.into_iter().flat_map(|page| page.entries);
            entries.extend(
                found
                    .filter(|entry| entry.number >= from)
                    .map(|entry| (*of, entry)),
            );
            // An epoch may begin with any number.
            page = page.checked_add(1)?;
            if entries.len() > AGAIN_MOST || page.saturating_sub(layout::page_of(from)) > 64 {
                return None;
            }
        }
    }
    Some(entries)
}
