//! Hosts, strangers and operators with machines of their own: the findings of the review, each by
//! its number.

use std::{os::unix::net::UnixStream, path::Path, sync::Arc};

use zipnet_attest::{
    Mode, Policy, Rule, SecretText,
    hexes::Hexes,
    policy::Server,
    provision::{AttemptError, GiveError, GiverKey, Guest, Known, Machines, WireError},
    simulation::{Platform, Td, World},
};

use crate::{
    attacks::{refused_by, told},
    fixture::{COMMITTEE_SECRET, INSTANCE, Setting, attempt, exchange, now},
    raw::{self, ACCEPTED, OFFER, SEALED, between, receive, send},
};

/// An operator of the same committee on other machines.
const ELSEWHERE: [Hexes<16>; 1] = [Hexes([9; 16])];

#[test]
fn f4_whoever_relays_to_a_machine_of_his_own_gets_nothing() {
    let setting = Setting::new("cuckoo");
    let operator = setting.operator();
    let known = Known::Config(&operator.config);
    let give = |machines| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // The same image and the same, public, configuration.
        let guest = attempt(setting.guest(), theirs);
        let mut strict = operator.giver(known);
        strict.machines = machines;
        let given = strict.give(
            ours,
            now(),
            |_| Ok(Arc::new(operator.collateral.clone())),
            |_| Ok(operator.parcel.clone()),
        );
        (guest.join().unwrap(), given.map(|_| ()))
    };
    let (taken, given) = give(Machines::These(&ELSEWHERE));
    assert_eq!(refused_by(given), Rule::PlatformExpected);
    assert!(told(taken).contains("ZA-410"));
    let (taken, given) = give(Machines::Any);
    given.unwrap();
    taken.unwrap();
}

#[test]
fn f1_a_member_gives_to_machines_that_the_policy_lists_and_to_no_others() {
    let setting = Setting::new("members and machines");
    let member = Known::Member {
        instance: INSTANCE,
        mode: Mode::Simulated,
    };
    let give = |policy: &dyn Fn(&mut Policy), name: &str| {
        let operator = setting.operator_by(policy);
        let config = setting.config(&format!("GUEST_HOSTNAME={name}\n"));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let guest = attempt(Guest::new(config, Path::new("/nowhere")).unwrap(), theirs);
        let given = operator.give_as(member, ours).map(|_| ());
        drop(guest.join().unwrap());
        given
    };
    let anywhere = |policy: &mut Policy| policy.platforms = None;
    let given = give(&anywhere, "server-1");
    assert!(matches!(given, Err(GiveError::NoMachines)), "{given:?}");
    let here = Platform::default().platform_instance_id;
    let named = |platform: [u8; 16]| {
        move |policy: &mut Policy| {
            policy.platforms = None;
            policy.servers = Some(vec![Server {
                name: "server-1".to_owned(),
                peer: Hexes([3; 32]),
                platforms: vec![Hexes(platform)],
            }]);
        }
    };
    give(&named(here), "server-1").unwrap();
    let given = give(&named(here), "server-2");
    assert!(matches!(given, Err(GiveError::Nameless(_))), "{given:?}");
    assert_eq!(
        refused_by(give(&named([9; 16]), "server-1")),
        Rule::PlatformExpected
    );
}

#[test]
fn f5_each_message_that_a_host_makes_by_itself_is_refused() {
    let setting = Setting::new("swapped");
    let other = GiverKey::new(&SecretText::from("a committee of the host's"), INSTANCE);
    // The host knows the offer, and the signed policy is public.
    let mut parcel = setting.parcel();
    parcel.committee_secret = SecretText::from("a committee of the host's");
    for swapped in [raw::HELLO, OFFER, SEALED, ACCEPTED] {
        let operator = setting.operator();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (host, door) = UnixStream::pair().unwrap();
        let guest = attempt(setting.guest(), door);
        let message = parcel.pack().unwrap();
        let key = other.public();
        let seen = std::sync::Mutex::new(Vec::new());
        let made = GiverKey::new(&SecretText::from("a committee of the host's"), INSTANCE);
        assert_eq!(made.public(), key);
        let host = between(theirs, host, move |kind, body| {
            if kind == OFFER {
                seen.lock().unwrap().clone_from(&body);
            }
            if kind != swapped {
                return Some(body);
            }
            Some(match kind {
                raw::HELLO => raw::hello([7; 32]),
                OFFER => {
                    // Its own key in the statement of the guest.
                    let mut body = body;
                    body[32 * 4..32 * 5].copy_from_slice(&[5; 32]);
                    body
                }
                SEALED => {
                    let offer = seen.lock().unwrap();
                    let to = offer[32 * 4..32 * 5].try_into().unwrap();
                    let (sealed, _) = made.seal(to, &message, &offer[..200]).unwrap();
                    [&sealed.encapsulated[..], &sealed.ciphertext].concat()
                }
                _ => vec![6; 32],
            })
        });
        let given = operator.give(ours);
        host.join().unwrap();
        let taken = guest.join().unwrap();
        let error = given.unwrap_err();
        match swapped {
            // The guest has what its operator sent, and he is told that he cannot know.
            ACCEPTED => {
                assert!(matches!(error, GiveError::Unproven), "{error:?}");
                assert_eq!(taken.unwrap().committee_secret().expose(), COMMITTEE_SECRET);
            }
            SEALED => {
                assert!(matches!(taken, Err(AttemptError::Sealed)), "{taken:?}");
                assert!(matches!(error, GiveError::Accepted(_)), "{error:?}");
            }
            _ => assert!(taken.is_err()),
        }
    }
}

#[test]
fn f5_a_host_that_keeps_the_secrets_back_cannot_say_that_they_came() {
    let setting = Setting::new("kept back");
    let operator = setting.operator();
    for forged in [vec![], vec![0; 32]] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut host, door) = UnixStream::pair().unwrap();
        let guest = attempt(setting.guest(), door);
        let host = std::thread::spawn(move || {
            let (kind, hello) = receive(&mut theirs).unwrap();
            send(&mut host, kind, &hello).unwrap();
            let (kind, offer) = receive(&mut host).unwrap();
            send(&mut theirs, kind, &offer).unwrap();
            assert_eq!(receive(&mut theirs).unwrap().0, SEALED);
            send(&mut theirs, ACCEPTED, &forged).unwrap();
        });
        let given = operator.give(ours);
        assert!(matches!(given, Err(GiveError::Unproven)), "{given:?}");
        host.join().unwrap();
        assert!(guest.join().unwrap().is_err());
    }
}

#[test]
fn f7_a_guest_whose_clock_is_behind_takes_nothing() {
    let setting = Setting::new("behind");
    let mut operator = setting.operator();
    // Ten minutes are allowed, and the test itself takes some time.
    operator.parcel.time = now() + 700;
    let (taken, given) = exchange(setting.guest(), &operator);
    assert!(matches!(taken, Err(AttemptError::Clock(_))), "{taken:?}");
    let Err(GiveError::Accepted(WireError::Refused(reason))) = given else {
        panic!("{given:?}");
    };
    assert!(reason.contains("behind its giver's"), "{reason}");
    operator.parcel.time = now() + 500;
    exchange(setting.guest(), &operator).0.unwrap();
}

#[test]
fn f8_nothing_is_fetched_for_what_the_policy_could_not_accept() {
    let setting = Setting::new("fetches");
    let operator = setting.operator();
    let asked = |world_of: &dyn Fn() -> World, td_of: &dyn Fn(&mut Td)| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let world = world_of();
        let guest = raw::impostor_in(
            &setting,
            &world,
            &setting.config(""),
            |_| (),
            |td| td_of(td),
            theirs,
        );
        let mut asked = false;
        let given = operator.giver(Known::Config(&operator.config)).give(
            ours,
            now(),
            |_| {
                asked = true;
                Ok(Arc::new(operator.collateral.clone()))
            },
            |_| Ok(operator.parcel.clone()),
        );
        guest.join().unwrap();
        (asked, given.map(|_| ()))
    };
    let good = || setting.publisher.world().unwrap();
    let (fetched, given) = asked(&good, &|_| ());
    assert!(
        fetched && matches!(given, Err(GiveError::Accepted(_))),
        "{given:?}"
    );
    // Another Intel, another image, another machine: each with a model of its own.
    let made_up = || {
        World::builder(b"made up", setting.publisher.issued())
            .build()
            .unwrap()
    };
    let (fetched, given) = asked(&made_up, &|_| ());
    assert!(!fetched);
    assert_eq!(refused_by(given), Rule::CertificateChain);
    let (fetched, given) = asked(&good, &|td| td.mrtd = [7; 48]);
    assert!(!fetched);
    assert_eq!(refused_by(given), Rule::Measurements);
    let elsewhere = || {
        let platform = Platform {
            platform_instance_id: [9; 16],
            fmspc: *b"others",
            ..Platform::default()
        };
        setting
            .publisher
            .builder()
            .platform(platform)
            .build()
            .unwrap()
    };
    let (fetched, given) = asked(&elsewhere, &|_| ());
    assert!(!fetched);
    assert_eq!(refused_by(given), Rule::PlatformUnlisted);
}
