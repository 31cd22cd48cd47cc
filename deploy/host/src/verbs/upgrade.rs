//! `upgrade`: gives a guest another image, and the old one back if that does not come
//! up.
//!
//! What is under way is written down before anything is done. Whoever ends this
//! program at any moment leaves a guest that runs the old image, the new one, or none,
//! and the next verb brings it to one of the first two.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    Busy, alone,
    launch::{self, ImageArguments, LaunchError},
};
use crate::{
    files::{self, FileError, Lock},
    http::Url,
    image::{Image, ImageError},
    neighbours::{self, NotReady},
    output,
    place::{Folder, Name, Place, PlaceError},
    plan::{Journal, Plan, Wanted},
    seen::now,
    supervise::SuperviseError,
    up::{self, DownError, UpError},
};

/// How long a guest may take to power off when an interrupted upgrade is taken back.
const GRACE: Duration = Duration::from_mins(1);
/// How long the old image may take to come up again, at least.
const KNOWN: Duration = Duration::from_mins(5);

/// Arguments of `upgrade`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The guest's name on this host
    #[arg(value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    image: ImageArguments,
    /// Other settings for the guest [default: those that it runs with]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where other servers of the committee say whether they are ready (`/readyz` of their
    /// metrics), repeated or comma separated: if one does not answer with 200, nothing is
    /// done
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    peers_ready: Vec<Url>,
    /// How long the new image may take until it waits for its secrets or serves; then the
    /// old one comes back
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    within: Duration,
    /// How long the old one may take to power off before it is killed
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    grace: Duration,
}

/// A guest was not upgraded.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// There is none.
    #[error("There is no guest {0} here; `zipnet-host launch` starts one")]
    Unknown(Name),
    /// It does not run.
    #[error(
        "The guest {0} does not run; `zipnet-host launch {0} --image ... --config ...` starts it with another image"
    )]
    Down(Name),
    /// Nothing to upgrade to.
    #[error(
        "--image is missing: the folder that `make image` makes; ZIPNET_IMAGE can name it, too"
    )]
    NoImage,
    /// A peer that cannot be asked.
    #[error("--peers-ready {0} is asked over plain HTTP: http://HOST:PORT/readyz would be right")]
    Tls(String),
    /// The shape is another's.
    #[error("The guest runs in a shape that the new image does not predict")]
    Shape(#[source] ImageError),
    /// The settings.
    #[error("The new settings are not to be used")]
    Config(#[source] Box<LaunchError>),
    /// Another server is not there.
    #[error(
        "Nothing was done: with the guest {0} down, too, rounds of its committee would stop, or stop for longer"
    )]
    NotReady(Name, #[source] NotReady),
    /// Another upgrade.
    #[error("Nothing was done: another upgrade is under way on this host ({0})")]
    Another(String),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Another verb.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The run folder.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Whoever watches.
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    /// The old one does not end.
    #[error("The guest does not end, and stays as it is")]
    Stuck(#[source] DownError),
    /// The new one did not come up, and the old one did.
    #[error("The guest {0} runs its old image again, for the new one did not come up")]
    RolledBack(Name, #[source] UpError),
    /// Neither came up.
    #[error(
        "The guest {name} is down: neither its new image came up, nor the old one again ({old}); `zipnet-host console {name}` shows what they said"
    )]
    Lost {
        /// Which.
        name: Name,
        /// Why not the old one.
        old: String,
        /// Why not the new one.
        #[source]
        new: UpError,
    },
}

impl UpgradeError {
    /// Whether an argument is wrong.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NoImage | Self::Tls(_) => true,
            Self::Config(error) => error.is_usage(),
            _ => false,
        }
    }
}

/// Upgrades a guest.
///
/// # Errors
/// [`UpgradeError`]; nothing was done, or the old image runs again, unless it says so.
pub fn run(place: &Place, arguments: &Arguments) -> Result<(), UpgradeError> {
    let name = &arguments.name;
    let folder = place.guest(name);
    let image = arguments
        .image
        .image
        .as_ref()
        .ok_or(UpgradeError::NoImage)?;
    if let Some(url) = arguments.peers_ready.iter().find(|url| url.tls) {
        return Err(UpgradeError::Tls(zipnet_attest::report::plain(&url.text)));
    }
    if folder.read_wanted()?.is_none() {
        return Err(UpgradeError::Unknown(name.clone()));
    }
    let path = place.upgrade_lock();
    let _one = Lock::take(&path, &format!("upgrade of {name}"))?
        .ok_or_else(|| UpgradeError::Another(files::holder(&path)))?;
    let alone = alone(&folder, "upgrade")??;
    settle(place, &folder, &alone)?;
    let from = folder
        .read_wanted()?
        .ok_or_else(|| UpgradeError::Unknown(name.clone()))?;
    if folder.alive()?.is_none() || !from.run {
        return Err(UpgradeError::Down(name.clone()));
    }
    let image = Image::open(image, arguments.image.manifest.as_deref())?;
    // A shape of one's own was allowed once, without TDX.
    if image
        .manifest
        .shapes
        .iter()
        .any(|shape| shape.id == from.plan.shape)
        || from.plan.accel == crate::plan::Accel::Tdx
    {
        image.shape(&from.plan.shape).map_err(UpgradeError::Shape)?;
    }
    let kept = image.keep(place)?;
    let mut to = Plan {
        image: kept.digest,
        version: image.manifest.version.clone(),
        ..from.plan.clone()
    };
    if let Some(config) = &arguments.config {
        let (file, bytes, digest) =
            launch::read_config(config).map_err(|error| UpgradeError::Config(Box::new(error)))?;
        files::write(&folder.config(digest), &bytes)?;
        to = Plan {
            config: digest,
            config_file: file,
            ..to
        };
    }
    neighbours::ready(place, &folder, &from.plan, &arguments.peers_ready)
        .map_err(|error| UpgradeError::NotReady(name.clone(), error))?;
    let journal = Journal {
        from: from.plan.clone(),
        to: to.clone(),
        generation: from.generation.saturating_add(1),
        since: now(),
        within: arguments.within.as_secs(),
    };
    files::write_state(&folder.journal(), &journal)?;
    // The lock on images goes with this: from here on both are needed by name.
    let wanted = Wanted {
        generation: journal.generation,
        run: true,
        plan: to,
    };
    let begun = up::watched(place, &folder).map_err(UpgradeError::from);
    let begun = begun.and_then(|()| Ok(up::want(place, &folder, &wanted, Some(&kept))?));
    drop(kept);
    if let Err(error) = begun {
        files::remove(&folder.journal())?;
        return Err(error);
    }
    output::say(&format!(
        "The guest {name} powers off, to start with the image {}.",
        journal.to.version
    ));
    if let Err(error) = up::end(&folder, arguments.grace) {
        files::write_state(&folder.wanted(), &from)?;
        files::remove(&folder.journal())?;
        return Err(UpgradeError::Stuck(error));
    }
    let up = up::watched(place, &folder).map_err(UpgradeError::from);
    up.and_then(|()| conclude(place, &folder, &journal, arguments.within, arguments.grace))
}

/// Waits for the new image, and takes the upgrade back if it does not come up.
fn conclude(
    place: &Place,
    folder: &Folder,
    journal: &Journal,
    within: Duration,
    grace: Duration,
) -> Result<(), UpgradeError> {
    match up::wait(place, folder, journal.generation, within) {
        Ok(seen) => {
            files::remove(&folder.journal())?;
            launch::forget_configs(folder, &[journal.to.config]);
            output::say(&format!(
                "The guest {} runs the image {}.",
                folder.name, journal.to.version
            ));
            if let Some(wanted) = folder.read_wanted()? {
                launch::told(folder, &wanted, &seen);
            }
            Ok(())
        }
        Err(UpError::Stopped) => {
            files::remove(&folder.journal())?;
            Err(UpgradeError::Down(folder.name.clone()))
        }
        Err(error) => Err(take_back(place, folder, journal, grace, error)),
    }
}

/// Starts the old image again; what to say of it.
fn take_back(
    place: &Place,
    folder: &Folder,
    journal: &Journal,
    grace: Duration,
    new: UpError,
) -> UpgradeError {
    let generation = journal.generation.saturating_add(1);
    let wanted = Wanted {
        generation,
        run: true,
        plan: journal.from.clone(),
    };
    output::say(&format!(
        "The guest {} goes back to the image {}.",
        folder.name, journal.from.version
    ));
    let again = || -> Result<(), UpgradeError> {
        files::write_state(&folder.wanted(), &wanted)?;
        up::end(folder, grace).map_err(UpgradeError::Stuck)?;
        up::watched(place, folder)?;
        // It is known to come up: it has time for it, however little the new one had.
        let within = Duration::from_secs(journal.within).max(KNOWN);
        up::wait(place, folder, generation, within)
            .map_err(|error| UpgradeError::RolledBack(folder.name.clone(), error))?;
        Ok(())
    };
    let old = again();
    // Nobody is to take back what was taken back.
    let removed = files::remove(&folder.journal());
    let name = folder.name.clone();
    match old.and(removed.map_err(UpgradeError::from)) {
        Ok(()) => UpgradeError::RolledBack(name, new),
        Err(UpgradeError::RolledBack(_, error)) => UpgradeError::Lost {
            name,
            old: zipnet_attest::report::chain(&error),
            new,
        },
        Err(error) => UpgradeError::Lost {
            name,
            old: zipnet_attest::report::chain(&error),
            new,
        },
    }
}

/// Forgets an upgrade that was interrupted: what runs goes on, and if nothing does, what is
/// started next is not its business.
///
/// # Errors
/// [`FileError`].
pub(super) fn forget(folder: &Folder, _alone: &Lock) -> Result<(), FileError> {
    let (Some(journal), Some(wanted)) = (folder.read_journal()?, folder.read_wanted()?) else {
        return Ok(());
    };
    if let Some((ran, _)) = folder.alive()?
        && ran.generation < journal.generation
    {
        let generation = ran.generation;
        let plan = journal.from;
        files::write_state(
            &folder.wanted(),
            &Wanted {
                generation,
                plan,
                ..wanted
            },
        )?;
    }
    files::remove(&folder.journal())
}

/// Brings an upgrade that was interrupted to an end, or takes it back. Does nothing
/// if there is none.
///
/// # Errors
/// [`UpgradeError`].
pub fn settle(place: &Place, folder: &Folder, _alone: &Lock) -> Result<(), UpgradeError> {
    let Some(journal) = folder.read_journal()? else {
        return Ok(());
    };
    let name = &folder.name;
    let wanted = folder
        .read_wanted()?
        .ok_or_else(|| UpgradeError::Unknown(name.clone()))?;
    let ran = folder.alive()?.map(|(ran, _)| ran);
    let old = Wanted {
        run: true,
        plan: journal.from.clone(),
        ..wanted.clone()
    };
    if !wanted.run {
        // It was stopped, and that was interrupted.
        return Ok(files::remove(&folder.journal())?);
    }
    output::say(&format!(
        "The upgrade of the guest {name} to {} was interrupted.",
        journal.to.version
    ));
    match ran {
        Some(ran) if ran.generation < journal.generation => {
            // The new one had not begun.
            let generation = ran.generation;
            files::write_state(&folder.wanted(), &Wanted { generation, ..old })?;
            files::remove(&folder.journal())?;
            up::watched(place, folder)?;
            output::say(&format!(
                "It goes on with the image {}.",
                journal.from.version
            ));
            Ok(())
        }
        Some(ran) if ran.generation == journal.generation => {
            up::watched(place, folder)?;
            let since = Duration::from_secs(now().saturating_sub(ran.since));
            let left = Duration::from_secs(journal.within).saturating_sub(since);
            match conclude(
                place,
                folder,
                &journal,
                left.max(Duration::from_secs(1)),
                GRACE,
            ) {
                // That is what this is for.
                Err(UpgradeError::RolledBack(_, error)) => {
                    output::say(&format!(
                        "The new image did not come up: {}",
                        zipnet_attest::report::chain(&error)
                    ));
                    Ok(())
                }
                other => other,
            }
        }
        ran => {
            // Nothing runs, or the old one was being started again.
            let next = wanted.generation.max(journal.generation).saturating_add(1);
            let generation = ran.map_or(next, |ran| ran.generation);
            let old = Wanted { generation, ..old };
            files::write_state(&folder.wanted(), &old)?;
            files::remove(&folder.journal())?;
            up::watched(place, folder)?;
            up::supersede(folder, generation, GRACE).map_err(UpgradeError::Stuck)?;
            let within = Duration::from_secs(journal.within).max(KNOWN);
            let seen = up::wait(place, folder, generation, within);
            let seen = seen.map_err(|new| UpgradeError::Lost {
                name: name.clone(),
                old: "it was interrupted".to_owned(),
                new,
            })?;
            output::say(&format!(
                "The guest {name} runs the image {} again.",
                journal.from.version
            ));
            launch::told(
                folder,
                &Wanted {
                    generation,
                    run: true,
                    plan: journal.from,
                },
                &seen,
            );
            Ok(())
        }
    }
}
