//! What can go wrong while a world is built.

use std::{array::TryFromSliceError, num::TryFromIntError};

/// Why a simulated world could not be built.
///
/// All of them are faults of the caller's options (or, with probability about 2⁻³², of the seed);
/// making quotes in a world that was built cannot fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// Adding to or subtracting from the issue time left the range of Unix seconds.
    #[error("A time of the simulated world is out of range")]
    TimeOutOfRange,
    /// The collateral would never be valid.
    #[error("The collateral window from {from} to {to} is empty")]
    EmptyCollateralWindow {
        /// `issueDate` of the collateral, Unix seconds.
        from: u64,
        /// `nextUpdate` of the collateral, Unix seconds.
        to: u64,
    },
    /// The digest of seed and label is no scalar of P-256.
    #[error("The seed gives no P-256 key for {label}, choose another seed")]
    Key {
        /// Which key was derived.
        label: &'static str,
        /// The curve library's reason.
        #[source]
        source: p256::ecdsa::Error,
    },
    /// A public key is not a 64-byte point.
    #[error("A simulated public key is not an uncompressed P-256 point")]
    PublicKey(#[source] TryFromSliceError),
    /// A public key or algorithm could not be written as a `SubjectPublicKeyInfo`.
    #[error("A simulated public key could not be encoded")]
    PublicKeyInfo(#[from] x509_cert::spki::Error),
    /// A time, name or extension could not be written as DER.
    #[error("A part of a simulated certificate or CRL could not be encoded")]
    Der(#[from] der::Error),
    /// A certificate or CRL could not be put together or signed.
    #[error("A simulated certificate or CRL could not be built")]
    Certificate(#[from] x509_cert::builder::Error),
    /// The certification data is longer than its length field can say.
    #[error("A length field of the simulated quote overflows")]
    TooLong(#[from] TryFromIntError),
}
