//! Admission by evidence in the replicated state.
//!
//! All servers have to come to one verdict from the log alone. So evidence is
//! judged by the policy that the log brought and at the time that the command
//! carries, not by anybody's own; the time may not go back. How far a server
//! can set it forward is bounded by what Intel has signed: no collateral is in
//! force for longer than 30 days. A server that does so keeps others from
//! renewing, as it could by withholding partials; it admits nobody by it, since
//! every server also judges by its own clock (I3).

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use zipnet_attest::{PolicyFile, TrustBase};
use zipnet_protocol::{AdmittedServer, Instance, ServerId};

use super::{
    command::{Presented, SignedPolicy},
    refusal::Refusal,
};
use crate::{
    attestation::{Credential, InForce, credential::expected},
    settings::CommitteeRules,
};

/// A server's evidence as it was admitted.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Evidence and collateral.
    pub credential: Arc<Credential>,
    /// The time by which it was judged, seconds since 1970.
    pub at: u64,
    /// Which statement of the server it is.
    pub(super) epoch: u64,
    /// The machine that it runs on, by its platform instance id.
    pub(super) machine: Option<Machine>,
}

/// A machine, by its platform instance id, 16 bytes.
pub type Machine = [u8; 16];

/// A server that was registered and is not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// The boot that a new bundle must not be below.
    pub least_boot: u64,
    /// The machine to which it has to come back, unless the policy says otherwise:
    /// `None` if it left by its own word, or shows no evidence; `Some(None)` if its
    /// machine has no id, so that nobody can tell.
    pub machine: Option<Option<Machine>>,
}

/// What the committee knows of evidence.
#[derive(Debug, Clone, Default)]
pub struct Admissions {
    /// The latest time that a registration carried, seconds since 1970.
    pub(super) clock: u64,
    /// The newest policy that one brought.
    pub(super) policy: Option<Arc<InForce>>,
    pub(super) of: Arc<BTreeMap<ServerId, Admission>>,
}

impl Admissions {
    /// The latest time that a registration carried, seconds since 1970.
    #[must_use]
    pub const fn clock(&self) -> u64 {
        self.clock
    }

    /// The policy by which the committee admits, once there is one.
    #[must_use]
    pub const fn policy(&self) -> Option<&Arc<InForce>> {
        self.policy.as_ref()
    }

    /// The evidence of a registered server.
    #[must_use]
    pub fn of(&self, server: &ServerId) -> Option<&Admission> {
        self.of.get(server)
    }

    pub(super) fn strike(&mut self, server: &ServerId) {
        if self.of.contains_key(server) {
            Arc::make_mut(&mut self.of).remove(server);
        }
    }

    /// Opens a policy that a command or a snapshot brought.
    pub(super) fn open(base: &TrustBase, signed: &SignedPolicy) -> Result<Arc<InForce>, Refusal> {
        let file = PolicyFile::from(signed);
        let verifier = base
            .open(&file, 0)
            .map_err(|error| Refusal::Policy(Arc::new(error)))?;
        Ok(Arc::new(InForce { file, verifier }))
    }

    /// Judges evidence by a policy, at a time.
    pub(super) fn judge(
        policy: &InForce,
        instance: &Instance,
        server: &AdmittedServer,
        credential: Arc<Credential>,
        at: u64,
    ) -> Result<Admission, Refusal> {
        let refused = |source| Refusal::Evidence {
            server: *server.id(),
            source: Arc::new(source),
        };
        let (evidence, collateral) = credential.decode().map_err(refused)?;
        let expected = expected(instance, server);
        let verified = policy
            .verifier
            .verify(&evidence, &collateral, &expected, at)
            .map_err(refused)?;
        Ok(Admission {
            credential,
            at,
            epoch: evidence.statement.epoch,
            machine: verified.genuine().platform_instance(),
        })
    }

    /// Whether a server that was here on the machine `before` may be here as it is
    /// admitted now. An identity belongs to a machine: somewhere else it needs the
    /// word of those who sign policies, or of its own last boot, which then left.
    /// Keys that have moved belong to no TD.
    pub(super) fn stays(
        &self,
        server: &AdmittedServer,
        before: Option<Machine>,
        same_boot: bool,
    ) -> Result<(), Refusal> {
        let now = self.of(server.id()).and_then(|admission| admission.machine);
        let named = self.policy.as_ref().is_some_and(|policy| {
            let policy = policy.verifier.policy();
            policy.server_of(server.peer().as_bytes()).is_some()
        });
        let may = if same_boot {
            before == now
        } else {
            named || (before.is_some() && before == now)
        };
        if may {
            return Ok(());
        }
        Err(Refusal::Moved {
            server: *server.id(),
            before,
            now,
        })
    }

    /// What the admissions are after a server has presented itself to the
    /// registered `servers`; these here are left alone.
    pub(super) fn admit(
        &self,
        rules: &CommitteeRules,
        servers: &BTreeMap<ServerId, AdmittedServer>,
        server: &AdmittedServer,
        presented: Option<Presented>,
    ) -> Result<Self, Refusal> {
        let (base, presented) = match (&rules.trust, presented) {
            (None, None) => return Ok(Self::default()),
            (None, Some(_)) => return Err(Refusal::Unasked(*server.id())),
            (Some(_), None) => return Err(Refusal::Unattested(*server.id())),
            (Some(base), Some(presented)) => (base, presented),
        };
        let mut after = self.clone();
        if presented.at < after.clock {
            return Err(Refusal::Clock {
                found: presented.at,
                least: after.clock,
            });
        }
        let newer = presented
            .policy
            .as_ref()
            .map(|signed| Self::open(base, signed))
            .transpose()?
            .filter(|policy| {
                let current = after.policy.as_ref();
                current.is_none_or(|current| policy.serial() > current.serial())
            });
        let is_newer = newer.is_some();
        let policy = newer.or(after.policy).ok_or(Refusal::NoPolicy)?;
        let admission = Self::judge(
            &policy,
            &rules.instance,
            server,
            Arc::new(presented.credential),
            presented.at,
        )?;
        // Statements of one boot are counted; those of another have other keys.
        let same = servers.get(server.id()) == Some(server);
        if let Some(before) = after.of.get(server.id()).filter(|_| same)
            && before.epoch > admission.epoch
        {
            return Err(Refusal::StaleEvidence {
                server: *server.id(),
                least: before.epoch,
                found: admission.epoch,
            });
        }
        after.clock = presented.at;
        if is_newer {
            // Whoever the new policy would not have admitted goes.
            Arc::make_mut(&mut after.of).retain(|id, admission| {
                servers.get(id).is_some_and(|server| {
                    let credential = admission.credential.clone();
                    let at = admission.at;
                    Self::judge(&policy, &rules.instance, server, credential, at).is_ok()
                })
            });
        }
        after.policy = Some(policy);
        Arc::make_mut(&mut after.of).insert(*server.id(), admission);
        Ok(after)
    }
}
