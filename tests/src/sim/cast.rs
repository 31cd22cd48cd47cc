//! Who takes part in a simulation: real keys of fixed seeds.

use std::sync::{Arc, LazyLock};

use zeroize::Zeroizing;
use zipnet_node::{
    committee::command::{Command, Order, ServerRegistration},
    settings::{AggregatorRules, ClientRules, CommitteeRules},
};
use zipnet_protocol::{
    AdmittedServer, AggregatorBundle, ClientBundle, CommitteeSecret, DhSecret, Instance,
    LeastServers, PeerKey, RoundHeader, RoundParams, Sealer, ServerBundle, ServerId, SigningSecret,
    SlotKey,
};

use super::rng::entropy;

/// What a committee is made of.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Servers.
    pub servers: usize,
    /// Clients.
    pub clients: usize,
    /// Fewest servers of a roster; all of them if unset.
    pub min_servers: Option<u32>,
    /// Fewest participants.
    pub min_participants: u32,
    /// Slots of a broadcast.
    pub slots: u32,
    /// Bytes of a slot.
    pub slot_bytes: u32,
    /// Aggregators that share out the clients.
    pub leaves: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            servers: 3,
            clients: 5,
            min_servers: None,
            min_participants: 2,
            slots: 8,
            slot_bytes: 32,
            leaves: 0,
        }
    }
}

/// The rules of a committee, with the key that admits to it.
#[derive(Debug)]
pub struct Cast {
    /// The rules.
    pub rules: Arc<CommitteeRules>,
    committee: SigningSecret,
}

impl Cast {
    /// A committee of a shape, known by no evidence.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let name: zipnet_protocol::InstanceName = "simulated.mix.test".parse().expect("a name");
        let secret = CommitteeSecret::new(Zeroizing::new(b"a secret for simulations".to_vec()));
        let committee = secret.committee_key(&name);
        let rules = CommitteeRules {
            instance: Instance::new(name, committee.public()),
            trust: None,
            params: RoundParams::new(shape.slots, shape.slot_bytes).expect("a shape"),
            min_participants: shape.min_participants,
            committee_size: u32::try_from(shape.servers).ok(),
            min_servers: shape.min_servers,
            clients_per_peer: 16,
            leaves: shape.leaves,
            clients: ClientRules::Open,
            aggregators: AggregatorRules {
                named: (0..AGGREGATORS)
                    .map(|index| aggregator(index).peer_key())
                    .collect(),
                any: false,
            },
        };
        Self {
            rules: Arc::new(rules),
            committee,
        }
    }

    /// A boot of a server.
    #[must_use]
    pub fn server(&self, index: usize, boot: u64) -> Keys {
        let dh = DhSecret::from_entropy(&entropy("server dh", index, boot));
        let signing = SigningSecret::from_seed(&entropy("server signing", index, boot));
        let transport = SigningSecret::from_seed(&entropy("server transport", index, 0));
        let instance = &self.rules.instance;
        let bundle = ServerBundle::sign(
            instance,
            &dh,
            &signing,
            &transport,
            &self.committee,
            boot,
            zipnet_protocol::Whereabouts::nowhere(),
        );
        let admitted = bundle.verify(instance).expect("a bundle of ours");
        Keys {
            dh,
            signing,
            admitted,
            rules: self.rules.clone(),
        }
    }

    /// A process of a client.
    #[must_use]
    pub fn client(&self, index: usize, process: u64) -> Sealer {
        Sealer::new(
            &self.rules.instance,
            DhSecret::from_entropy(&entropy("client dh", index, process)),
            SlotKey::from_entropy(entropy("client slot key", index, process)),
            LeastServers::new(self.rules.min_servers.unwrap_or(0)),
            &client_transport(index),
        )
    }

    /// The order that lists the aggregators.
    #[must_use]
    pub fn aggregators(&self) -> Order {
        let instance = &self.rules.instance;
        let bundles = (0..AGGREGATORS).map(|index| {
            AggregatorBundle::sign(
                instance,
                None,
                aggregator(index),
                zipnet_protocol::Whereabouts::nowhere(),
            )
        });
        Order::RegisterAggregators(bundles.collect())
    }

    /// The registrations of clients.
    #[must_use]
    pub fn bundles<'a>(sealers: impl IntoIterator<Item = &'a Sealer>) -> Vec<ClientBundle> {
        let bundles = sealers.into_iter().map(|sealer| sealer.bundle().clone());
        bundles.collect()
    }
}

/// Aggregators that a committee deals with.
pub const AGGREGATORS: usize = 2;

/// The transport keys of aggregators, which are asked for at each step.
static KEYS: LazyLock<[SigningSecret; AGGREGATORS]> = LazyLock::new(|| {
    core::array::from_fn(|index| {
        SigningSecret::from_seed(&entropy("aggregator transport", index, 0))
    })
});

/// The transport key of an aggregator.
///
/// # Panics
/// If there are not so many.
#[must_use]
pub fn aggregator(index: usize) -> &'static SigningSecret {
    &KEYS[index]
}

/// The transport key of the aggregator that a header names.
///
/// # Panics
/// If it is none of ours.
#[must_use]
pub fn aggregator_of(header: &RoundHeader) -> &'static SigningSecret {
    key_of(&header.aggregator).expect("an admitted aggregator")
}

/// The transport key of an admitted aggregator.
#[must_use]
pub fn key_of(peer: &PeerKey) -> Option<&'static SigningSecret> {
    KEYS.iter().find(|key| key.peer_key() == *peer)
}

/// The transport key of a client.
#[must_use]
pub fn client_transport(index: usize) -> SigningSecret {
    SigningSecret::from_seed(&entropy("client transport", index, 0))
}

/// The secrets of one boot of a server.
#[derive(Debug)]
pub struct Keys {
    /// For pads.
    pub dh: DhSecret,
    /// For all that the server says.
    pub signing: SigningSecret,
    /// Its bundle.
    pub admitted: AdmittedServer,
    rules: Arc<CommitteeRules>,
}

impl Keys {
    /// The server.
    #[must_use]
    pub const fn id(&self) -> ServerId {
        *self.admitted.id()
    }

    /// An order, signed.
    #[must_use]
    pub fn say(&self, order: &Order) -> Command {
        Command::sign(&self.rules.instance, self.id(), order, &self.signing).expect("an order")
    }

    /// The order that lists this boot.
    #[must_use]
    pub fn registration(&self) -> Order {
        Order::RegisterServer(ServerRegistration::unattested(
            self.admitted.bundle().clone(),
        ))
    }
}
