//! Serving calls over mosaik.

use core::future::{Future, ready};

use mosaik::{
    FunctionId, Network, PeerId,
    discovery::PeerInfo,
    functions::{CallContext, Handler, handler::BuilderError},
};
use serde::{Serialize, de::DeserializeOwned};
use zipnet_door::{Admission, gate::Gate};
use zipnet_protocol::{Instance, PeerKey};

use super::common::hello;
use crate::wire::{Call, Hello, Refused, function_id, hello_id};

/// A call could not be served.
#[derive(Debug, thiserror::Error)]
#[error("Could not serve `{call}`: the process serves it already")]
pub struct ServeError {
    call: &'static str,
    #[source]
    source: BuilderError,
}

/// A served call; it ends when this is dropped.
pub type Served<C> = Handler<<C as Call>::Request, <C as Call>::Reply, Refused>;

/// Serves a call with a handler that is told the caller's transport key, for
/// those that are admitted; whoever finds no place is told that we are busy.
///
/// What remains of A5: mosaik 0.4.2 keeps the connection of a caller that was
/// answered and does not close it, as it keeps one that never says what it
/// wants, without a limit of number or time. Both cost memory and no places.
///
/// # Errors
/// [`ServeError`] if the process serves it already.
pub fn serve<C, F, Fut>(
    network: &Network,
    instance: &Instance,
    admission: impl Into<Admission>,
    handler: F,
) -> Result<Served<C>, ServeError>
where
    C: Call,
    F: Fn(C::Request, PeerKey) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C::Reply, Refused>> + Send + 'static,
{
    let admission = admission.into();
    serve_as(
        network,
        function_id(C::LABEL, instance),
        C::LABEL,
        admission,
        handler,
    )
}

fn serve_as<Req, Res, F, Fut>(
    network: &Network,
    id: FunctionId,
    call: &'static str,
    admission: Admission,
    handler: F,
) -> Result<Handler<Req, Res, Refused>, ServeError>
where
    Req: Serialize + DeserializeOwned + Send + 'static,
    Res: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(Req, PeerKey) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Res, Refused>> + Send + 'static,
{
    let (places, allowed, known) = admission.into_parts();
    let gate = Gate::new(places);
    let key = |peer: &PeerId| PeerKey::new(*peer.as_bytes());
    network
        .functions()
        .handler::<Req, Res, Refused>()
        .with_function_id(id)
        // This is asked first, before anything is taken or decoded.
        .require(move |peer: &PeerInfo| {
            let peer = key(peer.id());
            allowed.as_ref().is_none_or(|allowed| allowed(&peer))
        })
        .serve(move |request, context: CallContext| {
            let caller = key(context.caller().id());
            let known = || known.as_ref().is_some_and(|known| known(&caller));
            // The work begins when the place is had, and the place is left when
            // it is done, whether the caller closes or not.
            let entered = gate
                .enter(caller, known)
                .map(|place| (place, handler(request, caller)));
            async move {
                let (_place, work) = entered.ok_or(Refused::Busy)?;
                work.await
            }
        })
        .map_err(|source| ServeError { call, source })
}

/// Tells whoever asks by the instance's name what its committee key is.
///
/// # Errors
/// [`ServeError`] if the process serves it already.
pub fn serve_hello(
    network: &Network,
    instance: &Instance,
) -> Result<Handler<(), Hello, Refused>, ServeError> {
    let hello = hello(instance);
    serve_as(
        network,
        hello_id(instance.name()),
        "hello",
        256.into(),
        move |(), _| ready(Ok(hello.clone())),
    )
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
