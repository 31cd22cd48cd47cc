//! What a committee of the tests has agreed on.

use std::sync::Arc;

use zipnet_protocol::{
    CertifiedRound, ClientRegistry, Digest, Epoch, FinalizedRound, Round, Tally,
    participation_floor,
};

use crate::wire::Published;

/// A finalized round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Final {
    /// As it travels.
    pub published: Published,
    /// As it was checked.
    pub checked: FinalizedRound,
    /// The registry that its participants refer to.
    pub registry: Arc<ClientRegistry>,
}

/// A round that is open.
#[derive(Debug, Clone)]
pub struct Current {
    pub round: Arc<Round>,
    pub registry: Arc<ClientRegistry>,
    pub certified: Option<Arc<CertifiedRound>>,
    pub tally: Option<Tally>,
}

/// Where the committee stands. All of its servers are registered.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) clients: Arc<ClientRegistry>,
    pub(super) min_participants: u32,
    pub(super) epoch: Option<Epoch>,
    pub(super) opened: u64,
    pub(super) head: Option<Arc<Final>>,
    pub(super) current: Option<Current>,
}

impl State {
    /// The open round.
    pub const fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    pub const fn clients(&self) -> &Arc<ClientRegistry> {
        &self.clients
    }

    /// Digest of the newest record.
    pub(super) fn previous(&self) -> Digest {
        let head = self.head.as_ref();
        head.map_or(Digest::ZERO, |head| *head.checked.digest())
    }

    pub(super) fn floor(&self) -> u32 {
        let last = self.head.as_ref().map(|head| {
            let participants = &head.published.record.aggregate.participants;
            (participants, &*head.registry)
        });
        participation_floor(self.min_participants, last, &self.clients)
    }
}
