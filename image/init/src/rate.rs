//! Whether the clock runs as fast as time does (D2 of the image's review).
//!
//! A TD's time-stamp counter has the rate that the TDX module gives it, and CPUID leaf
//! 15H tells that rate; the host has no say in either (Intel TDX Module Base Architecture
//! Specification, "TSC Virtualization"). Leaves `4000_0000H` and up are the host's: a kernel
//! that finds another hypervisor there takes the rate of its clocks from that one, so
//! that a host can make time stand still for every date that this guest checks. So the
//! kernel's clock is held against the counter. Both are the processor's; what the time of
//! day was at the start, nobody here knows.

use core::{
    arch::x86_64::{__cpuid_count, CpuidResult},
    time::Duration,
};
use std::{fs, thread, time::Instant};

/// Where the kernel says which counter its clocks go by.
const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// Where a simulated TD is told its counter's rate, in ticks a second.
#[cfg(feature = "simulation")]
const SIMULATED: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.zipnet/counter/raw";
/// How long the clock has run before the first look.
const FIRST: Duration = Duration::from_millis(200);
/// How far the clock may be off, in parts of a thousand. The host may take the processor
/// away while it is read.
const TOLERANCE: u64 = 10;
/// How often both are read to find a moment without an interruption.
const TRIES: usize = 8;

/// The clock does not go by what the processor says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// By another counter.
    #[error("This TD's clock goes by {0}, which its host may turn; tsc would be right")]
    Source(String),
    /// No rate.
    #[error(
        "This TD's processor does not tell the rate of its counter (CPUID 15H); one that does would be right"
    )]
    Untold,
    /// Too fast or too slow.
    #[error(
        "{clock} ms passed by the clock and {counter} ms by the processor's counter; a host that leaves the clock alone would be right"
    )]
    Off {
        /// By the clock.
        clock: u128,
        /// By the counter.
        counter: u128,
    },
}

/// What the machine says of its clock.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Machine {
    /// Whether this is a TD (leaf 21H).
    td: bool,
    /// Ticks of the counter a second (leaf 15H).
    rate: Option<u64>,
    /// What the clocks go by.
    source: String,
}

impl Machine {
    fn read() -> Self {
        let source = fs::read_to_string(SOURCE).unwrap_or_default();
        // An emulated processor tells no rate, and no host here can pose as another
        // hypervisor: a simulated TD is told one, which the kernel's clock is not of.
        #[cfg(feature = "simulation")]
        if let Ok(told) = fs::read_to_string(SIMULATED) {
            return Self {
                td: true,
                rate: told.trim().parse().ok(),
                source: source.trim().to_owned(),
            };
        }
        let highest = leaf(0).eax;
        let of = |number| (highest >= number).then(|| leaf(number));
        Self {
            td: of(0x21).is_some_and(|said| is_td(&said)),
            rate: of(0x15).and_then(|said| rate(&said)),
            source: source.trim().to_owned(),
        }
    }

    /// Holds what passed by the clock against ticks of the counter.
    fn judge(&self, clock: Duration, ticks: u64) -> Result<Option<u64>, RateError> {
        if self.td && self.source != "tsc" {
            return Err(RateError::Source(self.source.clone()));
        }
        let Some(rate) = self.rate else {
            return if self.td {
                Err(RateError::Untold)
            } else {
                Ok(None)
            };
        };
        let clock = clock.as_nanos();
        let counter = u128::from(ticks) * 1_000_000_000 / u128::from(rate);
        if clock.abs_diff(counter) * 1000 > counter * u128::from(TOLERANCE) {
            return Err(RateError::Off {
                clock: clock / 1_000_000,
                counter: counter / 1_000_000,
            });
        }
        Ok(Some(rate))
    }
}

/// Clock and counter at one moment.
#[derive(Debug, Clone, Copy)]
struct Moment {
    clock: Instant,
    counter: u64,
}

impl Moment {
    /// The pair that was read with the least between.
    fn now() -> Self {
        let pair = || {
            let before = counter();
            let clock = Instant::now();
            let between = counter().wrapping_sub(before);
            let counter = before.wrapping_add(between / 2);
            (between, Self { clock, counter })
        };
        let mut best = pair();
        for _ in 1..TRIES {
            let other = pair();
            if other.0 < best.0 {
                best = other;
            }
        }
        best.1
    }
}

/// Holds the clock against the counter, from now on.
#[derive(Debug)]
pub struct Rate {
    machine: Machine,
    since: Moment,
}

/// The moment from which on the clock is watched: early, so that nobody waits for the
/// first look.
#[derive(Debug)]
pub struct Start(Moment);

impl Start {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(Moment::now())
    }

    /// Takes a first look once there is enough to see, and says what was found.
    ///
    /// # Errors
    /// [`RateError`].
    pub fn watch(self) -> Result<(Rate, String), RateError> {
        thread::sleep(FIRST.saturating_sub(self.0.clock.elapsed()));
        let rate = Rate {
            machine: Machine::read(),
            since: self.0,
        };
        let told = rate.look()?;
        let source = &rate.machine.source;
        let said = match told {
            Some(ticks) => format!(
                "goes by {source} at the {} MHz that the processor tells",
                ticks / 1_000_000
            ),
            None => format!("goes by {source}; this is no TD, and nobody vouches for its rate"),
        };
        Ok((rate, said))
    }
}

impl Rate {
    /// Whether the clock has gone right since the first look: the longer that is ago, the
    /// less a short interruption matters.
    ///
    /// # Errors
    /// [`RateError`].
    pub fn look(&self) -> Result<Option<u64>, RateError> {
        let now = Moment::now();
        let machine = Machine {
            source: Machine::read().source,
            ..self.machine.clone()
        };
        machine.judge(
            now.clock.saturating_duration_since(self.since.clock),
            now.counter.wrapping_sub(self.since.counter),
        )
    }
}

fn leaf(number: u32) -> CpuidResult {
    __cpuid_count(number, 0)
}

/// Leaf 21H, whose words are `IntelTDX    ` in a TD.
fn is_td(said: &CpuidResult) -> bool {
    [said.ebx, said.edx, said.ecx].map(u32::to_le_bytes) == [*b"Inte", *b"lTDX", *b"    "]
}

/// Leaf 15H: the crystal's rate by the ratio of the two; `None` if one is not told.
fn rate(said: &CpuidResult) -> Option<u64> {
    let product = u64::from(said.ecx).checked_mul(said.ebx.into())?;
    let rate = product.checked_div(said.eax.into())?;
    (rate > 0).then_some(rate)
}

#[expect(unsafe_code, reason = "the instruction has no safe name")]
fn counter() -> u64 {
    // SAFETY: it reads a register that user code may read.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 25 MHz by 80: 2 GHz.
    const LEAF: CpuidResult = CpuidResult {
        eax: 1,
        ebx: 80,
        ecx: 25_000_000,
        edx: 0,
    };

    fn td() -> Machine {
        Machine {
            td: true,
            rate: rate(&LEAF),
            source: "tsc".to_owned(),
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const TICKS: u64 = 2_000_000_000;

    #[test]
    fn the_processors_words_are_read() {
        assert_eq!(rate(&LEAF), Some(TICKS));
        for said in [
            CpuidResult { eax: 0, ..LEAF },
            CpuidResult { ebx: 0, ..LEAF },
            CpuidResult { ecx: 0, ..LEAF },
        ] {
            assert_eq!(rate(&said), None);
        }
        let word = |text: &[u8; 4]| u32::from_le_bytes(*text);
        let said = CpuidResult {
            eax: 0,
            ebx: word(b"Inte"),
            ecx: word(b"    "),
            edx: word(b"lTDX"),
        };
        assert!(is_td(&said) && !is_td(&LEAF));
    }

    #[test]
    fn d2_a_clock_of_the_hosts_rate_is_refused() {
        assert_eq!(td().judge(SECOND, TICKS), Ok(Some(TICKS)));
        assert_eq!(td().judge(SECOND, TICKS / 1000 * 1009), Ok(Some(TICKS)));
        // A host that poses as another hypervisor and tells a thousandth, ten times, or
        // slightly more or less than the rate.
        for ticks in [
            TICKS * 1000,
            TICKS / 10,
            TICKS / 100 * 102,
            TICKS / 100 * 98,
        ] {
            let error = td().judge(SECOND, ticks).unwrap_err();
            assert!(
                matches!(error, RateError::Off { clock: 1000, .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn d2_a_td_knows_its_rate_and_goes_by_its_own_counter() {
        let other = Machine {
            source: "hyperv_clocksource_msr".to_owned(),
            ..td()
        };
        let error = other.judge(SECOND, TICKS).unwrap_err();
        assert_eq!(
            error,
            RateError::Source("hyperv_clocksource_msr".to_owned())
        );
        let untold = Machine { rate: None, ..td() };
        assert_eq!(untold.judge(SECOND, TICKS), Err(RateError::Untold));
        // Nobody vouches for anything outside of a TD.
        let outside = Machine {
            td: false,
            ..untold
        };
        assert_eq!(outside.judge(SECOND, TICKS), Ok(None));
    }

    #[test]
    fn this_machine_is_looked_at() {
        let (rate, said) = Start::now().watch().unwrap();
        assert!(said.starts_with("goes by "), "{said}");
        assert!(rate.look().is_ok());
    }
}
