use super::*;

fn status() -> Status {
    Status {
        version: "1".into(),
        instance: "acme.mainnet".into(),
        committee: "c0".into(),
        committee_size: 3,
        min_servers: 3,
        peer: "aa".into(),
        leader: Some("bb".into()),
        unhealthy: Vec::new(),
        not_ready: Vec::new(),
        waiting_for: "the leader to open a round".into(),
        policy: None,
        servers: Vec::new(),
        aggregators: Vec::new(),
        turn: None,
        leaves: Vec::new(),
        struck: Vec::new(),
        clients: 0,
        rounds: Vec::new(),
    }
}

fn socket(path: &Path) -> StatusSocket {
    StatusSocket {
        path: path.to_owned(),
        named: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_answers_its_own_user_and_a_dead_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("status.sock");
    // One that was left behind.
    drop(StdListener::bind(&path).unwrap());
    let listening = socket(&path).listen().unwrap().unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let stop = CancellationToken::new();
    let served = tokio::spawn(listening.serve(stop.clone(), status));
    let asked = path.clone();
    let told = tokio::task::spawn_blocking(move || ask(&asked)).await;
    assert_eq!(told.unwrap().unwrap(), status());
    // One at which somebody answers stays.
    assert!(matches!(
        socket(&path).listen(),
        Err(StatusError::Answers { .. })
    ));
    stop.cancel();
    served.await.unwrap();
    assert!(!path.exists(), "it takes its socket along");
    assert!(matches!(ask(&path), Err(AskError::Nobody { .. })));
}

#[tokio::test]
async fn nothing_else_is_replaced_and_nobody_dies_of_a_socket_that_was_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(
        socket(&path).listen(),
        Err(StatusError::Taken { .. })
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let long = folder.path().join("x".repeat(120));
    assert!(matches!(
        socket(&long).listen(),
        Err(StatusError::Long { .. })
    ));
    let unnamed = StatusSocket {
        path: folder.path().join("missing/status.sock"),
        named: false,
    };
    assert!(unnamed.listen().unwrap().is_none());
}

#[test]
fn people_read_it_too() {
    let text = Status {
        aggregators: ["a1", "a2", "a3"].map(str::to_owned).to_vec(),
        turn: Some("a2".into()),
        leaves: ["a2", "a3"].map(str::to_owned).to_vec(),
        ..status()
    };
    let text = text.to_string();
    let shown = "aggregator a1\naggregator a2, next, leaf\naggregator a3, leaf\n";
    assert!(text.contains(shown), "{text}");
    assert!(text.contains("ready      yes\n"), "{text}");
    assert!(
        text.contains("waits for  the leader to open a round\n"),
        "{text}"
    );
}
