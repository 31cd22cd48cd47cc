//! Attacks on the committee's replicated state, over a committee in memory.

pub(crate) mod fixture;

mod aggregates;
mod aggregators;
mod ahead;
pub(crate) mod attested;
mod boots;
mod certified;
mod commitments;
mod evidence;
mod evidence_policy;
mod floors;
mod force;
mod gaps;
mod guards;
mod invites;
mod leader;
mod leases;
mod leaves;
mod machines;
pub(crate) mod made_up;
mod membership;
mod partials;
mod partition;
mod resume;
mod ring;
mod server;
mod signatures;
mod snapshots;
mod strikes;
mod totality;
mod untrusted_snapshots;
mod wire;
