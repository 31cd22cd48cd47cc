//! A peer that holds the committee secret and shows evidence which it should
//! not get away with.
//!
//! It does what a server does to be let in, and nothing else: it announces a
//! ticket, shows its bundle and evidence to whoever asks, and joins the
//! committee's group, where it would let everybody in itself.

use core::time::Duration;
use std::{net::Ipv4Addr, net::SocketAddr, sync::Arc};

use mosaik::{
    Group, GroupKey, PeerId, UniqueId,
    discovery::PeerEntry,
    tickets::{Expiration, InvalidTicket, TicketValidator},
};
use zeroize::Zeroizing;
use zipnet_node::{
    attestation::{Credential, ticket},
    committee::{Committee, Shared},
    network::{Node, Presence},
    peers::Peers,
    roles::{
        common::{Served, serve},
        server::consensus,
    },
    settings::{AggregatorRules, CLIENTS_PER_PEER, CommitteeRules, NetworkSettings, RelaySetting},
    wire::{Member, MemberCall, Opinion, OpinionCall},
};
use zipnet_protocol::{
    AdmittedServer, CommitteeSecret, DhSecret, Digest, Instance, InstanceName, RoundParams,
    ServerBundle, SigningSecret,
};

use crate::{
    cluster::Cluster,
    process::{Failed, TestResult},
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lets everybody into its own copy of the group.
struct Gullible {
    signature: UniqueId,
}

impl TicketValidator for Gullible {
    fn class(&self) -> UniqueId {
        ticket::class()
    }

    fn signature(&self) -> UniqueId {
        self.signature
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        Ok(Expiration::Never)
    }
}

/// The rogue.
pub struct Rogue {
    instance: Instance,
    server: AdmittedServer,
    // In the order in which they are dropped.
    group: Option<Group<Committee>>,
    desk: Option<Served<MemberCall>>,
    node: Option<Node>,
}

impl Rogue {
    /// Joins the universe of a cluster under fresh keys. `show` makes what it
    /// shows for its bundle.
    ///
    /// # Errors
    /// If the network cannot be joined.
    pub async fn join<F, Fut>(cluster: &Cluster, show: F) -> TestResult<Self>
    where
        F: FnOnce(Instance, AdmittedServer, Arc<mosaik::Network>) -> Fut,
        Fut: Future<Output = TestResult<Credential>>,
    {
        let settings = &cluster.settings;
        let base = Arc::new(cluster.simulated()?.publisher().base()?);
        let name: InstanceName = settings.instance.parse()?;
        let secret = CommitteeSecret::new(Zeroizing::new(settings.secret.clone().into_bytes()));
        let committee = secret.committee_key(&name);
        let anchor = Digest::new(*base.anchor());
        let instance = Instance::attested(name.clone(), committee.public(), anchor);
        let size = settings.committee_size.map(u32::try_from).transpose()?;
        let rules = Arc::new(CommitteeRules {
            instance: instance.clone(),
            trust: Some(base.clone()),
            params: RoundParams::default(),
            min_participants: u32::try_from(settings.min_participants)?,
            committee_size: size,
            min_servers: None,
            clients_per_peer: CLIENTS_PER_PEER,
            aggregators: AggregatorRules::default(),
        });
        let hints = cluster.servers.iter().map(|server| server.hint.parse());
        let network = NetworkSettings {
            universe: cluster.universe(),
            seed: None,
            bootstrap: hints.collect::<Result<_, _>>()?,
            bind: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            relay: RelaySetting::Embedded,
        };
        let node = Node::join(&network, Presence::Infrastructure).await?;
        let fresh = || zipnet_node::entropy::fresh();
        let server = ServerBundle::sign(
            &instance,
            &DhSecret::from_entropy(&fresh()?),
            &SigningSecret::from_seed(&fresh()?),
            node.transport(),
            &committee,
            1,
        )
        .verify(&instance)?;
        let shown = show(instance.clone(), server.clone(), node.network().clone()).await?;
        let discovery = node.network().discovery();
        discovery.add_ticket(ticket::ticket(&shown.digest()));
        let member = Member {
            bundle: server.bundle().clone(),
            credential: Some(shown),
        };
        let desk = serve::<MemberCall, _, _>(node.network(), &instance, 16, move |(), _| {
            core::future::ready(Ok(member.clone()))
        })?;
        let key = mosaik::Digest::from_bytes(*secret.group_secret(&name));
        let group = node
            .network()
            .groups()
            .with_key(GroupKey::new(key))
            .with_consensus_config(consensus(true)?)
            .require_ticket(Gullible {
                signature: ticket::class().derive(base.anchor()),
            })
            .with_state_machine(Committee::new(
                rules.clone(),
                Shared::new(rules, 16, usize::MAX),
            ))
            .join();
        node.show();
        Ok(Self {
            instance,
            server,
            group: Some(group),
            desk: Some(desk),
            node: Some(node),
        })
    }

    /// The name by which logs and metrics call it.
    #[must_use]
    pub fn short(&self) -> String {
        self.server.peer().short()
    }

    /// Peers that let it into the group.
    #[must_use]
    pub fn bonds(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.bonds().len())
    }

    /// What the servers think of its evidence, as far as they answer.
    pub async fn opinions(&self) -> Vec<Opinion> {
        let Some(node) = &self.node else {
            return Vec::new();
        };
        let peers = Peers::of::<OpinionCall>(node.network().clone(), &self.instance, None);
        let mut opinions = Vec::new();
        for peer in peers.serving() {
            opinions.extend(peers.call_peer(peer, &(), PATIENCE).await);
        }
        opinions
    }

    /// Bytes of a peer's announcement, as gossip carries it.
    #[must_use]
    pub fn announcement_of(&self, peer: &PeerId) -> Option<usize> {
        let catalog = self.node.as_ref()?.network().discovery().catalog();
        let entry = catalog.get_signed(peer)?;
        postcard::to_stdvec(entry).ok().map(|bytes| bytes.len())
    }

    /// Leaves.
    pub async fn leave(mut self) {
        drop(self.desk.take());
        drop(self.group.take());
        if let Some(node) = self.node.take() {
            node.leave().await;
        }
    }
}

/// What a server shows to whoever asks.
///
/// # Errors
/// If it does not answer.
pub async fn shown_by(
    instance: &Instance,
    network: &Arc<mosaik::Network>,
    peer: PeerId,
) -> TestResult<Credential> {
    let peers = Peers::of::<MemberCall>(network.clone(), instance, None);
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        match peers.call_peer(peer, &(), PATIENCE).await {
            Ok(member) => {
                let shown = member.credential;
                return shown.ok_or_else(|| Failed::because("it shows no evidence"));
            }
            Err(error) if tokio::time::Instant::now() >= until => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
