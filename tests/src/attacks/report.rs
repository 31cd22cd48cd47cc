//! What the attacks learnt, as a table.

use core::fmt;

/// Most that chance alone may explain of an attack's success before it counts as won.
pub const ALPHA: f64 = 1e-6;

/// What came of an attack under one rule.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// In words, with figures.
    pub learnt: String,
    /// Chance that it learnt as much by guessing uniformly among the honest
    /// participants that stayed (or an attack of another kind: 0 if it did what it
    /// wanted, 1 if not).
    pub by_chance: f64,
    /// Whether everybody knows who it was, where the design says so.
    pub named: Option<bool>,
}

impl Outcome {
    /// Whether the attacker got what it wanted.
    #[must_use]
    pub fn won(&self) -> bool {
        self.by_chance < ALPHA
    }

    /// Of an attack that either does what it wants or not.
    #[must_use]
    pub const fn done(done: bool, learnt: String) -> Self {
        Self {
            learnt,
            by_chance: if done { 0.0 } else { 1.0 },
            named: None,
        }
    }
}

/// An attack with its control.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its number in the review.
    pub attack: &'static str,
    /// In words.
    pub title: &'static str,
    /// What it tries to break.
    pub invariant: &'static str,
    /// Under the rule of release 0.1.0.
    pub before: Outcome,
    /// Under the rules as they are.
    pub after: Outcome,
    /// What it ran on.
    pub on: &'static str,
}

impl Row {
    /// What is wrong with the outcome: the control has to be broken, and the rules as
    /// they are must not.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let Self { attack, .. } = self;
        if !self.before.won() {
            let learnt = &self.before.learnt;
            return Some(format!(
                "{attack} does not win against its control: {learnt}"
            ));
        }
        let learnt = &self.after.learnt;
        if self.after.won() {
            return Some(format!("{attack} works: {learnt}"));
        }
        (self.after.named == Some(false))
            .then(|| format!("{attack} does not work, and nobody knows who tried: {learnt}"))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            attack,
            title,
            invariant,
            before,
            after,
            on,
        } = self;
        let verdict = |outcome: &Outcome| if outcome.won() { "WON " } else { "held" };
        writeln!(f, "{attack:<4} {invariant:<8} {title} ({on})")?;
        for (name, outcome) in [("0.1.0", before), ("now", after)] {
            writeln!(
                f,
                "     {name:<6} {}  p {:>8.1e}  {}",
                verdict(outcome),
                outcome.by_chance,
                outcome.learnt
            )?;
        }
        Ok(())
    }
}
