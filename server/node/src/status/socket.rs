//! The socket at which a server says how it is. Nothing is read from whoever
//! connects: connecting is the question.

use core::time::Duration;
use std::{
    fs, io,
    io::Read as _,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener as StdListener, UnixStream as StdStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::Status;

/// Longest path of a socket that Linux takes, with the suffix of its first name.
const MAX_PATH: usize = 107 - SUFFIX.len();
/// What the socket is called until it is to be used.
const SUFFIX: &str = ".new";
/// Who is asked at once.
const CONNECTIONS: usize = 4;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const MAX_ANSWER: u64 = 4 << 20;
/// How long to wait when no connection can be taken.
const PAUSE: Duration = Duration::from_millis(200);

/// A socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The path.
    #[error("The path {path} of the status socket is too long; at most {MAX_PATH} bytes would be right", path = .path.display())]
    Long {
        /// Which.
        path: PathBuf,
    },
    /// Something else.
    #[error("{path} is there and no socket; a path for a new socket would be right", path = .path.display())]
    Taken {
        /// Which.
        path: PathBuf,
    },
    /// Another server.
    #[error("Another process answers at the status socket {path}; one path for each server would be right", path = .path.display())]
    Answers {
        /// Which.
        path: PathBuf,
    },
    /// The folder.
    #[error("Could not make the status socket {path}; a path in a folder that this process may write would be right", path = .path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where a server is to say how it is.
#[derive(Debug, Clone)]
pub struct StatusSocket {
    /// The socket's path.
    pub path: PathBuf,
    /// Whether an operator named it: then it has to be had.
    pub named: bool,
}

/// A socket that waits for whoever asks. It is removed when this is dropped.
#[derive(Debug)]
pub struct Listening {
    listener: UnixListener,
    path: PathBuf,
    /// The user who runs this process, and the file.
    owner: u32,
    inode: u64,
}

impl StatusSocket {
    /// Makes the socket, for this process's user alone. One that was left behind is
    /// replaced; one at which somebody answers is not.
    ///
    /// # Errors
    /// [`StatusError`], if an operator named it; otherwise the process goes without.
    pub fn listen(&self) -> Result<Option<Listening>, StatusError> {
        match open(&self.path) {
            Ok(listening) => Ok(Some(listening)),
            Err(error) if self.named => Err(error),
            Err(error) => {
                tracing::info!(because = %crate::report::chain(&error), "`zipnet-server status` will not work");
                Ok(None)
            }
        }
    }
}

fn open(path: &Path) -> Result<Listening, StatusError> {
    let path = path.to_owned();
    if path.as_os_str().len() > MAX_PATH {
        return Err(StatusError::Long { path });
    }
    if let Ok(there) = fs::symlink_metadata(&path) {
        if !there.file_type().is_socket() {
            return Err(StatusError::Taken { path });
        }
        if StdStream::connect(&path).is_ok() {
            return Err(StatusError::Answers { path });
        }
    }
    // Nobody else may connect, at any time: it gets its name when it has its mode.
    let make = || {
        let mut first = path.clone().into_os_string();
        first.push(SUFFIX);
        let first = PathBuf::from(first);
        if fs::symlink_metadata(&first).is_ok_and(|there| there.file_type().is_socket()) {
            fs::remove_file(&first)?;
        }
        let listener = StdListener::bind(&first)?;
        fs::set_permissions(&first, fs::Permissions::from_mode(0o600))?;
        let made = fs::symlink_metadata(&first)?;
        fs::rename(&first, &path)?;
        listener.set_nonblocking(true)?;
        Ok(Listening {
            listener: UnixListener::from_std(listener)?,
            path: path.clone(),
            owner: made.uid(),
            inode: made.ino(),
        })
    };
    make().map_err(|source| StatusError::Make {
        path: path.clone(),
        source,
    })
}

impl Drop for Listening {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Listening {
    /// Tells whoever asks, until `stop`.
    pub async fn serve(
        self,
        stop: CancellationToken,
        status: impl Fn() -> Status + Send + Sync + 'static,
    ) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let status = Arc::new(status);
        loop {
            let next = async {
                let place = places.clone().acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, stream) = tokio::select! {
                () = stop.cancelled() => return,
                next = next => next,
            };
            let (Ok(place), Ok((stream, _))) = (place, stream) else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let allowed = stream.peer_cred().map(|peer| peer.uid());
            if !allowed.is_ok_and(|user| user == self.owner || user == 0) {
                continue;
            }
            let status = status.clone();
            tokio::spawn(async move {
                let _place = place;
                let _ = timeout(PATIENCE, tell(stream, &*status)).await;
            });
        }
    }
}

async fn tell(mut stream: UnixStream, status: &(impl Fn() -> Status + Sync)) -> io::Result<()> {
    let mut answer = serde_json::to_vec(&status()).map_err(io::Error::other)?;
    answer.push(b'\n');
    stream.write_all(&answer).await?;
    stream.shutdown().await
}

/// A server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody.
    #[error("No server answers at {path}; the ZIPNET_STATUS of one that runs, as the user that runs it, would be right", path = .path.display())]
    Nobody {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nonsense.
    #[error("What answers at {path} is no server of this version", path = .path.display())]
    Nonsense {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Asks the server at a socket how it is.
///
/// # Errors
/// [`AskError`].
pub fn ask(path: &Path) -> Result<Status, AskError> {
    let heard = || {
        let stream = StdStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = heard().map_err(|source| AskError::Nobody {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&answer).map_err(|source| AskError::Nonsense {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
