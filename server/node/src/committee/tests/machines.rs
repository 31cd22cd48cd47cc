//! An identity belongs to a machine: who comes back from another one needs more than
//! its key and a later boot.

use zipnet_attest::{
    hexes::Hexes,
    policy::Server as Named,
    simulation::{Draft, Platform},
};

use super::{
    attested::{Attested, NOW},
    fixture::{Server, accept, refuse},
    snapshots::restored,
};
use crate::committee::{
    command::{Command, Order, Presented},
    state::{CommitteeState, Refusal},
};

const ELSEWHERE: [u8; 16] = [9; 16];

fn here() -> [u8; 16] {
    Platform::default().platform_instance_id
}

fn on(machine: [u8; 16]) -> impl FnOnce(&mut Draft) {
    move |draft| {
        let platform = Platform {
            platform_instance_id: machine,
            ..Platform::default()
        };
        draft.world = draft.world.clone().platform(platform);
    }
}

/// A registration of a server that runs on a machine.
fn from(attested: &Attested, server: &Server, machine: [u8; 16]) -> Command {
    let credential = attested.credential(server, on(machine));
    attested.register_under(server, credential, NOW, None)
}

fn moved(server: &Server) -> Refusal {
    Refusal::Moved {
        server: server.id(),
        before: Some(here()),
        now: Some(ELSEWHERE),
    }
}

fn started() -> (Attested, CommitteeState) {
    let attested = Attested::new(3);
    let state = attested.founded();
    (attested, state)
}

#[test]
fn f1_a_later_boot_on_another_machine_takes_nobodys_place() {
    let (attested, mut state) = started();
    let later = attested.world.reboot(0, 7);
    let before = state.servers().clone();
    assert_eq!(
        refuse(&mut state, &from(&attested, &later, ELSEWHERE)),
        moved(&later)
    );
    assert_eq!(*state.servers(), before, "the one that was there stays");
    accept(&mut state, &from(&attested, &later, here()));
    // Nor do keys move while their boot lives: no TD does.
    assert_eq!(
        refuse(&mut state, &from(&attested, &later, ELSEWHERE)),
        moved(&later)
    );
}

#[test]
fn f1_nor_when_a_leader_has_struck_the_server_before() {
    let (attested, mut state) = started();
    let lapse = Order::Lapse {
        server: attested.world.servers[0].id(),
        bundle: *attested.world.servers[0].admitted.digest(),
    };
    accept(&mut state, &attested.world.say(1, &lapse));
    let later = attested.world.reboot(0, 7);
    assert_eq!(
        refuse(&mut state, &from(&attested, &later, ELSEWHERE)),
        moved(&later)
    );
    // A snapshot remembers, too.
    let mut again = restored(&attested.world, &state);
    assert_eq!(
        refuse(&mut again, &from(&attested, &later, ELSEWHERE)),
        moved(&later)
    );
    accept(&mut state, &from(&attested, &later, here()));
}

#[test]
fn f1_who_left_by_its_own_word_or_is_named_by_the_policy_may_move() {
    let (attested, mut state) = started();
    accept(&mut state, &attested.world.say(0, &Order::Leave));
    let later = attested.world.reboot(0, 7);
    accept(&mut state, &from(&attested, &later, ELSEWHERE));

    let (attested, mut state) = started();
    let later = attested.world.reboot(0, 7);
    let mut policy = attested.intel.policy(2).unwrap();
    let servers = attested.world.servers.iter().zip(0..);
    let named = servers.map(|(server, number)| Named {
        name: format!("server-{number}"),
        peer: Hexes(*server.admitted.peer().as_bytes()),
        platforms: vec![Hexes(here()), Hexes(ELSEWHERE)],
    });
    policy.servers = Some(named.collect());
    let presented = Presented {
        credential: attested.credential(&later, on(ELSEWHERE)),
        at: NOW,
        policy: Some(attested.sign(&policy)),
    };
    accept(&mut state, &attested.present(&later, presented));
    assert_eq!(state.servers().len(), 3);
}
