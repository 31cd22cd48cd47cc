//! What an envelope is signed over: the root of a tree of its slots' digests.
//!
//! ```text
//! leaf = D("zipnet/envelope-slot/v1", content of the slot)
//! node = D("zipnet/envelope-node/v1", left ‖ right)      the last of an odd level goes up as it is
//! root = D("zipnet/envelope-root/v1", u32(slots) ‖ top)
//! ```
//!
//! A tree and not a list, so that one slot of an envelope is shown in a dispute
//! at the logarithm's price: with 4096 slots 384 bytes besides the content, a list would
//! be 128 KiB.

use std::sync::LazyLock;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    ids::Digest,
    merkle::{Domains, Hashes, Tree},
    params::RoundParams,
};

static HASHES: LazyLock<Hashes> = LazyLock::new(|| {
    Hashes::new(&Domains {
        leaf: "zipnet/envelope-slot/v1",
        node: "zipnet/envelope-node/v1",
        root: "zipnet/envelope-root/v1",
    })
});

fn tree(vector: &[u8], params: RoundParams) -> Tree {
    let slots = vector.chunks(params.slot_bytes());
    Tree::new(&HASHES, slots.map(|content| HASHES.leaf(content)).collect())
}

/// The root over a vector's slots. The vector has to be as long as a broadcast.
pub(crate) fn root(vector: &[u8], params: RoundParams) -> Digest {
    *tree(vector, params).root()
}

/// One slot of an envelope with what leads from it to the root that was signed.
/// The other slots stay closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotOpening {
    content: Bytes,
    path: Vec<Digest>,
}

impl SlotOpening {
    /// Opens a slot of a vector; `None` if there is no such slot.
    #[must_use]
    pub fn of(vector: &[u8], params: RoundParams, slot: u32) -> Option<Self> {
        if vector.len() != params.broadcast_bytes() {
            return None;
        }
        let at = slot as usize;
        let content = vector.chunks_exact(params.slot_bytes()).nth(at)?;
        Some(Self {
            content: Bytes::copy_from_slice(content),
            path: tree(vector, params).path(at)?,
        })
    }

    /// What the slot holds.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The root of the envelope that the slot is of; `None` if it cannot be a
    /// slot at that place of a round of this shape.
    #[must_use]
    pub fn root(&self, params: RoundParams, slot: u32) -> Option<Digest> {
        if self.content.len() != params.slot_bytes() {
            return None;
        }
        let leaf = HASHES.leaf(&self.content);
        let slots = params.slots() as usize;
        HASHES.climb(leaf, slots, slot as usize, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(slots: u32, slot_bytes: u32) -> (RoundParams, Vec<u8>) {
        let params = RoundParams::new(slots, slot_bytes).unwrap();
        let mut vector = vec![0; params.broadcast_bytes()];
        blake3::Hasher::new().finalize_xof().fill(&mut vector);
        (params, vector)
    }

    #[test]
    fn every_slot_of_every_shape_opens_to_the_root() {
        for slots in (1..=33).chain([64, 100]) {
            let (params, vector) = vector(slots, 32);
            let root = root(&vector, params);
            for slot in 0..slots {
                let opening = SlotOpening::of(&vector, params, slot).unwrap();
                assert_eq!(opening.root(params, slot), Some(root), "{slot} of {slots}");
                let other = (0..slots).find(|other| *other != slot);
                let elsewhere = other.and_then(|other| opening.root(params, other));
                assert_ne!(elsewhere, Some(root), "{slot} of {slots}");
            }
            assert_eq!(SlotOpening::of(&vector, params, slots), None);
        }
    }

    #[test]
    fn an_opening_is_of_its_content_path_and_shape() {
        let (params, vector) = vector(5, 32);
        let root = root(&vector, params);
        for slot in 0..5 {
            let opening = SlotOpening::of(&vector, params, slot).unwrap();
            for bit in 0..256 {
                let mut content = opening.content.to_vec();
                content[bit / 8] ^= 1 << (bit % 8);
                let changed = SlotOpening {
                    content: content.into(),
                    ..opening.clone()
                };
                assert_ne!(changed.root(params, slot), Some(root));
            }
            for at in 0..opening.path.len() {
                let mut changed = opening.clone();
                changed.path[at] = Digest::ZERO;
                assert_ne!(changed.root(params, slot), Some(root));
            }
            let mut long = opening.clone();
            long.path.push(Digest::ZERO);
            assert_eq!(long.root(params, slot), None);
            let mut short = opening.clone();
            short.path.pop();
            assert_eq!(short.root(params, slot), None);
            // Of another shape the same digests are another root.
            let six = RoundParams::new(6, 32).unwrap();
            assert_ne!(opening.root(six, slot), Some(root));
            assert_eq!(opening.root(RoundParams::new(5, 33).unwrap(), slot), None);
        }
    }

    #[test]
    fn a_vector_of_another_length_is_not_opened() {
        let (params, vector) = vector(4, 32);
        assert_eq!(SlotOpening::of(&vector[1..], params, 0), None);
        assert_eq!(SlotOpening::of(&[], params, 0), None);
    }
}
