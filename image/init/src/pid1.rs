//! PID 1 from its first line to its last.

use std::{fs, io, io::Read as _, time::SystemTime};

use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use zipnet_attest::{provision::MAX_CONFIG, report};

use crate::{
    boot::{self, BootError},
    button::Buttons,
    clock::{self, ClockError},
    network::{self, Link, LinkError, Netlink, NetlinkError, NetworkError},
    paths::{CONFIG, FW_CFG},
    proc,
    rate::{Rate, RateError, Start},
    sandbox::{self, SandboxError},
    say,
    settings::{Address, Settings, SettingsError},
    supervisor::{self, SuperviseError, Supervisor},
};

/// The event log of a TD, as its ACPI table CCEL names it; most bytes of it, and how many
/// are shown in a line.
const EVENT_LOG: &str = "/sys/firmware/acpi/tables/data/CCEL";
const MAX_LOG: u64 = 256 << 10;
const LOG_LINE: usize = 256;
const MARGIN: usize = 64;

/// Less memory than a server with its committee needs, in bytes.
const MIN_MEMORY: u64 = 192 << 20;

/// The guest cannot run.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("This machine could not be set up")]
    Boot(#[from] BootError),
    #[error("Core dumps could not be forbidden")]
    Limits(#[from] SandboxError),
    #[error(
        "This guest has {} MiB of memory to itself, of which {} are the least; 512 MiB would be right, as by QEMU's -m 512",
        .0 >> 20, MIN_MEMORY >> 20
    )]
    Memory(u64),
    #[error("Nothing that this guest checks can be dated")]
    Clock(#[from] ClockError),
    #[error("Nothing that this guest checks can be dated")]
    Rate(#[from] RateError),
    #[error(
        "This guest has no configuration; QEMU's -fw_cfg name=opt/org.zipnet/config,file=FILE would be right"
    )]
    NoConfig(#[source] io::Error),
    #[error("The configuration could not be kept at {CONFIG}")]
    Keep(#[source] io::Error),
    #[error(transparent)]
    Settings(SettingsError),
    #[error("There is no network")]
    Link(#[from] LinkError),
    #[error("There is no network")]
    Kernel(#[from] NetlinkError),
    #[error("There is no network")]
    Network(#[from] NetworkError),
    #[error("Nothing can be supervised")]
    Supervise(#[from] SuperviseError),
}

/// Boots, runs, powers off. Does not come back.
pub fn run() {
    let reason = match boot() {
        Ok(supervisor) => supervisor.run(),
        Err(errors) => {
            for error in errors {
                say!("error: {}", report::chain(&error));
            }
            "this guest cannot run".to_owned()
        }
    };
    say!("init: powering off: {reason}");
    nix::unistd::sync();
    // Only without the right to could it fail; then the kernel panics.
    let _ = reboot(RebootMode::RB_POWER_OFF);
}

fn boot() -> Result<Supervisor, Vec<InitError>> {
    let rate = machine().map_err(|error| vec![error])?;
    let settings = settings()?;
    network(settings, rate).map_err(|error| vec![error])
}

fn machine() -> Result<Rate, InitError> {
    let start = Start::now();
    boot::mounts()?;
    banner();
    sandbox::no_core()?;
    if let Some(bytes) = proc::memory("MemTotal")
        && bytes < MIN_MEMORY
    {
        return Err(InitError::Memory(bytes));
    }
    boot::devices()?;
    boot::knobs()?;
    boot::folders()?;
    clock::check(SystemTime::now(), clock::built())?;
    let (rate, said) = start.watch()?;
    say!("clock: {said}");
    Ok(rate)
}

fn banner() {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let flavor = if cfg!(feature = "simulation") {
        "simulation: proves nothing"
    } else {
        "production"
    };
    say!(
        "zipnet-init {} ({flavor}) on Linux {}",
        env!("CARGO_PKG_VERSION"),
        kernel.trim()
    );
    say!("console: the host reads all of this");
}

fn settings() -> Result<Settings, Vec<InitError>> {
    let bytes = read_config().map_err(|error| vec![InitError::NoConfig(error)])?;
    let (settings, config) = Settings::parse(&bytes).map_err(|errors| {
        errors
            .into_iter()
            .map(InitError::Settings)
            .collect::<Vec<_>>()
    })?;
    fs::write(CONFIG, &bytes).map_err(|error| vec![InitError::Keep(error)])?;
    boot::hostname(&settings.hostname).map_err(|error| vec![error.into()])?;
    say!(
        "config: instance {}, host {}, SHA-256 {}",
        settings.instance.as_str(),
        settings.hostname,
        hex::encode(config.digest())
    );
    if settings.event_log {
        event_log();
    }
    Ok(settings)
}

/// Shows what firmware and kernel have logged of their measurements. It is public: the
/// registers that it gives are in every quote.
fn event_log() {
    let mut bytes = Vec::new();
    let read =
        fs::File::open(EVENT_LOG).and_then(|file| file.take(MAX_LOG).read_to_end(&mut bytes));
    if let Err(error) = read {
        say!("event log: there is none ({error})");
    }
    // The area is padded; the last event may end with such bytes, too.
    let used = bytes.iter().rposition(|byte| ![0, 0xff].contains(byte));
    bytes.truncate(used.map_or(0, |last| last.saturating_add(MARGIN)));
    for part in bytes.chunks(LOG_LINE) {
        say!("event log: {}", hex::encode(part));
    }
}

/// The file, or so much of it that it is known to be too long.
fn read_config() -> io::Result<Vec<u8>> {
    let most = u64::try_from(MAX_CONFIG).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    fs::File::open(FW_CFG)?
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn network(settings: Settings, rate: Rate) -> Result<Supervisor, InitError> {
    let signals = supervisor::signals()?;
    // Ctrl-Alt-Del of the host is a signal too.
    let _ = set_cad_enabled(false);
    let buttons = Buttons::open();
    if buttons.is_empty() {
        say!("init: this machine has no power button; the host can end it only hard");
    }
    let mut kernel = Netlink::open()?;
    kernel.up(Link::LOOPBACK)?;
    let link = Link::first()?;
    kernel.up(link.index)?;
    match settings.address {
        Address::Static { address, gateway } => {
            network::configure(&link, address, gateway, &settings.dns)?;
            let what = network::describe(address, gateway, &settings.dns);
            say!("network: {} has {what} by configuration", link.name);
        }
        Address::Dhcp => say!("network: asking for an address on {}", link.name),
    }
    Ok(Supervisor::new(
        settings, signals, buttons, rate, &link.name,
    ))
}
