//! Attacks on admission by evidence: each fails at its rule, and the honest
//! servers' registry is as it was.

use bytes::Bytes;
use zipnet_attest::{
    Evidence, Rule, TrustRoot,
    simulation::{Draft, Platform, Publisher, SimulatedTd, World as Simulated},
};
use zipnet_protocol::ServerBundle;

use zipnet::testing::evidence::{self, DAY};

use super::{
    attested::{Attested, ISSUED, NOW},
    fixture::{Server, World, accept, bytes, refuse},
};
use crate::{
    attestation::Credential,
    committee::{
        command::{Order, Presented, ServerRegistration},
        state::Refusal,
    },
};

#[test]
fn i3_a_server_without_evidence_is_not_admitted() {
    let attested = Attested::new(3);
    let mut state = attested.founded();
    let stranger = attested.world.newcomer(1);
    let command = stranger.say(&attested.world.rules, &stranger.registration());
    assert_eq!(
        refuse(&mut state, &command),
        Refusal::Unattested(stranger.id())
    );

    // Nor one with evidence where nobody shows any.
    let plain = World::with(3, 0, |rules| rules.committee_size = None);
    let mut state = plain.founded();
    let stranger = plain.newcomer(1);
    let instance = &plain.rules.instance;
    let credential = evidence::credential(&attested.intel, instance, &stranger.admitted, |_| {});
    let order = Order::RegisterServer(ServerRegistration {
        bundle: stranger.admitted.bundle().clone(),
        presented: Some(Presented {
            credential,
            at: NOW,
            policy: None,
        }),
    });
    let refusal = refuse(&mut state, &stranger.say(&plain.rules, &order));
    assert_eq!(refusal, Refusal::Unasked(stranger.id()));
}

/// A change to evidence and the rule that it breaks.
type Attack = (&'static str, Rule, fn(&mut Draft));

const ATTACKS: &[Attack] = &[
    ("another server's id", Rule::StatementServer, |draft| {
        draft.statement.server = [9; 32];
    }),
    ("another peer", Rule::StatementPeer, |draft| {
        draft.statement.peer = [9; 32];
    }),
    ("another X25519 key", Rule::StatementKey, |draft| {
        draft.statement.x25519 = [9; 32];
    }),
    ("another signing key", Rule::StatementSigning, |draft| {
        draft.statement.signing = [9; 32];
    }),
    ("another instance", Rule::StatementInstance, |draft| {
        draft.statement.instance = [9; 32];
    }),
    ("a far not_after", Rule::StatementLifetime, |draft| {
        draft.statement.not_after = ISSUED + 3650 * DAY;
    }),
    ("an expired statement", Rule::StatementExpired, |draft| {
        draft.statement.not_after = NOW;
    }),
    ("a statement of tomorrow", Rule::StatementFuture, |draft| {
        draft.statement.not_before = NOW + 1;
    }),
    ("the DEBUG bit", Rule::Debug, |draft| {
        draft.td.td_attributes[0] |= 1;
    }),
    ("an OutOfDate platform", Rule::TcbStatus, |draft| {
        let platform = Platform {
            tcb_status: "OutOfDate".to_owned(),
            ..Platform::default()
        };
        draft.world = draft.world.clone().platform(platform);
    }),
    ("a revoked TCB level", Rule::TcbRevoked, |draft| {
        let platform = Platform {
            tcb_status: "Revoked".to_owned(),
            ..Platform::default()
        };
        draft.world = draft.world.clone().platform(platform);
    }),
    ("a revoked PCK", Rule::Revoked, |draft| {
        draft.world = draft.world.clone().revoke_leaf();
    }),
    ("a rogue QE", Rule::QeIdentity, |draft| {
        let platform = Platform {
            qe_mrsigner: [0x66; 32],
            ..Platform::default()
        };
        draft.world = draft.world.clone().platform(platform);
    }),
    ("expired collateral", Rule::CollateralExpired, |draft| {
        draft.world = draft.world.clone().collateral_window(ISSUED, NOW - 1);
    }),
    ("collateral of tomorrow", Rule::CollateralFuture, |draft| {
        let tomorrow = NOW + DAY;
        draft.world = draft
            .world
            .clone()
            .collateral_window(tomorrow, tomorrow + DAY);
    }),
    (
        "a throw-away Intel with correct measurements",
        Rule::CollateralSignature,
        |draft| draft.world = Simulated::builder(b"a throw-away Intel", ISSUED),
    ),
    ("another MRTD", Rule::Measurements, |draft| {
        draft.td.mrtd = [0x66; 48];
    }),
    ("one RTMR of another release", Rule::Measurements, |draft| {
        draft.td.rtmr[2] = [0x66; 48];
    }),
];

#[test]
fn i3_each_attack_on_evidence_fails_at_its_rule_and_changes_nothing() {
    let attested = Attested::new(3);
    let mut state = attested.founded();
    let attacker = attested.world.newcomer(1);
    for (name, rule, change) in ATTACKS {
        let credential = attested.credential(&attacker, change);
        let refusal = refuse(&mut state, &attested.register(&attacker, credential, NOW));
        match refusal {
            Refusal::Evidence { server, source } => {
                assert_eq!(
                    (server, source.rule()),
                    (attacker.id(), *rule),
                    "{name}: {source}"
                );
            }
            other => panic!("{name}: {other}"),
        }
    }
    // The attacker's evidence is fine but for that, and the committee goes on.
    attested.admit(&mut state, &attacker);
    attested.world.open_with(0, attested.world.header(&state));
}

/// What the committee says of evidence bytes that are shown with a bundle.
fn rule_of(attested: &Attested, server: &Server, credential: Credential) -> Rule {
    let mut state = attested.founded();
    match refuse(&mut state, &attested.register(server, credential, NOW)) {
        Refusal::Evidence { source, .. } => source.rule(),
        other => panic!("{other}"),
    }
}

#[test]
fn i3_the_quote_of_another_server_or_of_an_old_key_is_refused() {
    let attested = Attested::new(3);
    let attacker = attested.world.newcomer(1);
    // An honest server's whole evidence.
    let victim = &attested.world.servers[0];
    let stolen = attested.credential(victim, |_| {});
    assert_eq!(
        rule_of(&attested, &attacker, stolen.clone()),
        Rule::StatementServer
    );
    // Its quote under the attacker's statement.
    let own = attested.credential(&attacker, |_| {});
    let evidence = |credential: &Credential| Evidence::decode(&credential.evidence).unwrap();
    let mixed = Evidence {
        statement: evidence(&own).statement,
        quote: evidence(&stolen).quote,
    };
    let mixed = Credential {
        evidence: mixed.encode().into(),
        collateral: own.collateral.clone(),
    };
    assert_eq!(rule_of(&attested, &attacker, mixed), Rule::ReportData);
    // The old evidence of the same server with the keys of a new boot.
    let rebooted = attested.world.reboot(0, 2);
    assert_eq!(rule_of(&attested, &rebooted, stolen), Rule::StatementKey);
}

#[test]
fn i8_evidence_of_any_length_is_refused_by_its_form() {
    let attested = Attested::new(3);
    let attacker = attested.world.newcomer(1);
    let good = attested.credential(&attacker, |_| {});
    let with = |evidence: Vec<u8>| Credential {
        evidence: evidence.into(),
        collateral: good.collateral.clone(),
    };
    let megabyte = [&good.evidence[..], &vec![0; 1 << 20]].concat();
    assert_eq!(
        rule_of(&attested, &attacker, with(megabyte)),
        Rule::EvidenceForm
    );
    let trailing = [&good.evidence[..], b"x"].concat();
    assert_eq!(
        rule_of(&attested, &attacker, with(trailing)),
        Rule::QuoteTrailing
    );
    let mut state = attested.founded();
    for length in 0..good.evidence.len() {
        let cut = with(good.evidence[..length].to_vec());
        let command = attested.register_under(&attacker, cut, NOW, None);
        assert!(
            matches!(state.apply(&command), Err(Refusal::Evidence { .. })),
            "{length} bytes"
        );
    }
    // Collateral that is longer than any.
    let long = Credential {
        evidence: good.evidence.clone(),
        collateral: Bytes::from(vec![b' '; 1 << 20]),
    };
    assert_eq!(rule_of(&attested, &attacker, long), Rule::CollateralForm);
}

#[test]
fn i9_simulated_evidence_fails_against_intel_and_the_reverse() {
    let attested = Attested::new(3);
    let server = attested.world.newcomer(1);
    let simulated = attested.credential(&server, |_| {});
    let (evidence, collateral) = simulated.decode().unwrap();
    let mut policy = attested.intel.policy(1).unwrap();
    policy.root = zipnet_attest::policy::Root::Intel {};
    let file = attested.intel.sign(&policy).unwrap();
    let intel = attested.intel.base_on(TrustRoot::Intel).unwrap();
    let expected = crate::attestation::credential::expected(attested.instance(), &server.admitted);
    let refusal = intel
        .open(&file, 0)
        .unwrap()
        .verify(&evidence, &collateral, &expected, NOW)
        .unwrap_err();
    assert_eq!(refusal.rule(), Rule::CollateralSignature, "{refusal}");

    // A policy that names Intel's root opens under no simulated one.
    assert!(attested.intel.base().unwrap().open(&file, 0).is_err());
    // A genuine quote under the simulated root.
    let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../../attest/vectors/quotes/");
    let read = |name: &str| std::fs::read(format!("{vectors}{name}")).unwrap();
    let genuine = zipnet_attest::Collateral::from_json(&read("v4-uptodate.collateral.json"));
    let (quote, genuine) = (read("v4-uptodate.quote.bin"), genuine.unwrap());
    let root = TrustRoot::Other(attested.intel.world().unwrap().root_der().to_vec());
    let refusal = zipnet_attest::genuine(&root, &quote, &genuine, 1_751_000_000).unwrap_err();
    assert_eq!(refusal.rule(), Rule::CollateralSignature, "{refusal}");
}

#[test]
fn i3_two_servers_cannot_have_the_same_key() {
    let attested = Attested::new(3);
    let mut state = attested.founded();
    let honest = &attested.world.servers[0];
    let mut twin = attested.world.newcomer(1);
    // The attacker knows the public half only, but a copied server knows both.
    let bundle = ServerBundle::sign(
        attested.instance(),
        &honest.dh,
        &twin.signing,
        &twin.transport,
        &attested.world.committee,
        1,
        zipnet_protocol::Whereabouts::nowhere(),
    );
    twin.keys.admitted = bundle.verify(attested.instance()).unwrap();
    let credential = attested.credential(&twin, |_| {});
    let refusal = refuse(&mut state, &attested.register(&twin, credential, NOW));
    assert_eq!(
        refusal,
        Refusal::SharedKey {
            server: twin.id(),
            other: honest.id(),
            key: "X25519",
        }
    );
}

#[test]
fn i8_the_time_of_registrations_does_not_go_back() {
    let attested = Attested::new(3);
    let mut state = attested.world.cold();
    let [first, second, ..] = &attested.world.servers[..] else {
        unreachable!()
    };
    let shown = attested.credential(first, |_| {});
    accept(&mut state, &attested.register(first, shown, NOW + 60));
    let shown = attested.credential(second, |_| {});
    let early = attested.register(second, shown.clone(), NOW);
    assert_eq!(
        refuse(&mut state, &early),
        Refusal::Clock {
            found: NOW,
            least: NOW + 60,
        }
    );
    accept(&mut state, &attested.register(second, shown, NOW + 60));
    // A time that nothing signed reaches cannot be claimed.
    let third = &attested.world.servers[2];
    let far = attested.credential(third, |draft| {
        draft.statement.not_before = ISSUED + 300 * DAY;
        draft.statement.not_after = ISSUED + 301 * DAY;
    });
    let command = attested.register(third, far, ISSUED + 300 * DAY);
    let Refusal::Evidence { source, .. } = refuse(&mut state, &command) else {
        panic!("admitted from the future");
    };
    assert_eq!(source.rule(), Rule::CollateralExpired);
}

#[test]
fn i3_evidence_is_renewed_under_the_same_keys_and_never_set_back() {
    let attested = Attested::new(3);
    let mut state = attested.founded();
    let server = &attested.world.servers[0];
    let renewed = attested.credential(server, |draft| {
        draft.statement.epoch = 2;
        draft.statement.not_after += DAY;
    });
    let old = bytes(&state);
    accept(&mut state, &attested.register(server, renewed.clone(), NOW));
    assert_ne!(bytes(&state), old);
    assert_eq!(
        *state.servers()[&server.id()].digest(),
        *server.admitted.digest()
    );
    assert_eq!(
        *state.admissions().of(&server.id()).unwrap().credential,
        renewed
    );

    let earlier = attested.credential(server, |_| {});
    let refusal = refuse(&mut state, &attested.register(server, earlier, NOW));
    assert_eq!(
        refusal,
        Refusal::StaleEvidence {
            server: server.id(),
            least: 2,
            found: 1,
        }
    );
}

#[test]
fn a_simulated_td_quotes_what_it_is_asked() {
    use zipnet_attest::QuoteSource as _;
    let intel = Publisher::new(b"a committee", ISSUED).unwrap();
    let source = SimulatedTd {
        world: intel.world().unwrap(),
        td: zipnet_attest::simulation::Td::default(),
    };
    let quote = source.quote(&[5; 64]).unwrap();
    let quote = zipnet_attest::Quote::parse(&quote).unwrap();
    assert_eq!(quote.report.report_data, [5; 64]);
}
