//! The questions, and their answers as JSON.

use std::{
    env,
    error::Error,
    fs,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{errno::Errno, unistd::gettid};
use serde_json::{Value, json};
use zipnet_attest::{
    Evidence, Statement, report,
    simulation::{SimulatedTd, Td, World},
    tsm::{DEFAULT_ROOT, TsmError, TsmSource},
};

use crate::{
    UNPRIVILEGED, guest,
    service::{Answer, Service},
};

/// Largest quote that configfs hands out, in bytes (`TSM_OUTBLOB_MAX` of `tsm.h`).
const OUTBLOB_MAX: usize = 32 << 10;
/// Requests of one call, and no pause between them.
const ATTEMPTS: u32 = 3;
/// A user who is not root.
const NOBODY: u32 = 65_534;
/// How long a race is waited for.
const RACES: Duration = Duration::from_mins(1);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Prints one answer.
pub fn print(question: &str, mut answer: Value) {
    answer["question"] = question.into();
    // In one piece, so that the kernel's messages come before or after. Without a
    // console nobody hears of it.
    let _ = io::stdout().write_all(format!("{answer}\n").as_bytes());
}

/// What came of a request. An error is named after its variant; that of the last
/// attempt, if there were several.
pub fn told(result: Result<Vec<u8>, TsmError>) -> Value {
    match result {
        Ok(quote) => json!({ "quote": hex::encode(quote) }),
        Err(error) => {
            let text = report::chain(&error);
            let (last, attempts) = match error {
                TsmError::GaveUp { attempts, last } => (*last, Some(attempts)),
                error => (error, None),
            };
            let debug = format!("{last:?}");
            let name = debug.split([' ', '(']).next();
            json!({ "error": name, "attempts": attempts, "text": text })
        }
    }
}

/// All of them.
pub fn ask_all() -> Outcome {
    for (kind, at) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        guest::mount_kernels(kind, at)?;
    }
    without_a_provider()?;

    guest::load("faketsm", c"")?;
    alone("faketsm");
    guest::unload("faketsm")?;

    guest::load("faketsm", c"provider=tdx_guest")?;
    Command::new(env::current_exe()?)
        .arg(UNPRIVILEGED)
        .uid(NOBODY)
        .status()?;
    let asker = Asker(Service::start(td()?)?);
    asker.statement()?;
    asker.failures();
    asker.race();
    asker.together();
    asker.silence()?;
    print("end", json!({ "entries": entries() }));
    Ok(())
}

/// A request that no service will see.
fn alone(question: &str) {
    print(question, told(TsmSource::new().quote(&[0; 64])));
}

/// The same with less and less missing.
fn without_a_provider() -> Outcome {
    alone("nothing");
    guest::load("configfs", c"")?;
    guest::mount_kernels("configfs", "/sys/kernel/config")?;
    alone("configfs");
    guest::load("tsm", c"")?;
    alone("tsm");
    Ok(())
}

fn variable(name: &str) -> Outcome<String> {
    Ok(env::var(name).map_err(|error| format!("{name} of the kernel's command line: {error}"))?)
}

/// The TD that the service makes quotes of.
fn td() -> Outcome<SimulatedTd> {
    let seed = variable("SEED")?;
    let issued = variable("ISSUED")?.parse()?;
    Ok(SimulatedTd {
        world: World::builder(seed.as_bytes(), issued).build()?,
        td: Td::default(),
    })
}

/// Entries that are there now.
fn entries() -> usize {
    fs::read_dir(DEFAULT_ROOT).map_or(0, Iterator::count)
}

/// Who asks, and has the service answer as is wanted.
struct Asker(Service);

impl Asker {
    fn source() -> TsmSource {
        TsmSource::new()
            .with_attempts(ATTEMPTS)
            .with_pause(Duration::ZERO)
    }

    /// Asks with these answers planned.
    fn ask(&self, question: &str, answers: impl IntoIterator<Item = Answer>) {
        self.0.plan(answers);
        let mut answer = told(Self::source().quote(&[7; 64]));
        answer["asked"] = self.0.asked().into();
        answer["entries"] = entries().into();
        print(question, answer);
    }

    /// Evidence for the statement that the test wants.
    fn statement(&self) -> Outcome {
        self.0.plan([]);
        let statement = Statement::decode(&hex::decode(variable("STATEMENT")?)?)?;
        let quote = TsmSource::new().quote(&statement.report_data())?;
        let evidence = Evidence { statement, quote };
        let answer = json!({
            "evidence": hex::encode(evidence.encode()),
            "asked": self.0.asked(),
            "entries": entries(),
        });
        print("statement", answer);
        Ok(())
    }

    fn failures(&self) {
        let errors = [
            Errno::EBUSY,
            Errno::EINTR,
            Errno::EIO,
            Errno::EINVAL,
            Errno::EACCES,
            Errno::ENXIO,
            Errno::ENOMEM,
        ];
        for errno in errors {
            let always = (0..ATTEMPTS).map(|_| Answer::Failure(errno));
            self.ask(&format!("{errno:?}"), always);
        }
        self.ask("busy once", [Answer::Failure(Errno::EBUSY)]);
        self.ask("other data", [Answer::OfOtherData]);
        self.ask("empty", [Answer::Sized(0)]);
        self.ask("longest", [Answer::Sized(OUTBLOB_MAX)]);
        self.ask("too long", [Answer::Sized(OUTBLOB_MAX + 1)]);
    }

    /// The service says nothing, until the driver's time is up. The last question:
    /// the service may be late to learn what was planned for it.
    fn silence(&self) -> Outcome {
        fs::write("/sys/module/faketsm/parameters/timeout_ms", "200")?;
        self.ask("silence", (0..ATTEMPTS).map(|_| Answer::Silence));
        Ok(())
    }

    /// Somebody else writes to the entry while the quote is made. Whether before
    /// or after its last look the kernel decides, so it may take some tries.
    fn race(&self) {
        let source = Self::source().with_attempts(1);
        let end = Instant::now() + RACES;
        loop {
            self.0.plan([Answer::Raced]);
            let result = source.quote(&[9; 64]);
            if result.is_err() || Instant::now() >= end {
                let mut answer = told(result);
                answer["entries"] = entries().into();
                return print("race", answer);
            }
        }
    }

    /// Two threads at once: the first answer waits until the other thread waits
    /// for the kernel.
    fn together(&self) {
        let threads = Arc::new(Mutex::new(Vec::new()));
        self.0.plan([Answer::OnceBlocked(Arc::clone(&threads))]);
        let quote = |byte| {
            let mut known = threads.lock().unwrap_or_else(PoisonError::into_inner);
            known.push(gettid());
            drop(known);
            TsmSource::new().quote(&[byte; 64])
        };
        let (first, second) = thread::scope(|scope| {
            let other = scope.spawn(|| quote(2));
            (quote(1), other.join())
        });
        print("first", told(first));
        match second {
            Ok(second) => print("second", told(second)),
            Err(_) => print("second", json!({ "error": "a panic" })),
        }
    }
}
