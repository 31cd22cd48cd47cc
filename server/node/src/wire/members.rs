//! The calls of servers: their numbers, names, types and lengths.

use zipnet::call;
use zipnet_protocol::Digest;

use super::{
    Floor, FloorRequest, Keeper, Keepsake, LONGEST_REPLY, Link, LinkRequest, Opinion, Published,
};

/// A rule and what was found, cut by [`Opinion::refused`].
const OPINION_REPLY: u32 = 4 << 10;

// At the door.
call! {
    /// Servers ask where another one is in the committee's own network.
    LinkCall = 37, "link" (,): LinkRequest => Link
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
    HistoryCall = 69, "history" (, LONGEST_REPLY): Digest => Vec<Published>
}
