//! How server and guest are, in one line.

use core::time::Duration;
use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Instant,
};

use crate::{proc, service::Service};

/// How often the line is said.
pub const EVERY: Duration = Duration::from_mins(1);
/// PID 1 does nothing else meanwhile.
const PATIENCE: Duration = Duration::from_millis(300);
/// More metrics than any server has, in bytes.
const MAX_METRICS: usize = 1 << 20;
const FINALIZED: &str = "zipnet_rounds_finalized_total";

/// The line.
#[must_use]
pub fn line(server: &Service, metrics: SocketAddr) -> String {
    let mut parts = vec![format!("up {} s", proc::uptime())];
    match server.running() {
        Some((pid, since)) => {
            parts.push(format!("server runs for {} s", since.elapsed().as_secs()));
            parts.push(format!("{} restarts", server.restarts()));
            if let Some(bytes) = proc::resident(pid) {
                parts.push(format!("server uses {} MiB", bytes >> 20));
            }
            if let Ok(Some(rounds)) = scrape(metrics).map(|text| total(&text, FINALIZED)) {
                parts.push(format!("{rounds} rounds finalized"));
            }
        }
        None => parts.push(format!(
            "server is down after {} restarts",
            server.restarts()
        )),
    }
    if let Some(bytes) = proc::memory("MemAvailable") {
        parts.push(format!("{} MiB free", bytes >> 20));
    }
    parts.join(", ")
}

/// The sum of all series of a counter.
fn total(metrics: &str, name: &str) -> Option<u64> {
    let values: Vec<u64> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.into_iter().fold(0, u64::saturating_add))
}

/// The server's metrics, from this machine: PID 1 hears of nobody else.
fn scrape(mut address: SocketAddr) -> io::Result<String> {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    if !address.ip().is_loopback() {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let end = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() > MAX_METRICS {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            length => answer.extend(buffer.get(..length).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_counter_is_the_sum_of_its_series() {
        let text =
            "# TYPE a_total counter\na_total{x=\"1 2\"} 3\na_total{x=\"2\"} 4\na_total_b 9\n";
        assert_eq!(total(text, "a_total"), Some(7));
        assert_eq!(total(text, "b_total"), None);
    }

    #[test]
    fn metrics_are_read_and_a_server_that_says_nothing_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 64];
            let _ = stream.read(&mut request).unwrap();
            stream
                .write_all(b"HTTP/1.0 200 OK\r\n\r\na_total 3\n")
                .unwrap();
            drop(stream);
            // Held, and silent.
            listener.accept().unwrap()
        });
        assert_eq!(total(&scrape(address).unwrap(), "a_total"), Some(3));
        assert!(scrape(address).is_err());
        server.join().unwrap();
    }

    #[test]
    fn d8_another_machine_is_not_asked() {
        let error = scrape("192.0.2.1:9".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
