use std::collections::BTreeSet;

use proptest::prelude::*;
use zipnet_attest::report;

use super::*;

const GOOD: &str = "ZIPNET_INSTANCE=acme.mixer.test\nZIPNET_ATTESTATION=tdx\nZIPNET_POLICY_KEYS=RWQ1\n\
     GUEST_PROVISION_KEY=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";

fn refused(more: &str) -> Vec<String> {
    let errors = Settings::parse([GOOD, more].concat().as_bytes()).unwrap_err();
    errors.iter().map(|error| report::chain(error)).collect()
}

fn parsed(more: &str) -> Settings {
    Settings::parse([GOOD, more].concat().as_bytes()).unwrap().0
}

#[test]
fn little_has_to_be_set() {
    let settings = parsed("");
    assert_eq!(settings.instance.as_str(), "acme.mixer.test");
    assert_eq!(settings.address, Address::Dhcp);
    assert_eq!(settings.provision.to_string(), "0.0.0.0:7650");
    let keys: BTreeSet<_> = settings
        .server
        .iter()
        .map(|(key, _)| key.as_str())
        .collect();
    let expected = [
        "ZIPNET_ATTESTATION",
        "ZIPNET_INSTANCE",
        "ZIPNET_METRICS",
        "ZIPNET_POLICY_KEYS",
    ];
    assert_eq!(keys, BTreeSet::from(expected));
}

#[test]
fn settings_of_the_guest_are_read() {
    let settings = parsed(
        "GUEST_HOSTNAME=mixer-1\nGUEST_ADDRESS=192.0.2.7/24\nGUEST_GATEWAY=192.0.2.1\nGUEST_DNS=192.0.2.1, 2001:db8::1\n\
         GUEST_PROVISION=192.0.2.7:1\nGUEST_PROVISION_FROM=192.0.2.8:2,192.0.2.9:2\nGUEST_PROVISION_TIMEOUT=1h\n\
         GUEST_INVENTORY=yes\nZIPNET_METRICS=0.0.0.0:9\nZIPNET_SLOTS=\n",
    );
    let address = "192.0.2.7/24".parse().unwrap();
    let gateway = Some("192.0.2.1".parse().unwrap());
    assert_eq!(settings.address, Address::Static { address, gateway });
    assert_eq!(settings.hostname, "mixer-1");
    assert_eq!(settings.dns.len(), 2);
    assert_eq!(settings.peers.len(), 2);
    assert_eq!(settings.provision_timeout, Some(Duration::from_hours(1)));
    assert!(settings.inventory);
    assert_eq!(settings.metrics.to_string(), "0.0.0.0:9");
    assert!(settings.server.iter().all(|(key, _)| key != "ZIPNET_SLOTS"));
}

#[test]
fn i10_a_secret_is_refused_and_not_shown() {
    for key in [
        "ZIPNET_SECRET",
        "ZIPNET_SECRET_FILE",
        "ZIPNET_COMMITTEE_SECRET",
        "ZIPNET_COMMITTEE_SECRET_FILE",
    ] {
        for value in ["swordfish", ""] {
            let errors = refused(&format!("{key}={value}\n"));
            let [error] = &errors[..] else {
                panic!("{errors:?}")
            };
            assert!(
                error.starts_with(&format!("Line 5 of the configuration: {key}; ")),
                "{error}"
            );
            assert!(error.contains("by provisioning only"), "{error}");
            assert!(!error.contains("swordfish"), "{error}");
        }
    }
}

#[test]
fn every_line_that_is_wrong_is_named_with_what_would_be_right() {
    for (line, expected) in [
        ("ZIPNET_INSTANCES=x", "did you mean ZIPNET_INSTANCE?"),
        ("PATH=/bin", "There is no such key"),
        ("\u{1b}[2J=1", "\"\\u{1b}[2J\""),
        ("ZIPNET_POLICY=/x", "by itself"),
        ("ZIPNET_COLLATERAL=/x", "URL"),
        ("ZIPNET_METRICS=9100", "0.0.0.0:9100"),
        ("GUEST_HOSTNAME=a b", "hyphens"),
        ("GUEST_ADDRESS=192.0.2.7", "192.0.2.7/24"),
        ("GUEST_ADDRESS=192.0.2.7/0", "192.0.2.7/24"),
        ("GUEST_ADDRESS=0.0.0.0/8", "192.0.2.7/24"),
        ("GUEST_GATEWAY=192.0.2.1", "DHCP"),
        (
            "GUEST_ADDRESS=192.0.2.7/24\nGUEST_GATEWAY=192.0.3.1",
            "not in the network",
        ),
        ("GUEST_DNS=1.1.1.1,8.8.8.8,9.9.9.9,1.0.0.1", "three"),
        ("GUEST_PROVISION=7650", "0.0.0.0:7650"),
        ("GUEST_PROVISION_FROM=peer:1", "IP:PORT"),
        ("GUEST_PROVISION_TIMEOUT=0s", "12h"),
        ("GUEST_INVENTORY=true", "`yes` or `no`"),
        ("no setting", "KEY=VALUE"),
        ("ZIPNET_INSTANCE=again", "line 1"),
    ] {
        let errors = refused(line);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains(expected), "{line}: {errors:?}");
    }
    assert_eq!(refused("A=1\nB=2\nZIPNET_SECRET=3").len(), 3);
}

#[test]
fn what_no_guest_does_without_is_asked_for() {
    let errors = Settings::parse(b"").unwrap_err();
    assert_eq!(errors.len(), 4);
    let errors = Settings::parse(
        b"ZIPNET_INSTANCE=A\nZIPNET_ATTESTATION=none\nZIPNET_POLICY_KEYS=x\nGUEST_PROVISION_KEY=y",
    )
    .unwrap_err();
    let lines: Vec<_> = errors.iter().map(|error| report::chain(error)).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains("a-z"), "{lines:?}");
    assert!(lines[1].contains("`tdx` would be right"), "{lines:?}");
    assert!(lines[2].contains("64 hex digits"), "{lines:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_settings_or_refused(bytes: Vec<u8>, text in "([A-Z_]{0,30}=?[a-z0-9./,:]{0,20}\n?){0,8}") {
        for bytes in [&bytes, text.as_bytes()] {
            if let Err(errors) = Settings::parse(bytes) {
                prop_assert!(!errors.is_empty());
            }
        }
    }
}
