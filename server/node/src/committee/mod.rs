//! The committee: a replicated state machine over a mosaik group.
//!
//! The group gives ordering and nothing else (its quorum is whoever happens to
//! be bonded). Safety comes from signatures, from the rule that a roster is
//! more than half of the committee (I7), and from each server's
//! [`guard`](crate::guard) (I2).
//!
//! [`state`] is the pure part; [`Committee`] hands commands to it and tells the
//! process what came of them; [`sync`] brings newcomers up to date by
//! snapshots, so that the log can be pruned.

pub mod admission;
pub mod aggregators;
pub mod ahead;
mod broadcasts;
mod changes;
pub mod command;
mod in_flight;
pub mod invites;
mod leaves;
mod places;
mod refusal;
mod rounds;
pub mod snapshot;
pub mod state;
pub mod strikes;
pub mod sync;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use mosaik::{
    UniqueId,
    groups::{ApplyContext, StateMachine},
};
use tokio::sync::watch;
use zipnet_protocol::{RoundContext, ServerId};

use ahead::Ahead;
pub use broadcasts::{Broadcasts, Fetched, Kept, Missing};
pub use changes::Changes;
use command::Command;
pub(crate) use rounds::MAX_FLOOR;
use state::{Applied, CommitteeState, InFlight, Refusal};
use sync::SnapshotSync;

use crate::{
    metrics,
    pace::{Occupancy, Pace},
    settings::CommitteeRules,
};

/// The replicated state at one position of the log.
#[derive(Debug, Clone)]
pub struct View {
    /// The state.
    pub state: CommitteeState,
    /// Index of the last command that it includes.
    pub index: u64,
}

/// What the committee's machine and the process around it have in common.
/// Outlives the group, which may be left and joined again.
#[derive(Debug)]
pub struct Shared {
    view: watch::Sender<Arc<View>>,
    broadcasts: Broadcasts,
    changes: Changes,
    ahead: Arc<Ahead>,
    log_entries: AtomicU64,
    misfits: Mutex<Misfits>,
}

impl Shared {
    /// The state of a process that has seen nothing yet; it will keep
    /// `retain` finalized rounds, as far as `retain_bytes` of vectors allow.
    #[must_use]
    pub fn new(rules: Arc<CommitteeRules>, retain: usize, retain_bytes: usize) -> Arc<Self> {
        let ahead = Arc::new(Ahead::new(rules.clone()));
        let view = View {
            state: CommitteeState::new(rules),
            index: 0,
        };
        Arc::new(Self {
            view: watch::Sender::new(Arc::new(view)),
            broadcasts: Broadcasts::new(retain, retain_bytes),
            changes: Changes::default(),
            ahead,
            log_entries: AtomicU64::new(0),
            misfits: Mutex::default(),
        })
    }

    /// The state now.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// The state as it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// The finalized rounds that are kept.
    #[must_use]
    pub const fn broadcasts(&self) -> &Broadcasts {
        &self.broadcasts
    }

    /// How the client registry changed.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What is verified before the log brings it.
    #[must_use]
    pub const fn ahead(&self) -> &Arc<Ahead> {
        &self.ahead
    }

    /// How many entries the replicated log holds in memory.
    #[must_use]
    pub fn log_entries(&self) -> u64 {
        self.log_entries.load(Ordering::Relaxed)
    }

    /// How many commands in a row of whoever leads were refused here that are not
    /// refused where it leads: a sign that the state here has parted from its. They
    /// count from when this was first asked of that leader.
    pub fn misfits(&self, leader: &ServerId) -> u64 {
        let mut misfits = self.lock_misfits();
        if misfits.leader.as_ref() != Some(leader) {
            *misfits = Misfits {
                leader: Some(*leader),
                count: 0,
            };
        }
        misfits.count
    }

    pub(crate) fn reset_misfits(&self) {
        self.lock_misfits().count = 0;
    }

    fn misfit(&self, sender: &ServerId) {
        let mut misfits = self.lock_misfits();
        if misfits.leader.as_ref() == Some(sender) {
            misfits.count = misfits.count.saturating_add(1);
        }
    }

    fn lock_misfits(&self) -> MutexGuard<'_, Misfits> {
        self.misfits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_log_entries(&self, entries: u64) {
        self.log_entries.store(entries, Ordering::Relaxed);
    }
}

/// Commands of the leader that did not fit the state here, one after the other.
#[derive(Debug, Default)]
struct Misfits {
    leader: Option<ServerId>,
    count: u64,
}

/// The state machine that mosaik replicates.
#[derive(Debug)]
pub struct Committee {
    state: CommitteeState,
    shared: Arc<Shared>,
    /// When the open round was applied here; for a metric, not for a decision.
    opened_at: Option<(RoundContext, Instant)>,
    /// What the records say of who waits; for a metric, too.
    pace: Pace,
}

impl Committee {
    /// A machine in the state of a cold start.
    #[must_use]
    pub fn new(rules: Arc<CommitteeRules>, shared: Arc<Shared>) -> Self {
        Self {
            state: CommitteeState::new(rules),
            shared,
            opened_at: None,
            pace: Pace::new(),
        }
    }

    pub(crate) const fn state(&self) -> &CommitteeState {
        &self.state
    }

    /// Replaces the state by one from a snapshot.
    pub(crate) fn install(&mut self, state: CommitteeState, index: u64) {
        if let Some(head) = state.head() {
            self.shared.broadcasts.push(head.clone());
        }
        if let Some(current) = state.current() {
            self.shared.changes.named(&current.registry);
        }
        self.state = state;
        self.shared.reset_misfits();
        self.publish(index);
    }

    fn publish(&self, index: u64) {
        self.shared.view.send_replace(Arc::new(View {
            state: self.state.clone(),
            index,
        }));
    }

    fn observe(&mut self, applied: &Applied, index: u64) {
        match applied {
            Applied::Opened { round, forced } => {
                self.shared.reset_misfits();
                if let Some(current) = self.state.current() {
                    self.shared.changes.named(&current.registry);
                }
                if let Some(given_up) = forced {
                    metrics::rounds_force_advanced();
                    if given_up.certified.is_some() && given_up.tally.is_none() {
                        metrics::floor_not_met();
                    }
                    blame(given_up);
                }
                metrics::round_floor(round.header().floor);
                self.opened_at = Some((*round.context(), Instant::now()));
                tracing::info!("committee: opening round at index I_{index}");
            }
            Applied::Finalized(done) => {
                if let Some((context, at)) = self.opened_at.take()
                    && context == *done.checked.context()
                {
                    metrics::round_latency(at.elapsed());
                }
                metrics::rounds_finalized();
                let seen = Occupancy::of(&done.checked);
                metrics::round_record(&done.checked, &seen);
                self.pace.recorded(&seen);
                metrics::backlog(self.pace.backlog());
                self.shared.broadcasts.push(done.clone());
                let header = done.checked.round().header();
                tracing::info!(
                    round = %format_args!("r{}", header.number),
                    participants = done.checked.participants(),
                    servers = done.checked.servers(),
                    record = %done.checked.digest().short(),
                    "committee: round finalized"
                );
            }
            Applied::Resumed(record) => {
                metrics::diverged(metrics::HISTORY);
                if let Some(record) = record {
                    self.shared.broadcasts.push(record.clone());
                }
                tracing::warn!(
                    opened = self.state.opened(),
                    "committee: took back a newer history that the log had lost"
                );
            }
            Applied::Struck { aggregator, reason } => {
                metrics::strike(reason);
                tracing::error!(
                    aggregator = %aggregator.short(),
                    reason,
                    "committee: an aggregator is struck"
                );
            }
            Applied::Voted { aggregator, votes } => tracing::warn!(
                aggregator = %aggregator.short(),
                votes,
                "committee: a vote to strike an aggregator"
            ),
            Applied::Certified(round) => {
                if let Some((context, at)) = &self.opened_at
                    && context == round.context()
                {
                    metrics::round_certified(at.elapsed());
                }
                tracing::debug!(
                    round = %format_args!("r{}", round.header().number),
                    "committee: every server stands for the round"
                );
            }
            Applied::Aggregated => tracing::debug!("committee: the aggregate is in"),
            Applied::Committed => tracing::debug!("committee: a commitment is in"),
            Applied::Unblinded => tracing::debug!("committee: a partial is in"),
            Applied::Registered | Applied::Endorsed => {}
        }
    }

    fn refuse(&self, command: &Command, refusal: &Refusal, index: u64) {
        metrics::command_refused(refusal.reason());
        if let Refusal::Evidence { server, source } = refusal {
            metrics::peer_refused(&server.short(), source.rule());
        }
        // Whoever leads is registered, and opens rounds that fit.
        if matches!(
            refusal,
            Refusal::Unfit(_) | Refusal::Header(_) | Refusal::Unregistered(_)
        ) {
            self.shared.misfit(command.sender());
        }
        // Duplicates are the price of sending again after a time-out.
        if matches!(
            refusal,
            Refusal::NotWaiting | Refusal::NotAhead | Refusal::Struck(_)
        ) || refusal.reason() == "repeated"
        {
            tracing::debug!(index, %refusal, "committee: command refused");
        } else {
            tracing::warn!(
                index,
                sender = %command.sender().short(),
                because = %crate::report::chain(refusal),
                "committee: command refused"
            );
        }
    }
}

/// Names whoever did not give the partial of a round that was given up.
fn blame(round: &InFlight) {
    for server in round.withheld() {
        metrics::partial_withheld(&server.short());
        tracing::warn!(
            round = %format_args!("r{}", round.round.header().number),
            server = %server.short(),
            "committee: a server committed to its partial and did not give it, or the leader kept it back"
        );
    }
}

impl StateMachine for Committee {
    type Command = Command;
    type Query = ();
    type QueryResult = u64;
    type StateSync = SnapshotSync;

    fn signature(&self) -> UniqueId {
        UniqueId::from_bytes(*self.state.rules().digest().as_bytes())
    }

    fn apply(&mut self, command: Command, context: &dyn ApplyContext) {
        self.apply_batch([command], context);
    }

    fn apply_batch(
        &mut self,
        commands: impl IntoIterator<Item = Command>,
        context: &dyn ApplyContext,
    ) {
        let mut index = context.committed().index().0;
        for command in commands {
            index = index.saturating_add(1);
            match self.state.apply_ahead(&command, &self.shared.ahead) {
                Ok(applied) => self.observe(&applied, index),
                Err(refusal) => self.refuse(&command, &refusal, index),
            }
        }
        self.publish(index);
    }

    fn query(&self, (): ()) -> u64 {
        self.state.opened()
    }

    fn state_sync(&self) -> SnapshotSync {
        SnapshotSync::new(self.shared.clone())
    }
}
