//! Pads: what hides an envelope from everyone but the servers.
//!
//! The pad of client *i* and server *j* in a round is the ChaCha20 keystream
//! (zero nonce, counter from 0) under
//!
//! ```text
//! HKDF-SHA256(salt = context, ikm = X25519(i, j), info = "zipnet/pad/v1" ‖ client_id ‖ server_id)
//! ```
//!
//! and goes by XOR straight into the accumulator; no pad is ever stored.

use core::fmt;

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use hkdf::HkdfExtract;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ids::{ClientId, RoundContext, ServerId};

/// A shared secret between a client and a server: 32 bytes, zeroized on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PadSecret([u8; 32]);

impl PadSecret {
    pub(crate) const fn new(shared: [u8; 32]) -> Self {
        Self(shared)
    }
}

impl fmt::Debug for PadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PadSecret(..)")
    }
}

/// Derives the pads of one round. The HMAC state of the salt is computed once.
#[derive(Clone)]
pub struct RoundPads {
    salted: HkdfExtract<Sha256>,
}

impl RoundPads {
    /// The pads of a round context.
    #[must_use]
    pub fn new(context: &RoundContext) -> Self {
        Self {
            salted: HkdfExtract::new(Some(context.as_bytes())),
        }
    }

    /// XORs the pad of a client and a server into `accumulator`.
    pub fn xor_into(
        &self,
        accumulator: &mut [u8],
        secret: &PadSecret,
        client: &ClientId,
        server: &ServerId,
    ) {
        let mut key = self.key(secret, client, server);
        ChaCha20::new((&*key).into(), &[0; 12].into()).apply_keystream(accumulator);
        key.zeroize();
    }

    /// The 32-byte ChaCha20 key of a pad.
    fn key(&self, secret: &PadSecret, client: &ClientId, server: &ServerId) -> Zeroizing<[u8; 32]> {
        let mut extract = self.salted.clone();
        extract.input_ikm(&secret.0);
        let (_, hkdf) = extract.finalize();
        let mut key = Zeroizing::new([0; 32]);
        let info = [
            b"zipnet/pad/v1".as_slice(),
            client.as_bytes(),
            server.as_bytes(),
        ];
        // 32 bytes are one block of the hash: far below HKDF's limit of 255.
        let _ = hkdf.expand_multi_info(&info, key.as_mut_slice());
        key
    }
}

impl fmt::Debug for RoundPads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoundPads(..)")
    }
}

/// XORs `from` into `into`, over the shorter of both.
pub(crate) fn xor(into: &mut [u8], from: &[u8]) {
    for (to, from) in into.iter_mut().zip(from) {
        *to ^= from;
    }
}
