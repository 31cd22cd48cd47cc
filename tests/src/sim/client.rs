//! A client: the real sealer, a [`Rule`], and what `roles/follow.rs` lets it see.

use std::sync::Arc;

use zipnet_node::committee::state::Final;
use zipnet_protocol::{
    CertifiedRound, ClientId, Digest, Epoch, Message, Round, RoundContext, SealError,
    SealedEnvelope, Sealer, ServerId,
};

use super::{rule::Rule, server::Node};

/// A process of a client.
pub struct Client {
    /// Its keys.
    pub sealer: Sealer,
    /// What it seals.
    pub rule: Box<dyn Rule>,
    /// Who has to be in every roster that it seals for.
    pub required: Vec<ServerId>,
    position: Option<(Epoch, u64)>,
    seen: Option<RoundContext>,
}

/// What a client sealed.
#[derive(Debug)]
pub struct Sealed {
    /// For which round.
    pub round: Arc<CertifiedRound>,
    /// The envelope.
    pub envelope: SealedEnvelope,
    /// Digest of the message, if it was none of cover.
    pub message: Option<Message>,
}

impl Client {
    /// A client that has seen nothing.
    #[must_use]
    pub fn new(sealer: Sealer, rule: Box<dyn Rule>, required: Vec<ServerId>) -> Self {
        Self {
            sealer,
            rule,
            required,
            position: None,
            seen: None,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.sealer.id()
    }

    /// Has something to say, that nobody has said before.
    pub fn say(&mut self, number: u64) {
        self.rule.queue(message(number.to_be_bytes().to_vec()));
    }

    /// Looks at what a server has: records that are new, then the open round.
    /// `records` and `open` say what the server shows of it.
    pub fn look(&mut self, node: &Node, records: bool, open: bool) -> Option<Sealed> {
        if records {
            let known: Vec<_> = node.ring.values().cloned().collect();
            let epoch = node.state().epoch();
            for done in known.iter().filter(|done| Some(done.epoch()) == epoch) {
                self.take(done);
            }
        }
        let current = node.current().filter(|_| open)?;
        self.opened(&current.certified.clone()?)
    }

    /// Takes a record that is newer than those before.
    pub fn take(&mut self, done: &Final) {
        let number = done.rank().0;
        if let Some((epoch, last)) = self.position
            && epoch == done.epoch()
            && number <= last
        {
            return;
        }
        self.position = Some((done.epoch(), number));
        self.rule.record(&done.checked);
    }

    /// Seals for a round if it is acceptable and new.
    pub fn opened(&mut self, round: &Arc<CertifiedRound>) -> Option<Sealed> {
        if self.seen == Some(*round.context()) || !self.accepts(round) {
            return None;
        }
        self.seen = Some(*round.context());
        let message = self.rule.open(round);
        match self.sealer.seal(round, message.as_ref()) {
            Ok((slot, envelope)) => {
                if message.is_some() {
                    self.rule.sealed(round, slot);
                }
                Some(Sealed {
                    round: round.clone(),
                    envelope,
                    message,
                })
            }
            Err(SealError::Sealed { .. }) => None,
            Err(error) => panic!("a client cannot seal: {error}"),
        }
    }

    /// I5, as `Follower::trusted_open` has it for a client that pins servers.
    #[must_use]
    pub fn accepts(&self, round: &Round) -> bool {
        let mut required = self.required.iter();
        required.all(|server| round.server(server).is_some())
    }
}

/// A message that fits.
#[must_use]
pub fn message(text: Vec<u8>) -> Message {
    let params = zipnet_protocol::RoundParams::new(1, 4096).expect("a shape");
    Message::new(text, &params).expect("a short text")
}

/// A name for what was said.
#[must_use]
pub fn digest(message: &[u8]) -> Digest {
    zipnet_protocol::domain_digest("zipnet-tests/sim/message/v1", message)
}
