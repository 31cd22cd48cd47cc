//! A leader that sends a newcomer a state that never was.

use zipnet_protocol::{
    AggregateError, AggregatorBundle, CertificateError, Certification, ClientBundle, Digest, Epoch,
    HeaderError, MAX_CLIENTS, MAX_ROSTER, PartialError, PeerKey, RecordError, RoundHeader,
    ServerId,
};

use super::{
    fixture::{NOBODY, World, accept, bytes, nonce},
    wire::{WireLeaves, WireOpen, WireSnapshot},
};
use crate::committee::{
    admission::Absent,
    aggregators::MAX_AGGREGATORS,
    command::Order,
    snapshot::SnapshotError,
    state::{CommitteeState, Refusal},
};

/// A server that left with so many boots.
const fn absent(least_boot: u64) -> Absent {
    Absent {
        least_boot,
        machine: None,
    }
}

/// A state with all parts: a head, a round with partials, and a registry that
/// changed since it opened.
fn full() -> (World, CommitteeState) {
    let mut world = World::new(3, 4);
    let mut state = world.founded_with(&[0, 1, 2]);
    world.play(&mut state, &[0, 1, 2]);
    world.open(&mut state);
    let late = Order::clients(world.client_bundles(&[3]));
    accept(&mut state, &world.say(0, &late));
    world.aggregate(&mut state, &[0, 1, 2]);
    assert!(world.partials(&mut state, &[0, 1]).is_none());
    (world, state)
}

/// What a newcomer says to a snapshot with one change, where it takes it as it
/// was.
fn forge(
    world: &World,
    state: &CommitteeState,
    change: impl FnOnce(&mut WireSnapshot),
) -> SnapshotError {
    let mut snapshot = WireSnapshot::of(state);
    let restore = |bytes: &[u8]| CommitteeState::restore(world.rules.clone(), bytes);
    assert!(bytes(&restore(&snapshot.bytes()).unwrap()) == bytes(state));
    change(&mut snapshot);
    restore(&snapshot.bytes()).expect_err("refused")
}

fn open(snapshot: &mut WireSnapshot) -> &mut WireOpen {
    snapshot.current.as_mut().unwrap()
}

macro_rules! assert_refused {
    ($error:expr, $pattern:pat) => {
        let error = $error;
        assert!(matches!(error, $pattern), "{error:?}");
    };
}

#[test]
fn i8_bytes_that_are_no_snapshot_are_refused() {
    let (world, state) = full();
    let good = bytes(&state);
    let restore = |bytes: &[u8]| CommitteeState::restore(world.rules.clone(), bytes);
    for length in [0, 1, 33, good.len() / 2, good.len() - 1] {
        assert_refused!(
            restore(&good[..length]).expect_err("cut"),
            SnapshotError::Decode(_)
        );
    }
    assert_refused!(
        restore(&[0xff; 64]).expect_err("garbage"),
        SnapshotError::Decode(_)
    );
    assert!(restore(&good).is_ok());
}

#[test]
fn i8_a_snapshot_has_a_size() {
    let (world, state) = full();
    let names = |count: usize| -> Vec<_> {
        (0..count)
            .map(|seed| {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&(seed as u64).to_be_bytes());
                (zipnet_protocol::ServerId::new(id), absent(1))
            })
            .collect()
    };
    assert_refused!(
        forge(&world, &state, |snapshot| {
            let bundle = snapshot.servers[0].clone();
            snapshot.servers = vec![bundle; MAX_ROSTER + 1];
        }),
        SnapshotError::Size { .. }
    );
    assert_refused!(
        forge(&world, &state, |snapshot| snapshot.absent =
            names(MAX_ROSTER + 1)),
        SnapshotError::Size { .. }
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            let client = snapshot.clients[0].clone();
            snapshot.clients = vec![client; MAX_CLIENTS + 1];
        }),
        SnapshotError::Size { .. }
    );
}

#[test]
fn i12_every_bundle_is_checked() {
    let (world, state) = full();
    let other = World::with(3, 4, |rules| {
        let name = "acme.mix.other".parse().unwrap();
        rules.instance = zipnet_protocol::Instance::new(name, *rules.instance.committee());
    });
    let foreign = other.client_bundles(&[0]).remove(0);
    assert_refused!(
        forge(&world, &state, |snapshot| {
            snapshot.servers[1] = other.servers[1].admitted.bundle().clone();
        }),
        SnapshotError::Bundle(_)
    );
    assert_refused!(
        forge(&world, &state, |snapshot| snapshot.clients[0].0 =
            foreign.clone()),
        SnapshotError::Bundle(_)
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            open(snapshot).registry.as_mut().unwrap()[0] = foreign.clone();
        }),
        SnapshotError::Bundle(_)
    );
}

#[test]
fn i6_the_head_is_checked() {
    let (world, state) = full();
    assert_refused!(
        forge(&world, &state, |snapshot| {
            let head = snapshot.head.as_mut().unwrap();
            let vector = &mut head.record.partials[2].vector;
            *vector = vec![0; vector.len()].into();
        }),
        SnapshotError::Record(RecordError::Partial(PartialError::Signature(_)))
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            snapshot.head.as_mut().unwrap().record.partials.remove(0);
        }),
        SnapshotError::Record(RecordError::Partials { .. })
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            snapshot.head.as_mut().unwrap().bundles.clear();
        }),
        SnapshotError::Record(RecordError::Header(HeaderError::MissingBundle { .. }))
    );
}

#[test]
fn i12_the_open_round_is_checked() {
    let (world, state) = full();
    let header = state.current().unwrap().round.header().clone();
    let resigned = |change: &dyn Fn(&mut RoundHeader), key: usize| {
        let mut header = header.clone();
        change(&mut header);
        let opener = world.servers[0].id();
        header.sign(opener, &world.servers[key].signing)
    };
    assert_refused!(
        forge(&world, &state, |snapshot| {
            open(snapshot).header = resigned(&|_| {}, 1);
        }),
        SnapshotError::Header(HeaderError::Signature(_))
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            open(snapshot).bundles.pop();
        }),
        SnapshotError::Header(HeaderError::MissingBundle { .. })
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            open(snapshot).header = resigned(&|header| header.registry = NOBODY, 0);
        }),
        SnapshotError::Registry
    );
    assert_refused!(
        forge(&world, &state, |snapshot| open(snapshot).registry = None),
        SnapshotError::Registry
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            open(snapshot).registry.as_mut().unwrap().pop();
        }),
        SnapshotError::Registry
    );
}

type Change = fn(&mut RoundHeader);

#[test]
fn i7_a_round_under_other_rules_is_refused() {
    let (world, state) = full();
    let with = |change: fn(&mut RoundHeader)| {
        let mut header = state.current().unwrap().round.header().clone();
        change(&mut header);
        let signed = header.sign(world.servers[0].id(), &world.servers[0].signing);
        let mut snapshot = WireSnapshot::of(&state);
        open(&mut snapshot).header = signed;
        // Certified by nobody yet, as it opens.
        open(&mut snapshot).certifications.clear();
        open(&mut snapshot).tally = None;
        CommitteeState::restore(world.rules.clone(), &snapshot.bytes())
    };
    let changes: [Change; 3] = [
        |header| header.min_participants = 1,
        |header| {
            header.committee_size = 1;
            header.roster.truncate(1);
        },
        |header| header.params = zipnet_protocol::RoundParams::new(8, 64).unwrap(),
    ];
    for change in changes {
        let error = with(change).expect_err("refused");
        assert!(
            matches!(error, SnapshotError::Inconsistent("open round")),
            "{error:?}"
        );
    }
    assert!(with(|header| header.nonce = nonce(99)).is_ok());
}

#[test]
fn i2_aggregate_and_partials_are_checked() {
    let (world, state) = full();
    let few = world.fold(state.current().unwrap(), &[1]);
    assert_refused!(
        forge(&world, &state, |snapshot| {
            open(snapshot).tally.as_mut().unwrap().aggregate = few;
        }),
        SnapshotError::Aggregate(AggregateError::TooFew { .. })
    );
    let other = world.fold(state.current().unwrap(), &[0, 1]);
    assert_refused!(
        forge(&world, &state, |snapshot| {
            open(snapshot).tally.as_mut().unwrap().aggregate = other;
        }),
        SnapshotError::Partial(PartialError::Aggregate)
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            let partials = &mut open(snapshot).tally.as_mut().unwrap().partials;
            partials[1] = partials[0].clone();
        }),
        SnapshotError::Partial(PartialError::Repeated { .. })
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            let partials = &mut open(snapshot).tally.as_mut().unwrap().partials;
            partials[1].server = world.servers[2].id();
        }),
        SnapshotError::Partial(PartialError::Signature(_))
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            let partials = &mut open(snapshot).tally.as_mut().unwrap().partials;
            partials[0].context = *state.head().unwrap().checked.context();
        }),
        SnapshotError::Partial(PartialError::Context)
    );
}

#[test]
fn i7_parts_that_never_stood_together_are_refused() {
    let (world, state) = full();
    assert_refused!(
        forge(&world, &state, |snapshot| snapshot.opened += 1),
        SnapshotError::Inconsistent("open round")
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            snapshot.head = None;
        }),
        SnapshotError::Inconsistent("open round")
    );
    for epoch in [None, Some(Epoch::new([1; 32]))] {
        assert_refused!(
            forge(&world, &state, |snapshot| snapshot.epoch = epoch),
            SnapshotError::Inconsistent("epoch" | "newest record")
        );
    }
    assert_refused!(
        forge(&world, &state, |snapshot| {
            snapshot.opened = 0;
            snapshot.current = None;
        }),
        SnapshotError::Inconsistent("newest record")
    );
    // More names than the configured size, or one that is here and away.
    let extra = world.newcomer(0);
    assert_refused!(
        forge(&world, &state, |snapshot| {
            snapshot.servers.push(extra.admitted.bundle().clone());
        }),
        SnapshotError::Inconsistent("list of servers")
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            snapshot.absent.push((world.servers[0].id(), absent(1)));
        }),
        SnapshotError::Inconsistent("list of servers")
    );
}

#[test]
fn i13_an_aggregate_without_a_certificate_is_refused() {
    let (world, state) = full();
    for missing in 0..3 {
        assert_refused!(
            forge(&world, &state, |snapshot| {
                open(snapshot).certifications.remove(missing);
            }),
            SnapshotError::Inconsistent("aggregate")
        );
    }
    let wrong = |change: &dyn Fn(&mut Vec<Certification>)| {
        forge(&world, &state, |snapshot| {
            change(&mut open(snapshot).certifications);
        })
    };
    assert_refused!(
        wrong(&|words| words[1] = words[0].clone()),
        SnapshotError::Certificate(CertificateError::Repeated { .. })
    );
    assert_refused!(
        wrong(&|words| words[1].server = world.newcomer(0).id()),
        SnapshotError::Certificate(CertificateError::Stranger { .. })
    );
    let context = *state.head().unwrap().checked.context();
    assert_refused!(
        wrong(&|words| words[1].context = context),
        SnapshotError::Certificate(CertificateError::Context)
    );
    let context = *state.current().unwrap().round.context();
    let (server, key) = (world.servers[1].id(), &world.servers[0].signing);
    assert_refused!(
        wrong(&|words| words[1] = Certification::sign(context, server, key)),
        SnapshotError::Certificate(CertificateError::Signature { .. })
    );
}

type Commitments = Vec<(ServerId, Digest)>;

#[test]
fn i17_partials_without_all_commitments_are_refused() {
    let (world, state) = full();
    let wrong = |change: fn(&mut Commitments, ServerId)| {
        forge(&world, &state, |snapshot| {
            let commitments = &mut open(snapshot).tally.as_mut().unwrap().commitments;
            change(commitments, world.newcomer(0).id());
        })
    };
    assert_refused!(
        wrong(|commitments, _| commitments.clear()),
        SnapshotError::Partial(PartialError::Early { .. })
    );
    assert_refused!(
        wrong(|commitments, _| {
            commitments.remove(2);
        }),
        SnapshotError::Partial(PartialError::Early { .. })
    );
    assert_refused!(
        wrong(|commitments, _| commitments[0].1 = NOBODY),
        SnapshotError::Partial(PartialError::Commitment { .. })
    );
    assert_refused!(
        wrong(|commitments, _| commitments[1] = commitments[0]),
        SnapshotError::Partial(PartialError::Repeated { .. })
    );
    assert_refused!(
        wrong(|commitments, stranger| commitments[1].0 = stranger),
        SnapshotError::Partial(PartialError::Stranger { .. })
    );
}

#[test]
fn a3_unadmitted_aggregators_are_refused() {
    let (world, state) = full();
    let transport = world.aggregator_transport(5);
    let unadmitted = AggregatorBundle::sign(
        &world.rules.instance,
        None,
        &transport,
        zipnet_protocol::Whereabouts::nowhere(),
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            snapshot.aggregators.push((unadmitted, 0));
        }),
        SnapshotError::Aggregators(Refusal::Aggregator(_))
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            let many = 0..=MAX_AGGREGATORS;
            let many = many.map(|seed| (world.aggregator(seed), 0));
            snapshot.aggregators = many.collect();
        }),
        SnapshotError::Aggregators(Refusal::AggregatorsFull(_))
    );
    assert_refused!(
        forge(&world, &state, |snapshot| {
            snapshot.aggregators[0].1 = state.opened() + 1;
        }),
        SnapshotError::Inconsistent("aggregators' activity")
    );
    // Nor can a snapshot put leaves off for longer than a committee would.
    let spoilt: [fn(&mut WireLeaves); 3] = [
        |leaves| leaves.rest = u64::MAX,
        |leaves| leaves.lasted = u64::MAX,
        |leaves| leaves.absent.extend([(PeerKey::new([1; 32]), u64::MAX)]),
    ];
    for spoil in spoilt {
        assert_refused!(
            forge(&world, &state, |snapshot| spoil(&mut snapshot.leaves)),
            SnapshotError::Inconsistent("aggregators' activity")
        );
    }
}

/// I15: whoever chose the registry beside the head would choose the next floor.
#[test]
fn i15_the_heads_registry_is_the_one_that_its_header_names() {
    let (world, state) = full();
    let wrong = |change: &dyn Fn(&mut Vec<ClientBundle>)| {
        forge(&world, &state, |snapshot| {
            change(snapshot.head_registry.as_mut().unwrap());
        })
    };
    assert_refused!(
        wrong(&|clients| {
            clients.pop();
        }),
        SnapshotError::Registry
    );
    assert_refused!(
        wrong(&|clients| clients[0] = world.client_bundles(&[3]).remove(0)),
        SnapshotError::Registry
    );
    assert_refused!(wrong(&|clients| clients.clear()), SnapshotError::Registry);
    assert_refused!(
        forge(&world, &state, |snapshot| snapshot.head_registry = None),
        SnapshotError::Registry
    );
}
