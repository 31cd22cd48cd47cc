//! A small PCCS of simulated worlds, over HTTP on this machine.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use dcap_qvl::QuoteCollateralV3;

use super::World;

/// How long a client may take for its request, and to read the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest request, in bytes.
const MAX_REQUEST: u64 = 8 << 10;

/// Serves what worlds publish, as a PCCS of API version 4, until it is dropped.
///
/// It serves the TCB info of every platform that was published, and the QE
/// identity and the revocation lists of the last world.
#[derive(Debug)]
pub struct Pccs {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    published: Mutex<Published>,
    requests: AtomicUsize,
    ended: AtomicBool,
}

#[derive(Debug, Default)]
struct Published {
    /// By FMSPC in hex, upper case.
    worlds: HashMap<String, Arc<QuoteCollateralV3>>,
    last: Option<Arc<QuoteCollateralV3>>,
    /// What `update=early` yields, if there is something.
    early: Option<Arc<QuoteCollateralV3>>,
    /// What was published before, by FMSPC and TCB evaluation.
    numbered: HashMap<(String, u32), Arc<QuoteCollateralV3>>,
}

impl Pccs {
    /// Serves a world's collateral on a free port of this machine.
    ///
    /// # Errors
    /// If there is no port, or no thread.
    pub fn serve(world: &World) -> io::Result<Self> {
        Self::serve_at(world, (Ipv4Addr::LOCALHOST, 0).into())
    }

    /// Serves a world's collateral at an address, such as one that it had before.
    ///
    /// # Errors
    /// If it cannot be had, or no thread.
    pub fn serve_at(world: &World, address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = thread::Builder::new()
            .name("simulated-pccs".to_owned())
            .spawn(move || shared.accept(&listener))?;
        let pccs = Self {
            address,
            state,
            thread: Some(thread),
        };
        pccs.publish(world);
        Ok(pccs)
    }

    /// Where it is, as `fetch::Source` takes it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves another world's collateral from now on: in place of the one with
    /// the same FMSPC, or beside it.
    pub fn publish(&self, world: &World) {
        let collateral = Arc::new(world.collateral().clone());
        let fmspc = hex::encode_upper(world.platform().fmspc);
        let number = world.platform().tcb_eval;
        let mut published = self.state.published();
        let numbered = (fmspc.clone(), number);
        published.numbered.insert(numbered, Arc::clone(&collateral));
        published.worlds.insert(fmspc, Arc::clone(&collateral));
        published.last = Some(collateral);
    }

    /// Serves a world's TCB info and QE identity to whoever asks for Intel's
    /// early track.
    pub fn publish_early(&self, world: &World) {
        self.state.published().early = Some(Arc::new(world.collateral().clone()));
    }

    /// How many requests it has answered. A `fetch::Source` asks
    /// four times.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Pccs {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the thread.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn published(&self) -> MutexGuard<'_, Published> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(stream), state) = (stream, Arc::clone(self)) else {
                continue;
            };
            // A client that hangs keeps nobody else waiting; one that goes
            // away is its own affair.
            let answering = thread::Builder::new().spawn(move || state.answer(&stream));
            drop(answering);
        }
    }

    fn answer(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // No GET has a body, so what is read too much is nothing.
        let mut request = String::new();
        for line in BufReader::new(stream).take(MAX_REQUEST).lines() {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if request.is_empty() {
                request = line;
            }
        }
        let mut words = request.split_whitespace();
        let (method, path) = (words.next(), words.next().unwrap_or_default());
        let answer = self.look_up(path).filter(|_| method == Some("GET"));
        self.requests.fetch_add(1, Ordering::SeqCst);
        let mut stream = stream;
        stream.write_all(&answer.unwrap_or_else(|| {
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
        }))
    }

    fn look_up(&self, path: &str) -> Option<Vec<u8>> {
        let published = self.published();
        let last = published.last.as_ref()?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let asked = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(key, value)| (key == name).then_some(value))
        };
        // By track or by number, if that was asked for.
        let by = |fmspc: &str| match (asked("update"), asked("tcbEvaluationDataNumber")) {
            (Some("early"), None) => published.early.as_ref().map(Some),
            (_, Some(number)) => Some(
                number
                    .parse()
                    .ok()
                    .and_then(|number| published.numbered.get(&(fmspc.to_owned(), number))),
            ),
            _ => None,
        };
        Some(match path {
            "/tdx/certification/v4/tcb" => {
                let fmspc = asked("fmspc")?.to_uppercase();
                let world = match by(&fmspc) {
                    Some(found) => found?,
                    None => published.worlds.get(&fmspc)?,
                };
                let body = signed("tcbInfo", &world.tcb_info, &world.tcb_info_signature);
                let chain = &world.tcb_info_issuer_chain;
                whole(Some(("TCB-Info-Issuer-Chain", chain)), body.as_bytes())
            }
            "/tdx/certification/v4/qe/identity" => {
                let of = published
                    .numbered
                    .keys()
                    .next()
                    .map(|(fmspc, _)| fmspc.clone());
                let last = match by(&of.unwrap_or_default()) {
                    Some(found) => found?,
                    None => last,
                };
                let signature = &last.qe_identity_signature;
                let body = signed("enclaveIdentity", &last.qe_identity, signature);
                let chain = &last.qe_identity_issuer_chain;
                let header = "SGX-Enclave-Identity-Issuer-Chain";
                whole(Some((header, chain)), body.as_bytes())
            }
            "/sgx/certification/v4/pckcrl" if asked("ca")? == "platform" => {
                let chain = &last.pck_crl_issuer_chain;
                whole(Some(("SGX-PCK-CRL-Issuer-Chain", chain)), &last.pck_crl)
            }
            // In hex, as Intel's PCCS has it.
            "/sgx/certification/v4/rootcacrl" => {
                whole(None, hex::encode(&last.root_ca_crl).as_bytes())
            }
            _ => return None,
        })
    }
}

fn signed(part: &str, text: &str, signature: &[u8]) -> String {
    let signature = hex::encode(signature);
    format!(r#"{{"{part}":{text},"signature":"{signature}"}}"#)
}

/// An answer with a chain in a header.
fn whole(header: Option<(&str, &str)>, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    if let Some((name, chain)) = header {
        let _ = write!(answer, "{name}: ");
        for byte in chain.bytes() {
            // Writing to a string has no way to fail.
            let _ = if byte.is_ascii_alphanumeric() {
                write!(answer, "{}", char::from(byte))
            } else {
                write!(answer, "%{byte:02X}")
            };
        }
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    answer.extend_from_slice(body);
    answer
}
