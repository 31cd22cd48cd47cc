//! A deterministic simulation of the committee and its clients.
//!
//! Real are: `CommitteeState`, `Guard`, `Sealer`, `Fold`, every signature, pad and
//! record. Made up are the clock, the network, and the log: one that only survives
//! crashes, as mosaik's. Its entries get lost, its leader may show every server
//! another one, a partition lets both halves go on, and afterwards one half's log
//! wins while states stay as they are. On each event the invariants are checked
//! ([`watch`]) over everything that happened anywhere. All chance comes from one seed.
//!
//! **Why no crate for this.** `madsim` and `turmoil` put simulated sockets and clocks
//! under an async program: mosaik brings a QUIC stack of its own, which neither of them
//! carries, and our rules are pure types without a socket. `proptest-state-machine`
//! drives one machine through transitions and shrinks them; here some ten machines
//! exchange messages, and what goes wrong depends on who hears what when. A heap of
//! events and twenty lines of `SplitMix64` is all that is left to write, runs at the
//! speed of the signatures, and a seed means the same for as long as this code stands.
//!
//! **Again.** A violation prints the command that repeats it.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "everything that is indexed or expected here was made here; otherwise the test is wrong and fails"
)]

pub mod byzantine;
pub mod cast;
pub mod client;
pub mod engine;
mod floors;
pub mod held;
pub mod queue;
pub mod rng;
pub mod rule;
pub mod server;
pub mod watch;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

pub use cast::Shape;
use engine::Engine;
use rule::{AtEveryRound, BUDGET, FateFirst, Rule};
pub use watch::{Seen, Violation};

/// What is simulated.
#[derive(Clone)]
pub struct Plan {
    /// The committee.
    pub shape: Shape,
    /// Rounds that are finalized in one simulation.
    pub rounds: u64,
    /// Byzantine servers.
    pub byzantine: usize,
    /// How often these lie: of a thousand occasions.
    pub lies: u32,
    /// Whether the leader of the log may show different logs.
    pub log_lies: bool,
    /// Whether the aggregator hands different aggregates to different servers.
    pub aggregator_lies: bool,
    /// How clients decide.
    pub rule: fn(u64) -> Box<dyn Rule>,
    /// Whether that rule says each message once (I14).
    pub fate_first: bool,
    /// How often it seals a message, at most (I16).
    pub budget: Option<u64>,
}

impl Plan {
    /// One of the committees that a seed may stand for.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        // Half of them with leaves.
        let shape = Shape {
            leaves: if seed / 4 % 2 == 1 { 2 } else { 0 },
            ..Shape::default()
        };
        let whole = Self {
            shape,
            rounds: 100,
            byzantine: 1,
            lies: 30,
            log_lies: true,
            aggregator_lies: true,
            rule: |seed| Box::new(FateFirst::new(seed)),
            fate_first: true,
            budget: Some(BUDGET.into()),
        };
        match seed % 4 {
            0 => whole,
            1 => Self {
                byzantine: 0,
                ..whole
            },
            // Two of three are enough: nobody lies, but servers forget and part.
            2 => Self {
                shape: Shape {
                    min_servers: Some(2),
                    ..shape
                },
                byzantine: 0,
                ..whole
            },
            _ => Self {
                shape: Shape {
                    servers: 4,
                    clients: 4,
                    ..shape
                },
                byzantine: 2,
                ..whole
            },
        }
    }

    /// The same with the clients of release 0.1.0.
    #[must_use]
    pub fn of_release_0_1_0(self) -> Self {
        Self {
            rule: |_| Box::<AtEveryRound>::default(),
            budget: None,
            ..self
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn run(&self, seed: u64) -> Result<Seen, Violation> {
        // One thread, so that partials are computed where they are asked for.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.expect("a thread");
        let _named = Named(seed);
        pool.install(|| Engine::new(self, seed).run())
    }
}

/// Says which seed a panic belongs to.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("  in the simulation of ZIPNET_SIM_SEED={}", self.0);
        }
    }
}

/// Runs simulations from `first` on, over all processors, until so many rounds were
/// opened.
///
/// # Errors
/// The first [`Violation`].
pub fn run_many(
    first: u64,
    rounds: u64,
    plan: impl Fn(u64) -> Plan + Sync,
) -> Result<Seen, Violation> {
    let next = AtomicU64::new(first);
    let total = Mutex::new((Seen::default(), None));
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    {
                        let total = total.lock().unwrap_or_else(PoisonError::into_inner);
                        if total.1.is_some() || total.0.opened >= rounds {
                            return;
                        }
                    }
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let outcome = plan(seed).run(seed);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    match outcome {
                        Ok(one) => total.0.add(&one),
                        Err(violation) => total.1 = Some(violation),
                    }
                }
            });
        }
    });
    let (seen, violation) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    violation.map_or(Ok(seen), Err)
}
