//! The verbs over real processes, with a script for a guest: what is refused, what is
//! killed, and what is mended.
#![allow(missing_docs)]

mod standin;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use standin::{Image, Part};

const CONFIG: &str = "ZIPNET_INSTANCE=acme.mix.test\nZIPNET_POLICY_KEYS=RWa,RWb\n";
const LIMIT: Duration = Duration::from_secs(30);

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(bench.path("server.conf"), CONFIG).unwrap();
        Image::new("one").write(&bench.path("one"));
        Image::new("two").version("0.2.0").write(&bench.path("two"));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zipnet-host"));
        command
            .current_dir(self.folder.path())
            .env_remove("ZIPNET_IMAGE")
            .env_remove("NOTIFY_SOCKET")
            .env("ZIPNET_RUN", self.path("run"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().unwrap();
        (output.status.code().unwrap_or(-1), text(&output))
    }

    fn good(&self, arguments: &[&str]) -> String {
        let (status, said) = self.run(arguments);
        assert_eq!(status, 0, "{arguments:?}: {said}");
        said
    }

    fn refused(&self, status: i32, arguments: &[&str]) -> String {
        let (found, said) = self.run(arguments);
        assert_eq!(found, status, "{arguments:?}: {said}");
        said
    }

    fn launch(&self, name: &str, image: &str) -> String {
        self.good(&[
            "launch",
            name,
            "--image",
            image,
            "--config",
            "server.conf",
            "--accel",
            "tcg",
        ])
    }

    fn status(&self, name: &str) -> Value {
        let said = self.good(&["status", name, "--json"]);
        let all: Value = serde_json::from_str(&said).unwrap();
        all[0].clone()
    }

    fn state(&self, name: &str) -> String {
        self.status(name)["state"].as_str().unwrap().to_owned()
    }

    /// Kills whoever watches, as a power cut for one process would.
    fn kill_watcher(&self, name: &str) {
        let lock = self.path(&format!("run/guests/{name}/supervisor.lock"));
        let holder = fs::read_to_string(lock).unwrap();
        let pid = holder.rsplit(' ').next().unwrap().trim();
        kill("KILL", pid);
        eventually("nobody watches", || self.state(name) != "running");
    }

    fn kill_guest(&self, name: &str) {
        let pid = self.status(name)["pid"].to_string();
        kill("KILL", &pid);
    }
}

/// Nothing of a bench outlives it.
impl Drop for Bench {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.path("run/guests"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().into_string().unwrap();
            let _ = self.command(&["stop", &name, "--grace", "2s"]).output();
        }
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn kill(signal: &str, pid: &str) {
    let _ = Command::new("kill")
        .args(["-s", signal, pid])
        .stderr(Stdio::null())
        .status();
}

fn eventually(what: &str, ready: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !ready() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

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
    let image = ["--image", "one"];
    let config = ["--config", "server.conf"];
    let rows: &[(i32, &[&str], &str)] = &[
        (2, &["launch", "a/b"], "it names a folder"),
        (2, &["launch", ".."], "it names a folder"),
        (2, &["launch", "a"], "--config is missing"),
        (
            2,
            &[&["launch", "a"][..], &config].concat(),
            "--image is missing",
        ),
        (
            2,
            &[&["launch", "a", "--config", "nowhere.conf"][..], &image].concat(),
            "nowhere.conf, named by --config, is not to be read",
        ),
        (
            2,
            &[&["launch", "a", "--config", "none.conf"][..], &image].concat(),
            "Line 1 of the configuration sets nothing",
        ),
        (
            2,
            &[&["launch", "a", "--config", "long.conf"][..], &image].concat(),
            "has more than 65536 bytes",
        ),
        (
            2,
            &[&["launch", "a", "--forward", "tcp:1"][..], &image, &config].concat(),
            "such as tcp:127.0.0.1:7650:7650",
        ),
        (
            2,
            &[&["launch", "a", "--quotes", "qgs"][..], &image, &config].concat(),
            "unix:PATH",
        ),
        (
            2,
            &[&["launch", "a", "--tap", "a b"][..], &image, &config].concat(),
            "the name of an interface",
        ),
        (
            2,
            &[&["launch", "a", "--mac", "1"][..], &image, &config].concat(),
            "52:54:00:12:34:56",
        ),
        (
            2,
            &[
                &["launch", "a", "--shape", "3c3G", "--any-shape"][..],
                &image,
                &config,
            ]
            .concat(),
            "--any-shape goes with --accel kvm",
        ),
        (
            1,
            &[&["launch", "a", "--shape", "3c3G"][..], &image, &config].concat(),
            "predicts no shape 3c3G",
        ),
        (
            1,
            &[&["launch", "a", "--image", "nowhere"][..], &config].concat(),
            "manifest.json",
        ),
        (
            1,
            &[&["launch", "a", "--image", "cut"][..], &config].concat(),
            "cut is damaged",
        ),
        (
            1,
            &[&["launch", "a", "--image", "other"][..], &config].concat(),
            "zipnet-ovmf.fd in it has the SHA-256",
        ),
        (
            1,
            &[&["launch", "a", "--image", "script"][..], &config].concat(),
            "SHA256SUMS beside it says",
        ),
        (1, &["status", "a"], "There is no guest a here"),
        (1, &["stop", "b"], "There is no guest b here"),
        (1, &["console", "b"], "There is no guest b here"),
        (
            1,
            &["upgrade", "b", "--image", "one"],
            "There is no guest b here",
        ),
        (2, &["upgrade", "b"], "--image is missing"),
        (
            2,
            &[
                "upgrade",
                "b",
                "--image",
                "one",
                "--peers-ready",
                "https://c/readyz",
            ],
            "http://HOST:PORT/readyz would be right",
        ),
    ];
    for (status, arguments, words) in rows {
        let said = bench
            .refused(*status, arguments)
            .replace("cut/zipnet-run-qemu.sh", "cut");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    // Of all this, nothing runs, and nothing is kept.
    assert_eq!(
        fs::read_dir(bench.path("run/images"))
            .unwrap()
            .filter(|entry| {
                entry
                    .as_ref()
                    .is_ok_and(|entry| entry.file_name() != ".new")
            })
            .count(),
        0
    );
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

/// Whoever is killed at whatever moment of an upgrade: `status` explains it, and the
/// next verb leaves one guest that runs one of the two images.
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
