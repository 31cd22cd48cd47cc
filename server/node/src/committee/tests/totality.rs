//! I8: whatever the bytes, `apply` neither panics nor depends on anything but
//! the commands before.

use std::sync::OnceLock;

use proptest::prelude::*;
use zipnet_protocol::Withdrawal;

use super::{
    fixture::{World, bytes, registry_of},
    wire::WireCommand,
};
use crate::committee::{
    command::{Command, Order, Resume},
    state::CommitteeState,
};

/// A world with one honest history, as its commands in order.
struct History {
    world: World,
    commands: Vec<Command>,
}

/// How many commands it has.
const COMMANDS: usize = 42;

/// Three rounds with everything that a command can say.
fn history() -> History {
    let mut world = World::new(3, 4);
    let mut state = world.cold();
    let mut commands = Vec::new();
    let mut say = |state: &mut CommitteeState, command: Command| {
        state.apply(&command).unwrap();
        commands.push(command);
    };
    for server in 0..3 {
        let order = world.servers[server].registration();
        say(&mut state, world.say(server, &order));
    }
    let clients = Order::clients(world.client_bundles(&[0, 1, 2, 3]));
    say(&mut state, world.say(0, &clients));
    let aggregators = Order::RegisterAggregators(vec![world.aggregator(0), world.aggregator(1)]);
    say(&mut state, world.say(1, &aggregators));
    for round in 0..3 {
        let header = world.header(&state);
        say(&mut state, world.open_with(round, header));
        for server in 0..3 {
            let command = world.certification(server, &state);
            say(&mut state, command);
        }
        let aggregate = world.fold(state.current().unwrap(), &[0, 1, 2]);
        say(&mut state, world.say(1, &Order::SubmitAggregate(aggregate)));
        for server in 0..3 {
            let command = world.commitment(server, &state);
            say(&mut state, command);
        }
        for server in 0..3 {
            let command = world.partial(server, &state);
            say(&mut state, command);
        }
    }
    let leaver = Withdrawal::sign(
        &world.rules.instance,
        world.client(3).id(),
        &world.client_transport(3),
    );
    let order = Order::WithdrawClients(vec![leaver]);
    say(&mut state, world.say(2, &order));
    let resume = Order::Resume(Resume {
        record: state.head().map(|head| head.published.clone()),
        registry: state.head().map_or_else(Vec::new, registry_of),
        epoch: state.epoch().unwrap(),
        floor: 50,
    });
    say(&mut state, world.say(0, &resume));
    let lapse = Order::Lapse {
        server: world.servers[2].id(),
        bundle: *world.servers[2].admitted.digest(),
    };
    say(&mut state, world.say(0, &lapse));
    say(&mut state, world.say(1, &Order::Leave));
    History { world, commands }
}

fn the_history() -> &'static History {
    static HISTORY: OnceLock<History> = OnceLock::new();
    HISTORY.get_or_init(history)
}

/// What is done to a command of the honest history.
#[derive(Debug, Clone)]
enum Mutation {
    None,
    /// Some bytes of the order are others, and it is signed again.
    Bytes(Vec<(prop::sample::Index, u8)>),
    /// The order is cut, and signed again.
    Cut(prop::sample::Index),
    /// The tail of another order is put in its place, and it is signed again.
    Splice(
        prop::sample::Index,
        prop::sample::Index,
        prop::sample::Index,
    ),
    /// Any bytes at all as the order, rightly signed.
    Random(Vec<u8>),
    /// Some bytes of the whole command are others.
    Raw(Vec<(prop::sample::Index, u8)>),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    use prop::collection::vec;
    let change = || vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    prop_oneof![
        6 => Just(Mutation::None),
        4 => change().prop_map(Mutation::Bytes),
        1 => any::<prop::sample::Index>().prop_map(Mutation::Cut),
        2 => any::<[prop::sample::Index; 3]>().prop_map(|[a, b, c]| Mutation::Splice(a, b, c)),
        2 => vec(any::<u8>(), 0..400).prop_map(Mutation::Random),
        1 => change().prop_map(Mutation::Raw),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    if !bytes.is_empty() {
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
    }
    bytes
}

/// The command as mutated; `None` if it is no command any more.
fn mutate(history: &History, command: &Command, mutation: &Mutation) -> Option<Command> {
    let wire = WireCommand::of(command);
    let world = &history.world;
    let signer = world
        .servers
        .iter()
        .find(|server| server.id() == wire.sender)
        .unwrap();
    let order = match mutation {
        Mutation::None => return Some(command.clone()),
        Mutation::Raw(changes) => {
            let bytes = postcard::to_stdvec(command).unwrap();
            return postcard::from_bytes(&changed(bytes, changes)).ok();
        }
        Mutation::Bytes(changes) => changed(wire.order.to_vec(), changes),
        Mutation::Cut(at) => wire.order[..at.index(wire.order.len())].to_vec(),
        Mutation::Splice(which, from, to) => {
            let other = WireCommand::of(&history.commands[which.index(history.commands.len())]);
            let head = &wire.order[..from.index(wire.order.len())];
            let tail = &other.order[to.index(other.order.len())..];
            [head, tail].concat()
        }
        Mutation::Random(bytes) => bytes.clone(),
    };
    Some(WireCommand::signed(&world.rules, signer, order).command())
}

/// Two states that are fed the same stay the same; what is refused changes
/// nothing, and what is in a state can always be written down and read again.
fn feed(commands: &[Command]) -> (usize, usize) {
    let world = &the_history().world;
    let (mut one, mut two) = (world.cold(), world.cold());
    let (mut accepted, mut refused) = (0, 0);
    for command in commands {
        let before = bytes(&one);
        let (first, second) = (one.apply(command), two.apply(command));
        match (&first, &second) {
            (Ok(_), Ok(_)) => accepted += 1,
            (Err(a), Err(b)) => {
                assert_eq!(a, b);
                assert!(bytes(&one) == before, "refused, and changed: {a}");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
        assert!(bytes(&one) == bytes(&two));
    }
    let restored = CommitteeState::restore(world.rules.clone(), &bytes(&one)).unwrap();
    assert!(bytes(&restored) == bytes(&one));
    (accepted, refused)
}

#[test]
fn i8_the_honest_history_is_accepted_whole() {
    let history = the_history();
    let (accepted, refused) = feed(&history.commands);
    assert_eq!((accepted, refused), (COMMANDS, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn i8_mutated_histories_are_told_apart_by_nobody(
        mutations in prop::collection::vec((mutation(), any::<bool>()), COMMANDS),
    ) {
        let history = the_history();
        let commands: Vec<_> = history
            .commands
            .iter()
            .zip(&mutations)
            .flat_map(|(command, (mutation, keep))| {
                let forged = mutate(history, command, mutation);
                // Often the honest one follows, so that the history goes on.
                forged.into_iter().chain(keep.then(|| command.clone()))
            })
            .collect();
        feed(&commands);
    }

    #[test]
    fn i8_any_order_of_commands_is_total(
        picks in prop::collection::vec((any::<prop::sample::Index>(), mutation()), 0..60),
    ) {
        let history = the_history();
        let commands: Vec<_> = picks
            .iter()
            .filter_map(|(pick, mutation)| {
                let command = &history.commands[pick.index(history.commands.len())];
                mutate(history, command, mutation)
            })
            .collect();
        // Behind an honest beginning, so that the senders are known.
        feed(&[&history.commands[..6], &commands].concat());
    }

    #[test]
    fn i8_any_bytes_restore_or_do_not(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        upto in 0..=COMMANDS,
    ) {
        let history = the_history();
        let mut state = history.world.cold();
        for command in &history.commands[..upto] {
            state.apply(command).unwrap();
        }
        let rules = &history.world.rules;
        let forged = changed(bytes(&state), &changes);
        if let Ok(restored) = CommitteeState::restore(rules.clone(), &forged) {
            // Then it is a state like any other.
            let again = CommitteeState::restore(rules.clone(), &bytes(&restored)).unwrap();
            prop_assert!(bytes(&again) == bytes(&restored));
        }
    }
}
