//! What nodes ask of each other, outside of the committee's group.
//!
//! All calls are mosaik functions: one connection a call, a typed answer, a
//! time-out. Nothing is queued that could be lost silently (see
//! `docs/decisions/0002-functions-not-streams.md`). Answers are never trusted
//! for who sent them: whoever reads one verifies what is in it.

use core::net::SocketAddr;

use mosaik::{FunctionId, UniqueId};
use serde::{Deserialize, Serialize};
use zipnet_protocol::{
    AdmittedServer, Aggregate, AggregatorBundle, Canonical, Certificate, ClientBundle, ClientId,
    Digest, EnvelopeReceipt, Epoch, Instance, InstanceName, KeyError, MAX_CLIENTS, MAX_ROSTER,
    PeerKey, RegistryDelta, RegistryProof, RoundContext, SealedEnvelope, ServerBundle, ServerId,
    Signature, SigningPublic, SigningSecret, Withdrawal,
};

pub use zipnet_door::{Call, Refused};

use crate::{
    attestation::Credential,
    committee::{command::Published, invites::Wish},
};

/// Most records in one answer to [`Follow`].
pub const MAX_RECORDS: usize = 4;
/// Most client bundles in one answer to [`RegistryRequest`], and most clients in
/// one to [`ChangesRequest`].
pub const REGISTRY_PAGE: usize = 1024;

/// Most bytes of vectors in one answer to [`AuditRequest`], but for a first one
/// that is longer.
pub const AUDIT_PAGE_BYTES: usize = 4 << 20;

/// Longest answer of any call, in bytes: one record of the largest round that
/// the protocol allows, with its bundles and the open round.
pub const LONGEST_REPLY: u32 = NEWS_REPLY;
/// Most bytes of vectors in one answer to [`Follow`], unless one record alone
/// has more: a follower that lags behind catches up record by record.
pub const MAX_NEWS: usize = 4 << 20;

/// Longest broadcast that the protocol allows, in bytes.
const MAX_BROADCAST: usize = 1 << 20;
/// Most of what a record has besides vectors, of each server: its bundle and
/// signatures, here and in the open round.
const BESIDES: usize = 4 << 10;
const NEWS_REPLY: u32 = {
    let round = MAX_BROADCAST + (MAX_BROADCAST + BESIDES) * MAX_ROSTER + MAX_CLIENTS;
    assert!(round > MAX_NEWS, "a page is never longer than a record");
    assert!(round < (1 << 27), "it is bounded by 128 MiB");
    #[expect(clippy::cast_possible_truncation, reason = "it is below 2^27")]
    let round = round as u32;
    round
};
/// A bundle of a client is 160 bytes.
#[expect(clippy::cast_possible_truncation, reason = "it is 256 KiB")]
const REGISTRY_REPLY: u32 = (REGISTRY_PAGE * 256) as u32;
/// A page of envelopes, and what each has besides its vector: less than 256
/// bytes.
#[expect(clippy::cast_possible_truncation, reason = "it is 20 MiB")]
const AUDIT_REPLY: u32 = (AUDIT_PAGE_BYTES + MAX_CLIENTS * 256) as u32;
/// An envelope of the longest broadcast: besides its vector it has some hundred bytes.
#[expect(clippy::cast_possible_truncation, reason = "it is 1 MiB and 4 KiB")]
const ENVELOPE_REQUEST: u32 = (MAX_BROADCAST + BESIDES) as u32;
/// An aggregate: besides its vector it has some hundred bytes and the bitmap.
#[expect(clippy::cast_possible_truncation, reason = "it is 1 MiB and 68 KiB")]
const AGGREGATE_REQUEST: u32 = (MAX_BROADCAST + MAX_CLIENTS + BESIDES) as u32;
/// Bundles of the largest committee: less than 512 bytes each.
#[expect(clippy::cast_possible_truncation, reason = "it is 32 KiB")]
const ROLL_REPLY: u32 = (MAX_ROSTER * 512 + 64) as u32;
/// A bundle, evidence of 16 KiB and collateral of 64 KiB.
const CREDENTIAL_REPLY: u32 = 128 << 10;
/// A rule and what was found, cut by [`Opinion::refused`].
const OPINION_REPLY: u32 = 4 << 10;
/// Longest words of an opinion, in characters.
const MAX_OPINION: usize = 900;

/// What carries a call needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallInfo {
    /// Its number at a door.
    pub kind: u8,
    /// Its name on mosaik's network, and in logs.
    pub label: &'static str,
    /// Longest answer, in bytes.
    pub longest: u32,
}

impl CallInfo {
    /// Of a call.
    #[must_use]
    pub const fn of<C: Call>() -> Self {
        Self {
            kind: C::KIND,
            label: C::LABEL,
            longest: C::MAX_REPLY,
        }
    }
}

/// A call's id on mosaik's network, within an instance.
#[must_use]
pub fn function_id(label: &'static str, instance: &Instance) -> FunctionId {
    derive(label, Canonical::new().fixed(instance.id().as_bytes()))
}

fn derive(label: &'static str, scope: Canonical) -> FunctionId {
    let digest = scope.bytes(label.as_bytes()).digest("zipnet/function/v1");
    UniqueId::from_bytes(*digest.as_bytes())
}

/// The id of the one function that is found by the instance's name alone.
#[must_use]
pub fn hello_id(name: &InstanceName) -> FunctionId {
    derive("hello", Canonical::new().bytes(name.as_str().as_bytes()))
}

/// A refusal in words, cut to a length.
#[must_use]
pub fn because(error: &dyn core::error::Error) -> Refused {
    Refused::text(&crate::report::chain(error))
}

/// Answer to a hello.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// The name of the instance that the node belongs to: at a door anybody may ask
    /// without it.
    pub name: String,
    /// The committee key of the instance that the node belongs to.
    pub committee: SigningPublic,
    /// What evidence is judged by there, if servers show any.
    pub anchor: Option<Digest>,
}

/// The servers that are registered, by one server's word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// Their bundles, its own among them. Nobody can make one up: the committee key
    /// has signed each.
    pub servers: Vec<ServerBundle>,
}

/// A server as it shows itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Member {
    /// Its bundle.
    pub bundle: ServerBundle,
    /// Its evidence, if servers of the instance show any.
    pub credential: Option<Credential>,
}

/// The key to which others seal what they leave with a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keeper {
    /// The key, 32 bytes ([`zipnet_attest::keepsake`]).
    pub key: [u8; 32],
    /// Of the member's committee signing key over instance, server and key: its
    /// evidence names that one.
    pub signature: Signature,
}

impl Keeper {
    /// Names a key as a member's.
    #[must_use]
    pub fn sign(
        instance: &Instance,
        server: &ServerId,
        key: &[u8; 32],
        by: &SigningSecret,
    ) -> Self {
        Self {
            key: *key,
            signature: by.sign(KEEPER, &keeper_body(instance, server, key)),
        }
    }

    /// Whether it is the member's.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self, instance: &Instance, member: &AdmittedServer) -> Result<(), KeyError> {
        let body = keeper_body(instance, member.id(), &self.key);
        member.signing().verify(KEEPER, &body, &self.signature)
    }
}

const KEEPER: &str = "zipnet/keeper-key/v1";

fn keeper_body(instance: &Instance, server: &ServerId, key: &[u8; 32]) -> Canonical {
    Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(server.as_bytes())
        .fixed(key)
}

/// The seed of the caller's transport identity, for a member to keep (see
/// `attestation::keepsakes`), sealed to its [`Keeper`] key. Whoever has the
/// member's transport key alone cannot open it: its operator has that one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keepsake {
    /// The sealed seed.
    pub sealed: Vec<u8>,
}

impl Keepsake {
    /// For whom a seed is sealed: the instance, its owner, and the boot of the
    /// member.
    #[must_use]
    pub fn of(instance: &Instance, owner: &PeerKey, member: &Digest) -> Digest {
        Canonical::new()
            .fixed(instance.id().as_bytes())
            .fixed(owner.as_bytes())
            .fixed(member.as_bytes())
            .digest("zipnet/keepsake-of/v1")
    }
}

/// Asks a server at its door where it is in the committee's own network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkRequest {
    /// Of the committee key, over the instance, the caller and whoever is asked: who has
    /// seen it can use it nowhere else.
    pub proof: Signature,
}

const LINK: &str = "zipnet/link/v1";

impl LinkRequest {
    /// Proves to `asked` that the peer `caller` knows the committee secret.
    #[must_use]
    pub fn sign(
        instance: &Instance,
        caller: &PeerKey,
        asked: &PeerKey,
        committee: &SigningSecret,
    ) -> Self {
        Self {
            proof: committee.sign(LINK, &link_body(instance, caller, asked)),
        }
    }

    /// Checks it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(
        &self,
        instance: &Instance,
        caller: &PeerKey,
        asked: &PeerKey,
    ) -> Result<(), KeyError> {
        let body = link_body(instance, caller, asked);
        instance.committee().verify(LINK, &body, &self.proof)
    }
}

fn link_body(instance: &Instance, caller: &PeerKey, asked: &PeerKey) -> Canonical {
    Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(caller.as_bytes())
        .fixed(asked.as_bytes())
}

/// Where a server is in the committee's own network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Under which key.
    pub member: PeerKey,
    /// Addresses that may be tried.
    pub addresses: Vec<SocketAddr>,
}

/// What a server thinks of the caller's evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opinion {
    /// Nothing yet.
    None,
    /// It holds.
    Verified,
    /// It is refused.
    Refused {
        /// The number of the rule: 101 of ZA-101.
        rule: u16,
        /// What was found and what was expected. A stranger's words.
        text: String,
    },
}

impl Opinion {
    /// A refusal, its words cut to a length.
    #[must_use]
    pub fn refused(rule: u16, text: &str) -> Self {
        Self::Refused {
            rule,
            text: text.chars().take(MAX_OPINION).collect(),
        }
    }
}

/// Asks a server up to which round of an epoch it stands. A server that starts
/// over has forgotten what an earlier boot of it signed, and whoever signed with it
/// knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorRequest {
    /// The epoch.
    pub epoch: Epoch,
    /// The caller's bundle: what is answered holds for that boot.
    pub bundle: Digest,
    /// Fresh bytes: an answer from before cannot be shown again.
    pub nonce: [u8; 32],
}

/// Up to which round a server stands. Who has given it stands for no round with an
/// earlier boot of the caller any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Floor {
    /// The highest number; `None` if the server is new to the epoch itself.
    pub floor: Option<u64>,
    /// Of its committee signing key, over the request and that.
    pub signature: Signature,
}

const FLOOR: &str = "zipnet/floor/v1";

impl Floor {
    /// Answers a request.
    #[must_use]
    pub fn sign(
        instance: &Instance,
        server: &ServerId,
        request: &FloorRequest,
        floor: Option<u64>,
        by: &SigningSecret,
    ) -> Self {
        Self {
            floor,
            signature: by.sign(FLOOR, &floor_body(instance, server, request, floor)),
        }
    }

    /// Checks that a server's boot has given this answer to this request.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(
        &self,
        instance: &Instance,
        server: &AdmittedServer,
        request: &FloorRequest,
    ) -> Result<(), KeyError> {
        let body = floor_body(instance, server.id(), request, self.floor);
        server.signing().verify(FLOOR, &body, &self.signature)
    }
}

fn floor_body(
    instance: &Instance,
    server: &ServerId,
    request: &FloorRequest,
    floor: Option<u64>,
) -> Canonical {
    Canonical::new()
        .fixed(instance.id().as_bytes())
        .fixed(server.as_bytes())
        .fixed(request.epoch.as_bytes())
        .fixed(request.bundle.as_bytes())
        .fixed(&request.nonce)
        .u32(u32::from(floor.is_some()))
        .u64(floor.unwrap_or(0))
}

/// Asks a server for what is new.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Follow {
    /// The newest record that the caller has; `None` asks for the newest one
    /// only, as a place to start.
    pub after: Option<(Epoch, u64)>,
    /// The newest open round that the caller has seen.
    pub seen: Option<RoundContext>,
    /// How long the server may wait for news, in milliseconds.
    pub wait: u32,
}

impl Follow {
    /// The same question, from where its caller stands once it has these news: what is
    /// pushed next answers that one.
    #[must_use]
    pub fn behind(&self, news: &News) -> Self {
        let last = news.records.last();
        let last = last.map(|record| record.record.header.header());
        let open = news.open.as_ref();
        Self {
            // Whoever asks for open rounds alone goes on with these.
            after: last.map_or(self.after, |last| Some((last.epoch, last.number))),
            seen: open.map_or(self.seen, |open| {
                Some(open.certificate.header.header().context())
            }),
            wait: self.wait,
        }
    }

    /// Whether another one stands there as well.
    #[must_use]
    pub fn stands_as(&self, other: &Self) -> bool {
        self.after == other.after && self.seen == other.seen
    }

    /// Whether what is pushed from there on is of use to one who asks this: it does not
    /// begin behind it.
    #[must_use]
    pub fn covers(&self, asked: &Self) -> bool {
        match (self.after, asked.after) {
            (Some((epoch, number)), Some((other, wanted))) => {
                let alone = (number == u64::MAX) == (wanted == u64::MAX);
                epoch == other && alone && number <= wanted
            }
            (None, None) => true,
            _ => false,
        }
    }
}

/// What is new.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct News {
    /// Records, oldest first.
    pub records: Vec<Published>,
    /// The open round, if it still takes envelopes and was not seen.
    pub open: Option<Opened>,
}

impl News {
    /// Bytes of the vectors in the records: nearly all of the answer.
    #[must_use]
    pub fn vector_bytes(&self) -> usize {
        self.records
            .iter()
            .map(vector_bytes)
            .fold(0, usize::saturating_add)
    }
}

/// Bytes of the vectors in a record: nearly all of it.
#[must_use]
pub fn vector_bytes(published: &Published) -> usize {
    let record = &published.record;
    let partials = record.partials.iter().map(|partial| partial.vector.len());
    partials.fold(record.aggregate.vector.len(), usize::saturating_add)
}

/// An open round as it travels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opened {
    /// The header, signed by every server of its roster.
    pub certificate: Certificate,
    /// The bundles of its roster.
    pub bundles: Vec<ServerBundle>,
    /// The bundle of its aggregator, which says where that is; not in what the
    /// servers signed. `None` from a server that does not have it.
    pub aggregator: Option<AggregatorBundle>,
}

/// Asks a server for a page of the client registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegistryRequest {
    /// Root of the registry.
    pub root: Digest,
    /// Position of the first client wanted.
    pub offset: u32,
}

/// Asks a server how the client registry has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesRequest {
    /// Root of the registry that the caller has.
    pub from: Digest,
    /// Root of the one that it wants.
    pub to: Digest,
}

/// Asks an aggregator for the envelopes of a round that it has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRequest {
    /// The round.
    pub context: RoundContext,
    /// Number of the first envelope wanted, in the order of the participants.
    pub from: u32,
}

/// Whether a client is listed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enrolment {
    /// It is, in the registry of a certified round, as it can check.
    Listed(Listing),
    /// The server has passed it on, or no certified round lists it yet.
    Pending,
}

/// Shows a client that it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// A certified round.
    pub context: RoundContext,
    /// The client's position in the registry that its header names.
    pub position: u32,
    /// What leads from there to the root in the header.
    pub proof: RegistryProof,
}

/// Whether an aggregator is listed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Registration {
    /// It is in the registry.
    Listed,
    /// The server has passed it on.
    Pending,
}

macro_rules! call {
    ($(#[$meta:meta])* $name:ident = $kind:literal, $label:literal
     ($($asked:expr)?, $($longest:expr)?): $request:ty => $reply:ty) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name;

        impl Call for $name {
            type Request = $request;
            type Reply = $reply;
            const KIND: u8 = $kind;
            const LABEL: &'static str = $label;
            $(const MAX_REQUEST: u32 = $asked;)?
            $(const MAX_REPLY: u32 = $longest;)?
        }
    };
}

// At the door, for everybody.
call! {
    /// Whoever serves an instance says which.
    HelloCall = 1, "hello" (,): () => Hello
}
call! {
    /// Servers show the bundles of all servers that are registered.
    RollCall = 2, "roll" (, ROLL_REPLY): () => Roll
}
call! {
    /// Servers show their bundle and evidence.
    MemberCall = 3, "member" (, CREDENTIAL_REPLY): () => Member
}
call! {
    /// Servers hand on the evidence of a server with a bundle, by its digest.
    CredentialCall = 4, "credential" (, CREDENTIAL_REPLY): Digest => Credential
}
call! {
    /// Clients, readers and aggregators ask servers for news.
    FollowCall = 5, "follow" (, NEWS_REPLY): Follow => News
}
call! {
    /// Clients register with any server.
    RegisterCall = 6, "register" (,): Wish => Enrolment
}
call! {
    /// Clients take their leave of any server.
    WithdrawCall = 7, "withdraw" (,): Withdrawal => ()
}
call! {
    /// Clients show a server what the aggregator promised them.
    ComplainCall = 8, "complain" (,): EnvelopeReceipt => ()
}
call! {
    /// Clients hand their envelope to the aggregator.
    EnvelopeCall = 9, "envelope" (ENVELOPE_REQUEST,): SealedEnvelope => EnvelopeReceipt
}
call! {
    /// Clients ask the aggregator whether it would answer their envelope of a round
    /// by now, before they hand it over once more (A12).
    CollectsCall = 10, "collects" (,): (RoundContext, ClientId) => ()
}
// Between aggregators and servers.
call! {
    /// Aggregators register with any server.
    EnlistCall = 33, "enlist" (,): AggregatorBundle => Registration
}
call! {
    /// Aggregators fetch the registry that a header names.
    RegistryCall = 34, "registry" (, REGISTRY_REPLY): RegistryRequest => Vec<ClientBundle>
}
call! {
    /// Aggregators hand their aggregate to any server.
    AggregateCall = 35, "aggregate" (AGGREGATE_REQUEST,): Aggregate => ()
}
call! {
    /// Servers look into a round of the aggregator.
    AuditCall = 36, "audit" (, AUDIT_REPLY): AuditRequest => Vec<SealedEnvelope>
}
call! {
    /// Servers ask where another one is in the committee's own network.
    LinkCall = 37, "link" (,): LinkRequest => Link
}
call! {
    /// Aggregators fetch what changed in the registry since the one that they
    /// have, if a server still knows; otherwise they fetch the whole.
    ChangesCall = 38, "registry-changes" (, REGISTRY_REPLY): ChangesRequest => RegistryDelta
}
// Among servers, never at a door.
call! {
    /// Servers say what they think of the caller's evidence.
    OpinionCall = 65, "opinion" (, OPINION_REPLY): () => Opinion
}
call! {
    /// Servers name the key to which others seal what they leave with them.
    KeeperCall = 66, "keeper" (,): () => Keeper
}
call! {
    /// Servers leave their identity with members, for their next boot.
    KeepCall = 67, "keep" (,): Keepsake => ()
}
call! {
    /// Servers ask each other up to which round they stand.
    FloorCall = 68, "floor" (,): FloorRequest => Floor
}
call! {
    /// Servers ask each other for a record that they missed, by its digest, and for
    /// those before it.
    HistoryCall = 69, "history" (, NEWS_REPLY): Digest => Vec<Published>
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committee::tests::fixture::{EPOCH, World};

    #[test]
    fn a_proof_of_the_secret_is_for_one_caller_at_one_door_of_one_committee() {
        let world = World::new(2, 1);
        let instance = &world.rules.instance;
        let (me, asked) = (
            *world.servers[0].admitted.peer(),
            *world.servers[1].admitted.peer(),
        );
        let request = LinkRequest::sign(instance, &me, &asked, &world.committee);
        assert!(request.verify(instance, &me, &asked).is_ok());
        assert!(request.verify(instance, &asked, &me).is_err());
        assert!(request.verify(instance, &me, &me).is_err());
        let other = &world.servers[0].signing;
        let guessed = LinkRequest::sign(instance, &me, &asked, other);
        assert!(guessed.verify(instance, &me, &asked).is_err());
    }

    #[test]
    fn what_is_pushed_next_answers_the_question_of_one_who_has_what_came() {
        let follow = |after, seen| Follow {
            after,
            seen,
            wait: 1,
        };
        let at = |number| Some((EPOCH, number));
        let alone = at(u64::MAX);
        let covers = |pushed, asked| follow(pushed, None).covers(&follow(asked, None));
        assert!(covers(at(3), at(3)) && covers(at(3), at(5)) && covers(alone, alone));
        assert!(covers(None, None));
        assert!(!covers(at(5), at(3)), "records would be left out");
        assert!(!covers(alone, at(3)) && !covers(at(3), alone));
        assert!(!covers(at(3), None) && !covers(None, at(3)));
        let other = Some((Epoch::new([9; 32]), 3));
        assert!(!covers(other, at(3)));
        // Nothing new leaves it where it was.
        let same = follow(at(3), None).behind(&News::default());
        assert!(same.stands_as(&follow(at(3), None)));
    }

    #[test]
    fn i7_a_word_about_floors_is_for_one_request_of_one_boot() {
        let world = World::new(3, 3);
        let (instance, asked) = (&world.rules.instance, &world.servers[1]);
        let request = FloorRequest {
            epoch: EPOCH,
            bundle: *world.servers[0].admitted.digest(),
            nonce: [1; 32],
        };
        let said = |floor| Floor::sign(instance, &asked.id(), &request, floor, &asked.signing);
        for floor in [None, Some(0), Some(7)] {
            assert!(
                said(floor)
                    .verify(instance, &asked.admitted, &request)
                    .is_ok()
            );
        }
        let other = [
            FloorRequest {
                epoch: Epoch::new([9; 32]),
                ..request
            },
            FloorRequest {
                bundle: *asked.admitted.digest(),
                ..request
            },
            FloorRequest {
                nonce: [2; 32],
                ..request
            },
        ];
        for other in other {
            assert!(
                said(Some(7))
                    .verify(instance, &asked.admitted, &other)
                    .is_err()
            );
        }
        let mut changed = said(None);
        changed.floor = Some(0);
        assert!(changed.verify(instance, &asked.admitted, &request).is_err());
        let reboot = world.reboot(1, 2);
        assert!(
            said(Some(7))
                .verify(instance, &reboot.admitted, &request)
                .is_err()
        );
    }
}
