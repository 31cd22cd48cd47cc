//! Servers that answer wrongly, too much, too late or not at all.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use zipnet_attest::{
    Collateral, Rule, Shelf, TrustRoot,
    fetch::{FetchError, Source},
    simulation::{Pccs, World},
    store::Put,
    trusted_alone,
};

use super::{HERE, ISSUED, NOW, STANDARD, hasty, rated, source, world};

type Answer = dyn Fn(&str, &mut TcpStream) + Send + Sync;

/// Answers each request with a closure, which is given the path. The thread
/// ends with the process.
fn serve(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer: Arc<Answer> = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            thread::spawn(move || {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                answer(path, &mut stream);
                let _ = stream.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

/// What a good server answers.
fn good(pccs: &Pccs, path: &str) -> Vec<u8> {
    let address = pccs.address();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// A good server's answers, those to paths with `of` in them changed.
fn change(of: &'static str, change: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> String {
    let pccs = Pccs::serve(&world()).unwrap();
    serve(move |path, stream| {
        let mut answer = good(&pccs, path);
        if path.contains(of) {
            answer = change(answer);
        }
        let _ = stream.write_all(&answer);
    })
}

/// The error of a fetch, which has to name the server.
fn error(address: &str) -> FetchError {
    error_of(&source(address), address)
}

/// That a fetch by somebody hasty ends soon, as it says why.
fn assert_late(address: &str) {
    let began = Instant::now();
    let error = error_of(&hasty(address), address);
    assert!(matches!(error, FetchError::Late { .. }), "{error:?}");
    // With room for a machine that is busy.
    assert!(began.elapsed() < Duration::from_secs(9), "{error}");
}

fn error_of(source: &Source, address: &str) -> FetchError {
    let error = source.fetch(HERE, &STANDARD).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(address), "{text}");
    assert!(text.contains("would be right"), "{text}");
    error
}

fn replaced(answer: &[u8], from: &str, to: &str) -> Vec<u8> {
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    assert!(answer.contains(from), "{answer}");
    answer.replace(from, to).into_bytes()
}

/// An answer with a body.
fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn an_endless_body_is_cut_off() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n",
    ] {
        let address = serve(move |_, stream| {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(&[b' '; 8192]).is_ok() {}
        });
        let error = error(&address);
        assert!(matches!(error, FetchError::LongBody { .. }), "{error:?}");
    }
}

#[test]
fn an_endless_chunked_body_is_cut_off() {
    let address = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"1000\r\n", &[b' '; 4096][..], b"\r\n"].concat();
        while stream.write_all(&chunk).is_ok() {}
    });
    let error = error(&address);
    assert!(matches!(error, FetchError::LongBody { .. }), "{error:?}");
}

#[test]
fn a_header_that_is_too_long_is_cut_off() {
    for line in ["a", "a: b\r\n"] {
        let address = serve(move |_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            while stream.write_all(line.repeat(10_000).as_bytes()).is_ok() {}
        });
        // Too many lines are no HTTP to ureq, before they are too long.
        let error = error(&address);
        let cut = matches!(
            error,
            FetchError::LongHeader { .. } | FetchError::Unreachable { .. }
        );
        assert!(cut, "{error:?}");
    }
}

#[test]
fn a_server_that_hangs_or_drips_is_left() {
    let silent = serve(|_, _| thread::sleep(Duration::from_secs(30)));
    let dripping = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let dripping_head = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        while stream.write_all(b"a").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    for address in [silent, dripping, dripping_head] {
        assert_late(&address);
    }
}

#[test]
fn what_speaks_no_tls_is_no_https_server() {
    let plain = serve(|_, stream| {
        let _ = stream.write_all(&ok(b"{}"));
    });
    let silent = serve(|_, _| thread::sleep(Duration::from_secs(30)));
    let secure = |address: String| address.replace("http:", "https:");
    let plain = error(&secure(plain));
    assert!(matches!(plain, FetchError::Unreachable { .. }), "{plain:?}");
    assert_late(&secure(silent));
}

#[test]
fn four_slow_answers_are_too_late_together() {
    let pccs = Pccs::serve(&world()).unwrap();
    let address = serve(move |path, stream| {
        thread::sleep(Duration::from_millis(900));
        let _ = stream.write_all(&good(&pccs, path));
    });
    assert_late(&address);
}

#[test]
fn a_server_that_closes_early_or_is_not_there_is_unreachable() {
    let closed = serve(|_, _| {});
    let cut = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
    });
    let junk = serve(|_, stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n");
    });
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for address in [closed, cut, junk, nobody] {
        let error = error(&address);
        assert!(matches!(error, FetchError::Unreachable { .. }), "{error:?}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    for status in [301, 302, 307, 404, 500, 204] {
        let address = serve(move |_, stream| {
            let location = "Location: file:///etc/passwd";
            let _ = write!(stream, "HTTP/1.1 {status} x\r\n{location}\r\n\r\n");
        });
        let error = error(&address);
        let FetchError::Status { status: found, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(found, status);
    }
}

#[test]
fn an_answer_without_its_chain_is_named() {
    for (of, header) in [
        ("tcb?", "TCB-Info-Issuer-Chain"),
        ("identity", "SGX-Enclave-Identity-Issuer-Chain"),
    ] {
        let missing = change(of, |answer| {
            replaced(&answer, header_of(&answer), "X-Other")
        });
        let binary = change(of, |answer| replaced(&answer, "BEGIN", "%FF%FE"));
        for address in [missing, binary] {
            let error = error(&address);
            let FetchError::Chain { header: found, .. } = error else {
                panic!("{error:?}");
            };
            assert_eq!(found, header);
        }
    }
}

fn header_of(answer: &[u8]) -> &'static str {
    let names = ["SGX-Enclave-Identity-Issuer-Chain", "TCB-Info-Issuer-Chain"];
    let answer = String::from_utf8_lossy(answer);
    names
        .into_iter()
        .find(|name| answer.contains(name))
        .unwrap()
}

#[test]
fn an_older_name_of_a_header_and_other_forms_of_a_list_are_read() {
    let name = "TCB-Info-Issuer-Chain";
    let older = change("tcb?", move |answer| {
        replaced(&answer, name, "SGX-TCB-Info-Issuer-Chain")
    });
    let wanted = Collateral::new(world().collateral().clone()).unwrap();
    assert_eq!(source(&older).fetch(HERE, &STANDARD).unwrap(), wanted);
    let der = change("rootcacrl", |_| ok(&world().collateral().root_ca_crl));
    assert_eq!(source(&der).fetch(HERE, &STANDARD).unwrap(), wanted);
    let hex = change("rootcacrl", |_| {
        let list = hex::encode_upper(&world().collateral().root_ca_crl);
        ok(format!("{list}\n").as_bytes())
    });
    assert_eq!(source(&hex).fetch(HERE, &STANDARD).unwrap(), wanted);
}

#[test]
fn junk_instead_of_a_part_is_named() {
    for of in ["tcb?", "identity"] {
        let junk = change(of, |answer| replaced(&answer, "{\"", "[\""));
        let unsigned = change(of, |answer| {
            replaced(&answer, "\"signature\"", "\"signed by\"")
        });
        let nested = change(of, |answer| {
            let end = answer.len() - 400;
            let mut deep = answer;
            deep[end..].fill(b'[');
            deep
        });
        for address in [junk, unsigned, nested] {
            let error = error(&address);
            assert!(matches!(error, FetchError::Json { .. }), "{error:?}");
        }
    }
    for body in [&b""[..], b"0", b"3082", b"zz", b"\xff\0", b"<html>"] {
        let body = body.to_vec();
        let address = change("rootcacrl", move |_| ok(&body));
        let error = error(&address);
        let named = matches!(error, FetchError::List { .. } | FetchError::Form { .. });
        assert!(named, "{error:?}");
    }
    let undated = change("tcb?", |answer| replaced(&answer, "issueDate", "issueDatf"));
    let error = error(&undated);
    assert!(matches!(error, FetchError::Form { .. }), "{error:?}");
}

#[test]
fn collateral_of_another_platform_is_not_taken_for_the_one_asked_for() {
    let fmspc = |of: &[u8]| hex::encode_upper(of);
    let address = change("tcb?", move |answer| {
        replaced(&answer, &fmspc(b"SIMFMS"), &fmspc(b"others"))
    });
    let error = error(&address);
    assert!(matches!(error, FetchError::Other { .. }), "{error:?}");
}

/// A server that has the first world's TCB info and the rest of the second's.
fn mixed(tcb_info: &World, rest: &World) -> String {
    let (tcb_info, rest) = (Pccs::serve(tcb_info).unwrap(), Pccs::serve(rest).unwrap());
    serve(move |path, stream| {
        let pccs = if path.contains("tcb?") {
            &tcb_info
        } else {
            &rest
        };
        let _ = stream.write_all(&good(pccs, path));
    })
}

#[test]
fn parts_of_two_editions_do_not_take_a_shelf_back() {
    let (older, newer) = (world(), rated("OutOfDate", 21));
    let root = TrustRoot::Other(newer.root_der().to_vec());
    let shelf = Shelf::new();
    let put = |address: &str| {
        let found = source(address).fetch(HERE, &STANDARD).unwrap();
        shelf.put(trusted_alone(&root, &found, NOW).unwrap(), None)
    };
    // As Intel itself has it for some hours: TCB info first.
    assert_eq!(put(&mixed(&newer, &older)).unwrap(), Put::Stored);
    let pccs = Pccs::serve(&newer).unwrap();
    assert_eq!(put(&pccs.address()).unwrap(), Put::Stored);
    for back in [mixed(&older, &newer), mixed(&newer, &older)] {
        assert_eq!(put(&back).unwrap(), Put::Older);
    }
    let found = shelf.get(HERE).unwrap().unwrap();
    let wanted = Collateral::new(newer.collateral().clone()).unwrap();
    assert_eq!(*found, wanted);
}

#[test]
fn parts_of_two_worlds_are_refused_by_who_verifies_them() {
    let (ours, theirs) = (world(), World::builder(b"other", ISSUED).build().unwrap());
    let root = TrustRoot::Other(ours.root_der().to_vec());
    for (address, rule) in [
        (mixed(&theirs, &ours), Rule::CertificateChain),
        (mixed(&ours, &theirs), Rule::CollateralSignature),
    ] {
        let found = source(&address).fetch(HERE, &STANDARD).unwrap();
        let refusal = trusted_alone(&root, &found, NOW).unwrap_err();
        assert_eq!(refusal.rule(), rule, "{refusal}");
    }
}
