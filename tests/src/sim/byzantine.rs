//! What a server, an aggregator or a leader of the log does that is not honest. Each
//! has all keys of its own and sees all that there is to see.

use bytes::Bytes;
use zipnet_node::committee::command::{Order, PartialCommitment, Resume};
use zipnet_protocol::{
    Aggregate, Certification, Epoch, Leaves, Nonce, Participants, RosterEntry, SigningSecret,
};

use super::{
    cast,
    rng::Rng,
    server::{Node, header_of, registry_of},
};

/// Something that a registered server says to the committee to do harm.
pub fn lie(node: &mut Node, rng: &mut Rng) -> Option<Order> {
    let state = node.state().clone();
    let id = node.keys.id();
    let roster: Vec<_> = state
        .servers()
        .values()
        .map(|server| RosterEntry {
            server: *server.id(),
            bundle: *server.digest(),
        })
        .collect();
    let current = state.current().cloned();
    match rng.below(10) {
        // A round of its own over the open one, perhaps with another number, epoch,
        // predecessor or roster.
        0 | 1 => {
            let epoch = state.epoch().unwrap_or(Epoch::new([7; 32]));
            let mut header = header_of(&state, epoch, roster, Nonce::new(*rng.entropy()));
            match rng.below(8) {
                0 => header.number = rng.between(0, header.number + 3),
                1 => header.epoch = Epoch::new(*rng.entropy()),
                2 => header.previous = zipnet_protocol::Digest::new(*rng.entropy()),
                3 => header
                    .roster
                    .retain(|entry| entry.server == id || rng.per_mille(500)),
                4 => header.floor = header.floor.saturating_sub(1).max(1),
                5 => header.aggregator = cast::aggregator(1).peer_key(),
                6 => header.leaves = Leaves::new([cast::aggregator(1).peer_key()]),
                _ => {}
            }
            Some(Order::OpenRound(header.sign(id, &node.keys.signing)))
        }
        // A partial of what nobody asked for.
        2 | 3 => {
            let current = current?;
            let tally = current.tally?;
            let mut aggregate = tally.aggregate().clone();
            if rng.per_mille(500) {
                // Not even its signature is right.
                aggregate = noisy(&aggregate, &node.keys.signing, rng);
            }
            let partial = node.unblind_anything(&current.round, &current.registry, &aggregate);
            let commitments = tally
                .committed(&current.round)
                .unwrap_or(zipnet_protocol::Digest::ZERO);
            let signed = partial.sign(commitments, &node.keys.signing);
            Some(Order::SubmitPartial(signed))
        }
        // An aggregate of its own.
        4 => {
            let current = current?;
            let bytes = current.round.header().params.broadcast_bytes();
            let clients = current.registry.len();
            let some = (0..clients)
                .filter(|_| rng.per_mille(600))
                .collect::<Vec<_>>();
            // It and the aggregator work together.
            let by = cast::aggregator_of(current.round.header());
            Some(Order::SubmitAggregate(Aggregate::sign(
                *current.round.context(),
                Participants::from_positions(clients, some),
                zipnet_protocol::Digest::ZERO,
                Bytes::from(vec![0; bytes]),
                by,
            )))
        }
        // Numbers that were never signed.
        5 => Some(Order::Resume(Resume {
            record: node.ring.values().next().map(|done| done.published.clone()),
            registry: node
                .ring
                .values()
                .next()
                .map_or_else(Vec::new, |done| registry_of(done)),
            epoch: state.epoch()?,
            floor: state.opened() + rng.between(0, 5),
        })),
        // Another server is gone, it says.
        6 => {
            let others: Vec<_> = state.servers().values().filter(|s| *s.id() != id).collect();
            let other = rng.pick(&others)?;
            Some(Order::Lapse {
                server: *other.id(),
                bundle: *other.digest(),
            })
        }
        // A commitment to nothing.
        7 => {
            let current = current?;
            Some(Order::CommitPartial(PartialCommitment {
                context: *current.round.context(),
                aggregate: *current.tally?.digest(),
                commitment: zipnet_protocol::Digest::new(*rng.entropy()),
            }))
        }
        // Its word for a round that is over.
        8 => {
            let done = rng.below(node.ring.len().max(1));
            let done = node.ring.values().nth(done)?;
            let context = *done.checked.context();
            let word = Certification::sign(context, id, &node.keys.signing);
            Some(Order::Certify(word))
        }
        _ => Some(Order::OpenRound({
            let open = current?;
            open.round.signed().clone()
        })),
    }
}

/// An aggregate with noise over all of it, signed again by whoever made it.
#[must_use]
pub fn noisy(aggregate: &Aggregate, by: &SigningSecret, rng: &mut Rng) -> Aggregate {
    let mut noise = vec![0; aggregate.vector.len()];
    rng.fill(&mut noise);
    with_noise(aggregate, &noise, by)
}

/// An aggregate with this noise added.
#[must_use]
pub fn with_noise(aggregate: &Aggregate, noise: &[u8], by: &SigningSecret) -> Aggregate {
    let vector: Vec<_> = aggregate
        .vector
        .iter()
        .zip(noise)
        .map(|(byte, noise)| byte ^ noise)
        .collect();
    Aggregate::sign_with(
        aggregate.context,
        aggregate.participants.clone(),
        aggregate.envelopes,
        vector.into(),
        aggregate.parts.clone(),
        by,
    )
}
