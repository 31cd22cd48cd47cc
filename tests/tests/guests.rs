//! Servers in guests: the local image, started by its launcher under emulation,
//! provisioned as an operator would, and what goes wrong.
#![allow(missing_docs)]

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use zipnet_attest::simulation::Platform;
use zipnet_tests::{
    attestation::server,
    cluster::{Cluster, ROUND, Settings, UP},
    guest::{BOOT, Guest, GuestConfig, Image, POWER_OFF, WAITS, provisioned},
    process::{Failed, Process, ProcessError, TestResult, binary},
    server::transport_secret,
};

/// Rounds at the pace of emulated servers.
fn settings() -> Settings {
    Settings {
        period: "2s".into(),
        deadline: "30s".into(),
        fold_deadline: "2s".into(),
        ..Settings::default()
    }
}

/// The name of server `index` in the policy.
fn name(index: usize) -> String {
    format!("server-{index}")
}

/// A guest of a committee of its own, attested, that waits for its secrets.
fn waiting(change: impl FnOnce(&mut GuestConfig)) -> TestResult<(Cluster, Guest)> {
    let image = Image::of("local")?;
    let mut cluster = Cluster::new(settings())?.attested_as(&image)?;
    let mut config = cluster.guest_config(&image);
    change(&mut config);
    let mut guest = cluster.boot(&image, 0, &config)?;
    guest.console.expect(WAITS, BOOT)?;
    Ok((cluster, guest))
}

/// The words of a provisioning that has to fail.
fn refused(command: Command) -> TestResult<String> {
    match provisioned(command) {
        Err(ProcessError::Ended { status, last, .. }) => {
            assert_eq!(status.code(), Some(1), "{last}");
            Ok(last)
        }
        Err(other) => Err(other.into()),
        Ok(lines) => Err(Failed::because(format!("it was not refused: {lines:?}"))),
    }
}

/// The number in front of `unit` in a line.
fn number_before(line: &str, unit: &str) -> Option<u64> {
    let before = line.split(unit).next()?;
    before
        .rsplit([' ', ','])
        .find(|word| !word.is_empty())?
        .parse()
        .ok()
}

#[test]
fn three_guests_finalize_rounds_and_one_comes_back_at_night() -> TestResult {
    let image = Image::of("local")?;
    let mut cluster = Cluster::new(settings())?.attested_as(&image)?;
    // All on this machine, and on no other.
    let here = Platform::default().platform_instance_id;
    let named = (0..3).map(|index| server(&name(index), &transport_secret(index), here));
    cluster.simulated()?.name_servers(2, named.collect())?;
    let mut guests = Vec::new();
    for index in 0..3 {
        let mut config = cluster.guest_config(&image);
        let hints: Vec<_> = guests
            .iter()
            .map(|guest: &Guest| guest.hint.clone())
            .collect();
        config.set(
            "ZIPNET_BOOTSTRAP",
            hints.join(",").replace("127.0.0.1", "10.0.2.2"),
        );
        config.set("GUEST_HOSTNAME", name(index));
        guests.push(cluster.boot(&image, index, &config)?);
    }
    let gives = guests[0].give;
    for mut guest in guests {
        guest.console.expect(WAITS, BOOT)?;
        provisioned(guest.provisioning(&cluster)?)?;
        cluster.servers.push(guest.serving()?);
    }
    cluster.add_aggregator()?;
    let mut watcher = cluster.watcher()?;
    for _ in 0..2 {
        let mut client = cluster.client(&["cover"])?;
        client.expect("zipnet up", UP)?;
        cluster.clients.push(client);
    }
    cluster.finalize_another()?;
    let mut talker = cluster.client(&["publish", "--now", "from a host to guests"])?;
    watcher.expect("from a host to guests", ROUND * 3)?;
    talker.wait(ROUND)?;
    // Each verified the others as the image of the manifest.
    let version = format!("image=\"{}\"", image.manifest.version);
    for server in &mut cluster.servers {
        let verified = server
            .process
            .expect("attestation: verified a server", ROUND)?;
        assert!(verified.contains(&version), "{verified}");
    }
    // A serving guest of 1 GiB uses less than 288 MiB; its programs are those of this
    // machine, unoptimized and 26 MB larger than what ships.
    // A minute's line goes without the rounds if the server does not say at once.
    let health = cluster.servers[1]
        .process
        .expect(" rounds finalized, ", Duration::from_mins(3))?;
    let free = number_before(&health, " MiB free").unwrap_or_default();
    println!("{health}");
    assert!(free > 1024 - 288, "{health}");

    // It has left its identity with a member, which gives it back to its machine.
    let left = "left this server's identity with a member";
    cluster.servers[2].process.expect(left, ROUND * 2)?;

    // The power button ends the server, then the guest.
    let mut gone = cluster.servers.remove(2);
    gone.process.terminate(POWER_OFF)?;
    gone.process.expect("init: powering off", UP)?;
    // A member gives it the committee secret again, and its identity: nobody else is
    // there at night. So it takes its old place.
    let mut config = cluster.guest_config(&image);
    config.set("GUEST_HOSTNAME", name(2));
    config.set(
        "GUEST_PROVISION_FROM",
        gives.to_string().replace("127.0.0.1", "10.0.2.2"),
    );
    let mut again = cluster.boot(&image, 2, &config)?;
    again.console.expect(WAITS, BOOT)?;
    cluster.servers[0]
        .process
        .expect("gave the committee secret", ROUND)?;
    let again = again.serving()?;
    cluster.servers.push(again);
    cluster.finalize_another()?;
    Ok(())
}

#[test]
fn what_runs_in_a_guest_is_what_is_listed() -> TestResult {
    let started = Instant::now();
    let (cluster, guest) = waiting(|config| config.set("GUEST_INVENTORY", "yes"))?;
    println!(
        "waits for its secrets after {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let started = Instant::now();
    provisioned(guest.provisioning(&cluster)?)?;
    let mut server = guest.serving()?;
    println!(
        "serves {:.1} s after it was provisioned",
        started.elapsed().as_secs_f64()
    );
    server.process.expect("inventory: end", BOOT)?;
    let lines = server.process.lines().since(0);
    let inventory: String = lines
        .iter()
        .filter_map(|line| line.split_once("inventory: "))
        .filter(|(_, what)| *what != "end")
        // A question to a resolver or a router, if one is open at that moment.
        .filter(|(_, what)| *what != "listen udp 0.0.0.0:* /usr/bin/zipnet-server")
        .map(|(_, what)| {
            // The sizes of programs change with every build.
            let program = ["file /init ", "file /usr/bin/zipnet-server "]
                .iter()
                .any(|file| what.starts_with(file));
            match what.rsplit_once(' ') {
                Some((named, _)) if program => format!("{named}\n"),
                _ => format!("{what}\n"),
            }
        })
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guest-inventory.txt");
    if std::env::var_os("ZIPNET_BLESS").is_some() {
        fs::write(path, &inventory)?;
    }
    assert_eq!(inventory, fs::read_to_string(path)?, "see {path}");
    // I10: no secret is on the console.
    for secret in [&cluster.settings.secret, "server 0"] {
        assert!(!lines.iter().any(|line| line.contains(secret)));
    }
    let status = server.process.terminate(POWER_OFF)?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[test]
fn i10_a_guest_gets_its_secrets_only_from_who_knows_what_it_runs() -> TestResult {
    let (cluster, mut guest) = waiting(|config| {
        // The emulated network's only guest, without asking for an address.
        config.set("GUEST_ADDRESS", "10.0.2.15/24");
        config.set("GUEST_GATEWAY", "10.0.2.2");
    })?;
    let network = guest.console.expect("network: ", BOOT)?;
    let fixed = "10.0.2.15/24, gateway 10.0.2.2, no name servers by configuration";
    assert!(network.contains(fixed), "{network}");
    // Another configuration than the operator launched.
    let right = fs::read_to_string(&guest.config)?;
    fs::write(
        &guest.config,
        right.replace("zipnet.local.test", "zipnet.local.other"),
    )?;
    let said = refused(guest.provisioning(&cluster)?)?;
    assert!(said.contains("zipnet.local.other"), "{said}");
    fs::write(&guest.config, &right)?;
    // A policy that accepts another image.
    let simulated = cluster.simulated()?;
    let elsewhere = Image::of("production")?;
    let registers = elsewhere.registers("2c2G").unwrap_or_default();
    simulated.accept("another", "2c2G", &registers)?;
    let said = refused(guest.provisioning(&cluster)?)?;
    assert!(said.contains("ZA-"), "{said}");
    // Nothing of that was taken; the right one still can come.
    let image = Image::of("local")?;
    let cluster_policy = image
        .registers(zipnet_tests::guest::SHAPE)
        .unwrap_or_default();
    simulated.accept(
        &image.manifest.version,
        zipnet_tests::guest::SHAPE,
        &cluster_policy,
    )?;
    assert!(
        !guest
            .console
            .lines()
            .since(0)
            .iter()
            .any(|line| line.contains("server: starting"))
    );
    provisioned(guest.provisioning(&cluster)?)?;
    guest.console.expect("server: starting", BOOT)?;
    let lines = guest.console.lines().since(0);
    assert!(
        !lines
            .iter()
            .any(|line| line.contains(&cluster.settings.secret))
    );
    Ok(())
}

#[test]
fn a_server_without_a_relay_says_so_and_tries_again() -> TestResult {
    let (cluster, mut guest) = waiting(|config| config.set("ZIPNET_RELAY", "http://10.0.2.2:9"))?;
    provisioned(guest.provisioning(&cluster)?)?;
    guest.console.expect("No relay answered", BOOT)?;
    guest.console.expect("it starts again in", UP)?;
    let status = guest.console.terminate(POWER_OFF)?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[test]
fn a_terminal_ends_a_guest_as_gently_as_sigterm() -> TestResult {
    for signal in [Signal::SIGINT, Signal::SIGHUP] {
        let (_cluster, mut guest) = waiting(|_| ())?;
        guest.console.signal_group(signal);
        guest.console.expect("the power button was pressed", UP)?;
        let status = guest.console.wait(POWER_OFF)?;
        assert!(status.success(), "{signal}: {status}");
    }
    Ok(())
}

/// `zipnet-measure confirm` reads what a guest really says; one that is no TD confirms
/// nothing, whatever registers it shows.
#[test]
fn what_a_guest_says_is_read_and_confirms_nothing_without_a_td() -> TestResult {
    let image = Image::of("local")?;
    let cluster = Cluster::new(settings())?.attested_as(&image)?;
    let mut config = cluster.guest_config(&image);
    config.set("GUEST_EVENT_LOG", "yes");
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("config"), config.to_string())?;
    let mut confirm = Command::new(binary("zipnet-measure")?);
    confirm
        .arg("confirm")
        .arg(image.folder.join("manifest.json"))
        .args(["--accel", "tcg", "--shape", zipnet_tests::guest::SHAPE])
        .arg("--launcher")
        .arg(image.folder.join("zipnet-run-qemu.sh"))
        .arg("--config")
        .arg(path("config"))
        .arg("--out")
        .arg(path("confirmed"))
        .env("QEMU", image.program("qemu-system-x86_64"))
        .env("TMPDIR", folder.path());
    let (status, lines) = Process::run("zipnet-measure", confirm, BOOT)?;
    assert_eq!(status.code(), Some(1), "{lines:#?}");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(path("confirmed"))?)?;
    let rows = record["rows"].as_array().cloned().unwrap_or_default();
    assert_eq!(rows.len(), 9, "{record:#}");
    assert!(
        rows.iter().all(|row| row["verdict"] == "not-seen"),
        "{record:#}"
    );
    let registers = image
        .registers(zipnet_tests::guest::SHAPE)
        .unwrap_or_default();
    for (said, register) in record["boot"]["registers"]
        .as_array()
        .into_iter()
        .flatten()
        .zip(registers.split(','))
    {
        assert_eq!(said, register, "{record:#}");
    }
    let clock = rows
        .iter()
        .find(|row| row["what"].to_string().contains("clock"));
    let clock = clock
        .map(|row| row["because"].to_string())
        .unwrap_or_default();
    assert!(
        clock.contains("goes by") && clock.contains("no TD"),
        "{clock}"
    );
    Ok(())
}
