//! Whether an attacker knows more than it should: exact tests.

/// Chance that somebody who guesses uniformly is right at least `right` times, where
/// guess *i* is right with probability `chances[i]` (Poisson binomial, by convolution).
#[must_use]
pub fn tail(chances: &[f64], right: usize) -> f64 {
    // Of exactly so many right guesses.
    let mut exactly = vec![1.0];
    for chance in chances {
        let mut next = vec![0.0; exactly.len() + 1];
        for (count, probability) in exactly.iter().enumerate() {
            if let Some(slot) = next.get_mut(count) {
                *slot += probability * (1.0 - chance);
            }
            if let Some(slot) = next.get_mut(count + 1) {
                *slot += probability * chance;
            }
        }
        exactly = next;
    }
    let upper: f64 = exactly.iter().skip(right).sum();
    upper.clamp(0.0, 1.0)
}

/// Chance that a statistic of `degrees` freedom under chi-square is at least `value`
/// (the finite sums of Abramowitz and Stegun 26.4.4 and 26.4.5).
#[must_use]
pub fn chi_square_tail(value: f64, degrees: usize) -> f64 {
    let half = value / 2.0;
    // The first term of each sum, and what stands before it.
    let (mut sum, mut term, mut at) = if degrees.is_multiple_of(2) {
        (0.0, (-half).exp(), 0.0)
    } else {
        let first = (-half).exp() * (half / core::f64::consts::PI).sqrt() * 2.0;
        (2.0 * normal_tail(value.sqrt()), first, 0.5)
    };
    for _ in 0..degrees / 2 {
        sum += term;
        at += 1.0;
        term *= half / at;
    }
    sum
}

/// Upper tail of the normal law (Abramowitz and Stegun 7.1.26 below 3, the asymptotic
/// series above).
fn normal_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_tail(-z);
    }
    let density = (-z * z / 2.0).exp() / (2.0 * core::f64::consts::PI).sqrt();
    if z > 3.0 {
        let square = z * z;
        return density / z * (1.0 - 1.0 / square + 3.0 / (square * square));
    }
    let t = 1.0 / 0.231_641_9_f64.mul_add(z, 1.0);
    let sum = [
        1.330_274_429,
        -1.821_255_978,
        1.781_477_937,
        -0.356_563_782,
        0.319_381_530,
    ]
    .iter()
    .fold(0.0_f64, |sum, factor| sum.mul_add(t, *factor));
    density * sum * t
}

/// Chi-square of counts that should be alike, and its tail.
#[must_use]
pub fn alike(counts: &[u32]) -> f64 {
    let total: u32 = counts.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let expected = f64::from(total) / counts.len() as f64;
    let value: f64 = counts
        .iter()
        .map(|count| (f64::from(*count) - expected).powi(2) / expected)
        .sum();
    chi_square_tail(value, counts.len().saturating_sub(1))
}

/// Guesses of one attacker over many trials.
#[derive(Debug, Clone, Default)]
pub struct Guesses {
    /// The chance that a uniform guess had each time: one over the honest participants
    /// that stayed.
    pub chances: Vec<f64>,
    /// How many were right.
    pub right: usize,
}

impl Guesses {
    /// Takes a guess down.
    pub fn guess(&mut self, among: usize, right: bool) {
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        self.chances.push(1.0 / among.max(1) as f64);
        self.right += usize::from(right);
    }

    /// How often the guess was right.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let rate = self.right as f64 / self.chances.len().max(1) as f64;
        rate
    }

    /// How often a uniform guess would have been.
    #[must_use]
    pub fn uniform(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let trials = self.chances.len().max(1) as f64;
        self.chances.iter().sum::<f64>() / trials
    }

    /// Chance that a uniform guess does as well.
    #[must_use]
    pub fn tail(&self) -> f64 {
        tail(&self.chances, self.right)
    }

    /// Adds another attacker's guesses.
    pub fn add(&mut self, other: Self) {
        self.chances.extend(other.chances);
        self.right += other.right;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!(
            (found / expected - 1.0).abs() < 0.05,
            "{found:e} instead of {expected:e}"
        );
    }

    #[test]
    fn tails_are_those_of_the_tables() {
        // Of ten throws of a coin, eight or more heads: 56 of 1024.
        close(tail(&[0.5; 10], 8), 56.0 / 1024.0);
        close(tail(&[0.125; 3], 3), 1.0 / 512.0);
        close(tail(&[0.25, 0.5], 1), 0.625);
        close(tail(&[0.5; 10], 0), 1.0);
        // Tables of chi-square: 5 % and 0.1 % at 7 degrees, 1e-6 at 9.
        close(chi_square_tail(14.067, 7), 0.05);
        close(chi_square_tail(24.322, 7), 0.001);
        assert!((2e-7..5e-6).contains(&chi_square_tail(45.08, 9)));
        close(normal_tail(1.959_964), 0.025);
    }
}
