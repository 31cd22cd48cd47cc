//! The registers in a TD quote, to compare them.
//!
//! Nothing is verified here: `zipnet-attest` does that. Layout: Intel, "TDX DCAP
//! Quoting Library API", appendix A.3 (version 4) and A.4 (version 5).

use crate::{
    bytes::{Reader, Truncated},
    digest::{Digest, Digest384},
};

/// Longest quote that is looked at, in bytes.
pub const MAX_QUOTE: usize = 64 << 10;

const TEE_TDX: u32 = 0x81;

/// Bytes are no TD quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Cut off.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// Of another version.
    #[error("No TD quote: the version at offset 0x0 is {found}; 4 or 5 would be right")]
    Version {
        /// By its word.
        found: u16,
    },
    /// Of another TEE.
    #[error("No TD quote: the TEE type at offset 0x4 is {found:#x}; 0x81 would be right")]
    Tee {
        /// By its word.
        found: u32,
    },
}

/// The measurements of a TD, 48 bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuoteRegisters {
    /// MRTD.
    pub mrtd: Digest384,
    /// RTMR0 to RTMR3.
    pub rtmr: [Digest384; 4],
}

impl QuoteRegisters {
    /// Takes the registers out of a quote of version 4 or 5. Anybody can write
    /// such bytes.
    ///
    /// # Errors
    /// [`QuoteError`].
    pub fn parse(quote: &[u8]) -> Result<Self, QuoteError> {
        let mut reader = Reader::at(quote, 0);
        let version = reader.u16("the version")?;
        let body = match version {
            4 => 48,
            // Type and size of the body come first.
            5 => 54,
            found => return Err(QuoteError::Version { found }),
        };
        let _key_type = reader.u16("the key type")?;
        let found = reader.u32("the TEE type")?;
        if found != TEE_TDX {
            return Err(QuoteError::Tee { found });
        }
        let mut reader = Reader::at(quote, body + 136);
        let mrtd = Digest(reader.array("MRTD")?);
        reader.take(3 * 48, "MRCONFIGID to MROWNERCONFIG")?;
        let rtmr = [
            Digest(reader.array("RTMR0")?),
            Digest(reader.array("RTMR1")?),
            Digest(reader.array("RTMR2")?),
            Digest(reader.array("RTMR3")?),
        ];
        Ok(Self { mrtd, rtmr })
    }
}
