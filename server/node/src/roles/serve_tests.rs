//! Callers over real nodes.

use core::time::Duration;
use std::sync::Arc;

use mosaik::iroh::endpoint::Connection;
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use zipnet_door::gate::Places;
use zipnet_protocol::Digest;

use super::*;
use crate::{
    invoke::{InvokeError, Reply, keep},
    members::Members,
    network::Node,
    peers::{PeerError, Peers},
    testing::{Count, SOON, instance, key, met, node, until},
    wire::{CredentialCall, Opinion, OpinionCall},
};

const PATIENCE: Duration = Duration::from_secs(5);

/// Calls as an attacker does, who keeps the connection when it was answered.
async fn call_and_keep(of: &Node, server: &Node) -> Result<(Connection, Reply), InvokeError> {
    let id = function_id(OpinionCall::LABEL, &instance());
    let call = keep(of.network(), server.peer(), id, bytes::Bytes::new());
    timeout(SOON, call).await.expect("in time")
}

#[tokio::test]
async fn a5_callers_that_were_answered_and_do_not_close_keep_nobody_out() {
    let server = node("zipnet.a5.keep", &[]).await;
    let attacker = node("zipnet.a5.keep", &[&server]).await;
    let honest = node("zipnet.a5.keep", &[&server]).await;
    let places = Admission::of(Places::new(4, 2));
    let handler = serve::<OpinionCall, _, _>(server.network(), &instance(), places, |(), _| {
        ready(Ok(Opinion::Verified))
    });
    let _handler = handler.unwrap();
    server.show();
    let peers =
        |node: &Node| Peers::on::<OpinionCall>(&Members(node.network().clone()), &instance(), None);
    met(&peers(&attacker), 1).await;
    met(&peers(&honest), 1).await;
    // The first call makes the two known to each other.
    let first = peers(&attacker).call(&(), PATIENCE).await;
    assert!(first.is_ok(), "{first:?}");

    let mut kept = Vec::new();
    for _ in 0..20 {
        let (connection, reply) = call_and_keep(&attacker, &server).await.unwrap();
        assert!(matches!(reply, Reply::Ok(_)), "it is told, not turned away");
        kept.push(connection);
    }
    let answer = peers(&honest).call(&(), PATIENCE).await;
    assert!(matches!(answer, Ok((_, Opinion::Verified))), "{answer:?}");
    let open = kept.iter().filter(|kept| kept.close_reason().is_none());
    assert_eq!(open.count(), 20, "all of them are still open");
}

#[tokio::test]
async fn a5_one_peer_cannot_have_all_calls_at_work() {
    let server = node("zipnet.a5.each", &[]).await;
    let attacker = node("zipnet.a5.each", &[&server]).await;
    let honest = node("zipnet.a5.each", &[&server]).await;
    let (working, done) = (Count::default(), Arc::new(Notify::new()));
    let greedy = key(&attacker);
    let handler = {
        let (working, done) = (working.clone(), done.clone());
        let places = Admission::of(Places::new(64, 2));
        serve::<OpinionCall, _, _>(server.network(), &instance(), places, move |(), caller| {
            let (working, done) = (working.clone(), done.clone());
            async move {
                if caller == greedy {
                    working.up();
                    done.notified().await;
                }
                Ok(Opinion::Verified)
            }
        })
    };
    let _handler = handler.unwrap();
    server.show();
    let peers =
        |node: &Node| Peers::on::<OpinionCall>(&Members(node.network().clone()), &instance(), None);
    let theirs = Arc::new(peers(&attacker));
    met(&theirs, 1).await;
    met(&peers(&honest), 1).await;

    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let (theirs, server) = (theirs.clone(), server.peer());
        calls.spawn(async move { theirs.call_peer(server, &(), SOON).await });
    }
    for _ in 0..8 {
        let refused = timeout(SOON, calls.join_next()).await.unwrap();
        let refused = refused.unwrap().unwrap().unwrap_err();
        assert_eq!(refused.refusal(), Some(&Refused::Busy));
    }
    until("two calls are at work", || working.get() == 2).await;
    let answer = peers(&honest).call(&(), PATIENCE).await;
    assert!(answer.is_ok(), "{answer:?}");
    // What is done leaves its place.
    done.notify_waiters();
    for _ in 0..2 {
        let answered = timeout(SOON, calls.join_next()).await.unwrap();
        assert!(answered.unwrap().unwrap().is_ok());
    }
    let again = tokio::spawn(async move { theirs.call_peer(server.peer(), &(), SOON).await });
    until("another call is at work", || working.get() == 3).await;
    done.notify_waiters();
    assert!(timeout(SOON, again).await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn a5_who_is_not_admitted_is_turned_away_before_anything_is_done() {
    let server = node("zipnet.a5.only", &[]).await;
    let attacker = node("zipnet.a5.only", &[&server]).await;
    let named = node("zipnet.a5.only", &[&server]).await;
    let (calls, name) = (Count::default(), key(&named));
    let handler = {
        let calls = calls.clone();
        let admission = Admission::from(1).only(move |caller| *caller == name);
        serve::<OpinionCall, _, _>(server.network(), &instance(), admission, move |(), _| {
            calls.up();
            ready(Ok(Opinion::Verified))
        })
    };
    let _handler = handler.unwrap();
    // Another call is open to all: the server is not merely unreachable.
    let open = serve::<CredentialCall, _, _>(server.network(), &instance(), 8, |_, _| {
        ready(Err(Refused::NotOpen))
    });
    let _open = open.unwrap();
    server.show();
    let peers =
        |node: &Node| Peers::on::<OpinionCall>(&Members(node.network().clone()), &instance(), None);
    met(&peers(&attacker), 1).await;
    met(&peers(&named), 1).await;

    let all = Peers::on::<CredentialCall>(&Members(attacker.network().clone()), &instance(), None);
    let nothing = all.call(&Digest::ZERO, PATIENCE).await.unwrap_err();
    assert_eq!(nothing.refusal(), Some(&Refused::NotOpen));
    let refused = peers(&attacker).call(&(), PATIENCE).await.unwrap_err();
    assert!(
        matches!(&refused, PeerError::Failed { reason, .. } if reason.contains("closed the connection")),
        "{refused:?}"
    );
    assert_eq!(calls.get(), 0);
    assert!(peers(&named).call(&(), PATIENCE).await.is_ok());
    assert_eq!(calls.get(), 1);
}
