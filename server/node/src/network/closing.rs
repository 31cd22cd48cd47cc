//! No endpoint is dropped without being closed.
//!
//! iroh aborts one that is: peers wait for it until their connections time out, and it
//! says so on the log. It happened to whoever was told to stop while it started: the
//! future that joins was dropped, and the endpoint with it, which mosaik makes inside
//! and gives away only when a relay has answered.

use core::time::Duration;

use mosaik::{
    Network,
    iroh::Endpoint,
    network::{Error, NetworkBuilder},
};
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinHandle},
    time::timeout,
};

/// Closing waits for peers that may be gone.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long a network that nobody waits for any more may take to come up, so that it can
/// be closed. A process that ends does not wait for it.
const ABANDONED: Duration = Duration::from_mins(1);

/// Closes an endpoint: when it is told to, or else in the background when it is dropped.
pub(super) struct Closer(Option<Endpoint>);

impl Closer {
    pub fn new(endpoint: &Endpoint) -> Self {
        Self(Some(endpoint.clone()))
    }

    /// Closes it now. The network must have been dropped before.
    pub async fn close(mut self) {
        if let Some(endpoint) = self.0.take() {
            close(endpoint).await;
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if let (Some(endpoint), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(close(endpoint));
        }
    }
}

async fn close(endpoint: Endpoint) {
    let _ = timeout(FAREWELL, endpoint.close()).await;
}

/// Builds a network. If this is dropped before the network is up, it comes up in the
/// background and is closed.
pub(super) async fn joined(builder: NetworkBuilder) -> Result<Network, Error> {
    let mut joining = Joining(Some(tokio::spawn(builder.build())));
    let joined = match &mut joining.0 {
        Some(task) => task.await,
        // It is there until it is dropped.
        None => return core::future::pending().await,
    };
    joining.0 = None;
    match joined {
        Ok(network) => network,
        Err(error) => ended(error).await,
    }
}

/// The task ended by itself: the runtime ends, or mosaik panicked, which goes on here as
/// it would without a task.
async fn ended<T>(error: JoinError) -> T {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => core::future::pending().await,
    }
}

struct Joining(Option<JoinHandle<Result<Network, Error>>>);

impl Drop for Joining {
    fn drop(&mut self) {
        let Some(mut task) = self.0.take() else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            match timeout(ABANDONED, &mut task).await {
                Ok(Ok(Ok(network))) => {
                    let endpoint = network.local().endpoint().clone();
                    drop(network);
                    close(endpoint).await;
                }
                Ok(_) => {}
                Err(_) => task.abort(),
            }
        });
    }
}
