//! The places of servers: who takes one, keeps it, and may come back to it.
//!
//! A place is an identity's. A server that leaves or is struck keeps its own, and
//! its identity stays where it was: with its machine, if servers show evidence.

use std::sync::Arc;

use zipnet_protocol::{AdmittedServer, Digest, MAX_ROSTER, ServerId};

use super::{
    admission::{Absent, Admissions},
    command::ServerRegistration,
    refusal::Refusal,
    state::{Applied, CommitteeState},
};

impl CommitteeState {
    pub(super) fn register_server(
        &mut self,
        server: AdmittedServer,
        registration: ServerRegistration,
    ) -> Result<Applied, Refusal> {
        self.check_place(&server, registration.presented.is_some())?;
        // Last, since it costs most.
        let presented = registration.presented;
        let admissions = self
            .admissions
            .admit(&self.rules, &self.servers, &server, presented)?;
        let id = *server.id();
        if let Some(standing) = self.admissions.of(&id) {
            let same = self.servers.get(&id) == Some(&server);
            admissions.stays(&server, standing.machine, same)?;
        } else if let Some(machine) = self.absent.get(&id).and_then(|absent| absent.machine) {
            admissions.stays(&server, machine, false)?;
        }
        Arc::make_mut(&mut self.absent).remove(&id);
        Arc::make_mut(&mut self.servers).insert(id, server);
        let before = core::mem::replace(&mut self.admissions, admissions);
        self.strike_unadmitted(&before);
        Ok(Applied::Registered)
    }

    /// Whether a server may take a place in the registry, or keep the one that
    /// it has if it `renews` its evidence.
    fn check_place(&self, server: &AdmittedServer, renews: bool) -> Result<(), Refusal> {
        let id = *server.id();
        if let Some((other, key)) = self.servers.values().find_map(|other| {
            let key = server.shared_key(other).filter(|_| *other.id() != id)?;
            Some((*other.id(), key))
        }) {
            return Err(Refusal::SharedKey {
                server: id,
                other,
                key,
            });
        }
        let same = self.servers.get(&id) == Some(server);
        if same && renews {
            return Ok(());
        }
        let registered = self.servers.get(&id).map(AdmittedServer::boot);
        // One more than the last boot, or, for a server that was struck and is
        // back, at least the same one.
        let least = registered
            .map(|boot| boot.saturating_add(1))
            .or_else(|| self.absent.get(&id).map(|absent| absent.least_boot));
        if let Some(least) = least
            && server.boot() < least
        {
            return Err(Refusal::Stale {
                server: id,
                least,
                found: server.boot(),
            });
        }
        if !self.knows(&id) {
            // A struck server keeps its place: otherwise whoever strikes the
            // others could name their successors.
            let known = self.servers.len().saturating_add(self.absent.len());
            let room = self
                .rules
                .committee_size
                .map_or(MAX_ROSTER, |size| size as usize);
            if known >= room.min(MAX_ROSTER) {
                return Err(Refusal::CommitteeFull(known));
            }
        }
        Ok(())
    }

    /// Strikes servers that a new policy does not admit. They may come back
    /// with the same keys, should a later one.
    fn strike_unadmitted(&mut self, before: &Admissions) {
        if self.rules.trust.is_none() {
            return;
        }
        let admissions = &self.admissions;
        let servers = self.servers.values();
        let gone: Vec<_> = servers
            .filter(|server| admissions.of(server.id()).is_none())
            .map(|server| (*server.id(), server.boot()))
            .collect();
        for (server, boot) in gone {
            self.strike(server, boot, before);
        }
    }

    pub(super) fn lapse(&mut self, server: ServerId, bundle: Digest) -> Result<Applied, Refusal> {
        match self.servers.get(&server) {
            Some(registered) if *registered.digest() == bundle => {
                let boot = registered.boot();
                let before = self.admissions.clone();
                self.strike(server, boot, &before);
                Ok(Applied::Registered)
            }
            _ => Err(Refusal::Unregistered(server)),
        }
    }

    /// The server's own last word: its keys do not come back, and its identity may
    /// wherever its operator takes it.
    pub(super) fn leave(&mut self, server: ServerId) -> Result<Applied, Refusal> {
        let boot = self
            .servers
            .get(&server)
            .map(AdmittedServer::boot)
            .ok_or(Refusal::Unregistered(server))?;
        let absent = Absent {
            least_boot: boot.saturating_add(1),
            machine: None,
        };
        self.remove(server, absent);
        Ok(Applied::Registered)
    }

    /// Strikes a server that is to come back where it was, by the admissions of
    /// before.
    fn strike(&mut self, server: ServerId, least_boot: u64, before: &Admissions) {
        let machine = before.of(&server).map(|admission| admission.machine);
        self.remove(
            server,
            Absent {
                least_boot,
                machine,
            },
        );
    }

    fn remove(&mut self, server: ServerId, absent: Absent) {
        Arc::make_mut(&mut self.servers).remove(&server);
        Arc::make_mut(&mut self.absent).insert(server, absent);
        self.admissions.strike(&server);
    }
}
