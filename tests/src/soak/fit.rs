//! A line through samples of several lives of one process, each of which begins
//! at a height of its own.

/// A line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// How much it rises, a second.
    pub slope: f64,
    /// The standard error of that. Samples that follow upon each other are alike, and
    /// count for less (AR(1)).
    pub error: f64,
    /// How many samples there are.
    pub samples: usize,
    /// How long the longest of the series is.
    pub seconds: f64,
}

/// Fits one slope to several series of `(seconds, value)` with an intercept each,
/// by least squares. `None` if too little is known.
#[must_use]
pub fn within(series: &[Vec<(f64, f64)>]) -> Option<Fit> {
    let mut centred = Vec::new();
    for samples in series.iter().filter(|samples| samples.len() > 2) {
        let count = count(samples.len());
        let at = samples.iter().map(|(at, _)| at).sum::<f64>() / count;
        let value = samples.iter().map(|(_, value)| value).sum::<f64>() / count;
        centred.push(
            samples
                .iter()
                .map(|(x, y)| (x - at, y - value))
                .collect::<Vec<_>>(),
        );
    }
    let all = || centred.iter().flatten();
    let samples = all().count();
    let spread: f64 = all().map(|(x, _)| x * x).sum();
    let freedom = samples
        .checked_sub(centred.len() + 1)
        .filter(|left| *left > 0)?;
    if spread <= 0.0 {
        return None;
    }
    let long = |samples: &Vec<(f64, f64)>| Some(samples.last()?.0 - samples.first()?.0);
    let seconds = centred.iter().filter_map(long).fold(0.0, f64::max);
    let slope = all().map(|(x, y)| x * y).sum::<f64>() / spread;
    let rest: Vec<Vec<f64>> = centred
        .iter()
        .map(|samples| samples.iter().map(|(x, y)| y - slope * x).collect())
        .collect();
    let squares: f64 = rest.iter().flatten().map(|rest| rest * rest).sum();
    let neighbours = rest
        .iter()
        .flat_map(|rest| rest.iter().zip(rest.iter().skip(1)));
    let alike = if squares > 0.0 {
        (neighbours.map(|(one, next)| one * next).sum::<f64>() / squares).clamp(0.0, 0.98)
    } else {
        0.0
    };
    let error = (squares / count(freedom) / spread * (1.0 + alike) / (1.0 - alike)).sqrt();
    Some(Fit {
        slope,
        error,
        samples,
        seconds,
    })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
const fn count(samples: usize) -> f64 {
    samples as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_of_other_heights_have_one_slope() {
        let life = |from: u32, height: f64| {
            (0..30)
                .map(|at| (f64::from(from + at), height + 3.0 * f64::from(at)))
                .collect::<Vec<_>>()
        };
        let fit = within(&[life(0, 10.0), life(100, 5000.0)]).unwrap();
        assert!((fit.slope - 3.0).abs() < 1e-9, "{fit:?}");
        assert!(fit.error < 1e-6, "{fit:?}");
        assert_eq!(fit.samples, 60);
    }

    #[test]
    fn noise_has_no_slope_beyond_its_error_and_a_leak_has() {
        let mut dice = crate::sim::rng::Rng::new(3);
        let mut life = |slope: f64| {
            let samples = (0..200).map(|at| {
                let at = f64::from(at);
                (at, slope * at + 100.0 * dice.unit())
            });
            within(&[samples.collect()]).unwrap()
        };
        let flat = life(0.0);
        assert!(flat.slope.abs() < 3.0 * flat.error, "{flat:?}");
        let leak = life(1.0);
        assert!(leak.slope > 5.0 * leak.error, "{leak:?}");
    }

    #[test]
    fn too_little_is_nothing() {
        assert_eq!(within(&[]), None);
        assert_eq!(within(&[vec![(0.0, 1.0), (1.0, 2.0)]]), None);
        assert_eq!(within(&[vec![(1.0, 1.0); 9]]), None);
    }
}
