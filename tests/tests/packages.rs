//! Debian packages and systemd units: built, installed, started, upgraded and purged in a
//! machine of their own, by the commands of `docs/operator/packages.md`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use zipnet_tests::{
    book,
    process::{Failed, Process, TestResult, clean, eventually},
    systemd::Machine,
};

/// How long one step may take.
const STEP: Duration = Duration::from_mins(1);
const SERVER: &str = "zipnet-server@acme-mainnet.service";

/// What the units of a test take besides: one server is the committee, nobody dials out,
/// and what crashed comes back soon.
const DROP_INS: &str = r"
for role in server aggregator reader; do
    mkdir -p /run/systemd/system/zipnet-$role@.service.d
    printf '[Service]\nRestartSec=1s\nEnvironmentFile=/run/zipnet-test-%s.env\n' $role \
        >/run/systemd/system/zipnet-$role@.service.d/test.conf
    printf 'ZIPNET_COMMITTEE_SIZE=1\nZIPNET_MIN_PARTICIPANTS=1\nZIPNET_RELAY=embedded\n' >/run/zipnet-test-$role.env
done
printf 'ZIPNET_BIND=127.0.0.1:4400\nZIPNET_ROUND_PERIOD=1s\n' >>/run/zipnet-test-server.env
systemctl daemon-reload
";

/// Publishes as anybody would who knows the committee.
const PUBLISH: &str = r"
set -a
. /etc/zipnet/acme-mainnet/reader.env
. /run/zipnet-test-reader.env
zipnet-client publish --now \
";

/// Files of the machine, but for what dpkg, systemd and others keep of what they do.
const FILES: &str = r"
find /etc /usr /var /opt -xdev | grep -vE \
    '^/var/(lib/(dpkg|systemd|private$)|cache|log/(dpkg\.log|alternatives\.log|apt|journal))' | LC_ALL=C sort";

/// The page of the book, whose blocks are taken in their order.
struct Page(std::vec::IntoIter<String>);

impl Page {
    fn next(&mut self) -> TestResult<String> {
        self.0
            .next()
            .ok_or_else(|| Failed::because("the page has fewer blocks than this test runs"))
    }
}

#[test]
fn packages_are_installed_run_upgraded_and_purged() -> TestResult {
    let page = book::blocks(
        "operator/packages.md",
        "packages_are_installed_run_upgraded_and_purged",
    )?;
    let mut page = Page(page.into_iter());
    let folder = tempfile::tempdir()?;
    let packages = build(&folder.path().join("1"), "022")?;
    upgrade_of(&packages, &folder.path().join("2"))?;
    let machine = Machine::boot(folder.path())?;
    let run = |script: &str| machine.run("/root", script, STEP);

    run(&format!("{FILES} >/run/before"))?;
    machine.run("/mnt/1", &page.next()?, STEP)?;
    what_is_installed(&machine)?;
    run(DROP_INS)?;
    nothing_starts_without_settings(&machine)?;

    run(&page.next()?)?;
    journal_says(&machine, SERVER, "bootstrap=")?;
    it_is_shut_in(&machine)?;
    let keys = run(&page.next()?)?;
    assert!(keys[0].starts_with("ZIPNET_COMMITTEE="), "{keys:?}");
    let status = run(&page.next()?)?.join("\n");
    assert!(status.contains("active (running)"), "{status}");
    secrets_are_looked_after(&machine)?;

    run(&page.next()?)?;
    run(&page.next()?)?;
    publish(&machine, "before the upgrade")?;
    it_comes_back_from_a_crash(&machine)?;

    run("echo '# mine' >>/etc/zipnet/server.env")?;
    let before = main_pid(&machine)?;
    let said = machine.run("/mnt/2", &page.next()?, STEP)?.join("\n");
    assert!(
        said.contains("runs the program of version 0.1.0-1 until it is restarted by hand"),
        "{said}"
    );
    assert_eq!(before, main_pid(&machine)?, "an upgrade restarts nothing");
    run("grep -q mine /etc/zipnet/server.env && grep -q 0.2.0 /etc/zipnet/server.env.dpkg-dist")?;
    run(&format!("readlink /proc/{before}/exe | grep deleted"))?;
    run(&page.next()?)?;
    assert_ne!(before, main_pid(&machine)?);
    publish(&machine, "after the upgrade")?;

    run(&page.next()?)?;
    assert!(page.next().is_err(), "the page has a block that is not run");
    let (_, left) = machine.attempt("/", "pgrep -l zipnet || true", STEP)?;
    assert!(left.is_empty(), "still running: {left:?}");
    let left = run(&format!(
        "{FILES} >/run/after; comm -3 /run/before /run/after"
    ))?;
    assert!(left.is_empty(), "left behind, or gone: {left:#?}");
    Ok(())
}

#[test]
fn packages_come_out_the_same_twice() -> TestResult {
    let folder = tempfile::tempdir()?;
    let one = build(&folder.path().join("1"), "022")?;
    let other = build(&folder.path().join("2"), "077")?;
    assert!(!one.is_empty(), "no package was built");
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(&other) {
        assert_eq!(one.file_name(), other.file_name());
        assert!(
            fs::read(one)? == fs::read(other)?,
            "{} differs",
            one.display()
        );
    }
    let mut lintian = Command::new("lintian");
    lintian
        .args(["--allow-root", "--fail-on", "error,warning"])
        .args(&one);
    let (status, said) = Process::run("lintian", lintian, 3 * STEP)?;
    assert!(status.success(), "{said:#?}");
    Ok(())
}

/// Builds the packages out of this build's programs, with a umask.
fn build(into: &Path, umask: &str) -> TestResult<Vec<PathBuf>> {
    let script = format!("umask {umask}; exec deploy/packages.sh --dev \"$1\"");
    let mut command = Command::new("bash");
    clean(&mut command);
    command
        .args(["-c", &script, "page"])
        .arg(into)
        .current_dir(book::repository());
    let (status, lines) = Process::run("packages.sh", command, Duration::from_mins(3))?;
    if !status.success() {
        return Err(Failed::because(lines.join("\n")));
    }
    let mut packages: Vec<_> = fs::read_dir(into)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    packages.sort();
    Ok(packages)
}

/// A later version of the server's package, with another conffile.
fn upgrade_of(packages: &[PathBuf], into: &Path) -> TestResult {
    let server = packages
        .iter()
        .find(|path| path.to_string_lossy().contains("zipnet-server"))
        .ok_or_else(|| Failed::because("no package of the server was built"))?;
    fs::create_dir(into)?;
    let script = r#"
        dpkg-deb --raw-extract "$1" "$2/raw"
        sed -i 's/^Version: .*/Version: 0.2.0-1/' "$2/raw/DEBIAN/control"
        echo '# New in 0.2.0.' >>"$2/raw/etc/zipnet/server.env"
        dpkg-deb --root-owner-group -Znone --build "$2/raw" "$2/zipnet-server_0.2.0-1_amd64.deb"
        rm -r "$2/raw""#;
    let mut command = Command::new("bash");
    command.args(["-euc", script, "page"]).args([server, into]);
    let (status, lines) = Process::run("dpkg-deb", command, STEP)?;
    assert!(status.success(), "{lines:?}");
    Ok(())
}

fn what_is_installed(machine: &Machine) -> TestResult {
    for program in [
        "zipnet-server",
        "zipnet-aggregator",
        "zipnet-client",
        "zipnet-attest",
        "zipnet-measure",
    ] {
        let version = machine.run("/", &format!("{program} --version"), STEP)?;
        let expected = format!("{program} {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(version, [expected], "{program}");
        // An operator sets variables, so that the manual has to name them.
        let script = format!(
            "dpkg -L $(dpkg -S $(command -v {program}) | cut -d: -f1) | grep -E '/{program}(-[a-z-]+)?[.][18][.]gz$'
            bash -c '. /usr/share/bash-completion/completions/{program} && complete -p {program}'"
        );
        let found = machine.run("/", &script, STEP)?;
        assert!(found.len() >= 2, "{found:?}");
    }
    // Machines without documentation leave manuals out.
    let script = "dpkg-deb --fsys-tarfile /mnt/1/zipnet-server_*.deb | tar -xO ./usr/share/man/man8/zipnet-server.8.gz | zcat";
    let manual = machine.run("/", script, STEP)?.join("\n");
    assert!(manual.contains("ZIPNET_COMMITTEE_SECRET_FILE"), "{manual}");
    let running = machine.run("/", "systemctl list-units --no-legend 'zipnet-*@*'", STEP)?;
    assert!(
        running.is_empty(),
        "an installation starts nothing: {running:?}"
    );
    Ok(())
}

fn nothing_starts_without_settings(machine: &Machine) -> TestResult {
    for instance in ["acme-mainnet", "acme mainnet", "../acme", "-"] {
        let script = format!("systemctl start 'zipnet-server@{instance}.service'");
        let (status, said) = machine.attempt("/", &script, STEP)?;
        assert!(!status.success(), "{instance}: {said:?}");
    }
    journal_says(machine, SERVER, "asserts failed")?;
    let (_, said) = machine.attempt(
        "/",
        &format!("systemd-analyze condition --unit={SERVER}"),
        STEP,
    )?;
    assert!(
        said.concat()
            .contains("AssertPathExists=/etc/zipnet/acme-mainnet/"),
        "{said:?}"
    );
    machine.run("/", "systemctl reset-failed", STEP)?;
    Ok(())
}

/// The sandbox is in force, and no secret is where others can see it.
fn it_is_shut_in(machine: &Machine) -> TestResult {
    let script = r#"
        # A command behind `!` would not end this script.
        no() { if bash -c "$1" page "$pid" "$secret"; then echo "it is so: $1"; exit 1; fi; }
        pid=$(systemctl show -P MainPID zipnet-server@acme-mainnet.service)
        secret=$(cat /etc/zipnet/acme-mainnet/secrets/committee)
        [[ ${#secret} == 64 ]]
        grep -qE '^CapEff:\s0+$' "/proc/$pid/status"
        grep -qE '^NoNewPrivs:\s1$' "/proc/$pid/status"
        grep -qE '^Seccomp:\s2$' "/proc/$pid/status"
        no 'grep -E "^Uid:\s0\s" "/proc/$1/status"'
        no 'grep -az "$2" "/proc/$1/environ" "/proc/$1/cmdline"'
        no 'systemctl show zipnet-server@acme-mainnet.service | grep "$2"'
        no 'setpriv --reuid=nobody --clear-groups cat /run/credentials/zipnet-server@acme-mainnet.service/committee'
        # It changes no file but its state.
        for folder in /etc /usr /var /var/lib /home; do
            no "nsenter --target \$1 --mount touch $folder/x"
        done
        nsenter --target "$pid" --mount touch /var/lib/zipnet-server/acme-mainnet/x
        rm /var/lib/zipnet-server/acme-mainnet/x"#;
    machine.run("/", script, STEP)?;
    Ok(())
}

fn secrets_are_looked_after(machine: &Machine) -> TestResult {
    let restart = format!("systemctl restart {SERVER}");
    let script = format!("chmod 755 secrets; chmod 644 secrets/server; {restart}");
    machine.run("/etc/zipnet/acme-mainnet", &script, STEP)?;
    journal_says(
        machine,
        SERVER,
        "/etc/zipnet/acme-mainnet/secrets/server can be read by every user",
    )?;
    // A secret among the settings is refused, once.
    let script = format!(
        "chmod 600 secrets/server; chmod 700 secrets
        cp -p server.env /run/server.env; echo ZIPNET_COMMITTEE_SECRET=0123456789abcdef >>server.env; {restart}"
    );
    machine.attempt("/etc/zipnet/acme-mainnet", &script, STEP)?;
    journal_says(machine, SERVER, "are both set; one of them would be right")?;
    let show = format!("systemctl show -p ActiveState -p ExecMainStatus -p NRestarts {SERVER}");
    eventually("the server is left alone", STEP, || {
        let state = machine.run("/", &show, STEP).ok()?;
        let expected = ["ActiveState=failed", "ExecMainStatus=2", "NRestarts=0"];
        expected
            .iter()
            .all(|value| state.iter().any(|line| line == value))
            .then_some(())
    })?;
    let script = format!("cp -p /run/server.env server.env; {restart}");
    machine.run("/etc/zipnet/acme-mainnet", &script, STEP)?;
    Ok(())
}

fn it_comes_back_from_a_crash(machine: &Machine) -> TestResult {
    let before = main_pid(machine)?;
    machine.run("/", &format!("systemctl kill -s KILL {SERVER}"), STEP)?;
    eventually("the server is back", STEP, || {
        let now = main_pid(machine).ok()?;
        (now != before && now != "0").then_some(())
    })?;
    Ok(())
}

/// A message lands, and the reader's file has it. A reader begins with the round in which
/// it comes, so that the first may be over before it is there.
fn publish(machine: &Machine, text: &str) -> TestResult {
    let publish = format!("{PUBLISH}'{text}'");
    let found = format!("grep '\"text\":\"{text}\"' /var/log/zipnet-reader/acme-mainnet.jsonl");
    let mut said = Vec::new();
    let read = eventually("the reader has the message", 3 * STEP, || {
        said = machine.run("/", &publish, STEP).ok()?;
        let landed = said.iter().any(|line| line.starts_with("landed"));
        let read = eventually("it is there", Duration::from_secs(10), || {
            machine.run("/", &found, STEP).ok()
        });
        (landed && read.is_ok()).then_some(())
    });
    read.map_err(|error| {
        Failed::because(format!("{error}; the client said:\n{}", said.join("\n")))
    })?;
    // Nothing else is in it.
    let script = "! grep -v '^{' /var/log/zipnet-reader/acme-mainnet.jsonl";
    let (none, said) = machine.attempt("/", script, STEP)?;
    assert!(none.success(), "{said:?}");
    Ok(())
}

fn main_pid(machine: &Machine) -> TestResult<String> {
    let pid = machine.run("/", &format!("systemctl show -P MainPID {SERVER}"), STEP)?;
    Ok(pid.concat())
}

/// Waits until the journal of a unit has a text.
fn journal_says(machine: &Machine, unit: &str, text: &str) -> TestResult {
    // PID 1's own lines about a unit are found by its name as well.
    let script = format!("journalctl --sync; journalctl --no-pager --quiet -u {unit}");
    let mut last = Vec::new();
    let found = eventually(text, STEP, || {
        last = machine.run("/", &script, STEP).ok()?;
        last.iter().any(|line| line.contains(text)).then_some(())
    });
    found.map_err(|error| {
        let last = last.join("\n");
        Failed::because(format!("{error}; the journal of {unit}:\n{last}"))
    })
}
