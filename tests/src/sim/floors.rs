//! Restarted servers ask the others what an earlier boot can have stood for, where
//! smaller rosters are allowed.

use std::collections::BTreeMap;

use zipnet_protocol::{Digest, Epoch, ServerId};

use super::server::Node;

/// What a server has heard of one epoch.
#[derive(Debug, Default)]
pub struct Heard {
    epoch: Option<Epoch>,
    words: BTreeMap<ServerId, u64>,
}

/// A server that asks.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    asker: ServerId,
    bundle: Digest,
    epoch: Epoch,
}

impl Node {
    /// What it has to ask, if it is new to the epoch and listed with this boot.
    #[must_use]
    pub fn question(&self) -> Option<Question> {
        self.state().rules().min_servers?;
        let epoch = self.state().epoch()?;
        let (asker, bundle) = (self.keys.id(), *self.keys.admitted.digest());
        let listed = self.state().servers().get(&asker)?;
        let new = self.guard.floor(&epoch).is_none();
        (new && *listed.digest() == bundle).then_some(Question {
            asker,
            bundle,
            epoch,
        })
    }

    /// Its answer, if it lists the asker with that boot: who it is, with its own
    /// boot, and what it says.
    pub fn answer(&mut self, question: &Question) -> Option<(ServerId, Digest, u64)> {
        let asker = self.state().servers().get(&question.asker)?;
        let boot = (*asker.digest() == question.bundle).then(|| asker.boot())?;
        let floor = self.guard.tell(question.asker, boot, &question.epoch)?;
        Some((self.keys.id(), *self.keys.admitted.digest(), floor))
    }

    /// Takes an answer of a server that it lists with that boot.
    pub fn hear(&mut self, question: &Question, (server, bundle, floor): (ServerId, Digest, u64)) {
        if self.heard.epoch != Some(question.epoch) {
            self.heard = Heard {
                epoch: Some(question.epoch),
                words: BTreeMap::new(),
            };
        }
        let listed = self.state().servers().get(&server);
        if listed.is_none_or(|listed| *listed.digest() != bundle) {
            return;
        }
        self.heard.words.insert(server, floor);
        let size = self.state().committee_size();
        if self.heard.words.len() >= self.state().rules().words_needed(size) {
            let floor = self.heard.words.values().copied().max().unwrap_or(0);
            self.guard.learn(question.epoch, floor);
        }
    }
}
