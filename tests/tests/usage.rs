//! A refused setting is one line and exit status 2; a failure at run time is
//! one line and exit status 1. No secret is in either.
#![allow(missing_docs)]

use std::{
    net::{TcpListener, UdpSocket},
    process::Command,
    time::Duration,
};

use zipnet_tests::process::{Process, TestResult, command};

/// A secret that must not show.
const SECRET: &str = "swordfish-swordfish-swordfish";
const ALL: &[&str] = &["zipnet-server", "zipnet-aggregator", "zipnet-client"];
const SERVER: &[&str] = &["zipnet-server"];
const LIMIT: Duration = Duration::from_secs(20);

/// Whose, which variable, which value (none: removed), what the text says.
type Row = (
    &'static [&'static str],
    &'static str,
    Option<&'static str>,
    &'static [&'static str],
);

#[rustfmt::skip]
const BAD: &[Row] = &[
    (ALL, "ZIPNET_INSTANCE", None, &["instance", "ZIPNET_INSTANCE"]),
    (ALL, "ZIPNET_INSTANCE", Some(""), &["ZIPNET_INSTANCE", "1 to 128"]),
    (ALL, "ZIPNET_INSTANCE", Some("Acme Mixer"), &["Acme Mixer", "ZIPNET_INSTANCE", "a-z 0-9"]),
    (ALL, "ZIPNET_BOOTSTRAP", Some("nobody"), &["nobody", "ZIPNET_BOOTSTRAP", "PEERID@ip:port"]),
    (ALL, "ZIPNET_BIND", Some("localhost"), &["localhost", "ZIPNET_BIND"]),
    (ALL, "ZIPNET_RELAY", Some("ftp://x"), &["ftp://x", "ZIPNET_RELAY", "embedded"]),
    (ALL, "ZIPNET_SLOTS", Some("0"), &["ZIPNET_SLOTS"]),
    (ALL, "ZIPNET_SLOTS", Some("many"), &["many", "ZIPNET_SLOTS"]),
    (ALL, "ZIPNET_SLOT_BYTES", Some("16"), &["ZIPNET_SLOT_BYTES"]),
    (ALL, "ZIPNET_SECRET_FILE", Some("/nowhere/at all"), &["/nowhere/at all", "ZIPNET_SECRET_FILE"]),
    (ALL, "RUST_LOG", Some("zipnet=loud"), &["RUST_LOG", "would be right"]),
    (ALL, "ZIPNET_LOG_FORMAT", Some("xml"), &["xml", "ZIPNET_LOG_FORMAT", "text, json"]),
    (SERVER, "ZIPNET_COMMITTEE_SECRET", None, &["ZIPNET_COMMITTEE_SECRET", "ZIPNET_COMMITTEE_SECRET_FILE"]),
    (SERVER, "ZIPNET_COMMITTEE_SECRET", Some(""), &["ZIPNET_COMMITTEE_SECRET", "empty"]),
    (SERVER, "ZIPNET_COMMITTEE_SECRET_FILE", Some("/etc/hostname"), &["both", "ZIPNET_COMMITTEE_SECRET_FILE"]),
    (SERVER, "ZIPNET_ROUND_PERIOD", Some("0s"), &["ZIPNET_ROUND_PERIOD", "such as 3s"]),
    (SERVER, "ZIPNET_ROUND_PERIOD", Some("soon"), &["soon", "ZIPNET_ROUND_PERIOD", "such as 3s"]),
    (SERVER, "ZIPNET_ROUND_DEADLINE", Some("15"), &["ZIPNET_ROUND_DEADLINE", "such as 3s"]),
    (&["zipnet-aggregator"], "ZIPNET_FOLD_DEADLINE", Some("2 moons"), &["ZIPNET_FOLD_DEADLINE", "such as 3s"]),
    (SERVER, "ZIPNET_MIN_PARTICIPANTS", Some("0"), &["ZIPNET_MIN_PARTICIPANTS", "1..=65536"]),
    (SERVER, "ZIPNET_MIN_PARTICIPANTS", Some("-1"), &["ZIPNET_MIN_PARTICIPANTS"]),
    (SERVER, "ZIPNET_COMMITTEE_SIZE", Some("0"), &["ZIPNET_COMMITTEE_SIZE", "1..=64"]),
    (ALL, "ZIPNET_COMMITTEE_SIZE", Some("65"), &["ZIPNET_COMMITTEE_SIZE", "1..=64"]),
    // The size is 3 here.
    (SERVER, "ZIPNET_MIN_SERVERS", Some("4"), &["ZIPNET_MIN_SERVERS", "ZIPNET_COMMITTEE_SIZE", "at most 3"]),
    (SERVER, "ZIPNET_RETAIN_ROUNDS", Some("0"), &["ZIPNET_RETAIN_ROUNDS"]),
    (SERVER, "ZIPNET_METRICS", Some("9100"), &["9100", "ZIPNET_METRICS"]),
    // Servers show no evidence here.
    (SERVER, "ZIPNET_PROVISION_LISTEN", Some("127.0.0.1:7651"), &["ZIPNET_PROVISION_LISTEN", "ZIPNET_ATTESTATION=tdx"]),
    (SERVER, "ZIPNET_PROVISION_LISTEN", Some("7651"), &["7651", "ZIPNET_PROVISION_LISTEN"]),
    (ALL, "ZIPNET_ATTESTATION", Some("sgx"), &["sgx", "ZIPNET_ATTESTATION", "`tdx`"]),
    (&["zipnet-client"], "ZIPNET_COMMITTEE", Some("abc"), &["ZIPNET_COMMITTEE"]),
    (&["zipnet-client", "zipnet-aggregator"], "ZIPNET_REQUIRE_SERVERS", Some("xyz"), &["xyz", "ZIPNET_REQUIRE_SERVERS", "64 hexadecimal digits"]),
];

/// A binary with settings that would do.
fn good(name: &str) -> TestResult<Command> {
    let mut good = command(name)?;
    good.env("RUST_BACKTRACE", "1")
        .env("ZIPNET_INSTANCE", "zipnet.usage.test")
        .env("ZIPNET_UNIVERSE", "zipnet usage test")
        .env("ZIPNET_RELAY", "embedded")
        .env("ZIPNET_BIND", "127.0.0.1:0")
        .env("ZIPNET_COMMITTEE_SIZE", "3");
    if name == "zipnet-server" {
        good.env("ZIPNET_COMMITTEE_SECRET", SECRET);
        good.env("ZIPNET_MIN_PARTICIPANTS", "2");
    }
    Ok(good)
}

/// The same with flags; a client's verb comes last.
fn good_with(name: &str, flags: &[&str]) -> TestResult<Command> {
    let mut command = good(name)?;
    command.args(flags);
    if name == "zipnet-client" {
        command.arg("cover");
    }
    Ok(command)
}

/// The last line, after checking that it alone is an error.
fn complaint(what: &str, lines: &[String], extra: &[&str]) -> Result<(), String> {
    let errors: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("error:"))
        .collect();
    let text = lines.join("\n");
    if errors.len() != 1
        || lines.last().map(String::as_str) != errors.first().map(|line| line.as_str())
    {
        return Err(format!("{what}: not one last line with an error:\n{text}"));
    }
    for never in [SECRET, "panicked", "stack backtrace", "RUST_BACKTRACE"] {
        if text.contains(never) {
            return Err(format!("{what}: {never:?} is in\n{text}"));
        }
    }
    match extra.iter().find(|part| !errors[0].contains(*part)) {
        Some(part) => Err(format!("{what}: no {part:?} in {:?}", errors[0])),
        None => Ok(()),
    }
}

fn refused(what: &str, command: Command, parts: &[&str]) -> TestResult<Vec<String>> {
    let (status, lines) = Process::run(what, command, LIMIT)?;
    let mut problems = Vec::new();
    if status.code() != Some(2) {
        problems.push(format!("{what}: {status}, not 2"));
    }
    if lines.len() != 1 {
        problems.push(format!("{what}: {} lines, not 1: {lines:#?}", lines.len()));
    }
    problems.extend(complaint(what, &lines, parts).err());
    Ok(problems)
}

#[test]
fn a_bad_setting_is_one_line_and_status_2() -> TestResult {
    let mut problems = Vec::new();
    for (binaries, variable, value, parts) in BAD {
        for name in *binaries {
            let mut bad = good_with(name, &[])?;
            match value {
                Some(value) => bad.env(variable, value),
                None => bad.env_remove(variable),
            };
            let what = format!("{name} with {variable}={value:?}");
            problems.extend(refused(&what, bad, parts)?);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

#[test]
fn a_bad_flag_is_one_line_and_status_2() -> TestResult {
    let mut problems = Vec::new();
    for name in ALL {
        let bad = good_with(name, &["--no-such-flag"])?;
        problems.extend(refused(
            &format!("{name} --no-such-flag"),
            bad,
            &["--no-such-flag"],
        )?);
        // A flag beats its variable, also when it is the worse of the two.
        let bad = good_with(name, &["--relay", "pigeon"])?;
        problems.extend(refused(
            &format!("{name} --relay"),
            bad,
            &["pigeon", "embedded"],
        )?);
    }
    // Only servers have the committee secret.
    for name in ["zipnet-aggregator", "zipnet-client"] {
        let bad = good_with(name, &["--committee-secret", SECRET])?;
        problems.extend(refused(
            &format!("{name} --committee-secret"),
            bad,
            &["--committee-secret"],
        )?);
    }
    let mut bad = good_with("zipnet-server", &[])?;
    bad.env("ZIPNET_SECRET", SECRET)
        .env("ZIPNET_SECRET_FILE", "/etc/hostname");
    problems.extend(refused(
        "two seeds",
        bad,
        &["ZIPNET_SECRET", "ZIPNET_SECRET_FILE", "both"],
    )?);
    let mut bad = command("zipnet-client")?;
    bad.env("RUST_BACKTRACE", "1").args(["--instance", "a.b.c"]);
    problems.extend(refused("no verb", bad, &["publish", "watch"])?);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

fn fails(what: &str, command: Command, limit: Duration, parts: &[&str]) -> TestResult {
    let (status, lines) = Process::run(what, command, limit)?;
    assert_eq!(status.code(), Some(1), "{what}: {lines:#?}");
    complaint(what, &lines, parts).map_err(zipnet_tests::process::Failed::because)
}

#[test]
fn a_taken_metrics_port_is_one_line_and_status_1() -> TestResult {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for name in ["zipnet-server", "zipnet-aggregator"] {
        let mut bad = good_with(name, &[])?;
        bad.env("ZIPNET_METRICS", &address);
        fails(name, bad, LIMIT, &[&address, "metrics", "would be right"])?;
    }
    Ok(())
}

#[test]
fn a_taken_udp_address_is_one_line_and_status_1() -> TestResult {
    let taken = UdpSocket::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    for name in ALL {
        let mut bad = good_with(name, &[])?;
        bad.env("ZIPNET_BIND", &address);
        fails(name, bad, LIMIT, &[&address, "would be right"])?;
    }
    Ok(())
}

#[test]
fn a_relay_that_does_not_answer_is_one_line_and_status_1_within_30_seconds() -> TestResult {
    // Accepts, and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", mute.local_addr()?);
    let mut bad = good_with("zipnet-server", &[])?;
    bad.env("ZIPNET_RELAY", &url);
    fails(
        "a mute relay",
        bad,
        Duration::from_secs(30),
        &["No relay answered", "127.0.0.1", "embedded"],
    )
}
