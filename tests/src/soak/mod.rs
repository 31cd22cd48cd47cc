//! `make soak`: a deployment under load, and faults out of a seed.
//!
//! [`plan`] says which faults come when, [`link`] is the network that they happen
//! in, [`cluster`] the processes that they happen to, and [`load`] the clients among
//! these. [`observe`] gathers what is seen from outside, [`verdict`] judges it, and
//! [`report`] shows it.
//!
//! The one who judges has no part in the committee's code: all it knows is what
//! processes print.

pub mod chart;
pub mod cluster;
pub mod fit;
pub mod link;
pub mod load;
pub mod observe;
pub mod plan;
pub mod report;
pub mod run;
pub mod verdict;
