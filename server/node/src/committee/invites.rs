//! Who may register as a client: anybody, or whoever holds an invite.

use std::collections::{BTreeMap, btree_map::Entry};

use zipnet_protocol::{
    BundleError, ClientId, ClientRegistry, InviteError, RegisteredClient, ShownInvite,
    SigningPublic,
};

use crate::rules::{ClientRules, CommitteeRules};
pub use crate::wire::Wish;

/// A client that is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// For its bundle.
    #[error("The client's bundle is refused")]
    Bundle(#[source] BundleError),
    /// For its invite.
    #[error("The client's invite is refused")]
    Invite(#[source] InviteError),
}

/// A client whose bundle, and invite if one is needed, were verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    pub(super) client: RegisteredClient,
    pub(super) invite: Option<ShownInvite>,
}

impl Welcome {
    /// The client.
    #[must_use]
    pub const fn client(&self) -> &RegisteredClient {
        &self.client
    }

    /// Its invite, where one is needed.
    #[must_use]
    pub const fn invite(&self) -> Option<&ShownInvite> {
        self.invite.as_ref()
    }

    /// Whether this is what came of a wish.
    pub(super) fn is_of(&self, wish: &Wish, rules: &CommitteeRules) -> bool {
        let invite = rules.needed(wish);
        *self.client.bundle() == wish.bundle && self.invite.as_ref() == invite
    }
}

impl CommitteeRules {
    /// Checks the bundle of a wish, and the invite where one is needed.
    ///
    /// # Errors
    /// [`WishError`].
    pub fn welcome(&self, wish: &Wish) -> Result<Welcome, WishError> {
        let client = wish
            .bundle
            .verify(&self.instance)
            .map_err(WishError::Bundle)?;
        let invite = self.needed(wish);
        match (self.clients, invite) {
            (ClientRules::Open, _) => {}
            (ClientRules::Invite, None) => return Err(WishError::Invite(InviteError::Missing)),
            (ClientRules::Invite, Some(invite)) => invite
                .verify(&self.instance, client.id())
                .map_err(WishError::Invite)?,
        }
        Ok(Welcome {
            invite: invite.cloned(),
            client,
        })
    }

    /// The invite of a wish that has to be looked at: none if everybody is let in.
    const fn needed<'a>(&self, wish: &'a Wish) -> Option<&'a ShownInvite> {
        match self.clients {
            ClientRules::Open => None,
            ClientRules::Invite => wish.invite.as_ref(),
        }
    }
}

/// The invites of registered clients. Each admits one client at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invites {
    of: BTreeMap<ClientId, ShownInvite>,
    holders: BTreeMap<[u8; 32], ClientId>,
}

impl Invites {
    /// The invite by which a client is listed.
    #[must_use]
    pub fn of(&self, client: &ClientId) -> Option<&ShownInvite> {
        self.of.get(client)
    }

    /// Whether an invite admits a client now: no other one that is listed has it.
    #[must_use]
    pub fn admits(&self, invite: &SigningPublic, client: &ClientId) -> bool {
        let holder = self.holders.get(invite.as_bytes());
        holder.is_none_or(|holder| holder == client)
    }

    /// All of them, by client.
    pub fn iter(&self) -> impl Iterator<Item = (&ClientId, &ShownInvite)> {
        self.of.iter()
    }

    /// A client is listed by an invite that admits it. It keeps its first one.
    pub(super) fn take(&mut self, client: ClientId, invite: ShownInvite) {
        if let Entry::Vacant(place) = self.of.entry(client) {
            self.holders.insert(*invite.key().as_bytes(), client);
            place.insert(invite);
        }
    }

    /// These clients are listed no longer: their invites are free.
    pub(super) fn free(&mut self, gone: impl Fn(&ClientId) -> bool) {
        self.of.retain(|client, _| !gone(client));
        self.holders.retain(|_, client| !gone(client));
    }

    /// Those of a snapshot's clients, verified again; `None` if they are not what
    /// the rules and these clients want.
    pub(super) fn restore(
        rules: &CommitteeRules,
        clients: &ClientRegistry,
        shown: Vec<(ClientId, ShownInvite)>,
    ) -> Option<Self> {
        let wanted = match rules.clients {
            ClientRules::Open => 0,
            ClientRules::Invite => clients.len(),
        };
        let mut invites = Self::default();
        for (client, invite) in shown {
            let is_right = invites.of.len() < wanted
                && clients.get(&client).is_some()
                && invites.of(&client).is_none()
                && invites.admits(invite.key(), &client)
                && invite.verify(&rules.instance, &client).is_ok();
            if !is_right {
                return None;
            }
            invites.take(client, invite);
        }
        (invites.of.len() == wanted).then_some(invites)
    }
}
