//! Who wants the secrets and may not have them, and who wants a guest to take
//! others. Each test is named after what it breaks.

use std::os::unix::net::UnixStream;

use zipnet_attest::{
    Collateral, Evidence, Expected, Mode, Rule, Statement, TrustRoot,
    hexes::Hexes,
    policy::Root,
    provision::{AttemptError, Config, GiveError, GuestStatement, Known, WireError},
    report::chain,
};

use crate::{
    fixture::{Operator, Setting, attempt, exchange, now},
    raw::{self, ACCEPTED, OFFER, REFUSED, SEALED, between, impostor, receive, send},
};

pub fn refused_by<T>(given: Result<T, GiveError>) -> Rule {
    match given {
        Err(GiveError::Refused(refusal)) => refusal.rule(),
        Err(other) => panic!("{}", chain(&other)),
        Ok(_) => panic!("something was given"),
    }
}

/// What a guest says in such a case.
pub fn told(taken: Result<impl Sized, AttemptError>) -> String {
    match taken {
        Err(AttemptError::Wire(WireError::Refused(reason))) => reason,
        Err(other) => panic!("{}", chain(&other)),
        Ok(_) => panic!("something was given"),
    }
}

#[test]
fn a_policy_that_does_not_know_the_image_gives_nothing() {
    let setting = Setting::new("wrong policy");
    let operator = setting.operator_by(|policy| policy.images[0].mrtd = Hexes([9; 48]));
    let (taken, given) = exchange(setting.guest(), &operator);
    assert_eq!(refused_by(given), Rule::Measurements);
    let told = told(taken);
    assert!(told.contains("ZA-601"), "{told}");
}

#[test]
fn a_platform_that_intel_revoked_gets_nothing() {
    let setting = Setting::new("revoked");
    let mut operator = setting.operator();
    let world = setting.publisher.builder().revoke_leaf().build().unwrap();
    operator.collateral = Collateral::new(world.collateral().clone()).unwrap();
    let (taken, given) = exchange(setting.guest(), &operator);
    assert_eq!(refused_by(given), Rule::Revoked);
    assert!(told(taken).contains("ZA-202"));
}

#[test]
fn i9_simulated_evidence_is_nothing_under_intels_root() {
    let setting = Setting::new("intel");
    let mut operator = setting.operator();
    operator.base = setting.publisher.base_on(TrustRoot::Intel).unwrap();
    let mut policy = setting.publisher.policy(1).unwrap();
    policy.root = Root::Intel {};
    let file = setting.publisher.sign(&policy).unwrap();
    operator.verifier = operator.base.open(&file, 0).unwrap();
    // It even says that it trusts Intel.
    let anchor = *operator.base.anchor();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let guest = impostor(
        &setting,
        &setting.config(""),
        |statement| statement.anchor = anchor,
        |_| (),
        theirs,
    );
    assert_eq!(refused_by(operator.give(ours)), Rule::CertificateChain);
    assert_eq!(guest.join().unwrap().0, REFUSED);
}

/// The answer of a giver to an impostor.
fn give_to_impostor(
    operator: &Operator,
    known: Known<'_>,
    setting: &Setting,
    config: &Config,
    statement_of: impl FnOnce(&mut GuestStatement),
) -> Result<(), GiveError> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let guest = impostor(setting, config, statement_of, |_| (), theirs);
    let given = operator.give_as(known, ours);
    let (kind, _) = guest.join().unwrap();
    // It was sent the secrets, for a key that it has not.
    assert_eq!(kind == SEALED, matches!(given, Err(GiveError::Accepted(_))));
    given.map(|_| ())
}

#[test]
fn za_702_a_statement_that_the_quote_does_not_say_gets_nothing() {
    let setting = Setting::new("report data");
    let operator = setting.operator();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (host, door) = UnixStream::pair().unwrap();
    let guest = attempt(setting.guest(), door);
    // The host puts a key of its own into the statement.
    let host = between(theirs, host, |kind, mut body| {
        if kind == OFFER {
            body[32 * 4] ^= 1;
        }
        Some(body)
    });
    assert_eq!(refused_by(operator.give(ours)), Rule::ReportData);
    host.join().unwrap();
    assert!(guest.join().unwrap().is_err());
}

#[test]
fn za_701_a_statement_of_the_other_kind_gets_nothing_and_the_reverse() {
    let setting = Setting::new("other tag");
    let operator = setting.operator();
    let server = Expected {
        instance: [1; 32],
        server: [2; 32],
        peer: [3; 32],
        x25519: [4; 32],
        signing: [5; 32],
    };
    let keys = server.statement(1, now()..now() + 60, [6; 32], [7; 32]);
    let (evidence, _) = setting.publisher.draft(keys.clone()).finish().unwrap();
    // Evidence of a server that runs, shown as a guest's.
    for length in [200, 281] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let offer = raw::offer(&keys.encode()[..length], &evidence.quote, &operator.config);
        let guest = std::thread::spawn(move || {
            receive(&mut theirs).unwrap();
            send(&mut theirs, OFFER, &offer).unwrap();
            receive(&mut theirs).unwrap()
        });
        match operator.give(ours) {
            // The lengths differ; what is cut to fit has the wrong tag.
            Err(GiveError::Refused(refusal)) => {
                assert_eq!(refusal.rule(), Rule::StatementForm);
            }
            Err(GiveError::Offer(WireError::Form(_))) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(guest.join().unwrap().0, REFUSED);
    }
    // A guest's, shown as a server's.
    let guest = GuestStatement {
        anchor: [0; 32],
        instance: [1; 32],
        config: [6; 32],
        key: [4; 32],
        nonce: [7; 32],
        time: now(),
    };
    let bytes = guest.encode();
    let filled = [&bytes[..], &[0; 81]].concat();
    for bytes in [&bytes[..], &filled] {
        let refusal = Statement::decode(bytes).unwrap_err();
        assert_eq!(refusal.rule(), Rule::StatementForm);
        let evidence = [&b"zipnet-evidence1"[..], bytes, &evidence.quote].concat();
        assert!(Evidence::decode(&evidence).is_err());
    }
}

#[test]
fn another_configuration_gets_nothing_and_its_line_is_named() {
    let setting = Setting::new("other config");
    let operator = setting.operator();
    let config = setting.config("ZIPNET_MIN_PARTICIPANTS=1\n");
    let given = give_to_impostor(
        &operator,
        Known::Config(&operator.config),
        &setting,
        &config,
        |_| (),
    );
    let error = given.unwrap_err().to_string();
    assert!(error.contains("line 8"), "{error}");
    assert!(error.contains("ZIPNET_MIN_PARTICIPANTS=1"), "{error}");
}

#[test]
fn za_712_a_configuration_that_the_host_changed_on_its_way_gets_nothing() {
    let setting = Setting::new("changed config");
    let operator = setting.operator();
    let config = setting.config("ZIPNET_MIN_PARTICIPANTS=1\n");
    let digest = config.digest();
    // The guest was launched with one, and the other is shown.
    let given = give_to_impostor(
        &operator,
        Known::Config(&operator.config),
        &setting,
        &operator.config,
        |statement| statement.config = digest,
    );
    assert_eq!(refused_by(given), Rule::StatementConfig);
}

#[test]
fn a_member_gives_to_its_own_instance_and_kind_of_attestation_only() {
    let setting = Setting::new("members");
    let operator = setting.operator();
    let member = |instance, mode| Known::Member { instance, mode };
    let give = |known, config: &Config| {
        let plain = |_: &mut GuestStatement| ();
        give_to_impostor(&operator, known, &setting, config, plain)
    };
    let name = "zipnet.provision.test";
    let own = setting.config("");
    // Its settings may differ from the member's own.
    let other = setting.config("ZIPNET_METRICS=127.0.0.1:9100\n");
    for config in [&own, &other] {
        let given = give(member(name, Mode::Simulated), config);
        assert!(matches!(given, Err(GiveError::Accepted(_))), "{given:?}");
    }
    let given = give(member("zipnet.another.test", Mode::Simulated), &own);
    assert_eq!(refused_by(given), Rule::StatementInstance);
    let given = give(member(name, Mode::Tdx), &own);
    assert!(matches!(given, Err(GiveError::Mode { .. })), "{given:?}");
}

/// What a host in between sees of an exchange that ends well.
fn good_exchange(setting: &Setting) -> Vec<(u8, Vec<u8>)> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (host, door) = UnixStream::pair().unwrap();
    let guest = attempt(setting.guest(), door);
    let host = between(theirs, host, |_, body| Some(body));
    setting.operator().give(ours).unwrap();
    guest.join().unwrap().unwrap();
    host.join().unwrap()
}

#[test]
fn za_713_an_offer_that_was_made_before_gets_nothing() {
    let setting = Setting::new("replayed offer");
    let operator = setting.operator();
    let seen = good_exchange(&setting);
    // The host shows what it saw to the operator again.
    let (_, offer) = seen.into_iter().find(|(kind, _)| *kind == OFFER).unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let again = std::thread::spawn(move || {
        receive(&mut theirs).unwrap();
        send(&mut theirs, OFFER, &offer).unwrap();
        receive(&mut theirs).unwrap()
    });
    assert_eq!(refused_by(operator.give(ours)), Rule::StatementNonce);
    assert_eq!(again.join().unwrap().0, REFUSED);
}

#[test]
fn sealed_secrets_open_on_no_other_connection() {
    let setting = Setting::new("replayed secrets");
    let seen = good_exchange(&setting);
    let body = |wanted| {
        let (_, body) = seen.iter().find(|(kind, _)| *kind == wanted).unwrap();
        body.clone()
    };
    // The guest is restarted, and the host plays the operator with the same
    // nonce and the same secrets.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let guest = attempt(setting.guest(), theirs);
    send(&mut ours, raw::HELLO, &body(raw::HELLO)).unwrap();
    assert_eq!(receive(&mut ours).unwrap().0, OFFER);
    send(&mut ours, SEALED, &body(SEALED)).unwrap();
    let (kind, reason) = receive(&mut ours).unwrap();
    assert_eq!(kind, REFUSED);
    let reason = String::from_utf8(reason).unwrap();
    assert!(reason.contains("not sealed to this evidence"), "{reason}");
    assert!(matches!(guest.join().unwrap(), Err(AttemptError::Sealed)));
}

#[test]
fn a_policy_that_strangers_signed_is_not_taken() {
    let setting = Setting::new("strangers");
    let mut operator = setting.operator();
    operator.parcel.policy = Setting::new("strangers").policy_file();
    let (taken, given) = exchange(setting.guest(), &operator);
    assert!(matches!(taken, Err(AttemptError::Policy(_))), "{taken:?}");
    let Err(GiveError::Accepted(WireError::Refused(reason))) = given else {
        panic!("{given:?}");
    };
    assert!(reason.contains("at least 1 have to"), "{reason}");
}

#[test]
fn lengths_beyond_the_bounds_are_not_believed() {
    let setting = Setting::new("lengths");
    for kind in [raw::HELLO, REFUSED, OFFER, 0, 255] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let guest = attempt(setting.guest(), theirs);
        let head = [&[kind][..], &u32::MAX.to_be_bytes()].concat();
        std::io::Write::write_all(&mut ours, &head).unwrap();
        assert_eq!(receive(&mut ours).unwrap().0, REFUSED);
        let error = guest.join().unwrap().unwrap_err();
        assert!(!error.cost_a_quote());
        let Err(AttemptError::Hello(WireError::Unexpected { length, .. })) = Err::<(), _>(error)
        else {
            panic!("another error");
        };
        assert_eq!(length, u32::MAX);
    }
    for kind in [OFFER, REFUSED, ACCEPTED, 0, 255] {
        let operator = setting.operator();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let giving = std::thread::spawn(move || operator.give(ours));
        receive(&mut theirs).unwrap();
        let head = [&[kind][..], &u32::MAX.to_be_bytes()].concat();
        std::io::Write::write_all(&mut theirs, &head).unwrap();
        assert_eq!(receive(&mut theirs).unwrap().0, REFUSED);
        let given = giving.join().unwrap();
        let unexpected = matches!(
            given,
            Err(GiveError::Offer(WireError::Unexpected {
                length: u32::MAX,
                ..
            }))
        );
        assert!(unexpected, "{given:?}");
    }
}
