//! Records that verify by themselves, and are none of this committee's.

use zipnet::testing;
use zipnet_protocol::RoundHeader;

use super::{
    fixture::{EPOCH, Server, World, accept, refuse},
    resume::{forked, of, remind},
};
use crate::committee::{
    command::Published,
    state::{CommitteeState, Refusal},
};

/// A record that `signers` make up among themselves.
pub fn made_up(
    world: &World,
    state: &CommitteeState,
    signers: &[&Server],
    change: impl FnOnce(&mut RoundHeader),
) -> Published {
    let mut current = state.clone();
    world.open_only(&mut current);
    let aggregate = world.fold(current.current().unwrap(), &[0, 1]);
    let signers: Vec<_> = signers.iter().map(|server| &server.keys).collect();
    let header = world.header(state);
    testing::made_up(world, &header, state.clients(), aggregate, &signers, change)
}

#[test]
fn i7_a_record_that_one_server_made_up_is_refused() {
    let (world, mut state, rounds) = forked();
    let liar = &world.servers[1];
    let alone = made_up(&world, &state, &[liar], |header| header.committee_size = 1);
    let refusal = refuse(&mut state, &world.say(1, &of(Some(&alone), EPOCH, 0)));
    assert_eq!(refusal, Refusal::NotAhead);
    accept(&mut state, &world.say(1, &remind(&rounds[2])));
}

type Change = fn(&mut RoundHeader);

#[test]
fn i7_a_record_under_other_rules_is_refused() {
    let (world, mut state, _) = forked();
    let all: Vec<_> = world.servers.iter().collect();
    let changes: [Change; 3] = [
        |header| header.min_participants = 1,
        |header| header.committee_size = 4,
        |header| header.number = u64::MAX,
    ];
    for change in changes {
        let record = made_up(&world, &state, &all, change);
        let refusal = refuse(&mut state, &world.say(1, &of(Some(&record), EPOCH, 0)));
        assert_eq!(refusal, Refusal::NotAhead);
    }
    let fair = made_up(&world, &state, &all, |_| {});
    accept(&mut state, &world.say(1, &of(Some(&fair), EPOCH, 0)));
}

#[test]
fn i7_a_record_of_made_up_servers_is_refused() {
    let (world, mut state, rounds) = forked();
    // Whoever holds the committee secret can name as many servers as it likes.
    let names: Vec<_> = (0..2).map(|seed| world.newcomer(seed)).collect();
    let crowd = [&world.servers[1], &names[0], &names[1]];
    let forged = made_up(&world, &state, &crowd, |_| {});
    let refusal = refuse(&mut state, &world.say(1, &of(Some(&forged), EPOCH, 0)));
    assert_eq!(refusal, Refusal::NotAhead);
    accept(&mut state, &world.say(1, &remind(&rounds[2])));
}
