//! What leaves hand on, and what they are promised for it.

use zipnet_node::committee::command::Published;
use zipnet_protocol::{
    ClientRegistry, FinalizedRound, Fold, Leaves, Part, PartReceipt, PartSeal, PeerKey, Sealer,
    SignedHeader, SigningSecret,
};

use super::{Seed, light::certified};

/// [`Part`] against a header, [`PartReceipt`], [`PartSeal`].
pub fn part(data: &[u8]) {
    if let Ok((header, part)) = postcard::from_bytes::<(SignedHeader, Part)>(data) {
        let header = header.header();
        let _ = part.seal.verify(&header.context(), header);
        let _ = part.check(&header.context(), header, &ClientRegistry::default());
    }
    if let Ok(receipt) = postcard::from_bytes::<PartReceipt>(data) {
        let _ = receipt.verify(&PeerKey::new([7; 32]));
    }
    let _ = postcard::from_bytes::<PartSeal>(data);
}

/// What the only client of a round gave to a leaf, after a record.
pub fn seed(
    published: &Published,
    done: &FinalizedRound,
    registry: &ClientRegistry,
    sealer: &mut Sealer,
    signing: &SigningSecret,
) -> Result<Seed, Box<dyn std::error::Error>> {
    let leaf = SigningSecret::from_seed(&zeroize::Zeroizing::new([11; 32]));
    let (signed, round) = certified(published, done, signing, |header| {
        header.leaves = Leaves::new([leaf.peer_key()]);
    })?;
    let (_, envelope) = sealer.seal(&round, None)?;
    let mut fold = Fold::new(*round.context(), round.header(), registry.len());
    fold.add(registry, &envelope)?;
    let part = fold.finish_part(&leaf).ok_or("not a leaf")?;
    // As the aggregator takes it.
    let checked = part.check(round.context(), round.header(), registry)?;
    Ok(("part", postcard::to_stdvec(&(signed, checked.part()))?))
}
