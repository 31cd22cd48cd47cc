//! What is written is there, and what is not there is said.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Committee, archive};
use object_store::{ObjectStoreExt as _, memory::InMemory, path::Path};
use zipnet_archive::{
    Arrival, Keeper,
    keeper::{News, RecoverError},
    objects::Objects,
};
use zipnet_history::{
    head::Head,
    index::{Fate, MAX_PAGE, Page},
    layout::Name,
    record::{MAX_RECORD, RecordFile},
};
use zipnet_protocol::{Digest, Epoch, Instance, SigningSecret};

const EPOCH: Epoch = Epoch::new([1; 32]);

fn position(arrival: &Arrival) -> (u64, Digest) {
    let number = arrival.done.round().header().number;
    (number, *arrival.done.digest())
}

async fn page(keeper: &Keeper, epoch: Epoch, page: u64) -> Page {
    let found = keeper
        .objects()
        .get(&Name::Page(epoch, page), MAX_PAGE)
        .await;
    Page::decode(&found.unwrap().unwrap()).unwrap()
}

async fn head(keeper: &Keeper) -> Head {
    let found = keeper.objects().get(&Name::Head, usize::MAX).await;
    let bytes = found.unwrap().unwrap();
    assert_eq!(
        bytes,
        keeper.shelf().head,
        "what is served is what is written"
    );
    Head::decode(&bytes).unwrap()
}

async fn again(instance: &Instance, store: &Arc<InMemory>) -> Keeper {
    let objects = Objects::within(store.clone());
    Keeper::open(instance.clone(), objects).await.unwrap()
}

/// All that an index lists is there and is what it is called; what its chain lacks is said.
async fn sound(keeper: &Keeper) -> Vec<(Epoch, u64, Digest)> {
    let mut listed = Vec::new();
    for span in head(keeper).await.spans {
        let (mut last, mut count) = (Digest::ZERO, 0);
        for number in span.first / 128..=span.last / 128 {
            let name = Name::Page(span.epoch, number);
            let Some(bytes) = keeper.objects().get(&name, MAX_PAGE).await.unwrap() else {
                continue;
            };
            let page = Page::decode(&bytes).unwrap();
            for entry in &page.entries {
                let name = entry.name(span.epoch);
                let most = MAX_RECORD as usize;
                let bytes = keeper.objects().get(&name, most).await.unwrap().unwrap();
                assert_eq!(bytes.len(), entry.size as usize);
                let file = RecordFile::decode(&bytes).unwrap();
                let published = &file.published;
                let done = published
                    .record
                    .verify(keeper.instance(), &published.bundles)
                    .unwrap();
                assert_eq!(*done.digest(), entry.record);
                assert_eq!(done.round().header().previous, entry.previous);
                let said = page
                    .gaps
                    .iter()
                    .any(|gap| gap.before == entry.number && gap.wanted == entry.previous);
                assert_eq!(said, entry.previous != last, "round {}", entry.number);
                last = entry.record;
                count += 1;
                listed.push((span.epoch, entry.number, entry.record));
            }
        }
        assert_eq!(count, span.records);
        assert_eq!(last, span.newest);
    }
    listed
}

#[tokio::test]
async fn records_are_chained_over_pages_and_the_next_process_goes_on() {
    let mut committee = Committee::new();
    let records = committee.several(300);
    let (store, keeper) = archive(committee.instance(), &records).await;
    let expected: Vec<_> = records.iter().map(position).collect();
    let listed = sound(&keeper).await;
    assert_eq!(listed.len(), 300);
    assert!(
        listed
            .iter()
            .map(|(_, number, digest)| (*number, *digest))
            .eq(expected)
    );
    let span = &head(&keeper).await.spans[0];
    assert_eq!((span.first, span.last, span.records), (1, 300, 300));
    // The first two pages do not change any more.
    assert_eq!(span.open, [2]);
    assert!(!keeper.add(&records[299]).await.unwrap(), "it is there");
    assert!(
        !keeper.add(&records[5]).await.unwrap(),
        "it is there, in a page that is closed"
    );
    let before = keeper.shelf().head.clone();
    let next = again(committee.instance(), &store).await;
    assert_eq!(next.shelf().head, before);
    assert!(next.add(&committee.next()).await.unwrap());
    assert_eq!(sound(&next).await.len(), 301);
    assert!(next.gaps().await.is_empty());
}

#[tokio::test]
async fn what_is_missing_is_said_and_filled_from_its_end() {
    let mut committee = Committee::new();
    let before = committee.several(3);
    committee.skip(4);
    let away = committee.several(140);
    let after = committee.several(2);
    let (_, keeper) = archive(committee.instance(), &before).await;
    let mut news = keeper.subscribe();
    assert!(keeper.add(&after[0]).await.unwrap());
    assert!(keeper.add(&after[1]).await.unwrap());
    let [(EPOCH, gap)] = keeper.gaps().await[..] else {
        panic!("one gap");
    };
    assert_eq!((gap.after, gap.before, gap.fate), (3, 148, Fate::Missing));
    assert_eq!(gap.wanted, *away[139].done.digest());
    assert!(matches!(news.recv().await, Ok(News::Record(EPOCH, entry)) if entry.number == 148));
    assert_eq!(news.recv().await, Ok(News::Gap(EPOCH, gap)));
    sound(&keeper).await;
    // The pages at both ends stay open.
    assert_eq!(head(&keeper).await.spans[0].open, [0, 1]);
    // Half of it comes, and nobody has the rest.
    for record in away[70..].iter().rev() {
        assert!(keeper.add(record).await.unwrap());
    }
    sound(&keeper).await;
    let [(EPOCH, gap)] = keeper.gaps().await[..] else {
        panic!("one gap");
    };
    assert_eq!((gap.after, gap.before), (3, 78));
    keeper
        .settle(&EPOCH, &gap.wanted, Fate::Lost)
        .await
        .unwrap();
    assert_eq!(page(&keeper, EPOCH, 0).await.gaps[0].fate, Fate::Lost);
    // Somebody has it after all.
    for record in away[..70].iter().rev() {
        assert!(keeper.add(record).await.unwrap());
    }
    assert!(keeper.gaps().await.is_empty());
    assert_eq!(sound(&keeper).await.len(), 145);
    assert_eq!(head(&keeper).await.spans[0].open, [1]);
}

#[tokio::test]
async fn who_begins_late_says_so_and_epochs_stand_side_by_side() {
    let mut committee = Committee::new();
    let old = committee.several(10);
    let (_, keeper) = archive(committee.instance(), &old[7..]).await;
    let [(EPOCH, gap)] = keeper.gaps().await[..] else {
        panic!("one gap");
    };
    assert_eq!((gap.after, gap.before), (0, 8));
    committee.begin(2);
    for record in committee.several(3) {
        assert!(keeper.add(&record).await.unwrap());
    }
    assert_eq!(sound(&keeper).await.len(), 6);
    let spans = head(&keeper).await.spans;
    assert_eq!(
        spans.iter().map(|span| span.epoch).collect::<Vec<_>>(),
        [EPOCH, Epoch::new([2; 32])]
    );
}

#[tokio::test]
async fn times_do_not_go_back_along_the_chain() {
    let mut committee = Committee::new();
    let records = committee.several(6);
    let (_, keeper) = archive(committee.instance(), &records[..2]).await;
    // The later ones first.
    for at in [5, 4, 3, 2] {
        keeper.add(&records[at]).await.unwrap();
    }
    let page = page(&keeper, EPOCH, 0).await;
    assert!(page.entries.is_sorted_by_key(|entry| entry.at));
}

#[tokio::test]
async fn a_store_without_head_or_index_is_taken_up_by_what_is_there() {
    let mut committee = Committee::new();
    let records = committee.several(140);
    let (store, keeper) = archive(committee.instance(), &records).await;
    let expected = sound(&keeper).await;
    let head = Path::from("head");
    let pages = [0, 1].map(|page| Path::from(Name::Page(EPOCH, page).to_string()));
    let garbage = || "zipnet-index 1\nepoch".into();
    // What a hand may do to it, one after the other.
    for (gone, torn) in [
        (vec![&head], None),
        (vec![&head, &pages[1]], None),
        (vec![&pages[1]], None),
        (vec![&head], Some(&pages[0])),
        (vec![&head, &pages[0], &pages[1]], None),
    ] {
        for path in &gone {
            store.delete(path).await.unwrap();
        }
        if let Some(path) = torn {
            store.put(path, garbage()).await.unwrap();
        }
        let next = again(committee.instance(), &store).await;
        // The head is written with the next record.
        next.add(&records[139]).await.unwrap();
        let spans = Head::decode(&next.shelf().head).unwrap().spans;
        assert_eq!(spans[0].records, 140, "{gone:?} {torn:?}");
        assert!(next.gaps().await.is_empty(), "{gone:?} {torn:?}");
        store
            .put(&head, next.shelf().head.clone().into())
            .await
            .unwrap();
        assert_eq!(sound(&next).await, expected, "{gone:?} {torn:?}");
    }
}

#[tokio::test]
async fn files_that_are_not_what_they_are_called_are_no_records() {
    let mut committee = Committee::new();
    let records = committee.several(5);
    let (store, keeper) = archive(committee.instance(), &records[..2]).await;
    let name = |at: usize, number: u64| {
        let digest = *records[at].done.digest();
        Path::from(Name::Record(EPOCH, number, digest).to_string())
    };
    let bytes = store.get(&name(1, 2)).await.unwrap().bytes().await.unwrap();
    // Another record under the name of the third, and half of one under that of the fourth.
    store.put(&name(2, 3), bytes.clone().into()).await.unwrap();
    store
        .put(&name(3, 4), bytes.slice(..100).into())
        .await
        .unwrap();
    drop(keeper);
    let next = again(committee.instance(), &store).await;
    assert_eq!(sound(&next).await.len(), 2);
    for record in &records[2..] {
        assert!(next.add(record).await.unwrap());
    }
    assert_eq!(sound(&next).await.len(), 5);
}

#[tokio::test]
async fn the_archive_of_another_instance_is_left_alone() {
    let mut committee = Committee::new();
    let records = committee.several(1);
    let (store, keeper) = archive(committee.instance(), &records).await;
    drop(keeper);
    let other = SigningSecret::from_seed(&zeroize::Zeroizing::new([9; 32])).public();
    let other = Instance::new(committee.instance().name().clone(), other);
    let opened = Keeper::open(other, Objects::within(store)).await;
    assert!(
        matches!(opened, Err(RecoverError::Instance { .. })),
        "{opened:?}"
    );
}

#[tokio::test]
async fn a_record_is_what_it_was_checked_as() {
    let mut committee = Committee::new();
    let [one, other] = &committee.several(2)[..] else {
        unreachable!()
    };
    let (_, keeper) = archive(committee.instance(), &[]).await;
    let mixed = Arrival {
        published: other.published.clone(),
        ..one.clone()
    };
    assert!(keeper.add(&mixed).await.is_err());
    assert!(keeper.shelf().open.is_empty());
}
