//! Upgrades over real processes, with a script for a guest: through, back, refused, and
//! killed at any moment.
#![allow(missing_docs, clippy::unwrap_used)]

mod standin;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    thread,
    time::Duration,
};

use serde_json::Value;
use standin::{
    Image, Part,
    bench::{Bench, eventually, kill},
};

/// Answers each question with a status, until it is dropped with the test.
fn answering(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/readyz", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut question = [0; 1024];
            let _ = stream.read(&mut question);
            let _ = write!(stream, "HTTP/1.1 {status}\r\n\r\nno leader is known\n");
        }
    });
    url
}

#[test]
fn an_upgrade_goes_through_or_back() {
    let bench = Bench::new();
    bench.launch("a", "one");
    let said = bench.good(&["upgrade", "a", "--image", "two"]);
    assert!(said.contains("The guest a runs the image 0.2.0."), "{said}");
    assert!(said.contains("zipnet-attest provision"), "{said}");
    assert_eq!(bench.status("a")["version"], "0.2.0");
    // One that ends, one that never comes up, one that does not even begin.
    Image::new("ends")
        .version("0.3.0")
        .before("echo 'error: This kernel is broken'; exit 1")
        .write(&bench.path("ends"));
    let said = bench.refused(1, &["upgrade", "a", "--image", "ends"]);
    for words in [
        "goes back to the image 0.2.0",
        "runs its old image again",
        "error: This kernel is broken",
    ] {
        assert!(said.contains(words), "{said}");
    }
    Image::new("hangs")
        .version("0.4.0")
        .before("echo 'it hangs'; rest 600")
        .write(&bench.path("hangs"));
    let said = bench.refused(1, &["upgrade", "a", "--image", "hangs", "--within", "3s"]);
    assert!(said.contains("It was not up within 3s and boots"), "{said}");
    assert!(said.contains("it hangs"), "{said}");
    Image::new("cut").version("0.5.0").write(&bench.path("cut"));
    standin::damage(&bench.path("cut"), Part::End);
    let said = bench.refused(1, &["upgrade", "a", "--image", "cut"]);
    assert!(said.contains("is damaged"), "{said}");
    let status = bench.status("a");
    assert_eq!(status["version"], "0.2.0", "{status:#}");
    assert_eq!(
        (&status["state"], &status["phase"]),
        (&"running".into(), &"waiting".into())
    );
    assert_eq!(status["upgrade"], Value::Null);
    // What is not stopped by its power button is killed.
    Image::new("deaf")
        .version("0.6.0")
        .after("trap '' TERM")
        .write(&bench.path("deaf"));
    bench.good(&["upgrade", "a", "--image", "deaf"]);
    let said = bench.good(&["stop", "a", "--grace", "1s"]);
    assert!(
        said.contains("was killed: it did not power off within 1s"),
        "{said}"
    );
    let said = bench.refused(1, &["upgrade", "a", "--image", "two"]);
    assert!(said.contains("The guest a does not run"), "{said}");
}

#[test]
fn one_server_after_the_other() {
    let bench = Bench::new();
    Image::new("serves")
        .after("echo 'server: starting'; echo 'INFO zipnet_node: bootstrap=ab@10.0.2.15:4400'")
        .write(&bench.path("serves"));
    bench.launch("a", "one");
    bench.launch("b", "one");
    // Who waits for its secrets is down.
    let said = bench.refused(1, &["upgrade", "a", "--image", "two"]);
    assert!(
        said.contains("Nothing was done")
            && said.contains("The guest b of the same instance does not serve: it waits"),
        "{said}"
    );
    assert_eq!(bench.status("a")["generation"], 1);
    // One of another instance does not matter.
    fs::write(bench.path("other.conf"), "ZIPNET_INSTANCE=acme.mix.other\n").unwrap();
    bench.good(&["stop", "b"]);
    bench.good(&[
        "launch",
        "b",
        "--image",
        "one",
        "--config",
        "other.conf",
        "--accel",
        "tcg",
    ]);
    bench.good(&["upgrade", "a", "--image", "two"]);
    // One that serves does not, either.
    bench.good(&["stop", "b"]);
    bench.launch("b", "serves");
    eventually("it serves", || bench.status("b")["phase"] == "serving");
    bench.good(&["upgrade", "a", "--image", "one"]);
    // Peers elsewhere.
    let (ready, not, silent) = (answering("200 OK"), answering("503 Service Unavailable"), {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/readyz", closed.local_addr().unwrap())
    });
    let two = |peers: &str| bench.run(&["upgrade", "a", "--image", "two", "--peers-ready", peers]);
    let (status, said) = two(&format!("{ready},{not}"));
    assert_eq!(status, 1, "{said}");
    assert!(
        said.contains("answers with 503: no leader is known"),
        "{said}"
    );
    let (status, said) = two(&silent);
    assert_eq!(status, 1, "{said}");
    assert!(
        said.contains("A server that does not answer may be down"),
        "{said}"
    );
    assert_eq!(bench.status("a")["version"], "0.1.0");
    let (status, said) = two(&ready);
    assert_eq!(status, 0, "{said}");
    // Two at once: the second finds the first's lock, whatever it is about.
    Image::new("slow")
        .version("0.3.0")
        .before("rest 600")
        .write(&bench.path("slow"));
    let first = bench
        .command(&["upgrade", "a", "--image", "slow", "--within", "8s"])
        .spawn()
        .unwrap();
    eventually("it is under way", || {
        bench.path("run/guests/a/upgrade.json").exists()
    });
    let said = bench.refused(1, &["upgrade", "b", "--image", "two"]);
    assert!(
        said.contains("another upgrade is under way on this host (upgrade of a, process"),
        "{said}"
    );
    let said = bench.refused(1, &["stop", "a"]);
    assert!(
        said.contains("Another zipnet-host is at work on the guest a (upgrade, process"),
        "{said}"
    );
    assert_eq!(first.wait_with_output().unwrap().status.code(), Some(1));
    assert_eq!(bench.status("a")["version"], "0.2.0");
}

#[test]
fn an_upgrade_that_is_killed_is_mended() {
    let bench = Bench::new();
    let slow = "sleep 0.15";
    Image::new("one").before(slow).write(&bench.path("one"));
    Image::new("two")
        .version("0.2.0")
        .before(slow)
        .write(&bench.path("two"));
    bench.launch("a", "one");
    let (mut explained, mut kinds) = (0, std::collections::BTreeSet::new());
    for round in 0..16_u64 {
        let image = if bench.status("a")["version"] == "0.1.0" {
            "two"
        } else {
            "one"
        };
        let mut upgrade = bench
            .command(&["upgrade", "a", "--image", image])
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(25 * round));
        upgrade.kill().unwrap();
        upgrade.wait().unwrap();
        // Every second time nobody is left who watches, every fourth not even a guest.
        if round % 2 == 1 {
            let holder = fs::read_to_string(bench.path("run/guests/a/supervisor.lock")).unwrap();
            kill("KILL", holder.rsplit(' ').next().unwrap());
        }
        if round % 4 == 3 {
            bench.kill_guest("a");
        }
        let status = bench.status("a");
        if status["upgrade"] != Value::Null {
            explained += 1;
            let words = status["words"].as_str().unwrap();
            assert!(
                words.contains("its upgrade was interrupted, and"),
                "{words}"
            );
            assert!(words.contains("`zipnet-host launch a`"), "{words}");
            kinds.insert(words.to_owned());
        }
        // With a journal it mends; if all is well it says so.
        let (code, said) = bench.run(&["launch", "a"]);
        assert!(
            code == 0 || said.contains("runs already"),
            "round {round}: {said}"
        );
        eventually("it is up", || {
            let status = bench.status("a");
            status["state"] == "running"
                && status["phase"] == "waiting"
                && status["upgrade"] == Value::Null
        });
        // One guest, not two.
        let run = fs::canonicalize(bench.path("run")).unwrap();
        eventually("there is one", || launchers(&run) == 1);
    }
    println!("{explained} of 16 upgrades were cut in the middle: {kinds:#?}");
    assert!(explained >= 4, "{explained}");
}

/// How many launchers of a run folder live.
fn launchers(run: &Path) -> usize {
    let images = format!("{}/images/", run.display());
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| {
            line.starts_with(b"bash\0") && String::from_utf8_lossy(line).contains(&images)
        })
        .count()
}
