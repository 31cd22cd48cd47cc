//! Where collateral for a guest comes from, whose platform is not known yet.

use std::{path::PathBuf, sync::Arc};

#[cfg(feature = "fetch")]
use crate::fetch::{FetchError, Source};
use crate::{
    Collateral, Platforms, Refusal, Shelf, Store, TrustBase, collateral::MAX_COLLATERAL,
    policy::Wanted, source::SourceError, store::StoreError, trusted_alone,
};

use crate::cli::{FileError, files};

/// `--collateral` names nothing that has any.
#[derive(Debug, thiserror::Error)]
pub enum CollateralError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of something else.
    #[error("{path} holds no collateral", path = .path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// A folder.
    #[error("The folder of collateral cannot be used")]
    Store(#[from] StoreError),
    /// A URL.
    #[cfg(feature = "fetch")]
    #[error("The source of collateral cannot be used")]
    Source(#[source] FetchError),
}

/// The guest's platform has none there.
#[derive(Debug, thiserror::Error)]
#[error("There is no collateral for platforms of {platforms} in {folder}; `zipnet-attest collateral fetch` gets it", folder = .folder.display())]
struct MissingError {
    platforms: Platforms,
    folder: PathBuf,
}

/// Where collateral comes from.
pub enum Place {
    File(Arc<Collateral>),
    Folder(Store, PathBuf),
    #[cfg(feature = "fetch")]
    Http(Source),
}

/// A file, a folder, or a URL.
pub fn open(name: &str) -> Result<Place, CollateralError> {
    #[cfg(feature = "fetch")]
    if name.contains("://") {
        return Source::new(name)
            .map(Place::Http)
            .map_err(CollateralError::Source);
    }
    let path = PathBuf::from(name);
    if path.is_dir() {
        return Ok(Place::Folder(Store::open(&path)?, path));
    }
    let bytes = files::read(&path, MAX_COLLATERAL)?;
    match Collateral::from_json(&bytes) {
        Ok(collateral) => Ok(Place::File(Arc::new(collateral))),
        Err(source) => Err(CollateralError::Form { path, source }),
    }
}

/// What was found is not to be judged by.
#[derive(Debug, thiserror::Error)]
#[error("The collateral for platforms of {platforms} is refused")]
struct RefusedError {
    platforms: Platforms,
    #[source]
    refusal: Refusal,
}

impl Place {
    /// The newest collateral for a model of platform: what is there now, or what was seen before
    /// if that is newer. It is signed, in force at `now`, and of the wanted track.
    pub fn get(
        &self,
        platforms: Platforms,
        base: &TrustBase,
        seen: &Shelf,
        wanted: &Wanted,
        now: u64,
    ) -> Result<Arc<Collateral>, SourceError> {
        let found = self.find(platforms, wanted)?;
        let refused = |refusal| RefusedError { platforms, refusal };
        wanted.check(&found).map_err(refused)?;
        let trusted = trusted_alone(base.root(), &found, now).map_err(refused)?;
        seen.put(trusted, wanted.highest)?;
        Ok(seen.get(platforms)?.unwrap_or(found))
    }

    /// Nothing of it is verified here.
    fn find(&self, platforms: Platforms, wanted: &Wanted) -> Result<Arc<Collateral>, SourceError> {
        match self {
            Self::File(collateral) => Ok(collateral.clone()),
            Self::Folder(store, folder) => {
                let found = store.get(platforms.fmspc, platforms.ca)?;
                let missing = || MissingError {
                    platforms,
                    folder: folder.clone(),
                };
                Ok(found.map(Arc::new).ok_or_else(missing)?)
            }
            #[cfg(feature = "fetch")]
            Self::Http(source) => Ok(Arc::new(source.fetch(platforms, wanted)?)),
        }
    }
}
