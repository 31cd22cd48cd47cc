//! Over what calls reach peers.
//!
//! Servers reach each other over mosaik (`zipnet_node::members`). Everybody else reaches
//! them through their doors ([`crate::book`]). Whoever calls, [`crate::peers`], chooses
//! whom to ask and knows nothing of the difference.

use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use zipnet_door::PeerId;
use zipnet_protocol::{AdmittedServer, AggregatorBundle, Instance, InstanceName};

use crate::wire::{CallInfo, Refused};

/// What a call met: an answer or a refusal, or else what went wrong, in the words
/// of the transport.
pub type Outcome = Result<Result<Bytes, Refused>, String>;

/// A call under way.
pub type Calling<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// How one call reaches those who answer it.
pub trait Way: Send + Sync {
    /// Who may answer it.
    fn present(&self) -> Vec<PeerId>;

    /// Asks one of them, for ever if need be: the caller sets the time-out.
    fn invoke(&self, peer: PeerId, request: Vec<u8>) -> Calling<'_>;

    /// Asks one of them for all that it has to say, now and later. Where nothing is
    /// pushed, that is one answer.
    fn stream(&self, peer: PeerId, request: Vec<u8>) -> Streaming<'_> {
        Box::pin(async move {
            let answer = self.invoke(peer, request).await;
            let once: Box<dyn Heard> = Box::new(Once(Some(answer)));
            Ok(once)
        })
    }

    /// Looks for others who may answer it, in the background.
    fn look_around(&self);
}

/// What a peer says, one after the other.
pub trait Heard: Send + Sync {
    /// The next answer; `None` at the end.
    fn next(&mut self) -> Next<'_>;
}

/// An answer that is waited for.
pub type Next<'a> = Pin<Box<dyn Future<Output = Option<Outcome>> + Send + 'a>>;
/// A stream of answers that is being opened.
pub type Streaming<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Heard>, String>> + Send + 'a>>;

struct Once(Option<Outcome>);

impl Heard for Once {
    fn next(&mut self) -> Next<'_> {
        Box::pin(core::future::ready(self.0.take()))
    }
}

/// For what a call is looked up.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// An instance.
    Instance(&'a Instance),
    /// A name, before it is known whose.
    Name(&'a InstanceName),
}

/// Over what calls reach peers.
pub trait Ground: Send + Sync {
    /// How a call reaches peers.
    fn way(&self, call: CallInfo, scope: Scope<'_>) -> Arc<dyn Way>;

    /// Whether this is the peer under which a server answers here.
    fn is_at(&self, server: &AdmittedServer, peer: &PeerId) -> bool;

    /// A server has told where an aggregator is.
    fn told(&self, _: &Instance, _: &AggregatorBundle) {}
}
