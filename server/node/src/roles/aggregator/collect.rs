//! Takes the envelopes of the open round and answers each with a receipt.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use zipnet_protocol::{
    Aggregate, CertifiedRound, CheckedEnvelope, ClientId, ClientRegistry, EnvelopeReceipt, Epoch,
    Fold, FoldError, Leaves, Part, PartReceipt, PeerKey, RegisteredClient, RoundContext,
    SealedEnvelope, SigningSecret,
};

use super::keep::Kept;
use crate::{metrics, wire::Refused};

/// Most epochs in an aggregator's life.
const MAX_EPOCHS: usize = 1024;

/// The round that takes envelopes now.
struct Collecting {
    round: Arc<CertifiedRound>,
    registry: Arc<ClientRegistry>,
    fold: Fold,
    /// How many clients are waited for: of the registry, or of this leaf, those who take
    /// part with this roster.
    expected: usize,
    /// This one's number, if it is a leaf and not the aggregator.
    leaf: Option<u8>,
}

impl Collecting {
    /// Whether no more is to be waited for: who asked for more servers than the
    /// round has does not come.
    fn is_complete(&self) -> bool {
        self.fold.count() >= self.expected
    }

    /// Whether servers would unblind what is in: enough distinct peers (I15).
    fn is_enough(&self) -> bool {
        self.fold.peers() >= self.round.header().floor as usize
    }
}

/// What came of a round.
pub(super) struct Collected {
    pub yields: Yield,
    pub participants: usize,
    pub registered: usize,
}

/// What is handed on.
pub(super) enum Yield {
    /// By the aggregator, to the servers.
    Aggregate(Aggregate),
    /// By a leaf, to the aggregator.
    Part(Part),
}

/// Everything that the aggregator has promised, and what it keeps of that.
///
/// A receipt is a promise, and an aggregate that does not keep it is proof
/// against this process. So a round is collected for once, and never again: neither in this
/// process, which remembers the highest number of each epoch, nor after a restart, for which
/// the rounds that were open at the start are set aside.
pub(super) struct Desk {
    signing: SigningSecret,
    current: Mutex<Option<Collecting>>,
    kept: Mutex<Kept>,
    begun: Mutex<BTreeMap<Epoch, u64>>,
    /// The leaves of the newest round that has some, whoever aggregates it.
    leaves: Mutex<Leaves>,
    /// Rounds that an earlier life of this process may have given receipts in.
    set_aside: Mutex<Vec<RoundContext>>,
    changed: Notify,
}

impl Desk {
    pub fn new(signing: SigningSecret) -> Self {
        Self {
            signing,
            current: Mutex::default(),
            kept: Mutex::default(),
            begun: Mutex::default(),
            leaves: Mutex::default(),
            set_aside: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whose desk it is.
    pub fn peer(&self) -> PeerKey {
        self.signing.peer_key()
    }

    /// A round has opened, whether this peer has to do with it or not.
    pub fn heard(&self, round: &CertifiedRound) {
        let leaves = &round.header().leaves;
        if !leaves.is_empty() {
            *lock(&self.leaves) = leaves.clone();
        }
    }

    /// Never collects for this round.
    pub fn set_aside(&self, context: RoundContext) {
        lock(&self.set_aside).push(context);
    }

    /// Whether to collect for a round: this peer is the one whose aggregate
    /// counts in it or one of its leaves, and has promised nobody anything yet in this round or a
    /// later one. Says yes once.
    pub fn begins(&self, round: &CertifiedRound) -> bool {
        let header = round.header();
        let me = self.signing.peer_key();
        if (header.aggregator != me && header.leaves.number(&me).is_none())
            || lock(&self.set_aside).contains(round.context())
        {
            return false;
        }
        let mut begun = lock(&self.begun);
        match begun.get(&header.epoch) {
            Some(last) if header.number <= *last => return false,
            None if begun.len() >= MAX_EPOCHS => return false,
            _ => {}
        }
        begun.insert(header.epoch, header.number);
        true
    }

    /// Begins to take envelopes.
    pub fn open(&self, round: Arc<CertifiedRound>, registry: Arc<ClientRegistry>) {
        let fold = Fold::new(*round.context(), round.header(), registry.len());
        let header = round.header();
        let me = self.signing.peer_key();
        let leaf = header
            .leaves
            .number(&me)
            .filter(|_| header.aggregator != me);
        let here = |client: &RegisteredClient| {
            header.serves(client.least_servers())
                && (leaf.is_none() || header.leaves.number_of(client.id()) == leaf)
        };
        let expected = registry.iter().filter(|client| here(client)).count();
        *self.current() = Some(Collecting {
            round,
            registry,
            fold,
            expected,
            leaf,
        });
    }

    /// Resolves once all registered clients are in.
    pub async fn complete(&self) {
        self.until(Collecting::is_complete).await;
    }

    /// Resolves once servers would unblind what is in.
    pub async fn enough(&self) {
        self.until(Collecting::is_enough).await;
    }

    async fn until(&self, wanted: impl Fn(&Collecting) -> bool) {
        loop {
            let changed = self.changed.notified();
            if self.current().as_ref().is_none_or(&wanted) {
                return;
            }
            changed.await;
        }
    }

    /// Takes no more envelopes, signs what is in, and keeps it.
    pub fn close(&self) -> Option<Collected> {
        let collected = self.current().take()?;
        let participants = collected.fold.count();
        let registered = match collected.leaf {
            Some(_) => collected.expected,
            None => collected.registry.len(),
        };
        let context = *collected.round.context();
        let (envelopes, parts) = (collected.fold.own(), collected.fold.parts());
        let (envelopes, parts) = (envelopes.clone(), parts.cloned().collect());
        let now = tokio::time::Instant::now();
        lock(&self.kept).push(context, envelopes, parts, now);
        let yields = match collected.leaf {
            Some(_) => Yield::Part(collected.fold.finish_part(&self.signing)?),
            None => Yield::Aggregate(collected.fold.finish(&self.signing)),
        };
        Some(Collected {
            yields,
            participants,
            registered,
        })
    }

    /// Gives up the round that is open, if one is.
    pub fn abandon(&self) {
        *self.current() = None;
    }

    /// Takes an envelope from the peer that the client is registered with.
    pub fn take(
        &self,
        envelope: &SealedEnvelope,
        caller: &PeerKey,
    ) -> Result<EnvelopeReceipt, Refused> {
        metrics::payload("client-aggregator", envelope.vector.len());
        let outcome = self.fold(envelope, caller);
        metrics::envelope(match &outcome {
            Ok(_) => "folded",
            Err(Refused::Unregistered) => "unregistered",
            Err(Refused::NotOpen) => "not-open",
            Err(Refused::Repeated) => "repeated",
            Err(Refused::Busy | Refused::Text(_)) => "refused",
        });
        if outcome.is_ok() {
            self.changed.notify_waiters();
        }
        outcome
    }

    fn fold(
        &self,
        envelope: &SealedEnvelope,
        caller: &PeerKey,
    ) -> Result<EnvelopeReceipt, Refused> {
        let open = self
            .current()
            .as_ref()
            .filter(|current| *current.round.context() == envelope.context)
            .map(|current| (current.round.clone(), current.registry.clone()));
        let Some((round, registry)) = open else {
            return self.late(envelope, caller);
        };
        let client = registry
            .get(&envelope.client)
            .ok_or(Refused::Unregistered)?;
        if client.peer() != caller {
            return Err(of_another_peer());
        }
        let me = self.signing.peer_key();
        if !round.header().takers(client.id()).contains(&&me) {
            return Err(Refused::Text(
                "another leaf takes this client's envelopes".to_owned(),
            ));
        }
        // Outside of the lock: this is what an envelope costs.
        let checked = envelope
            .check(round.context(), round.header(), &registry)
            .map_err(|error| match error {
                FoldError::Context => Refused::NotOpen,
                FoldError::Unregistered { .. } => Refused::Unregistered,
                FoldError::Repeated { .. } => Refused::Repeated,
                FoldError::Length { .. }
                | FoldError::Servers { .. }
                | FoldError::Signature { .. } => crate::wire::because(&error),
            })?;
        let mut current = self.current();
        // It may have closed meanwhile: then nothing is promised.
        let current = current
            .as_mut()
            .filter(|current| *current.round.context() == envelope.context)
            .ok_or(Refused::NotOpen)?;
        match current.fold.own().get(&checked.position()) {
            // The answer got lost: the same envelope has the same receipt.
            Some(before) if *before == checked => {}
            Some(_) => return Err(Refused::Repeated),
            None => {
                let taken = current.fold.take(checked.clone());
                taken.map_err(|_| Refused::Repeated)?;
            }
        }
        Ok(self.receipt(&checked))
    }

    /// Takes the part of a leaf, from the leaf.
    pub fn take_part(&self, part: Part, caller: &PeerKey) -> Result<PartReceipt, Refused> {
        metrics::payload("leaf-aggregator", part.vector.len());
        let open = self
            .current()
            .as_ref()
            .filter(|open| open.leaf.is_none() && *open.round.context() == part.context)
            .map(|open| (open.round.clone(), open.registry.clone()));
        let Some((round, registry)) = open else {
            return self.late_part(&part);
        };
        let header = round.header();
        if header.leaves.number(caller) != Some(part.seal.leaf) {
            return Err(Refused::Text("the part is of another leaf".to_owned()));
        }
        // Outside of the lock, as with envelopes.
        let checked = part.check(round.context(), header, &registry);
        let checked = checked.map_err(|error| crate::wire::because(&error))?;
        let receipt = PartReceipt::sign(&checked, &self.signing);
        {
            let mut current = self.current();
            let current = current
                .as_mut()
                .filter(|current| current.round.context() == round.context())
                .ok_or(Refused::NotOpen)?;
            let taken = current.fold.take_part(checked);
            taken.map_err(|_| Refused::Repeated)?;
        }
        self.changed.notify_waiters();
        Ok(receipt)
    }

    /// The receipt of a part that is in a round that has closed.
    fn late_part(&self, part: &Part) -> Result<PartReceipt, Refused> {
        let kept = lock(&self.kept);
        let before = kept.part(&part.context, part.seal.leaf);
        match before.ok_or(Refused::NotOpen)? {
            before if before.part() == part => Ok(PartReceipt::sign(before, &self.signing)),
            _ => Err(Refused::Repeated),
        }
    }

    /// The part of a leaf in a round that has closed, for auditors.
    pub fn part(&self, context: &RoundContext, leaf: u8) -> Result<Part, Refused> {
        let kept = lock(&self.kept);
        let part = kept.part(context, leaf).ok_or(Refused::NotOpen)?;
        Ok(part.part().clone())
    }

    /// Whether a peer is a leaf of the newest round that has some: it may hand a part in
    /// before this one collects, and ask for its receipt afterwards.
    pub fn is_leaf(&self, peer: &PeerKey) -> bool {
        lock(&self.leaves).number(peer).is_some()
    }

    /// Whether an envelope of a client of this peer would get a receipt: its round
    /// takes envelopes now, or has closed with it.
    pub fn collects(
        &self,
        context: &RoundContext,
        client: &ClientId,
        caller: &PeerKey,
    ) -> Result<(), Refused> {
        let open = self.current().as_ref().map(|open| *open.round.context());
        let holds = || {
            let kept = lock(&self.kept);
            let envelope = kept.of(context, client);
            envelope.is_some_and(|envelope| envelope.peer() == caller)
        };
        let collects = open == Some(*context) || holds();
        collects.then_some(()).ok_or(Refused::NotOpen)
    }

    /// The receipt of an envelope that is in a round that has closed; its
    /// answer may have got lost.
    fn late(
        &self,
        envelope: &SealedEnvelope,
        caller: &PeerKey,
    ) -> Result<EnvelopeReceipt, Refused> {
        let kept = lock(&self.kept)
            .of(&envelope.context, &envelope.client)
            .cloned()
            .ok_or(Refused::NotOpen)?;
        if kept.peer() != caller {
            return Err(of_another_peer());
        }
        if kept.envelope() != envelope {
            return Err(Refused::Repeated);
        }
        Ok(self.receipt(&kept))
    }

    fn receipt(&self, checked: &CheckedEnvelope) -> EnvelopeReceipt {
        EnvelopeReceipt::sign(checked, &self.signing)
    }

    /// A page of a round's envelopes.
    pub fn page(
        &self,
        context: &RoundContext,
        from: usize,
        bytes: usize,
    ) -> Result<Vec<SealedEnvelope>, Refused> {
        lock(&self.kept)
            .page(context, from, bytes)
            .ok_or(Refused::NotOpen)
    }

    fn current(&self) -> MutexGuard<'_, Option<Collecting>> {
        lock(&self.current)
    }
}

fn of_another_peer() -> Refused {
    Refused::Text("the client is registered with another peer".to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
