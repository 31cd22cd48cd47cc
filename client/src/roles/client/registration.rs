//! Keeps a client in the registry.

use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use tokio::{sync::Notify, time::timeout};
use zipnet_door::PeerId;
use zipnet_protocol::{Instance, RegistryEntry, SigningSecret, Withdrawal};

use super::listing::Registries;
use crate::{
    backoff::Backoff,
    entropy::Dice,
    ground::Ground,
    peers::{Allowed, PeerError, Peers},
    wire::{Enrolment, RegisterCall, Wish, WithdrawCall},
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon a registration that does not show yet is looked at again, at first.
const PENDING: Duration = Duration::from_millis(300);
/// How soon at last.
const PENDING_MAX: Duration = Duration::from_secs(10);
/// How often a listed client says that it is still there.
const REFRESH: Duration = Duration::from_secs(15);

pub(super) struct Registrar {
    wish: Wish,
    instance: Instance,
    servers: Peers<Wish, Enrolment>,
    rounds: Arc<Registries>,
    withdrawals: Peers<Withdrawal, ()>,
    lost: Notify,
    /// Why it is not listed, as far as is known; `None` if it is.
    unlisted: Mutex<Option<String>>,
}

impl core::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Registrar({})", self.wish.bundle.client_id())
    }
}

impl Registrar {
    pub fn new(
        ground: &Arc<dyn Ground>,
        instance: &Instance,
        wish: Wish,
        rounds: Arc<Registries>,
        servers: Allowed,
    ) -> Self {
        Self {
            servers: Peers::on::<RegisterCall>(&**ground, instance, Some(servers.clone())),
            withdrawals: Peers::on::<WithdrawCall>(&**ground, instance, Some(servers)),
            instance: instance.clone(),
            rounds,
            wish,
            lost: Notify::new(),
            unlisted: Mutex::new(Some(
                "no server was asked to list this client yet".to_owned(),
            )),
        }
    }

    /// Why this client is not listed; `None` if it is, as a server has shown last.
    pub fn unlisted(&self) -> Option<String> {
        let unlisted = self.unlisted.lock();
        unlisted.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn found(&self, unlisted: Option<String>) {
        let mut found = self.unlisted.lock().unwrap_or_else(PoisonError::into_inner);
        *found = unlisted;
    }

    /// The aggregator does not know this client: register again.
    pub fn lost(&self) {
        self.found(Some("the aggregator does not know this client".to_owned()));
        self.lost.notify_one();
    }

    /// Registers with two servers chosen by chance, again and again, so that
    /// one malicious server does not keep a chosen client out (A6). When it
    /// does so says nothing of what the client has to say.
    pub async fn run(self: Arc<Self>) {
        let mut dice = Dice::fresh();
        let mut backoff = Backoff::new(PENDING, PENDING_MAX);
        let mut listed_before = false;
        loop {
            let answers = self.servers.call_two(&self.wish, PATIENCE).await;
            let answers = self.check(answers).await;
            let said = Said::of(&answers);
            self.found(said.unlisted(&answers));
            if said == Said::Listed && !listed_before {
                tracing::info!(client = %self.wish.bundle.client_id().short(), "registered");
            }
            listed_before = said == Said::Listed;
            let pause = match said {
                Said::Listed => Backoff::new(REFRESH, REFRESH).next(&mut dice),
                // Nobody was asked, so nobody is troubled.
                Said::Nobody => Backoff::new(PENDING, PENDING).next(&mut dice),
                Said::Pending | Said::Nothing => backoff.next(&mut dice),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {
                    if said == Said::Listed {
                        backoff.reset();
                    }
                }
                () = self.lost.notified() => {
                    // Whoever showed that it was listed let its lease run out: the
                    // others are asked next.
                    for (peer, answer) in &answers {
                        if matches!(answer, Ok(Heard::Proved)) {
                            self.servers.distrust_peer(*peer);
                        }
                    }
                    tokio::time::sleep(backoff.next(&mut dice)).await;
                }
            }
        }
    }

    /// Holds what servers say against what certified rounds say.
    async fn check(
        &self,
        answers: Vec<(PeerId, Result<Enrolment, PeerError>)>,
    ) -> Vec<(PeerId, Result<Heard, PeerError>)> {
        let entry = RegistryEntry::from(&self.wish.bundle);
        let checks = answers.into_iter().map(async |(peer, answer)| {
            let heard = match answer {
                Ok(Enrolment::Pending) => Ok(Heard::Pending),
                Ok(Enrolment::Listed(listing)) => {
                    if self.rounds.lists(&listing, &entry).await {
                        Ok(Heard::Proved)
                    } else {
                        tracing::debug!(
                            peer = %peer.fmt_short(),
                            "a server says that this client is listed, and its proof does not hold"
                        );
                        self.servers.distrust_peer(peer);
                        Ok(Heard::Unproved)
                    }
                }
                Err(error) => Err(error),
            };
            (peer, heard)
        });
        join_all(checks).await
    }

    /// Takes leave of the committee, if it can be reached soon.
    pub async fn withdraw(&self, transport: &SigningSecret, patience: Duration) {
        let withdrawal = Withdrawal::sign(&self.instance, self.wish.bundle.client_id(), transport);
        let farewell = self.withdrawals.call_two(&withdrawal, patience);
        let answers = timeout(patience, farewell).await.unwrap_or_default();
        if !answers.iter().any(|(_, answer)| answer.is_ok()) {
            tracing::debug!("no server took the withdrawal; the registration will lapse");
        }
    }
}

/// What one server said of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// That it is listed, and the proof holds.
    Proved,
    /// The same without a proof that holds.
    Unproved,
    /// That it has passed it on.
    Pending,
}

/// What the servers said of a registration, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// One at least has shown that it is listed.
    Listed,
    /// One at least has passed it on, and none has shown that it is listed.
    Pending,
    /// None answered what is worth anything.
    Nothing,
    /// There is none to ask.
    Nobody,
}

impl Said {
    fn of(answers: &[(PeerId, Result<Heard, PeerError>)]) -> Self {
        if answers.is_empty() {
            return Self::Nobody;
        }
        let mut said = Self::Nothing;
        for (peer, answer) in answers {
            match answer {
                Ok(Heard::Proved) => return Self::Listed,
                Ok(Heard::Pending) => said = Self::Pending,
                Ok(Heard::Unproved) => {}
                Err(error) => tracing::debug!(
                    peer = %peer.fmt_short(),
                    because = %crate::report::chain(error),
                    "a server did not register this client"
                ),
            }
        }
        said
    }
}

impl Said {
    /// Why the client is not listed, by what they said.
    fn unlisted(self, answers: &[(PeerId, Result<Heard, PeerError>)]) -> Option<String> {
        let text = match self {
            Self::Listed => return None,
            Self::Pending => "no certified round lists this client yet",
            Self::Nothing => "no server lists this client",
            Self::Nobody => "no server is there that could list this client",
        };
        let mut errors = answers
            .iter()
            .filter_map(|(_, answer)| answer.as_ref().err());
        Some(match (self, errors.next()) {
            (Self::Nothing, Some(error)) => format!("{text}: {}", crate::report::chain(error)),
            _ => text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use zipnet_door::iroh::SecretKey;

    use super::*;
    use crate::wire::Refused;

    #[test]
    fn a6_a_proof_settles_it_and_a_word_alone_is_nothing() {
        let peer = |seed| SecretKey::from_bytes(&[seed; 32]).public();
        let proved = || (peer(1), Ok(Heard::Proved));
        let claimed = || (peer(1), Ok(Heard::Unproved));
        let pending = || (peer(2), Ok(Heard::Pending));
        let refused = || {
            let error = PeerError::Refused {
                call: "register",
                peer: "x".to_owned(),
                reason: Refused::Text("no".to_owned()),
            };
            (peer(3), Err(error))
        };
        assert_eq!(Said::of(&[proved(), pending()]), Said::Listed);
        assert_eq!(Said::of(&[pending(), proved()]), Said::Listed);
        assert_eq!(Said::of(&[refused(), proved()]), Said::Listed);
        assert_eq!(Said::of(&[claimed(), pending()]), Said::Pending);
        assert_eq!(Said::of(&[pending(), claimed()]), Said::Pending);
        assert_eq!(Said::of(&[refused(), pending()]), Said::Pending);
        assert_eq!(Said::of(&[claimed(), refused()]), Said::Nothing);
        assert_eq!(Said::of(&[claimed()]), Said::Nothing);
        assert_eq!(Said::of(&[]), Said::Nobody);
        let why = |answers: &[_]| Said::of(answers).unlisted(answers);
        assert_eq!(why(&[refused(), proved()]), None);
        let pending = why(&[refused(), pending()]).unwrap();
        assert!(pending.starts_with("no certified round"), "{pending}");
        let refused = why(&[refused()]).unwrap();
        assert!(
            refused.starts_with("no server lists this client: Peer x refused"),
            "{refused}"
        );
    }
}
