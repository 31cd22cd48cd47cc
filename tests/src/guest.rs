//! Servers in guests: the local image under emulation, started by its launcher
//! and provisioned by `zipnet-attest`.

use std::{
    env, fmt,
    fmt::Write as _,
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use zipnet_attest::{
    SecretText,
    provision::{GiverKey, PROVISION_KEY},
};
use zipnet_measurements::{Manifest, release::ReleaseError};

use crate::{
    cluster::Cluster,
    process::{Process, ProcessError, binary, clean},
    server::{Server, free_port, free_udp_port, transport_secret},
};

/// How long a guest may take to boot, under emulation and beside others.
pub const BOOT: Duration = Duration::from_mins(4);
/// How long it may take to power off.
pub const POWER_OFF: Duration = Duration::from_mins(2);
/// What a guest says when it waits for its secrets.
pub const WAITS: &str = "provisioning: waiting at";

/// Port of a guest's door, UDP.
const PORT: u16 = 4400;
/// Port for the other servers of the committee, UDP.
const MEMBER_PORT: u16 = 4401;
/// Port on which a guest waits for its secrets, TCP.
const PROVISION_PORT: u16 = 7650;
/// Port on which a provisioned guest gives the committee secret, TCP.
const GIVE_PORT: u16 = 7651;
/// Port of the metrics, TCP.
const METRICS_PORT: u16 = 9100;
/// The host, as a guest behind QEMU's emulated network sees it.
const HOST: &str = "10.0.2.2";

/// An image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file is not there.
    #[error("Could not read {path}; `make image FLAVOR={flavor}` makes the image")]
    Read {
        /// Which.
        path: PathBuf,
        /// Of which flavor.
        flavor: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The manifest.
    #[error("{path} is no release manifest")]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ReleaseError>,
    },
    /// QEMU.
    #[error("{0} does not exist; `scripts/machine.sh` unpacks it")]
    Qemu(PathBuf),
}

/// A built image and the QEMU to run it.
#[derive(Debug, Clone)]
pub struct Image {
    /// The folder of its artifacts.
    pub folder: PathBuf,
    /// What it measures.
    pub manifest: Manifest,
    machine: PathBuf,
}

impl Image {
    /// The image of a flavor that `make image` built last.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn of(flavor: &'static str) -> Result<Self, ImageError> {
        let folder = target().join("image").join(flavor);
        let path = folder.join("manifest.json");
        let bytes = fs::read(&path).map_err(|source| ImageError::Read {
            path: path.clone(),
            flavor,
            source,
        })?;
        let manifest = Manifest::from_json(&bytes).map_err(|source| ImageError::Manifest {
            path,
            source: Box::new(source),
        })?;
        let image = Self {
            folder,
            manifest,
            machine: machine(),
        };
        let qemu = image.program("qemu-system-x86_64");
        if qemu.exists() {
            Ok(image)
        } else {
            Err(ImageError::Qemu(qemu))
        }
    }

    /// The launcher, with QEMU and a folder for its files. Guests are emulated,
    /// unless `ZIPNET_ACCEL` says otherwise.
    #[must_use]
    pub fn launcher(&self, folder: &Path) -> Command {
        let mut command = Command::new(self.folder.join("zipnet-run-qemu.sh"));
        command
            .env("QEMU", self.program("qemu-system-x86_64"))
            .env("TMPDIR", folder);
        command.arg("--accel");
        command.arg(env::var_os("ZIPNET_ACCEL").unwrap_or_else(|| "tcg".into()));
        command
    }

    /// A program that `scripts/machine.sh` made ready.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.machine.join("bin").join(name)
    }

    /// Debian's generic firmware, which drives a TPM, and tells by its log what it
    /// measures.
    #[must_use]
    pub fn telling_firmware(&self) -> PathBuf {
        self.machine.join("OVMF.fd")
    }

    /// MRTD, RTMR0, RTMR1 and RTMR2 of a shape, as `ZIPNET_SIMULATION_TD` has
    /// them; `None` if RTMR0 is not known.
    #[must_use]
    pub fn registers(&self, shape: &str) -> Option<String> {
        let manifest = &self.manifest;
        let shape = manifest.shapes.iter().find(|known| known.id == shape)?;
        let registers = [manifest.mrtd, shape.rtmr0?, manifest.rtmr1, manifest.rtmr2];
        Some(registers.map(|register| register.to_string()).join(","))
    }
}

/// Cargo's target directory: this program is in `TARGET/TRIPLE/PROFILE`, or below.
#[must_use]
pub fn target() -> PathBuf {
    let here = env::current_exe().unwrap_or_default();
    let profile = here
        .ancestors()
        .find(|folder| folder.ends_with("debug") || folder.ends_with("release"));
    profile
        .and_then(|profile| profile.ancestors().nth(2))
        .map_or_else(|| PathBuf::from("target"), Path::to_owned)
}

/// Kernel, firmware, QEMU and the rest that `scripts/machine.sh` unpacked.
#[must_use]
pub fn machine() -> PathBuf {
    env::var_os("ZIPNET_MACHINE").map_or_else(|| target().join("machine"), PathBuf::from)
}

/// Lines `KEY=VALUE`, as a guest reads them.
#[derive(Debug, Clone, Default)]
pub struct GuestConfig(Vec<(String, String)>);

impl GuestConfig {
    /// Sets a key, or replaces its value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.retain(|(known, _)| known != key);
        self.0.push((key.to_owned(), value.into()));
    }
}

impl fmt::Display for GuestConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(key, value)| writeln!(f, "{key}={value}"))
    }
}

/// A guest of a cluster. Dropping it ends its QEMU.
#[derive(Debug)]
pub struct Guest {
    /// Its launcher, which says what the console says.
    pub console: Process,
    /// `PEERID@ip:port` for this host's processes.
    pub hint: String,
    /// Where it waits for its secrets.
    pub provision: SocketAddr,
    /// Where it gives the committee secret.
    pub give: SocketAddr,
    /// Its configuration.
    pub config: PathBuf,
    metrics: SocketAddr,
    index: usize,
}

impl Guest {
    /// Waits until the guest has booted, and gives it its secrets.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn provision(&mut self, cluster: &Cluster) -> Result<(), ProcessError> {
        self.console.expect(WAITS, BOOT)?;
        provisioned(self.provisioning(cluster)?).map(drop)
    }

    /// Waits until the guest's server is up.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn serving(mut self) -> Result<Server, ProcessError> {
        let line = self.console.expect("bootstrap=", BOOT)?;
        // One whose identity was derived in the guest says here what it is.
        let (_, own) = line.split_once("bootstrap=").unwrap_or_default();
        let own = own.split('@').next().unwrap_or_default();
        let at = self.hint.split('@').nth(1).unwrap_or_default();
        Ok(Server {
            process: self.console,
            hint: format!("{own}@{at}"),
            metrics: self.metrics,
            index: self.index,
        })
    }

    /// The command that gives a guest of `cluster` its secrets.
    ///
    /// # Errors
    /// [`ProcessError`] if the secrets cannot be written.
    pub fn provisioning(&self, cluster: &Cluster) -> Result<Command, ProcessError> {
        cluster.provisioning(self.index, self.provision, &self.config)
    }
}

fn cannot_start(name: &str) -> impl FnOnce(std::io::Error) -> ProcessError {
    let name = name.to_owned();
    move |source| ProcessError::Start { name, source }
}

impl Cluster {
    /// The configuration of server `index` in a guest with an image; peers are
    /// reached by way of this host.
    #[must_use]
    pub fn guest_config(&self, image: &Image) -> GuestConfig {
        let settings = &self.settings;
        let mut config = GuestConfig::default();
        config.set("ZIPNET_INSTANCE", &settings.instance);
        config.set(PROVISION_KEY, self.provision_key());
        config.set("ZIPNET_UNIVERSE", self.universe());
        config.set("ZIPNET_RELAY", "embedded");
        config.set("ZIPNET_BIND", format!("0.0.0.0:{PORT}"));
        config.set("ZIPNET_MEMBER_BIND", format!("0.0.0.0:{MEMBER_PORT}"));
        config.set(
            "ZIPNET_BOOTSTRAP",
            self.bootstrap().replace("127.0.0.1", HOST),
        );
        config.set("ZIPNET_METRICS", format!("0.0.0.0:{METRICS_PORT}"));
        config.set("ZIPNET_ROUND_PERIOD", &settings.period);
        for (name, value) in &settings.variables {
            config.set(name, value);
        }
        config.set("ZIPNET_ROUND_DEADLINE", &settings.deadline);
        let min = settings.min_participants.to_string();
        config.set("ZIPNET_MIN_PARTICIPANTS", min);
        if let Some(size) = settings.committee_size {
            config.set("ZIPNET_COMMITTEE_SIZE", size.to_string());
        }
        if let Some(simulated) = &self.attestation {
            for (variable, value) in simulated.variables() {
                // It comes with the secrets.
                if variable != "ZIPNET_POLICY" {
                    config.set(variable, value);
                }
            }
            config.set("ZIPNET_PROVISION_LISTEN", format!("0.0.0.0:{GIVE_PORT}"));
            if let Some(registers) = image.registers(SHAPE) {
                config.set("ZIPNET_SIMULATION_TD", registers);
            }
        }
        for (variable, value) in &settings.variables {
            config.set(variable, value);
        }
        config
    }

    /// The key by which guests know whoever has this committee's secret.
    #[must_use]
    pub fn provision_key(&self) -> String {
        let settings = &self.settings;
        let giver = GiverKey::new(&SecretText::from(&*settings.secret), &settings.instance);
        hex::encode(giver.public())
    }

    /// The command that gives server `index`, in a guest that waits at an address, its
    /// secrets; they are written beside the guest's configuration.
    ///
    /// # Errors
    /// [`ProcessError`] if they cannot be.
    pub fn provisioning(
        &self,
        index: usize,
        guest: SocketAddr,
        config: &Path,
    ) -> Result<Command, ProcessError> {
        let mut secrets = String::new();
        let _ = writeln!(secrets, "ZIPNET_COMMITTEE_SECRET={}", self.settings.secret);
        let _ = writeln!(secrets, "ZIPNET_SECRET={}", transport_secret(index));
        let path = config.with_file_name("secrets");
        let _ = fs::remove_file(&path);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(secrets.as_bytes()))
            .map_err(cannot_start("the provisioning"))?;
        let mut command = Command::new(binary("zipnet-attest")?);
        clean(&mut command);
        command
            .args(["provision", &guest.to_string(), "--secrets"])
            .arg(path)
            .arg("--config")
            .arg(config);
        if let Some(simulated) = &self.attestation {
            command
                .args(["--key", &simulated.publisher().public_key()])
                .arg("--policy")
                .arg(simulated.policy_file())
                .arg("--root")
                .arg(simulated.root_file())
                .arg("--collateral")
                .arg(simulated.collateral_file())
                .arg("--state")
                .arg(config.with_file_name("giver"));
        }
        Ok(command)
    }

    /// Boots server `index` in a guest. It then waits for its secrets.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn boot(
        &mut self,
        image: &Image,
        index: usize,
        config: &GuestConfig,
    ) -> Result<Guest, ProcessError> {
        let name = format!("guest-{}", index + 1);
        let folder = self.logs().join(&name);
        let path = folder.join("config");
        let member = free_udp_port();
        let mut config = config.clone();
        // Where other guests reach it, by way of this host.
        config.set("ZIPNET_MEMBER_ADDRESS", format!("{HOST}:{}", member.port()));
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&path, config.to_string()))
            .map_err(cannot_start(&name))?;
        let server = free_udp_port();
        let [provision, give, metrics] = [(); 3].map(|()| free_port());
        let mut command = image.launcher(&folder);
        command.arg("--config").arg(&path);
        command.args(["--forward", &format!("udp:{server}:{PORT}")]);
        command.args(["--forward", &format!("udp:{member}:{MEMBER_PORT}")]);
        for (address, port) in [
            (provision, PROVISION_PORT),
            (give, GIVE_PORT),
            (metrics, METRICS_PORT),
        ] {
            command.args(["--forward", &format!("tcp:{address}:{port}")]);
        }
        let console = self.launch(&name, command)?;
        Ok(Guest {
            console,
            hint: format!("{}@{server}", peer(index)),
            provision,
            give,
            config: path,
            metrics,
            index,
        })
    }

    /// Has the servers show simulated evidence of an image, as its manifest
    /// predicts it.
    ///
    /// # Errors
    /// [`ProcessError::Start`] if the policy cannot be written.
    pub fn attested_as(self, image: &Image) -> Result<Self, ProcessError> {
        let cluster = self.attested()?;
        let registers = image.registers(SHAPE).unwrap_or_default();
        let published = cluster.attestation.as_ref().map_or(Ok(()), |simulated| {
            simulated.accept(&image.manifest.version, SHAPE, &registers)
        });
        published.map_err(cannot_start("the policy"))?;
        Ok(cluster)
    }

    /// Boots all servers in guests at once, provisions them and waits until they
    /// are up.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn populate_guests(
        &mut self,
        image: &Image,
        mut say: impl FnMut(&str),
    ) -> Result<(), ProcessError> {
        let servers = self.settings.servers;
        let mut guests: Vec<Guest> = Vec::new();
        for index in 0..servers {
            let mut config = self.guest_config(image);
            let hints: Vec<_> = guests.iter().map(|guest| guest.hint.clone()).collect();
            config.set(
                "ZIPNET_BOOTSTRAP",
                hints.join(",").replace("127.0.0.1", HOST),
            );
            guests.push(self.boot(image, index, &config)?);
        }
        say(&format!("  {servers} guests boot ..."));
        let started = Instant::now();
        let of = |guest: &Guest| format!("  guest {} of {servers}", guest.index + 1);
        let after = || format!("after {:.1} s", started.elapsed().as_secs_f64());
        let mut up = |guest: Guest| {
            let of = of(&guest);
            let server = guest.serving()?;
            say(&format!("{of} serves, {}: {}", after(), server.hint));
            Ok::<_, ProcessError>(server)
        };
        // The others meet the first one when they start, and elect nobody else.
        let mut others = guests.split_off(servers.min(1));
        for mut first in guests {
            first.provision(self)?;
            self.servers.push(up(first)?);
        }
        for guest in &mut others {
            guest.provision(self)?;
        }
        for guest in others {
            self.servers.push(up(guest)?);
        }
        Ok(())
    }
}

/// Runs `zipnet-attest provision` to a good end.
///
/// # Errors
/// [`ProcessError`] with what it said.
pub fn provisioned(command: Command) -> Result<Vec<String>, ProcessError> {
    let mut process = Process::start("the provisioning", command, None)?;
    process.close_stdin();
    let status = process.wait(BOOT)?;
    let lines = process.lines().since(0);
    if status.success() {
        return Ok(lines);
    }
    Err(ProcessError::Ended {
        name: "the provisioning".to_owned(),
        what: "that the guest has its secrets".to_owned(),
        status,
        last: lines.join("\n"),
    })
}

/// The shape that guests have unless told otherwise, by the manifest's name.
pub const SHAPE: &str = "1c1G";

/// The peer id of server `index`.
fn peer(index: usize) -> String {
    let seed = zipnet_node::settings::TransportSeed::from_text(&transport_secret(index));
    let key = zipnet_protocol::SigningSecret::from_seed(seed.as_bytes()).peer_key();
    key.to_string()
}
