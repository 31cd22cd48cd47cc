//! How what is measured grows with the clients.

use super::say;

/// What was measured with so many clients, by name.
pub struct Stage {
    pub clients: usize,
    pub measured: Vec<(String, f64)>,
}

/// Prints each of what was measured, and the exponent of `a * clients^exponent` that fits
/// best: 1 is linear, 0 constant.
pub fn say_growth(stages: &[Stage]) {
    let Some(first) = stages.first() else { return };
    say("");
    let counts: Vec<_> = stages
        .iter()
        .map(|stage| stage.clients.to_string())
        .collect();
    say(&format!(
        "| a round of so many clients | {} | exponent |",
        counts.join(" | ")
    ));
    say(&format!("| --- | {}--- |", "--- | ".repeat(stages.len())));
    for (name, _) in &first.measured {
        let values = stages.iter().filter_map(|stage| {
            let found = stage.measured.iter().find(|(other, _)| other == name);
            found.map(|(_, value)| (stage.clients as f64, *value))
        });
        let values: Vec<_> = values.collect();
        let shown: Vec<_> = values
            .iter()
            .map(|(_, value)| format!("{value:.1}"))
            .collect();
        say(&format!(
            "| {name} | {} | {:.2} |",
            shown.join(" | "),
            exponent(&values)
        ));
    }
}

/// The slope of the line through the logarithms with the least squares.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<_> = points
        .iter()
        .map(|(x, y)| (x.ln(), y.max(1e-9).ln()))
        .collect();
    let count = logs.len() as f64;
    let (x, y) = logs
        .iter()
        .fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let (x, y) = (x / count, y / count);
    let (up, over) = logs.iter().fold((0.0, 0.0), |sum, one| {
        let away = one.0 - x;
        (sum.0 + away * (one.1 - y), sum.1 + away * away)
    });
    up / over
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_of_powers_are_found() {
        for exact in [0.0, 0.5, 1.0, 2.0] {
            let points = [1000.0, 2000.0, 10_000.0].map(|x: f64| (x, 3.0 * x.powf(exact)));
            assert!((exponent(&points) - exact).abs() < 1e-9);
        }
    }
}
