//! What the steps of a round are compared with.

use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};

/// XORs a bare ChaCha20 keystream: the floor under every pad.
pub fn chacha20(buffer: &mut [u8]) {
    use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
    chacha20::ChaCha20::new(&[7; 32].into(), &[0; 12].into()).apply_keystream(buffer);
}

/// A pad in the shape of the reference system: a Diffie-Hellman agreement in
/// every round, HKDF over a salt of 56 bytes, AES-128-CTR into a buffer of its
/// own, and then the XOR.
pub fn reference_pad(secret: &StaticSecret, public: &PublicKey, accumulator: &mut [u8]) {
    use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
    let shared = secret.diffie_hellman(public);
    let mut key = [0; 16];
    let hkdf = Hkdf::<Sha256>::new(Some(&[3; 56]), shared.as_bytes());
    hkdf.expand(b"zipnet/pad/v1", &mut key).unwrap();
    let mut pad = vec![0; accumulator.len()];
    ctr::Ctr128BE::<aes::Aes128>::new(&key.into(), &[0; 16].into()).apply_keystream(&mut pad);
    xor(accumulator, &pad);
}

pub fn xor(into: &mut [u8], from: &[u8]) {
    for (to, from) in into.iter_mut().zip(from) {
        *to ^= from;
    }
}
