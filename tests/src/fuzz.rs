//! The bodies of the fuzz targets: one for each type that is decoded from the
//! network. Each decodes any bytes and, if they decode, takes the value
//! through the check that stands at the door. None may panic, whatever comes.
//!
//! `make fuzz` drives them with libFuzzer; the test `fuzz_corpus` runs them
//! over the committed seeds and mutations of these on the stable toolchain.

use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;
use zipnet_node::{
    committee::{
        command::{Command, Order, Published, Resume},
        snapshot::Snapshot,
        state::CommitteeState,
    },
    settings::CommitteeRules,
    wire::{Follow, Hello, News, Opened, Refused, Registration, RegistryRequest},
};
use zipnet_protocol::{
    Aggregate, BroadcastRecord, ClientBundle, CommitteeSecret, Instance, InstanceName,
    Participants, RoundParams, SealedEnvelope, ServerBundle, SignedHeader, SignedPartial,
    Withdrawal,
};

/// A fuzz target: its name and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("client_bundle", client_bundle),
    ("withdrawal", withdrawal),
    ("server_bundle", server_bundle),
    ("signed_header", signed_header),
    ("envelope", envelope),
    ("aggregate", aggregate),
    ("partial", partial),
    ("record", record),
    ("command", command),
    ("order", order),
    ("snapshot", snapshot),
    ("news", news),
    ("calls", calls),
    ("settings", settings),
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
        params: RoundParams::default(),
        min_participants: 1,
        committee_size: None,
        min_servers: None,
    })
}

/// [`ClientBundle`].
pub fn client_bundle(data: &[u8]) {
    if let Ok(bundle) = postcard::from_bytes::<ClientBundle>(data) {
        let _ = bundle.verify(instance());
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

/// [`SignedHeader`] with its bundles.
pub fn signed_header(data: &[u8]) {
    if let Ok(opened) = postcard::from_bytes::<Opened>(data) {
        let _ = opened.header.verify(instance(), &opened.bundles);
    }
    if let Ok(header) = postcard::from_bytes::<SignedHeader>(data) {
        let _ = header.header().context();
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
        let _ = aggregate.check(&header.context(), header);
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
            let _ = open.header.verify(instance(), &open.bundles);
        }
    }
}

/// The small requests and answers.
pub fn calls(data: &[u8]) {
    let _ = postcard::from_bytes::<Follow>(data);
    let _ = postcard::from_bytes::<Hello>(data);
    let _ = postcard::from_bytes::<RegistryRequest>(data);
    let _ = postcard::from_bytes::<Registration>(data);
    let _ = postcard::from_bytes::<Refused>(data);
    let _ = postcard::from_bytes::<Vec<ClientBundle>>(data);
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
