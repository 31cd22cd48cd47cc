//! Writes an archive into a bucket and reads it back: the same as the tests do in a folder. No
//! test, since it takes an S3-compatible store:
//!
//! ```sh
//! AWS_ENDPOINT=http://127.0.0.1:5000 AWS_ALLOW_HTTP=true AWS_REGION=us-east-1 \
//! AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x ZIPNET_TEST_BUCKET=BUCKET \
//! cargo run -p zipnet-archive --example s3
//! ```
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::Committee;
use zipnet_archive::{Keeper, objects::Objects};
use zipnet_history::{
    head::{Head, MAX_HEAD},
    layout::Name,
    record::{MAX_RECORD, RecordFile},
};

#[tokio::main]
async fn main() {
    let bucket = std::env::var("ZIPNET_TEST_BUCKET").unwrap();
    let place = format!("s3://{bucket}/run-{}", std::process::id());
    let open = || Objects::open(&place.parse().unwrap()).unwrap();
    let mut committee = Committee::new();
    let instance = committee.instance().clone();
    let records = committee.several(140);
    let keeper = Keeper::open(instance.clone(), open()).await.unwrap();
    for record in [&records[..10], &records[20..130]].concat() {
        assert!(keeper.add(&record).await.unwrap());
    }
    // Nothing that is there is written again.
    let name = Name::Record(
        records[0].done.round().position().0,
        1,
        *records[0].done.digest(),
    );
    assert!(!open().create(&name, "x".into()).await.unwrap());
    let head = keeper.shelf().head.clone();
    let next = Keeper::open(instance, open()).await.unwrap();
    assert_eq!(next.shelf().head, head);
    assert_eq!(next.gaps().await.len(), 1);
    for record in records[10..20].iter().rev().chain(&records[130..]) {
        assert!(next.add(record).await.unwrap());
    }
    assert!(next.gaps().await.is_empty());
    let objects = open();
    let head = objects.get(&Name::Head, MAX_HEAD).await.unwrap().unwrap();
    assert_eq!(Head::decode(&head).unwrap().spans[0].records, 140);
    for record in &records {
        let (epoch, number) = record.done.round().position();
        let name = Name::Record(epoch, number, *record.done.digest());
        let bytes = objects
            .get(&name, MAX_RECORD as usize)
            .await
            .unwrap()
            .unwrap();
        let file = RecordFile::decode(&bytes).unwrap();
        assert_eq!(file.published, record.published);
    }
}
