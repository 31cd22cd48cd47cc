//! The host's quote service: it answers the requests of `/dev/faketsm` as planned.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    unistd::{Pid, gettid},
};
use zipnet_attest::{QuoteSource as _, simulation::SimulatedTd, tsm::DEFAULT_ROOT};

use crate::guest::is_blocked;

const DEVICE: &str = "/dev/faketsm";

/// How long others may take to get to where they are waited for; the driver waits
/// for 30 s.
const LIMIT: Duration = Duration::from_secs(20);

/// How a request is answered. One without a plan gets a [`Answer::Quote`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// A quote over its report data.
    Quote,
    /// The same, cut or filled with zeros to this many bytes.
    Sized(usize),
    /// A quote over other report data.
    OfOtherData,
    /// An error.
    Failure(Errno),
    /// None: the driver's time runs out.
    Silence,
    /// A quote, once one of these threads waits for the kernel.
    OnceBlocked(Arc<Mutex<Vec<Pid>>>),
    /// A quote, once somebody else is about to write other report data to the entry.
    Raced,
}

/// What is planned and what has been asked.
#[derive(Debug, Default)]
struct Plan {
    answers: VecDeque<Answer>,
    asked: usize,
}

/// The service, running.
#[derive(Debug, Clone, Default)]
pub struct Service(Arc<Mutex<Plan>>);

impl Service {
    /// Starts to answer with quotes of a simulated TD.
    pub fn start(td: SimulatedTd) -> io::Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open(DEVICE)?;
        let service = Self::default();
        let answering = service.clone();
        thread::Builder::new().spawn(move || {
            answering
                .run(device, &td)
                .inspect_err(|error| eprintln!("the quote service ends: {error}"))
        })?;
        Ok(service)
    }

    /// Plans the next answers, and counts requests from 0 again.
    pub fn plan(&self, answers: impl IntoIterator<Item = Answer>) {
        *self.lock() = Plan {
            answers: answers.into_iter().collect(),
            asked: 0,
        };
    }

    /// Requests since the last plan.
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Answer {
        let mut plan = self.lock();
        plan.asked += 1;
        plan.answers.pop_front().unwrap_or(Answer::Quote)
    }

    fn run(&self, mut device: File, td: &SimulatedTd) -> io::Result<()> {
        loop {
            let mut report_data = [0; 64];
            device.read_exact(&mut report_data)?;
            let answer = self.next();
            match answer {
                Answer::Silence => continue,
                Answer::Failure(errno) => {
                    device.write_all(&(-(errno as i32)).to_ne_bytes())?;
                    continue;
                }
                _ => {}
            }
            let data = match answer {
                Answer::OfOtherData => report_data.map(|byte| !byte),
                _ => report_data,
            };
            let mut quote = td.quote(&data).map_err(io::Error::other)?;
            let mut interloper = None;
            match answer {
                Answer::Sized(length) => quote.resize(length, 0),
                Answer::OnceBlocked(threads) => until(|| {
                    let threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
                    threads.iter().any(|thread| is_blocked(*thread))
                })?,
                Answer::Raced => interloper = Some(interlope()?),
                _ => {}
            }
            device.write_all(&[&0_i32.to_ne_bytes()[..], &quote].concat())?;
            if let Some(interloper) = interloper {
                let end = interloper.join();
                end.map_err(|_| io::Error::other("the interloper panicked"))??;
            }
        }
    }
}

/// A thread that writes other report data to the one entry that there is. When
/// this returns, it waits for the kernel to be through with the present request.
fn interlope() -> io::Result<thread::JoinHandle<io::Result<()>>> {
    let entry = fs::read_dir(DEFAULT_ROOT)?
        .next()
        .ok_or_else(|| io::Error::other("a request without an entry"))??;
    let write = move |started: &Sender<Pid>| {
        let mut inblob = OpenOptions::new()
            .write(true)
            .open(entry.path().join("inblob"))?;
        inblob.write_all(&[0xee; 64])?;
        // configfs hands it over when it is closed, which is now.
        let _ = started.send(gettid());
        drop(inblob);
        Ok(())
    };
    let (started, thread) = mpsc::channel();
    let interloper = thread::Builder::new().spawn(move || write(&started))?;
    let thread = thread.recv().map_err(io::Error::other)?;
    until(|| is_blocked(thread))?;
    Ok(interloper)
}

/// Waits for a condition.
fn until(mut holds: impl FnMut() -> bool) -> io::Result<()> {
    let end = Instant::now() + LIMIT;
    while !holds() {
        if Instant::now() >= end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
