use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::{collection::vec, option, prelude::*};
use zipnet_door::iroh::SecretKey;

use super::*;

const PEER: &str = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";
const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

fn refused(text: &str) -> String {
    crate::report::chain(&text.parse::<Uri>().unwrap_err())
}

#[test]
fn a_uri_says_it_all_in_one_line() {
    let text = format!(
        "zipnet:acme.mainnet?committee={PEER}&bootstrap={PEER}@10.0.0.1:4400,{PEER}&require={PEER}&size=3\
         &min-servers=2&min-participants=5&aggregator={PEER}&slots=32&slot-bytes=512&relay=embedded\
         &policy=/etc/zipnet/policy.json&policy-key={KEY}&policy-threshold=1"
    );
    let uri: Uri = text.parse().unwrap();
    assert_eq!(uri.instance.as_str(), "acme.mainnet");
    assert_eq!(uri.committee.unwrap().to_string(), PEER);
    let address = uri.bootstrap[0].address.unwrap();
    assert_eq!(address.to_string(), "10.0.0.1:4400");
    assert_eq!(uri.bootstrap[1].address, None);
    let counts = (uri.committee_size, uri.min_servers, uri.min_participants);
    assert_eq!(counts, (Some(3), Some(2), Some(5)));
    assert_eq!((uri.params.slots(), uri.params.slot_bytes()), (32, 512));
    assert_eq!(uri.relay, RelaySetting::Embedded);
    let evidence = uri.evidence.as_ref().unwrap();
    assert_eq!(evidence.policy, "/etc/zipnet/policy.json");
    assert_eq!(evidence.keys, [KEY]);
    assert_eq!(uri.to_string(), text);
    // What is not said is as usual, and not printed.
    let text = "zipnet:acme.mainnet";
    let uri: Uri = format!(" {text}\n").parse().unwrap();
    assert_eq!(uri, Uri::new("acme.mainnet".parse().unwrap()));
    assert_eq!(uri.to_string(), text);
}

#[test]
fn brackets_and_plus_signs_need_not_be_encoded_but_are() {
    let text = format!("zipnet:a.b?bootstrap={PEER}@[::1]:1&policy=p&policy-key=RW+a/b=");
    let uri: Uri = text.parse().unwrap();
    let printed = uri.to_string();
    assert!(printed.contains("@%5B::1%5D:1&"), "{printed}");
    assert!(printed.ends_with("policy-key=RW%2Ba/b%3D"), "{printed}");
    assert_eq!(printed.parse(), Ok(uri));
}

#[test]
fn an_unknown_key_is_refused_with_what_would_be_right() {
    for (key, right) in [
        ("committees", "`committee` would be right"),
        ("Committee", "`committee` would be right"),
        ("require_servers", "`require` would be right"),
        ("committee-size", "`size` would be right"),
        ("aggregators", "`aggregator` would be right"),
        ("policy-keys", "`policy-key` would be right"),
        ("colour", "one of `committee`, `bootstrap`, "),
        ("", "one of `committee`, "),
    ] {
        let error = refused(&format!("zipnet:a.b?{key}=swordfish"));
        assert!(error.contains(right), "{key}: {error}");
        assert!(!error.contains("swordfish"), "{error}");
    }
}

#[test]
fn i1_a_uri_holds_no_secret_and_its_refusal_shows_none() {
    for key in [
        "secret",
        "invite",
        "ZIPNET_SECRET",
        "committee-secret",
        "password",
    ] {
        let error = refused(&format!("zipnet:a.b?{key}=swordfish"));
        assert!(error.contains("it holds no secret"), "{error}");
        assert!(!error.contains("swordfish"), "{error}");
    }
    for text in [
        "zipnet://user:swordfish@host/a.b".to_owned(),
        "zipnet:a.b#swordfish".to_owned(),
        "swordfish".to_owned(),
        "zipnet:a.b?relay=http://user:swordfish@relay.example".to_owned(),
    ]
    .into_iter()
    .chain(Key::ALL.iter().filter(|key| key.name() != "policy").map(
        // The value of a key that is not what it should be.
        |key| format!("zipnet:a.b?{key}=swordfish%"),
    )) {
        let error = refused(&text);
        assert!(!error.contains("swordfish"), "{text}: {error}");
        assert!(error.contains("would be right"), "{text}: {error}");
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_what_would_be_right() {
    for (text, part) in [
        ("", "zipnet:INSTANCE"),
        ("acme.mainnet", "zipnet:INSTANCE"),
        ("zipnet:acme?", "zipnet:INSTANCE"),
        ("zipnet:acme?size", "zipnet:INSTANCE"),
        ("zipnet:", "1 to 128"),
        ("zipnet:Acme Mixer", "a-z 0-9"),
        ("zipnet:a?size=0", "1 to 64"),
        ("zipnet:a?size=+3", "1 to 64"),
        ("zipnet:a?size=3&size=3", "`size` twice"),
        ("zipnet:a?committee=abc", "64 hexadecimal digits"),
        ("zipnet:a?bootstrap=nobody", "PEERID@ip:port"),
        ("zipnet:a?bootstrap=", "PEERID@ip:port"),
        ("zipnet:a?slots=0", "`slots` and `slot-bytes`"),
        ("zipnet:a?relay=ftp://x", "`embedded`"),
        ("zipnet:a?policy=p", "`policy` without `policy-key`"),
        ("zipnet:a?policy-key=RWx", "`policy-key` without `policy`"),
        ("zipnet:a?policy-threshold=1", "without `policy-key`"),
        ("zipnet:a?policy=%zz&policy-key=x", "the path of a file"),
        ("zipnet:a?policy=%ff&policy-key=x", "the path of a file"),
    ] {
        let error = refused(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

fn peers() -> impl Strategy<Value = PeerId> {
    any::<[u8; 32]>().prop_map(|seed| SecretKey::from_bytes(&seed).public())
}

fn addresses() -> impl Strategy<Value = SocketAddr> {
    let four = (any::<[u8; 4]>(), any::<u16>())
        .prop_map(|(ip, port)| SocketAddr::from((Ipv4Addr::from(ip), port)));
    let six = (any::<[u8; 16]>(), any::<u16>())
        .prop_map(|(ip, port)| SocketAddr::from((Ipv6Addr::from(ip), port)));
    prop_oneof![four, six]
}

fn hints() -> impl Strategy<Value = BootstrapHint> {
    (peers(), option::of(addresses())).prop_map(|(peer, address)| BootstrapHint { peer, address })
}

fn relays() -> impl Strategy<Value = RelaySetting> {
    prop_oneof![
        Just(RelaySetting::Default),
        Just(RelaySetting::Embedded),
        "https?://[a-z]{1,9}\\.example(:[1-9][0-9]{0,3})?/?".prop_map(|url| url.parse().unwrap()),
    ]
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let texts = || any::<String>().prop_filter("it says something", |text| !text.is_empty());
    (texts(), vec(texts(), 1..4), option::of(1_u32..=64)).prop_map(|(policy, keys, threshold)| {
        Evidence {
            policy,
            keys,
            threshold,
        }
    })
}

prop_compose! {
    fn uris()(
        name in "[a-z0-9._-]{1,128}",
        committee in option::of(any::<[u8; 32]>()),
        bootstrap in vec(hints(), 0..4),
        required in vec(peers(), 0..4),
        counts in (option::of(1_u32..=64), option::of(1_u32..=64), option::of(1_u32..=65536)),
        aggregators in vec(peers(), 0..3),
        shape in (1_u32..=64, 32_u32..=4096),
        relay in relays(),
        evidence in option::of(evidence()),
    ) -> Uri {
        Uri {
            instance: name.parse().unwrap(),
            committee: committee.map(PeerKey::new),
            bootstrap,
            required,
            committee_size: counts.0,
            min_servers: counts.1,
            min_participants: counts.2,
            aggregators,
            params: RoundParams::new(shape.0, shape.1).unwrap(),
            relay,
            evidence,
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same(uri in uris()) {
        let text = uri.to_string();
        // One line, of what a URI may have.
        prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{}", text);
        prop_assert_eq!(text.parse(), Ok(uri));
    }

    #[test]
    fn whatever_is_read_is_printed_as_the_same(text in "zipnet:[a-z.]{1,9}(\\?(size|slots|relay|policy|min-servers|x)=[0-9a-z%&=,]{0,12})?") {
        if let Ok(uri) = text.parse::<Uri>() {
            prop_assert_eq!(uri.to_string().parse(), Ok(uri));
        }
    }

    #[test]
    fn nothing_that_is_read_breaks_anything(text in any::<String>()) {
        let _ = text.parse::<Uri>();
        let _ = format!("zipnet:a?{text}").parse::<Uri>();
        let _ = format!("zipnet:a?policy-key={text}").parse::<Uri>();
    }
}
