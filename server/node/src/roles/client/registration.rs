//! Keeps a client in the registry.

use core::time::Duration;
use std::sync::Arc;

use mosaik::Network;
use tokio::{sync::Notify, time::timeout};
use zipnet_protocol::{ClientBundle, Instance, SigningSecret, Withdrawal};

use crate::{
    peers::{Allowed, Peers},
    wire::{Call as _, RegisterCall, Registration, WithdrawCall},
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon a registration that does not show yet is looked at again.
const PENDING: Duration = Duration::from_millis(300);
/// How often a listed client says that it is still there.
const REFRESH: Duration = Duration::from_secs(15);

pub(super) struct Registrar {
    bundle: ClientBundle,
    instance: Instance,
    servers: Peers<ClientBundle, Registration>,
    withdrawals: Peers<Withdrawal, ()>,
    lost: Notify,
}

impl core::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Registrar({})", self.bundle.client_id())
    }
}

impl Registrar {
    pub fn new(
        network: &Arc<Network>,
        instance: &Instance,
        bundle: ClientBundle,
        servers: Allowed,
    ) -> Self {
        Self {
            servers: Peers::new(
                network.clone(),
                RegisterCall::id(instance),
                RegisterCall::LABEL,
                Some(servers.clone()),
            ),
            withdrawals: Peers::new(
                network.clone(),
                WithdrawCall::id(instance),
                WithdrawCall::LABEL,
                Some(servers),
            ),
            instance: instance.clone(),
            bundle,
            lost: Notify::new(),
        }
    }

    /// The aggregator does not know this client: register again.
    pub fn lost(&self) {
        self.lost.notify_one();
    }

    pub async fn run(self: Arc<Self>) {
        let mut listed_before = false;
        loop {
            let pause = match self.servers.call(&self.bundle, PATIENCE).await {
                Ok((_, Registration::Listed)) => {
                    if !listed_before {
                        tracing::info!(client = %self.bundle.client_id().short(), "registered");
                    }
                    listed_before = true;
                    REFRESH
                }
                Ok((_, Registration::Pending)) => {
                    listed_before = false;
                    PENDING
                }
                Err(error) => {
                    tracing::debug!(because = %crate::report::chain(&error), "not registered yet");
                    PENDING
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.lost.notified() => tokio::time::sleep(PENDING).await,
            }
        }
    }

    /// Takes leave of the committee, if it can be reached soon.
    pub async fn withdraw(&self, transport: &SigningSecret, patience: Duration) {
        let withdrawal = Withdrawal::sign(&self.instance, self.bundle.client_id(), transport);
        let farewell = self.withdrawals.call(&withdrawal, patience);
        if !matches!(timeout(patience, farewell).await, Ok(Ok(_))) {
            tracing::debug!("no server took the withdrawal; the registration will lapse");
        }
    }
}
