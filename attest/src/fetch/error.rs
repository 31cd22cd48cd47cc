//! Why collateral could not be fetched.

use std::time::Duration;

use super::{MAX_ADDRESS, MAX_HEADER};
use crate::{collateral::MAX_COLLATERAL, platforms::Platforms, rules::Refusal};

/// Collateral could not be fetched. But for [`FetchError::Address`], a later
/// attempt, or another source, may fare better.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing to fetch from.
    #[error(
        "{address:?} is no address to fetch from; `http` or `https`, a host and at most a path, {MAX_ADDRESS} bytes in all, would be right"
    )]
    Address {
        /// What was named, shortened.
        address: String,
    },
    /// Nobody there, or nobody who speaks HTTP.
    #[error("Could not fetch {url}; a PCCS or PCS that can be reached would be right")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// No answer in time.
    #[error("{url} did not answer within {limit:?}; a whole answer in that time would be right")]
    Late {
        /// What was asked.
        url: String,
        /// How long was waited.
        limit: Duration,
    },
    /// Something else than what was asked for. 404 says that the platform is
    /// not known there.
    #[error(
        "{url} answered with status {status}; 200 would be right, from a PCCS or PCS of version 4 that knows the platform"
    )]
    Status {
        /// What was asked.
        url: String,
        /// HTTP's.
        status: u16,
    },
    /// More than collateral has.
    #[error(
        "{url} answered with a body of more than {MAX_COLLATERAL} bytes; at most that many would be right"
    )]
    LongBody {
        /// What was asked.
        url: String,
    },
    /// More than issuer chains have.
    #[error(
        "{url} answered with a header of more than {MAX_HEADER} bytes; at most that many would be right"
    )]
    LongHeader {
        /// What was asked.
        url: String,
    },
    /// No certificates of who signed.
    #[error(
        "{url} answered without a header {header} that can be read; a percent-encoded PEM chain would be right"
    )]
    Chain {
        /// What was asked.
        url: String,
        /// Which header.
        header: &'static str,
    },
    /// No signed JSON.
    #[error(
        "{url} answered with something else; JSON with `{part}` and a `signature` in hex would be right"
    )]
    Json {
        /// What was asked.
        url: String,
        /// The signed part.
        part: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No revocation list.
    #[error(
        "{url} answered with something else; an X.509 CRL in DER, or that in hex, would be right"
    )]
    List {
        /// What was asked.
        url: String,
    },
    /// The parts do not make up collateral.
    #[error(
        "{address} answered with parts that are no collateral; those of API version 4 would be right"
    )]
    Form {
        /// Who was asked.
        address: String,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// Of something else.
    #[error("{address} answered with collateral of {found}; that of {asked} would be right")]
    Other {
        /// Who was asked.
        address: String,
        /// What came.
        found: Platforms,
        /// What was asked for.
        asked: Platforms,
    },
}

impl FetchError {
    /// What ureq says of a request that had `limit`.
    pub(super) fn of(error: ureq::Error, url: &str, limit: Duration) -> Self {
        let url = url.to_owned();
        match error {
            ureq::Error::Timeout(_) => Self::Late { url, limit },
            ureq::Error::BodyExceedsLimit(_) => Self::LongBody { url },
            ureq::Error::LargeResponseHeader(..) => Self::LongHeader { url },
            error => Self::Unreachable {
                url,
                source: Box::new(error),
            },
        }
    }
}
