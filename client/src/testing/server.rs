//! A server with all its secrets.

use zipnet_protocol::{
    AdmittedServer, Aggregate, ClientRegistry, DhSecret, Instance, PadTable, Partial, RosterEntry,
    Round, ServerBundle, ServerId, SigningSecret, Whereabouts,
};

use super::{entropy, entry};

/// One boot of a server.
pub struct Server {
    pub dh: DhSecret,
    pub signing: SigningSecret,
    pub transport: SigningSecret,
    pub admitted: AdmittedServer,
}

impl Server {
    pub fn new(instance: &Instance, committee: &SigningSecret, index: usize, boot: u64) -> Self {
        let dh = DhSecret::from_entropy(&entropy("server dh", index, boot));
        let signing = SigningSecret::from_seed(&entropy("server signing", index, boot));
        let transport = SigningSecret::from_seed(&entropy("server transport", index, 0));
        let bundle = ServerBundle::sign(
            instance,
            &dh,
            &signing,
            &transport,
            committee,
            boot,
            Whereabouts::nowhere(),
        );
        let admitted = bundle.verify(instance).unwrap();
        Self {
            dh,
            signing,
            transport,
            admitted,
        }
    }

    pub fn id(&self) -> ServerId {
        *self.admitted.id()
    }

    pub fn entry(&self) -> RosterEntry {
        entry(&self.admitted)
    }

    /// The partial of a server that holds itself to nothing.
    pub fn unblind_anything(
        &self,
        round: &Round,
        registry: &ClientRegistry,
        aggregate: &Aggregate,
    ) -> Partial {
        let pads = PadTable::agree(&self.dh, registry, None).unwrap();
        let vector = pads.xor_of(
            round.context(),
            &aggregate.participants,
            &self.id(),
            round.header().params.broadcast_bytes(),
        );
        Partial::new(
            *round.context(),
            aggregate.digest(),
            self.id(),
            vector.into(),
            &self.signing,
        )
    }
}
