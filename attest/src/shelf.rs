//! The newest collateral that a process knows, in memory and, if there is one,
//! in a folder. As a [`Store`] it never goes back.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    collateral::Collateral,
    edition::Edition,
    genuine::Trusted,
    platforms::Platforms,
    store::{Put, SetAside, Store, StoreError},
};

/// Most models of platform that are kept in memory. Intel has some dozens.
pub const MAX_PLATFORMS: usize = 256;

/// Collateral for each model of platform and CA. Threads share one; processes
/// may share its folder.
///
/// What comes from the folder is as good as the folder, and is verified by
/// whoever uses it with a quote.
#[derive(Debug, Default)]
pub struct Shelf {
    store: Option<Store>,
    known: Mutex<HashMap<Platforms, (Arc<Collateral>, Edition)>>,
}

impl Shelf {
    /// An empty one, in memory only.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that keeps a folder too, which is created if there is none. Files
    /// in it that hold no collateral are moved aside, and named.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<(Self, Vec<SetAside>), StoreError> {
        let store = Store::open(folder)?;
        let aside = store.set_aside()?;
        let shelf = Self {
            store: Some(store),
            known: Mutex::default(),
        };
        Ok((shelf, aside))
    }

    /// Takes collateral if it is newer than what is known and no part of it is
    /// older, or what is known has expired, or is beyond `highest`, the highest
    /// TCB evaluation of the track (`None`: no end). Whoever calls this has
    /// looked at the evaluation of what is put.
    ///
    /// # Errors
    /// [`StoreError`] if the folder could not be written: this process knows
    /// the collateral all the same. [`StoreError::Full`] without a folder, when
    /// there are [`MAX_PLATFORMS`] already.
    pub fn put(&self, trusted: Trusted<'_>, highest: Option<u32>) -> Result<Put, StoreError> {
        let collateral = trusted.collateral();
        let edition = Edition::of(collateral).map_err(StoreError::Unfit)?;
        let known = self.lock().get(&edition.platforms).map(|(_, known)| *known);
        let at = trusted.at();
        let stays = |is: &Edition| !is.gives_way(&edition, at, highest);
        if known.is_some_and(|known| stays(&known)) {
            return Ok(Put::Older);
        }
        // Outside of the lock: nobody waits for the disk who only reads.
        let stored = self.store.as_ref().map(|store| store.put(trusted, highest));
        if let Some(Ok(Put::Older)) = stored {
            // Another process was faster.
            self.reload(edition.platforms)?;
            return Ok(Put::Older);
        }
        let taken = self.take(Arc::new(collateral.clone()), edition, stays);
        match (stored, taken) {
            (Some(Err(error)), _) => Err(error),
            (None, None) => Err(StoreError::Full {
                limit: MAX_PLATFORMS,
            }),
            (_, Some(false)) => Ok(Put::Older),
            (_, Some(true) | None) => Ok(Put::Stored),
        }
    }

    /// The newest collateral of a model of platform that this process knows,
    /// or else what the folder has.
    ///
    /// # Errors
    /// [`StoreError`] if the folder is asked and its file cannot be read, or is
    /// something else.
    pub fn get(&self, platforms: Platforms) -> Result<Option<Arc<Collateral>>, StoreError> {
        match self.peek(platforms) {
            Some(known) => Ok(Some(known)),
            None => self.reload(platforms),
        }
    }

    /// As [`Shelf::get`], after a look into the folder, where another process
    /// may have put something newer.
    ///
    /// # Errors
    /// As [`Shelf::get`].
    pub fn reload(&self, platforms: Platforms) -> Result<Option<Arc<Collateral>>, StoreError> {
        let Some(store) = &self.store else {
            return Ok(self.peek(platforms));
        };
        let Some((collateral, edition)) = store.read(platforms)? else {
            return Ok(self.peek(platforms));
        };
        let collateral = Arc::new(collateral);
        let stays = |is: &Edition| !edition.replaces(is);
        self.take(Arc::clone(&collateral), edition, stays);
        Ok(Some(self.peek(platforms).unwrap_or(collateral)))
    }

    /// All that is in memory, by model of platform and CA.
    #[must_use]
    pub fn known(&self) -> Vec<(Platforms, Arc<Collateral>)> {
        let mut known: Vec<_> = self
            .lock()
            .iter()
            .map(|(platforms, (collateral, _))| (*platforms, Arc::clone(collateral)))
            .collect();
        known.sort_by_key(|(platforms, _)| *platforms);
        known
    }

    fn peek(&self, platforms: Platforms) -> Option<Arc<Collateral>> {
        let known = self.lock();
        known
            .get(&platforms)
            .map(|(collateral, _)| Arc::clone(collateral))
    }

    /// Whether it was taken, which it is not if what is known stays; `None` if
    /// there is no room. None is made: what is forgotten could come back older.
    fn take(
        &self,
        collateral: Arc<Collateral>,
        edition: Edition,
        stays: impl Fn(&Edition) -> bool,
    ) -> Option<bool> {
        let mut known = self.lock();
        let is = known.get(&edition.platforms);
        if is.is_some_and(|(_, is)| stays(is)) {
            return Some(false);
        }
        if is.is_none() && known.len() >= MAX_PLATFORMS {
            return None;
        }
        known.insert(edition.platforms, (collateral, edition));
        Some(true)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Platforms, (Arc<Collateral>, Edition)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
