//! What whoever sends a message is told, and when he is told nothing.

use core::time::Duration;

use tokio::{
    sync::{broadcast, mpsc},
    time::timeout,
};
use zipnet_protocol::RoundParams;

use super::*;
use crate::roles::client::{
    OUTBOX,
    publisher::{GivenUp, Outgoing, PublishOptions, Publisher},
};

/// A publisher, what would be its driver's queue, and what keeps it told.
fn scene() -> (Publisher, mpsc::Receiver<Outgoing>, broadcast::Sender<Told>) {
    let (outbox, queue) = mpsc::channel(OUTBOX);
    let told = broadcast::Sender::new(BACKLOG);
    let publisher = Publisher::new(outbox, RoundParams::default(), &told);
    (publisher, queue, told)
}

const LOST: PublishError = PublishError::NotLanded {
    attempts: 8,
    because: GivenUp::Attempts,
};

#[tokio::test]
async fn a_message_whose_handle_is_dropped_is_sealed_all_the_same_and_its_fate_is_told() {
    let (publisher, mut queue, _told) = scene();
    let mut receipts = publisher.receipts();
    let first = publisher.send("one");
    let second = publisher.send("two");
    assert_eq!(
        (first.message().number(), second.message().number()),
        (0, 1)
    );
    drop(first);
    let outgoing = queue.recv().await.unwrap();
    assert_eq!(outgoing.message.as_bytes(), b"one");
    assert!(!outgoing.done.is_withdrawn());
    outgoing.done.send(Err(LOST));
    queue.recv().await.unwrap().done.send(Err(LOST));
    assert_eq!(second.await, Err(LOST));
    for number in 0..2 {
        let told = receipts.next().await.unwrap().unwrap();
        assert_eq!((told.message.number(), told.outcome), (number, Err(LOST)));
    }
}

#[tokio::test]
async fn a_publish_that_is_dropped_is_withdrawn_and_nothing_is_told_of_it() {
    let (publisher, mut queue, told) = scene();
    let mut receipts = publisher.receipts();
    let short = Duration::from_millis(10);
    assert!(
        timeout(short, publisher.publish("never mind"))
            .await
            .is_err()
    );
    let outgoing = queue.recv().await.unwrap();
    assert!(outgoing.done.is_withdrawn());
    outgoing.done.send(Err(LOST));
    drop(told);
    assert_eq!(receipts.next().await, None);
}

#[tokio::test]
async fn what_cannot_be_sent_is_told_at_once_to_all() {
    let (publisher, mut queue, told) = scene();
    let mut receipts = publisher.receipts();
    let long = publisher.send(vec![0; publisher.longest() + 1]);
    assert!(matches!(long.await, Err(PublishError::Message(_))));
    let long = publisher.publish(vec![0; publisher.longest() + 1]);
    assert!(matches!(long.await, Err(PublishError::Message(_))));
    let fits = publisher.send(vec![0; publisher.longest()]);
    for _ in 1..OUTBOX {
        publisher.send("x");
    }
    let more = publisher.send("one too many");
    assert_eq!(more.await, Err(PublishError::Full));
    let soon = PublishOptions {
        deadline: Duration::from_millis(10),
        ..PublishOptions::default()
    };
    let late = publisher.publish_with("its turn does not come", soon);
    let because = GivenUp::Deadline;
    let attempts = 0;
    assert_eq!(
        late.await,
        Err(PublishError::NotLanded { attempts, because })
    );
    // The driver ends.
    while queue.try_recv().is_ok() {}
    drop((queue, told));
    assert_eq!(fits.await, Err(PublishError::Closed));
    assert_eq!(publisher.send("late").await, Err(PublishError::Closed));
    let mut heard = Vec::new();
    while let Some(told) = receipts.next().await {
        heard.push(told.unwrap().outcome.unwrap_err());
    }
    let [first, second, third, fourth] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert!(matches!(first, PublishError::Message(_)) && first == second);
    assert_eq!(*third, PublishError::Full);
    assert_eq!(*fourth, PublishError::NotLanded { attempts, because });
    assert_eq!(publisher.receipts().next().await, None);
}

#[tokio::test]
async fn whoever_reads_receipts_too_slowly_is_told_how_many_he_lost() {
    let (publisher, _queue, _told) = scene();
    let mut receipts = publisher.receipts();
    let long = vec![0; publisher.longest() + 1];
    for _ in 0..BACKLOG + 3 {
        publisher.send(long.clone());
    }
    let lag = receipts.next().await.unwrap().unwrap_err();
    assert_eq!(lag, Lagged::Slow { missed: 3 });
    let told = receipts.next().await.unwrap().unwrap();
    assert_eq!(told.message.number(), 3);
}
