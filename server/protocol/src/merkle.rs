//! Binary Merkle trees, as slots of envelopes and the client registry have them.
//!
//! ```text
//! leaf = D(leaf domain, content)
//! node = D(node domain, left ‖ right)      the last of an odd level goes up as it is
//! root = D(root domain, u32(leaves) ‖ top)
//! ```
//!
//! The number of leaves is under the root: with it the shape is known, so that
//! each place has one path, of one length. The top of no leaves is zero.

use crate::{canonical::Canonical, ids::Digest};

/// The domains of one kind of tree.
pub(crate) struct Domains {
    pub leaf: &'static str,
    pub node: &'static str,
    pub root: &'static str,
}

/// The hash states behind the domains; to derive them costs as much as to hash
/// a short leaf.
pub(crate) struct Hashes {
    leaf: blake3::Hasher,
    node: blake3::Hasher,
    root: &'static str,
}

impl Hashes {
    pub fn new(domains: &Domains) -> Self {
        Self {
            leaf: blake3::Hasher::new_derive_key(domains.leaf),
            node: blake3::Hasher::new_derive_key(domains.node),
            root: domains.root,
        }
    }

    pub fn leaf(&self, content: &[u8]) -> Digest {
        Digest::new(*self.leaf.clone().update(content).finalize().as_bytes())
    }

    fn node(&self, left: &Digest, right: &Digest) -> Digest {
        let mut node = self.node.clone();
        node.update(left.as_bytes()).update(right.as_bytes());
        Digest::new(*node.finalize().as_bytes())
    }

    fn root(&self, leaves: usize, top: &Digest) -> Digest {
        Canonical::new()
            .count(leaves)
            .fixed(top.as_bytes())
            .digest(self.root)
    }

    /// The nodes of the level above, but for those in front that are in `known`
    /// already.
    fn above(&self, level: &[Digest], known: &[Digest]) -> Vec<Digest> {
        let mut nodes = Vec::with_capacity(level.len().div_ceil(2));
        nodes.extend_from_slice(known);
        let pairs = level.chunks(2).skip(known.len());
        nodes.extend(pairs.filter_map(|pair| match pair {
            [left, right] => Some(self.node(left, right)),
            [last] => Some(*last),
            _ => None,
        }));
        nodes
    }

    /// The root that a leaf at a place leads to by a path of siblings, from the
    /// leaf up; `None` if a tree of so many leaves has no such path.
    pub fn climb(
        &self,
        leaf: Digest,
        leaves: usize,
        place: usize,
        path: &[Digest],
    ) -> Option<Digest> {
        if place >= leaves {
            return None;
        }
        let mut path = path.iter();
        let (mut digest, mut at, mut width) = (leaf, place, leaves);
        while width > 1 {
            let has_sibling = (at ^ 1) < width;
            if has_sibling {
                let sibling = path.next()?;
                digest = if at & 1 == 0 {
                    self.node(&digest, sibling)
                } else {
                    self.node(sibling, &digest)
                };
            }
            at /= 2;
            width = width.div_ceil(2);
        }
        path.next().is_none().then(|| self.root(leaves, &digest))
    }
}

/// A tree with all its levels, leaves first.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    levels: Vec<Vec<Digest>>,
    root: Digest,
}

impl Tree {
    pub fn new(hashes: &Hashes, leaves: Vec<Digest>) -> Self {
        Self::grown(hashes, leaves, &[], 0)
    }

    /// The tree of other leaves of which the first `same` are those of this
    /// one: what stands on them alone is not hashed again.
    pub fn changed(&self, hashes: &Hashes, leaves: Vec<Digest>, same: usize) -> Self {
        let same = same.min(leaves.len());
        Self::grown(hashes, leaves, &self.levels, same)
    }

    fn grown(hashes: &Hashes, leaves: Vec<Digest>, before: &[Vec<Digest>], same: usize) -> Self {
        let count = leaves.len();
        let (mut levels, mut level, mut same) = (Vec::new(), leaves, same);
        while level.len() > 1 {
            // A node is the same if both that it stands on are.
            same /= 2;
            let known = before.get(levels.len().saturating_add(1));
            let known = known.and_then(|known| known.get(..same)).unwrap_or(&[]);
            let above = hashes.above(&level, known);
            levels.push(core::mem::replace(&mut level, above));
        }
        let root = hashes.root(count, level.first().unwrap_or(&Digest::ZERO));
        levels.push(level);
        Self { levels, root }
    }

    pub const fn root(&self) -> &Digest {
        &self.root
    }

    /// The siblings on the way from a place to the top; `None` if there is no
    /// such place.
    pub fn path(&self, place: usize) -> Option<Vec<Digest>> {
        self.levels.first()?.get(place)?;
        let mut at = place;
        let mut path = Vec::new();
        for level in &self.levels {
            path.extend(level.get(at ^ 1));
            at /= 2;
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAINS: Domains = Domains {
        leaf: "zipnet/test-leaf/v1",
        node: "zipnet/test-node/v1",
        root: "zipnet/test-root/v1",
    };

    fn leaves(hashes: &Hashes, count: usize, salt: u8) -> Vec<Digest> {
        (0..count)
            .map(|at| hashes.leaf(&[&at.to_be_bytes()[..], &[salt]].concat()))
            .collect()
    }

    #[test]
    fn every_place_of_every_shape_leads_to_the_root_and_no_other_place_does() {
        let hashes = Hashes::new(&DOMAINS);
        for count in (0..=33).chain([64, 100]) {
            let leaves = leaves(&hashes, count, 0);
            let tree = Tree::new(&hashes, leaves.clone());
            assert_eq!(tree.path(count), None);
            for (place, leaf) in leaves.iter().enumerate() {
                let path = tree.path(place).unwrap();
                for other in 0..count + 2 {
                    let led = hashes.climb(*leaf, count, other, &path);
                    assert_eq!(led == Some(*tree.root()), other == place, "{place}/{count}");
                }
                let more = hashes.climb(*leaf, count + 1, place, &path);
                assert_ne!(more, Some(*tree.root()));
                let mut long = path.clone();
                long.push(Digest::ZERO);
                assert_eq!(hashes.climb(*leaf, count, place, &long), None);
            }
        }
    }

    #[test]
    fn a_changed_tree_is_the_tree_of_its_leaves() {
        let hashes = Hashes::new(&DOMAINS);
        for before in 0..20 {
            let old = Tree::new(&hashes, leaves(&hashes, before, 0));
            for now in 0..20 {
                for same in 0..=before.min(now) {
                    let mut all = leaves(&hashes, now, 1);
                    all[..same].copy_from_slice(&leaves(&hashes, same, 0));
                    let grown = old.changed(&hashes, all.clone(), same);
                    assert_eq!(grown.levels, Tree::new(&hashes, all).levels);
                }
            }
        }
    }
}
