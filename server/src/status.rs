//! `zipnet-server status`: asks a running server on this machine how it is.

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Parser};
use zipnet_node::status::{StatusSocket, ask};

use crate::process::Failure;

/// Name of the socket in the folder of `ZIPNET_STATE`.
const SOCKET: &str = "status.sock";

/// Where a server says how it is.
#[derive(Debug, Args)]
pub struct SocketArgs {
    /// Unix socket at which this server answers `zipnet-server status`, to its own user
    /// alone; empty for none [default: `status.sock` in the folder of `ZIPNET_STATE`, if
    /// there is one]
    #[arg(long = "status", env = "ZIPNET_STATUS", value_name = "PATH")]
    status: Option<OsString>,
}

impl SocketArgs {
    /// The socket, if there is to be one.
    #[must_use]
    pub fn socket(&self, state: Option<&Path>) -> Option<StatusSocket> {
        let (path, named) = match &self.status {
            Some(path) if path.is_empty() => return None,
            Some(path) => (PathBuf::from(path), true),
            None => (state?.join(SOCKET), false),
        };
        Some(StatusSocket { path, named })
    }
}

/// Asks a running server on this machine how it is.
///
/// Prints the committee, its leader, the servers with what their evidence came to, what is
/// waited for and the last rounds. Exit status 1: nobody answers.
#[derive(Debug, Parser)]
#[command(name = "zipnet-server status", version)]
pub struct Ask {
    #[command(flatten)]
    socket: SocketArgs,
    /// Folder of the server's state, where its socket is unless it was told another
    #[arg(long, env = "ZIPNET_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print JSON, one object
    #[arg(long)]
    json: bool,
}

/// No socket.
#[derive(Debug, thiserror::Error)]
#[error(
    "Which server to ask is not said; the ZIPNET_STATUS or the ZIPNET_STATE of a running one would be right"
)]
struct Which;

/// Standard output is closed, or the status does not encode.
#[derive(Debug, thiserror::Error)]
#[error("Could not print the status")]
struct PrintError(#[source] std::io::Error);

impl Ask {
    /// Asks, and prints the answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn run(self) -> Result<(), Failure> {
        let socket = self.socket.socket(self.state.as_deref());
        let socket = socket.ok_or_else(|| Failure::usage(Which))?;
        let status = ask(&socket.path).map_err(Failure::runtime)?;
        let mut out = std::io::stdout().lock();
        let printed = if self.json {
            serde_json::to_string(&status)
                .map_err(std::io::Error::other)
                .and_then(|json| writeln!(out, "{json}"))
        } else {
            write!(out, "{status}")
        };
        printed.map_err(|source| Failure::runtime(PrintError(source)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Server {
        #[command(flatten)]
        socket: SocketArgs,
    }

    fn socket(arguments: &[&str], state: Option<&str>) -> Option<StatusSocket> {
        let all = ["server"].iter().chain(arguments);
        let server = Server::try_parse_from(all).unwrap();
        server.socket.socket(state.map(Path::new))
    }

    #[test]
    fn a_socket_is_named_or_in_the_folder_of_the_state_or_nowhere() {
        assert!(socket(&[], None).is_none());
        let found = socket(&[], Some("/state")).unwrap();
        assert_eq!(found.path, Path::new("/state/status.sock"));
        assert!(!found.named);
        let found = socket(&["--status", "/run/s"], Some("/state")).unwrap();
        assert_eq!(found.path, Path::new("/run/s"));
        assert!(found.named);
        // What a guest is told: it has none.
        assert!(socket(&["--status", ""], Some("/state")).is_none());
    }
}
