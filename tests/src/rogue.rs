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
use zipnet_door::{Doors, Reach};
use zipnet_node::{
    attestation::{Credential, ticket},
    book::{AtDoors, Book},
    committee::{Committee, Shared},
    members::Members,
    network::{Node, Presence},
    peers::Peers,
    roles::{
        common::{Served, serve},
        server::{consensus, link},
    },
    settings::{
        AggregatorRules, BootstrapHint, CLIENTS_PER_PEER, ClientRules, CommitteeRules,
        NetworkSettings, RelaySetting,
    },
    wire::{Member, MemberCall, Opinion, OpinionCall},
};
use zipnet_protocol::{
    AdmittedServer, CommitteeSecret, DhSecret, Digest, Instance, InstanceName, PeerKey,
    RoundParams, ServerBundle, SigningSecret,
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
            leaves: 0,
            clients: ClientRules::Open,
            aggregators: AggregatorRules::default(),
        });
        let network = NetworkSettings {
            universe: cluster.universe(),
            seed: None,
            bootstrap: members(cluster, &instance, &committee).await?,
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
            zipnet_protocol::Whereabouts::nowhere(),
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
        let peers =
            Peers::on::<OpinionCall>(&Members(node.network().clone()), &self.instance, None);
        let mut opinions = Vec::new();
        for peer in peers.serving() {
            opinions.extend(peers.call_peer(peer, &(), PATIENCE).await);
        }
        opinions
    }

    /// Bytes of the longest announcement of a server, as gossip carries it.
    #[must_use]
    pub fn longest_announcement(&self) -> Option<usize> {
        let catalog = self.node.as_ref()?.network().discovery().catalog();
        let entries = catalog.signed_peers();
        let lengths = entries.filter_map(|entry| postcard::to_stdvec(entry).ok());
        lengths.map(|bytes| bytes.len()).max()
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

/// Where the servers of a cluster are in the committee's own network: whoever knows the
/// secret is told at their doors.
async fn members(
    cluster: &Cluster,
    instance: &Instance,
    committee: &SigningSecret,
) -> TestResult<Vec<BootstrapHint>> {
    let hints = cluster.servers.iter().map(|server| server.hint.parse());
    let hints: Vec<BootstrapHint> = hints.collect::<Result<_, _>>()?;
    let bind = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let seed = zipnet_node::entropy::fresh()?;
    let doors = Doors::open(&seed, bind, &Reach::Direct).await?;
    let me = PeerKey::new(*doors.id().as_bytes());
    let ground = AtDoors(Book::new(doors.clone(), &hints));
    let mut members = Vec::new();
    for hint in &hints {
        let link = link::ask(&ground, instance, &me, hint.peer, committee).await?;
        let member = link.ok_or_else(|| Failed::because("a server is nowhere"))?;
        members.push(BootstrapHint {
            peer: member.id,
            address: member.ip_addrs().next().copied(),
        });
    }
    doors.close().await;
    Ok(members)
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
    let peers = Peers::on::<MemberCall>(&Members(network.clone()), instance, None);
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        for member in peers.serving() {
            let Ok(member) = peers.call_peer(member, &(), PATIENCE).await else {
                continue;
            };
            let server = member.bundle.verify(instance)?;
            if server.peer().as_bytes() == peer.as_bytes() {
                let shown = member.credential;
                return shown.ok_or_else(|| Failed::because("it shows no evidence"));
            }
        }
        if tokio::time::Instant::now() >= until {
            return Err(Failed::because("the server does not answer"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
