//! Who is asked, over real nodes.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::*;
use crate::{
    network::Node,
    peers::{PeerError, Peers},
    roles::common::{self, Served},
    testing::{SOON, instance, met, node},
    wire::{Opinion, OpinionCall, Refused},
};

const PATIENCE: Duration = Duration::from_secs(3);

/// How a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Well,
    Refuses,
    Busy,
    Never,
}

struct Servers {
    nodes: Vec<(Node, Answers)>,
    _served: Vec<Served<OpinionCall>>,
    client: Node,
    peers: Peers<(), Opinion>,
}

impl Servers {
    async fn that(universe: &str, answers: &[Answers]) -> Self {
        let mut nodes: Vec<(Node, Answers)> = Vec::new();
        let mut served = Vec::new();
        for answers in answers.iter().copied() {
            let others: Vec<_> = nodes.iter().map(|(node, _)| node).collect();
            let node = node(universe, &others).await;
            let handler = move |(), _| async move {
                match answers {
                    Answers::Well => Ok(Opinion::Verified),
                    Answers::Refuses => Err(Refused::Text("because".to_owned())),
                    Answers::Busy => Err(Refused::Busy),
                    Answers::Never => core::future::pending().await,
                }
            };
            let network = node.network();
            served.push(
                common::serve::<OpinionCall, _, _>(network, &instance(), 64, handler).unwrap(),
            );
            node.show();
            nodes.push((node, answers));
        }
        let others: Vec<_> = nodes.iter().map(|(node, _)| node).collect();
        let client = node(universe, &others).await;
        let peers = Peers::on::<OpinionCall>(&Members(client.network().clone()), &instance(), None);
        met(&peers, answers.len()).await;
        let servers = Self {
            nodes,
            _served: served,
            client,
            peers,
        };
        // Once, so that all know the client.
        servers.peers().call_each(&(), SOON / 3).await;
        servers
    }

    /// Peers that nothing is remembered of.
    fn peers(&self) -> Peers<(), Opinion> {
        Peers::on::<OpinionCall>(&Members(self.client.network().clone()), &instance(), None)
    }

    fn answers(&self, peer: &PeerId) -> Answers {
        let mut nodes = self.nodes.iter();
        nodes.find(|(node, _)| node.peer() == *peer).unwrap().1
    }
}

#[tokio::test]
async fn a6_one_refusal_ends_no_call_and_no_preference_survives_it() {
    use Answers::{Busy, Refuses, Well};
    let servers = Servers::that("zipnet.a6.refusal", &[Refuses, Well, Busy]).await;
    for _ in 0..12 {
        // Each time with nothing remembered: the refusing one is first in some.
        let peers = servers.peers();
        let (peer, answer) = peers.call(&(), PATIENCE).await.unwrap();
        assert_eq!(answer, Opinion::Verified);
        assert_eq!(servers.answers(&peer), Well);
    }
    let none = Servers::that("zipnet.a6.all", &[Refuses, Refuses]).await;
    let error = none.peers.call(&(), PATIENCE).await.unwrap_err();
    assert!(
        matches!(error.refusal(), Some(Refused::Text(_))),
        "{error:?}"
    );
    // All that were asked refused, but one of them may do better next time.
    let error = Servers::that("zipnet.a6.busy", &[Refuses, Busy]).await;
    let error = error.peers.call(&(), PATIENCE).await.unwrap_err();
    assert_eq!(error.refusal(), Some(&Refused::Busy));
}

#[tokio::test]
async fn a6_distrust_reaches_every_server() {
    let servers = Servers::that("zipnet.a6.distrust", &[Answers::Well; 4]).await;
    let mut asked = Vec::new();
    for _ in 0..8 {
        let (peer, _) = servers.peers.call(&(), PATIENCE).await.unwrap();
        asked.push(peer);
        servers.peers.distrust();
    }
    let (first, again) = asked.split_at(4);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(first, again);
}

#[tokio::test]
async fn a6_two_and_all_are_asked_at_once_and_a_silent_one_holds_up_nobody() {
    use Answers::{Never, Refuses, Well};
    let servers = Servers::that("zipnet.a6.each", &[Never, Well, Refuses, Well]).await;
    let started = Instant::now();
    let peers = servers.peers();
    let outcomes = peers.call_each(&(), PATIENCE).await;
    assert!(started.elapsed() < 2 * PATIENCE, "at once, not in turn");
    assert_eq!(outcomes.len(), 4);
    for (peer, outcome) in &outcomes {
        match servers.answers(peer) {
            Well => assert!(outcome.is_ok()),
            Refuses => assert!(outcome.as_ref().unwrap_err().refusal().is_some()),
            _ => assert!(matches!(outcome, Err(PeerError::Failed { .. }))),
        }
    }
    // Those that failed are not among the two while there are others.
    let two = peers.call_two(&(), PATIENCE).await;
    assert_eq!(two.len(), 2);
    assert!(two.iter().all(|(peer, _)| servers.answers(peer) == Well));
    assert_ne!(two[0].0, two[1].0);
}
