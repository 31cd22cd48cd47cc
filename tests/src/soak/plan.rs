//! Which faults come when, out of one seed.
//!
//! Time is cut into beats of ten seconds, and each begins with a kill. Rounds need
//! every server, and nine tenths of the peers of the last record, so that the
//! death, silence or isolation of one server or of one process of clients stops
//! them. The design stands one of these at a time, and has 15 seconds to recover
//! that the next one must not cut short: so the next begins no earlier. The beats
//! between have what does not stop rounds. Two servers are never away together,
//! nor two aggregators.

use core::{fmt, time::Duration};

use super::link::Weather;
use crate::sim::rng::Rng;

/// From one kill to the next.
pub const BEAT: Duration = Duration::from_secs(10);
/// How long rounds may take to be back after a fault has ended.
pub const BACK: Duration = Duration::from_secs(15);

/// Who can be at fault. Each is one process, in a namespace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Member {
    /// A server of the committee.
    Server(usize),
    /// An aggregator.
    Aggregator(usize),
    /// A process of many clients.
    Load(usize),
    /// A reader.
    Reader,
}

impl Member {
    /// All of them, in the order of their spokes.
    pub const ALL: [Self; 8] = [
        Self::Server(0),
        Self::Server(1),
        Self::Server(2),
        Self::Aggregator(0),
        Self::Aggregator(1),
        Self::Load(0),
        Self::Load(1),
        Self::Reader,
    ];

    /// Its place in the network.
    #[must_use]
    pub fn spoke(self) -> usize {
        let at = Self::ALL.iter().position(|other| *other == self);
        at.unwrap_or_default()
    }

    /// Whether rounds stop without it.
    #[must_use]
    pub const fn is_needed(self) -> bool {
        matches!(self, Self::Server(_) | Self::Load(_))
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(index) => write!(f, "server-{}", index + 1),
            Self::Aggregator(index) => write!(f, "aggregator-{}", index + 1),
            Self::Load(index) => write!(f, "clients-{}", index + 1),
            Self::Reader => f.write_str("reader"),
        }
    }
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `kill -9`, and a start with the same identity at the end.
    Kill(Member),
    /// SIGSTOP, and SIGCONT at the end.
    Stop(Member),
    /// Cut off from all others.
    Cut(Member),
    /// Cut off from each other.
    Part(Member, Member),
    /// A server's clock jumps by so many seconds, and back at the end.
    Clock(Member, i64),
    /// The disk of a process's state is full while a new policy comes.
    Full(Member),
    /// The source of collateral is stopped.
    Collateral,
    /// Loss and jitter between all of them.
    Weather(Weather),
}

impl Kind {
    /// What it is called in the report.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill -9",
            Self::Stop(_) => "SIGSTOP",
            Self::Cut(_) => "cut off",
            Self::Part(..) => "pair cut",
            Self::Clock(..) => "clock jump",
            Self::Full(_) => "disk full",
            Self::Collateral => "no collateral source",
            Self::Weather(_) => "weather",
        }
    }

    /// Whether rounds cannot go on meanwhile.
    #[must_use]
    pub const fn stops_rounds(&self) -> bool {
        match self {
            Self::Kill(member) | Self::Stop(member) | Self::Cut(member) => member.is_needed(),
            Self::Part(one, other) => one.is_needed() && other.is_needed(),
            _ => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Kill(who) | Self::Stop(who) | Self::Cut(who) | Self::Full(who) => {
                write!(f, "{name} {who}")
            }
            Self::Part(one, other) => write!(f, "{name} {one} | {other}"),
            Self::Clock(who, by) => write!(f, "{name} {who} by {by:+} s"),
            Self::Collateral => f.write_str(name),
            Self::Weather(weather) => write!(
                f,
                "{} % loss, up to {} ms jitter",
                f64::from(weather.loss) / 10.0,
                weather.jitter.as_millis()
            ),
        }
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When it begins, from the start of the faults on.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub kind: Kind,
}

impl Fault {
    /// When it ends.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.at + self.lasts
    }
}

const SERVERS: [Member; 3] = [Member::Server(0), Member::Server(1), Member::Server(2)];
const LOADS: [Member; 2] = [Member::Load(0), Member::Load(1)];
const AGGREGATORS: [Member; 2] = [Member::Aggregator(0), Member::Aggregator(1)];

/// The faults of a run, by when they begin.
#[must_use]
pub fn plan(seed: u64, length: Duration) -> Vec<Fault> {
    let mut dice = Rng::new(seed);
    let beats = (length.as_millis() / BEAT.as_millis()).max(1);
    let (mut stopping, mut going) = (Vec::new(), Vec::new());
    let mut faults = Vec::new();
    let mut recovered = Duration::ZERO;
    for beat in 0..beats {
        let start = BEAT * u32::try_from(beat).unwrap_or(u32::MAX);
        if start >= recovered {
            recovered = BACK + with_a_stop(&mut dice, &mut stopping, start, &mut faults);
        } else {
            without_a_stop(&mut dice, &mut going, start, &mut faults);
        }
    }
    weathers(&mut dice, length, &mut faults);
    faults.sort_by_key(|fault| fault.at);
    faults
}

fn one(dice: &mut Rng, among: &[Member]) -> Member {
    dice.pick(among).copied().unwrap_or(Member::Reader)
}

fn time(dice: &mut Rng, low: u64, high: u64) -> Duration {
    Duration::from_millis(dice.between(low, high))
}

/// The next of a bag that is filled anew when it is empty, so that a short run
/// has some of each.
fn draw(dice: &mut Rng, bag: &mut Vec<u8>, kinds: u8) -> u8 {
    if bag.is_empty() {
        bag.extend(0..kinds);
        dice.shuffle(bag);
    }
    bag.pop().unwrap_or_default()
}

/// A beat that stops rounds: the kill does, or something else with a kill that
/// does not. Yields when that ends.
fn with_a_stop(
    dice: &mut Rng,
    bag: &mut Vec<u8>,
    start: Duration,
    faults: &mut Vec<Fault>,
) -> Duration {
    let kind = draw(dice, bag, 7);
    let needed = match kind {
        0 | 1 => Some(one(dice, &SERVERS)),
        2 => Some(one(dice, &LOADS)),
        _ => None,
    };
    let kill = Fault {
        at: start,
        lasts: time(dice, 200, 2_000),
        kind: Kind::Kill(needed.unwrap_or(Member::Reader)),
    };
    faults.push(kill);
    let victim = one(dice, &SERVERS);
    let kind = match kind {
        3 => Kind::Cut(victim),
        4 => {
            let others: Vec<_> = SERVERS.into_iter().filter(|it| *it != victim).collect();
            Kind::Part(victim, one(dice, &others))
        }
        5 => Kind::Stop(victim),
        6 if dice.per_mille(500) => Kind::Cut(one(dice, &LOADS)),
        6 => Kind::Stop(one(dice, &LOADS)),
        _ => return kill.end(),
    };
    let held = Fault {
        at: start + time(dice, 200, 1_000),
        lasts: time(dice, 2_500, 14_000),
        kind,
    };
    faults.push(held);
    held.end()
}

/// A beat that goes on: one of two aggregators dies, or a reader, and something
/// happens that the others do not need.
fn without_a_stop(dice: &mut Rng, bag: &mut Vec<u8>, start: Duration, faults: &mut Vec<Fault>) {
    // The reader more often: memory of an aggregator shows only if it lives.
    let killed = if dice.per_mille(600) {
        Member::Reader
    } else {
        one(dice, &AGGREGATORS)
    };
    faults.push(Fault {
        at: start,
        lasts: time(dice, 200, 2_000),
        kind: Kind::Kill(killed),
    });
    let server = one(dice, &SERVERS);
    // Never both aggregators.
    let aggregator = match killed {
        Member::Aggregator(_) => killed,
        _ => one(dice, &AGGREGATORS),
    };
    let minute = i64::try_from(dice.between(20, 90)).unwrap_or_default();
    let kind = match draw(dice, bag, 5) {
        0 => Kind::Clock(server, minute),
        1 => Kind::Clock(server, -minute),
        2 => Kind::Full(server),
        3 => Kind::Collateral,
        _ if dice.per_mille(500) => Kind::Stop(aggregator),
        _ => Kind::Cut(aggregator),
    };
    faults.push(Fault {
        at: start + time(dice, 2_500, 3_500),
        lasts: time(dice, 3_000, 5_000),
        kind,
    });
}

/// Fair and foul by turns.
fn weathers(dice: &mut Rng, length: Duration, faults: &mut Vec<Fault>) {
    let mut at = time(dice, 5_000, 10_000);
    let mut bag = Vec::new();
    while at < length {
        let (loss, jitter) = match draw(dice, &mut bag, 3) {
            0 => (50, 0),
            1 => (0, 100),
            _ => (50, 100),
        };
        let lasts = time(dice, 15_000, 30_000).min(length.saturating_sub(at));
        let jitter = Duration::from_millis(jitter);
        faults.push(Fault {
            at,
            lasts,
            kind: Kind::Weather(Weather { loss, jitter }),
        });
        at += lasts + time(dice, 5_000, 15_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_plan_and_another_gives_another() {
        let length = Duration::from_mins(10);
        assert_eq!(plan(7, length), plan(7, length));
        assert_ne!(plan(7, length), plan(8, length));
    }

    #[test]
    fn no_two_faults_together_stop_rounds_and_each_has_its_time_to_recover() {
        for seed in 0..200 {
            let faults = plan(seed, Duration::from_mins(10));
            let stops: Vec<_> = faults.iter().filter(|it| it.kind.stops_rounds()).collect();
            for pair in stops.windows(2) {
                let apart = pair[1].at.checked_sub(pair[0].end());
                let enough = apart.is_some_and(|apart| apart >= BACK);
                assert!(enough, "{pair:?}");
            }
            // Both aggregators are never away at once.
            let away = |index| {
                faults.iter().filter(move |fault| match fault.kind {
                    Kind::Kill(who) | Kind::Stop(who) | Kind::Cut(who) => {
                        who == Member::Aggregator(index)
                    }
                    _ => false,
                })
            };
            for one in away(0) {
                for other in away(1) {
                    assert!(one.end() < other.at || other.end() < one.at);
                }
            }
        }
    }

    #[test]
    fn there_is_a_kill_in_every_beat_and_a_short_run_has_most_kinds() {
        for seed in 0..50 {
            let faults = plan(seed, Duration::from_mins(10));
            for beat in 0..60 {
                let start = BEAT * beat;
                let kills = faults
                    .iter()
                    .filter(|fault| fault.at == start && matches!(fault.kind, Kind::Kill(_)));
                assert_eq!(kills.count(), 1);
            }
            let mut names: Vec<_> = faults.iter().map(|fault| fault.kind.name()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), 8, "{names:?}");
        }
    }
}
