//! Where QEMU reaches the quote generation service: as the launcher takes it.

use core::{fmt, str::FromStr};
use std::{io, os::unix::net::UnixStream, path::PathBuf};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, VsockAddr, connect, socket};
use std::os::fd::AsRawFd as _;

/// `unix:PATH` or `vsock:CID:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quotes {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port of the hypervisor's sockets.
    Vsock {
        /// Of which machine: 2 is the host.
        cid: u32,
        /// Its port.
        port: u32,
    },
}

/// Text names no service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unix:PATH, with the path from the root, or vsock:CID:PORT would be right")]
pub struct QuotesError;

impl FromStr for Quotes {
    type Err = QuotesError;

    fn from_str(text: &str) -> Result<Self, QuotesError> {
        match text.split_once(':').ok_or(QuotesError)? {
            ("unix", path) if path.starts_with('/') && !path.contains(['"', '\\']) => {
                Ok(Self::Unix(path.into()))
            }
            ("vsock", rest) => {
                let (cid, port) = rest.split_once(':').ok_or(QuotesError)?;
                let number = |text: &str| text.parse().map_err(|_| QuotesError);
                Ok(Self::Vsock {
                    cid: number(cid)?,
                    port: number(port)?,
                })
            }
            _ => Err(QuotesError),
        }
    }
}

impl fmt::Display for Quotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

impl Quotes {
    /// Connects as QEMU does for each quote, and hangs up.
    ///
    /// # Errors
    /// Why nobody answers.
    pub fn reach(&self) -> io::Result<()> {
        match self {
            Self::Unix(path) => UnixStream::connect(path).map(drop),
            Self::Vsock { cid, port } => {
                // The kernel gives up by itself after two seconds.
                let stream = socket(
                    AddressFamily::Vsock,
                    SockType::Stream,
                    SockFlag::SOCK_CLOEXEC,
                    None,
                )?;
                connect(stream.as_raw_fd(), &VsockAddr::new(*cid, *port))?;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_service_is_a_path_or_a_port() {
        for right in ["unix:/run/tdx-qgs/qgs.socket", "vsock:2:4050"] {
            assert_eq!(right.parse::<Quotes>().unwrap().to_string(), right);
        }
        for wrong in [
            "",
            "unix:",
            "unix:qgs",
            "unix:/a\"b",
            "vsock:2",
            "vsock:2:x",
            "tcp:1:2",
        ] {
            assert_eq!(wrong.parse::<Quotes>(), Err(QuotesError), "{wrong}");
        }
    }

    #[test]
    fn it_is_reached_if_somebody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qgs");
        let quotes = Quotes::Unix(path.clone());
        assert_eq!(quotes.reach().unwrap_err().kind(), io::ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        quotes.reach().unwrap();
        drop(listener);
        assert_eq!(
            quotes.reach().unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }
}
