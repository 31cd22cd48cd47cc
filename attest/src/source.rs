//! Where quotes come from.

use crate::tsm::TsmSource;

/// Why there is no quote: an error of the source.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Something that makes quotes of the TD that this process runs in.
pub trait QuoteSource: Send + Sync {
    /// A quote over 64 bytes of report data. May take seconds.
    ///
    /// # Errors
    /// The source's own.
    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, SourceError>;
}

impl QuoteSource for TsmSource {
    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, SourceError> {
        Ok(Self::quote(self, report_data)?)
    }
}
