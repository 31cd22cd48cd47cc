//! Connections that end, wires that lie, strangers who come first: nothing
//! half-provisioned, nothing lost.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use zipnet_attest::{
    Mode,
    provision::{
        AttemptError, GiveError, Known, Limits, ObtainError, RelayError, Side, WireError, relay,
    },
    report::chain,
};

use crate::{
    fixture::{COMMITTEE_SECRET, Operator, SECRET, Setting, attempt, exchange, now},
    raw::{self, ACCEPTED, HELLO, OFFER, SEALED, between, receive, send},
};

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(20);

fn quick() -> Limits {
    Limits {
        within: LONG,
        attempts: 3,
        pause: Duration::from_millis(1),
        dial: Duration::from_millis(50),
    }
}

#[test]
fn a_connection_that_ends_in_any_step_leaves_nothing_and_loses_nothing() {
    let setting = Setting::new("ends");
    let operator = setting.operator();
    for last in [HELLO, OFFER, SEALED, ACCEPTED] {
        let start = Instant::now();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (host, door) = UnixStream::pair().unwrap();
        let guest = attempt(setting.guest(), door);
        let host = between(theirs, host, move |kind, body| {
            (kind != last).then_some(body)
        });
        let given = operator.give(ours);
        host.join().unwrap();
        let taken = guest.join().unwrap();
        let error = given.unwrap_err();
        assert!(error.wire().is_some(), "{error:?}");
        let line = chain(&error);
        assert!(
            !line.contains("swordfish") && !line.contains('\n'),
            "{line}"
        );
        if last == ACCEPTED {
            // The guest has them; its giver does not know.
            assert_eq!(taken.unwrap().secret().expose(), SECRET);
            assert!(line.contains("does no harm"), "{line}");
        } else {
            let line = chain(&taken.unwrap_err());
            assert!(line.contains("closed the connection"), "{line}");
            assert!(
                !line.contains("swordfish") && !line.contains('\n'),
                "{line}"
            );
        }
        assert!(start.elapsed() < LONG);
        // The same operator tries again.
        let (taken, given) = exchange(setting.guest(), &operator);
        taken.unwrap();
        given.unwrap();
    }
}

#[test]
fn what_cannot_be_kept_is_not_accepted() {
    let setting = Setting::new("kept");
    let operator = setting.operator();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("provisioned");
    let give = || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (guest, out) = (setting.guest(), out.clone());
        let guest = thread::spawn(move || guest.attempt(theirs, |given| Ok(given.store(&out)?)));
        let given = operator.give(ours);
        (guest.join().unwrap(), given)
    };
    let (taken, given) = give();
    taken.unwrap();
    given.unwrap();
    let names = [
        ("committee-secret", COMMITTEE_SECRET),
        ("secret", SECRET),
        ("policy.json", "\"serial\": 1"),
        ("policy.json.minisig", "untrusted comment"),
    ];
    for (name, text) in names {
        let path = out.join(name);
        assert!(std::fs::read_to_string(&path).unwrap().contains(text));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400, "{name}");
    }
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), names.len());
    let before = std::fs::metadata(&out).unwrap().modified().unwrap();
    // A second time there is no room for it.
    let (taken, given) = give();
    assert!(matches!(taken, Err(AttemptError::Keep(_))), "{taken:?}");
    let refused = matches!(given, Err(GiveError::Accepted(WireError::Refused(_))));
    assert!(refused, "{given:?}");
    assert_eq!(std::fs::metadata(&out).unwrap().modified().unwrap(), before);
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1, "nothing unfinished");
}

/// A guest that waits at a door.
struct Guarded {
    address: SocketAddr,
    said: Arc<Mutex<Vec<String>>>,
    guest: thread::JoinHandle<Result<String, ObtainError>>,
}

fn waiting(setting: &Setting, limits: Limits) -> Guarded {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let guest = setting.guest();
    let said = Arc::new(Mutex::new(Vec::new()));
    let say = said.clone();
    let guest = thread::spawn(move || {
        guest.obtain(
            Some(&listener),
            &[],
            &limits,
            |given| Ok(given.committee_secret().expose().to_owned()),
            |line| say.lock().unwrap().push(line.to_owned()),
        )
    });
    Guarded {
        address,
        said,
        guest,
    }
}

fn give_over_tcp(
    operator: &Operator,
    known: Known<'_>,
    stream: TcpStream,
) -> Result<(), GiveError> {
    let collateral = Arc::new(operator.collateral.clone());
    operator
        .giver(known)
        .give(
            stream,
            now(),
            |_| Ok(collateral),
            |_| Ok(operator.parcel.clone()),
        )
        .map(|_| ())
}

/// A stranger who has a quote made and gives nothing for it.
fn stranger(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = raw::hello([1; 32]);
    let head = [&[HELLO][..], &64_u32.to_be_bytes()].concat();
    stream.write_all(&[head, body].concat()).unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[0], OFFER);
}

#[test]
fn a_guest_goes_on_waiting_when_strangers_come_first() {
    let setting = Setting::new("strangers first");
    let Guarded {
        address,
        said,
        guest,
    } = waiting(&setting, quick());
    // Who asks for nothing does not count, however many there are.
    for _ in 0..10 {
        drop(TcpStream::connect(address).unwrap());
    }
    let mut web = TcpStream::connect(address).unwrap();
    web.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    stranger(address);
    stranger(address);
    let operator = setting.operator();
    let stream = TcpStream::connect(address).unwrap();
    give_over_tcp(&operator, Known::Config(&operator.config), stream).unwrap();
    assert_eq!(guest.join().unwrap().unwrap(), COMMITTEE_SECRET);
    let said = said.lock().unwrap();
    assert_eq!(said.len(), 14, "{said:#?}");
    assert!(said.iter().all(|line| !line.contains("swordfish")));
    assert!(said[13].ends_with("gave the secrets"), "{said:#?}");
}

#[test]
fn strangers_get_so_many_quotes_and_no_more() {
    let setting = Setting::new("attempts");
    let door = waiting(&setting, quick());
    for _ in 0..3 {
        stranger(door.address);
    }
    let refused = door.guest.join().unwrap();
    assert!(
        matches!(refused, Err(ObtainError::Attempts(3))),
        "{refused:?}"
    );
}

#[test]
fn a_guest_that_nobody_visits_gives_up() {
    let setting = Setting::new("nobody");
    let limits = Limits {
        within: Duration::from_millis(200),
        ..quick()
    };
    let start = Instant::now();
    let late = waiting(&setting, limits).guest.join().unwrap();
    assert!(matches!(late, Err(ObtainError::Late(_))), "{late:?}");
    assert!(start.elapsed() < LONG);
}

#[test]
fn a_guest_asks_its_peers_until_one_gives() {
    let setting = Setting::new("peers");
    let operator = setting.operator();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let peers = [nobody.local_addr().unwrap(), listener.local_addr().unwrap()];
    drop(nobody);
    let member = thread::spawn(move || {
        let mut operator = operator;
        operator.parcel.secret = None;
        // Hangs up on more guests than a stranger may send away.
        for _ in 0..4 {
            let (mut stream, _) = listener.accept().unwrap();
            let head = [&[HELLO][..], &64_u32.to_be_bytes()].concat();
            let hello = [head, raw::hello([2; 32])].concat();
            stream.write_all(&hello).unwrap();
            let mut head = [0; 5];
            stream.read_exact(&mut head).unwrap();
        }
        let (stream, _) = listener.accept().unwrap();
        let known = Known::Member {
            instance: "zipnet.provision.test",
            mode: Mode::Simulated,
        };
        give_over_tcp(&operator, known, stream)
    });
    let given = setting
        .guest()
        .obtain(None, &peers, &quick(), |given| Ok(given.clone()), |_| ());
    let given = given.unwrap();
    member.join().unwrap().unwrap();
    assert_eq!(given.committee_secret().expose(), COMMITTEE_SECRET);
    // It made a seed of its own.
    assert_eq!(given.secret().expose().len(), 64);
}

#[test]
fn a_relay_passes_on_secrets_and_refusals_and_reads_neither() {
    let setting = Setting::new("relay");
    let member = |operator: Operator, stream: UnixStream| {
        thread::spawn(move || {
            let known = Known::Member {
                instance: "zipnet.provision.test",
                mode: Mode::Simulated,
            };
            operator.give_as(known, stream).map(|_| ())
        })
    };
    let run = |operator: Operator| {
        let (giver, relay_giver) = UnixStream::pair().unwrap();
        let (relay_guest, guest) = UnixStream::pair().unwrap();
        let member = member(operator, giver);
        let guest = attempt(setting.guest(), guest);
        let relayed = relay(relay_giver, relay_guest);
        (relayed, member.join().unwrap(), guest.join().unwrap())
    };
    let (relayed, given, taken) = run(setting.operator());
    relayed.unwrap();
    given.unwrap();
    assert_eq!(taken.unwrap().committee_secret().expose(), COMMITTEE_SECRET);
    let condemned = setting.operator_by(|policy| policy.tcb.min_evaluation = 1000);
    let (relayed, given, taken) = run(condemned);
    let Err(RelayError::Refused { side, reason }) = relayed else {
        panic!("{relayed:?}");
    };
    assert_eq!(side, Side::Giver);
    assert!(reason.contains("ZA-308"), "{reason}");
    assert!(given.is_err() && taken.is_err());
    let mut operator = setting.operator();
    operator.parcel.policy = Setting::new("another").policy_file();
    let (relayed, given, taken) = run(operator);
    let refused = matches!(
        relayed,
        Err(RelayError::Refused {
            side: Side::Guest,
            ..
        })
    );
    assert!(refused, "{relayed:?}");
    assert!(given.is_err() && taken.is_err());
}

/// Writes bytes to one side and ends; that side has to end too.
fn feed(bytes: &[u8], stream: UnixStream) {
    let mut stream = stream;
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}

/// Bytes that get past the first look more often than any bytes do.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = || proptest::collection::vec(any::<u8>(), 0..400);
    let framed = (0..7_u8, any_bytes()).prop_map(|(kind, body)| {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[kind][..], &length, &body].concat()
    });
    let greeting = framed.clone().prop_map(|rest| {
        let hello = raw::hello([3; 32]);
        [&[HELLO][..], &64_u32.to_be_bytes(), &hello, &rest].concat()
    });
    prop_oneof![any_bytes(), framed, greeting]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_on_the_wire_end_in_an_error(bytes in wire()) {
        let setting = Setting::new("any bytes");
        let start = Instant::now();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let guest = attempt(setting.guest(), theirs);
        feed(&bytes, ours);
        prop_assert!(guest.join().unwrap().is_err());
        let operator = setting.operator();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let giver = thread::spawn(move || operator.give(ours).map(|_| ()));
        feed(&bytes, theirs);
        prop_assert!(giver.join().unwrap().is_err());
        prop_assert!(start.elapsed() < LONG);
    }

    #[test]
    fn no_flipped_bit_on_the_wire_is_accepted(
        kind in 1..4_u8,
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let setting = Setting::new("flipped bits");
        let operator = setting.operator();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (host, door) = UnixStream::pair().unwrap();
        let guest = attempt(setting.guest(), door);
        let host = between(theirs, host, move |this, mut body| {
            if this == kind {
                let mut at = at.index(body.len());
                if kind == OFFER {
                    // Of a quote some bytes are no one's, such as line ends
                    // in certificates; it has tests of its own.
                    let quote = u32::from_be_bytes(body[200..204].try_into().unwrap());
                    let config = 204 + usize::try_from(quote).unwrap();
                    if at >= 204 && at < config {
                        at = config + at % (body.len() - config);
                    }
                }
                body[at] ^= 1 << bit;
            }
            Some(body)
        });
        let given = operator.give(ours);
        host.join().unwrap();
        prop_assert!(guest.join().unwrap().is_err());
        prop_assert!(given.is_err());
    }
}

#[test]
fn a_refusal_does_not_move_the_operators_cursor() {
    let setting = Setting::new("escaped");
    let operator = setting.operator();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let giver = thread::spawn(move || operator.give(ours).map(|_| ()));
    receive(&mut theirs).unwrap();
    send(&mut theirs, raw::REFUSED, b"not \x1b[2Jnow").unwrap();
    let error = giver.join().unwrap().unwrap_err();
    let Some(WireError::Refused(reason)) = error.wire() else {
        panic!("{error:?}");
    };
    assert_eq!(reason, "not \\u{1b}[2Jnow");
}
