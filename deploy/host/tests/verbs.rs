//! The verbs over real processes, with a script for a guest: what is refused, what is
//! killed, and what is mended.
#![allow(missing_docs, clippy::unwrap_used)]

mod standin;

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

use serde_json::Value;
use standin::{
    Image, Part,
    bench::{Bench, LIMIT, eventually, kill, text},
};

#[test]
fn a_guest_is_launched_shown_and_stopped() {
    let bench = Bench::new();
    let said = bench.launch("server-1", "one");
    assert!(
        said.contains("The guest server-1 waits for its secrets."),
        "{said}"
    );
    let next = format!(
        "zipnet-attest provision GUEST-ADDRESS:7650 --config {} --key RWa --key RWb --policy policy.json --collateral FILE-OR-URL --secrets secrets",
        bench.path("server.conf").canonicalize().unwrap().display()
    );
    assert!(said.contains(&next), "{said}");
    let status = bench.status("server-1");
    for (field, value) in [
        ("state", "running"),
        ("phase", "waiting"),
        ("version", "0.1.0"),
        ("shape", "2c2G"),
        ("accel", "tcg"),
        ("next", &next),
        (
            "waits",
            "provisioning: waiting at 0.0.0.0:7650 for secrets, for 60 s at most",
        ),
    ] {
        assert_eq!(status[field], value, "{status:#}");
    }
    assert!(
        bench
            .good(&["status"])
            .starts_with("server-1: waits for its secrets\n")
    );
    assert!(
        bench
            .good(&["console", "server-1"])
            .contains("zipnet-init (stand-in) one\n")
    );
    // Again, and by another name.
    let said = bench.refused(
        1,
        &[
            "launch",
            "server-1",
            "--image",
            "one",
            "--config",
            "server.conf",
        ],
    );
    assert!(said.contains("The guest server-1 runs already"), "{said}");
    // Follows until the end.
    let follower = bench
        .command(&["console", "server-1", "--follow"])
        .spawn()
        .unwrap();
    assert_eq!(
        bench.good(&["stop", "server-1"]),
        "The guest server-1 has powered off.\n"
    );
    let said = text(&follower.wait_with_output().unwrap());
    assert!(
        said.ends_with("init: powering off: the power button was pressed\n"),
        "{said}"
    );
    assert_eq!(bench.state("server-1"), "stopped");
    assert_eq!(
        bench.good(&["stop", "server-1"]),
        "The guest server-1 did not run.\n"
    );
    // As it was the last time.
    let said = bench.good(&["launch", "server-1"]);
    assert!(said.contains(&next), "{said}");
    assert_eq!(bench.status("server-1")["generation"], 2);
    // Only its user looks into any of it.
    let listed = Command::new("find")
        .arg(bench.path("run"))
        .args(["-perm", "/077"])
        .output()
        .unwrap();
    assert_eq!(text(&listed), "");
}

/// The exit status, what was said, and words of the answer.
#[rustfmt::skip]
const REFUSED: &[(i32, &str, &str)] = &[
    (2, "launch a/b", "it names a folder"),
    (2, "launch ..", "it names a folder"),
    (2, "launch a", "--config is missing"),
    (2, "launch a --config server.conf", "--image is missing"),
    (2, "launch a --image one --config nowhere.conf", "nowhere.conf, named by --config, is not to be read"),
    (2, "launch a --image one --config none.conf", "Line 1 of the configuration sets nothing"),
    (2, "launch a --image one --config long.conf", "has more than 65536 bytes"),
    (2, "launch a --image one --config server.conf --forward tcp:1", "such as tcp:127.0.0.1:7650:7650"),
    (2, "launch a --image one --config server.conf --quotes qgs", "unix:PATH"),
    (2, "launch a --image one --config server.conf --tap a!b", "the name of an interface"),
    (2, "launch a --image one --config server.conf --mac 1", "52:54:00:12:34:56"),
    (2, "launch a --image one --config server.conf --shape 3c3G --any-shape", "--any-shape goes with --accel kvm"),
    (1, "launch a --image one --config server.conf --shape 3c3G", "predicts no shape 3c3G"),
    (1, "launch a --image nowhere --config server.conf", "manifest.json"),
    (1, "launch a --image cut --config server.conf", "cut is damaged"),
    (1, "launch a --image other --config server.conf", "zipnet-ovmf.fd in it has the SHA-256"),
    (1, "launch a --image script --config server.conf", "SHA256SUMS beside it says"),
    (1, "status a", "There is no guest a here"),
    (1, "stop b", "There is no guest b here"),
    (1, "console b", "There is no guest b here"),
    (1, "upgrade b --image one", "There is no guest b here"),
    (2, "upgrade b", "--image is missing"),
    (2, "upgrade b --image one --peers-ready https://c/readyz", "http://HOST:PORT/readyz would be right"),
];

#[test]
fn what_cannot_be_launched_is_refused_in_a_line() {
    let bench = Bench::new();
    for (part, name) in [
        (Part::End, "cut"),
        (Part::Firmware, "other"),
        (Part::Script, "script"),
    ] {
        Image::new("bad").write(&bench.path(name));
        standin::damage(&bench.path(name), part);
    }
    fs::write(bench.path("none.conf"), "no setting\n").unwrap();
    fs::write(bench.path("long.conf"), "#".repeat(70_000)).unwrap();
    for (status, words, answer) in REFUSED {
        let arguments: Vec<_> = words.split(' ').collect();
        let said = bench.refused(*status, &arguments);
        let said = said.replace("cut/zipnet-run-qemu.sh", "cut");
        assert!(said.contains(answer), "{words}: {said}");
    }
    // Of all this, nothing runs, and nothing is kept but what a copy began with.
    let kept = fs::read_dir(bench.path("run/images")).unwrap().flatten();
    assert_eq!(kept.filter(|entry| entry.file_name() != ".new").count(), 0);
}

#[test]
fn a_guest_that_ends_says_why() {
    let bench = Bench::new();
    Image::new("bad")
        .before("echo 'error: There is no network'; exit 0")
        .write(&bench.path("bad"));
    let said = bench.refused(
        1,
        &[
            "launch",
            "a",
            "--image",
            "bad",
            "--config",
            "server.conf",
            "--accel",
            "tcg",
        ],
    );
    assert!(
        said.contains("It ended before it was up: error: There is no network"),
        "{said}"
    );
    let status = bench.status("a");
    assert_eq!(status["state"], "gone", "{status:#}");
    // Another image by the same name, without more ado; one that dies without a word.
    Image::new("worse")
        .before("exit 3")
        .write(&bench.path("bad"));
    let said = bench.refused(
        1,
        &[
            "launch",
            "a",
            "--image",
            "bad",
            "--config",
            "server.conf",
            "--accel",
            "tcg",
        ],
    );
    assert!(
        said.contains("the launcher ended with exit status: 3"),
        "{said}"
    );
    // The image of the first is gone from the run folder.
    assert_eq!(fs::read_dir(bench.path("run/images")).unwrap().count(), 1);
}

#[test]
fn a_guest_goes_on_when_who_watches_is_killed() {
    let bench = Bench::new();
    // It says more than a pipe holds.
    Image::new("talks")
        .after("while true; do echo 'what a guest says, and says, and says' 2>/dev/null; rest 0.002; done")
        .write(&bench.path("talks"));
    bench.launch("a", "talks");
    let pid = bench.status("a")["pid"].clone();
    bench.kill_watcher("a");
    let status = bench.status("a");
    assert_eq!(status["state"], "unwatched", "{status:#}");
    let words = status["words"].as_str().unwrap();
    assert!(
        words.contains("nobody keeps its console") && words.contains("`zipnet-host launch a`"),
        "{words}"
    );
    // Other settings are not what runs.
    fs::write(bench.path("other.conf"), "A=b\n").unwrap();
    let said = bench.refused(
        1,
        &[
            "launch",
            "a",
            "--image",
            "talks",
            "--config",
            "other.conf",
            "--accel",
            "tcg",
        ],
    );
    assert!(
        said.contains("with another image or other settings"),
        "{said}"
    );
    let said = bench.good(&["launch", "a"]);
    assert!(said.contains("it is taken up as it is"), "{said}");
    let status = bench.status("a");
    assert_eq!(
        (&status["state"], &status["pid"]),
        (&"running".into(), &pid)
    );
    eventually("its console goes on", || {
        let before = bench.good(&["console", "a"]).len();
        thread::sleep(Duration::from_millis(50));
        bench.good(&["console", "a"]).len() > before
    });
    // Without anybody who watches, it is stopped all the same.
    bench.kill_watcher("a");
    assert_eq!(bench.good(&["stop", "a"]), "The guest a has powered off.\n");
    assert_eq!(bench.state("a"), "stopped");
}

#[test]
fn a_stranger_with_a_guests_number_is_left_alone() {
    let bench = Bench::new();
    bench.launch("a", "one");
    bench.kill_watcher("a");
    bench.kill_guest("a");
    eventually("it is gone", || bench.state("a") == "gone");
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let path = bench.path("run/guests/a/ran.json");
    let mut ran: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    ran["birth"]["pid"] = stranger.id().into();
    fs::write(&path, ran.to_string()).unwrap();
    let status = bench.status("a");
    assert_eq!(status["state"], "gone", "{status:#}");
    let words = status["words"].as_str().unwrap();
    assert!(
        words.contains("`zipnet-host launch a` starts it again as it was"),
        "{words}"
    );
    assert_eq!(bench.good(&["stop", "a"]), "The guest a did not run.\n");
    assert!(stranger.try_wait().unwrap().is_none());
    bench.good(&["launch", "a"]);
    bench.good(&["stop", "a"]);
    assert!(stranger.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// Whoever is killed at whatever moment of an upgrade: `status` explains it, and the
/// next verb leaves one guest that runs one of the two images.
#[test]
fn a_full_disk_does_not_stop_a_guest() {
    let bench = Bench::new();
    // A file system of its own, in a namespace that goes with the shell. The guest talks
    // when it is full, and makes room when it has.
    Image::new("talks")
        .after(
            "filler=$TMPDIR/../filler
             until [[ -e $filler.full ]]; do rest 0.05; done
             for ((i = 0; i < 300; i++)); do printf '%01000d\\n' $i; done
             rm $filler $filler.full
             echo 'it goes on'",
        )
        .write(&bench.path("talks"));
    let script = r#"set -e
        mount -t tmpfs -o size=1m,mode=700 none run
        "$0" launch a --image talks --config server.conf --accel tcg >/dev/null
        touch run/guests/a/filler.ready
        head -c 2M /dev/zero >run/guests/a/filler 2>/dev/null || true
        mv run/guests/a/filler.ready run/guests/a/filler.full
        for _ in $(seq 300); do
            grep -q "it goes on" run/guests/a/console.log && "$0" status a | grep -q " lost " && break
            sleep 0.1
        done
        "$0" status a
        "$0" console a | grep -v "^0"
        "$0" stop a"#;
    fs::create_dir(bench.path("run")).unwrap();
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--map-root-user",
            "bash",
            "-c",
            script,
            env!("CARGO_BIN_EXE_zipnet-host"),
        ])
        .current_dir(bench.folder.path())
        .env("ZIPNET_RUN", "run")
        .output()
        .unwrap();
    let said = text(&output);
    assert!(
        said.contains("bytes of the console could not be kept"),
        "{said}"
    );
    assert!(said.contains("it goes on"), "{said}");
    assert!(said.contains("The guest a has powered off."), "{said}");
}

fn in_foreground(bench: &Bench, image: &str, notify: &Path) -> Child {
    bench
        .command(&[
            "launch",
            "a",
            "--image",
            image,
            "--config",
            "server.conf",
            "--accel",
            "tcg",
            "--foreground",
        ])
        .env("NOTIFY_SOCKET", notify)
        .spawn()
        .unwrap()
}

#[test]
fn a_service_manager_is_told_and_obeyed() {
    let bench = Bench::new();
    let notify = bench.path("notify");
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let heard = |word: &str| {
        let mut buffer = [0; 256];
        loop {
            let read = manager.recv(&mut buffer).unwrap();
            if &buffer[..read] == word.as_bytes() {
                return;
            }
        }
    };
    let service = in_foreground(&bench, "one", &notify);
    heard("STATUS=The guest waits for its secrets");
    heard("READY=1");
    // An upgrade goes through in the same process.
    bench.good(&["upgrade", "a", "--image", "two"]);
    heard("READY=1");
    kill("TERM", &service.id().to_string());
    heard("STOPPING=1");
    let output = service.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let said = text(&output);
    for line in [
        "zipnet-init (stand-in) one\n",
        "zipnet-init (stand-in) two\n",
        "the power button was pressed\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    assert_eq!(bench.state("a"), "stopped");
    // One that ends by itself is a failure, which a manager restarts.
    Image::new("ends")
        .after("exit 0")
        .write(&bench.path("ends"));
    let output = in_foreground(&bench, "ends", &notify)
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    manager.set_nonblocking(true).unwrap();
    while manager.recv(&mut [0; 256]).is_ok() {}
    manager.set_nonblocking(false).unwrap();
    // A manager that was killed with its process finds the guest as it is.
    let service = in_foreground(&bench, "one", &notify);
    heard("READY=1");
    let pid = bench.status("a")["pid"].clone();
    kill("KILL", &service.id().to_string());
    service.wait_with_output().unwrap();
    let service = in_foreground(&bench, "one", &notify);
    eventually("it is taken up", || bench.state("a") == "running");
    assert_eq!(bench.status("a")["pid"], pid);
    bench.good(&["stop", "a"]);
    assert!(service.wait_with_output().unwrap().status.success());
}
