//! Asks servers for records that the archive lacks, from the end of each gap backwards: each by the
//! digest that the record behind it names, so that nobody can show another history. They are
//! public, and asking for them tells that this archive was away.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::{Instant, timeout};
use zipnet::{
    attestation::Credential,
    ground::Ground,
    peers::{PeerError, Peers},
    report::chain,
    roles::{directory::Directory, follow},
    settings::{PeerId, TrustSettings},
    wire::Published,
    wire::{CredentialCall, Follow, FollowCall, MAX_RECORDS, News},
};
use zipnet_history::index::{Fate, Gap};
use zipnet_protocol::{Digest, Epoch, FinalizedRound, Instance};

use super::Desk;

/// How often gaps are looked for, if none is told.
const TICK: Duration = Duration::from_secs(15);
/// After how long a gap that no server could fill is tried again.
const AGAIN: Duration = Duration::from_hours(1);
/// How long a server may take for a page, and for evidence.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a server is asked again that does not answer.
const TRIES: usize = 3;
/// Most pages of one server that are looked through for one record.
const MAX_PAGES: usize = 128;

/// A page of records that follow each other, newest first.
type Found = Vec<(Published, Arc<FinalizedRound>)>;

/// Fills gaps.
pub struct Filler {
    desk: Arc<Desk>,
    instance: Instance,
    trust: TrustSettings,
    records: Peers<Follow, News>,
    credentials: Peers<Digest, Credential>,
    tried: BTreeMap<Digest, Instant>,
}

/// What became of asking everybody.
enum Asked {
    Filled,
    /// Some did not answer.
    Unanswered,
    Nobody,
}

impl Filler {
    pub fn new(
        desk: Arc<Desk>,
        ground: &Arc<dyn Ground>,
        instance: &Instance,
        trust: &TrustSettings,
        directory: &Arc<Directory>,
    ) -> Self {
        let allowed = directory.allowed();
        Self {
            desk,
            instance: instance.clone(),
            trust: trust.clone(),
            records: Peers::on::<FollowCall>(&**ground, instance, Some(allowed.clone())),
            credentials: Peers::on::<CredentialCall>(&**ground, instance, Some(allowed)),
            tried: BTreeMap::new(),
        }
    }

    /// Fills gaps for ever.
    pub async fn run(mut self) {
        let pulse = self.desk.health.pulse("backfill", Duration::from_mins(30));
        loop {
            pulse.beat();
            self.tried.retain(|_, at| at.elapsed() < AGAIN);
            let gaps = self.desk.keeper.gaps().await;
            for (epoch, gap) in gaps {
                // Those of before this process are tried once, too.
                if gap.fate == Fate::Missing || !self.tried.contains_key(&gap.wanted) {
                    self.fill(epoch, gap).await;
                    pulse.beat();
                }
            }
            // A gap is told while it is looked for others, or it is time again.
            let _ = timeout(TICK, self.desk.keeper.new_gap()).await;
        }
    }

    async fn fill(&mut self, epoch: Epoch, gap: Gap) {
        let mut gap = gap;
        let fate = match self.ask_all(epoch, &mut gap).await {
            Asked::Filled => return,
            Asked::Unanswered => Fate::Missing,
            Asked::Nobody => {
                tracing::warn!(
                    after = gap.after,
                    before = gap.before,
                    "archive: records are missing: no server has them any more"
                );
                self.tried.insert(gap.wanted, Instant::now());
                Fate::Lost
            }
        };
        if let Err(error) = self.desk.keeper.settle(&epoch, &gap.wanted, fate).await {
            tracing::error!(because = %chain(&error), "archive: a gap was not written down");
        }
    }

    /// Asks one server after the other, and moves the gap's end to where they left off.
    async fn ask_all(&self, epoch: Epoch, gap: &mut Gap) -> Asked {
        let mut asked = BTreeSet::new();
        let mut unanswered = false;
        while let Some(peer) = self
            .records
            .serving()
            .into_iter()
            .find(|peer| !asked.contains(peer))
        {
            let mut tries = 0;
            loop {
                match self.chase(peer, epoch, gap).await {
                    Ok(found) if found.is_empty() => break,
                    Ok(found) => {
                        if self.take(found, gap).await {
                            return Asked::Filled;
                        }
                    }
                    Err(error) => {
                        tracing::debug!(because = %chain(&error), "archive: no missing records from a server");
                        tries += 1;
                        if tries >= TRIES {
                            unanswered = true;
                            break;
                        }
                    }
                }
            }
            asked.insert(peer);
        }
        // Nobody was there to ask, or not all answered.
        if unanswered || asked.is_empty() {
            Asked::Unanswered
        } else {
            Asked::Nobody
        }
    }

    /// Writes records, newest first; `true` if that closes the gap.
    async fn take(&self, found: Found, gap: &mut Gap) -> bool {
        for (published, done) in found {
            self.fetch_evidence(&done).await;
            let header = done.round().header();
            let (number, previous) = (header.number, header.previous);
            self.desk.keep(published, done).await;
            if previous == Digest::ZERO || self.desk.keeper.knows(&previous).await {
                return true;
            }
            (gap.before, gap.wanted) = (number, previous);
        }
        false
    }

    /// The evidence of servers of an old round that somebody has. Without it the record is kept all
    /// the same: the one behind it, whose servers were vouched for, names it.
    async fn fetch_evidence(&self, done: &FinalizedRound) {
        let Some(authority) = &self.desk.authority else {
            return;
        };
        for server in done.round().roster() {
            if authority.credential(server.digest()).is_some() {
                continue;
            }
            if let Ok((_, credential)) = self.credentials.call(server.digest(), PATIENCE).await {
                // What holds is remembered.
                let _ = authority.judge(&self.instance, server, &Arc::new(credential));
            }
        }
    }

    /// Looks for the newest record of a gap at one server, and what it has before that. Servers
    /// give records by numbers, and numbers of rounds that were given up have none: so it is asked
    /// further and further back.
    async fn chase(&self, peer: PeerId, epoch: Epoch, gap: &Gap) -> Result<Found, PeerError> {
        let room = u64::try_from(MAX_RECORDS).unwrap_or(1);
        let mut width = room;
        let mut from = gap
            .before
            .saturating_sub(width.saturating_add(1))
            .max(gap.after);
        for _ in 0..MAX_PAGES {
            let request = Follow {
                after: Some((epoch, from)),
                seen: None,
                wait: 0,
                aggregators: None,
            };
            let news = self.records.call_peer(peer, &request, PATIENCE).await?;
            let full = news.records.len() >= MAX_RECORDS;
            let mut page: Vec<_> = news.records.into_iter().take(MAX_RECORDS).collect();
            page.retain(|published| {
                let header = published.record.header.header();
                header.epoch == epoch && header.number > from && header.number < gap.before
            });
            let last = page
                .iter()
                .map(|published| published.record.header.header().number)
                .max();
            let found = self.lead(page, gap);
            if !found.is_empty() {
                return Ok(found);
            }
            match last {
                // There is more between this page and the gap's end.
                Some(last) if full && last.saturating_add(1) < gap.before => from = last,
                _ if from <= gap.after => return Ok(Found::new()),
                _ => {
                    width = width.saturating_mul(2);
                    from = gap
                        .before
                        .saturating_sub(width.saturating_add(1))
                        .max(gap.after);
                }
            }
        }
        Ok(Found::new())
    }

    /// The records of a page that lead to the one that is wanted, newest first.
    fn lead(&self, page: Vec<Published>, gap: &Gap) -> Found {
        let mut verified: BTreeMap<Digest, (Published, FinalizedRound)> = page
            .into_iter()
            .filter_map(|published| {
                let done = published
                    .record
                    .verify(&self.instance, &published.bundles)
                    .ok()?;
                follow::pinned(&self.trust, done.round()).ok()?;
                Some((*done.digest(), (published, done)))
            })
            .collect();
        let mut found = Found::new();
        let mut wanted = gap.wanted;
        while let Some((published, done)) = verified.remove(&wanted) {
            wanted = done.round().header().previous;
            found.push((published, Arc::new(done)));
        }
        found
    }
}
