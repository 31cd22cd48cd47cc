//! A follower between servers that lie. It stands on a socket on loopback that
//! knows nobody; news is put into its hands.

use std::collections::BTreeMap;

use core::net::{Ipv4Addr, SocketAddr};

use zipnet_protocol::{
    Certificate, CertificateError, Certification, Epoch, HeaderError, KeyError, PartialError,
    RecordError, RoundHeader, SignedHeader,
};

use super::*;
use crate::{
    book::{AtDoors, Book},
    entropy,
    roles::common::peer_id,
    testing::{Final, State, World, give_all},
    wire::{News, Opened},
};
use zipnet_door::{Doors, Reach};

pub(super) async fn follower(
    world: &World,
    adjust: impl FnOnce(&mut TrustSettings),
) -> (Arc<Doors>, Follower) {
    let bind = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let doors = Doors::open(&entropy::fresh().unwrap(), bind, &Reach::Direct).await;
    let doors = doors.unwrap();
    let instance = &world.rules.instance;
    let mut trust = world.trust();
    adjust(&mut trust);
    let ground: Arc<dyn Ground> = Arc::new(AtDoors(Book::new(doors.clone(), &[])));
    let directory = Arc::new(Directory::new(&ground, instance, None));
    let follower = Follower::new(&ground, instance, &trust, &directory);
    (doors, follower)
}

/// The next round of a state, with its header as some server would have it.
fn opened(world: &World, state: &State, change: impl FnOnce(&mut RoundHeader)) -> Opened {
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
        aggregators: Vec::new(),
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

/// Who hands the news out.
pub(super) fn server_peer(server: usize) -> PeerId {
    let seed = zeroize::Zeroizing::new([u8::try_from(server).unwrap(); 32]);
    let key = zipnet_protocol::SigningSecret::from_seed(&seed).peer_key();
    peer_id(&key).unwrap()
}

/// The numbers of what is reported, and what is wrong.
fn take(follower: &mut Follower, news: News) -> (Vec<u64>, Option<NewsError>) {
    take_of(follower, news, 0, 1)
}

/// The same of one of several servers, when so many have to speak of an epoch.
fn take_of(
    follower: &mut Follower,
    news: News,
    server: usize,
    quorum: usize,
) -> (Vec<u64>, Option<NewsError>) {
    let Taken {
        events, problem, ..
    } = follower.take_of(news, server_peer(server), quorum);
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
    let (_node, mut follower) = follower(&world, |trust| {
        trust.required = vec![wanted];
        trust.min_servers = Some(2);
    })
    .await;
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
    // Servers of the last roster are known; to a stranger they have to be shown.
    let (_node, mut knowing) = self::follower(&world, |_| {}).await;
    take(&mut knowing, records(&[&second]));
    let (events, problem) = take(&mut knowing, open(bare.clone()));
    assert_eq!(events, [3]);
    assert!(problem.is_none());
    let (_node, mut stranger) = self::follower(&world, |_| {}).await;
    let (events, problem) = take(&mut stranger, open(bare));
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
    world.open_with(&mut state, header);
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
        world.made_up(&state, &[&world.servers[1]], |header| {
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

/// The same record with another partial of one server, for which all servers
/// sign again: one in which no slot holds what was sealed. It takes a roster
/// that lies as a whole, since each signs what all have committed to.
fn signed_again(world: &World, done: &Published, server: usize) -> Published {
    let mut other = done.clone();
    let liar = &world.servers[server];
    let servers: Vec<_> = world.servers.iter().collect();
    let again = |partial: &zipnet_protocol::SignedPartial| {
        let mut signers = servers.iter();
        let signer = signers
            .find(|server| server.id() == partial.server)
            .unwrap();
        let change = if signer.id() == liar.id() { 0x55 } else { 0 };
        let vector: Vec<u8> = partial.vector.iter().map(|byte| byte ^ change).collect();
        zipnet_protocol::Partial::new(
            partial.context,
            partial.aggregate,
            partial.server,
            vector.into(),
            &signer.signing,
        )
    };
    let partials: Vec<_> = other.record.partials.iter().map(again).collect();
    other.record.partials = give_all(&servers, &partials);
    other
}

fn opened_numbers(events: &[Event]) -> Vec<u64> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Opened(round) => Some(round.header().number),
            Event::Finalized(_) => None,
        })
        .collect()
}

#[tokio::test]
async fn a1_a_round_whose_predecessor_is_missing_is_a_gap_and_still_to_be_covered() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let rounds: Vec<_> = (0..3).map(|_| world.play(&mut state, &[0, 1, 2])).collect();
    let (_node, mut follower) = follower(&world, |_| {}).await;
    take(&mut follower, records(&[&rounds[0]]));
    // Records 2 and 3 are kept back.
    let next = open(opened(&world, &state, |_| {}));
    let taken = follower.take_of(next, server_peer(0), 1);
    assert_eq!(opened_numbers(&taken.events), [4]);
    assert!(taken.gap, "whoever gave this is not the one to stay with");
    // Nobody is there to be asked. What comes later is still followed.
    let fourth = world.play(&mut state, &[0, 1, 2]);
    assert_eq!(take(&mut follower, records(&[&fourth])).0, [4]);
}

#[tokio::test]
async fn a1_what_is_missing_is_filled_in_order_and_only_by_what_leads_to_it() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let rounds: Vec<_> = (0..4).map(|_| world.play(&mut state, &[0, 1, 2])).collect();
    let (_node, mut follower) = follower(&world, |_| {}).await;
    take(&mut follower, records(&[&rounds[0]]));
    let wanted = *rounds[3].checked.digest();
    let gap = |best| Gap {
        wanted,
        certified: Some(u64::MAX),
        asked: BTreeSet::new(),
        failed: BTreeMap::new(),
        chain: Vec::new(),
        best,
    };
    // One server has all but the one that counts; it asks on, and there is
    // nobody: what came is not reported.
    follower.gap = Some(gap(Vec::new()));
    let most = records(&[&rounds[1], &rounds[2]]);
    assert_eq!(follower.filling(&most, server_peer(1)).len(), 0);

    let (_node, mut follower) = self::follower(&world, |_| {}).await;
    take(&mut follower, records(&[&rounds[0]]));
    follower.gap = Some(gap(Vec::new()));
    let all = records(&[&rounds[1], &rounds[2], &rounds[3]]);
    let numbers: Vec<_> = follower
        .filling(&all, server_peer(2))
        .iter()
        .map(|event| match event {
            Event::Finalized(done) => done.round().header().number,
            Event::Opened(_) => 0,
        })
        .collect();
    assert_eq!(numbers, [2, 3, 4]);
    let next = open(opened(&world, &state, |_| {}));
    assert_eq!(take(&mut follower, next).0, [5]);
}

#[tokio::test]
async fn a1_a_record_signed_a_second_time_gives_way_to_the_one_that_counts() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let first = world.play(&mut state, &[0, 1, 2]);
    let second = world.play(&mut state, &[0, 1, 2]);
    let forged = signed_again(&world, &second.published, 1);
    let (_node, mut follower) = follower(&world, |_| {}).await;
    take(&mut follower, records(&[&first]));
    let news = News {
        records: vec![forged],
        open: None,
    };
    assert_eq!(take(&mut follower, news).0, [2], "it verifies");
    // The certified round names another record. It is asked for from behind the
    // last one that is certain.
    assert_eq!(
        follower.course.certain(),
        Some(first.checked.round().position())
    );
    let next = opened(&world, &state, |_| {});
    follower.held = Some(Held {
        round: Arc::new(
            next.certificate
                .verify(&world.rules.instance, &next.bundles)
                .unwrap(),
        ),
        until: Instant::now(),
    });
    follower.gap = Some(Gap {
        wanted: *second.checked.digest(),
        certified: Some(u64::MAX),
        asked: BTreeSet::new(),
        failed: BTreeMap::new(),
        chain: Vec::new(),
        best: Vec::new(),
    });
    let events = follower.filling(&records(&[&second]), server_peer(2));
    assert!(
        matches!(&events[..], [Event::Finalized(done), Event::Opened(_)]
        if done.digest() == second.checked.digest())
    );
    let third = world.play(&mut state, &[0, 1, 2]);
    assert_eq!(take(&mut follower, records(&[&third])).0, [3]);
}

#[tokio::test]
async fn a10_only_later_rounds_are_reported_as_open() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let first = world.play(&mut state, &[0, 1, 2]);
    let old = opened(&world, &state, |_| {});
    let second = world.play(&mut state, &[0, 1, 2]);
    let (_node, mut follower) = follower(&world, |_| {}).await;
    take(&mut follower, records(&[&first]));
    assert_eq!(take(&mut follower, records(&[&second])).0, [2]);
    let (events, problem) = take(&mut follower, open(old));
    assert_eq!(events, [0_u64; 0]);
    assert!(problem.is_none(), "a server that is late is no liar");
    let next = opened(&world, &state, |_| {});
    assert_eq!(take(&mut follower, open(next.clone())).0, [3]);
    assert_eq!(take(&mut follower, open(next)).0, [0_u64; 0], "and once");
    // A made-up header lacks the words of the others.
    let mut alone = opened(&world, &state, |header| header.number += 1 << 19);
    alone.certificate.signatures.truncate(1);
    let (events, problem) = take(&mut follower, open(alone));
    assert_eq!(events, [0_u64; 0]);
    assert!(matches!(problem, Some(NewsError::Certificate(_))));
}

#[tokio::test]
async fn a13_one_server_alone_brings_nobody_into_another_epoch() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let first = world.play(&mut state, &[0, 1, 2]);
    let stray = other_epoch(&mut world);
    let (_node, mut follower) = follower(&world, |_| {}).await;
    let mut hears = |news, server| take_of(&mut follower, news, server, 2);
    // Two are asked where to start.
    assert!(hears(records(&[&first]), 0).1.is_some());
    assert!(hears(records(&[&first]), 1).1.is_none());
    for _ in 0..10 {
        let (events, problem) = hears(records(&[&stray]), 2);
        assert_eq!(events, [0_u64; 0], "records that only it has kept");
        assert!(matches!(problem, Some(NewsError::OtherEpoch)));
    }
    let second = world.play(&mut state, &[0, 1, 2]);
    assert_eq!(hears(records(&[&second]), 2).0, [2]);
    // The committee did start over.
    assert_eq!(hears(records(&[&stray]), 2).0, [0_u64; 0]);
    assert_eq!(hears(records(&[&stray]), 0).0, [1]);
}

#[tokio::test]
async fn a13_in_an_epoch_that_the_committee_returns_to_it_is_asked_at_the_right_place() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let rounds: Vec<_> = (0..7).map(|_| world.play(&mut state, &[0, 1, 2])).collect();
    let stray = other_epoch(&mut world);
    let (_node, mut follower) = follower(&world, |_| {}).await;
    take(&mut follower, records(&[&rounds[0]]));
    take(&mut follower, records(&[&rounds[1], &rounds[2]]));
    assert_eq!(take(&mut follower, records(&[&stray])).0, [1]);
    // Servers that are asked with the stray epoch answer from their oldest
    // record on: what is known already says nothing.
    let old = records(&[&rounds[0], &rounds[1], &rounds[2], &rounds[3]]);
    assert!(take(&mut follower, old.clone()).1.is_some());
    // An open round says that the committee goes on there, and where to ask.
    let news = News {
        open: Some(opened(&world, &state, |_| {})),
        ..old
    };
    assert_eq!(take(&mut follower, news).0, [8]);
    let after = rounds[2].checked.round().position();
    assert_eq!(follower.course.certain(), Some(after));
}

/// The newest record may be one of servers that nobody vouches for any more. Who begins
/// with the open round reads on from there, and goes nowhere on the record's word.
#[tokio::test]
async fn a_newcomer_begins_at_the_open_round_if_it_does_not_trust_the_newest_record() {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let mut header = world.header(&state);
    header.roster.truncate(2);
    world.open_with(&mut state, header);
    world.aggregate(&mut state, &[0, 1, 2]);
    let of_two = world.partials(&mut state, &[0, 1]).unwrap();
    let (node, mut follower) = follower(&world, |trust| trust.committee_size = Some(3)).await;

    let (events, problem) = take(&mut follower, records(&[&of_two]));
    assert!(events.is_empty());
    assert!(matches!(problem, Some(NewsError::SmallRoster { .. })));
    let next = opened(&world, &state, |_| {});
    let mut news = records(&[&of_two]);
    news.open = Some(next);
    let (events, problem) = take(&mut follower, news);
    assert_eq!((events, problem.is_none()), (vec![2], true));
    let done = world.play(&mut state, &[0, 1, 2]);
    let (events, problem) = take(&mut follower, records(&[&done]));
    assert_eq!((events, problem.is_none()), (vec![2], true));
    // From here on, a record that is not trusted stops the page, as ever.
    let (_, problem) = take(&mut follower, records(&[&of_two, &done]));
    assert!(matches!(problem, Some(NewsError::SmallRoster { .. })));
    node.close().await;
}
