//! Gives the committee secret to guests that the policy in force accepts, so
//! that a new member needs no operator at night.
//!
//! A few guests at a time, and fewer from one address: what a stranger can take up is
//! a connection, one quote to look at, and a line in the log. Collateral is fetched
//! only for machines that the policy lists and certified TDs of its images.

use core::time::Duration;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use zipnet_attest::{
    provision::{GiveError, Giver, GiverKey, Known, Machines, Parcel, Welcome},
    source::SourceError,
};
use zipnet_protocol::InstanceName;

use crate::{
    attestation::{Authority, Giving, InForce, ServerAttestation},
    metrics,
};

/// Rest after each guest, in its place.
const PAUSE: Duration = Duration::from_secs(1);
/// Guests at once. Each is waited for.
const PLACES: usize = 8;
/// Guests at once from one address.
const EACH: usize = PLACES / 2;

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
pub(super) struct Givers {
    listener: TcpListener,
    giving: Arc<Giving>,
    authority: Arc<Authority>,
    instance: InstanceName,
    key: GiverKey,
    from: Mutex<HashMap<IpAddr, usize>>,
}

/// No identity of a guest is kept here.
#[derive(Debug, thiserror::Error)]
#[error(
    "The identity of {0:?} is not kept here: it was not left since this server started. Another member may have it, or its operator gives it"
)]
struct NotKeptError(String);

impl Givers {
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
            key: GiverKey::new(&giving.committee_secret, instance.as_str()),
            giving: giving.clone(),
            authority: authority.clone(),
            instance: instance.clone(),
            from: Mutex::default(),
        }))
    }

    pub(super) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let places = Arc::new(Semaphore::new(PLACES));
        loop {
            let next = async {
                // Whoever comes now waits in the kernel's queue.
                let place = places.clone().acquire_owned().await.ok()?;
                if let Ok((stream, from)) = this.listener.accept().await {
                    return Some((place, stream, from));
                }
                tokio::time::sleep(PAUSE).await;
                None
            };
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = next => next,
            };
            let Some((place, stream, from)) = next else {
                continue;
            };
            if !this.enter(from.ip()) {
                tracing::debug!(%from, "provisioning: an address has as many connections as it may");
                continue;
            }
            let this = this.clone();
            tokio::spawn(async move {
                let giver = this.clone();
                let task = tokio::task::spawn_blocking(move || giver.give(stream, from));
                let _ = task.await;
                this.leave(from.ip());
                tokio::time::sleep(PAUSE).await;
                drop(place);
            });
        }
    }

    fn enter(&self, from: IpAddr) -> bool {
        let mut here = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let count = here.entry(from).or_default();
        let may = *count < EACH;
        if may {
            *count = count.saturating_add(1);
        }
        may
    }

    fn leave(&self, from: IpAddr) {
        let mut here = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = here.get_mut(&from) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                here.remove(&from);
            }
        }
    }

    fn give(&self, stream: TcpStream, from: SocketAddr) {
        let outcome = match self.try_give(stream) {
            Ok(guest) => {
                tracing::info!(
                    %from,
                    guest = guest.name(),
                    platform = guest.td().genuine().platform_instance().map(hex::encode),
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
                if error.wire().is_some() || matches!(error, GiveError::Unproven) {
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
            key: &self.key,
            base: authority.base(),
            verifier: &policy.verifier,
            known: Known::Member {
                instance: self.instance.as_str(),
                mode: self.giving.mode,
            },
            machines: Machines::OfPolicy,
        };
        giver
            .give(
                stream,
                authority.now(),
                |platforms| Ok(authority.fresh_collateral_for(platforms)?),
                |guest| self.parcel(guest, &policy),
            )
            .map_err(Failed::Give)
    }
}

impl Givers {
    /// What a guest gets: the committee secret and the policy, and its identity if
    /// the policy names servers. It was checked that it runs where that one may.
    fn parcel(&self, guest: &Welcome, policy: &InForce) -> Result<Parcel, SourceError> {
        let rules = policy.verifier.policy();
        let name = guest.name().unwrap_or_default();
        let secret = match (&rules.servers, rules.server(name)) {
            (Some(_), server) => {
                let kept = server.and_then(|server| self.giving.keepsakes.of(&server.peer.0));
                Some(kept.ok_or_else(|| NotKeptError(name.chars().take(64).collect()))?)
            }
            (None, _) => None,
        };
        Ok(Parcel {
            committee_secret: self.giving.committee_secret.clone(),
            time: self.authority.now(),
            secret,
            policy: policy.file.clone(),
        })
    }
}

/// A guest got nothing.
enum Failed {
    Stream(std::io::Error),
    Give(GiveError),
}
