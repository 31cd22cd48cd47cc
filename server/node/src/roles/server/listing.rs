//! Shows a client that it is listed.

use zipnet_protocol::{ClientRegistry, RegisteredClient, RoundContext};

use crate::{committee::View, wire::Listing};

/// What shows the client its place in the registry of the newest certified round:
/// of the open one, or else of the newest record. `None` if it is not in there.
pub(super) fn of(view: &View, client: &RegisteredClient) -> Option<Listing> {
    let open = view.state.current().and_then(|current| {
        let certified = current.certified.as_ref()?;
        Some((certified.context(), &*current.registry))
    });
    let head = view.state.head();
    let newest = open.or_else(|| head.map(|head| (head.checked.context(), &*head.registry)));
    let (context, registry): (&RoundContext, &ClientRegistry) = newest?;
    let position = registry.position(client.id())?;
    if registry.at(position) != Some(client) {
        return None;
    }
    Some(Listing {
        context: *context,
        position: u32::try_from(position).ok()?,
        proof: registry.proof(position)?,
    })
}
