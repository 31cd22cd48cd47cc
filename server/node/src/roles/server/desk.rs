//! Answers the calls of clients, readers and aggregators.

use core::{future::ready, time::Duration};
use std::sync::Arc;

use mosaik::Network;
use tokio::time::{Instant, timeout_at};
use zipnet_door::{Admission, Desk, gate::Places};
use zipnet_protocol::{
    AdmittedServer, Aggregate, AggregatorBundle, ClientBundle, Digest, PeerKey, RegistryDelta,
    ShownInvite, Withdrawal,
};

use super::{among::Among, auditor, context::Context, herald, link, listing};
use crate::{
    attestation::{Credential, ticket::Verdict},
    committee::{View, command::Order, invites::Wish, state::InFlight},
    metrics,
    roles::common::{self, ServeError, Served},
    wire::{
        AggregateCall, ChangesCall, ChangesRequest, ComplainCall, CredentialCall, EnlistCall,
        Enrolment, FollowCall, FollowLightCall, HelloCall, LinkCall, Member, MemberCall,
        OmittedCall, Opinion, OpinionCall, REGISTRY_PAGE, Refused, RegisterCall, Registration,
        RegistryCall, RegistryRequest, Roll, RollCall, WithdrawCall,
    },
};

/// How long a server that does not lead waits for another one to pass an
/// aggregate on.
const PASS_ON: Duration = Duration::from_millis(250);

/// How long a client is kept waiting until a certified round lists it.
const REGISTRATION_WAIT: Duration = Duration::from_secs(2);

/// Calls of one peer that wait for news. A process has one follower, which may
/// ask again before its last call is known to be over here.
const FOLLOWS_EACH: usize = 4;
/// Calls that wait for news, of all peers: two of each client that is live.
const MOST_FOLLOWERS: usize = 65_536;
/// Calls of one peer at once, where nothing else is said.
const CALLS_EACH: usize = 16;

/// The calls of mosaik's network, which servers make of each other; they end when
/// this is dropped.
pub(super) struct Members {
    _among: Among,
    _member: Served<MemberCall>,
    _opinion: Served<OpinionCall>,
}

impl Members {
    pub fn open(network: &Network, context: &Arc<Context>) -> Result<Self, ServeError> {
        let instance = &context.rules.instance;
        let (shown, of, judged) = (context.clone(), context.clone(), context.clone());
        let announced = Admission::from(64).only(move |caller| has_shown(&of, caller));
        Ok(Self {
            _among: Among::open(network, context)?,
            _member: common::serve::<MemberCall, _, _>(network, instance, 256, move |(), _| {
                ready(Ok(member(&shown)))
            })?,
            _opinion: common::serve::<OpinionCall, _, _>(
                network,
                instance,
                announced,
                move |(), caller| ready(Ok(opinion(&judged, &caller))),
            )?,
        })
    }
}

/// What is answered at the door: to clients, readers and aggregators.
pub(super) fn desk(context: &Arc<Context>) -> Desk {
    // Each handler has its own hold of the context.
    macro_rules! with {
        ($handler:expr) => {{
            let context = context.clone();
            let handler = $handler;
            move |request, caller| handler(&context, request, caller)
        }};
    }
    let hello = common::hello(&context.rules.instance);
    let known = |admission: Admission| {
        let context = context.clone();
        admission.first(move |caller| is_known(&context, caller))
    };
    let aggregators = || {
        let context = context.clone();
        Admission::from(64).only(move |caller| is_aggregator(&context, caller))
    };
    // One that asks for the first time shows its admission there.
    let enlisting = {
        let context = context.clone();
        Admission::from(64).first(move |caller| is_aggregator(&context, caller))
    };
    // Each waits until it is listed, all of a peer's at once.
    let each = (context.rules.clients_per_peer as usize).max(CALLS_EACH);
    let registering = known(Admission::of(Places::new(1024, each)));
    let follows = || Admission::of(Places::new(MOST_FOLLOWERS, FOLLOWS_EACH));
    let (following, following_lightly) = (known(follows()), known(follows()));
    let of_door = context.clone();
    Desk::new(move |caller| is_known(&of_door, caller))
        .on::<HelloCall, _, _>(256, move |(), _| ready(Ok(hello.clone())))
        .on::<RollCall, _, _>(256, with!(|of: &Arc<Context>, (), _| ready(Ok(roll(of)))))
        .on::<MemberCall, _, _>(256, with!(|of: &Arc<Context>, (), _| ready(Ok(member(of)))))
        .on::<CredentialCall, _, _>(
            256,
            with!(|of: &Arc<Context>, bundle, _| ready(credential(of, &bundle))),
        )
        .push::<FollowCall, _, _>(following, {
            let context = context.clone();
            move |request, _, pushes| herald::follow(context.clone(), request, pushes)
        })
        .push::<FollowLightCall, _, _>(following_lightly, {
            let context = context.clone();
            move |request, _, pushes| herald::follow(context.clone(), request, pushes)
        })
        .on::<RegisterCall, _, _>(
            registering,
            with!(|of: &Arc<Context>, wish, caller| register(of.clone(), wish, caller)),
        )
        .on::<EnlistCall, _, _>(
            enlisting,
            with!(|of: &Arc<Context>, bundle, caller| ready(enlist(of, bundle, caller))),
        )
        .on::<WithdrawCall, _, _>(
            1024,
            with!(|of: &Arc<Context>, withdrawal, _| ready(withdraw(of, withdrawal))),
        )
        .on::<RegistryCall, _, _>(
            aggregators(),
            with!(|of: &Arc<Context>, request, _| ready(registry(of, &request))),
        )
        .on::<ChangesCall, _, _>(
            aggregators(),
            with!(|of: &Arc<Context>, request, _| ready(changes(of, &request))),
        )
        .on::<AggregateCall, _, _>(
            aggregators(),
            with!(|of: &Arc<Context>, aggregate, caller| submit(of.clone(), aggregate, caller)),
        )
        .on::<OmittedCall, _, _>(
            aggregators(),
            with!(|of: &Arc<Context>, receipt, _| ready(auditor::omitted(of, &receipt))),
        )
        .on::<LinkCall, _, _>(
            64,
            with!(|of: &Arc<Context>, request, caller| ready(link::tell(of, &request, &caller))),
        )
        .on::<ComplainCall, _, _>(
            64,
            with!(|of: &Arc<Context>, receipt, _| ready(auditor::complain(of, &receipt))),
        )
}

/// The bundles of the registered servers, and this one's.
fn roll(context: &Context) -> Roll {
    let view = context.view();
    let me = context.me();
    let others = view.state.servers().values();
    let others = others.filter(|server| server.id() != me.id());
    let bundles = others.map(|server| server.bundle().clone());
    Roll {
        servers: core::iter::once(me.bundle().clone())
            .chain(bundles)
            .collect(),
    }
}

/// Whether the committee deals with this aggregator: it is listed, or the open
/// round names it.
fn is_aggregator(context: &Context, caller: &PeerKey) -> bool {
    let state = &context.view().state;
    let named = |current: &InFlight| current.round.header().aggregator == *caller;
    state.aggregators().contains(caller) || state.current().is_some_and(named)
}

/// Whether the caller has announced evidence here, of which there can be an
/// opinion: it wants to be a server, or is one.
fn has_shown(context: &Context, caller: &PeerKey) -> bool {
    let with = context.attested().zip(common::peer_id(caller));
    with.is_some_and(|(with, peer)| {
        let now = with.own.authority().now();
        with.tickets.verdict(&peer, now).is_some()
    })
}

/// The registered server that a caller is in the committee's own network.
pub(super) fn member_of(context: &Context, caller: &PeerKey) -> Option<AdmittedServer> {
    let view = context.view();
    let mut servers = view.state.servers().values();
    servers.find(|server| server.member() == *caller).cloned()
}

/// Whether the caller is in the committee's state: a client's peer, an
/// aggregator or a server. Asked only when strangers have filled their share.
fn is_known(context: &Context, caller: &PeerKey) -> bool {
    let state = &context.view().state;
    let servers = || state.servers().values();
    state.aggregators().contains(caller)
        || servers().any(|server| server.peer() == caller)
        || state.clients().iter().any(|client| client.peer() == caller)
}

fn member(context: &Context) -> Member {
    let shown = context.attested().and_then(|with| with.own.shown());
    Member {
        bundle: context.me().bundle().clone(),
        credential: shown.map(|(credential, _)| (*credential).clone()),
    }
}

/// The evidence that this server has verified itself for a bundle.
fn credential(context: &Context, bundle: &Digest) -> Result<Credential, Refused> {
    let authority = context.attested().map(|with| with.own.authority());
    authority
        .and_then(|authority| authority.credential(bundle))
        .map(|credential| (*credential).clone())
        .ok_or(Refused::NotOpen)
}

fn opinion(context: &Context, caller: &PeerKey) -> Opinion {
    let verdict = context
        .attested()
        .zip(common::peer_id(caller))
        .and_then(|(with, peer)| with.tickets.verdict(&peer, with.own.authority().now()));
    match verdict {
        None | Some(Verdict::Asked) => Opinion::None,
        Some(Verdict::Holds(_)) => Opinion::Verified,
        Some(Verdict::Refused(refusal)) => {
            Opinion::refused(refusal.rule().number(), &refusal.to_string())
        }
    }
}

/// Takes a client, and waits a while for a certified round that lists it.
async fn register(
    context: Arc<Context>,
    wish: Wish,
    caller: PeerKey,
) -> Result<Enrolment, Refused> {
    let welcome = context
        .rules
        .welcome(&wish)
        .map_err(|error| crate::wire::because(&error))?;
    let client = welcome.client();
    if *client.peer() != caller {
        return Err(Refused::Text(
            "the bundle belongs to another peer than the caller".to_owned(),
        ));
    }
    context.shared.ahead().keep(&welcome);
    let is_listed = |view: &View| view.state.clients().get(client.id()) == Some(client);
    let mut views = context.shared.watch();
    let view = context.view();
    let listed = is_listed(&view);
    if !listed && !view.state.has_room_for(&caller) {
        return Err(Refused::Text(format!(
            "this peer has {} clients registered, as many as one may have",
            context.rules.clients_per_peer
        )));
    }
    let admits = |invite: &ShownInvite| view.state.invites().admits(invite.key(), client.id());
    if !listed && !welcome.invite().is_none_or(admits) {
        return Err(Refused::Text(
            "the invite has admitted another client, which is registered still".to_owned(),
        ));
    }
    let active = listed && !view.state.is_idle(client.id());
    if !active && !context.waiting().register(wish) {
        return Err(Refused::Busy);
    }
    let until = Instant::now() + REGISTRATION_WAIT;
    loop {
        let view = views.borrow_and_update().clone();
        if is_listed(&view)
            && let Some(listing) = listing::of(&view, client)
        {
            return Ok(Enrolment::Listed(listing));
        }
        tokio::select! {
            () = context.stop().cancelled() => return Err(Refused::Busy),
            changed = timeout_at(until, views.changed()) => {
                if !matches!(changed, Ok(Ok(()))) {
                    return Ok(Enrolment::Pending);
                }
            }
        }
    }
}

/// Takes an aggregator's bundle, if it is admitted.
fn enlist(
    context: &Context,
    bundle: AggregatorBundle,
    caller: PeerKey,
) -> Result<Registration, Refused> {
    let rules = &context.rules;
    let peer = bundle
        .verify(&rules.instance, |peer| rules.aggregators.admits(peer))
        .map_err(|error| crate::wire::because(&error))?;
    if peer != caller {
        return Err(Refused::Text(
            "the bundle belongs to another peer than the caller".to_owned(),
        ));
    }
    let view = context.view();
    if view.state.strikes().is_struck(&peer) {
        return Err(Refused::Text("the aggregator is struck".to_owned()));
    }
    if view
        .state
        .aggregators()
        .is_fresh(&peer, view.state.opened())
    {
        return Ok(Registration::Listed);
    }
    if context.waiting().enlist(bundle) {
        Ok(Registration::Pending)
    } else {
        Err(Refused::Busy)
    }
}

fn withdraw(context: &Context, withdrawal: Withdrawal) -> Result<(), Refused> {
    let view = context.view();
    let client = view
        .state
        .clients()
        .get(withdrawal.client_id())
        .ok_or(Refused::Unregistered)?;
    withdrawal
        .verify(&context.rules.instance, client)
        .map_err(|error| crate::wire::because(&error))?;
    if context.waiting().withdraw(withdrawal) {
        Ok(())
    } else {
        Err(Refused::Busy)
    }
}

fn registry(context: &Context, request: &RegistryRequest) -> Result<Vec<ClientBundle>, Refused> {
    let view = context.view();
    let current = view.state.current().map(|current| &current.registry);
    let registry = current
        .into_iter()
        .chain([view.state.clients()])
        .find(|registry| registry.root() == request.root)
        .ok_or(Refused::NotOpen)?;
    Ok(registry
        .iter()
        .skip(request.offset as usize)
        .take(REGISTRY_PAGE)
        .map(|client| client.bundle().clone())
        .collect())
}

/// What changed between two registries that headers named.
fn changes(context: &Context, request: &ChangesRequest) -> Result<RegistryDelta, Refused> {
    let changes = context.shared.changes();
    changes
        .between(&request.from, &request.to)
        .ok_or(Refused::NotOpen)
}

/// Waits a while whether another server passes an aggregate of the same round on.
async fn is_passed_on(context: &Context, aggregate: &Aggregate) -> bool {
    let mut views = context.shared.watch();
    let passed_on = views.wait_for(|view| {
        view.state.current().is_none_or(|current| {
            *current.round.context() != aggregate.context || current.tally.is_some()
        })
    });
    timeout_at(Instant::now() + PASS_ON, passed_on)
        .await
        .is_ok()
}

async fn submit(
    context: Arc<Context>,
    aggregate: Aggregate,
    caller: PeerKey,
) -> Result<(), Refused> {
    let digest = aggregate.digest();
    metrics::payload("aggregator-server", aggregate.vector.len());
    {
        let view = context.view();
        let current = view.state.current().ok_or(Refused::NotOpen)?;
        if current.round.context() != &aggregate.context {
            return Err(Refused::NotOpen);
        }
        if current.round.header().aggregator != caller {
            return Err(Refused::Text(
                "this round's aggregator is another peer".to_owned(),
            ));
        }
        if let Some(tally) = &current.tally {
            auditor::compare(&context, current, tally.aggregate(), &aggregate);
            return Err(Refused::Repeated);
        }
        if current.certified.is_none() {
            return Err(Refused::NotOpen);
        }
        aggregate
            .check(
                current.round.context(),
                current.round.header(),
                &current.registry,
            )
            .map_err(|error| crate::wire::because(&error))?;
    }
    // Every server is handed the aggregate: one copy in the log is enough. The
    // leader passes it on at once, the others if nobody has by then.
    if !context.is_leader() && is_passed_on(&context, &aggregate).await {
        return Err(Refused::Repeated);
    }
    match context.execute(&Order::SubmitAggregate(aggregate)).await {
        Ok(_) => {
            // Committed is not taken: another one may have been first.
            let view = context.view();
            let taken = view
                .state
                .current()
                .and_then(|current| current.tally.as_ref());
            if taken.is_some_and(|tally| *tally.digest() != digest) {
                return Err(Refused::Repeated);
            }
            Ok(())
        }
        Err(error) => {
            tracing::debug!(
                because = %crate::report::chain(&error),
                "an aggregate was not committed"
            );
            Err(Refused::Busy)
        }
    }
}
