//! A relay inside of the process.
//!
//! mosaik comes up only after it has reached a relay. Where every node can
//! dial every other directly, one in the same process will do. Nodes that
//! know of each other's relays connect to them as well, so many nodes on one
//! machine should rather share one.

use core::net::Ipv4Addr;

use iroh_relay::server::{RelayConfig, Server, ServerConfig, SpawnError};
use mosaik::iroh::RelayUrl;

/// The relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It has no socket.
    #[error("Could not listen on 127.0.0.1")]
    Spawn(#[source] SpawnError),
    /// It did not say where it listens.
    #[error("The relay has no usable address")]
    Address,
}

/// A relay on loopback; it ends when this is dropped.
pub struct EmbeddedRelay {
    url: RelayUrl,
    _server: Server,
}

impl EmbeddedRelay {
    /// Starts one on a free TCP port, without TLS.
    ///
    /// # Errors
    /// [`RelayError`].
    pub async fn start() -> Result<Self, RelayError> {
        let mut config = ServerConfig::default();
        config.relay = Some(RelayConfig::new((Ipv4Addr::LOCALHOST, 0)));
        let server = Server::spawn(config).await.map_err(RelayError::Spawn)?;
        let address = server.http_addr().ok_or(RelayError::Address)?;
        let url = format!("http://{address}").parse();
        Ok(Self {
            url: url.map_err(|_| RelayError::Address)?,
            _server: server,
        })
    }

    /// Where it is.
    #[must_use]
    pub const fn url(&self) -> &RelayUrl {
        &self.url
    }
}
