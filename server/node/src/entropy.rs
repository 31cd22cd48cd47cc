//! The one place where randomness comes from.

use zeroize::Zeroizing;

/// The operating system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("The operating system gave no random bytes")]
pub struct EntropyError(#[source] getrandom::Error);

/// Thirty-two bytes from the operating system.
///
/// # Errors
/// [`EntropyError`]; without randomness nothing here may go on.
pub fn fresh() -> Result<Zeroizing<[u8; 32]>, EntropyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(EntropyError)?;
    Ok(bytes)
}
