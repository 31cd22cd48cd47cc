//! What is fetched of rounds that are over, from servers of which some lie or forget.

use tokio::sync::watch;

use super::{
    super::network_tests::{History, Manner, Met, meet},
    *,
};
use crate::testing::{State, World};

/// Twelve records, a committee that has them, and somebody who asks it.
struct Scene {
    world: World,
    records: Vec<Arc<FinalizedRound>>,
    met: Met,
    takes_part: bool,
    _tell: watch::Sender<History>,
}

impl Scene {
    async fn new(manners: &[Manner], skips: &[u64]) -> Self {
        let mut world = World::new(manners.len(), 3);
        let mut state: State = world.founded();
        let mut history = History::default();
        let mut records = Vec::new();
        for number in 1..=12 {
            if skips.contains(&number) {
                // It is given up.
                world.open(&mut state);
                continue;
            }
            let done = world.play(&mut state, &[0, 1, 2]);
            history.records.push(done.published.clone());
            records.push(Arc::new(done.checked.clone()));
        }
        let (tell, told) = watch::channel(history);
        let met = meet(&world, manners, &told).await;
        Self {
            world,
            records,
            met,
            takes_part: false,
            _tell: tell,
        }
    }

    async fn before(&self, audits: bool, later: usize, from: u64) -> (Vec<u64>, bool) {
        let instance = &self.world.rules.instance;
        let Met {
            ground,
            directory,
            trust,
            ..
        } = &self.met;
        let past = Past::new(ground, instance, trust, directory, audits);
        if self.takes_part {
            past.close();
        }
        let before = past.before(&self.records[later], from).await;
        let numbers = before.records.iter().map(|done| {
            let (_, number) = done.round().position();
            let known = self
                .records
                .iter()
                .find(|known| known.digest() == done.digest());
            assert!(known.is_some_and(|known| known.broadcast() == done.broadcast()));
            number
        });
        (numbers.collect(), before.complete)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_servers_keep_leads_to_a_round_that_is_known() {
    let scene = Scene::new(&[Manner::Honest, Manner::Honest], &[5, 6]).await;
    for audits in [false, true] {
        let last = scene.records.len() - 1;
        let from = |from| scene.before(audits, last, from);
        assert_eq!(from(1).await, (vec![1, 2, 3, 4, 7, 8, 9, 10, 11], true));
        assert_eq!(from(9).await, (vec![9, 10, 11], true));
        // There is no such record, and that there is none shows.
        assert_eq!(from(5).await, (vec![7, 8, 9, 10, 11], true));
        assert_eq!(from(12).await, (vec![], true));
        // Only what is before the round that is known.
        assert_eq!(scene.before(audits, 2, 2).await, (vec![2], true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_forgot_another_one_has_and_what_all_forgot_is_said() {
    let manners = [Manner::Forgets(10), Manner::Forgets(4), Manner::Forgets(7)];
    let scene = Scene::new(&manners, &[]).await;
    for audits in [false, true] {
        let from = |from| scene.before(audits, 11, from);
        assert_eq!(from(5).await, (vec![5, 6, 7, 8, 9, 10, 11], true));
        assert_eq!(from(2).await, (vec![4, 5, 6, 7, 8, 9, 10, 11], false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_servers_that_make_the_past_up_or_keep_it_back_change_nothing() {
    let manners = [
        Manner::MakesUp,
        Manner::Refuses,
        Manner::Honest,
        Manner::Empty,
    ];
    let scene = Scene::new(&manners, &[]).await;
    for audits in [false, true] {
        assert_eq!(
            scene.before(audits, 11, 8).await,
            (vec![8, 9, 10, 11], true)
        );
    }
    let liars = Scene::new(&[Manner::MakesUp, Manner::Empty], &[]).await;
    for audits in [false, true] {
        assert_eq!(liars.before(audits, 11, 8).await, (vec![], false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_once_the_process_takes_part_nobody_is_asked() {
    let mut scene = Scene::new(&[Manner::Honest], &[]).await;
    scene.takes_part = true;
    for audits in [false, true] {
        assert_eq!(scene.before(audits, 11, 8).await, (vec![], false));
    }
}
