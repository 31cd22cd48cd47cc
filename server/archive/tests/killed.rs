//! A process that is killed while it writes leaves nothing torn, and the next one goes on.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::Committee;
use zipnet_archive::{
    Arrival, Keeper,
    objects::{Objects, Place},
};
use zipnet_history::{
    head::Head,
    index::{MAX_PAGE, Page},
    layout::Name,
    record::{MAX_RECORD, RecordFile},
};
use zipnet_protocol::{Digest, Instance};

/// Where the child writes to, and where the records are that it writes.
const FOLDER: &str = "ARCHIVE_KILLED_FOLDER";
const SOURCE: &str = "ARCHIVE_KILLED_SOURCE";
/// Records that are written, by as many processes as it takes.
const RECORDS: usize = 120;
/// How often a process is killed at least while it writes them.
const KILLS: u32 = 10;

async fn open(folder: &Path, instance: &Instance) -> Keeper {
    let objects = Objects::open(&Place::Folder(folder.to_owned())).unwrap();
    Keeper::open(instance.clone(), objects).await.unwrap()
}

/// Not a test of its own: the process that is killed.
#[tokio::test]
#[ignore = "run by the test below, as a process of its own"]
async fn a_process_that_writes() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let source = std::env::var_os(SOURCE).unwrap();
    let instance = Committee::new().instance().clone();
    let keeper = open(Path::new(&folder), &instance).await;
    println!("writes");
    let mut names: Vec<_> = fs::read_dir(&source)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    // Every third comes late, so that gaps are made and filled as well.
    for three in names.chunks(3) {
        for name in [0, 2, 1].iter().filter_map(|at| three.get(*at)) {
            let digest = name.split_once('-').unwrap().1.parse().unwrap();
            if keeper.knows(&digest).await {
                continue;
            }
            let file = fs::read(Path::new(&source).join(name)).unwrap();
            let published = RecordFile::decode(&file).unwrap().published;
            let done = published
                .record
                .verify(&instance, &published.bundles)
                .unwrap();
            let arrival = Arrival {
                published,
                done: Arc::new(done),
                evidence: Vec::new(),
            };
            keeper.add(&arrival).await.unwrap();
        }
    }
    println!("done");
}

/// Every file below a folder is whole and what it is called.
async fn whole(folder: &Path, instance: &Instance) -> usize {
    let objects = Objects::open(&Place::Folder(folder.to_owned())).unwrap();
    let mut files = 0;
    for epoch in objects.folders("records").await.unwrap() {
        let names = objects
            .files(&format!("records/{epoch}"), Some)
            .await
            .unwrap();
        for name in names {
            let bytes = objects
                .get(&name, MAX_RECORD as usize)
                .await
                .unwrap()
                .unwrap();
            let file = RecordFile::decode(&bytes).unwrap();
            let done = file
                .published
                .record
                .verify(instance, &file.published.bundles)
                .unwrap();
            let (epoch, number) = done.round().position();
            assert_eq!(Name::Record(epoch, number, *done.digest()), name);
            files += 1;
        }
        let pages = objects
            .files(&format!("index/{epoch}"), Some)
            .await
            .unwrap();
        for name in pages {
            let bytes = objects.get(&name, MAX_PAGE).await.unwrap().unwrap();
            let page = Page::decode(&bytes).unwrap();
            // What is listed is there.
            for entry in page.entries {
                let length = objects.length(&entry.name(page.epoch)).await.unwrap();
                assert_eq!(length, Some(u64::from(entry.size)));
            }
        }
    }
    if let Some(head) = objects.get(&Name::Head, usize::MAX).await.unwrap() {
        Head::decode(&head).unwrap();
    }
    files
}

/// What the index lacks it says, and it has every record that is there.
async fn announced(keeper: &Keeper, files: usize) {
    let head = Head::decode(&keeper.shelf().head).unwrap();
    let mut listed = 0;
    for span in head.spans {
        let mut last = Digest::ZERO;
        for number in span.first / 128..=span.last / 128 {
            let name = Name::Page(span.epoch, number);
            let bytes = match keeper.shelf().open.get(&(span.epoch, number)) {
                Some(bytes) => bytes.clone(),
                None => keeper
                    .objects()
                    .get(&name, MAX_PAGE)
                    .await
                    .unwrap()
                    .unwrap(),
            };
            let page = Page::decode(&bytes).unwrap();
            for entry in &page.entries {
                let said = page.gaps.iter().any(|gap| gap.wanted == entry.previous);
                assert_eq!(said, entry.previous != last, "round {}", entry.number);
                last = entry.record;
                listed += 1;
            }
        }
    }
    assert_eq!(listed, files);
}

#[tokio::test]
async fn whenever_it_is_killed_no_file_is_torn_and_no_gap_is_left_unsaid() {
    let (folder, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut committee = Committee::new();
    let instance = committee.instance().clone();
    // Over the end of a page.
    committee.skip(110);
    for (at, record) in committee.several(RECORDS).into_iter().enumerate() {
        let file = RecordFile {
            at: 1,
            evidence: Vec::new(),
            published: record.published,
        };
        let path = source
            .path()
            .join(format!("{at:03}-{}", record.done.digest()));
        fs::write(path, file.encode().unwrap()).unwrap();
    }
    let (mut kills, mut files, mut stalls, mut done) = (0, 0, 0, false);
    while !done {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_process_that_writes",
                "--ignored",
                "--nocapture",
            ])
            .env(FOLDER, folder.path())
            .env(SOURCE, source.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = out.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with("writes")));
        // Another moment each time, so that every step of the writing is met.
        let wait = u64::from(kills) * 1_777 % 20_000 + stalls * 20_000;
        std::thread::sleep(Duration::from_micros(wait));
        child.kill().unwrap();
        let killed = !child.wait().unwrap().success();
        done = lines.any(|line| line.ends_with("done"));
        kills += u32::from(killed);
        let now = whole(folder.path(), &instance).await;
        assert!(now >= files, "nothing that was there is gone");
        // On a slow disk it is let live longer, until it gets somewhere.
        stalls = if now > files { 0 } else { stalls + 1 };
        files = now;
        let keeper = open(folder.path(), &instance).await;
        announced(&keeper, files).await;
    }
    println!("{kills} kills, {files} records");
    assert!(kills >= KILLS, "{kills}");
    assert_eq!(files, RECORDS);
}
