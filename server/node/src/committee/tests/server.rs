//! A server of the tests, honest or not.

use std::sync::Arc;

use zeroize::Zeroizing;
use zipnet_protocol::{
    AdmittedServer, Aggregate, ClientRegistry, DhSecret, Digest, Nonce, PadTable, RosterEntry,
    Round, ServerBundle, ServerId, SignedPartial, SigningSecret,
};

use super::fixture::entry;
use crate::{
    attestation::vouch,
    committee::command::{Command, Order, ServerRegistration},
    guard::{Guard, GuardError},
    settings::CommitteeRules,
};

/// Thirty-two bytes that belong to a label and two numbers.
pub fn entropy(label: &str, index: usize, boot: u64) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(*blake3::hash(format!("{label} {index} {boot}").as_bytes()).as_bytes())
}

/// A nonce that belongs to a number.
pub fn nonce(seed: u64) -> Nonce {
    Nonce::new(*entropy("nonce", 0, seed))
}

/// One boot of a server, with all its secrets.
pub struct Server {
    pub dh: DhSecret,
    pub signing: SigningSecret,
    pub transport: SigningSecret,
    pub admitted: AdmittedServer,
    pub guard: Guard,
    rules: Arc<CommitteeRules>,
    pads: Option<(Digest, PadTable)>,
}

impl Server {
    pub fn new(
        rules: &Arc<CommitteeRules>,
        committee: &SigningSecret,
        index: usize,
        boot: u64,
    ) -> Self {
        let dh = DhSecret::from_entropy(&entropy("server dh", index, boot));
        let signing = SigningSecret::from_seed(&entropy("server signing", index, boot));
        let transport = SigningSecret::from_seed(&entropy("server transport", index, 0));
        let instance = &rules.instance;
        let bundle = ServerBundle::sign(instance, &dh, &signing, &transport, committee, boot);
        let admitted = bundle.verify(instance).unwrap();
        let guard = Guard::new(rules.clone(), *admitted.id(), *admitted.digest());
        Self {
            dh,
            signing,
            transport,
            admitted,
            guard,
            rules: rules.clone(),
            pads: None,
        }
    }

    pub fn id(&self) -> ServerId {
        *self.admitted.id()
    }

    pub fn entry(&self) -> RosterEntry {
        entry(&self.admitted)
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

    /// The server's partial of an aggregate, if its guard gives one.
    pub fn unblind(
        &mut self,
        round: &Round,
        registry: &ClientRegistry,
        aggregate: &Aggregate,
    ) -> Result<SignedPartial, GuardError> {
        let digest = registry.digest();
        if self.pads.as_ref().is_none_or(|(of, _)| *of != digest) {
            let pads = PadTable::agree(&self.dh, registry, None).unwrap();
            self.pads = Some((digest, pads));
        }
        let (_, pads) = self.pads.as_ref().unwrap();
        let vouched = vouch(&self.rules.instance, None, round, |_| None).unwrap();
        self.guard
            .unblind(round, &vouched, registry, aggregate, pads, &self.signing)
    }

    /// The partial of a server that holds itself to nothing.
    pub fn unblind_anything(
        &self,
        round: &Round,
        registry: &ClientRegistry,
        aggregate: &Aggregate,
    ) -> SignedPartial {
        let pads = PadTable::agree(&self.dh, registry, None).unwrap();
        let vector = pads.xor_of(
            round.context(),
            &aggregate.participants,
            &self.id(),
            round.header().params.broadcast_bytes(),
        );
        SignedPartial::sign(
            *round.context(),
            aggregate.digest(),
            self.id(),
            vector.into(),
            &self.signing,
        )
    }
}
