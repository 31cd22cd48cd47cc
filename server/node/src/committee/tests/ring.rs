//! The finalized rounds that a node keeps to hand out.

use std::sync::Arc;

use zipnet_protocol::Epoch;

use super::fixture::{EPOCH, World};
use crate::{
    committee::{Broadcasts, Fetched, Kept, state::Final},
    wire::vector_bytes,
};

const OTHER: Epoch = Epoch::new([0x0f; 32]);

fn best(ring: &Broadcasts) -> Option<Arc<Final>> {
    ring.best(|_| true)
}

/// Some rounds of one history, numbered from 1.
fn history(rounds: usize) -> Vec<Arc<Final>> {
    let mut world = World::new(1, 2);
    let mut state = world.founded();
    (0..rounds)
        .map(|_| world.play(&mut state, &[0, 1]))
        .collect()
}

/// As many of another epoch.
fn other_history(rounds: usize) -> Vec<Arc<Final>> {
    let mut world = World::new(1, 2);
    let mut state = world.founded();
    let mut header = world.header(&state);
    header.epoch = OTHER;
    state.apply(&world.open_with(0, header)).unwrap();
    world.certify(&mut state);
    world.aggregate(&mut state, &[0, 1]);
    let mut done = vec![world.partials(&mut state, &[0]).unwrap()];
    done.extend((1..rounds).map(|_| world.play(&mut state, &[0, 1])));
    done
}

fn push_all(ring: &Broadcasts, rounds: &[Arc<Final>]) {
    for done in rounds {
        ring.push(done.clone());
    }
}

fn numbers(rounds: &[Arc<Final>]) -> Vec<u64> {
    rounds.iter().map(|done| done.rank().0).collect()
}

/// Numbers of what followers get.
fn numbers_of(page: &[Kept]) -> Vec<u64> {
    page.iter()
        .map(|kept| kept.checked().round().header().number)
        .collect()
}

fn all(ring: &Broadcasts) -> Vec<u64> {
    numbers(&ring.range(&EPOCH, 0, usize::MAX))
}

#[test]
fn i8_the_ring_keeps_the_newest_and_no_more() {
    let rounds = history(9);
    let ring = Broadcasts::new(4, usize::MAX);
    assert!(best(&ring).is_none());
    for (at, done) in rounds.iter().enumerate() {
        ring.push(done.clone());
        let kept = all(&ring);
        assert_eq!(kept.len(), (at + 1).min(4));
        assert_eq!(kept.last(), Some(&(at as u64 + 1)));
        assert_eq!(best(&ring).unwrap().rank(), done.rank());
    }
    assert_eq!(all(&ring), [6, 7, 8, 9]);

    let smallest = Broadcasts::new(0, usize::MAX);
    push_all(&smallest, &rounds);
    assert_eq!(all(&smallest), [9]);
}

#[test]
fn i6_readers_get_a_range_of_an_epoch() {
    let ring = Broadcasts::new(16, usize::MAX);
    assert!(ring.range(&EPOCH, 0, 4).is_empty());
    push_all(&ring, &history(9));
    let range = |epoch, from, most| numbers(&ring.range(&epoch, from, most));
    assert_eq!(range(EPOCH, 0, 4), [1, 2, 3, 4]);
    assert_eq!(range(EPOCH, 5, 4), [5, 6, 7, 8]);
    assert_eq!(range(EPOCH, 9, 4), [9]);
    assert_eq!(range(EPOCH, 10, 4), [0_u64; 0]);
    assert_eq!(range(EPOCH, u64::MAX, 4), [0_u64; 0]);
    assert_eq!(range(EPOCH, 3, 0), [0_u64; 0]);
    assert_eq!(range(OTHER, 0, 4), [0_u64; 0]);
}

#[test]
fn i6_a_round_is_kept_once() {
    let rounds = history(5);
    let ring = Broadcasts::new(4, usize::MAX);
    for done in &rounds {
        ring.push(done.clone());
        ring.push(done.clone());
        ring.push(Arc::new((**done).clone()));
    }
    assert_eq!(all(&ring), [2, 3, 4, 5]);
}

#[test]
fn i6_an_old_round_does_not_drive_out_a_newer_one() {
    let rounds = history(6);
    let ring = Broadcasts::new(4, usize::MAX);
    push_all(&ring, &rounds);
    // As a snapshot of a leader that fell behind would bring it.
    ring.push(rounds[0].clone());
    assert_eq!(all(&ring), [3, 4, 5, 6]);
    // One that fills a gap goes where it belongs.
    let gap = Broadcasts::new(4, usize::MAX);
    for at in [0, 1, 3] {
        gap.push(rounds[at].clone());
    }
    gap.push(rounds[2].clone());
    assert_eq!(all(&gap), [1, 2, 3, 4]);
}

#[test]
fn i6_epochs_are_kept_apart() {
    let (ours, theirs) = (history(5), other_history(3));
    let ring = Broadcasts::new(7, usize::MAX);
    push_all(&ring, &ours);
    push_all(&ring, &theirs[..2]);
    let other = |ring: &Broadcasts| numbers(&ring.range(&OTHER, 0, usize::MAX));
    assert_eq!(
        (all(&ring), other(&ring)),
        (vec![1, 2, 3, 4, 5], vec![1, 2])
    );
    assert_eq!(best(&ring).unwrap().rank(), ours[4].rank());
    let best_other = ring.best(|done| done.epoch() == OTHER).unwrap();
    assert_eq!(best_other.rank(), theirs[1].rank());
    assert!(ring.best(|_| false).is_none());
    // The committee takes the longer history back: the other one ages first.
    ring.push(ours[4].clone());
    ring.push(theirs[2].clone());
    assert_eq!(
        (all(&ring), other(&ring)),
        (vec![2, 3, 4, 5], vec![1, 2, 3])
    );
}

#[test]
fn a17_the_ring_is_bounded_by_bytes_as_well() {
    let rounds = history(6);
    let each = vector_bytes(&rounds[0].published);
    let ring = Broadcasts::new(100, 3 * each);
    push_all(&ring, &rounds);
    assert_eq!(all(&ring), [4, 5, 6]);
    let small = Broadcasts::new(100, 1);
    push_all(&small, &rounds);
    assert_eq!(all(&small), [6], "the newest is kept however long it is");
    let few = Broadcasts::new(2, usize::MAX);
    push_all(&few, &rounds);
    assert_eq!(all(&few), [5, 6]);
}

#[test]
fn a17_a_page_is_bounded_by_bytes_and_a_follower_catches_up_record_by_record() {
    let rounds = history(5);
    let each = vector_bytes(&rounds[0].published);
    let ring = Broadcasts::new(100, usize::MAX);
    push_all(&ring, &rounds);
    let page = |from, bytes| {
        let (page, more) = ring.page(&EPOCH, from, 4, bytes);
        (numbers_of(&page), more)
    };
    assert_eq!(page(1, usize::MAX), (vec![1, 2, 3, 4], true));
    assert_eq!(page(2, usize::MAX), (vec![2, 3, 4, 5], false));
    assert_eq!(page(1, 2 * each), (vec![1, 2], true));
    assert_eq!(page(4, 2 * each), (vec![4, 5], false));
    assert_eq!(page(4, 2 * each - 1), (vec![4], true));
    assert_eq!(page(6, usize::MAX), (Vec::new(), false));
    // Records that are longer than a page.
    let (mut from, mut read) = (1, Vec::new());
    loop {
        let (numbers, more) = page(from, each - 1);
        assert_eq!(numbers.len(), 1);
        read.extend(numbers);
        if !more {
            break;
        }
        from = read.last().unwrap() + 1;
    }
    assert_eq!(read, [1, 2, 3, 4, 5]);
}

fn fetched(done: &Arc<Final>) -> Fetched {
    Fetched {
        published: done.published.clone(),
        checked: done.checked.clone(),
    }
}

/// Numbers of a page for followers.
fn handed_out(ring: &Broadcasts) -> Vec<u64> {
    let (page, _) = ring.page(&EPOCH, 0, usize::MAX - 1, usize::MAX);
    numbers_of(&page)
}

#[test]
fn i6_what_is_missing_is_named_by_the_record_behind_it() {
    let rounds = history(6);
    let ring = Broadcasts::new(5, usize::MAX);
    assert!(
        ring.missing(&rounds[5].checked).is_none(),
        "nothing is kept"
    );
    // It was there for rounds 1 and 2, and came back for 6.
    for at in [0, 1, 5] {
        ring.push(rounds[at].clone());
    }
    for expected in [5_usize, 4, 3] {
        let missing = ring.missing(&rounds[5].checked).unwrap();
        let done = &rounds[expected - 1];
        assert_eq!(missing.digest, *done.checked.digest());
        assert_eq!(missing.before, expected as u64 + 1);
        assert_eq!(missing.holders.len(), 1);
        assert!(ring.fill(fetched(done)));
    }
    assert!(ring.missing(&rounds[5].checked).is_none(), "it is full");
    assert_eq!(handed_out(&ring), [2, 3, 4, 5, 6]);
    // Readers get them, and nothing else is made of them.
    assert_eq!(all(&ring), [2, 6]);
    assert_eq!(best(&ring).unwrap().rank().0, 6);
    // What it finalizes itself after all is better.
    ring.push(rounds[3].clone());
    assert_eq!(all(&ring), [2, 4, 6]);
    assert_eq!(handed_out(&ring), [2, 3, 4, 5, 6]);
}

#[test]
fn i6_the_first_record_of_an_epoch_misses_none() {
    let rounds = history(2);
    let ring = Broadcasts::new(9, usize::MAX);
    push_all(&ring, &rounds);
    assert!(ring.missing(&rounds[1].checked).is_none());
}

#[test]
fn i8_nothing_is_fetched_that_there_is_no_room_for() {
    let rounds = history(4);
    let each = vector_bytes(&rounds[0].published);
    let ring = Broadcasts::new(9, 2 * each);
    ring.push(rounds[3].clone());
    assert!(ring.missing(&rounds[3].checked).is_some());
    assert!(ring.fill(fetched(&rounds[2])));
    assert!(ring.missing(&rounds[3].checked).is_none());
    assert!(!ring.fill(fetched(&rounds[1])), "it drove out no newer one");
    assert_eq!(handed_out(&ring), [3, 4]);
}

#[test]
fn i8_a_chain_is_handed_out_newest_first_within_bounds() {
    let rounds = history(5);
    let each = vector_bytes(&rounds[0].published);
    let ring = Broadcasts::new(9, usize::MAX);
    push_all(&ring, &rounds);
    let chain = |from: usize, most, bytes| {
        let chain = ring.chain(rounds[from].checked.digest(), most, bytes);
        numbers_of(&chain)
    };
    assert_eq!(chain(3, 9, usize::MAX), [4, 3, 2, 1]);
    assert_eq!(chain(3, 2, usize::MAX), [4, 3]);
    assert_eq!(chain(3, 9, 3 * each), [4, 3, 2]);
    assert_eq!(chain(3, 9, 0), [4], "one is never too long");
    assert!(ring.chain(&zipnet_protocol::Digest::ZERO, 9, 9).is_empty());
}
