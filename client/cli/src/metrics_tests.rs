use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use super::*;
use zipnet::health::{Code, Reason, Role};

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(15)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_four_answers_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = Health::new(Role::Server);
    health.found(vec![Reason::new(Code::Leader, "no leader")]);
    let recorder = PrometheusBuilder::new().build_recorder();
    let desk = Desk {
        metrics: recorder.handle(),
        health: health.clone(),
    };
    tokio::spawn(accept(listener, Arc::new(desk)));
    tokio::task::spawn_blocking(move || {
        let told = get(address, "/readyz");
        assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
        assert!(told.ends_with("\r\n\r\nleader: no leader\n"), "{told}");
        assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
        assert!(get(address, "/metrics").starts_with("HTTP/1.1 200 "));
        assert!(get(address, "/").starts_with("HTTP/1.1 404 "));
        health.found(Vec::new());
        assert!(get(address, "/readyz").ends_with("\r\n\r\nready\n"));
        let told = ask(
            address,
            "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        );
        assert!(told.starts_with("HTTP/1.1 405 "), "{told}");
        // A head without an end is not collected.
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD * 4));
        let told = ask(address, &long);
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 4"), "{told}");
        // Who holds all places and says nothing keeps others out for one patience at most.
        let silent: Vec<_> = (0..CONNECTIONS)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        assert!(get(address, "/readyz").ends_with("ready\n"));
        drop(silent);
    })
    .await
    .unwrap();
}

#[test]
fn what_is_not_in_the_table_is_not_recorded() {
    assert!(Listed::has("zipnet_rounds_finalized_total", Kind::Counter));
    assert!(Listed::has("mosaik.groups.raft.committed", Kind::Gauge));
    assert!(!Listed::has("mosaik.groups.raft.committed", Kind::Counter));
    assert!(!Listed::has("iroh_something_new", Kind::Counter));
}
