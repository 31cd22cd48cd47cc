//! How long to wait before something is tried again.

use core::time::Duration;

use crate::entropy::Dice;

/// Pauses that double from failure to failure, up to a longest one, each cut
/// by chance to between half of it and the whole.
///
/// Chance keeps many who failed together from coming back together (A12), and
/// nobody can tell from when somebody comes back how often he has failed. It
/// must fall alike for those who talk and those who cover: never let a backoff
/// depend on whether there is something to say.
///
/// This knows no clock: whoever waits does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// The longest that the next pause may be.
    #[must_use]
    pub fn bound(&self) -> Duration {
        // 2^31 times anything that is not nothing is beyond every longest.
        self.first
            .saturating_mul(1 << self.failures.min(31))
            .min(self.longest)
    }

    /// The pause after one more failure.
    pub fn next(&mut self, dice: &mut Dice) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        let half = bound / 2;
        half + dice.time(bound.saturating_sub(half))
    }

    /// It went well: begin with the first pause again.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since it last went well.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FIRST: Duration = Duration::from_millis(40);
    const LONGEST: Duration = Duration::from_secs(2);

    #[test]
    fn a12_pauses_double_up_to_the_longest_and_start_over_after_success() {
        let mut dice = Dice::seeded(&[1; 32]);
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let mut bound = FIRST;
        for failures in 0..100 {
            assert_eq!((backoff.failures(), backoff.bound()), (failures, bound));
            let pause = backoff.next(&mut dice);
            assert!(
                pause >= bound / 2 && pause <= bound,
                "{pause:?} of {bound:?}"
            );
            bound = (bound * 2).min(LONGEST);
        }
        assert_eq!(bound, LONGEST);
        backoff.reset();
        assert!(backoff.next(&mut dice) <= FIRST);
    }

    #[test]
    fn a12_those_who_failed_together_do_not_come_back_together() {
        // A thousand clients after the same sixth failure, in 10 ms each.
        let mut places = BTreeSet::new();
        for client in 0_u32..1_000 {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&client.to_be_bytes());
            let mut dice = Dice::seeded(&seed);
            let mut backoff = Backoff::new(FIRST, LONGEST);
            let pauses: Vec<_> = (0..6).map(|_| backoff.next(&mut dice)).collect();
            places.insert(pauses[5].as_millis() / 10);
        }
        // 640 to 1,280 ms are 65 places.
        assert!(places.len() > 55, "{} places", places.len());
    }

    #[test]
    fn a12_a_client_that_is_refused_for_ten_seconds_asks_a_dozen_times() {
        let mut dice = Dice::fresh();
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let mut clock = Duration::ZERO;
        let mut asked = 0;
        while clock < Duration::from_secs(10) {
            asked += 1;
            clock += backoff.next(&mut dice);
        }
        // It was once every 40 ms: 250 times.
        assert!((9..=20).contains(&asked), "{asked}");
    }

    #[test]
    fn a_backoff_of_nothing_or_of_all_time_does_not_overflow() {
        let mut dice = Dice::seeded(&[2; 32]);
        let mut never = Backoff::new(Duration::ZERO, LONGEST);
        let mut ever = Backoff::new(Duration::MAX, Duration::MAX);
        for _ in 0..40 {
            assert_eq!(never.next(&mut dice), Duration::ZERO);
            assert!(ever.next(&mut dice) >= Duration::MAX / 2);
        }
    }
}
