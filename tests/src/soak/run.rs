//! One run, from the first process to the verdict.

use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use std::{path::Path, thread};

use super::{
    cluster::{Deployment, DeploymentError},
    link::Counted,
    observe::{Done, Fate, Observations},
    plan::{BACK, Fault, Kind, Member, plan},
};

/// From one look to the next.
const LOOK: Duration = Duration::from_millis(25);
/// How long it may take until a round has all clients in it.
const UP: f64 = 90.0;
/// How long after the last fault it goes on.
const AFTER: Duration = Duration::from_secs(20);
/// How long clients may take to learn the fate of their last messages.
const SETTLING: f64 = 60.0;
/// How long readers may take to read what the others have read.
const CATCH_UP: f64 = 15.0;

/// A run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The deployment.
    #[error("The deployment failed")]
    Deployment(#[from] DeploymentError),
    /// No round had all clients in it in time.
    #[error(
        "No round had all clients in it within {UP} s; the most were {most}, and the logs in {logs} say why"
    )]
    Start {
        /// The most that were in one.
        most: usize,
        /// Where the logs are.
        logs: String,
    },
    /// A signal.
    #[error("It was interrupted")]
    Interrupted,
}

/// Runs faults of a seed, which is a number, for so long under so many clients, and fills in what is seen and what became of
/// packets. Logs go to `folder`. Says a line about each fault.
///
/// # Errors
/// [`RunError`].
pub fn run(
    (number, length, clients): (u64, Duration, usize),
    folder: &Path,
    stop: &AtomicBool,
    seen: &mut Observations,
    packets: &mut Counted,
    say: &dyn Fn(&str),
) -> Result<(), RunError> {
    let mut deployment = Deployment::new(folder, number, clients)?;
    seen.clients = deployment.clients();
    deployment.start(seen)?;
    let outcome = Runner {
        deployment: &mut deployment,
        seen,
        stop,
        say,
    }
    .run(number, length, folder);
    *packets = deployment.link().counted();
    deployment.finish();
    seen.look();
    outcome
}

struct Runner<'a> {
    deployment: &'a mut Deployment,
    seen: &'a mut Observations,
    stop: &'a AtomicBool,
    say: &'a dyn Fn(&str),
}

impl Runner<'_> {
    fn run(&mut self, seed: u64, length: Duration, folder: &Path) -> Result<(), RunError> {
        let most = |seen: &Observations| {
            let participants = seen.witness().iter().map(|read| read.participants);
            participants.max().unwrap_or_default()
        };
        let started = self.until(UP, |seen| most(seen) >= seen.clients)?;
        if !started {
            return Err(RunError::Start {
                most: most(self.seen),
                logs: folder.join("logs").display().to_string(),
            });
        }
        (self.say)(&format!(
            "{:6.1} s  all {} clients are in a round; the faults begin",
            self.seen.now(),
            self.seen.clients
        ));
        self.faults(&plan(seed, length))?;
        self.until(AFTER.max(BACK).as_secs_f64(), |_| false)?;
        self.deployment.hush();
        self.until(SETTLING, |seen| seen.hushed >= 2)?;
        self.until(CATCH_UP, has_caught_up)?;
        Ok(())
    }

    /// Looks again and again until something holds, or time is up.
    fn until(
        &mut self,
        seconds: f64,
        holds: impl Fn(&Observations) -> bool,
    ) -> Result<bool, RunError> {
        let end = self.seen.now() + seconds;
        loop {
            self.look(&[])?;
            if holds(self.seen) {
                return Ok(true);
            }
            if self.seen.now() >= end {
                return Ok(false);
            }
        }
    }

    fn look(&mut self, down: &[Member]) -> Result<(), RunError> {
        if self.stop.load(Ordering::SeqCst) {
            return Err(RunError::Interrupted);
        }
        self.seen.look();
        for said in self.deployment.fallen(down, self.seen)? {
            (self.say)(&format!("{:6.1} s  {said}", self.seen.now()));
            self.seen.surprises.push(said);
        }
        thread::sleep(LOOK);
        Ok(())
    }

    fn faults(&mut self, plan: &[Fault]) -> Result<(), RunError> {
        let start = self.seen.now();
        let mut waiting = plan.iter().peekable();
        // Places among those that were begun, by when they end.
        let mut begun: Vec<(f64, usize)> = Vec::new();
        while waiting.peek().is_some() || !begun.is_empty() {
            let now = self.seen.now();
            // What ends first: one fault may end as another begins.
            let ended = begun.iter().position(|(end, _)| *end <= now);
            if let Some((_, index)) = ended.map(|ended| begun.swap_remove(ended)) {
                self.end(index)?;
            } else if let Some(fault) = waiting.next_if(|it| start + it.at.as_secs_f64() <= now) {
                self.deployment.begin(&fault.kind)?;
                (self.say)(&format!(
                    "{now:6.1} s  {} for {:.1} s",
                    fault.kind,
                    fault.lasts.as_secs_f64()
                ));
                begun.push((now + fault.lasts.as_secs_f64(), self.seen.faults.len()));
                self.seen.faults.push(Done {
                    fault: *fault,
                    from: now,
                    to: None,
                });
            }
            let down: Vec<_> = begun
                .iter()
                .filter_map(
                    |(_, index)| match self.seen.faults.get(*index)?.fault.kind {
                        Kind::Kill(member) => Some(member),
                        _ => None,
                    },
                )
                .collect();
            self.look(&down)?;
        }
        Ok(())
    }

    fn end(&mut self, index: usize) -> Result<(), RunError> {
        if let Some(kind) = self.seen.faults.get(index).map(|done| done.fault.kind) {
            self.deployment.end(&kind, self.seen)?;
        }
        let now = self.seen.now();
        if let Some(done) = self.seen.faults.get_mut(index) {
            done.to = Some(now);
        }
        Ok(())
    }
}

/// Whether all readers that live have read the last round that holds a message.
fn has_caught_up(seen: &Observations) -> bool {
    let landed = seen
        .messages
        .values()
        .filter_map(|message| match message.fate {
            Fate::Landed { round, .. } => Some(round),
            _ => None,
        });
    let last = landed.max().unwrap_or_default();
    seen.streams
        .iter()
        .filter(|((who, life, _), _)| seen.is_newest(who, *life))
        .all(|(_, stream)| stream.last().is_some_and(|read| read.number >= last))
}
