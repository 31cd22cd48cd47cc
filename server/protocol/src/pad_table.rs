//! What a server keeps to unblind: a shared secret with every client, and out
//! of these the XOR of all pads of a round.

use core::fmt;

use rayon::prelude::*;
use zeroize::Zeroize as _;

use crate::{
    ids::{ClientId, RoundContext, ServerId},
    keys::{DhSecret, KeyError},
    pad::{PadSecret, RoundPads, xor},
    participants::Participants,
    registry::ClientRegistry,
};

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
