//! A follower that reads lightly, between servers that lie.

use zipnet_door::Doors;
use zipnet_protocol::{CertifiedRound, HeaderDelta, LightRecord};

use super::{
    tests::{follower, server_peer},
    *,
};
use crate::{
    testing::{Final, World, certified_anyhow},
    wire::{LightHeader, LightNews, LightOpened, LightPublished},
};

/// What a reader who saw the round when it was open is told of it.
fn light(done: &Final) -> LightPublished {
    LightPublished {
        number: done.checked.round().position().1,
        round: None,
        record: LightRecord::of(&done.checked),
    }
}

fn whole(done: &Final) -> LightPublished {
    let published = &done.published;
    LightPublished {
        round: Some((published.record.header.clone(), published.bundles.clone())),
        ..light(done)
    }
}

/// Another broadcast than that of the round.
fn made_up(done: &Final) -> LightPublished {
    let honest = light(done);
    let mut broadcast = honest.record.broadcast.to_vec();
    broadcast[0] ^= 1;
    let record = LightRecord {
        broadcast: broadcast.into(),
        ..honest.record
    };
    LightPublished { record, ..honest }
}

fn opened(round: &CertifiedRound, base: Option<(&Final, bool)>) -> LightOpened {
    let delta = base.and_then(|(base, told)| {
        HeaderDelta::between(base.checked.round().header(), round.signed(), told)
    });
    let header = match delta {
        Some(delta) => LightHeader::Delta(delta),
        None => LightHeader::Whole(round.signed().clone(), round.bundles()),
    };
    LightOpened {
        header,
        signatures: round.certificate().signatures.clone(),
        aggregators: None,
    }
}

fn news(records: Vec<LightPublished>, open: Option<LightOpened>) -> LightNews {
    LightNews { records, open }
}

/// What is reported, as `opened` and `finalized` with numbers, and what is wrong.
fn hear(
    follower: &mut Follower,
    server: usize,
    news: LightNews,
) -> (Vec<String>, Option<NewsError>) {
    let from = server_peer(server);
    let told = follower.understand(news, &from);
    let Taken {
        events, problem, ..
    } = follower.take_of(told, from, 1);
    let said = events.iter().map(|event| match event {
        Event::Opened(round) => format!("opened {}", round.position().1),
        Event::Finalized(done) => format!("finalized {}", done.round().position().1),
    });
    (said.collect(), problem)
}

/// Three rounds that were played, and the fourth one, which is open; with each round as
/// it was certified.
struct Played {
    done: Vec<Arc<Final>>,
    rounds: Vec<Arc<CertifiedRound>>,
}

fn play() -> (World, Played) {
    let mut world = World::new(3, 3);
    let mut state = world.founded();
    let (mut done, mut rounds) = (Vec::new(), Vec::new());
    for number in 0..4 {
        rounds.push(world.open(&mut state));
        if number < 3 {
            world.aggregate(&mut state, &[0, 1, 2]);
            done.push(world.partials(&mut state, &[0, 1, 2]).unwrap());
        }
    }
    (world, Played { done, rounds })
}

/// Whoever reads lightly, and has heard of nothing yet.
async fn reader(world: &World) -> (Arc<Doors>, Follower) {
    let (doors, follower) = follower(world, |_| {}).await;
    (doors, follower.light())
}

/// The same, who was told of the first two rounds.
async fn reader_of_two(world: &World, played: &Played) -> (Arc<Doors>, Follower) {
    let (doors, mut follower) = reader(world).await;
    let Played { done, rounds } = played;
    let first = news(vec![whole(&done[0])], Some(opened(&rounds[1], None)));
    assert_eq!(hear(&mut follower, 0, first).0, ["opened 2"]);
    (doors, follower)
}

#[tokio::test]
async fn i13_a_light_record_is_reported_once_the_next_round_names_it() {
    let (world, Played { done, rounds }) = play();
    let (_node, mut follower) = reader(&world).await;
    let mut hear = |news| {
        let (said, problem) = hear(&mut follower, 0, news);
        assert!(problem.is_none(), "{problem:?}");
        said
    };
    // The first one is where to begin.
    assert!(hear(news(vec![whole(&done[0])], None)).is_empty());
    let second = opened(&rounds[1], None);
    assert_eq!(hear(news(vec![], Some(second.clone()))), ["opened 2"]);
    assert!(hear(news(vec![light(&done[1])], None)).is_empty());
    let third = opened(&rounds[2], Some((&done[1], true)));
    assert_eq!(
        hear(news(vec![], Some(third.clone()))),
        ["finalized 2", "opened 3"]
    );
    // Told again, nothing of it is news.
    let again = news(vec![light(&done[1])], Some(third));
    assert!(hear(again).is_empty());
    // In one piece.
    let fourth = opened(&rounds[3], Some((&done[2], true)));
    let both = news(vec![light(&done[2])], Some(fourth));
    assert_eq!(hear(both), ["finalized 3", "opened 4"]);
}

#[tokio::test]
async fn i13_a_made_up_light_record_is_never_reported_and_the_right_one_is() {
    let (world, played) = play();
    let (_node, mut follower) = reader_of_two(&world, &played).await;
    let Played { done, rounds } = played;
    let lie = news(vec![made_up(&done[1])], None);
    assert!(hear(&mut follower, 0, lie).0.is_empty());
    // The liar cannot tell the next round on top of it,
    let next = opened(&rounds[2], Some((&done[1], true)));
    let (said, problem) = hear(&mut follower, 0, news(vec![], Some(next)));
    assert!(said.is_empty());
    assert!(matches!(problem, Some(NewsError::Certificate(_))));
    // and another one's record is the one that the certificate names, whoever shows that.
    let right = news(vec![light(&done[1])], None);
    assert!(hear(&mut follower, 2, right).0.is_empty());
    let next = opened(&rounds[2], Some((&done[1], false)));
    let (said, problem) = hear(&mut follower, 1, news(vec![], Some(next)));
    assert!(problem.is_none());
    assert_eq!(said, ["finalized 2", "opened 3"]);
}

#[tokio::test]
async fn i13_a_certificate_without_every_signature_proves_no_light_record() {
    let (world, played) = play();
    let (_node, mut follower) = reader_of_two(&world, &played).await;
    let Played { done, rounds } = played;
    let mut next = opened(&rounds[2], Some((&done[1], true)));
    next.signatures[2] = next.signatures[1];
    let (said, problem) = hear(&mut follower, 0, news(vec![light(&done[1])], Some(next)));
    assert!(said.is_empty());
    assert!(matches!(problem, Some(NewsError::Certificate(_))));
    // Two of three who made up a round on top of another record have no third signature.
    let header = zipnet_protocol::RoundHeader {
        previous: Digest::new([9; 32]),
        ..rounds[2].header().clone()
    };
    let opener = &world.servers[0];
    let signed = header.sign(opener.id(), &opener.signing);
    let round = signed.verify(&world.rules.instance, &rounds[2].bundles());
    let forged = certified_anyhow(&world.servers, &round.unwrap());
    let mut forged = opened(&forged, None);
    forged.signatures.truncate(2);
    let (said, problem) = hear(&mut follower, 1, news(vec![], Some(forged)));
    assert!(said.is_empty() && problem.is_some());
}

#[tokio::test]
async fn what_builds_on_a_round_that_is_not_at_hand_is_refused_in_words() {
    let (world, Played { done, rounds }) = play();
    let (_node, mut follower) = reader(&world).await;
    for told in [
        news(vec![light(&done[1])], None),
        news(vec![], Some(opened(&rounds[2], Some((&done[1], true))))),
    ] {
        let (said, problem) = hear(&mut follower, 0, told);
        assert!(said.is_empty());
        assert!(matches!(problem, Some(NewsError::Base)));
    }
    // Whole, it is understood.
    let (said, problem) = hear(
        &mut follower,
        0,
        news(vec![whole(&done[1])], Some(opened(&rounds[2], None))),
    );
    assert!(problem.is_none());
    assert_eq!(said, ["opened 3"]);
}

#[test]
fn i19_claims_are_bounded_and_lead_nobody_once_they_are_found_out() {
    let (_, Played { done, rounds }) = play();
    let claim = |at: usize| {
        let record = LightRecord::of(&done[at].checked);
        record.claim(done[at].checked.round().clone()).unwrap()
    };
    let mut claims = Claims::default();
    assert!(claims.push(claim(1), false) && !claims.push(claim(1), false));
    let (epoch, _) = rounds[0].position();
    assert_eq!(claims.reach(), None, "nobody who was asked has made it");
    claims.push(claim(1), true);
    assert_eq!(claims.reach(), Some((epoch, 2)));
    claims.certify(&rounds[1]);
    assert!(claims.proven().is_empty());
    claims.push(claim(2), true);
    claims.certify(&rounds[3]);
    let proven = claims.proven();
    assert_eq!(proven, [done[1].checked.clone(), done[2].checked.clone()]);
    assert_eq!(claims.reach(), Some((epoch, 3)));
    claims.forget();
    assert_eq!(claims.reach(), None);
    // Made-up ones, as many as one likes.
    let length = done[1].checked.broadcast().len();
    for at in 0..500_u32 {
        let mut lie = LightRecord::of(&done[1].checked);
        let mut bytes = vec![0; length];
        bytes[..4].copy_from_slice(&at.to_be_bytes());
        lie.broadcast = bytes.into();
        claims.push(lie.claim(done[1].checked.round().clone()).unwrap(), true);
        claims.tell(server_peer(0), *rounds[1].context(), Digest::ZERO);
    }
    assert!(claims.len() <= 64);
}
