//! What a run has to show, and whether it does.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    fit::{self, Fit},
    observe::{Done, Fate, Observations, Read},
    plan::{BACK, Kind},
};

/// How long a process is given to fill its rings and pools, in seconds: in a long run,
/// and in a short one, which can tell less.
const WARM: (f64, f64) = (120.0, 60.0);
/// From how many seconds on a run is long.
const LONG: f64 = 300.0;
/// How fast a process may grow after that, in bytes a second: half a broadcast of the
/// default shape. Records have four of them, and rounds are three seconds apart.
pub const GROWTH: f64 = 8192.0;
/// How much it has to have grown besides, in a long run and in a short one: an allocator
/// takes memory in steps, when an outage asks more of it than any before.
const STEPS: (f64, f64) = (16.0 * 1_048_576.0, 48.0 * 1_048_576.0);
/// From how many samples on a line is drawn.
const SAMPLES: usize = 15;
/// How long a message may take until it counts as late, in seconds.
pub const LATE: f64 = 30.0;

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Check {
    /// What has to be.
    pub what: &'static str,
    /// What is.
    pub found: String,
    /// Whether it is as it has to be.
    pub holds: bool,
    /// Where it is not, the first of them.
    pub evidence: Vec<String>,
}

impl Check {
    fn none(what: &'static str, of: impl core::fmt::Display, evidence: Vec<String>) -> Self {
        Self {
            what,
            found: format!("{} of {of}", evidence.len()),
            holds: evidence.is_empty(),
            evidence,
        }
    }
}

/// The line through the memory of one process.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Which.
    pub who: String,
    /// The line; none if its lives were too short.
    pub fit: Option<Fit>,
    /// How much it may rise in any case.
    steps: f64,
}

impl Memory {
    /// Whether it may be flat: growth beyond the bounds would show by two standard
    /// errors.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.fit.is_none_or(|fit| {
            fit.slope - 2.0 * fit.error <= GROWTH || fit.slope * fit.seconds <= self.steps
        })
    }
}

/// When rounds were back after a fault, in seconds after its end, and within how
/// many they had to be.
#[derive(Debug, Clone)]
pub struct Back {
    /// The fault's place among all.
    pub fault: usize,
    /// After how long.
    pub after: Option<f64>,
    /// How long they had.
    pub allowed: f64,
}

impl Back {
    fn holds(&self) -> bool {
        self.after.is_some_and(|after| after <= self.allowed)
    }
}

/// All that is to be said of a run.
#[derive(Debug)]
pub struct Verdict {
    /// The table.
    pub checks: Vec<Check>,
    /// How long a life is not looked at, in seconds.
    pub warm: f64,
    /// How much a process may grow in any case, in bytes.
    pub steps: f64,
    /// Memory by process.
    pub memory: Vec<Memory>,
    /// Rounds after faults.
    pub backs: Vec<Back>,
}

impl Verdict {
    /// Whether all of it is as it has to be.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// Judges a run.
    #[must_use]
    pub fn of(seen: &Observations) -> Self {
        let backs = backs(seen);
        let (warm, steps) = if seen.now() >= LONG {
            (WARM.0, STEPS.0)
        } else {
            (WARM.1, STEPS.1)
        };
        let memory = memory(seen, warm, steps);
        let checks = vec![
            differing(seen),
            in_all_streams(seen),
            not_more_often(seen),
            not_against_its_word(seen),
            readers_agree(seen),
            chains(seen),
            flat(&memory),
            back(seen, &backs),
            everybody_back(seen),
            surprises(seen),
            something_happened(seen),
        ];
        Self {
            checks,
            warm,
            steps,
            memory,
            backs,
        }
    }
}

fn pairs(count: usize) -> usize {
    count * count.saturating_sub(1) / 2
}

/// I7, over all servers and readers.
fn differing(seen: &Observations) -> Check {
    // Servers tell the start of a digest.
    let mut records: BTreeMap<(&str, u64), BTreeSet<&str>> = BTreeMap::new();
    for read in seen.streams.values().flatten() {
        let key = (read.epoch.as_str(), read.number);
        records.entry(key).or_default().insert(&read.record);
    }
    let epochs: BTreeSet<&str> = records.keys().map(|(epoch, _)| *epoch).collect();
    for by in &seen.finalized {
        let digest = by.round.record.as_str();
        let of_it = |known: &&str| known.starts_with(digest);
        let known = epochs.iter().any(|epoch| {
            let known = records.get(&(*epoch, by.round.number));
            known.is_some_and(|known| known.iter().any(of_it))
        });
        // Servers do not tell the epoch; a run has one, and a second is a surprise.
        if !known && let Some(epoch) = epochs.first() {
            let key = (*epoch, by.round.number);
            records.entry(key).or_default().insert(digest);
        }
    }
    let several = records.iter().filter(|(_, digests)| digests.len() > 1);
    let evidence: Vec<_> = several
        .clone()
        .map(|((epoch, number), digests)| format!("epoch {epoch} round {number}: {digests:?}"))
        .collect();
    let differ: usize = several.map(|(_, digests)| pairs(digests.len())).sum();
    Check {
        what: "pairs of records of one round number that differ, over all servers and readers: 0",
        found: format!(
            "{differ}, in {} rounds of {} epoch(s)",
            records.len(),
            epochs.len()
        ),
        holds: differ == 0 && epochs.len() == 1,
        evidence,
    }
}

/// Every landed message is in the stream of everybody who has read further.
fn in_all_streams(seen: &Observations) -> Check {
    let mut evidence = Vec::new();
    let mut looked = 0;
    for (reader, stream) in &seen.streams {
        let (Some(first), Some(last)) = (stream.first(), stream.last()) else {
            continue;
        };
        let by_number: BTreeMap<u64, &Read> =
            stream.iter().map(|read| (read.number, read)).collect();
        // Who has not been killed has to have read all of it.
        let alive = seen.is_newest(&reader.0, reader.1);
        for (text, message) in &seen.messages {
            let Fate::Landed { round, slot, .. } = &message.fate else {
                continue;
            };
            if *round < first.number || (!alive && *round > last.number) {
                continue;
            }
            looked += 1;
            let found = by_number
                .get(round)
                .and_then(|read| read.messages.get(slot));
            if found != Some(text) {
                evidence.push(format!(
                    "{reader:?} lacks round {round} slot {slot}: {text}"
                ));
            }
        }
    }
    Check::none(
        "messages reported as landed that are missing from a reader's stream: 0",
        format!(
            "{looked} that had to be in one, in {} streams",
            seen.streams.len()
        ),
        evidence,
    )
}

/// Where each message was read.
fn places(seen: &Observations) -> BTreeMap<&str, BTreeSet<(&str, u64, u64)>> {
    let mut places: BTreeMap<&str, BTreeSet<(&str, u64, u64)>> = BTreeMap::new();
    for read in seen.streams.values().flatten() {
        for (slot, text) in &read.messages {
            let place = (read.epoch.as_str(), read.number, *slot);
            places.entry(text).or_default().insert(place);
        }
    }
    places
}

/// A receipt names one place; who has none has been published once at most.
fn not_more_often(seen: &Observations) -> Check {
    let places = places(seen);
    let mut evidence = Vec::new();
    for (text, at) in &places {
        let fate = seen.messages.get(*text).map(|message| &message.fate);
        let named = match fate {
            Some(Fate::Landed {
                epoch, round, slot, ..
            }) => at.contains(&(epoch.as_str(), *round, *slot)),
            Some(_) => true,
            None => false,
        };
        if at.len() > 1 || !named {
            evidence.push(format!("{text:?} at {at:?}, told {fate:?}"));
        }
    }
    Check::none(
        "messages published more often, or elsewhere, than the receipt says: 0",
        format!("{} that were read", places.len()),
        evidence,
    )
}

/// What has not landed, by its client's word, is in no stream.
fn not_against_its_word(seen: &Observations) -> Check {
    let places = places(seen);
    let lost = seen.messages.iter();
    let lost: Vec<_> = lost
        .filter(|(_, message)| message.fate == Fate::NotLanded)
        .collect();
    let evidence = lost.iter().filter_map(|(text, _)| {
        let at = places.get(text.as_str())?;
        Some(format!("{text:?} at {at:?}"))
    });
    Check::none(
        "messages reported as not landed that were read: 0",
        lost.len(),
        evidence.collect(),
    )
}

fn readers_agree(seen: &Observations) -> Check {
    let mut first: BTreeMap<(&str, u64), &Read> = BTreeMap::new();
    let mut evidence = Vec::new();
    let mut compared = 0;
    for (reader, stream) in &seen.streams {
        for read in stream {
            compared += 1;
            let key = (read.epoch.as_str(), read.number);
            let known = *first.entry(key).or_insert(read);
            if known.record != read.record || known.messages != read.messages {
                evidence.push(format!("{reader:?} reads another round {}", read.number));
            }
        }
    }
    Check::none(
        "rounds that readers read differently: 0",
        format!("{compared} readings of {} rounds", first.len()),
        evidence,
    )
}

/// Each record names the one before it: no reader has lost one.
fn chains(seen: &Observations) -> Check {
    let mut evidence = Vec::new();
    let mut links = 0;
    for (reader, stream) in &seen.streams {
        for (one, next) in stream.iter().zip(stream.iter().skip(1)) {
            links += 1;
            if next.previous != one.record {
                evidence.push(format!(
                    "{reader:?}: from round {} to {} at {:.1} s",
                    one.number, next.number, next.at
                ));
            }
        }
    }
    Check::none("gaps in readers' chains of records: 0", links, evidence)
}

fn memory(seen: &Observations, after: f64, steps: f64) -> Vec<Memory> {
    let mut lives: BTreeMap<&str, Vec<Vec<(f64, f64)>>> = BTreeMap::new();
    for life in &seen.lives {
        let warm = life
            .memory
            .iter()
            .filter(|(at, _)| *at >= life.from + after);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let warm = warm.map(|(at, bytes)| (*at, *bytes as f64)).collect();
        lives.entry(&life.who).or_default().push(warm);
    }
    lives
        .into_iter()
        .map(|(who, lives)| Memory {
            who: who.to_owned(),
            fit: fit::within(&lives).filter(|fit| fit.samples >= SAMPLES),
            steps,
        })
        .collect()
}

fn flat(memory: &[Memory]) -> Check {
    let known = memory
        .iter()
        .filter_map(|one| one.fit.map(|fit| (one, fit)));
    let (mut worst, mut fitted) = (f64::MIN, 0_usize);
    for (_, fit) in known.clone() {
        worst = worst.max(fit.slope);
        fitted += 1;
    }
    let steep = known.filter(|(one, _)| !one.is_flat());
    let evidence: Vec<_> = steep
        .map(|(one, fit)| {
            format!(
                "{}: {:+.1} ± {:.1} KiB/s",
                one.who,
                fit.slope / 1024.0,
                fit.error / 1024.0
            )
        })
        .collect();
    Check {
        what: "processes whose memory grows after warm-up by more than 8 KiB/s and two standard errors, and by more than 16 MiB (48 in a short run): 0",
        found: if fitted == 0 {
            "none lived long enough to tell".to_owned()
        } else {
            format!(
                "{} of {fitted}; steepest {:+.1} KiB/s",
                evidence.len(),
                worst / 1024.0
            )
        },
        holds: evidence.is_empty() && fitted > 0,
        evidence,
    }
}

/// When rounds were back after each fault. One that comes to its end while another
/// one stops rounds, or before they are back, has to wait for that one's.
fn backs(seen: &Observations) -> Vec<Back> {
    let rounds: Vec<f64> = seen.witness().iter().map(|read| read.at).collect();
    let allowed = BACK.as_secs_f64();
    let stops = |done: &&Done| done.fault.kind.stops_rounds();
    let stopping: Vec<&Done> = seen.faults.iter().filter(stops).collect();
    let judged = (0..).zip(&seen.faults).filter_map(|(fault, done)| {
        let own_end = done.to?;
        let mut end = own_end;
        let back = loop {
            let back = rounds.iter().copied().find(|at| *at > end);
            let within = |at: f64| back.is_none_or(|back| at < back);
            let other = stopping.iter().find(|other| {
                other.from < end + allowed
                    && other.to.is_some_and(|to| to > end)
                    && within(other.from)
            });
            match other.and_then(|other| other.to) {
                Some(to) => end = to,
                None => break back,
            }
        };
        Some(Back {
            fault,
            after: back.map(|back| back - own_end),
            allowed: end - own_end + allowed,
        })
    });
    judged.collect()
}

fn back(seen: &Observations, backs: &[Back]) -> Check {
    let late = backs.iter().filter(|back| !back.holds());
    let evidence: Vec<_> = late
        .filter_map(|back| {
            let done = seen.faults.get(back.fault)?;
            let kind = done.fault.kind;
            let to = done.to.unwrap_or_default();
            let after = back
                .after
                .map_or("never".to_owned(), |after| format!("{after:.1} s"));
            Some(format!("{kind}, ended at {to:.1} s: {after}"))
        })
        .collect();
    let slowest = backs
        .iter()
        .filter_map(|back| back.after)
        .fold(0.0, f64::max);
    Check {
        what: "faults after whose end rounds are not back within 15 s: 0",
        found: format!(
            "{} of {}; slowest {slowest:.1} s",
            evidence.len(),
            backs.len()
        ),
        holds: evidence.is_empty() && !backs.is_empty(),
        evidence,
    }
}

/// Nobody stays away for ever.
fn everybody_back(seen: &Observations) -> Check {
    let last = seen
        .faults
        .iter()
        .filter_map(|done| done.to)
        .fold(0.0, f64::max);
    let after = seen.witness().iter().filter(|read| read.at > last);
    let most = after
        .map(|read| read.participants)
        .max()
        .unwrap_or_default();
    Check {
        what: "clients in a round after the last fault: all of them",
        found: format!("{most} of {}", seen.clients),
        holds: most == seen.clients,
        evidence: Vec::new(),
    }
}

fn surprises(seen: &Observations) -> Check {
    Check {
        what: "processes that ended by themselves or panicked: 0",
        found: seen.surprises.len().to_string(),
        holds: seen.surprises.is_empty(),
        evidence: seen.surprises.clone(),
    }
}

/// A run in which nothing happens proves nothing.
fn something_happened(seen: &Observations) -> Check {
    let landed = seen.messages.values();
    let landed = landed
        .filter(|message| matches!(message.fate, Fate::Landed { .. }))
        .count();
    let kills = seen.faults.iter();
    let kills = kills
        .filter(|done| matches!(done.fault.kind, Kind::Kill(_)))
        .count();
    let kinds: BTreeSet<_> = seen
        .faults
        .iter()
        .map(|done| done.fault.kind.name())
        .collect();
    let rounds = seen.witness().len();
    Check {
        what: "something happened: rounds, landed messages, kills, and kinds of faults",
        found: format!("{rounds}, {landed}, {kills}, {}", kinds.len()),
        holds: rounds >= 10 && landed >= 20 && kills >= 3 && kinds.len() >= 4,
        evidence: Vec::new(),
    }
}
