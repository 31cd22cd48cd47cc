//! A committee and its clients in memory, made of fixed seeds, and evidence of a simulated
//! Intel: for tests, here and of other crates.
//!
//! Rounds are played by the protocol's own functions; no state is replicated, and no
//! server guards itself.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "it is for tests"
)]

pub mod evidence;
pub mod here;
mod server;
mod state;
pub mod tree;
mod world;

use zeroize::Zeroizing;
use zipnet_protocol::{
    AdmittedServer, Certification, Certifications, CertifiedRound, Digest, Epoch, Nonce, Partial,
    RosterEntry, Round, SignedPartial, SigningSecret, commitments_digest,
};

pub use here::Here;
pub use server::Server;
pub use state::{Current, Final, State};
pub use world::{Shape, World, made_up};

/// The epoch that honest leaders of these tests pick.
pub const EPOCH: Epoch = Epoch::new([0xee; 32]);
/// Any digest that is none of ours.
pub const NOBODY: Digest = Digest::new([0x99; 32]);

/// Thirty-two bytes that belong to a label and two numbers.
pub fn entropy(label: &str, index: usize, boot: u64) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(*blake3::hash(format!("{label} {index} {boot}").as_bytes()).as_bytes())
}

/// A nonce that belongs to a number.
pub fn nonce(seed: u64) -> Nonce {
    Nonce::new(*entropy("nonce", 0, seed))
}

/// The transport key of an aggregator.
pub fn aggregator(seed: usize) -> SigningSecret {
    SigningSecret::from_seed(&entropy("aggregator transport", seed, 0))
}

pub fn entry(server: &AdmittedServer) -> RosterEntry {
    RosterEntry {
        server: *server.id(),
        bundle: *server.digest(),
    }
}

/// A round that its roster certifies whatever the guards would say.
pub fn certified_anyhow<'a>(
    servers: impl IntoIterator<Item = &'a Server>,
    round: &Round,
) -> CertifiedRound {
    let mut all = Certifications::default();
    let mut certified = None;
    for server in servers {
        if round.server(&server.id()).is_some() {
            let word = Certification::sign(*round.context(), server.id(), &server.signing);
            certified = all.add(round, &word).unwrap();
        }
    }
    certified.unwrap()
}

/// Partials that their servers sign for the commitments to them, whatever they ought to.
pub fn give_all(servers: &[&Server], partials: &[Partial]) -> Vec<SignedPartial> {
    let Some(first) = partials.first() else {
        return Vec::new();
    };
    let all = partials.iter().map(|one| (one.server(), one.commitment()));
    let commitments = commitments_digest(first.context(), first.aggregate(), all);
    let signing = |partial: &Partial| {
        let server = servers
            .iter()
            .find(|server| server.id() == *partial.server());
        partial.sign(commitments, &server.unwrap().signing)
    };
    partials.iter().map(signing).collect()
}

/// Seconds since 1970.
pub fn clock() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}
