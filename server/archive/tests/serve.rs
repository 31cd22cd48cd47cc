//! What is answered over a real connection, to whoever asks rightly and to whoever does not.
#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Committee, archive, serve};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};
use zipnet_archive::{Arrival, Keeper, keeper::BACKLOG, serve::Limits};
use zipnet_history::layout::Name;
use zipnet_protocol::Epoch;

const EPOCH: Epoch = Epoch::new([1; 32]);
const LIMIT: Duration = Duration::from_secs(20);
const EVER: &str = "public, max-age=31536000, immutable";

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }
}

async fn raw(url: &str, request: &str) -> Answer {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    let at = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: bytes[at + 4..].to_vec(),
    }
}

async fn ask(url: &str, method: &str, path: &str, more: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
    raw(url, &request).await
}

async fn get(url: &str, path: &str) -> Answer {
    ask(url, "GET", path, "").await
}

fn record_of(arrival: &Arrival) -> String {
    let number = arrival.done.round().header().number;
    Name::Record(EPOCH, number, *arrival.done.digest()).to_string()
}

async fn ground(records: usize) -> (Committee, Vec<Arrival>, Arc<Keeper>, String) {
    let mut committee = Committee::new();
    let records = committee.several(records);
    let (_, keeper) = archive(committee.instance(), &records).await;
    let url = serve(keeper.clone(), Limits::default());
    (committee, records, keeper, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_change_is_kept_for_ever_and_the_rest_is_asked_for() {
    let (mut committee, records, keeper, url) = ground(130).await;
    let record = format!("/{}", record_of(&records[0]));
    let said = record.replace("records", "messages");
    let closed = format!("/{}", Name::Page(EPOCH, 0));
    let open = format!("/{}", Name::Page(EPOCH, 1));
    for (path, keep) in [
        (record.as_str(), EVER),
        (&said, EVER),
        (&closed, EVER),
        (&open, "no-cache"),
        ("/head", "no-cache"),
        ("/", "no-cache"),
        ("/page.js", "no-cache"),
    ] {
        let answer = get(&url, path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("cache-control"), Some(keep), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'"),
            "{policy}"
        );
        let length = answer.header("content-length").unwrap().to_owned();
        assert_eq!(length, answer.body.len().to_string(), "{path}");
        let tag = answer.header("etag").unwrap();
        // Only its head.
        let head = ask(&url, "HEAD", path, "").await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("etag"), Some(tag), "{path}");
        if !path.starts_with("/messages") {
            assert_eq!(
                head.header("content-length"),
                Some(length.as_str()),
                "{path}"
            );
        }
        // It is known already.
        for known in [tag.to_owned(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let same = ask(&url, "GET", path, &format!("If-None-Match: {known}\r\n")).await;
            assert_eq!((same.status, same.body.len()), (304, 0), "{path} {known}");
            assert_eq!(same.header("etag"), Some(tag));
            assert_eq!(same.header("cache-control"), Some(keep));
        }
        let other = ask(&url, "GET", path, "If-None-Match: \"x\"\r\n").await;
        assert_eq!(other.status, 200);
    }
    // What is there is what was written.
    let file = get(&url, &record).await.body;
    let written = keeper
        .objects()
        .get(&Name::parse(&record[1..]).unwrap(), usize::MAX)
        .await;
    assert_eq!(file, written.unwrap().unwrap());
    let said: String = String::from_utf8(get(&url, &said).await.body).unwrap();
    assert!(said.contains("\"text\":\"message 1\""), "{said}");
    // A tag is of one content.
    let before = get(&url, "/head").await;
    keeper.add(&committee.next()).await.unwrap();
    let known = format!("If-None-Match: {}\r\n", before.header("etag").unwrap());
    assert_eq!(ask(&url, "GET", "/head", &known).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_wrongly_is_told_so() {
    let (_, records, _, url) = ground(1).await;
    let record = format!("/{}", record_of(&records[0]));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = ask(&url, method, &record, "Content-Length: 0\r\n").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let body = ask(&url, "GET", &record, "Content-Length: 2\r\n\r\nab").await;
    assert_eq!(body.status, 400);
    for (path, status) in [
        ("/nothing", 404),
        ("/lock", 404),
        ("/../etc/passwd", 404),
        ("//head", 404),
        ("/records", 400),
        ("/records/", 400),
        ("/records/x/y", 400),
        ("/records/..%2f..%2fetc/passwd", 400),
        ("/index/x/0", 400),
        ("/head?x=1", 400),
        (record.to_uppercase().as_str(), 404),
        (
            record
                .replace("records", "messages")
                .replace("00000000000000000001", "00000000000000000002")
                .as_str(),
            404,
        ),
        (record.replace("00000000000000000001", "1").as_str(), 400),
        (
            record
                .replace("00000000000000000001", "00000000000000000002")
                .as_str(),
            404,
        ),
        (format!("/{}", Name::Page(EPOCH, 7)).as_str(), 404),
    ] {
        let answer = get(&url, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(
            answer.body.len() < 300 && answer.body.ends_with(b"\n"),
            "{path}"
        );
    }
    // What is no HTTP, and a head without end.
    assert_eq!(raw(&url, "hello\r\n\r\n").await.status, 400);
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(raw(&url, &long).await.status, 431);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(raw(&url, &many).await.status, 431);
}

/// The lines of an event stream, from its body on.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn listen(url: &str, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://"))
            .await
            .unwrap();
        let last = last
            .map(|last| format!("Last-Event-ID: {last}\r\n"))
            .unwrap_or_default();
        let request = format!("GET /events HTTP/1.1\r\nHost: x\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut events = Self(BufReader::new(stream));
        assert!(events.line().await.unwrap().contains("200"));
        events.expect("retry: ").await;
        events
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(LIMIT, self.0.read_line(&mut line)).await.unwrap();
        read.ok()
            .filter(|read| *read > 0)
            .map(|_| line.trim_end().to_owned())
    }

    async fn expect(&mut self, start: &str) -> String {
        loop {
            let line = self.line().await.expect("the stream goes on");
            if line.starts_with(start) {
                return line;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_is_told_of_each_record_and_who_comes_back_of_those_since() {
    let (mut committee, records, keeper, url) = ground(140).await;
    let mut events = Events::listen(&url, None).await;
    let next = committee.next();
    keeper.add(&next).await.unwrap();
    assert_eq!(events.expect("id: ").await, format!("id: {EPOCH}-141"));
    assert_eq!(events.line().await.unwrap(), "event: record");
    let data = events.expect("data: ").await;
    for part in [
        format!("\"epoch\":\"{EPOCH}\""),
        "\"number\":141".to_owned(),
        format!("\"record\":\"{}\"", next.done.digest()),
        format!("\"previous\":\"{}\"", records[139].done.digest()),
        format!("\"path\":\"/{}\"", record_of(&next)),
        "\"size\":".to_owned(),
    ] {
        assert!(data.contains(&part), "{part} is not in {data}");
    }
    // Back after some were missed, over the end of a page; what comes meanwhile comes once.
    let mut back = Events::listen(&url, Some(&format!("{EPOCH}-120"))).await;
    keeper.add(&committee.next()).await.unwrap();
    for number in 121..=142 {
        assert_eq!(back.expect("id: ").await, format!("id: {EPOCH}-{number}"));
    }
    // A gap is told, too.
    committee.several(2);
    keeper.add(&committee.next()).await.unwrap();
    back.expect("event: gap").await;
    assert!(back.expect("data: ").await.contains("\"fate\":\"missing\""));
    // Who was somewhere else is told to begin anew.
    for nowhere in [
        format!("{}-1", Epoch::new([9; 32])),
        "x".to_owned(),
        String::new(),
    ] {
        let mut lost = Events::listen(&url, Some(&nowhere)).await;
        lost.expect("event: reset").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lags_behind_is_cut_off_and_costs_nothing() {
    let mut committee = Committee::new();
    let records = committee.several(1);
    let (_, keeper) = archive(committee.instance(), &records).await;
    let limits = Limits {
        patience: Duration::from_secs(1),
        ..Limits::default()
    };
    let url = serve(keeper.clone(), limits);
    let mut quick = Events::listen(&url, None).await;
    // It reads nothing: what the kernel holds for it is filled with made-up gaps.
    let mut slow = Events::listen(&url, None).await;
    committee.several(1);
    keeper.add(&committee.next()).await.unwrap();
    let (epoch, gap) = keeper.gaps().await[0];
    let fates = [
        zipnet_history::index::Fate::Lost,
        zipnet_history::index::Fate::Missing,
    ];
    let mut told = 0;
    while keeper.subscribers() > 1 {
        for fate in fates {
            keeper.settle(&epoch, &gap.wanted, fate).await.unwrap();
            quick.expect("event: gap").await;
            told += 1;
        }
        assert!(told < 200_000, "it is still there");
    }
    assert!(told > BACKLOG, "{told}");
    // What it has got by then is whole, and then it is at an end.
    let mut lines = 0;
    while slow.line().await.is_some() {
        lines += 1;
    }
    assert!(lines > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_take_all_places_and_who_says_nothing_is_cut() {
    let mut committee = Committee::new();
    let records = committee.several(1);
    let (_, keeper) = archive(committee.instance(), &records).await;
    let patience = Duration::from_millis(500);
    let limits = Limits {
        connections: 8,
        each: 4,
        patience,
    };
    let url = serve(keeper, limits);
    let address = url.trim_start_matches("http://");
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // The fifth is cut at once.
    let mut fifth = TcpStream::connect(address).await.unwrap();
    let mut byte = [0];
    let cut = timeout(LIMIT, fifth.read(&mut byte)).await.unwrap();
    assert!(matches!(cut, Ok(0) | Err(_)), "{cut:?}");
    // Silence ends, and so does a head that does not, and they leave their places.
    silent[0].write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    for mut stream in silent {
        let mut answer = Vec::new();
        let _ = timeout(LIMIT, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        assert!(answer.len() < 200, "nothing but that it took too long");
    }
    assert_eq!(get(&url, "/head").await.status, 200);
}
