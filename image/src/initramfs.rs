//! What is in the initramfs.

use std::path::Path;

use crate::{
    files::FileError,
    modules::{self, ModuleError},
    newc::{self, Archive, Entry, TooLong},
};

/// Folders that exist from the start; the guest mounts something on most of them.
const FOLDERS: [&str; 10] = [
    "dev",
    "etc",
    "lib",
    "lib/modules",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr",
    "usr/bin",
];

/// An initramfs cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// A program.
    #[error("A program of the image could not be read")]
    Program(#[source] FileError),
    /// A module.
    #[error("A kernel module could not be taken")]
    Module(#[from] ModuleError),
    /// A file.
    #[error("The archive could not be written")]
    Archive(#[from] TooLong),
    /// zstd.
    #[error("The archive could not be compressed")]
    Compression(#[source] std::io::Error),
}

/// The archive: `/init`, the server, the kernel modules and the list of them.
///
/// # Errors
/// [`InitramfsError`].
pub fn archive(
    init: Vec<u8>,
    server: Vec<u8>,
    kernel_modules: &Path,
    list: &str,
) -> Result<Archive, InitramfsError> {
    let file = |mode, data| Entry::File { mode, data };
    let mut archive = Archive::new();
    for folder in FOLDERS {
        archive.insert(folder.to_owned(), Entry::Folder { mode: 0o755 });
    }
    // PID 1 has a console before it has mounted anything.
    let console = Entry::Device {
        mode: 0o600,
        number: (5, 1),
    };
    archive.insert("dev/console".to_owned(), console);
    archive.insert("init".to_owned(), file(0o755, init));
    archive.insert("usr/bin/zipnet-server".to_owned(), file(0o755, server));
    let found = modules::find(kernel_modules)?;
    for name in modules::names(list) {
        let module = modules::load(&found, name)?;
        archive.insert(format!("lib/modules/{name}.ko"), file(0o644, module));
    }
    let order = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect::<String>();
    archive.insert(
        "lib/modules/order".to_owned(),
        file(0o644, order.into_bytes()),
    );
    Ok(archive)
}

/// The initramfs that the kernel unpacks, by zstd at a level.
///
/// # Errors
/// [`InitramfsError`].
pub fn compress(archive: &Archive, level: i32) -> Result<Vec<u8>, InitramfsError> {
    let plain = newc::write(archive)?;
    zstd::bulk::compress(&plain, level).map_err(InitramfsError::Compression)
}
