//! What a server shows, and what it takes from whom.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mosaik::PeerId;
use zipnet::testing::{Here, Server, clock, evidence::DAY};
use zipnet_attest::{
    Rule,
    simulation::{IMAGE, SimulatedTd, Td},
};
use zipnet_protocol::Digest;

use super::{
    Authority, AuthoritySettings, CollateralSource, Credential, ServerAttestation, VouchError,
    own::{Circumstances, OwnEvidence, OwnEvidenceError},
    ticket::{Tickets, Verdict, ticket},
    vouch,
};
use crate::{
    committee::tests::{attested::Attested, fixture::agreeing},
    guard::GuardError,
};

#[test]
fn i3_a_partial_needs_the_evidence_of_the_whole_roster() {
    let mut attested = Attested::since(3, clock() - 3600);
    let here = Here::with(attested.intel.clone());
    let authority = here.authority();
    let instance = here.instance().clone();
    let state = attested.founded_with(2);
    let round = {
        let mut state = state.clone();
        attested.world.open_only(&mut state)
    };
    let of = |server: &zipnet_protocol::AdmittedServer| {
        let admission = state.admissions().of(server.id())?;
        Some(admission.credential.clone())
    };
    let vouched = vouch(&instance, Some(&authority), &round, of).unwrap();
    assert_eq!(vouched.context(), round.context());

    // Nobody vouches without a policy, without evidence, or with bad one.
    assert_eq!(
        vouch(&instance, None, &round, of),
        Err(VouchError::NoAuthority)
    );
    let bad = attested.world.servers[1].id();
    let unknown = vouch(&instance, Some(&authority), &round, |server| {
        of(server).filter(|_| *server.id() != bad)
    });
    assert!(matches!(unknown, Err(VouchError::Unknown { .. })));
    let debug = here.credential(&attested.world.servers[1], |draft| {
        draft.td.td_attributes[0] |= 1;
    });
    let refused = vouch(&instance, Some(&authority), &round, |server| {
        if *server.id() == bad {
            Some(debug.clone())
        } else {
            of(server)
        }
    });
    assert!(
        matches!(&refused, Err(VouchError::Refused { source, .. }) if source.rule() == Rule::Debug),
        "{refused:?}"
    );

    // What was vouched for is one round, not the next.
    let mut next = state.clone();
    attested.world.open_only(&mut next);
    let other = attested.world.open_only(&mut next);
    let registry = state.clients().clone();
    let fold = attested.world.fold(next.current().unwrap(), &[0, 1]);
    let server = &mut attested.world.servers[0];
    let pads = zipnet_protocol::PadTable::agree(&server.dh, &registry, None).unwrap();
    let held = agreeing(other.header());
    let guard = &mut server.guard;
    let keys = &server.keys.signing;
    let refused = guard.certify(&other, &vouched, &held, keys);
    assert_eq!(refused, Err(GuardError::NotVouched));
    let right = vouch(&instance, Some(&authority), &other, of).unwrap();
    assert!(guard.certify(&other, &right, &held, keys).is_ok());
    let refused = guard.unblind(&other, &vouched, &registry, &fold, &pads, keys);
    assert_eq!(refused, Err(GuardError::NotVouched));
    let given = guard.unblind(&other, &right, &registry, &fold, &pads, keys);
    assert!(given.is_ok());
}

#[tokio::test]
async fn a_ticket_counts_for_the_peer_that_it_was_verified_for() {
    let here = Here::new();
    let server = &here.world.servers[0];
    let peer = |server: &Server| PeerId::from_bytes(server.admitted.peer().as_bytes()).unwrap();
    let evidence = here.credential(server, |_| {}).digest();
    let (tickets, mut claims) = Tickets::new();
    let validator = super::ticket::Validator::new(Arc::new(here.authority()), tickets.clone());
    let says = |peer: &PeerId| validator.judge(ticket(&evidence).data(), peer).is_ok();

    // Not known: refused, and put on the list once.
    assert!(!says(&peer(server)) && !says(&peer(server)));
    assert_eq!(claims.recv().await, Some((peer(server), evidence)));
    assert!(claims.try_recv().is_err());
    tickets.settle((peer(server), evidence), Verdict::Holds(clock() + 60));
    assert!(says(&peer(server)));
    // The same ticket under another peer id is another claim.
    assert!(!says(&peer(&here.world.servers[1])));
    // It ends with the statement.
    tickets.settle((peer(server), evidence), Verdict::Holds(clock()));
    assert!(!says(&peer(server)));
    assert!(validator.judge(b"no digest", &peer(server)).is_err());
}

#[tokio::test]
async fn a_server_shows_only_what_holds_under_its_own_policy() {
    let here = Here::new();
    let world = here.intel().world().unwrap();
    let server = &here.world.servers[0];
    let collateral = zipnet_attest::Collateral::new(world.collateral().clone()).unwrap();
    let own = |td: Td| {
        let settings = AuthoritySettings {
            collateral: CollateralSource::Fixed(Box::new(collateral.clone())),
            ..here.settings(None)
        };
        let attestation = ServerAttestation {
            authority: Arc::new(Authority::open(settings).unwrap()),
            source: Arc::new(SimulatedTd {
                world: world.clone(),
                td,
            }),
            lifetime: Duration::from_hours(1),
            config: None,
            giving: None,
        };
        Arc::new(OwnEvidence::new(Arc::new(attestation)))
    };
    let circumstances = Circumstances {
        config: Digest::new([1; 32]),
        freshness: Digest::ZERO,
    };
    let renew = |own: &Arc<OwnEvidence>| {
        let instance = here.instance().clone();
        own.clone()
            .renew(instance, server.admitted.clone(), circumstances)
    };
    let good = own(Td::default());
    assert!(good.is_due(here.instance(), &server.admitted));
    let standing = renew(&good).await.unwrap();
    assert_eq!((&*standing.image, &*standing.tcb), (IMAGE, "UpToDate"));
    assert!(!good.is_due(here.instance(), &server.admitted));
    let (first, _) = good.shown().unwrap();
    renew(&good).await.unwrap();
    let (second, _) = good.shown().unwrap();
    let epoch = |credential: &Credential| credential.decode().unwrap().0.statement.epoch;
    assert!(epoch(&second) > epoch(&first));
    assert!(standing.not_after - standing.not_before < DAY);

    let bad = own(Td {
        mrtd: [0x66; 48],
        ..Td::default()
    });
    let error = renew(&bad).await.unwrap_err();
    assert!(
        matches!(&error, OwnEvidenceError::Refused(refusal) if refusal.rule() == Rule::Measurements),
        "{error}"
    );
    assert!(bad.shown().is_none());
}

#[test]
fn a_look_up_of_the_validator_is_nothing_beside_a_verification() {
    const LOOK_UPS: u32 = 10_000;
    let here = Here::new();
    let server = &here.world.servers[0];
    let peer = PeerId::from_bytes(server.admitted.peer().as_bytes()).unwrap();
    let credential = here.credential(server, |_| {});
    let digest = credential.digest();
    let (tickets, _claims) = Tickets::new();
    let authority = Arc::new(here.authority());
    let validator = super::ticket::Validator::new(authority.clone(), tickets.clone());
    // Many verdicts, this one among them.
    for number in 0..4000_u32 {
        let mut other = [0; 32];
        other[..4].copy_from_slice(&number.to_be_bytes());
        tickets.settle((peer, Digest::new(other)), Verdict::Asked);
    }
    let started = Instant::now();
    assert_eq!(here.judge(&authority, server, &credential), Ok(()));
    let verification = started.elapsed();
    tickets.settle((peer, digest), Verdict::Holds(clock() + 60));
    let started = Instant::now();
    for _ in 0..LOOK_UPS {
        assert!(validator.judge(ticket(&digest).data(), &peer).is_ok());
    }
    let look_up = started.elapsed() / LOOK_UPS;
    println!("a look-up takes {look_up:?}, a cold verification {verification:?}");
    assert!(
        look_up * 100 < verification,
        "{look_up:?} of {verification:?}"
    );
}
