//! I12: whoever does not hold a sender's signing key changes nothing.

use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;
use zipnet_protocol::{
    BundleError, CommitteeSecret, Instance, ServerBundle, SigningSecret, Withdrawal,
};

use super::{
    fixture::{Server, World, accept, entropy, refuse, registry_of},
    wire::WireCommand,
};
use crate::{
    committee::{
        command::{Command, Order, Resume, ServerRegistration},
        state::{CommitteeState, Refusal},
    },
    settings::CommitteeRules,
};

/// An order, and a state that takes it from this server.
struct Case {
    name: &'static str,
    state: CommitteeState,
    sender: Server,
    order: Order,
}

/// Each order once, with everything in its favour.
fn cases(world: &mut World) -> Vec<Case> {
    let base = world.founded_with(&[0, 1]);
    let first = |world: &World| world.reboot(0, 1);
    let mut cases = Vec::new();
    let mut case = |name, state: &CommitteeState, sender, order| {
        cases.push(Case {
            name,
            state: state.clone(),
            sender,
            order,
        });
    };

    let later = world.reboot(0, 2);
    let registration = later.registration();
    case("register server", &base, later, registration);
    let clients = Order::clients(world.client_bundles(&[2]));
    case("register clients", &base, first(world), clients);
    let leaver = Withdrawal::sign(
        &world.rules.instance,
        world.client(1).id(),
        &world.client_transport(1),
    );
    let withdrawal = Order::WithdrawClients(vec![leaver]);
    case("withdraw clients", &base, first(world), withdrawal);
    let lapse = Order::Lapse {
        server: world.servers[2].id(),
        bundle: *world.servers[2].admitted.digest(),
    };
    case("lapse", &base, first(world), lapse);
    case("leave", &base, first(world), Order::Leave);

    let opener = first(world);
    let header = world.header(&base).sign(opener.id(), &opener.signing);
    case("open round", &base, opener, Order::OpenRound(header));

    let aggregators = Order::RegisterAggregators(vec![world.aggregator(1)]);
    case("register aggregators", &base, first(world), aggregators);

    let mut state = base.clone();
    world.open_only(&mut state);
    let certifying = world.certification(0, &state);
    let order = certifying.decode().unwrap();
    case("certify", &state, first(world), order);
    world.certify(&mut state);
    let aggregate = world.fold(state.current().unwrap(), &[0, 1]);
    let order = Order::SubmitAggregate(aggregate);
    case("submit aggregate", &state, first(world), order);

    world.aggregate(&mut state, &[0, 1]);
    let committing = world.commitment(0, &state);
    let order = committing.decode().unwrap();
    case("commit partial", &state, first(world), order);
    world.commit(&mut state);
    let partial = world.partial(0, &state);
    let order = partial.decode().unwrap();
    case("submit partial", &state, first(world), order);

    let done = world.partials(&mut state, &[0, 1, 2]).unwrap();
    let resume = Order::Resume(Resume {
        record: Some(done.published.clone()),
        registry: registry_of(&done),
        epoch: done.epoch(),
        floor: 0,
    });
    case("resume", &base, first(world), resume);
    cases
}

fn unsigned(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Unsigned { .. })
}

#[test]
fn i12_every_order_needs_the_signature_of_its_sender() {
    let mut world = World::new(3, 3);
    let stranger = world.newcomer(0);
    for Case {
        name,
        mut state,
        sender,
        order,
    } in cases(&mut world)
    {
        let rules = &world.rules;
        let keys = [
            ("another registered server", &world.servers[1].signing),
            ("an unregistered server", &stranger.signing),
            ("the sender's transport key", &sender.transport),
            ("the committee key", &world.committee),
        ];
        for (whose, key) in keys {
            let forged = Command::sign(&rules.instance, sender.id(), &order, key).unwrap();
            let refusal = refuse(&mut state, &forged);
            assert!(unsigned(&refusal), "{name} signed by {whose}: {refusal}");
        }
        let mut bare = WireCommand::of(&sender.say(rules, &order));
        bare.signature = zipnet_protocol::Signature::from_bytes(&[0; 64]);
        let refusal = refuse(&mut state, &bare.command());
        assert!(unsigned(&refusal), "{name} unsigned: {refusal}");

        accept(&mut state, &sender.say(rules, &order));
    }
}

#[test]
fn i12_every_order_is_bound_to_its_sender() {
    let mut world = World::new(3, 3);
    let stranger = world.newcomer(0);
    for Case {
        name,
        mut state,
        sender,
        order,
    } in cases(&mut world)
    {
        let rules = &world.rules;
        let honest = WireCommand::of(&sender.say(rules, &order));
        let mut other = honest.clone();
        other.sender = world.servers[1].id();
        let refusal = refuse(&mut state, &other.command());
        match &order {
            Order::RegisterServer(_) => {
                assert_eq!(refusal, Refusal::Unregistered(other.sender), "{name}");
            }
            _ => assert!(unsigned(&refusal), "{name} in another's name: {refusal}"),
        }
        // Rightly signed by somebody who holds the committee secret, but is
        // not registered.
        let refusal = refuse(&mut state, &stranger.say(rules, &order));
        assert_eq!(refusal, Refusal::Unregistered(stranger.id()), "{name}");

        accept(&mut state, &honest.command());
    }
}

#[test]
fn i12_an_order_of_another_instance_is_not_one_of_ours() {
    let mut world = World::new(3, 3);
    let ours = &world.rules.instance;
    let renamed = Instance::new("acme.mix.other".parse().unwrap(), *ours.committee());
    let other_secret = CommitteeSecret::new(Zeroizing::new(b"another".to_vec()));
    let rekeyed = Instance::new(
        ours.name().clone(),
        other_secret.committee_key(ours.name()).public(),
    );
    for case in cases(&mut world) {
        let mut state = case.state;
        let sender = &case.sender;
        for instance in [&renamed, &rekeyed] {
            let replayed =
                Command::sign(instance, sender.id(), &case.order, &sender.signing).unwrap();
            let refusal = refuse(&mut state, &replayed);
            assert!(unsigned(&refusal), "{}: {refusal}", case.name);
        }
        accept(&mut state, &sender.say(&world.rules, &case.order));
    }
}

#[test]
fn i12_a_tampered_order_is_refused() {
    let mut world = World::new(3, 3);
    for case in cases(&mut world) {
        let mut state = case.state;
        let honest = WireCommand::of(&case.sender.say(&world.rules, &case.order));

        let mut swapped = honest.clone();
        let other = match &case.order {
            Order::Leave => Order::clients(Vec::new()),
            _ => Order::Leave,
        };
        swapped.order = postcard::to_stdvec(&other).unwrap().into();
        let refusal = refuse(&mut state, &swapped.command());
        assert!(unsigned(&refusal), "{}: {refusal}", case.name);

        let step = (honest.order.len() / 16).max(1);
        for at in (0..honest.order.len()).step_by(step) {
            let mut order = honest.order.to_vec();
            order[at] ^= 1 << (at % 8);
            let mut tampered = honest.clone();
            tampered.order = Bytes::from(order);
            let refusal = refuse(&mut state, &tampered.command());
            let registers = matches!(case.order, Order::RegisterServer(_));
            assert!(
                unsigned(&refusal)
                    || matches!(refusal, Refusal::Undecodable(_))
                    || registers && matches!(refusal, Refusal::Bundle(_)),
                "{} with byte {at} changed: {refusal}",
                case.name
            );
        }
        accept(&mut state, &honest.command());
    }
}

#[test]
fn i12_a_bundle_registers_only_its_owner() {
    let world = World::new(3, 2);
    let mut state = world.cold();
    let (victim, thief) = (&world.servers[0], &world.servers[1]);
    let order = victim.registration();

    let refusal = refuse(&mut state, &thief.say(&world.rules, &order));
    assert_eq!(refusal, Refusal::Unregistered(thief.id()));
    let forged = Command::sign(&world.rules.instance, victim.id(), &order, &thief.signing);
    assert!(unsigned(&refuse(&mut state, &forged.unwrap())));

    accept(&mut state, &victim.say(&world.rules, &order));
    assert_eq!(state.servers().len(), 1);
}

/// Registers with a bundle that these keys signed.
fn register(
    rules: &Arc<CommitteeRules>,
    server: &Server,
    transport: &SigningSecret,
    committee: &SigningSecret,
) -> Command {
    let bundle = ServerBundle::sign(
        &rules.instance,
        &server.dh,
        &server.signing,
        transport,
        committee,
        1,
        zipnet_protocol::Whereabouts::nowhere(),
    );
    Command::sign(
        &rules.instance,
        *bundle.server_id(),
        &Order::RegisterServer(ServerRegistration::unattested(bundle)),
        &server.signing,
    )
    .unwrap()
}

#[test]
fn i12_nobody_registers_without_the_committee_secret() {
    let world = World::new(3, 2);
    let mut state = world.cold();
    let server = &world.servers[0];
    let guessed = SigningSecret::from_seed(&entropy("another committee", 0, 0));

    let command = register(&world.rules, server, &server.transport, &guessed);
    let refusal = refuse(&mut state, &command);
    assert!(
        matches!(refusal, Refusal::Bundle(BundleError::Admission(_))),
        "{refusal}"
    );

    let command = register(&world.rules, server, &server.transport, &world.committee);
    accept(&mut state, &command);
}
