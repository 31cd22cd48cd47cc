//! How the client registry changed over the last rounds, for aggregators that
//! know it as it was: whoever asks for the whole of it at each change pays for ten
//! thousand clients when one comes (A4).
//!
//! Each server remembers for itself; nothing is decided by it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use zipnet_protocol::{ClientRegistry, Digest, RegistryDelta};

use crate::wire::REGISTRY_PAGE;

/// Most changes of the registry that are remembered.
const MAX_STEPS: usize = 64;
/// Most clients in all of them together: 1 MiB or less.
const MAX_CLIENTS: usize = 4096;

/// The registries that the last headers named, as changes.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    newest: Option<Arc<ClientRegistry>>,
    steps: VecDeque<Step>,
    clients: usize,
}

#[derive(Debug)]
struct Step {
    from: Digest,
    to: Digest,
    delta: RegistryDelta,
}

impl Changes {
    /// A header has named this registry.
    pub fn named(&self, registry: &Arc<ClientRegistry>) {
        let mut inner = self.lock();
        let to = registry.root();
        if let Some(before) = inner.newest.replace(registry.clone())
            && before.root() != to
        {
            let (from, delta) = (before.root(), before.delta_to(registry));
            inner.push(Step { from, to, delta });
        }
    }

    /// What leads from one of them to a later one; `None` if that is not
    /// remembered, or more than one answer holds.
    #[must_use]
    pub fn between(&self, from: &Digest, to: &Digest) -> Option<RegistryDelta> {
        let inner = self.lock();
        // A registry may come back, so the shortest way is looked for.
        let end = inner.steps.iter().rposition(|step| step.to == *to)?;
        let steps = inner.steps.range(..=end);
        let start = steps.clone().rposition(|step| step.from == *from)?;
        RegistryDelta::joined(steps.skip(start).map(|step| &step.delta), REGISTRY_PAGE)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, step: Step) {
        self.clients = self.clients.saturating_add(step.delta.len());
        self.steps.push_back(step);
        while (self.steps.len() > MAX_STEPS || self.clients > MAX_CLIENTS)
            && let Some(oldest) = self.steps.pop_front()
        {
            self.clients = self.clients.saturating_sub(oldest.delta.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committee::tests::fixture::World;

    fn registry(world: &World, clients: &[usize]) -> Arc<ClientRegistry> {
        world.founded_with(clients).clients().clone()
    }

    #[test]
    fn a4_changes_lead_from_each_registry_that_is_remembered_to_each_later_one() {
        let world = World::new(1, 6);
        let instance = &world.rules.instance;
        let named: Vec<_> = [&[0, 1][..], &[0, 1, 2], &[1, 2], &[1, 2, 4, 5], &[0]]
            .iter()
            .map(|clients| registry(&world, clients))
            .collect();
        let changes = Changes::default();
        for one in &named {
            changes.named(one);
            // Rounds without a change are no steps.
            changes.named(one);
        }
        for (at, from) in named.iter().enumerate() {
            for to in &named[at + 1..] {
                let root = to.root();
                let delta = changes.between(&from.root(), &root).unwrap();
                assert_eq!(from.changed_by(instance, &delta, &root).as_ref(), Ok(&**to));
                assert_eq!(changes.between(&root, &from.root()), None, "backwards");
            }
        }
        let stranger = registry(&world, &[3]).root();
        assert_eq!(changes.between(&stranger, &named[4].root()), None);
        assert_eq!(changes.between(&named[0].root(), &stranger), None);
    }

    #[test]
    fn a_registry_that_comes_back_is_reached_by_the_shortest_way() {
        let world = World::new(1, 3);
        let (a, b) = (registry(&world, &[0, 1]), registry(&world, &[0, 1, 2]));
        let changes = Changes::default();
        for one in [&a, &b, &a, &b] {
            changes.named(one);
        }
        let delta = changes.between(&a.root(), &b.root()).unwrap();
        assert_eq!((delta.removed.len(), delta.added.len()), (0, 1));
        let delta = changes.between(&b.root(), &a.root()).unwrap();
        assert_eq!((delta.removed.len(), delta.added.len()), (1, 0));
    }

    #[test]
    fn i19_what_is_remembered_is_bounded() {
        let world = World::new(1, 3);
        let (a, b) = (registry(&world, &[0, 1]), registry(&world, &[0, 1, 2]));
        let changes = Changes::default();
        for _ in 0..MAX_STEPS {
            changes.named(&a);
            changes.named(&b);
        }
        let inner = changes.lock();
        assert_eq!(inner.steps.len(), MAX_STEPS);
        assert_eq!(inner.clients, MAX_STEPS);
        drop(inner);
        let mut inner = Inner::default();
        let long = RegistryDelta {
            removed: vec![world.client(0).id(); MAX_CLIENTS],
            added: Vec::new(),
        };
        for _ in 0..3 {
            let (from, to) = (a.root(), b.root());
            let delta = long.clone();
            inner.push(Step { from, to, delta });
        }
        assert_eq!((inner.steps.len(), inner.clients), (1, MAX_CLIENTS));
    }
}
