//! The one place where randomness comes from.

use core::{fmt, time::Duration};

use zeroize::Zeroizing;

/// The operating system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("The operating system gave no random bytes")]
pub struct EntropyError(#[source] getrandom::Error);

/// Thirty-two bytes from the operating system.
///
/// # Errors
/// [`EntropyError`]; without randomness nothing here may go on.
pub fn fresh() -> Result<Zeroizing<[u8; 32]>, EntropyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(EntropyError)?;
    Ok(bytes)
}

/// Choices that nobody outside can foresee: whom to ask first, how long to
/// wait. Keys are made of [`fresh`] and never of this.
///
/// It is BLAKE3's output stream under a seed, so that a simulation can repeat
/// what it did.
pub struct Dice(blake3::OutputReader);

impl Dice {
    /// Dice under a seed of the operating system.
    ///
    /// A process makes its keys of such bytes before it comes here. If they
    /// were to fail now, choices become foreseeable, which is told and no
    /// reason to stop.
    #[must_use]
    pub fn fresh() -> Self {
        match fresh() {
            Ok(seed) => Self::seeded(&seed),
            Err(error) => {
                tracing::error!(because = %crate::report::chain(&error), "choices can be foreseen");
                Self::seeded(&[0; 32])
            }
        }
    }

    /// Dice that fall the same under the same seed.
    #[must_use]
    pub fn seeded(seed: &[u8; 32]) -> Self {
        Self(
            blake3::Hasher::new_derive_key("zipnet/dice/v1")
                .update(seed)
                .finalize_xof(),
        )
    }

    /// A number from 0 to below `bound`, each as likely; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // What is beyond the last whole multiple of the bound is drawn again:
        // the low numbers would else come up more often.
        let Some(odd) = (u64::MAX % bound.max(1)).checked_add(1) else {
            return 0;
        };
        let odd = odd % bound.max(1);
        loop {
            let mut bytes = [0; 8];
            self.0.fill(&mut bytes);
            let drawn = u64::from_le_bytes(bytes);
            if drawn <= u64::MAX - odd {
                return drawn.checked_rem(bound).unwrap_or(0);
            }
        }
    }

    /// A place in something of this length.
    pub fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// A time from nothing to `longest`, in whole microseconds.
    pub fn time(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.below(micros.saturating_add(1)))
    }

    /// Puts things in an order of which each is as likely.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.place(last + 1));
        }
    }
}

impl fmt::Debug for Dice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dice(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn the_same_seed_falls_the_same_and_fresh_dice_do_not() {
        let draw = |mut dice: Dice| -> Vec<u64> { (0..8).map(|_| dice.below(1 << 40)).collect() };
        assert_eq!(draw(Dice::seeded(&[1; 32])), draw(Dice::seeded(&[1; 32])));
        assert_ne!(draw(Dice::seeded(&[1; 32])), draw(Dice::seeded(&[2; 32])));
        assert_ne!(draw(Dice::fresh()), draw(Dice::fresh()));
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_all_of_it() {
        let mut dice = Dice::seeded(&[3; 32]);
        for bound in [0, 1, 2, 7, u64::MAX] {
            for _ in 0..64 {
                let drawn = dice.below(bound);
                assert!(drawn < bound.max(1), "{drawn} of {bound}");
            }
        }
        let seen: BTreeSet<_> = (0..200).map(|_| dice.below(7)).collect();
        assert_eq!(seen.len(), 7);
        for _ in 0..64 {
            assert!(dice.time(Duration::from_millis(3)) <= Duration::from_millis(3));
        }
        assert_eq!(dice.time(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a6_each_order_is_as_likely() {
        let mut dice = Dice::seeded(&[4; 32]);
        let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        let rounds = 6_000;
        for _ in 0..rounds {
            let mut things = vec![1, 2, 3];
            dice.shuffle(&mut things);
            *seen.entry(things).or_default() += 1;
        }
        assert_eq!(seen.len(), 6);
        // Five standard deviations of 1,000 are 145.
        assert!(
            seen.values().all(|times| times.abs_diff(1_000) < 145),
            "{seen:?}"
        );
    }
}
