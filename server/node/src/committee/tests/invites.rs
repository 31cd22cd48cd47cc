//! Invites: who shows one is listed, one client at a time, and nobody else is.

use zipnet_protocol::{Instance, Invite, InviteError, Withdrawal};

use super::{
    fixture::{World, accept, entropy, refuse},
    wire::WireSnapshot,
};
use crate::{
    committee::{
        command::Order,
        invites::Wish,
        snapshot::SnapshotError,
        state::{CLIENT_LEASE_ROUNDS, CommitteeState, Refusal},
    },
    settings::ClientRules,
};

fn invited(servers: usize, clients: usize) -> World {
    World::with(servers, clients, |rules| {
        rules.clients = ClientRules::Invite;
    })
}

fn invite(world: &World, number: usize) -> Invite {
    let name = world.rules.instance.name();
    Invite::sign(name, &entropy("invite", number, 0), &world.committee)
}

/// A client as it shows an invite.
fn wish(world: &World, client: usize, number: usize) -> Wish {
    let bundle = world.client(client).bundle().clone();
    let shown = invite(world, number).show(&world.rules.instance, &bundle.client_id());
    Wish {
        bundle,
        invite: Some(shown),
    }
}

fn register(world: &World, state: &mut CommitteeState, wishes: &[Wish]) {
    accept(
        state,
        &world.say(0, &Order::RegisterClients(wishes.to_vec())),
    );
}

fn refused(world: &World, state: &mut CommitteeState, wish: Wish) -> Refusal {
    refuse(state, &world.say(0, &Order::RegisterClients(vec![wish])))
}

fn listed(world: &World, state: &CommitteeState) -> Vec<usize> {
    let is_listed = |client: &usize| {
        let id = world.client(*client).id();
        state.clients().get(&id).is_some()
    };
    (0..4).filter(is_listed).collect()
}

#[test]
fn i19_without_a_right_invite_nobody_is_listed() {
    let world = invited(1, 4);
    let mut state = world.founded_with(&[]);
    let bare = Wish::from(world.client(0).bundle().clone());
    assert_eq!(
        refused(&world, &mut state, bare),
        Refusal::Invite(InviteError::Missing)
    );
    // Shown for somebody else: what a server sees is of no use to it.
    let mut stolen = wish(&world, 0, 0);
    stolen.bundle = world.client(1).bundle().clone();
    assert!(matches!(
        refused(&world, &mut state, stolen),
        Refusal::Invite(InviteError::Holder(_))
    ));
    // Made by whoever likes.
    let stranger = invite(&world, 9);
    let foreign = Invite::sign(
        world.rules.instance.name(),
        &entropy("invite", 9, 0),
        &world.client_transport(0),
    );
    let id = world.client(0).id();
    let show = |invite: &Invite, instance: &Instance| Wish {
        bundle: world.client(0).bundle().clone(),
        invite: Some(invite.show(instance, &id)),
    };
    assert!(matches!(
        refused(&world, &mut state, show(&foreign, &world.rules.instance)),
        Refusal::Invite(InviteError::Committee(_))
    ));
    // Shown in another instance.
    let elsewhere = Instance::new(
        "elsewhere".parse().unwrap(),
        *world.rules.instance.committee(),
    );
    assert!(matches!(
        refused(&world, &mut state, show(&stranger, &elsewhere)),
        Refusal::Invite(InviteError::Holder(_))
    ));
    register(&world, &mut state, &[wish(&world, 0, 0)]);
    assert_eq!(listed(&world, &state), [0]);
}

#[test]
fn i19_an_invite_admits_one_client_at_a_time() {
    let mut world = invited(1, 4);
    let mut state = world.founded_with(&[]);
    // In one batch the first one counts, and the others are not kept out by it.
    let batch = [
        wish(&world, 0, 0),
        wish(&world, 1, 0),
        wish(&world, 2, 2),
        wish(&world, 3, 3),
    ];
    register(&world, &mut state, &batch);
    assert_eq!(listed(&world, &state), [0, 2, 3]);
    register(&world, &mut state, &batch[1..2]);
    assert_eq!(listed(&world, &state), [0, 2, 3], "still in use");
    register(&world, &mut state, &batch[..1]);
    // With another one it stays by its first.
    register(&world, &mut state, &[wish(&world, 0, 7)]);
    register(&world, &mut state, &batch[1..2]);
    assert_eq!(listed(&world, &state), [0, 2, 3]);

    let withdrawal = Withdrawal::sign(
        &world.rules.instance,
        world.client(0).id(),
        &world.client_transport(0),
    );
    let order = Order::WithdrawClients(vec![withdrawal]);
    accept(&mut state, &world.say(0, &order));
    register(&world, &mut state, &batch[1..2]);
    assert_eq!(listed(&world, &state), [1, 2, 3], "free again");

    // A lease that ends frees it too.
    while state.opened() <= CLIENT_LEASE_ROUNDS + 1 {
        world.play(&mut state, &[2, 3]);
    }
    assert_eq!(listed(&world, &state), [2, 3]);
    register(&world, &mut state, &batch[..1]);
    assert_eq!(listed(&world, &state), [0, 2, 3]);
}

#[test]
fn an_open_committee_does_not_look_at_invites() {
    let world = World::new(1, 4);
    let mut state = world.founded_with(&[]);
    let mut one = wish(&world, 0, 0);
    let other = wish(&world, 1, 0);
    register(&world, &mut state, &[one.clone(), other]);
    assert_eq!(listed(&world, &state), [0, 1]);
    one.bundle = world.client(2).bundle().clone();
    register(&world, &mut state, &[one]);
    assert_eq!(listed(&world, &state), [0, 1, 2]);
    assert_eq!(state.invites().iter().count(), 0);
}

#[test]
fn i12_a_snapshot_cannot_make_up_invites() {
    let world = invited(1, 4);
    let mut state = world.founded_with(&[]);
    register(
        &world,
        &mut state,
        &[wish(&world, 0, 0), wish(&world, 1, 1)],
    );
    let restore =
        |snapshot: &WireSnapshot| CommitteeState::restore(world.rules.clone(), &snapshot.bytes());
    let honest = WireSnapshot::of(&state);
    let restored = restore(&honest).unwrap();
    assert_eq!(restored.invites(), state.invites());
    let bad = |change: &dyn Fn(&mut WireSnapshot)| {
        let mut snapshot = honest.clone();
        change(&mut snapshot);
        match restore(&snapshot) {
            Err(SnapshotError::Inconsistent(what)) => what,
            other => panic!("{other:?}"),
        }
    };
    let shown = |client, number| wish(&world, client, number).invite.unwrap();
    let id = |client: usize| world.client(client).id();
    let list = "list of invites";
    assert_eq!(bad(&|snapshot| snapshot.invites.truncate(1)), list);
    assert_eq!(
        bad(&|snapshot| snapshot.invites[0].1 = shown(2, 5)),
        list,
        "shown for another client"
    );
    assert_eq!(
        bad(&|snapshot| {
            snapshot.invites = vec![(id(0), shown(0, 0)), (id(1), shown(1, 0))];
        }),
        list,
        "one invite for two"
    );
    assert_eq!(
        bad(&|snapshot| snapshot.invites.push((id(2), shown(2, 2)))),
        list,
        "of nobody"
    );
    assert_eq!(
        bad(&|snapshot| {
            let again = snapshot.invites[0].clone();
            snapshot.invites[1] = again;
        }),
        list,
        "twice"
    );
    // Where nobody needs one there is none.
    let open = World::new(1, 4);
    let state = open.founded_with(&[0, 1]);
    let mut snapshot = WireSnapshot::of(&state);
    snapshot.invites = honest.invites;
    let restored = CommitteeState::restore(open.rules, &snapshot.bytes());
    assert!(matches!(restored, Err(SnapshotError::Inconsistent(_))));
}

#[test]
fn i12_servers_that_admit_otherwise_never_meet() {
    assert_ne!(
        invited(1, 1).rules.digest(),
        World::new(1, 1).rules.digest()
    );
}
