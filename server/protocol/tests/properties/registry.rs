//! The registry's tree: whatever happened to a registry, its root is that of its
//! clients, each of which has a proof that leads there, and nobody else has one.

use std::{collections::BTreeSet, sync::LazyLock};

use proptest::{collection::vec, prelude::*, sample::Index};
use zipnet_protocol::{
    BundleError, ClientRegistry, DeltaError, Digest, NotListed, RegisteredClient, RegistryDelta,
    RegistryEntry, RegistryProof,
};

use crate::common::World;

/// A committee without clients, and clients that may register.
static CROWD: LazyLock<(World, Vec<RegisteredClient>)> = LazyLock::new(|| {
    let world = World::new(1, 0);
    let crowd = (0..40).map(|index| world.registered(index)).collect();
    (world, crowd)
});

fn of(members: impl IntoIterator<Item = usize>) -> ClientRegistry {
    let (_, crowd) = &*CROWD;
    ClientRegistry::from_clients(members.into_iter().map(|at| crowd[at].clone()).collect())
}

fn size(registry: &ClientRegistry) -> u32 {
    u32::try_from(registry.len()).unwrap()
}

/// Some of the crowd.
fn members() -> impl Strategy<Value = BTreeSet<usize>> {
    vec(0..40_usize, 0..40).prop_map(|members| members.into_iter().collect())
}

#[test]
fn i5_everybody_listed_has_a_proof_for_one_position_of_one_registry() {
    for count in 0..=40 {
        let registry = of(0..count);
        let (root, clients) = (registry.root(), size(&registry));
        let other = of((0..count).map(|at| (at + 1) % 40)).root();
        for (position, client) in registry.iter().enumerate() {
            let proof = registry.proof(position).unwrap();
            let entry = RegistryEntry::from(client);
            for place in 0..=clients {
                let found = proof.verify(&root, clients, place, &entry);
                assert_eq!(found.is_ok(), place as usize == position);
            }
            let position = u32::try_from(position).unwrap();
            assert_eq!(
                proof.verify(&root, clients + 1, position, &entry),
                Err(NotListed)
            );
            if count < 40 {
                assert!(proof.verify(&other, clients, position, &entry).is_err());
            }
            let mut less = entry;
            less.least_servers = zipnet_protocol::LeastServers::new(9);
            assert!(proof.verify(&root, clients, position, &less).is_err());
        }
        assert_eq!(registry.proof(registry.len()), None);
    }
}

#[test]
fn i8_a_changed_proof_proves_nothing_and_a_long_one_does_not_decode() {
    let registry = of(0..33);
    let entry = RegistryEntry::from(registry.at(20).unwrap());
    let (root, clients) = (registry.root(), size(&registry));
    let wire = postcard::to_stdvec(&registry.proof(20).unwrap()).unwrap();
    for bit in 0..wire.len() * 8 {
        let mut changed = wire.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(proof) = postcard::from_bytes::<RegistryProof>(&changed) {
            assert!(proof.verify(&root, clients, 20, &entry).is_err(), "{bit}");
        }
    }
    let path = |digests: usize| postcard::to_stdvec(&vec![Digest::ZERO; digests]).unwrap();
    assert!(postcard::from_bytes::<RegistryProof>(&path(16)).is_ok());
    assert!(postcard::from_bytes::<RegistryProof>(&path(17)).is_err());
}

#[test]
fn a_delta_brings_only_what_it_says() {
    let (world, crowd) = &*CROWD;
    let (then, now) = (of(0..9), of(1..10));
    let delta = then.delta_to(&now);
    assert_eq!(delta.removed, [*crowd[0].id()]);
    assert_eq!(delta.added, [crowd[9].bundle().clone()]);
    let (instance, root) = (&world.instance, now.root());
    assert_eq!(
        then.changed_by(instance, &delta, &root),
        Ok(now.clone()),
        "the right one"
    );
    let refused = |delta: RegistryDelta| then.changed_by(instance, &delta, &root).unwrap_err();
    assert_eq!(refused(RegistryDelta::default()), DeltaError::Root);
    let mut more = delta.clone();
    more.added.push(crowd[11].bundle().clone());
    assert_eq!(refused(more), DeltaError::Root);
    // Of another instance, for instance.
    let elsewhere = World::new(1, 1);
    let mut bytes = postcard::to_stdvec(elsewhere.clients[0].sealer.bundle()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let mut forged = delta;
    forged.added = vec![postcard::from_bytes(&bytes).unwrap()];
    assert!(matches!(
        refused(forged),
        DeltaError::Bundle(BundleError::Transport(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_root_is_of_the_clients_whatever_led_to_them(
        steps in vec((any::<bool>(), 0..40_usize, any::<bool>()), 1..60),
    ) {
        let (_, crowd) = &*CROWD;
        let mut registry = ClientRegistry::default();
        let mut there = BTreeSet::new();
        for (comes, who, looks) in steps {
            if comes {
                prop_assert!(registry.insert(crowd[who].clone()));
                there.insert(who);
            } else {
                let id = *crowd[who].id();
                registry.remove_where(|client| *client == id);
                there.remove(&who);
            }
            // A root that was looked at is what the next one starts from.
            if looks {
                prop_assert_eq!(registry.root(), of(there.clone()).root());
            }
        }
        prop_assert_eq!(registry.root(), of(there).root());
    }

    #[test]
    fn deltas_lead_from_any_registry_to_any_other(all in vec(members(), 2..6)) {
        let (world, _) = &*CROWD;
        let registries: Vec<_> = all.into_iter().map(of).collect();
        let steps: Vec<_> = registries
            .windows(2)
            .map(|pair| pair[0].delta_to(&pair[1]))
            .collect();
        let (first, last) = (&registries[0], registries.last().unwrap());
        let joined = RegistryDelta::joined(&steps, 1000).unwrap();
        let root = last.root();
        for delta in [joined, first.delta_to(last)] {
            let wire = postcard::to_stdvec(&delta).unwrap();
            let delta: RegistryDelta = postcard::from_bytes(&wire).unwrap();
            let led = first.changed_by(&world.instance, &delta, &root);
            prop_assert_eq!(led.as_ref(), Ok(last));
        }
    }

    #[test]
    fn a_joined_delta_is_bounded(members in members(), most in 0..40_usize, at in any::<Index>()) {
        let registry = of(members.clone());
        let delta = ClientRegistry::default().delta_to(&registry);
        let fits = RegistryDelta::joined([&delta], most).is_some();
        prop_assert_eq!(fits, members.len() <= most);
        if !members.is_empty() {
            let one = *at.get(&members.into_iter().collect::<Vec<_>>());
            let delta = of([one]).delta_to(&registry);
            prop_assert_eq!(delta.len(), registry.len() - 1);
        }
    }
}
