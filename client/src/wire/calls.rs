//! The calls: their numbers, names, types and lengths.

use zipnet_protocol::{
    Aggregate, AggregatorBundle, ClientBundle, ClientId, Digest, EnvelopeReceipt, MAX_CLIENTS,
    MAX_LEAVES, MAX_ROSTER, Part, PartReceipt, RegistryDelta, RoundContext, SealedEnvelope,
    Withdrawal,
};

use super::{
    AUDIT_PAGE_BYTES, AuditRequest, Call, ChangesRequest, Credential, Enrolment, Follow, Hello,
    LightNews, MAX_NEWS, MAX_RECORDS, Member, News, REGISTRY_PAGE, Registration, RegistryRequest,
    Roll, Wish,
};

/// Longest answer of any call, in bytes: one record of the largest round that
/// the protocol allows, with its bundles and the open round.
pub const LONGEST_REPLY: u32 = NEWS_REPLY;
/// Longest broadcast that the protocol allows, in bytes.
const MAX_BROADCAST: usize = 1 << 20;
/// Most of what a record has besides vectors, of each server: its bundle and
/// signatures, here and in the open round.
const BESIDES: usize = 4 << 10;
const NEWS_REPLY: u32 = {
    let round = MAX_BROADCAST + (MAX_BROADCAST + BESIDES) * MAX_ROSTER + LISTS;
    assert!(round > MAX_NEWS, "a page is never longer than a record");
    assert!(round < (1 << 27), "it is bounded by 128 MiB");
    #[expect(clippy::cast_possible_truncation, reason = "it is below 2^27")]
    let round = round as u32;
    round
};
/// A page of light records, or one of the largest round, with bundles and the open round.
const LIGHT_REPLY: u32 = {
    let page = if MAX_NEWS > MAX_BROADCAST {
        MAX_NEWS
    } else {
        MAX_BROADCAST
    };
    let besides = (BESIDES * MAX_ROSTER + MAX_CLIENTS) * (MAX_RECORDS + 1);
    #[expect(clippy::cast_possible_truncation, reason = "it is below 6 MiB")]
    let light = (page + besides) as u32;
    assert!(light < (6 << 20));
    light
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
/// Who took part, and what each leaf said of its part: a bitmap and some hundred bytes.
const LISTS: usize = (1 + MAX_LEAVES) * (MAX_CLIENTS / 8 + 256);
/// An aggregate: besides its vector it has some hundred bytes and who took part.
#[expect(clippy::cast_possible_truncation, reason = "it is 1 MiB and 144 KiB")]
const AGGREGATE_REQUEST: u32 = (MAX_BROADCAST + LISTS + BESIDES) as u32;
/// Bundles of the largest committee: less than 512 bytes each.
#[expect(clippy::cast_possible_truncation, reason = "it is 32 KiB")]
const ROLL_REPLY: u32 = (MAX_ROSTER * 512 + 64) as u32;
/// A bundle, evidence of 16 KiB and collateral of 64 KiB.
const CREDENTIAL_REPLY: u32 = 128 << 10;
/// What carries a call needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallInfo {
    /// Its number at a door.
    pub kind: u8,
    /// Its name, in logs and among servers.
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

/// Names a call: its number, its name, the most bytes of request and answer where they are
/// not the usual ones, and its types.
#[macro_export]
macro_rules! call {
    ($(#[$meta:meta])* $name:ident = $kind:literal, $label:literal
     ($($asked:expr)?, $($longest:expr)?): $request:ty => $reply:ty) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name;

        impl $crate::wire::Call for $name {
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
call! {
    /// Those who read lightly ask servers for news.
    FollowLightCall = 11, "follow-light" (, LIGHT_REPLY): Follow => LightNews
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
    /// Leaves hand their part to the round's aggregator.
    PartCall = 39, "part" (AGGREGATE_REQUEST,): Part => PartReceipt
}
call! {
    /// Servers fetch a leaf's part from the round's aggregator, to see what is wrong in it.
    PartOfCall = 40, "part-of" (, AGGREGATE_REQUEST): (RoundContext, u8) => Part
}
call! {
    /// Leaves show a server what the aggregator promised them.
    OmittedCall = 41, "omitted" (,): PartReceipt => ()
}
call! {
    /// Aggregators fetch what changed in the registry since the one that they
    /// have, if a server still knows; otherwise they fetch the whole.
    ChangesCall = 38, "registry-changes" (, REGISTRY_REPLY): ChangesRequest => RegistryDelta
}
