//! `launch`: starts a guest, or takes up what was left of one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use zipnet_attest::provision::{Config, ConfigError, MAX_CONFIG};
use zipnet_measurements::Digest256;

use super::{Busy, alone};
use crate::{
    files::{self, FileError, Lock},
    image::{Image, ImageError, Kept},
    next, notify, output,
    place::{Folder, Name, Place, PlaceError},
    plan::{Accel, Forward, Plan, Wanted},
    quotes::Quotes,
    seen::{Phase, Seen},
    shape,
    supervise::{self, Event, Signals, SuperviseError, supervise},
    up::{self, UpError},
    verbs::upgrade::{self, UpgradeError},
};

/// Arguments of `launch`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The guest's name on this host
    #[arg(value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    image: ImageArguments,
    /// The guest's settings; the host and everybody may read them. Without it, the guest
    /// is launched as it was the last time
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Processors and memory: one of the manifest's shapes
    #[arg(long, value_name = "ID", default_value = "2c2G")]
    shape: String,
    /// Take a shape that the manifest does not predict. No policy accepts such a guest:
    /// only without TDX, to try things out
    #[arg(long, requires = "config")]
    any_shape: bool,
    /// What runs the guest; anything but tdx protects nothing
    #[arg(long, value_name = "KIND", default_value = "tdx")]
    accel: Accel,
    /// A port of this host that leads to one of the guest, repeated:
    /// `udp|tcp:[IP:]PORT:GUESTPORT`
    #[arg(long, value_name = "RULE", requires = "config", conflicts_with = "tap")]
    forward: Vec<Forward>,
    /// A tap interface instead of the emulated network
    #[arg(long, value_name = "INTERFACE", requires = "config")]
    tap: Option<String>,
    /// Hardware address of the guest's interface
    #[arg(long, value_name = "ADDRESS", requires = "config")]
    mac: Option<String>,
    /// Where QEMU reaches the quote generation service: `unix:PATH` or `vsock:CID:PORT`
    #[arg(long, value_name = "WHERE", default_value = "vsock:2:4050")]
    quotes: Quotes,
    /// QEMU
    #[arg(
        long,
        value_name = "PROGRAM",
        env = "QEMU",
        default_value = "qemu-system-x86_64"
    )]
    qemu: PathBuf,
    /// Stay here and show the console, for a service manager; SIGTERM presses the guest's
    /// power button
    #[arg(long)]
    foreground: bool,
    /// How long the guest may take until it waits for its secrets or serves
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    within: Duration,
}

/// Which image.
#[derive(Debug, Args)]
pub struct ImageArguments {
    /// The image: the folder that `make image` makes, or the zipnet-run-qemu.sh in it
    #[arg(long, value_name = "DIR|FILE", env = "ZIPNET_IMAGE")]
    pub image: Option<PathBuf>,
    /// The release manifest to compare it with [default: manifest.json beside it]
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
}

/// A guest was not launched.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Nothing to launch it with.
    #[error("The guest {0} was never launched here: --config is missing, a file with its settings")]
    NoConfig(Name),
    /// No image.
    #[error(
        "--image is missing: the folder that `make image` makes; ZIPNET_IMAGE can name it, too"
    )]
    NoImage,
    /// A shape of one's own, in a TD.
    #[error(
        "--any-shape goes with --accel kvm, tcg or auto: no policy accepts a TD of a shape that the manifest does not predict"
    )]
    AnyShape,
    /// A word of an argument.
    #[error("{0} {1:?} is not what the launcher takes; {2} would be right")]
    Word(&'static str, String, &'static str),
    /// The settings.
    #[error("{path}, named by --config, is no configuration of a guest", path = .0.display())]
    Config(PathBuf, #[source] ConfigError),
    /// The settings' file.
    #[error("{path}, named by --config, is not to be read", path = .0.display())]
    ConfigFile(PathBuf, #[source] FileError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// It runs.
    #[error(
        "The guest {0} runs already; `zipnet-host status {0}` shows it, and `zipnet-host upgrade {0}` gives it another image"
    )]
    Runs(Name),
    /// It runs another image, and nobody watches it.
    #[error(
        "The guest {0} runs, with another image or other settings than these; `zipnet-host stop {0}` ends it, `zipnet-host launch {0}` without --config takes it up"
    )]
    RunsOther(Name),
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
    /// An upgrade that was interrupted.
    #[error("The upgrade that was interrupted could not be brought to an end")]
    Upgrade(#[source] Box<UpgradeError>),
    /// It did not come up.
    #[error("The guest {0} did not come up; `zipnet-host console {0}` shows what it said")]
    Up(Name, #[source] UpError),
}

impl LaunchError {
    /// Whether an argument is wrong.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoConfig(_)
                | Self::NoImage
                | Self::AnyShape
                | Self::Word(..)
                | Self::Config(..)
                | Self::ConfigFile(..)
        )
    }
}

/// Launches a guest.
///
/// # Errors
/// [`LaunchError`].
pub fn run(place: &Place, arguments: &Arguments) -> Result<(), LaunchError> {
    let folder = place.guest(&arguments.name);
    let fresh = arguments
        .config
        .as_ref()
        .map(|config| plan(arguments, config))
        .transpose()?;
    if fresh.is_none() && !folder.wanted().exists() {
        return Err(LaunchError::NoConfig(arguments.name.clone()));
    }
    files::private_folder(folder.path())?;
    let alone = alone(&folder, "launch")??;
    if folder.read_journal()?.is_some() {
        if !arguments.foreground {
            // It is about what is there, not about what is asked for now.
            return upgrade::settle(place, &folder, &alone)
                .map_err(|error| LaunchError::Upgrade(Box::new(error)));
        }
        // A service manager waits for this process, whatever runs.
        upgrade::forget(&folder, &alone)?;
    }
    let right = supervise::lock(&folder).map_err(|error| match error {
        SuperviseError::Watched(name, _) => LaunchError::Runs(name),
        other => other.into(),
    })?;
    let wanted = match folder.alive()? {
        Some(_) => take_up(&folder, fresh.as_ref(), arguments.foreground)?,
        None => want(place, &folder, fresh)?,
    };
    if arguments.foreground {
        drop(alone);
        return foreground(place, &folder, &right);
    }
    drop(right);
    up::watched(place, &folder)?;
    // From here on others may stop it.
    drop(alone);
    let seen = up::wait(place, &folder, wanted.generation, arguments.within)
        .map_err(|error| LaunchError::Up(arguments.name.clone(), error))?;
    told(&folder, &wanted, &seen);
    Ok(())
}

/// A plan, and what it is made of.
struct Fresh {
    plan: Plan,
    image: Image,
    config: Vec<u8>,
}

fn plan(arguments: &Arguments, config: &Path) -> Result<Fresh, LaunchError> {
    let path = arguments.image.image.as_ref().ok_or(LaunchError::NoImage)?;
    let (config_file, bytes, digest) = read_config(config)?;
    check_words(arguments.tap.as_ref(), arguments.mac.as_ref())?;
    let image = Image::open(path, arguments.image.manifest.as_deref())?;
    let shape = match (arguments.any_shape, arguments.accel) {
        (true, Accel::Tdx) => return Err(LaunchError::AnyShape),
        (true, _) => shape::any(&arguments.shape)?,
        (false, _) => image.shape(&arguments.shape)?,
    };
    let plan = Plan {
        // Known when it is kept.
        image: Digest256::ZERO,
        version: image.manifest.version.clone(),
        shape: shape.id(),
        cpus: shape.cpus,
        memory: shape.memory,
        accel: arguments.accel,
        config: digest,
        config_file,
        forward: arguments.forward.clone(),
        tap: arguments.tap.clone(),
        mac: arguments.mac.clone(),
        quotes: arguments.quotes.to_string(),
        qemu: absolute(&arguments.qemu),
    };
    Ok(Fresh {
        plan,
        image,
        config: bytes,
    })
}

/// A program by its path, if it was named by one: it is started from elsewhere.
fn absolute(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        std::path::absolute(program).unwrap_or_else(|_| program.to_owned())
    } else {
        program.to_owned()
    }
}

/// Reads settings: where they are, what they are, and their SHA-256.
///
/// # Errors
/// [`LaunchError`].
pub(super) fn read_config(path: &Path) -> Result<(PathBuf, Vec<u8>, Digest256), LaunchError> {
    let failed = |source| LaunchError::ConfigFile(path.to_owned(), source);
    let bytes = files::read(path, MAX_CONFIG as u64).map_err(failed)?;
    let config =
        Config::parse(&bytes).map_err(|source| LaunchError::Config(path.to_owned(), source))?;
    let digest = zipnet_measurements::Digest(config.digest());
    let whole = fs::canonicalize(path)
        .map_err(|source: io::Error| failed(FileError::Read(path.to_owned(), source)))?;
    Ok((whole, bytes, digest))
}

/// Refuses what the launcher would refuse.
///
/// # Errors
/// [`LaunchError::Word`].
pub(super) fn check_words(tap: Option<&String>, mac: Option<&String>) -> Result<(), LaunchError> {
    match (
        tap.filter(|tap| !is_interface(tap)),
        mac.filter(|mac| !is_mac(mac)),
    ) {
        (Some(tap), _) => Err(LaunchError::Word(
            "--tap",
            tap.clone(),
            "the name of an interface",
        )),
        (_, Some(mac)) => Err(LaunchError::Word(
            "--mac",
            mac.clone(),
            "an address such as 52:54:00:12:34:56",
        )),
        (None, None) => Ok(()),
    }
}

fn is_interface(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=15).contains(&text.len()) && text.bytes().all(known)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<_> = text.split(':').collect();
    let hex = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    parts.len() == 6 && parts.iter().all(hex)
}

/// A guest that runs although nobody watches it: it stays as it is.
fn take_up(
    folder: &Folder,
    fresh: Option<&Fresh>,
    foreground: bool,
) -> Result<Wanted, LaunchError> {
    let name = || folder.name.clone();
    let wanted = folder.read_wanted()?;
    let wanted = wanted.ok_or_else(|| LaunchError::RunsOther(name()))?;
    if let Some(fresh) = fresh {
        let image = fresh.image.check()?;
        let other = wanted.plan
            != Plan {
                image,
                ..fresh.plan.clone()
            };
        if other && !foreground {
            return Err(LaunchError::RunsOther(name()));
        }
        if other {
            // A service whose image was replaced on the disk does not end its guest by that.
            output::warn(
                "It runs with another image or other settings than these, which are for its next start.",
            );
        }
    }
    output::say(&format!(
        "The guest {} runs, and nobody watched it; it is taken up as it is.",
        folder.name
    ));
    let wanted = Wanted {
        run: true,
        ..wanted
    };
    files::write_state(&folder.wanted(), &wanted)?;
    Ok(wanted)
}

fn want(place: &Place, folder: &Folder, fresh: Option<Fresh>) -> Result<Wanted, LaunchError> {
    let before = folder.read_wanted()?;
    let generation = before
        .as_ref()
        .map_or(1, |wanted| wanted.generation.saturating_add(1));
    let (plan, kept) = match (fresh, before) {
        (Some(fresh), _) => {
            let kept = fresh.image.keep(place)?;
            files::write(&folder.config(fresh.plan.config), &fresh.config)?;
            (
                Plan {
                    image: kept.digest,
                    ..fresh.plan
                },
                Some(kept),
            )
        }
        (None, Some(wanted)) => (wanted.plan, None),
        (None, None) => return Err(LaunchError::NoConfig(folder.name.clone())),
    };
    let wanted = Wanted {
        generation,
        run: true,
        plan,
    };
    keep_image(place, folder, &wanted, kept.as_ref())?;
    Ok(wanted)
}

fn keep_image(
    place: &Place,
    folder: &Folder,
    wanted: &Wanted,
    kept: Option<&Kept>,
) -> Result<(), PlaceError> {
    forget_configs(folder, &[wanted.plan.config]);
    up::want(place, folder, wanted, kept)
}

/// Removes kept settings that nobody wants any more. One that stays does no harm.
pub(super) fn forget_configs(folder: &Folder, needed: &[Digest256]) {
    let needed: Vec<_> = needed.iter().map(|digest| folder.config(*digest)).collect();
    for entry in fs::read_dir(folder.path())
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let is_config = entry.file_name().to_string_lossy().starts_with("config-");
        if is_config && !needed.contains(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn foreground(place: &Place, folder: &Folder, right: &Lock) -> Result<(), LaunchError> {
    let signals = Signals::take()?;
    let watched = supervise(place, folder, right, &signals, |event| match event {
        Event::Line(line) => output::say(line),
        Event::Phase(wanted, seen) => {
            notify::status(seen.phase.words());
            if seen.phase.is_up() {
                notify::ready();
                told(folder, wanted, seen);
            }
        }
    });
    notify::stopping();
    Ok(watched?)
}

/// Says how the guest is, and what to do next.
pub(super) fn told(folder: &Folder, wanted: &Wanted, seen: &Seen) {
    let name = &folder.name;
    output::say(&format!("The guest {name} {}.", seen.phase.words()));
    if seen.phase == Phase::Waiting {
        output::say("Give it its secrets, from a machine that has them:");
        output::say(&format!("  {}", next::provisioning(folder, &wanted.plan)));
    }
}
