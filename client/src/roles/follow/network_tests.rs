//! A follower on the network between servers of which most lie. Each is a door
//! on loopback that answers the calls of a server; what it gives out is played
//! by a committee in memory.

use core::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::{sync::watch, task::JoinSet, time::timeout_at};
use zipnet_door::{Desk, Door, DoorSettings, Doors, Limits, Reach};
use zipnet_protocol::LightRecord;

use super::*;
use crate::{
    book::{AtDoors, Book},
    settings::BootstrapHint,
    testing::{State, World, entropy},
    wire::{
        Follow, FollowLightCall, LightHeader, LightNews, LightOpened, LightPublished, Member,
        MemberCall, News, Opened, Published, Refused,
    },
};

/// How long anything may take.
const LONG: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub records: Vec<Published>,
    pub open: Option<Opened>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Honest,
    /// Shows open rounds and no record but the first.
    KeepsRecords,
    /// Shows records and no open round.
    KeepsRounds,
    /// Refuses in words.
    Refuses,
    /// Answers at once, and nothing.
    Empty,
    /// Fails two of three times when it is asked for what is missing.
    Stumbles,
    /// Shows light records of broadcasts that nobody made, and no whole record but the
    /// first.
    MakesUp,
    /// Does not keep records before this number.
    Forgets(u64),
}

const LOOPBACK: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What a server with this manner has for a request now, if anything.
fn news(history: &History, request: &Follow, manner: Manner) -> Option<News> {
    let position = |record: &Published| {
        let header = record.record.header.header();
        (header.epoch, header.number)
    };
    let mut records: Vec<_> = match request.after {
        None => history.records.last().cloned().into_iter().collect(),
        Some(after) => history
            .records
            .iter()
            .filter(|record| position(record) > after)
            .filter(|record| match manner {
                Manner::Forgets(before) => position(record).1 >= before,
                _ => true,
            })
            .take(MAX_RECORDS)
            .cloned()
            .collect(),
    };
    let context = |open: &Opened| open.certificate.header.header().context();
    let mut open = history
        .open
        .clone()
        .filter(|open| request.seen != Some(context(open)));
    if matches!(manner, Manner::KeepsRecords | Manner::MakesUp) && request.after.is_some() {
        records.clear();
    }
    if manner == Manner::KeepsRounds {
        open = None;
    }
    let some = request.after.is_none() || !records.is_empty() || open.is_some();
    some.then_some(News { records, open })
}

/// The same for one who reads lightly.
fn light_news(
    world: &Instance,
    history: &History,
    request: &Follow,
    manner: Manner,
) -> Option<LightNews> {
    let shown = match manner {
        Manner::MakesUp => Manner::Honest,
        other => other,
    };
    let News { records, open } = news(history, request, shown)?;
    let records = records.into_iter().map(|published| {
        let header = published.record.header.clone();
        let done = published.record.verify(world, &published.bundles).unwrap();
        let mut record = LightRecord::of(&done);
        if manner == Manner::MakesUp {
            record.broadcast = vec![7; record.broadcast.len()].into();
        }
        LightPublished {
            number: header.header().number,
            round: Some((header, published.bundles)),
            record,
        }
    });
    Some(LightNews {
        records: records.collect(),
        open: open.map(|open| LightOpened {
            header: LightHeader::Whole(open.certificate.header, open.bundles),
            signatures: open.certificate.signatures,
            aggregators: None,
        }),
    })
}

/// Answers when there is something to say, or nothing after the time that the caller
/// waits.
async fn wait_for<N: Default>(
    mut history: watch::Receiver<History>,
    request: &Follow,
    manner: Manner,
    news: impl Fn(&History, &Follow, Manner) -> Option<N>,
) -> Result<N, Refused> {
    match manner {
        Manner::Refuses => return Err(Refused::Text("not today".to_owned())),
        Manner::Empty => return Ok(N::default()),
        _ => {}
    }
    let wait = Duration::from_millis(request.wait.into());
    let until = Instant::now() + wait;
    loop {
        let found = news(&history.borrow_and_update(), request, manner);
        if let Some(news) = found {
            return Ok(news);
        }
        if !matches!(timeout_at(until, history.changed()).await, Ok(Ok(()))) {
            return Ok(N::default());
        }
    }
}

async fn server(
    world: &World,
    at: usize,
    manner: Manner,
    history: &watch::Receiver<History>,
) -> Door {
    let mut door = Door::open(&DoorSettings {
        seed: entropy("server transport", world.seed(at), 0),
        bind: Some(LOOPBACK),
        reach: Reach::Direct,
        limits: Limits::default(),
    })
    .await
    .unwrap();
    let member = Member {
        bundle: world.servers[at].admitted.bundle().clone(),
        credential: None,
    };
    let asked = Arc::new(AtomicU32::new(0));
    let (told, light) = (history.clone(), history.clone());
    let instance = world.rules.instance.clone();
    let desk = Desk::new(|_| true)
        .on::<MemberCall, _, _>(64, move |(), _| core::future::ready(Ok(member.clone())))
        .on::<FollowCall, _, _>(64, move |request: Follow, _| {
            let history = told.clone();
            // Whoever has a seat lets a server wait.
            let stumbles = manner == Manner::Stumbles
                && request.wait == 0
                && asked.fetch_add(1, Ordering::Relaxed) % 3 < 2;
            async move {
                if stumbles {
                    return Err(Refused::Busy);
                }
                wait_for(history, &request, manner, news).await
            }
        })
        .on::<FollowLightCall, _, _>(64, move |request: Follow, _| {
            let (history, instance) = (light.clone(), instance.clone());
            async move {
                wait_for(history, &request, manner, |history, request, manner| {
                    light_news(&instance, history, request, manner)
                })
                .await
            }
        });
    door.serve(desk);
    door
}

/// The round that is open in a state.
fn shown(state: &State) -> Opened {
    let round = state.current().unwrap().certified.as_ref().unwrap();
    Opened {
        certificate: round.certificate().clone(),
        bundles: round.bundles(),
        aggregators: Vec::new(),
    }
}

/// How a follower reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Full,
    Light,
}

/// Somebody who has met all servers of a world.
pub(super) struct Met {
    pub ground: Arc<dyn Ground>,
    pub directory: Arc<Directory>,
    pub trust: TrustSettings,
    pub tasks: JoinSet<()>,
    _servers: Vec<Door>,
}

/// Opens a door for each of these manners, and meets them.
pub(super) async fn meet(
    world: &World,
    manners: &[Manner],
    told: &watch::Receiver<History>,
) -> Met {
    let mut servers: Vec<Door> = Vec::new();
    for (at, manner) in manners.iter().enumerate() {
        servers.push(server(world, at, *manner, told).await);
    }
    let hints: Vec<_> = servers
        .iter()
        .map(|door| BootstrapHint {
            peer: door.id(),
            address: door.sockets().first().copied(),
        })
        .collect();
    let seed = entropy("a follower on the network", 0, 0);
    let doors = Doors::open(&seed, Some(LOOPBACK), &Reach::Direct).await;
    let instance = &world.rules.instance;
    let trust = world.trust();
    let ground: Arc<dyn Ground> = Arc::new(AtDoors(Book::new(doors.unwrap(), &hints)));
    let directory = Arc::new(Directory::new(&ground, instance, None));
    let mut tasks = JoinSet::new();
    tasks.spawn(directory.clone().run());
    let until = Instant::now() + LONG;
    while directory.servers().len() < manners.len() {
        let _ = timeout_at(until.min(Instant::now() + PAUSE), directory.changed()).await;
        assert!(Instant::now() < until, "servers were not found");
    }
    Met {
        ground,
        directory,
        trust,
        tasks,
        _servers: servers,
    }
}

/// Plays rounds before servers of these manners and checks that the follower
/// reports each record and each open round, once and in order.
async fn all_is_reported(reading: Reading, manners: &[Manner]) {
    let mut world = World::new(manners.len(), 3);
    let mut state = world.founded();
    let mut history = History::default();
    history
        .records
        .push(world.play(&mut state, &[0, 1, 2]).published.clone());
    let (tell, told) = watch::channel(history.clone());
    let mut met = meet(&world, manners, &told).await;
    let instance = &world.rules.instance;
    let mut follower = Follower::new(&met.ground, instance, &met.trust, &met.directory);
    if reading == Reading::Light {
        follower = follower.light();
    }
    let (report, mut reported) = tokio::sync::mpsc::unbounded_channel();
    met.tasks.spawn(async move {
        loop {
            for event in follower.next().await {
                let _ = report.send(event);
            }
        }
    });

    let mut finalized = Vec::new();
    let mut opened = Vec::new();
    for number in 2..12 {
        world.open(&mut state);
        history.open = Some(shown(&state));
        tell.send_replace(history.clone());
        let until = Instant::now() + LONG;
        while opened.last() != Some(&number)
            || finalized.last().is_none_or(|last| last + 1 < number) && number > 2
        {
            let event = timeout_at(until, reported.recv()).await;
            match event.unwrap_or_else(|_| panic!("round {number} of {manners:?} was not reported"))
            {
                Some(Event::Opened(round)) => opened.push(round.header().number),
                Some(Event::Finalized(done)) => finalized.push(done.round().header().number),
                None => panic!("the follower ended"),
            }
        }
        world.aggregate(&mut state, &[0, 1, 2]);
        let all: Vec<_> = (0..manners.len()).collect();
        let done = world.partials(&mut state, &all).unwrap();
        history.records.push(done.published.clone());
        history.open = None;
        tell.send_replace(history.clone());
    }
    assert_eq!(opened, (2..12).collect::<Vec<_>>());
    let reported: Vec<u64> = (2..2 + u64::try_from(finalized.len()).unwrap()).collect();
    assert_eq!(finalized, reported);
    assert!(finalized.len() >= 9, "{finalized:?}");
    met.tasks.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_servers_that_keep_records_back_keep_nobody_from_them() {
    all_is_reported(
        Reading::Full,
        &[Manner::KeepsRecords, Manner::Honest, Manner::KeepsRecords],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_servers_that_refuse_or_say_nothing_blind_nobody() {
    all_is_reported(
        Reading::Full,
        &[Manner::Refuses, Manner::Empty, Manner::Honest],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_a_server_that_keeps_rounds_back_and_one_that_keeps_records_back_blind_nobody() {
    all_is_reported(
        Reading::Full,
        &[Manner::Honest, Manner::KeepsRounds, Manner::KeepsRecords],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_the_only_server_that_hands_records_on_is_asked_again_if_it_does_not_answer() {
    all_is_reported(
        Reading::Full,
        &[Manner::KeepsRecords, Manner::Stumbles, Manner::KeepsRecords],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_servers_that_make_light_records_up_or_keep_them_back_keep_nobody_from_them() {
    let manners = [Manner::MakesUp, Manner::Honest, Manner::KeepsRecords];
    all_is_reported(Reading::Light, &manners).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_servers_that_make_light_records_up_and_keep_rounds_back_blind_nobody() {
    let manners = [Manner::MakesUp, Manner::KeepsRounds, Manner::Honest];
    all_is_reported(Reading::Light, &manners).await;
}
