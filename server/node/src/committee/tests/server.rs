//! A server of the tests, honest or not.

use std::{ops::Deref, sync::Arc};

use zipnet::testing;
use zipnet_protocol::{
    Aggregate, Certification, ClientRegistry, Digest, PadTable, Partial, Round, RoundHeader,
    SignedPartial, SigningSecret, Tally,
};

use crate::{
    attestation::vouch,
    committee::{
        command::{Command, Order, ServerRegistration},
        state::CommitteeState,
    },
    guard::{Guard, GuardError, Held},
    settings::CommitteeRules,
};

/// What a server in this state holds of a round over a registry.
pub fn held(round: &Round, state: &CommitteeState, registry: &ClientRegistry) -> Held {
    let aggregator = round.header().aggregator;
    Held {
        previous: state.previous(),
        registry: registry.root(),
        clients: u32::try_from(registry.len()).unwrap(),
        floor: state.floor_over(registry),
        aggregator: state
            .aggregators()
            .contains(&aggregator)
            .then_some(aggregator),
        leaves: state.aggregators().listed_of(&round.header().leaves),
    }
}

/// What a server holds that agrees with whatever a header says.
pub fn agreeing(header: &RoundHeader) -> Held {
    Held {
        previous: header.previous,
        registry: header.registry,
        clients: header.clients,
        floor: header.floor,
        aggregator: Some(header.aggregator),
        leaves: header.leaves.clone(),
    }
}

/// One boot of a server, with all its secrets and its guard.
pub struct Server {
    pub keys: testing::Server,
    pub guard: Guard,
    rules: Arc<CommitteeRules>,
    pads: Option<(Digest, PadTable)>,
}

impl Deref for Server {
    type Target = testing::Server;

    fn deref(&self) -> &testing::Server {
        &self.keys
    }
}

impl Server {
    pub fn new(
        rules: &Arc<CommitteeRules>,
        committee: &SigningSecret,
        index: usize,
        boot: u64,
    ) -> Self {
        let keys = testing::Server::new(&rules.instance, committee, index, boot);
        let admitted = &keys.admitted;
        let guard = Guard::new(rules.clone(), *admitted.id(), *admitted.digest());
        Self {
            keys,
            guard,
            rules: rules.clone(),
            pads: None,
        }
    }

    pub fn registration(&self) -> Order {
        Order::RegisterServer(ServerRegistration::unattested(
            self.admitted.bundle().clone(),
        ))
    }

    /// An order of this server, signed with the key of this boot.
    pub fn say(&self, rules: &CommitteeRules, order: &Order) -> Command {
        Command::sign(&rules.instance, self.id(), order, &self.signing).unwrap()
    }

    /// The server's word for the open round of a state, if its guard gives it.
    pub fn certify(&mut self, state: &CommitteeState) -> Result<Certification, GuardError> {
        let current = state.current().unwrap();
        let held = held(&current.round, state, &current.registry);
        self.certify_with(&current.round, &held)
    }

    /// The server's word for a round, if it holds this.
    pub fn certify_with(
        &mut self,
        round: &Round,
        held: &Held,
    ) -> Result<Certification, GuardError> {
        let vouched = vouch(&self.rules.instance, None, round, |_| None).unwrap();
        self.guard
            .certify(round, &vouched, held, &self.keys.signing)
    }

    /// The server's partial of an aggregate, if its guard makes one. That it is
    /// not given before all have committed, the tests of I17 ask.
    pub fn unblind(
        &mut self,
        round: &Round,
        registry: &ClientRegistry,
        aggregate: &Aggregate,
    ) -> Result<Partial, GuardError> {
        let digest = registry.root();
        if self.pads.as_ref().is_none_or(|(of, _)| *of != digest) {
            let pads = PadTable::agree(&self.dh, registry, None).unwrap();
            self.pads = Some((digest, pads));
        }
        let (_, pads) = self.pads.as_ref().unwrap();
        let vouched = vouch(&self.rules.instance, None, round, |_| None).unwrap();
        self.guard.unblind(
            round,
            &vouched,
            registry,
            aggregate,
            pads,
            &self.keys.signing,
        )?;
        let checked = aggregate.check(round.context(), round.header(), registry);
        Ok(Partial::compute(
            round,
            &checked.unwrap(),
            pads,
            self.id(),
            &self.signing,
        ))
    }

    /// Signs a partial for what the tally has of commitments, or for none.
    pub fn give(&self, partial: &Partial, round: &Round, tally: &Tally) -> SignedPartial {
        let commitments = tally.committed(round).unwrap_or(Digest::ZERO);
        partial.sign(commitments, &self.signing)
    }
}
