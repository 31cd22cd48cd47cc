//! Evidence: a statement and the quote that binds it.

use crate::{
    quote::MAX_QUOTE,
    rules::{Refusal, Rule},
    statement::{STATEMENT_BYTES, Statement},
};

/// Longest evidence, in bytes.
pub const MAX_EVIDENCE: usize = TAG.len() + STATEMENT_BYTES + MAX_QUOTE;

/// First 16 bytes of encoded evidence.
const TAG: &[u8; 16] = b"zipnet-evidence1";

/// What a server shows of itself. Collateral travels beside it: it is Intel's
/// and the same for many servers.
///
/// Not verified: anybody can put these bytes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What the TD states.
    pub statement: Statement,
    /// Its quote, without padding.
    pub quote: Vec<u8>,
}

impl Evidence {
    /// The bytes of the evidence: a tag of 16 bytes, the statement, the quote.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&TAG[..], &self.statement.encode(), &self.quote].concat()
    }

    /// Reads evidence back. The quote is not looked at.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-701, ZA-704 or ZA-714.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_EVIDENCE {
            return Err(Rule::EvidenceForm.refuse(
                format!("{} bytes", bytes.len()),
                format!("at most {MAX_EVIDENCE}"),
            ));
        }
        let rest = bytes
            .strip_prefix(TAG)
            .ok_or_else(|| Rule::EvidenceForm.refuse("another beginning", TAG.escape_ascii()))?;
        let Some((statement, quote)) = rest.split_at_checked(STATEMENT_BYTES) else {
            return Err(Rule::EvidenceForm.refuse(
                format!("{} bytes", bytes.len()),
                format!("at least {}", TAG.len() + STATEMENT_BYTES),
            ));
        };
        Ok(Self {
            statement: Statement::decode(statement)?,
            quote: quote.to_vec(),
        })
    }
}
