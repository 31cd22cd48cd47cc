//! The bodies of the fuzz targets: one for each type that is decoded from
//! outside. Each decodes any bytes and, if they decode, takes the value
//! through the check that stands at the door. None may panic, whatever comes.
//!
//! `make fuzz` drives them with libFuzzer; the test `fuzz_corpus` runs them
//! over the committed seeds and mutations of these on the stable toolchain.

mod attestation;
mod history;
mod light;
mod part;

use core::pin::pin;
use std::{
    error::Error,
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
};

use zeroize::Zeroizing;
use zipnet_door::frame;
use zipnet_node::{
    committee::{
        command::{Command, Order, PartialCommitment, Published, Resume, ServerRegistration},
        invites::Wish,
        snapshot::Snapshot,
        state::CommitteeState,
    },
    settings::{AggregatorRules, ClientRules, CommitteeRules},
    wire::{
        AggregateCall, AuditCall, Call, ChangesCall, ChangesRequest, CollectsCall, ComplainCall,
        CredentialCall, EnlistCall, Enrolment, EnvelopeCall, Follow, FollowCall, FollowLightCall,
        Hello, HelloCall, LinkCall, Listing, MemberCall, News, OmittedCall, Opened, OpinionCall,
        PartCall, PartOfCall, Refused, RegisterCall, Registration, RegistryCall, RegistryRequest,
        RollCall, WithdrawCall,
    },
};
use zipnet_protocol::{
    Admission, Aggregate, AggregatorBundle, BroadcastRecord, Certification, ClientBundle,
    ClientRegistry, CommitteeSecret, DhSecret, Digest, EnvelopeReceipt, Epoch, Fault, Fold,
    Instance, InstanceName, LeastServers, Leaves, Message, Nonce, PadTable, Partial, Participants,
    PeerKey, Proof, ProofError, RegistryDelta, RegistryEntry, RosterEntry, RoundHeader,
    RoundParams, SealedEnvelope, Sealer, ServerBundle, SignedHeader, SignedPartial, SigningSecret,
    SlotKey, SlotOpening, Withdrawal,
};

/// A fuzz target: its name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// A seed and the target that it is for.
pub type Seed = (&'static str, Vec<u8>);

/// All targets.
pub const TARGETS: &[Target] = &[
    ("client_bundle", client_bundle),
    ("withdrawal", withdrawal),
    ("aggregator_bundle", aggregator_bundle),
    ("server_bundle", server_bundle),
    ("signed_header", signed_header),
    ("envelope", envelope),
    ("aggregate", aggregate),
    ("part", part::part),
    ("proof", proof),
    ("partial", partial),
    ("record", record),
    ("command", command),
    ("order", order),
    ("snapshot", snapshot),
    ("news", news),
    ("light_news", light::light_news),
    ("calls", calls),
    ("door", door),
    ("settings", settings),
    ("archive_record", history::archive_record),
    ("archive_index", history::archive_index),
    ("evidence", attestation::evidence),
    ("collateral", attestation::collateral),
    ("policy", attestation::policy),
    ("provisioning", attestation::provisioning),
];

fn instance() -> &'static Instance {
    static INSTANCE: OnceLock<Instance> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        // The name is a constant of the right alphabet.
        let name: InstanceName = "zipnet.fuzz.test"
            .parse()
            .unwrap_or_else(|_| std::process::abort());
        let secret = CommitteeSecret::new(Zeroizing::new(b"fuzz".to_vec()));
        let committee = secret.committee_key(&name).public();
        Instance::new(name, committee)
    })
}

fn rules() -> Arc<CommitteeRules> {
    Arc::new(CommitteeRules {
        instance: instance().clone(),
        trust: None,
        params: RoundParams::default(),
        min_participants: 1,
        committee_size: None,
        min_servers: None,
        clients_per_peer: 1,
        leaves: 0,
        clients: ClientRules::Open,
        aggregators: AggregatorRules::default(),
    })
}

/// [`ClientBundle`], and what it travels with.
pub fn client_bundle(data: &[u8]) {
    if let Ok(bundle) = postcard::from_bytes::<ClientBundle>(data) {
        let _ = bundle.verify(instance());
    }
    if let Ok(wish) = postcard::from_bytes::<Wish>(data)
        && let Some(invite) = &wish.invite
    {
        let _ = invite.verify(instance(), &wish.bundle.client_id());
    }
    if let Ok(delta) = postcard::from_bytes::<RegistryDelta>(data) {
        let _ = ClientRegistry::default().changed_by(instance(), &delta, &Digest::ZERO);
    }
    if let Ok((bundle, listing)) = postcard::from_bytes::<(ClientBundle, Listing)>(data) {
        let (entry, position) = (RegistryEntry::from(&bundle), listing.position);
        let clients = position.saturating_add(1);
        let _ = listing
            .proof
            .verify(&Digest::ZERO, clients, position, &entry);
    }
}

/// [`Withdrawal`].
pub fn withdrawal(data: &[u8]) {
    if let Ok((bundle, withdrawal)) = postcard::from_bytes::<(ClientBundle, Withdrawal)>(data)
        && let Ok(client) = bundle.verify(instance())
    {
        let _ = withdrawal.verify(instance(), &client);
    }
    let _ = postcard::from_bytes::<Withdrawal>(data);
}

/// [`ServerBundle`].
pub fn server_bundle(data: &[u8]) {
    if let Ok(bundle) = postcard::from_bytes::<ServerBundle>(data) {
        let _ = bundle.verify(instance());
    }
}

/// [`AggregatorBundle`], and an admission as operators write it.
pub fn aggregator_bundle(data: &[u8]) {
    if let Ok(bundle) = postcard::from_bytes::<AggregatorBundle>(data) {
        let _ = bundle.verify(instance(), |_| false);
        let _ = bundle.verify(instance(), |_| true);
    }
    if let Ok(text) = core::str::from_utf8(data) {
        let _ = text.parse::<Admission>();
    }
}

/// A certificate with its bundles.
pub fn signed_header(data: &[u8]) {
    if let Ok(opened) = postcard::from_bytes::<Opened>(data) {
        let _ = opened.certificate.verify(instance(), &opened.bundles);
    }
    if let Ok(header) = postcard::from_bytes::<SignedHeader>(data) {
        let _ = header.header().context();
    }
}

/// [`Proof`], and a receipt.
pub fn proof(data: &[u8]) {
    if let Ok(proof) = postcard::from_bytes::<Proof>(data) {
        let _ = proof.verify(instance());
    }
    if let Ok(receipt) = postcard::from_bytes::<EnvelopeReceipt>(data) {
        let _ = receipt.verify(&PeerKey::new([7; 32]));
    }
}

/// [`SealedEnvelope`].
pub fn envelope(data: &[u8]) {
    let _ = postcard::from_bytes::<SealedEnvelope>(data);
}

/// [`Aggregate`] and its participants, against a header.
pub fn aggregate(data: &[u8]) {
    if let Ok((header, aggregate)) = postcard::from_bytes::<(SignedHeader, Aggregate)>(data) {
        let header = header.header();
        let _ = aggregate.check(&header.context(), header, &ClientRegistry::default());
    }
    if let Ok(participants) = postcard::from_bytes::<Participants>(data) {
        let _ = participants.check(data.len());
        let _ = participants.positions().count();
    }
}

/// [`SignedPartial`].
pub fn partial(data: &[u8]) {
    if let Ok(partial) = postcard::from_bytes::<SignedPartial>(data) {
        let _ = partial.vector_digest();
    }
}

/// [`BroadcastRecord`] with its bundles.
pub fn record(data: &[u8]) {
    if let Ok(published) = postcard::from_bytes::<Published>(data) {
        let _ = published.record.verify(instance(), &published.bundles);
    }
    let _ = postcard::from_bytes::<BroadcastRecord>(data);
}

/// [`Command`], applied to a fresh committee.
pub fn command(data: &[u8]) {
    if let Ok(command) = postcard::from_bytes::<Command>(data) {
        let _ = CommitteeState::new(rules()).apply(&command);
    }
}

/// [`Order`], which is inside of a command.
pub fn order(data: &[u8]) {
    let _ = postcard::from_bytes::<Order>(data);
    let _ = postcard::from_bytes::<Resume>(data);
}

/// [`Snapshot`], restored.
pub fn snapshot(data: &[u8]) {
    let _ = postcard::from_bytes::<Snapshot>(data);
    let _ = CommitteeState::restore(rules(), data);
}

/// [`News`] of a server.
pub fn news(data: &[u8]) {
    if let Ok(news) = postcard::from_bytes::<News>(data) {
        for published in &news.records {
            let _ = published.record.verify(instance(), &published.bundles);
        }
        if let Some(open) = &news.open {
            let _ = open.certificate.verify(instance(), &open.bundles);
        }
    }
}

/// The small requests and answers.
pub fn calls(data: &[u8]) {
    let _ = postcard::from_bytes::<Follow>(data);
    let _ = postcard::from_bytes::<Hello>(data);
    let _ = postcard::from_bytes::<RegistryRequest>(data);
    let _ = postcard::from_bytes::<ChangesRequest>(data);
    let _ = postcard::from_bytes::<Enrolment>(data);
    let _ = postcard::from_bytes::<Registration>(data);
    let _ = postcard::from_bytes::<Refused>(data);
    let _ = postcard::from_bytes::<Vec<ClientBundle>>(data);
}

/// Tries a frame's body as each of these calls' request and answer, if it is of its kind.
macro_rules! frames {
    ($($call:ty),* $(,)?) => {
        fn longest(kind: u8) -> Option<u32> {
            $(if kind == <$call>::KIND {
                return Some(<$call>::MAX_REQUEST);
            })*
            None
        }

        fn decode(kind: u8, body: &[u8]) {
            $(if kind == <$call>::KIND {
                let _ = postcard::from_bytes::<<$call as Call>::Request>(body);
                let _ = postcard::from_bytes::<<$call as Call>::Reply>(body);
            })*
        }
    };
}

frames![
    HelloCall,
    RollCall,
    MemberCall,
    CredentialCall,
    FollowCall,
    FollowLightCall,
    RegisterCall,
    WithdrawCall,
    ComplainCall,
    EnvelopeCall,
    CollectsCall,
    EnlistCall,
    RegistryCall,
    AggregateCall,
    AuditCall,
    LinkCall,
    ChangesCall,
    OpinionCall,
    PartCall,
    PartOfCall,
    OmittedCall,
];

/// What comes to a door: frames, one after the other, of every kind.
pub fn door(data: &[u8]) {
    let mut stream = data;
    loop {
        let mut read = pin!(frame::read(&mut stream, longest));
        // All bytes are there, so it never waits.
        match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Some((kind, body)))) => decode(kind, &body),
            _ => break,
        }
    }
    // As an answer.
    let mut stream = data;
    let longest = frame::answers(1 << 16);
    let mut read = pin!(frame::read(&mut stream, longest));
    let _ = read.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

/// What operators write: names, hints, relays.
pub fn settings(data: &[u8]) {
    if let Ok(text) = core::str::from_utf8(data) {
        let _ = text.parse::<InstanceName>();
        let _ = text.parse::<zipnet_node::settings::BootstrapHint>();
        let _ = text.parse::<zipnet_node::settings::RelaySetting>();
        let _ = text.parse::<zipnet_protocol::PeerKey>();
    }
}

/// A genuine seed for each target, out of one whole round of a committee with
/// fixed keys. Deterministic, so that the committed corpus can be compared.
///
/// # Errors
/// Whatever in the round did not work.
#[expect(
    clippy::too_many_lines,
    reason = "one round from its beginning to its end"
)]
pub fn seeds() -> Result<Vec<Seed>, Box<dyn Error>> {
    let instance = instance();
    let secret = |byte: u8| Zeroizing::new([byte; 32]);
    let committee =
        CommitteeSecret::new(Zeroizing::new(b"fuzz".to_vec())).committee_key(instance.name());
    let (dh, signing) = (
        DhSecret::from_entropy(&secret(1)),
        SigningSecret::from_seed(&secret(2)),
    );
    let transport = SigningSecret::from_seed(&secret(3));
    let server = ServerBundle::sign(
        instance,
        &dh,
        &signing,
        &transport,
        &committee,
        7,
        zipnet_protocol::Whereabouts::nowhere(),
    );
    let id = *server.server_id();
    let client_transport = SigningSecret::from_seed(&secret(4));
    let mut sealer = Sealer::new(
        instance,
        DhSecret::from_entropy(&secret(5)),
        SlotKey::from_entropy(secret(6)),
        LeastServers::ALL,
        &client_transport,
    );
    let client = sealer.bundle().clone();
    let withdrawal = Withdrawal::sign(instance, client.client_id(), &client_transport);

    let mut state = CommitteeState::new(rules());
    let mut log = Vec::new();
    let mut apply = |state: &mut CommitteeState, order: Order| -> Result<(), Box<dyn Error>> {
        let command = Command::sign(instance, id, &order, &signing)?;
        log.push(postcard::to_stdvec(&command)?);
        state.apply(&command)?;
        Ok(())
    };
    apply(
        &mut state,
        Order::RegisterServer(ServerRegistration::unattested(server.clone())),
    )?;
    apply(&mut state, Order::clients(vec![client.clone()]))?;
    let aggregator = SigningSecret::from_seed(&secret(7));
    let admission = Admission::sign(instance.name(), &aggregator.peer_key(), &committee);
    let admitted = AggregatorBundle::sign(
        instance,
        Some(admission),
        &aggregator,
        zipnet_protocol::Whereabouts::nowhere(),
    );
    apply(
        &mut state,
        Order::RegisterAggregators(vec![admitted.clone()]),
    )?;
    let header = RoundHeader {
        instance: *instance.id(),
        epoch: Epoch::new([8; 32]),
        number: 1,
        nonce: Nonce::new([9; 32]),
        previous: state.previous(),
        params: state.rules().params,
        min_participants: 1,
        floor: state.floor(),
        committee_size: 1,
        roster: vec![RosterEntry {
            server: id,
            bundle: *server.verify(instance)?.digest(),
        }],
        clients: 1,
        registry: state.clients().root(),
        aggregator: aggregator.peer_key(),
        leaves: Leaves::default(),
    };
    let signed = header.clone().sign(id, &signing);
    apply(&mut state, Order::OpenRound(signed.clone()))?;
    let context = header.context();
    let certification = Certification::sign(context, id, &signing);
    apply(&mut state, Order::Certify(certification))?;
    let current = state.current().cloned().ok_or("no round")?;
    let certified = current.certified.clone().ok_or("not certified")?;
    let message = Message::new(b"a seed".to_vec(), &header.params)?;
    let (_, envelope) = sealer.seal(&certified, Some(&message))?;
    let mut fold = Fold::new(*current.round.context(), &header, 1);
    fold.add(&current.registry, &envelope)?;
    let aggregate = fold.finish(&aggregator);
    apply(&mut state, Order::SubmitAggregate(aggregate.clone()))?;
    // As an auditor makes it; nothing is wrong, so it is refused at the end.
    let share = SlotOpening::of(&envelope.vector, header.params, 0).ok_or("no slot")?;
    let proof = Proof {
        header: header.clone(),
        aggregate: aggregate.clone(),
        fault: Fault::Noise {
            slot: 0,
            shares: vec![(envelope.client, share)],
            parts: Vec::new(),
        },
    };
    if proof.verify(instance) != Err(ProofError::Consistent) {
        return Err("an honest aggregator was framed".into());
    }
    let pads = PadTable::agree(&dh, &current.registry, None)?;
    let checked = aggregate.check(&context, &header, &current.registry)?;
    let partial = Partial::compute(&current.round, &checked, &pads, id, &signing);
    let commitment = PartialCommitment {
        context,
        aggregate: *checked.digest(),
        commitment: partial.commitment(),
    };
    apply(&mut state, Order::CommitPartial(commitment))?;
    let snapshot = postcard::to_stdvec(&state.snapshot())?;
    let tally = state.current().and_then(|current| current.tally.clone());
    let promised = tally.and_then(|tally| tally.committed(&current.round));
    let partial = partial.sign(promised.ok_or("nobody committed")?, &signing);
    let order = Order::SubmitPartial(partial.clone());
    apply(&mut state, order.clone())?;
    let done = state.head().ok_or("not finalized")?.clone();
    let head = done.published.clone();
    let opened = Opened {
        certificate: certified.certificate().clone(),
        bundles: vec![server.clone()],
        aggregators: vec![admitted.clone()],
    };
    let news = News {
        records: vec![head.clone()],
        open: Some(opened.clone()),
    };
    let follow = Follow {
        after: Some((Epoch::new([8; 32]), 1)),
        seen: Some(*current.round.context()),
        wait: 1000,
        aggregators: None,
    };
    let mut seeds = vec![
        ("client_bundle", postcard::to_stdvec(&client)?),
        ("withdrawal", postcard::to_stdvec(&(&client, &withdrawal))?),
        ("aggregator_bundle", postcard::to_stdvec(&admitted)?),
        ("server_bundle", postcard::to_stdvec(&server)?),
        ("signed_header", postcard::to_stdvec(&opened)?),
        ("envelope", postcard::to_stdvec(&envelope)?),
        ("aggregate", postcard::to_stdvec(&(&signed, &aggregate))?),
        ("proof", postcard::to_stdvec(&proof)?),
        ("partial", postcard::to_stdvec(&partial)?),
        ("record", postcard::to_stdvec(&head)?),
        ("command", log.first().cloned().unwrap_or_default()),
        ("order", postcard::to_stdvec(&order)?),
        ("snapshot", snapshot),
        ("news", postcard::to_stdvec(&news)?),
        ("calls", postcard::to_stdvec(&follow)?),
        ("door", {
            let frames = [
                frame::frame(HelloCall::KIND, &postcard::to_stdvec(&())?),
                frame::frame(FollowCall::KIND, &postcard::to_stdvec(&follow)?),
                frame::frame(RegisterCall::KIND, &postcard::to_stdvec(&client)?),
                frame::frame(EnlistCall::KIND, &postcard::to_stdvec(&admitted)?),
                frame::frame(RegistryCall::KIND, &[7; 33]),
            ];
            frames.concat()
        }),
        ("settings", b"acme.mix.prod".to_vec()),
    ];
    seeds.push(light::seed(&head, &done.checked, &signing)?);
    let registry = &done.registry;
    seeds.push(part::seed(
        &head,
        &done.checked,
        registry,
        &mut sealer,
        &signing,
    )?);
    seeds.extend(history::seeds(&head, &done.checked)?);
    seeds.extend(attestation::seeds()?);
    Ok(seeds)
}
