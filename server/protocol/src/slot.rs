//! Slots: where a message goes, and how a reader tells it from noise.

use core::fmt;

use zeroize::Zeroizing;

use crate::{
    canonical::domain_digest,
    ids::RoundContext,
    params::{RoundParams, TAG_BYTES},
};

/// A refused message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than a slot holds.
    #[error("The message has {length} bytes; at most {limit} fit into a slot")]
    TooLong {
        /// Bytes of the message.
        length: usize,
        /// Bytes that would fit.
        limit: usize,
    },
}

/// A message that fits into a slot. Its `Debug` does not show it: who prints
/// one before it was published tells who wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl core::fmt::Debug for Message {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Message({} bytes)", self.0.len())
    }
}

impl Message {
    /// Takes the bytes of a message.
    ///
    /// # Errors
    /// [`MessageError::TooLong`].
    pub fn new(bytes: Vec<u8>, params: &RoundParams) -> Result<Self, MessageError> {
        let limit = params.message_bytes();
        if bytes.len() > limit {
            return Err(MessageError::TooLong {
                length: bytes.len(),
                limit,
            });
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The client's secret key for choosing slots (I11). Fresh in every process,
/// zeroized on drop, never printed: whoever had it could map slots to their
/// author.
pub struct SlotKey(Zeroizing<[u8; 32]>);

impl SlotKey {
    /// Makes a key of 32 fresh random bytes.
    #[must_use]
    pub const fn from_entropy(entropy: Zeroizing<[u8; 32]>) -> Self {
        Self(entropy)
    }

    /// The slot of this client in a round: keyed BLAKE3 of the context, its
    /// first eight bytes little endian, modulo the number of slots.
    #[must_use]
    pub fn slot(&self, context: &RoundContext, params: &RoundParams) -> u32 {
        let hash = blake3::keyed_hash(&self.0, context.as_bytes());
        let mut word = [0; 8];
        word.copy_from_slice(hash.as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]));
        let slots = u64::from(params.slots()).max(1);
        u32::try_from(u64::from_le_bytes(word).checked_rem(slots).unwrap_or(0)).unwrap_or(0)
    }
}

impl fmt::Debug for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlotKey(..)")
    }
}

/// What a reader finds in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotContent {
    /// All zero: nobody wrote.
    Empty,
    /// A message with a valid tag.
    Message(Vec<u8>),
    /// Something without a valid tag: a collision, or garbage.
    Garbled,
}

/// Marks the end of a message that is shorter than its slot (as in ISO/IEC
/// 7816-4).
const END: u8 = 0x80;

/// Whether the body of a slot ends in [`END`] and zeros, or is all message.
#[derive(Clone, Copy)]
enum Fill {
    Padded = 0,
    Full = 1,
}

/// Writes message and tag over a slot of zeros.
pub(crate) fn write(message: &Message, context: &RoundContext, slot: u32, into: &mut [u8]) {
    let Some(split) = into.len().checked_sub(TAG_BYTES) else {
        return;
    };
    let (body, tag) = into.split_at_mut(split);
    let fill = if message.0.len() < body.len() {
        Fill::Padded
    } else {
        Fill::Full
    };
    for (to, from) in body
        .iter_mut()
        .zip(message.0.iter().copied().chain(core::iter::once(END)))
    {
        *to = from;
    }
    tag.copy_from_slice(&tag_of(context, slot, fill, body));
}

/// Reads a slot of a finalized broadcast.
pub(crate) fn read(context: &RoundContext, slot: u32, bytes: &[u8]) -> SlotContent {
    if bytes.iter().all(|byte| *byte == 0) {
        return SlotContent::Empty;
    }
    let Some(split) = bytes.len().checked_sub(TAG_BYTES) else {
        return SlotContent::Garbled;
    };
    let (body, tag) = bytes.split_at(split);
    if tag == tag_of(context, slot, Fill::Padded, body) {
        let end = body.iter().rposition(|byte| *byte != 0);
        return match end.map(|at| body.split_at(at)) {
            Some((message, [END, ..])) => SlotContent::Message(message.to_vec()),
            _ => SlotContent::Garbled,
        };
    }
    if tag == tag_of(context, slot, Fill::Full, body) {
        return SlotContent::Message(body.to_vec());
    }
    SlotContent::Garbled
}

fn tag_of(context: &RoundContext, slot: u32, fill: Fill, body: &[u8]) -> [u8; TAG_BYTES] {
    let key = domain_digest("zipnet/slot-tag/v1", context.as_bytes());
    let mut hasher = blake3::Hasher::new_keyed(key.as_bytes());
    hasher.update(&slot.to_be_bytes());
    hasher.update(&[fill as u8]);
    hasher.update(body);
    let mut tag = [0; TAG_BYTES];
    hasher.finalize_xof().fill(&mut tag);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through_a_slot(bytes: &[u8]) -> SlotContent {
        let params = RoundParams::default();
        let context = RoundContext::new([3; 32]);
        let mut slot = vec![0; params.slot_bytes()];
        write(
            &Message::new(bytes.to_vec(), &params).unwrap(),
            &context,
            5,
            &mut slot,
        );
        assert_eq!(
            read(&context, 6, &slot),
            SlotContent::Garbled,
            "bound to its slot"
        );
        assert_eq!(
            read(&RoundContext::new([4; 32]), 5, &slot),
            SlotContent::Garbled,
            "bound to its round"
        );
        read(&context, 5, &slot)
    }

    #[test]
    fn i11_a_printed_message_does_not_show_what_it_says() {
        let message = Message::new(b"meet at noon".to_vec(), &RoundParams::default());
        assert_eq!(format!("{:?}", message.unwrap()), "Message(12 bytes)");
    }

    #[test]
    fn messages_of_every_length_come_back() {
        for length in [0, 1, 17, 238, 239, 240] {
            for fill in [0x00, 0x80, 0xff] {
                let message = vec![fill; length];
                assert_eq!(through_a_slot(&message), SlotContent::Message(message));
            }
        }
    }

    #[test]
    fn over_long_messages_are_refused_with_the_limit() {
        let error = Message::new(vec![0; 241], &RoundParams::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The message has 241 bytes; at most 240 fit into a slot"
        );
    }

    #[test]
    fn i11_the_slot_depends_on_the_secret_key() {
        let params = RoundParams::default();
        let slots = |seed: u8| {
            let key = SlotKey::from_entropy(Zeroizing::new([seed; 32]));
            (0..64)
                .map(|round| key.slot(&RoundContext::new([round; 32]), &params))
                .collect::<Vec<_>>()
        };
        assert_eq!(slots(1), slots(1));
        assert_ne!(slots(1), slots(2));
        assert!(
            slots(1).iter().any(|slot| *slot != slots(1)[0]),
            "and on the round"
        );
    }
}
