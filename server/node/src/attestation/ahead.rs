//! Members whose evidence is of a later time than this process's clock.
//!
//! A statement that is not in force yet is refused, and that alone does no harm: a
//! guest whose host has turned the clock back is of no use to anybody. But if
//! members on two machines say so with evidence that holds at that time, the
//! clock is behind, and knows from then on. One machine is not enough: its host
//! could push the others' clocks forward, as far as its collateral reaches. Two hosts
//! still can, so what members say does not outlive the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use zipnet_attest::{Collateral, Evidence, Expected};

use super::{Authority, InForce};

/// Most machines that are remembered.
const MAX_MACHINES: usize = 64;

/// From when on the newest statement of each machine is, by platform instance id.
#[derive(Debug, Default)]
pub(super) struct Ahead(Mutex<BTreeMap<[u8; 16], u64>>);

impl Ahead {
    /// Adds what a machine says; yields the time that two say has passed.
    fn say(&self, machine: [u8; 16], time: u64) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= MAX_MACHINES && !said.contains_key(&machine) {
            return None;
        }
        let latest = said.entry(machine).or_default();
        *latest = time.max(*latest);
        let mut times: Vec<_> = said.values().copied().collect();
        times.sort_unstable();
        times.iter().rev().nth(1).copied()
    }
}

impl Authority {
    /// Looks at evidence that is of a later time; what is verified is verified for
    /// that time.
    pub(super) fn hear_of_later(
        &self,
        policy: &InForce,
        evidence: &Evidence,
        shown: &Collateral,
        expected: &Expected,
    ) {
        let at = evidence.statement.not_before;
        let Ok(used) = self.to_judge_by(policy, &evidence.quote, shown, at) else {
            return;
        };
        let verified = policy.verifier.verify(evidence, &used, expected, at);
        let machine = verified
            .ok()
            .and_then(|verified| verified.genuine().platform_instance());
        if let Some(time) = machine.and_then(|machine| self.ahead.say(machine, at)) {
            self.clock.heard(time, &"members on two machines");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f7_two_machines_are_believed_and_one_is_not() {
        let ahead = Ahead::default();
        assert_eq!(ahead.say([1; 16], 500), None);
        assert_eq!(ahead.say([1; 16], 900), None, "the same one again");
        assert_eq!(ahead.say([2; 16], 600), Some(600), "the lower of both");
        assert_eq!(ahead.say([3; 16], 700), Some(700));
    }
}
