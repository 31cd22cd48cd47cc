//! The archive as a process: follows the committee as any reader does, and hands what was
//! verified to its [`Keeper`].
//!
//! This is all of the archive that knows how the committee is followed.

mod backfill;

use core::{net::SocketAddr, time::Duration};
use std::sync::Arc;

use crate::{
    Arrival, Keeper,
    keeper::{KeepError, RecoverError},
    objects::{Objects, OpenError, Place},
    serve::{Limits, Meter, ServeError, Server},
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use zipnet::{
    attestation::{Authority, upkeep},
    book::{AtDoors, Book},
    ground::Ground,
    health::{Code, Health, Pulse, Reason},
    metrics,
    report::chain,
    roles::{
        common::{self, CommitteeKeyError, KnockError},
        directory::Directory,
        follow::{Event, Follower},
        roll,
    },
    settings::{NetworkSettings, TrustSettings},
    wire::Published,
};
use zipnet_protocol::{Digest, FinalizedRound, Instance};

/// Records that are held until they are written, and most bytes of vectors in them: a gap is filled
/// by 64 at once.
const HELD: (usize, usize) = (96, 256 << 20);
/// Records that wait to be written, besides; the follower waits for an archive that has so many.
const INBOX: usize = 4;
/// How often it is looked whether the archive is ready.
const TICK: Duration = Duration::from_secs(5);
/// How long the loops may take to go round.
const ROUND: Duration = Duration::from_mins(2);
/// After how long without a round the archive is not ready.
const SILENCE: Duration = Duration::from_mins(1);
/// First and longest pause before a record is written again that the store did not take.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What an operator sets for an archive.
#[derive(Debug)]
pub struct ArchiveSettings {
    /// How it reaches the committee.
    pub network: NetworkSettings,
    /// Whom it follows.
    pub trust: TrustSettings,
    /// Where records are kept.
    pub place: Place,
    /// Where they are served.
    pub listen: SocketAddr,
    /// How many connections there may be.
    pub limits: Limits,
    /// Where it says how it is.
    pub health: Health,
}

/// An archive could not start.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The place.
    #[error("Could not open the archive named by ZIPNET_ARCHIVE_STORE")]
    Open(#[source] OpenError),
    /// No socket.
    #[error("Could not reach doors")]
    Knock(#[source] KnockError),
    /// No committee key.
    #[error("Could not learn which committee to follow")]
    CommitteeKey(#[source] CommitteeKeyError),
    /// What is there.
    #[error("Could not take up the archive named by ZIPNET_ARCHIVE_STORE")]
    Recover(#[source] RecoverError),
    /// The listener.
    #[error("Could not serve the archive on the address named by ZIPNET_ARCHIVE_LISTEN")]
    Serve(#[source] ServeError),
}

struct Counted;

impl Meter for Counted {
    fn answered(&self, status: u16) {
        metrics::archive_answered(status);
    }
}

/// What keeps records, and what it needs for that.
struct Desk {
    keeper: Arc<Keeper>,
    authority: Option<Arc<Authority>>,
    health: Health,
    pulse: Pulse,
    stop: CancellationToken,
}

/// Runs an archive until `stop` is cancelled.
///
/// # Errors
/// [`ArchiveError`].
pub async fn run(settings: ArchiveSettings, stop: CancellationToken) -> Result<(), ArchiveError> {
    let ArchiveSettings {
        network,
        trust,
        place,
        listen,
        limits,
        health,
    } = settings;
    // First what an operator may have set wrong.
    let objects = Objects::open(&place).map_err(ArchiveError::Open)?;
    let (doors, _) = common::knock(&network).await.map_err(ArchiveError::Knock)?;
    common::up(&doors.id(), &network, &trust.name, "archive");
    let text = "nobody has told the committee key yet";
    health.begins(Reason::new(Code::Committee, text));
    let book = Book::new(doors.clone(), &network.bootstrap);
    let ground: Arc<dyn Ground> = Arc::new(AtDoors(book.clone()));
    let found = tokio::select! {
        found = common::find_instance(&ground, &trust, &network.bootstrap) => Some(found),
        () = stop.cancelled() => None,
    };
    let instance = match found {
        Some(Ok(instance)) => instance,
        found => {
            doors.close().await;
            let failed = found.and_then(Result::err);
            return failed.map_or(Ok(()), |error| Err(ArchiveError::CommitteeKey(error)));
        }
    };
    let files = async {
        let keeper = Keeper::open(instance.clone(), objects);
        let keeper = Arc::new(keeper.await.map_err(ArchiveError::Recover)?);
        let server = Server::bind(listen, keeper.clone(), limits, Arc::new(Counted));
        Ok((keeper, server.map_err(ArchiveError::Serve)?))
    };
    let (keeper, server) = match files.await {
        Ok(files) => files,
        Err(error) => {
            doors.close().await;
            return Err(error);
        }
    };
    if let Ok(address) = server.address() {
        tracing::info!("archive: serving http://{address}/");
    }
    let authority = trust.authority.clone();
    let mut tasks = JoinSet::new();
    if let Some(authority) = authority.clone() {
        tasks.spawn(upkeep::run(authority));
    }
    tasks.spawn(server.run());
    let directory = Directory::new(&ground, &instance, authority.clone());
    let directory = Arc::new(directory);
    tasks.spawn(directory.clone().run());
    tasks.spawn(roll::keep(book, directory.clone()));
    let desk = Arc::new(Desk {
        keeper,
        authority,
        pulse: health.pulse("archive", ROUND),
        health,
        stop: stop.clone(),
    });
    let filler = backfill::Filler::new(desk.clone(), &ground, &instance, &trust, &directory);
    tasks.spawn(filler.run());
    let follower = Follower::new(&ground, &instance, &trust, &directory);
    let (heard, news) = mpsc::channel(INBOX);
    let follower = follower.keeping(HELD.0, HELD.1);
    tasks.spawn(hear(follower, instance, heard));
    tokio::select! {
        () = follow(&desk, news) => {}
        () = stop.cancelled() => {}
    }
    desk.health.leaves();
    tasks.shutdown().await;
    doors.close().await;
    Ok(())
}

/// A record that was verified, as it came, or what is known of it.
enum Heard {
    Record(Box<Published>, Arc<FinalizedRound>),
    /// One that went by before it was looked at.
    Missed(Digest),
    /// A round is open.
    Round,
}

/// Follows the committee. A follower that waits must not be dropped, so it has a task of its own.
async fn hear(mut follower: Follower, instance: Instance, heard: mpsc::Sender<Heard>) {
    loop {
        for event in follower.next().await {
            let news = match event {
                Event::Finalized(done) => match follower.published(done.digest()) {
                    Some(published) => Heard::Record(Box::new(published.clone()), done),
                    None => Heard::Missed(*done.digest()),
                },
                // At the start the record before the open round is no news to a follower.
                Event::Opened(round) => follower
                    .published(&round.header().previous)
                    .and_then(|published| {
                        let done = published.record.verify(&instance, &published.bundles);
                        Some(Heard::Record(
                            Box::new(published.clone()),
                            Arc::new(done.ok()?),
                        ))
                    })
                    .unwrap_or(Heard::Round),
            };
            if heard.send(news).await.is_err() {
                return;
            }
        }
    }
}

/// Writes what happens.
async fn follow(desk: &Desk, mut news: mpsc::Receiver<Heard>) {
    let mut heard: Option<Instant> = None;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        desk.pulse.beat();
        tokio::select! {
            news = news.recv() => {
                heard = Some(Instant::now());
                match news {
                    None => return,
                    Some(Heard::Record(published, done)) => desk.keep(*published, done).await,
                    // The record behind it will name it, and it is asked for.
                    Some(Heard::Missed(record)) => tracing::warn!(
                        record = %record.short(),
                        "archive: a record went by before it was written"
                    ),
                    Some(Heard::Round) => {}
                }
            }
            _ = tick.tick() => desk.look(heard).await,
        }
    }
}

impl Desk {
    /// Writes a record, for as long as the store does not take it.
    async fn keep(&self, published: Published, done: Arc<FinalizedRound>) {
        let roster = done.round().roster().iter();
        let evidence = roster.filter_map(|server| {
            let authority = self.authority.as_ref()?;
            let credential = authority.credential(server.digest())?;
            Some((*server.digest(), credential))
        });
        let arrival = Arrival {
            evidence: evidence.collect(),
            published,
            done,
        };
        let number = arrival.done.round().header().number;
        let mut pause = PAUSES.0;
        loop {
            self.pulse.beat();
            match self.keeper.add(&arrival).await {
                Ok(new) => {
                    if new {
                        metrics::archive_kept();
                        tracing::info!(
                            round = %format_args!("r{number}"),
                            record = %arrival.done.digest().short(),
                            "archive: kept a record"
                        );
                    }
                    return;
                }
                Err(error) => {
                    tracing::error!(because = %chain(&error), "archive: a record was not written");
                    let text = format!("round {number} was not written: {error}");
                    self.health.found(vec![Reason::new(Code::Store, text)]);
                    // It is not what the store could take another time.
                    if matches!(error, KeepError::Other | KeepError::Encode(_)) {
                        return;
                    }
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }

    async fn look(&self, heard: Option<Instant>) {
        let silent = match heard {
            None => Some("no round was followed yet".to_owned()),
            Some(at) if at.elapsed() > SILENCE => Some(format!(
                "no round was followed for {} s",
                at.elapsed().as_secs()
            )),
            Some(_) => None,
        };
        let reasons = silent.map(|text| Reason::new(Code::Round, text));
        self.health.found(reasons.into_iter().collect());
        let gaps = self.keeper.gaps().await;
        metrics::archive_shelf(gaps.len(), self.keeper.subscribers());
    }
}
