//! Where the files of an archive are kept: a folder, or a bucket of an S3-compatible store.

mod folder;
mod s3;

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use object_store::{
    ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, path::Path,
    prefix::PrefixStore,
};

use zipnet_history::layout::Name;

pub use folder::FolderError;

/// Where an archive is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder, which is made.
    Folder(PathBuf),
    /// A bucket, and what its files' names begin with there.
    Bucket {
        /// The bucket.
        bucket: String,
        /// The start of the names, may be empty.
        prefix: String,
    },
}

/// Not a place for an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no place for an archive; a folder, or s3://BUCKET or s3://BUCKET/PREFIX, would be right"
)]
pub struct PlaceError {
    text: String,
}

impl core::str::FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let unfit = || PlaceError {
            text: text.chars().take(512).collect(),
        };
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let prefix = prefix.trim_end_matches('/');
            let fits = !bucket.is_empty()
                && bucket.chars().all(good)
                && prefix.chars().all(|c| good(c) || c == '/');
            return fits
                .then(|| Self::Bucket {
                    bucket: bucket.to_owned(),
                    prefix: prefix.to_owned(),
                })
                .ok_or_else(unfit);
        }
        if text.is_empty() || text.contains("://") {
            return Err(unfit());
        }
        Ok(Self::Folder(text.into()))
    }
}

/// A place that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A folder.
    #[error("The archive's folder cannot be used")]
    Folder(#[source] FolderError),
    /// A bucket.
    #[error(
        "The archive's bucket cannot be used; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, if it is not Amazon's, AWS_ENDPOINT would be right"
    )]
    Bucket(#[source] object_store::Error),
}

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The store failed.
    #[error("The archive's store did not {what} {name}")]
    Store {
        /// What was asked of it.
        what: &'static str,
        /// Which file or folder.
        name: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// Longer than any file of this kind.
    #[error("The file {name} has {bytes} bytes; at most {most} would be right")]
    Long {
        /// Which.
        name: String,
        /// Its length.
        bytes: u64,
        /// The longest that is read.
        most: u64,
    },
}

/// The files of an archive. What is written is there for good when a call returns: a file is whole
/// or is not there.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// Held for as long as the folder is used: two writers would undo each other's index.
    _lock: Option<Arc<folder::Lock>>,
}

impl Objects {
    /// Opens a place for the one process that writes to it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(place: &Place) -> Result<Self, OpenError> {
        match place {
            Place::Folder(folder) => {
                let (store, lock) = folder::open(folder).map_err(OpenError::Folder)?;
                Ok(Self {
                    store: Arc::new(store),
                    _lock: Some(Arc::new(lock)),
                })
            }
            Place::Bucket { bucket, prefix } => {
                let store = s3::open(bucket).map_err(OpenError::Bucket)?;
                let store: Arc<dyn ObjectStore> = if prefix.is_empty() {
                    Arc::new(store)
                } else {
                    Arc::new(PrefixStore::new(store, Path::from(prefix.as_str())))
                };
                Ok(Self::within(store))
            }
        }
    }

    /// Any store.
    #[must_use]
    pub fn within(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, _lock: None }
    }

    /// A whole file, if it is there.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn get(&self, name: &Name, most: usize) -> Result<Option<Bytes>, ObjectError> {
        let Some((bytes, body)) = self.stream(name).await? else {
            return Ok(None);
        };
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        if bytes > most {
            let name = name.to_string();
            return Err(ObjectError::Long { name, bytes, most });
        }
        let mut whole = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
        let mut body = body;
        while let Some(part) = body.next().await {
            whole.extend_from_slice(&part.map_err(failed("read", name))?);
        }
        Ok(Some(whole.into()))
    }

    /// A file's length and bytes as they come, if it is there.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn stream(
        &self,
        name: &Name,
    ) -> Result<Option<(u64, BoxStream<'static, object_store::Result<Bytes>>)>, ObjectError> {
        match self.store.get(&path(name)).await {
            Ok(found) => Ok(Some((found.meta.size, found.into_stream()))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("read", name)(source)),
        }
    }

    /// The length of a file, if it is there.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn length(&self, name: &Name) -> Result<Option<u64>, ObjectError> {
        match self.store.head(&path(name)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("read", name)(source)),
        }
    }

    /// Writes a file that is not there yet. `false` if it is.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn create(&self, name: &Name, bytes: Bytes) -> Result<bool, ObjectError> {
        match self.put(name, bytes, PutMode::Create).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(source) => Err(failed("write", name)(source)),
        }
    }

    /// Writes a file, in place of the one that is there.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn replace(&self, name: &Name, bytes: Bytes) -> Result<(), ObjectError> {
        let put = self.put(name, bytes, PutMode::Overwrite).await;
        put.map_err(failed("write", name))
    }

    async fn put(&self, name: &Name, bytes: Bytes, mode: PutMode) -> object_store::Result<()> {
        let payload = PutPayload::from_bytes(bytes);
        let options = PutOptions::from(mode);
        self.store
            .put_opts(&path(name), payload, options)
            .await
            .map(|_| ())
    }

    /// The folders in a folder, by their names.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn folders(&self, within: &str) -> Result<Vec<String>, ObjectError> {
        let folder = Path::from(within);
        let listed = self.store.list_with_delimiter(Some(&folder)).await;
        let listed = listed.map_err(|source| ObjectError::Store {
            what: "list",
            name: within.to_owned(),
            source,
        })?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        Ok(names.map(str::to_owned).collect())
    }

    /// What `wanted` makes of the names of the files in a folder.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn files<T>(
        &self,
        within: &str,
        wanted: impl Fn(Name) -> Option<T>,
    ) -> Result<Vec<T>, ObjectError> {
        let folder = Path::from(within);
        let mut listed = self.store.list(Some(&folder));
        let mut names = Vec::new();
        while let Some(found) = listed.next().await {
            let found = found.map_err(|source| ObjectError::Store {
                what: "list",
                name: within.to_owned(),
                source,
            })?;
            let name = Name::parse(found.location.as_ref()).ok();
            names.extend(name.and_then(&wanted));
        }
        Ok(names)
    }
}

fn path(name: &Name) -> Path {
    Path::from(name.to_string())
}

fn failed(what: &'static str, name: &Name) -> impl FnOnce(object_store::Error) -> ObjectError {
    let name = name.to_string();
    move |source| ObjectError::Store { what, name, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_folders_or_buckets() {
        let bucket = |bucket: &str, prefix: &str| Place::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        };
        assert_eq!("/var/lib/x".parse(), Ok(Place::Folder("/var/lib/x".into())));
        assert_eq!("s3://b".parse(), Ok(bucket("b", "")));
        assert_eq!("s3://b/".parse(), Ok(bucket("b", "")));
        assert_eq!("s3://b/p/q/".parse(), Ok(bucket("b", "p/q")));
        for bad in [
            "",
            "s3://",
            "s3:///p",
            "https://b",
            "file:///x",
            "s3://b/p?x=1",
            "s3://a@b/",
        ] {
            let error = bad.parse::<Place>().unwrap_err().to_string();
            assert!(error.ends_with("would be right"), "{error}");
        }
    }
}
