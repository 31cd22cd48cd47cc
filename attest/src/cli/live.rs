//! `verify --live`: the evidence of a server that runs now.
//!
//! This program opens no sockets to peers; `zipnet-client` does, and hands over
//! what the server shows. It has authenticated the server's peer id and
//! verified its bundle, so these are what the evidence is compared with.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::hexes::Hexes;
use serde::Deserialize;

use crate::cli::given::Known;

/// The program that reaches peers.
const CLIENT: &str = "zipnet-client";

/// A server's evidence could not be had: nothing is decided by that.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The client.
    #[error(
        "Could not run {path}, which fetches evidence from servers; {CLIENT} beside this program or on PATH would be right",
        path = .path.display()
    )]
    Start {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It has said why.
    #[error("{CLIENT} got no evidence of {peer}; what it said is above")]
    Failed {
        /// Of whom.
        peer: String,
    },
    /// It spoke in tongues.
    #[error("What {CLIENT} says is not of its format; one of this version would be right")]
    Form(#[source] serde_json::Error),
}

/// What a server shows.
pub struct Shown {
    pub evidence: Vec<u8>,
    pub collateral: Vec<u8>,
    pub known: Known,
}

#[derive(Deserialize)]
struct Answer {
    instance: Hexes<32>,
    server: Hexes<32>,
    peer: Hexes<32>,
    x25519: Hexes<32>,
    signing: Hexes<32>,
    #[serde(with = "hex::serde")]
    evidence: Vec<u8>,
    collateral: String,
}

/// Has the client fetch what a server of an instance shows. Its network
/// settings come from the environment.
pub fn fetch(peer: &str, name: &str) -> Result<Shown, LiveError> {
    let beside = env::current_exe()
        .ok()
        .map(|exe| exe.with_file_name(CLIENT));
    let path = beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(CLIENT));
    let output = Command::new(&path)
        .args(["--instance", name, "--bootstrap", peer, "evidence", peer])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| LiveError::Start { path, source })?;
    if !output.status.success() {
        return Err(LiveError::Failed {
            peer: peer.to_owned(),
        });
    }
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(LiveError::Form)?;
    Ok(Shown {
        evidence: answer.evidence,
        collateral: answer.collateral.into_bytes(),
        known: Known {
            instance: Some(answer.instance.0),
            server: Some(answer.server.0),
            peer: Some(answer.peer.0),
            x25519: Some(answer.x25519.0),
            signing: Some(answer.signing.0),
            config: None,
        },
    })
}
