//! What a process believes of evidence, and for how long.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use mosaik::PeerId;
use tempfile::TempDir;
use zipnet_attest::{
    Rule,
    simulation::{Draft, IMAGE, Platform, Publisher, SimulatedTd, Td},
};
use zipnet_protocol::Digest;

use super::{
    Authority, AuthoritySettings, CollateralSource, Credential, ServerAttestation, VouchError,
    fixture::{DAY, publish},
    own::{Circumstances, OwnEvidence, OwnEvidenceError},
    ticket::{Tickets, Verdict, ticket},
    vouch,
};
use crate::{
    committee::tests::{
        attested::Attested,
        fixture::{Server, agreeing},
    },
    guard::GuardError,
};

/// Seconds since 1970.
pub fn clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A committee whose Intel began an hour ago, and a folder for its policy.
pub struct Here {
    pub folder: TempDir,
    pub attested: Attested,
}

impl Here {
    pub fn new() -> Self {
        let attested = Attested::since(3, clock() - 3600);
        let folder = tempfile::tempdir().unwrap();
        let here = Self { folder, attested };
        here.publish(1);
        here
    }

    pub fn intel(&self) -> &Publisher {
        &self.attested.intel
    }

    pub fn policy_file(&self) -> std::path::PathBuf {
        self.folder.path().join("policy.json")
    }

    pub fn publish(&self, serial: u64) {
        let policy = self.intel().policy(serial).unwrap();
        publish(self.intel(), &policy, &self.policy_file());
    }

    pub fn settings(&self, state: Option<&Path>) -> AuthoritySettings {
        AuthoritySettings {
            base: Arc::new(self.intel().base().unwrap()),
            policy: self.policy_file(),
            collateral: CollateralSource::Shown,
            refresh: Duration::from_hours(1),
            state: state.map(Path::to_owned),
        }
    }

    pub fn authority(&self) -> Authority {
        Authority::open(self.settings(None)).unwrap()
    }

    pub fn credential(&self, server: &Server, change: impl FnOnce(&mut Draft)) -> Arc<Credential> {
        Arc::new(self.attested.credential(server, change))
    }

    pub fn judge(
        &self,
        authority: &Authority,
        server: &Server,
        credential: &Arc<Credential>,
    ) -> Result<(), Rule> {
        authority
            .judge(self.attested.instance(), &server.admitted, credential)
            .map(|_| ())
            .map_err(|refusal| refusal.rule())
    }
}

fn with_status(status: &str, evaluation: u32) -> Platform {
    Platform {
        tcb_status: status.to_owned(),
        tcb_eval: evaluation,
        ..Platform::default()
    }
}

#[test]
fn i3_collateral_is_not_rolled_back() {
    let here = Here::new();
    let authority = here.authority();
    let [first, second, ..] = &here.attested.world.servers[..] else {
        unreachable!()
    };
    let evaluation = Platform::default().tcb_eval;
    let old = here.credential(first, |_| {});
    assert_eq!(here.judge(&authority, first, &old), Ok(()));
    // Intel condemns the platform; the news come with somebody's evidence.
    let news = here.credential(second, |draft| {
        let platform = with_status("OutOfDate", evaluation + 1);
        draft.world = draft.world.clone().platform(platform);
    });
    assert_eq!(here.judge(&authority, second, &news), Err(Rule::TcbStatus));
    // From now on the old collateral, in which all was well, helps nobody:
    // neither who was verified by it nor who comes with it now.
    assert_eq!(here.judge(&authority, first, &old), Err(Rule::TcbStatus));
    let third = &here.attested.world.servers[2];
    let rolled = here.credential(third, |_| {});
    assert_eq!(here.judge(&authority, third, &rolled), Err(Rule::TcbStatus));
    // A process that never heard the news would have taken it.
    assert_eq!(here.judge(&here.authority(), third, &rolled), Ok(()));
}

#[test]
fn expired_collateral_admits_nobody_and_whoever_was_admitted_stays() {
    let here = Here::new();
    let authority = here.authority();
    let [first, second, ..] = &here.attested.world.servers[..] else {
        unreachable!()
    };
    // In force for two more seconds.
    let until = clock() + 2;
    let shown = |server| {
        here.credential(server, |draft| {
            let issued = clock() - 3600;
            draft.world = draft.world.clone().collateral_window(issued, until);
        })
    };
    let (of_first, of_second) = (shown(first), shown(second));
    assert_eq!(here.judge(&authority, first, &of_first), Ok(()));
    while clock() <= until {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(
        here.judge(&authority, second, &of_second),
        Err(Rule::CollateralExpired)
    );
    // Also when it is judged anew, under a later policy.
    here.publish(2);
    authority.reload();
    assert_eq!(authority.policy().serial(), 2);
    assert_eq!(here.judge(&authority, first, &of_first), Ok(()));
}

#[test]
fn a_policy_of_a_lower_serial_is_never_in_force_again() {
    let here = Here::new();
    let state = here.folder.path().join("state");
    let open = || Authority::open(here.settings(Some(&state))).unwrap();
    here.publish(7);
    assert_eq!(open().policy().serial(), 7);
    here.publish(6);
    let authority = open();
    assert_eq!(authority.policy().serial(), 7, "after a restart");
    authority.reload();
    assert_eq!(authority.policy().serial(), 7, "while it runs");
    let signed = |serial| {
        here.intel()
            .sign(&here.intel().policy(serial).unwrap())
            .unwrap()
    };
    assert!(!authority.adopt(&signed(6)));
    assert!(authority.adopt(&signed(8)));
    assert_eq!(open().policy().serial(), 8, "what was adopted is kept");
    // Without the folder nobody knows.
    assert_eq!(here.authority().policy().serial(), 6);
}

#[test]
fn i3_a_partial_needs_the_evidence_of_the_whole_roster() {
    let mut here = Here::new();
    let authority = here.authority();
    let instance = here.attested.instance().clone();
    let state = here.attested.founded_with(2);
    let round = {
        let mut state = state.clone();
        here.attested.world.open_only(&mut state)
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
    let bad = here.attested.world.servers[1].id();
    let unknown = vouch(&instance, Some(&authority), &round, |server| {
        of(server).filter(|_| *server.id() != bad)
    });
    assert!(matches!(unknown, Err(VouchError::Unknown { .. })));
    let debug = here.credential(&here.attested.world.servers[1], |draft| {
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
    here.attested.world.open_only(&mut next);
    let other = here.attested.world.open_only(&mut next);
    let registry = state.clients().clone();
    let fold = here.attested.world.fold(next.current().unwrap(), &[0, 1]);
    let server = &mut here.attested.world.servers[0];
    let pads = zipnet_protocol::PadTable::agree(&server.dh, &registry, None).unwrap();
    let held = agreeing(other.header());
    let guard = &mut server.guard;
    let keys = &server.signing;
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
    let server = &here.attested.world.servers[0];
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
    assert!(!says(&peer(&here.attested.world.servers[1])));
    // It ends with the statement.
    tickets.settle((peer(server), evidence), Verdict::Holds(clock()));
    assert!(!says(&peer(server)));
    assert!(validator.judge(b"no digest", &peer(server)).is_err());
}

#[tokio::test]
async fn a_server_shows_only_what_holds_under_its_own_policy() {
    let here = Here::new();
    let world = here.intel().world().unwrap();
    let server = &here.attested.world.servers[0];
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
        let instance = here.attested.instance().clone();
        own.clone()
            .renew(instance, server.admitted.clone(), circumstances)
    };
    let good = own(Td::default());
    assert!(good.is_due(here.attested.instance(), &server.admitted));
    let standing = renew(&good).await.unwrap();
    assert_eq!((&*standing.image, &*standing.tcb), (IMAGE, "UpToDate"));
    assert!(!good.is_due(here.attested.instance(), &server.admitted));
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
    let server = &here.attested.world.servers[0];
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
