//! A follower between servers that lie. It stands on a node on loopback that
//! knows nobody; news is put into its hands.

use core::net::{Ipv4Addr, SocketAddr};

use zipnet_protocol::{
    Certificate, Certification, HeaderError, KeyError, PartialError, RoundHeader, SignedHeader,
};

use super::*;
use crate::{
    committee::{
        command::Published,
        state::{CommitteeState, Final},
        tests::{
            fixture::{World, accept},
            made_up::made_up,
        },
    },
    network::{Node, Presence},
    roles::common::peer_id,
    settings::{NetworkSettings, RelaySetting, TransportSeed},
    wire::Opened,
};

async fn follower(world: &World, adjust: impl FnOnce(&mut TrustSettings)) -> (Node, Follower) {
    let settings = NetworkSettings {
        universe: "zipnet.follow.test".to_owned(),
        seed: Some(TransportSeed::from_text("a follower")),
        bootstrap: Vec::new(),
        bind: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        relay: RelaySetting::Embedded,
    };
    let node = Node::join(&settings, Presence::Client).await.unwrap();
    let instance = &world.rules.instance;
    let mut trust = TrustSettings {
        name: instance.name().clone(),
        committee: Some(*instance.committee()),
        required: Vec::new(),
        committee_size: None,
        min_servers: None,
        min_participants: 1,
        aggregators: Vec::new(),
        authority: None,
    };
    adjust(&mut trust);
    let directory = Arc::new(Directory::new(node.network(), instance, None));
    let follower = Follower::new(node.network().clone(), instance, &trust, &directory);
    (node, follower)
}

/// The next round of a state, with its header as some server would have it.
fn opened(world: &World, state: &CommitteeState, change: impl FnOnce(&mut RoundHeader)) -> Opened {
    let mut header = world.header(state);
    change(&mut header);
    let opener = &world.servers[0];
    let header = header.sign(opener.id(), &opener.signing);
    Opened {
        certificate: certificate(world, header),
        bundles: world
            .servers
            .iter()
            .map(|server| server.admitted.bundle().clone())
            .collect(),
    }
}

/// Every server's word for a header, whatever the guards would say.
fn certificate(world: &World, header: SignedHeader) -> Certificate {
    let context = header.header().context();
    let roster = header.header().roster.iter();
    let signatures = roster
        .filter_map(|entry| {
            world
                .servers
                .iter()
                .find(|server| server.id() == entry.server)
        })
        .map(|server| Certification::sign(context, server.id(), &server.signing))
        .map(|word| *word.signature())
        .collect();
    Certificate { header, signatures }
}

fn open(open: Opened) -> News {
    News {
        records: Vec::new(),
        open: Some(open),
    }
}

fn records(rounds: &[&Arc<Final>]) -> News {
    News {
        records: rounds.iter().map(|done| done.published.clone()).collect(),
        open: None,
    }
}

fn forged(record: &Published) -> News {
    News {
        records: vec![record.clone()],
        open: None,
    }
}

/// The numbers of what is reported, and what is wrong.
fn take(follower: &mut Follower, news: News) -> (Vec<u64>, Option<NewsError>) {
    let (events, problem) = follower.take(news);
    let numbers = events
        .iter()
        .map(|event| match event {
            Event::Opened(round) => round.header().number,
            Event::Finalized(done) => done.round().header().number,
        })
        .collect();
    (numbers, problem)
}

#[tokio::test]
async fn i5_only_trusted_rosters_are_reported_as_open() {
    let world = World::new(3, 3);
    let state = world.founded();
    let wanted = peer_id(world.servers[1].admitted.peer()).unwrap();
    let (_node, mut follower) = follower(&world, |trust| {
        trust.required = vec![wanted];
        trust.committee_size = Some(3);
        trust.min_participants = 2;
    })
    .await;
    let mut refused = |change: fn(&mut RoundHeader)| {
        let (events, problem) = take(&mut follower, open(opened(&world, &state, change)));
        assert_eq!(events, [0_u64; 0]);
        problem.expect("refused")
    };
    let error = refused(|header| header.roster.truncate(2));
    assert!(matches!(error, NewsError::SmallRoster { found: 2, .. }));
    let error = refused(|header| {
        header.roster.truncate(1);
        header.committee_size = 1;
    });
    assert!(matches!(error, NewsError::SmallRoster { found: 1, .. }));
    let error = refused(|header| header.committee_size = 4);
    assert!(matches!(error, NewsError::SmallRoster { .. }));
    let error = refused(|header| header.min_participants = 1);
    assert!(matches!(
        error,
        NewsError::FewParticipants {
            found: 1,
            needed: 2
        }
    ));
    let error = refused(|header| header.number = (1 << 20) + 1);
    assert!(matches!(error, NewsError::Ahead { .. }));
    let error = refused(|header| header.number = u64::MAX);
    assert!(matches!(error, NewsError::Ahead { .. }));

    let honest = open(opened(&world, &state, |_| {}));
    let (events, problem) = take(&mut follower, honest);
    assert_eq!(events, [1]);
    assert!(problem.is_none());
}

#[tokio::test]
async fn i5_a_roster_without_a_required_server_is_refused() {
    let world = World::new(3, 3);
    let state = world.founded();
    let wanted = peer_id(world.servers[1].admitted.peer()).unwrap();
    let (_node, mut follower) = follower(&world, |trust| trust.required = vec![wanted]).await;
    let without = opened(&world, &state, |header| {
        header.roster.remove(1);
    });
    let (events, problem) = take(&mut follower, open(without));
    assert_eq!(events, [0_u64; 0]);
    assert!(matches!(problem, Some(NewsError::Required { .. })));
    let with = opened(&world, &state, |header| {
        header.roster.remove(2);
    });
    let (events, problem) = take(&mut follower, open(with));
    assert_eq!(events, [1]);
    assert!(problem.is_none());
}

#[tokio::test]
async fn i6_news_that_does_not_verify_is_refused() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let first = world.play(&mut state, &[0, 1, 2]);
    let second = world.play(&mut state, &[0, 1, 2]);
    let (_node, mut follower) = follower(&world, |_| {}).await;
    assert!(take(&mut follower, records(&[&first])).1.is_none());

    let mut bad = second.published.clone();
    let vector = &mut bad.record.partials[1].vector;
    *vector = vec![0; vector.len()].into();
    let (events, problem) = take(&mut follower, forged(&bad));
    assert_eq!(events, [0_u64; 0]);
    assert!(matches!(
        problem,
        Some(NewsError::Record(RecordError::Partial(
            PartialError::Signature(KeyError::Signature)
        )))
    ));
    let mut bare = opened(&world, &state, |_| {});
    bare.bundles.pop();
    let (events, problem) = take(&mut follower, open(bare));
    assert_eq!(events, [0_u64; 0]);
    assert!(matches!(
        problem,
        Some(NewsError::Certificate(CertificateError::Header(
            HeaderError::MissingBundle { .. }
        )))
    ));
    // What comes before a bad record counts.
    let third = world.play(&mut state, &[0, 1, 2]);
    let mut news = records(&[&second, &third]);
    news.records[1].record.partials.pop();
    let (events, problem) = take(&mut follower, news);
    assert_eq!(events, [2]);
    assert!(problem.is_some());
    assert_eq!(take(&mut follower, records(&[&third])).0, [3]);
}

#[tokio::test]
async fn i6_each_record_is_reported_once_and_in_order() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let rounds: Vec<_> = (0..6).map(|_| world.play(&mut state, &[0, 1, 2])).collect();
    let all: Vec<_> = rounds.iter().collect();
    let (_node, mut follower) = follower(&world, |_| {}).await;
    // The first one is where to start, not news.
    assert_eq!(take(&mut follower, records(&all[..1])).0, [0_u64; 0]);
    assert_eq!(take(&mut follower, records(&all[..3])).0, [2, 3]);
    assert_eq!(take(&mut follower, records(&all[..3])).0, [0_u64; 0]);
    let backwards = [all[4], all[3]];
    assert_eq!(take(&mut follower, records(&backwards)).0, [5]);
    assert_eq!(take(&mut follower, records(&all[4..])).0, [6]);
}

#[tokio::test]
async fn i6_a_round_opens_only_behind_a_page_that_is_not_full() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let rounds: Vec<_> = (0..=MAX_RECORDS)
        .map(|_| world.play(&mut state, &[0, 1, 2]))
        .collect();
    let all: Vec<_> = rounds.iter().collect();
    let next = u64::try_from(rounds.len()).unwrap() + 1;
    let (_node, mut follower) = follower(&world, |_| {}).await;
    take(&mut follower, records(&all[..1]));
    let mut news = records(&all[1..]);
    news.open = Some(opened(&world, &state, |_| {}));
    let full: Vec<_> = (2..next).collect();
    assert_eq!(take(&mut follower, news).0, full);
    let rest = open(opened(&world, &state, |_| {}));
    assert_eq!(take(&mut follower, rest).0, [next]);
}

/// Another life of the same committee.
fn other_epoch(world: &mut World) -> Arc<Final> {
    let mut state = world.founded();
    let header = RoundHeader {
        epoch: Epoch::new([0x0f; 32]),
        ..world.header(&state)
    };
    accept(&mut state, &world.open_with(0, header));
    world.certify(&mut state);
    world.aggregate(&mut state, &[0, 1, 2]);
    world.partials(&mut state, &[0, 1, 2]).unwrap()
}

#[tokio::test]
async fn i6_an_epoch_that_is_over_is_not_reported_again() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let first = world.play(&mut state, &[0, 1, 2]);
    let second = world.play(&mut state, &[0, 1, 2]);
    let later = other_epoch(&mut world);
    let (_node, mut follower) = follower(&world, |_| {}).await;
    take(&mut follower, records(&[&first]));
    assert_eq!(take(&mut follower, records(&[&second])).0, [2]);
    assert_eq!(take(&mut follower, records(&[&later])).0, [1]);
    for old in [&first, &second] {
        assert_eq!(take(&mut follower, records(&[old])).0, [0_u64; 0]);
    }
    assert_eq!(take(&mut follower, records(&[&later])).0, [0_u64; 0]);
}

#[tokio::test]
async fn i6_a_committee_that_returns_to_an_epoch_is_followed() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let first = world.play(&mut state, &[0, 1, 2]);
    let second = world.play(&mut state, &[0, 1, 2]);
    let stray = other_epoch(&mut world);
    let (_node, mut follower) = follower(&world, |_| {}).await;
    take(&mut follower, records(&[&first]));
    assert_eq!(take(&mut follower, records(&[&second])).0, [2]);
    assert_eq!(take(&mut follower, records(&[&stray])).0, [1]);
    // The servers were reminded of the longer history and go on with it.
    let third = world.play(&mut state, &[0, 1, 2]);
    assert_eq!(take(&mut follower, records(&[&third])).0, [3]);
    let next = opened(&world, &state, |_| {});
    assert_eq!(take(&mut follower, open(next)).0, [4]);
}

#[tokio::test]
async fn i6_a_record_that_is_not_trusted_moves_nothing() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let first = world.play(&mut state, &[0, 1, 2]);
    let made = |change: fn(&mut RoundHeader)| {
        made_up(&world, &state, &[&world.servers[1]], |header| {
            header.committee_size = 1;
            change(header);
        })
    };
    let lies = [
        made(|header| header.number = u64::MAX),
        made(|header| header.epoch = Epoch::new([0x0f; 32])),
    ];
    let second = world.play(&mut state, &[0, 1, 2]);
    for lie in &lies {
        let (_node, mut follower) = follower(&world, |trust| trust.committee_size = Some(3)).await;
        take(&mut follower, records(&[&first]));
        let (events, problem) = take(&mut follower, forged(lie));
        assert_eq!(events, [0_u64; 0]);
        assert!(matches!(problem, Some(NewsError::SmallRoster { .. })));
        // One server made that up; the others go on as ever.
        assert_eq!(take(&mut follower, records(&[&second])).0, [2]);
        let next = opened(&world, &state, |_| {});
        assert_eq!(take(&mut follower, open(next)).0, [3]);
    }
}
