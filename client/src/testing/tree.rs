//! A round's aggregator and leaves in memory.

use std::collections::BTreeMap;

use zipnet_protocol::{
    Aggregate, CheckedEnvelope, ClientRegistry, Fold, PeerKey, RoundHeader, SigningSecret,
};

/// What comes of envelopes that go to the leaves of their clients. A leaf without a key is
/// silent: its clients go to the aggregator, whose key is `root`.
pub fn aggregate<'a>(
    header: &RoundHeader,
    registry: &ClientRegistry,
    envelopes: impl IntoIterator<Item = &'a CheckedEnvelope>,
    root: &SigningSecret,
    key: impl Fn(&PeerKey) -> Option<SigningSecret>,
) -> Aggregate {
    let context = header.context();
    let empty = || Fold::new(context, header, registry.len());
    let mut own = empty();
    let below = header.leaves.iter();
    let below = below.filter(|leaf| **leaf != header.aggregator);
    let mut leaves: BTreeMap<PeerKey, (SigningSecret, Fold)> = below
        .filter_map(|leaf| Some((*leaf, (key(leaf)?, empty()))))
        .collect();
    for envelope in envelopes {
        let [leaf, _] = header.takers(&envelope.envelope().client);
        let fold = leaves.get_mut(leaf).map_or(&mut own, |(_, fold)| fold);
        fold.take(envelope.clone()).unwrap();
    }
    for (key, fold) in leaves.into_values() {
        let part = fold.finish_part(&key).unwrap();
        own.take_part(part.check(&context, header, registry).unwrap())
            .unwrap();
    }
    own.finish(root)
}
