//! One server, seen from outside: its log and its metrics.

use core::ops::Range;
use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use crate::process::Process;

/// A line of a server's log about a finalized round.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finalized {
    /// The round's number.
    pub number: u64,
    /// The start of the record's digest.
    pub record: String,
    /// How many clients took part.
    pub participants: usize,
}

impl Finalized {
    /// What a line says, if it is one of those.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let fields = line.split("committee: round finalized ").nth(1)?;
        let field = |name: &str| {
            fields
                .split(' ')
                .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        Some(Self {
            number: field("round")?.strip_prefix('r')?.parse().ok()?,
            record: field("record")?.trim_matches('"').to_owned(),
            participants: field("participants")?.parse().ok()?,
        })
    }
}

/// A server process with what is needed to start it again.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// `PEERID@ip:port`.
    pub hint: String,
    /// Where its metrics are.
    pub metrics: SocketAddr,
    /// Its place among the servers of the cluster.
    pub(crate) index: usize,
}

impl Server {
    /// The short name that other servers' logs and metrics use.
    #[must_use]
    pub fn short(&self) -> String {
        self.hint.chars().take(10).collect()
    }

    /// The server's peer id.
    #[must_use]
    pub fn peer(&self) -> String {
        self.hint.chars().take(64).collect()
    }

    /// The rounds that it says it has finalized, from line `from` on.
    #[must_use]
    pub fn finalized(&self, from: usize) -> Vec<Finalized> {
        self.process
            .lines()
            .since(from)
            .iter()
            .filter_map(|line| Finalized::parse(line))
            .collect()
    }

    /// The value of a metric whose line starts with `name`.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        scrape(self.metrics)?
            .lines()
            .filter(|line| !line.starts_with('#'))
            .find(|line| line.starts_with(name))
            .and_then(|line| line.rsplit(' ').next())
            .and_then(|value| value.parse().ok())
    }
}

/// The seed of the transport identity of server `index`.
#[must_use]
pub fn transport_secret(index: usize) -> String {
    format!("server {index}")
}

/// Everything the exporter at `address` says.
#[must_use]
pub fn scrape(address: SocketAddr) -> Option<String> {
    get(address, "/metrics").map(|(_, body)| body)
}

/// What is answered at `address` for `path`: the status, and the text.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// A TCP address on loopback that was free a moment ago.
#[must_use]
pub fn free_port() -> SocketAddr {
    free(|address| TcpListener::bind(address).is_ok())
}

/// A UDP address on loopback that was free a moment ago.
#[must_use]
pub fn free_udp_port() -> SocketAddr {
    free(|address| UdpSocket::bind(address).is_ok())
}

/// Below those that the kernel hands out by itself: a process that comes back to its port
/// must not find it taken by one that asked for any.
const PORTS: Range<u16> = 10_000..30_000;

fn free(is: impl Fn(SocketAddr) -> bool) -> SocketAddr {
    let any = |_| {
        // The state of each is seeded anew.
        let number =
            RandomState::new().build_hasher().finish() % u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(number).unwrap_or_default();
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    };
    let found = (0..1000).map(any).find(|address| is(*address));
    found.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 9100)))
}
