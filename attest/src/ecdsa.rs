//! ECDSA over P-256 with SHA-256, with signatures as quotes and collateral have
//! them: 64 bytes, r then s.

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// Whether a key signed a text. The key is as certificates have it: a byte 4,
/// then x and y.
pub(crate) fn is_signed(key: &[u8], text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
        .verify(text, signature)
        .is_ok()
}

/// [`is_signed`], with a key as quotes have it: x and y alone.
pub(crate) fn is_signed_by_bare(key: &[u8], text: &[u8], signature: &[u8]) -> bool {
    is_signed(&[&[4], key].concat(), text, signature)
}
