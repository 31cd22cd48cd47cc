//! What a reader yields, and what it says of what is missing.

use zipnet_door::{Doors, Reach};

use super::*;
use crate::{
    book::{AtDoors, Book},
    entropy,
    ground::Ground,
    roles::directory::Directory,
    testing::World,
};

/// Rounds of a committee in memory, and a process that has heard of none.
struct Scene {
    records: Vec<Arc<FinalizedRound>>,
    rounds: Rounds,
}

impl Scene {
    async fn new(records: u64) -> Self {
        let mut world = World::new(2, 2);
        let mut state = world.founded();
        let played = (0..records).map(|_| world.play(&mut state, &[0, 1]));
        let records: Vec<_> = played.map(|done| Arc::new(done.checked.clone())).collect();
        let bind = Some("127.0.0.1:0".parse().unwrap());
        let doors = Doors::open(&entropy::fresh().unwrap(), bind, &Reach::Direct).await;
        let book = Book::new(doors.unwrap(), &[]);
        let ground: Arc<dyn Ground> = Arc::new(AtDoors(book));
        let instance = &world.rules.instance;
        let directory = Arc::new(Directory::new(&ground, instance, None));
        let trust = world.trust();
        let past = Past::new(&ground, instance, &trust, &directory, false);
        Self {
            records,
            rounds: Rounds::new(past),
        }
    }

    /// The process hears of these.
    fn heard(&self, records: &[usize]) {
        for at in records {
            let _ = self.rounds.heard().send(self.records[*at].clone());
        }
    }
}

/// What comes until nothing does any more: numbers, and what is missing.
async fn all(mut reader: Reader) -> Vec<Result<u64, Lagged>> {
    let mut found = Vec::new();
    while let Some(item) = reader.next().await {
        found.push(item.map(|done| done.round().position().1));
    }
    found
}

const fn gone(after: Option<u64>, before: u64) -> Result<u64, Lagged> {
    Err(Lagged::Gone { after, before })
}

#[tokio::test]
async fn what_nobody_has_any_more_is_a_value_in_its_place() {
    let scene = Scene::new(6).await;
    let reader = scene.rounds.reader();
    scene.heard(&[0, 1, 3, 5]);
    drop(scene);
    let found = all(reader).await;
    let missing = [gone(Some(2), 4), gone(Some(4), 6)];
    assert_eq!(found, [Ok(1), Ok(2), missing[0], Ok(4), missing[1], Ok(6)]);
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_how_many_it_lost_and_goes_on() {
    let scene = Scene::new(3).await;
    let reader = scene.rounds.reader();
    // The same again and again: what is looked at is how many.
    scene.heard(&[0; 5]);
    scene.heard(&[1; BACKLOG]);
    drop(scene);
    let found = all(reader).await;
    assert_eq!(found[0], Err(Lagged::Slow { missed: 5 }));
    assert_eq!(found[1], Ok(2));
}

#[tokio::test]
async fn a_reader_from_a_round_waits_for_it_or_says_what_is_missing() {
    let scene = Scene::new(5).await;
    let ahead = scene.rounds.reader().from(4).unwrap();
    // Nobody is there to ask.
    let behind = scene.rounds.reader().from(2).unwrap();
    let first = scene.rounds.reader().from(0).unwrap();
    scene.heard(&[2, 3, 4]);
    drop(scene);
    assert_eq!(all(ahead).await, [Ok(4), Ok(5)]);
    assert_eq!(all(behind).await, [gone(None, 3), Ok(3), Ok(4), Ok(5)]);
    assert_eq!(all(first).await, [gone(None, 3), Ok(3), Ok(4), Ok(5)]);
}

#[tokio::test]
async fn a8_whoever_takes_part_asks_nobody_for_the_past() {
    let scene = Scene::new(1).await;
    let reader = scene.rounds.reader();
    scene.rounds.takes_part();
    assert_eq!(reader.from(1).unwrap_err(), TakesPart);
    assert_eq!(scene.rounds.reader().from(1).unwrap_err(), TakesPart);
    // What comes is read as ever.
    let reader = scene.rounds.reader();
    scene.heard(&[0]);
    drop(scene);
    assert_eq!(all(reader).await, [Ok(1)]);
}
