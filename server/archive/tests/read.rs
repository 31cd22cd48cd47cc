//! History is read whole from an honest archive, and nothing that is wrong is shown from another
//! one.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Committee, archive, params, serve, trust};
use object_store::{ObjectStoreExt as _, memory::InMemory, path::Path};
use zipnet::settings::TrustSettings;
use zipnet_archive::{Arrival, Keeper, serve::Limits};
use zipnet_history::{
    index::Fate,
    layout::Name,
    read::{CheckError, From, History, Item, ReadError, ReadSettings},
    record::RecordFile,
};
use zipnet_protocol::{Epoch, Instance, PeerKey};

const EPOCH: Epoch = Epoch::new([1; 32]);

fn settings(url: &str, instance: &Instance, from: From) -> ReadSettings {
    ReadSettings {
        archive: url.to_owned(),
        instance: instance.clone(),
        trust: trust(instance),
        params: params(),
        from,
    }
}

/// What a reader is told, in short; until there is no more.
async fn told(mut history: History) -> (History, Vec<String>) {
    let read = move || {
        let mut told = Vec::new();
        while let Some(item) = history.item().unwrap() {
            told.push(match item {
                Item::Round(checked) => {
                    let said: Vec<_> = checked
                        .done
                        .messages()
                        .map(|(_, text)| String::from_utf8(text).unwrap())
                        .collect();
                    said.join(" ")
                }
                Item::Epoch(_) => "epoch".to_owned(),
                Item::Gap {
                    after,
                    before,
                    said,
                } => {
                    let after = after.map_or_else(|| "-".to_owned(), |after| after.to_string());
                    format!("gap {after} {before} {}", said.map_or("unsaid", Fate::word))
                }
                Item::Refused { number, error } => {
                    let kind = match error {
                        CheckError::Withheld { .. } => "withheld",
                        CheckError::File { .. } => "file",
                        CheckError::Record { .. } => "record",
                        CheckError::Other { .. } => "other",
                        CheckError::Time { .. } => "time",
                        CheckError::Roster { .. } => "roster",
                        _ => "evidence",
                    };
                    format!("refused {number} {kind}")
                }
            });
        }
        (history, told)
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

async fn read(url: &str, instance: &Instance, from: From) -> Vec<String> {
    let history = History::new(settings(url, instance, from)).unwrap();
    told(history).await.1
}

fn messages(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers
        .into_iter()
        .map(|number| format!("message {number}"))
        .collect()
}

async fn ground(records: &[Arrival], instance: &Instance) -> (Arc<InMemory>, Arc<Keeper>, String) {
    let (store, keeper) = archive(instance, records).await;
    let url = serve(keeper.clone(), Limits::default());
    (store, keeper, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_is_read_and_then_what_comes() {
    let mut committee = Committee::new();
    let mut records = committee.several(100);
    committee.skip(300);
    records.extend(committee.several(30));
    let instance = committee.instance().clone();
    let (_, keeper, url) = ground(&records, &instance).await;
    let expected = messages((1..=100).chain(401..=430));
    assert_eq!(read(&url, &instance, From::Start).await, expected);
    assert_eq!(read(&url, &instance, From::Round(1)).await, expected);
    assert_eq!(
        read(&url, &instance, From::Round(200)).await,
        messages(401..=430)
    );
    assert_eq!(
        read(&url, &instance, From::Epoch(EPOCH, 99)).await,
        messages([99, 100].into_iter().chain(401..=430))
    );
    let history = History::new(settings(&url, &instance, From::Now)).unwrap();
    let (history, nothing) = told(history).await;
    assert!(nothing.is_empty(), "{nothing:?}");
    for record in committee.several(120) {
        keeper.add(&record).await.unwrap();
    }
    let (history, new) = told(history).await;
    assert_eq!(new, messages(431..=550));
    // All servers start over.
    committee.begin(2);
    for record in committee.several(2) {
        keeper.add(&record).await.unwrap();
    }
    let (_, new) = told(history).await;
    assert_eq!(new, ["epoch", "message 1", "message 2"]);
    let all = read(&url, &instance, From::Epoch(EPOCH, 550)).await;
    assert_eq!(all, ["message 550", "epoch", "message 1", "message 2"]);
    assert_eq!(read(&url, &instance, From::Round(2)).await, ["message 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_whether_the_archive_says_so_or_not() {
    let mut committee = Committee::new();
    let records = committee.several(9);
    let instance = committee.instance().clone();
    let some: Vec<_> = [2, 3, 6, 7].map(|at| records[at].clone()).into();
    let (store, keeper, url) = ground(&some, &instance).await;
    let expected = [
        "gap - 3 missing",
        "message 3",
        "message 4",
        "gap 4 7 missing",
        "message 7",
        "message 8",
    ];
    assert_eq!(read(&url, &instance, From::Start).await, expected);
    for (epoch, gap) in keeper.gaps().await {
        keeper
            .settle(&epoch, &gap.wanted, Fate::Lost)
            .await
            .unwrap();
    }
    assert_eq!(
        read(&url, &instance, From::Round(4)).await[1],
        "gap 4 7 lost"
    );
    // A file that is gone.
    let name = Name::Record(EPOCH, 7, *records[6].done.digest());
    store.delete(&Path::from(name.to_string())).await.unwrap();
    let expected = [
        "message 4",
        "refused 7 withheld",
        "gap 4 8 unsaid",
        "message 8",
    ];
    assert_eq!(read(&url, &instance, From::Round(4)).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_nothing_that_an_archive_changes_is_shown() {
    let mut committee = Committee::new();
    let records = committee.several(4);
    let instance = committee.instance().clone();
    let (store, _, url) = ground(&records, &instance).await;
    let path = |at: usize| {
        let number = u64::try_from(at + 1).unwrap();
        Path::from(Name::Record(EPOCH, number, *records[at].done.digest()).to_string())
    };
    let honest = store.get(&path(1)).await.unwrap().bytes().await.unwrap();
    let file = RecordFile::decode(&honest).unwrap();
    let other = store.get(&path(2)).await.unwrap().bytes().await.unwrap();
    let changed = |change: &dyn Fn(&mut RecordFile)| {
        let mut file = file.clone();
        change(&mut file);
        file.encode().unwrap()
    };
    let partial = |file: &mut RecordFile| {
        let partial = &mut file.published.record.partials[1];
        let mut vector = partial.vector.to_vec();
        vector[3] ^= 1;
        partial.vector = vector.into();
    };
    for (bytes, kind) in [
        (honest.slice(..honest.len() - 1), "file"),
        ([&honest[..], b"x"].concat().into(), "file"),
        (Vec::new().into(), "file"),
        (other, "other"),
        (changed(&partial), "record"),
        (
            changed(&|file| {
                file.published.record.partials.pop();
            }),
            "record",
        ),
        (
            changed(&|file| file.published.record.aggregate.vector = vec![0; 512].into()),
            "record",
        ),
        (changed(&|file| file.at = 1), "time"),
        (changed(&|file| file.at = u64::MAX), "time"),
    ] {
        store.put(&path(1), bytes.into()).await.unwrap();
        let told = read(&url, &instance, From::Start).await;
        let expected = [
            "message 1",
            &format!("refused 2 {kind}"),
            "gap 1 3 unsaid",
            "message 3",
            "message 4",
        ];
        assert_eq!(told, expected, "{kind}");
    }
    // Bundles that came with the record before are known; whoever begins here has none.
    let bare = changed(&|file| file.published.bundles.clear());
    store.put(&path(1), bare.into()).await.unwrap();
    let told = read(&url, &instance, From::Round(2)).await;
    assert_eq!(told[0], "refused 2 record");
    // Each byte of it counts, or nothing of it is shown.
    for at in (0..honest.len()).step_by(37) {
        let mut bytes = honest.to_vec();
        bytes[at] ^= 0x40;
        store.put(&path(1), bytes.into()).await.unwrap();
        let told = read(&url, &instance, From::Round(2)).await;
        let shown = told.iter().any(|told| told == "message 2");
        // But for the archive's word, the time, which is not a part of the record.
        let refused = told[0].starts_with("refused 2 ");
        assert!(refused || (shown && at < 24), "byte {at}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_reader_pins_is_in_the_roster() {
    let mut committee = Committee::new();
    let records = committee.several(2);
    let instance = committee.instance().clone();
    let (_, _, url) = ground(&records, &instance).await;
    let pinned = |pin: &dyn Fn(&mut TrustSettings)| {
        let mut settings = settings(&url, &instance, From::Start);
        pin(&mut settings.trust);
        History::new(settings).unwrap()
    };
    let peer = |key: &PeerKey| key.to_string().parse().unwrap();
    let server = *committee.world.servers[0].admitted.peer();
    let one_of_us = told(pinned(&|trust| trust.required = vec![peer(&server)]))
        .await
        .1;
    assert_eq!(one_of_us, messages(1..=2));
    let aggregator = committee.world.aggregator.peer_key();
    let stranger = told(pinned(&|trust| trust.required = vec![peer(&aggregator)]))
        .await
        .1;
    assert_eq!(stranger, ["refused 1 roster", "refused 2 roster"]);
    let more = told(pinned(&|trust| trust.committee_size = Some(4)))
        .await
        .1;
    assert_eq!(more, ["refused 1 roster", "refused 2 roster"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_of_the_instance_is_said() {
    let mut committee = Committee::new();
    let records = committee.several(1);
    let instance = committee.instance().clone();
    let (_, _, url) = ground(&records, &instance).await;
    let fails = |url: String, instance: Instance| async move {
        let mut history = History::new(settings(&url, &instance, From::Start)).unwrap();
        let next = move || history.item().unwrap_err();
        tokio::task::spawn_blocking(next).await.unwrap()
    };
    let anchor = zipnet_protocol::Digest::new([7; 32]);
    let attested = Instance::attested(instance.name().clone(), *instance.committee(), anchor);
    let error = fails(url.clone(), attested).await;
    assert!(matches!(error, ReadError::Instance { .. }), "{error}");
    let error = fails(format!("{url}/elsewhere"), instance.clone()).await;
    assert!(matches!(error, ReadError::NoArchive { .. }), "{error}");
    for bad in [
        "",
        "archive",
        "ftp://x",
        "http://",
        "http://u@x",
        "http://x?y",
        &format!("http://{}", "x".repeat(600)),
    ] {
        assert!(
            History::new(settings(bad, &instance, From::Start)).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn a_place_to_begin_is_a_round_an_epoch_or_the_start() {
    let epoch = EPOCH.to_string();
    assert_eq!("start".parse(), Ok(From::Start));
    assert_eq!("17".parse(), Ok(From::Round(17)));
    assert_eq!(format!("{epoch}:3").parse(), Ok(From::Epoch(EPOCH, 3)));
    for bad in ["", "-1", "r17", ":3", &epoch, &format!("{epoch}:"), "1:1"] {
        let error = bad.parse::<From>().unwrap_err().to_string();
        assert!(error.ends_with("would be right"), "{error}");
    }
}
