//! The attacks of the review as programs.
//!
//! Each is run twice: against the rule of release 0.1.0, written down here as a small
//! policy (the control), and against the rules as they are. Against the control it must
//! win, or it tests nothing; against the rules as they are, what it learns must be no more
//! than a uniform guess among the honest participants that stayed, by an exact test at
//! [`ALPHA`]. Seeds are fixed in the short form. Those on evidence and provisioning (F) either
//! get what they want or do not.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "everything that is indexed or expected here was made here; otherwise the test is wrong and fails"
)]

mod a01;
mod a02;
mod a03;
mod a08;
mod a09;
mod a10;
mod a13;
mod a15;
mod d1;
pub mod doors;
mod f1;
mod f2;
mod f3;
mod f4;
mod f5;
mod f7;
mod f8;
pub mod ground;
pub mod report;
pub mod stage;
pub mod stats;

pub use report::{ALPHA, Outcome, Row};

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In less than a minute.
    Short,
    /// Ten times as much.
    Long,
}

impl Form {
    const fn trials(self, short: u64) -> u64 {
        match self {
            Self::Short => short,
            Self::Long => short * 10,
        }
    }
}

/// An attack, by its name.
pub type Attack = (&'static str, fn(Form) -> Row);

/// All of them.
pub const ATTACKS: &[Attack] = &[
    ("A1", |form| a01::run(form.trials(100))),
    ("A2", |form| a02::run_model(form.trials(20))),
    ("A2", |form| a02::run_real(form.trials(20))),
    ("A2", |form| a02::run_decoy(form.trials(20))),
    ("A3", |form| a03::run(form.trials(20))),
    ("A8", |form| a08::run(form.trials(30))),
    ("A9", |form| a09::run(form.trials(20))),
    ("A10", |form| a10::run(form.trials(5))),
    ("A13", |form| a13::run(form.trials(1))),
    ("A15", |form| a15::run(form.trials(10))),
    ("D1", |_| d1::run()),
    ("F1", |_| f1::run()),
    ("F2", |form| f2::run(form.trials(1))),
    ("F3", |_| f3::run()),
    ("F4", |_| f4::run()),
    ("F5", |_| f5::run()),
    ("F7", |_| f7::run()),
    ("F8", |form| f8::run(form.trials(4))),
];

/// Runs an attack where partials are computed in the thread that asks for them.
#[must_use]
pub fn run(attack: fn(Form) -> Row, form: Form) -> Row {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    pool.expect("a thread").install(|| attack(form))
}
