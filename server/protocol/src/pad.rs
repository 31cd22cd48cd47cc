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
use rayon::prelude::*;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    ids::{ClientId, RoundContext, ServerId},
    keys::{DhSecret, KeyError},
    participants::Participants,
    registry::ClientRegistry,
};

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

/// A server's shared secrets with every client of a registry, in its order:
/// 64 bytes a client.
pub struct PadTable {
    entries: Vec<(ClientId, PadSecret)>,
}

impl PadTable {
    /// Agrees with every client of the registry, over all cores. Secrets that
    /// `known` holds already are taken from there.
    ///
    /// # Errors
    /// [`KeyError::NonContributory`]; registered clients were checked for it.
    pub fn agree(
        secret: &DhSecret,
        registry: &ClientRegistry,
        known: Option<&Self>,
    ) -> Result<Self, KeyError> {
        let clients: Vec<_> = registry.iter().collect();
        // Filled in place: a table that grew would leave secrets behind.
        let mut entries: Vec<_> = clients
            .iter()
            .map(|client| (*client.id(), PadSecret::new([0; 32])))
            .collect();
        entries
            .par_iter_mut()
            .zip(clients)
            .try_for_each(|((id, shared), client)| {
                *shared = match known.and_then(|table| table.get(id)) {
                    Some(shared) => shared.clone(),
                    None => secret.agree(client.dh())?,
                };
                Ok(())
            })?;
        Ok(Self { entries })
    }

    fn get(&self, client: &ClientId) -> Option<&PadSecret> {
        self.entries
            .binary_search_by(|(id, _)| id.cmp(client))
            .ok()
            .and_then(|at| self.entries.get(at))
            .map(|(_, secret)| secret)
    }

    /// Number of clients.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The XOR of the pads of all participants: the partial of `server`, over
    /// the threads of the current rayon pool, each with one accumulator.
    #[must_use]
    pub fn xor_of(
        &self,
        context: &RoundContext,
        participants: &Participants,
        server: &ServerId,
        bytes: usize,
    ) -> Vec<u8> {
        let pads = RoundPads::new(context);
        let threads = rayon::current_num_threads().max(1);
        let share = participants.count().div_ceil(threads);
        (0..threads)
            .into_par_iter()
            .map(|thread| {
                let mut accumulator = vec![0; bytes];
                let chosen = participants
                    .positions()
                    .skip(thread.saturating_mul(share))
                    .take(share)
                    .filter_map(|position| self.entries.get(position));
                for (client, secret) in chosen {
                    pads.xor_into(&mut accumulator, secret, client, server);
                }
                accumulator
            })
            .reduce_with(|mut a, mut b| {
                xor(&mut a, &b);
                // The pads of some participants only: a smaller crowd to hide in.
                b.zeroize();
                a
            })
            .unwrap_or_else(|| vec![0; bytes])
    }
}

impl fmt::Debug for PadTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PadTable({} clients)", self.entries.len())
    }
}

/// XORs `from` into `into`, over the shorter of both.
pub(crate) fn xor(into: &mut [u8], from: &[u8]) {
    for (to, from) in into.iter_mut().zip(from) {
        *to ^= from;
    }
}
