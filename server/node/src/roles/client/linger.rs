//! How long to stay for company's sake (A8).
//!
//! Who registers, talks and leaves has given itself away with one message:
//! comings and goings are public. So whoever talks takes part for a random number
//! of rounds before and after. The number is geometric: how long somebody has
//! been there tells nothing of how long he stays.

use core::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Reader;
use crate::entropy::Dice;

/// Rounds to stay, in the mean.
const STAY: u64 = 8;
/// Rounds to stay, at most: more would be a matter of patience, not of hiding.
const LONGEST: u32 = 64;
/// How long to stay if rounds do not come: there is no more company then.
const PATIENCE: Duration = Duration::from_mins(10);

/// A stay among others.
#[derive(Debug)]
pub struct Linger {
    reader: Reader,
    left: u32,
    until: Instant,
}

impl Linger {
    pub(super) fn new(reader: Reader) -> Self {
        Self {
            reader,
            left: rounds(&mut Dice::fresh()),
            until: Instant::now() + PATIENCE,
        }
    }

    /// Rounds that are left.
    #[must_use]
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// Stays for one more round. `false` once it is time to go on, or no round
    /// has been finalized for ten minutes.
    pub async fn one_more(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        let came = timeout_at(self.until, self.reader.next()).await;
        let came = matches!(came, Ok(Some(_)));
        if came {
            self.until = Instant::now() + PATIENCE;
        }
        self.left = if came { self.left.saturating_sub(1) } else { 0 };
        self.left > 0
    }
}

/// At least one.
fn rounds(dice: &mut Dice) -> u32 {
    (1..LONGEST)
        .find(|_| dice.below(STAY) == 0)
        .unwrap_or(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a8_stays_are_geometric() {
        let mut dice = Dice::seeded(&[8; 32]);
        let stays: Vec<_> = (0..8000).map(|_| rounds(&mut dice)).collect();
        let sum: u32 = stays.iter().sum();
        // Ten standard deviations of the mean of 8 are 0.84.
        assert!((58_000..=70_000).contains(&sum), "{sum} rounds");
        // Of those who stayed ten rounds, as many go in the next as of all.
        let share = |from: u32| {
            let there = stays.iter().filter(|stay| **stay >= from).count();
            let go = stays.iter().filter(|stay| **stay == from).count();
            go * 100 / there
        };
        for from in [1, 5, 10] {
            assert!((8..=17).contains(&share(from)), "{}", share(from));
        }
        assert!(stays.iter().all(|stay| (1..=LONGEST).contains(stay)));
    }
}
