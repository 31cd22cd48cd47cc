//! What a user gives to verify by.

use std::path::PathBuf;

use crate::{
    hexes::Hexes,
    provision::MAX_CONFIG,
    tcb::{TcbRules, TcbStatus},
};
use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::cli::{FileError, files};

/// By what to verify.
#[derive(Debug, Args)]
pub struct How {
    /// File that holds its platform's collateral, as `QuoteCollateralV3` JSON; without
    /// one nothing can be decided
    #[arg(long, value_name = "FILE")]
    pub collateral: Option<PathBuf>,
    /// The time to verify for, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    pub at: Option<u64>,
    /// Who ends every certificate chain: `intel`, or a file with a certificate
    #[arg(long, value_name = "intel|FILE", default_value = "intel")]
    pub root: String,
    /// TCB statuses to accept, comma separated
    #[arg(long, value_name = "STATUS", value_delimiter = ',', default_value = "UpToDate", value_parser = TcbRules::parse_status)]
    pub accept_tcb: Vec<TcbStatus>,
    /// TDATTRIBUTES that a bare quote has to have, to the bit: 8 bytes as hex. With a policy,
    /// that of the policy counts
    #[arg(long, value_name = "HEX", default_value = "0000001000000000")]
    pub attributes: Hexes<8>,
}

/// What the user knows of the server by himself. What is not given is taken
/// from the statement, and named as not compared.
#[derive(Debug, Args)]
pub struct Known {
    /// The instance's id, 32 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = key)]
    pub instance: Option<[u8; 32]>,
    /// The server's id, 32 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = key)]
    pub server: Option<[u8; 32]>,
    /// The server's peer id, 32 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = key)]
    pub peer: Option<[u8; 32]>,
    /// The X25519 key of its bundle, 32 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = key)]
    pub x25519: Option<[u8; 32]>,
    /// The committee signing key of its bundle, 32 bytes as hex
    #[arg(long, value_name = "HEX", value_parser = key)]
    pub signing: Option<[u8; 32]>,
    /// The file of public settings that it was launched with
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Known {
    /// The digest of its settings.
    pub fn config(&self) -> Result<Option<[u8; 32]>, FileError> {
        let config = self.config.as_deref();
        let bytes = config
            .map(|path| files::read(path, MAX_CONFIG))
            .transpose()?;
        Ok(bytes.map(|bytes| Sha256::digest(bytes).into()))
    }
}

fn key(text: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| "64 hex digits would be right".to_owned())?;
    Ok(bytes)
}
