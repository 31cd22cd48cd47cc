//! What this program is when it is not PID 1: a stage that gives up what it
//! does not need before it does its one thing.

use core::convert::Infallible;
use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
};

use caps::Capability;
use nix::{
    libc::{AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX},
    sys::signal::SigSet,
};
use zipnet_attest::{
    mode::Mode,
    provision::{AttemptError, Config, Guest, GuestError, Limits, ObtainError},
    report, tsm,
};

use crate::{
    network::{self, DhcpError},
    paths::{CONFIG, NETWORK, PROVISIONED, RUN, SERVER, STATE},
    sandbox::{Sandbox, SandboxError, Tcp},
    say,
    settings::Settings,
};

/// A stage's name on the command line of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Becomes the server.
    Launch,
    /// Waits for the secrets.
    Provision,
    /// Keeps an address.
    Dhcp,
}

/// A server may have a connection to each of many clients.
const SERVER_FILES: u64 = 65_536;
const FEW_FILES: u64 = 256;
/// What configfs makes belongs to root, whoever asks for it, and so do the secrets.
/// Landlock says which files these are.
const FILES_OF_ROOT: Capability = Capability::CAP_DAC_OVERRIDE;

/// A stage failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The sandbox.
    #[error("The sandbox of the stage `{0}` could not be entered")]
    Sandbox(&'static str, #[source] SandboxError),
    /// Signals.
    #[error("Signals could not be let through")]
    Signals(#[source] io::Error),
    /// The server.
    #[error("{SERVER} could not be executed")]
    Execute(#[source] io::Error),
    /// The file of the settings.
    #[error("{CONFIG} could not be read")]
    Read(#[source] io::Error),
    /// The settings.
    #[error("{CONFIG} is not what PID 1 accepted")]
    Settings,
    /// The settings of provisioning.
    #[error("Nobody can give secrets to a guest of this configuration")]
    Guest(#[source] GuestError),
    /// This machine.
    #[error("This machine gives no evidence")]
    Evidence(#[source] AttemptError),
    /// The door.
    #[error("Could not listen at {0}, as GUEST_PROVISION says")]
    Listen(SocketAddr, #[source] io::Error),
    /// No secrets.
    #[error("There are no secrets")]
    Obtain(#[source] ObtainError),
    /// DHCP.
    #[error("There is no address")]
    Dhcp(#[source] DhcpError),
}

impl StageError {
    /// Whether only another configuration helps.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Settings | Self::Guest(_))
    }
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Launch, Self::Provision, Self::Dhcp];

    /// Its argument.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Provision => "provision",
            Self::Dhcp => "dhcp",
        }
    }

    /// Runs the stage; `argument` is the link's name for [`Stage::Dhcp`].
    ///
    /// # Errors
    /// [`StageError`].
    pub fn run(self, argument: Option<&str>) -> Result<(), StageError> {
        // PID 1 takes its signals from a descriptor and blocks them; that is
        // inherited.
        SigSet::empty()
            .thread_set_mask()
            .map_err(|error| StageError::Signals(error.into()))?;
        // PID 1 has accepted it; nothing of the network is read before the sandbox.
        let (settings, config) = settings()?;
        let peers: Vec<_> = settings.peers.iter().map(SocketAddr::port).collect();
        let tcp = Tcp {
            listen: &[settings.provision.port()],
            connect: &peers,
        };
        let sandbox = self
            .sandbox(tcp)
            .enter()
            .map_err(|source| StageError::Sandbox(self.name(), source))?;
        say!("sandbox: {}: {sandbox}", self.name());
        match self {
            Self::Launch => match launch()? {},
            Self::Provision => provision(&settings, config),
            Self::Dhcp => match dhcp(argument.unwrap_or_default(), &settings.dns)? {},
        }
    }

    /// The user that it runs as.
    #[must_use]
    pub const fn user(self) -> u32 {
        match self {
            Self::Launch => 1001,
            Self::Provision => 1002,
            Self::Dhcp => 1003,
        }
    }

    const fn sandbox(self, provisioning: Tcp<'_>) -> Sandbox<'_> {
        match self {
            Self::Launch => Sandbox {
                user: self.user(),
                open_files: SERVER_FILES,
                capabilities: &[FILES_OF_ROOT],
                read: &["/etc", "/proc", "/sys", "/dev/random", "/dev/urandom", RUN],
                write: &[STATE, tsm::DEFAULT_ROOT, "/dev/null"],
                execute: Some(SERVER),
                // Relays and collateral are anywhere.
                tcp: None,
                sockets: &[AF_INET, AF_INET6, AF_UNIX, AF_NETLINK],
            },
            Self::Provision => Sandbox {
                user: self.user(),
                open_files: FEW_FILES,
                capabilities: &[FILES_OF_ROOT],
                read: &["/proc", "/sys", "/dev/random", "/dev/urandom"],
                write: &[RUN, tsm::DEFAULT_ROOT],
                execute: None,
                tcp: Some(provisioning),
                sockets: &[AF_INET, AF_INET6],
            },
            Self::Dhcp => Sandbox {
                user: self.user(),
                open_files: FEW_FILES,
                capabilities: &[
                    Capability::CAP_NET_ADMIN,
                    Capability::CAP_NET_BIND_SERVICE,
                    Capability::CAP_NET_RAW,
                ],
                read: &[
                    "/sys/class/net",
                    "/sys/devices",
                    "/dev/random",
                    "/dev/urandom",
                    CONFIG,
                ],
                write: &[NETWORK],
                execute: None,
                tcp: Some(Tcp {
                    listen: &[],
                    connect: &[],
                }),
                sockets: &[AF_INET, AF_PACKET, AF_NETLINK],
            },
        }
    }
}

/// The rest of this process's life is the server's.
fn launch() -> Result<Infallible, StageError> {
    Err(StageError::Execute(Command::new(SERVER).exec()))
}

fn settings() -> Result<(Settings, Config), StageError> {
    let bytes = std::fs::read(CONFIG).map_err(StageError::Read)?;
    Settings::parse(&bytes).map_err(|_| StageError::Settings)
}

fn dhcp(link: &str, dns: &[IpAddr]) -> Result<Infallible, StageError> {
    network::run_dhcp(link, dns).map_err(StageError::Dhcp)
}

fn provision(settings: &Settings, config: Config) -> Result<(), StageError> {
    let guest = Guest::new(config, Path::new(tsm::DEFAULT_ROOT)).map_err(StageError::Guest)?;
    let registers = guest.registers().map_err(StageError::Evidence)?;
    say!(
        "attestation: {}",
        match settings.attestation {
            // Quotes of another provider were refused.
            Mode::Tdx => "configfs-tsm (provider tdx_guest)",
            Mode::Simulated => "simulated: it proves nothing",
            Mode::None => "none",
        }
    );
    say!("measurement: MRTD  {}", hex::encode(registers.mrtd));
    for (index, rtmr) in registers.rtmr.iter().enumerate() {
        say!("measurement: RTMR{index} {}", hex::encode(rtmr));
    }
    let door = settings.provision;
    let listener = TcpListener::bind(door).map_err(|source| StageError::Listen(door, source))?;
    let mut limits = Limits::default();
    if let Some(within) = settings.provision_timeout {
        limits.within = within;
    }
    say!(
        "provisioning: waiting at {door} for secrets, for {} s at most{}",
        limits.within.as_secs(),
        peers(settings)
    );
    guest
        .obtain(
            Some(&listener),
            &settings.peers,
            &limits,
            |provisions| {
                // First: the folder with the secrets is the last to be there.
                provisions.store_time(Path::new(STATE))?;
                Ok(provisions.store(Path::new(PROVISIONED))?)
            },
            crate::console::say,
        )
        .map_err(StageError::Obtain)
}

fn peers(settings: &Settings) -> String {
    let peers: Vec<_> = settings.peers.iter().map(ToString::to_string).collect();
    if peers.is_empty() {
        return String::new();
    }
    format!("; asking {}", peers.join(" "))
}

/// What a stage's end means to PID 1: 0 done, 2 a setting is wrong, 1 anything
/// else. The error is said here.
#[must_use]
pub fn exit_code(outcome: &Result<(), StageError>) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            say!("error: {}", report::chain(error));
            if error.is_usage() { 2 } else { 1 }
        }
    }
}
