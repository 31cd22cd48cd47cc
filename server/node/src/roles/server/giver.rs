//! Gives the committee secret to guests that the policy in force accepts, so
//! that a new member needs no operator at night.
//!
//! One guest at a time: what a stranger can take up is one connection, one
//! quote to look at, and a line in the log.

use core::time::Duration;
use std::{net::SocketAddr, sync::Arc};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use zipnet_attest::provision::{GiveError, Giver, Known, Parcel, Welcome};
use zipnet_protocol::InstanceName;

use crate::{
    attestation::{Authority, Giving, ServerAttestation},
    metrics,
};

/// Rest after each guest.
const PAUSE: Duration = Duration::from_secs(1);

/// The giving side could not be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "Could not wait for guests on {address}; a free TCP address of this machine would be right"
)]
pub struct GivingError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// An open door for guests.
pub(super) struct Door {
    listener: TcpListener,
    giving: Arc<Giving>,
    authority: Arc<Authority>,
    instance: InstanceName,
}

impl Door {
    /// `None` if this server gives nothing.
    pub(super) async fn open(
        attestation: Option<&ServerAttestation>,
        instance: &InstanceName,
    ) -> Result<Option<Self>, GivingError> {
        let Some(ServerAttestation {
            giving: Some(giving),
            authority,
            ..
        }) = attestation
        else {
            return Ok(None);
        };
        let address = giving.listen;
        let failed = |source| GivingError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, "provisioning: guests may ask here for the committee secret");
        Ok(Some(Self {
            listener,
            giving: giving.clone(),
            authority: authority.clone(),
            instance: instance.clone(),
        }))
    }

    pub(super) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        loop {
            let one = async {
                if let Ok((stream, from)) = this.listener.accept().await {
                    let this = this.clone();
                    let task = tokio::task::spawn_blocking(move || this.give(stream, from));
                    let _ = task.await;
                }
                tokio::time::sleep(PAUSE).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = one => {}
            }
        }
    }

    fn give(&self, stream: TcpStream, from: SocketAddr) {
        let outcome = match self.try_give(stream) {
            Ok(guest) => {
                tracing::info!(
                    %from,
                    image = guest.td().image(),
                    shape = guest.td().shape(),
                    policy = self.authority.policy().serial(),
                    "provisioning: gave the committee secret to a guest"
                );
                "given"
            }
            Err(Failed::Stream(error)) => {
                tracing::warn!(%from, because = %error, "provisioning: a connection could not be used");
                "broken"
            }
            Err(Failed::Give(error)) => {
                tracing::warn!(
                    %from,
                    because = %crate::report::chain(&error),
                    "provisioning: a guest did not get the committee secret"
                );
                if error.wire().is_some() {
                    "broken"
                } else {
                    "refused"
                }
            }
        };
        metrics::provisioned(outcome);
    }

    fn try_give(&self, stream: TcpStream) -> Result<Welcome, Failed> {
        let stream = stream.into_std().map_err(Failed::Stream)?;
        stream.set_nonblocking(false).map_err(Failed::Stream)?;
        let authority = &self.authority;
        let policy = authority.policy();
        let giver = Giver {
            base: authority.base(),
            verifier: &policy.verifier,
            known: Known::Member {
                instance: self.instance.as_str(),
                mode: self.giving.mode,
            },
        };
        let parcel = Parcel {
            committee_secret: self.giving.committee_secret.clone(),
            secret: None,
            policy: policy.file.clone(),
        };
        giver
            .give(
                stream,
                &parcel,
                authority.now(),
                |platforms| Ok(authority.collateral_for(platforms)?),
                |_| (),
            )
            .map_err(Failed::Give)
    }
}

/// A guest got nothing.
enum Failed {
    Stream(std::io::Error),
    Give(GiveError),
}
