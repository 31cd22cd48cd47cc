//! An archive as a process.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    cluster::{Cluster, UP},
    process::{Process, ProcessError},
    server::{free_port, get},
};

/// An archive with what is needed to start it again.
#[derive(Debug)]
pub struct Archive {
    /// The process.
    pub process: Process,
    /// Where it serves.
    pub address: SocketAddr,
    /// Where its metrics are.
    pub metrics: SocketAddr,
    folder: PathBuf,
}

impl Archive {
    /// Starts an archive of a cluster's records in a folder, and waits until it serves.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn start(cluster: &mut Cluster, folder: &Path) -> Result<Self, ProcessError> {
        let (address, metrics) = (free_port(), free_port());
        Ok(Self {
            process: launch(cluster, folder, address, metrics)?,
            address,
            metrics,
            folder: folder.to_owned(),
        })
    }

    /// Starts it again after it has ended, at the same place.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn restart(&mut self, cluster: &mut Cluster) -> Result<(), ProcessError> {
        self.process = launch(cluster, &self.folder, self.address, self.metrics)?;
        Ok(())
    }

    /// Its address, as readers take it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A file of it.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<String> {
        let (status, text) = get(self.address, path)?;
        (status == 200).then_some(text)
    }

    /// The number of its newest record.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        let head = self.get("/head")?;
        let epoch = head.lines().rfind(|line| line.starts_with("epoch "))?;
        epoch.split(' ').nth(3)?.parse().ok()
    }
}

fn launch(
    cluster: &mut Cluster,
    folder: &Path,
    address: SocketAddr,
    metrics: SocketAddr,
) -> Result<Process, ProcessError> {
    let mut command = cluster.reader_command("zipnet-archive")?;
    command
        .env("ZIPNET_ARCHIVE_STORE", folder)
        .env("ZIPNET_ARCHIVE_LISTEN", address.to_string())
        .env("ZIPNET_METRICS", metrics.to_string());
    let mut process = cluster.launch("archive", command)?;
    process.expect("archive: serving http://", UP)?;
    Ok(process)
}
