//! The files of an archive over HTTP, for anybody.
//!
//! Strangers reach it. The number of connections, in all and of one address, the size of a
//! request's head, the time that one may take, and how slowly an answer may be read are
//! bounded; nothing that is served is held whole in memory but text of some kilobytes. Nobody
//! is logged: who reads what is not this process's to keep.

mod answer;
mod events;
mod messages;
mod page;
mod slow;

use core::{convert::Infallible, net::SocketAddr, time::Duration};
use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
};

use crate::keeper::Keeper;
use slow::Paced;

/// Longest head of a request, in bytes. hyper takes none below 8 KiB.
const HEAD: usize = 8 << 10;
/// Most lines of it.
const HEADERS: usize = 64;
/// How long to wait when no connection can be taken: the process is out of files.
const PAUSE: Duration = Duration::from_millis(200);
/// What the kernel holds of answers that are not read, for each connection.
const SEND_BUFFER: u32 = 128 << 10;
/// Connections that wait to be taken.
const QUEUE: u32 = 1024;

/// Could not listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "Could not serve the archive on {address}; a free TCP address of this machine would be right"
)]
pub struct ServeError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At once.
    pub connections: usize,
    /// At once, of one address. A CDN or a proxy is one address, or a few.
    pub each: usize,
    /// How long the head of a request may take, and how long a connection may be idle, or an
    /// answer wait to be read.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            each: 256,
            patience: Duration::from_secs(10),
        }
    }
}

/// What is counted of the requests; nothing of who asked.
pub trait Meter: Send + Sync + 'static {
    /// A request was answered with a status.
    fn answered(&self, status: u16);
}

/// A listener.
pub struct Server {
    listener: TcpListener,
    desk: Arc<answer::Desk>,
    places: Arc<Semaphore>,
    each: Each,
    patience: Duration,
}

impl Server {
    /// Binds the address. Must run inside of a tokio runtime.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn bind(
        address: SocketAddr,
        keeper: Arc<Keeper>,
        limits: Limits,
        meter: Arc<dyn Meter>,
    ) -> Result<Self, ServeError> {
        let listener = listen(address).map_err(|source| ServeError { address, source })?;
        Ok(Self {
            listener,
            desk: Arc::new(answer::Desk::new(keeper, limits.connections, meter)),
            places: Arc::new(Semaphore::new(limits.connections)),
            each: Each {
                most: limits.each,
                taken: Arc::default(),
            },
            patience: limits.patience,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers for ever.
    pub async fn run(self) {
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                return;
            };
            let Ok((stream, peer)) = self.listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // One address does not take the places of all others.
            let Some(of_address) = self.each.take(peer.ip()) else {
                continue;
            };
            let (desk, patience) = (self.desk.clone(), self.patience);
            tokio::spawn(async move {
                let _places = (place, of_address);
                // Who is cut off, or sends nonsense, asks again.
                let _ = converse(stream, desk, patience).await;
            });
        }
    }
}

impl core::fmt::Debug for Server {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Server")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    // Connections that are taken have the same.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(QUEUE)
}

async fn converse(
    stream: TcpStream,
    desk: Arc<answer::Desk>,
    patience: Duration,
) -> Result<(), hyper::Error> {
    // Events are short, and to be there at once.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Paced::new(stream, patience)), service)
        .await
}

/// Connections by address.
struct Each {
    most: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Each {
    fn take(&self, of: IpAddr) -> Option<OfAddress> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(of).or_default();
        if *count >= self.most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(OfAddress {
            of,
            taken: self.taken.clone(),
        })
    }
}

/// A place of an address; it is left when this is dropped.
struct OfAddress {
    of: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for OfAddress {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.of) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}
