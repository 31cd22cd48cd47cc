//! The deployment under load: which process is started how, and what is done to
//! it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nix::sys::signal::Signal;
use zeroize::Zeroizing;
use zipnet_attest::simulation::Publisher;
use zipnet_node::settings::{PeerId, TransportSeed};
use zipnet_protocol::{CommitteeSecret, InstanceName, SigningSecret};

use super::{
    link::{Link, LinkError, Weather},
    observe::Observations,
    plan::{Kind, Member},
};
use crate::{
    attestation::Simulated,
    clock::Clock,
    cluster::Settings,
    process::{Process, ProcessError, binary, clean},
    server::transport_secret,
};

/// The UDP port of everybody, and the first one of a process of many nodes.
const PORT: u16 = 4400;
/// The port of the source of collateral.
const COLLATERAL: u16 = 8081;
/// Nodes of one process of clients. Universes of many are expensive in mosaik.
pub const NODES: usize = 4;
/// Processes of clients.
const LOADS: usize = 2;
/// Size of the disk that holds a process's state.
const DISK: &str = "size=1m";

/// The deployment could not be made, or not be harmed.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// No network.
    #[error("There is no network for the members")]
    Link(#[from] LinkError),
    /// A process did not start.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Something else about a file, a disk or a clock.
    #[error("{what} of {member}: could not be done")]
    Harm {
        /// What.
        what: &'static str,
        /// Of whom.
        member: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Whose something is, in a message.
struct Whom(String);

impl From<Member> for Whom {
    fn from(member: Member) -> Self {
        Self(member.to_string())
    }
}

impl From<&str> for Whom {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

fn harm(what: &'static str, member: impl Into<Whom>) -> impl FnOnce(io::Error) -> DeploymentError {
    let Whom(member) = member.into();
    move |source| DeploymentError::Harm {
        what,
        member,
        source,
    }
}

/// A small disk that is taken away when this is dropped.
#[derive(Debug)]
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", DISK, "tmpfs"]);
        let output = command.arg(folder).output()?;
        if !output.status.success() {
            return Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        Ok(Self(folder.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Leaves no byte of it.
    fn fill(&self) -> io::Result<()> {
        let ballast = fs::File::create(self.ballast())?;
        let mut size = 4096;
        // It ends with ENOSPC, and what was written until then stays.
        while io::Write::write_all(&mut &ballast, &vec![0; size]).is_ok() {
            size = size.min(1 << 20);
        }
        size = 1;
        while io::Write::write_all(&mut &ballast, &vec![0; size]).is_ok() {}
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// All processes. Fields are in the order in which they are dropped.
#[derive(Debug)]
pub struct Deployment {
    running: BTreeMap<Member, Process>,
    clocks: BTreeMap<Member, Clock>,
    witness: Option<Process>,
    source: Option<Process>,
    disks: BTreeMap<Member, Disk>,
    link: Link,
    settings: Settings,
    simulated: Simulated,
    /// Clients of one node.
    each: usize,
    serial: u64,
    lives: BTreeMap<Member, usize>,
    folder: PathBuf,
}

impl Deployment {
    /// Makes the network and the disks for so many clients; nobody runs yet. Logs and
    /// settings go to `folder`.
    ///
    /// # Errors
    /// [`DeploymentError`].
    pub fn new(folder: &Path, seed: u64, clients: usize) -> Result<Self, DeploymentError> {
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).map_err(harm("the folder for logs", "all"))?;
        let simulated = Simulated::new(&folder.join("attestation"))
            .map_err(harm("the simulated Intel", "all"))?;
        let link = Link::new(Member::ALL.len(), seed)?;
        let mut disks = BTreeMap::new();
        for member in Member::ALL {
            let state = folder.join(format!("state-{member}"));
            let disk = Disk::mount(&state).map_err(harm("the disk", member))?;
            disks.insert(member, disk);
        }
        let settings = Settings {
            period: "3s".into(),
            deadline: "6s".into(),
            fold_deadline: "2s".into(),
            min_participants: 2,
            instance: "zipnet.soak.test".into(),
            ..Settings::default()
        };
        Ok(Self {
            running: BTreeMap::new(),
            clocks: BTreeMap::new(),
            witness: None,
            source: None,
            disks,
            link,
            settings,
            simulated,
            each: clients / (LOADS * NODES),
            serial: 1,
            lives: BTreeMap::new(),
            folder: folder.to_owned(),
        })
    }

    /// How many clients there are: as many on each node.
    #[must_use]
    pub const fn clients(&self) -> usize {
        LOADS * NODES * self.each
    }

    /// The network.
    #[must_use]
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Starts everybody.
    ///
    /// # Errors
    /// [`DeploymentError`].
    pub fn start(&mut self, seen: &mut Observations) -> Result<(), DeploymentError> {
        self.start_source()?;
        for member in Member::ALL {
            self.start_member(member, seen)?;
        }
        let mut command = self.client(Command::new(binary("zipnet-client")?), None);
        command.env("ZIPNET_SECRET", "soak witness");
        let witness = Process::start("witness", command, Some(&self.log("witness", 1)))?;
        seen.listen("witness", 1, witness.lines().clone(), witness.pid());
        self.witness = Some(witness);
        Ok(())
    }

    fn start_source(&mut self) -> Result<(), DeploymentError> {
        let mut command = Command::new(binary("zipnet-soak")?);
        clean(&mut command);
        command
            .args(["collateral", &self.source_address().to_string()])
            .envs(self.simulated.variables());
        self.source = Some(Process::start("source", command, None)?);
        Ok(())
    }

    fn source_address(&self) -> SocketAddr {
        SocketAddr::from((self.link.address(None), COLLATERAL))
    }

    fn log(&self, name: &str, life: usize) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.{life}.log"))
    }

    /// Starts a member with the identity that it always has.
    fn start_member(
        &mut self,
        member: Member,
        seen: &mut Observations,
    ) -> Result<(), DeploymentError> {
        let life = self.lives.get(&member).map_or(1, |life| life + 1);
        self.lives.insert(member, life);
        let command = match member {
            Member::Server(index) => self.server(member, index)?,
            Member::Aggregator(index) => self.aggregator(member, index)?,
            Member::Load(_) => self.load(member, life)?,
            Member::Reader => {
                let program = binary("zipnet-client")?;
                let command = self.link.command(member.spoke(), &program);
                let mut command = self.client(command, Some(member));
                command.env("ZIPNET_SECRET", "soak reader");
                command
            }
        };
        let name = member.to_string();
        let process = Process::start(&name, command, Some(&self.log(&name, life)))?;
        seen.listen(&name, life, process.lines().clone(), process.pid());
        self.clocks.remove(&member);
        self.running.insert(member, process);
        Ok(())
    }

    /// What everybody is told.
    fn tell(&self, command: &mut Command, member: Option<Member>) {
        clean(command);
        let address = SocketAddr::from((self.link.address(member.map(Member::spoke)), PORT));
        let servers = (0..3).map(|index| {
            let seed = TransportSeed::from_text(&transport_secret(index));
            let key = SigningSecret::from_seed(seed.as_bytes()).peer_key();
            let address = self.link.address(Some(Member::Server(index).spoke()));
            // A key that we have made is one.
            let peer = PeerId::from_bytes(key.as_bytes());
            peer.map_or_else(|_| String::new(), |peer| format!("{peer}@{address}:{PORT}"))
        });
        command
            .env("ZIPNET_INSTANCE", &self.settings.instance)
            .env(
                "ZIPNET_UNIVERSE",
                format!("zipnet soak {}", std::process::id()),
            )
            .env("ZIPNET_RELAY", "embedded")
            .env("ZIPNET_BOOTSTRAP", servers.collect::<Vec<_>>().join(","))
            .env("ZIPNET_BIND", address.to_string())
            .env("ZIPNET_COMMITTEE_SIZE", "3")
            .env(
                "ZIPNET_MIN_PARTICIPANTS",
                self.settings.min_participants.to_string(),
            )
            .envs(self.simulated.variables());
        if let Some(disk) = member.and_then(|member| self.disks.get(&member)) {
            command.env("ZIPNET_STATE", &disk.0);
        }
        if let Some(filter) = std::env::var_os("ZIPNET_TEST_LOG_FILTER") {
            command.env("RUST_LOG", filter);
        }
    }

    /// The committee's key: everybody but the servers pins it.
    fn pin(&self, command: &mut Command) {
        let secret = CommitteeSecret::new(Zeroizing::new(self.settings.secret.clone().into()));
        if let Ok(name) = self.settings.instance.parse::<InstanceName>() {
            let key = secret.committee_key(&name).public();
            command.env("ZIPNET_COMMITTEE", hex::encode(key.as_bytes()));
        }
    }

    fn collateral(&self, command: &mut Command) {
        command
            .env(
                "ZIPNET_COLLATERAL",
                format!("http://{}", self.source_address()),
            )
            .env("ZIPNET_COLLATERAL_REFRESH", "2s");
    }

    fn server(&self, member: Member, index: usize) -> Result<Command, ProcessError> {
        let mut command = self.link.command(member.spoke(), &binary("zipnet-server")?);
        self.tell(&mut command, Some(member));
        self.collateral(&mut command);
        command
            .env("ZIPNET_COMMITTEE_SECRET", &self.settings.secret)
            .env("ZIPNET_SECRET", transport_secret(index))
            .env("ZIPNET_ROUND_PERIOD", &self.settings.period)
            .env("ZIPNET_ROUND_DEADLINE", &self.settings.deadline)
            // Clients of a process that was killed stay for 16 rounds.
            .env("ZIPNET_CLIENTS_PER_PEER", (8 * self.each).to_string())
            // So that the ring is full, and memory flat, within a short run.
            .env("ZIPNET_RETAIN_ROUNDS", "24");
        Ok(command)
    }

    fn aggregator(&self, member: Member, index: usize) -> Result<Command, ProcessError> {
        let mut command = self
            .link
            .command(member.spoke(), &binary("zipnet-aggregator")?);
        self.tell(&mut command, Some(member));
        self.pin(&mut command);
        self.collateral(&mut command);
        let secret = format!("soak aggregator {index}");
        command
            .env("ZIPNET_ADMISSION", self.settings.admission(&secret)?)
            .env("ZIPNET_SECRET", secret)
            .env("ZIPNET_FOLD_DEADLINE", &self.settings.fold_deadline);
        Ok(command)
    }

    fn load(&self, member: Member, life: usize) -> Result<Command, ProcessError> {
        let mut command = self.link.command(member.spoke(), &binary("zipnet-soak")?);
        command
            .arg("load")
            .args(["--name", &format!("{member}.{life}")])
            .args(["--identity", &member.to_string()])
            .args(["--nodes", &NODES.to_string()])
            .args(["--clients", &self.each.to_string()]);
        self.tell(&mut command, Some(member));
        self.pin(&mut command);
        Ok(command)
    }

    fn client(&self, mut command: Command, member: Option<Member>) -> Command {
        command.args(["--json", "watch"]);
        self.tell(&mut command, member);
        self.pin(&mut command);
        command
    }

    /// Begins a fault.
    ///
    /// # Errors
    /// [`DeploymentError`].
    pub fn begin(&mut self, kind: &Kind) -> Result<(), DeploymentError> {
        match *kind {
            Kind::Kill(member) => {
                if let Some(process) = self.running.get_mut(&member) {
                    process.kill();
                }
            }
            Kind::Stop(member) => self.signal(member, Signal::SIGSTOP),
            Kind::Cut(member) => self.cut(member, true),
            Kind::Part(one, other) => self.link.cut(one.spoke(), other.spoke(), true),
            Kind::Clock(member, by) => self.set_clock(member, by)?,
            Kind::Full(member) => {
                if let Some(disk) = self.disks.get(&member) {
                    disk.fill().map_err(harm("filling the disk", member))?;
                }
                self.publish()?;
            }
            Kind::Collateral => {
                if let Some(source) = &mut self.source {
                    source.kill();
                }
            }
            Kind::Weather(weather) => self.link.weather(weather),
        }
        Ok(())
    }

    /// Ends a fault.
    ///
    /// # Errors
    /// [`DeploymentError`].
    pub fn end(&mut self, kind: &Kind, seen: &mut Observations) -> Result<(), DeploymentError> {
        match *kind {
            Kind::Kill(member) => self.start_member(member, seen)?,
            Kind::Stop(member) => self.signal(member, Signal::SIGCONT),
            Kind::Cut(member) => self.cut(member, false),
            Kind::Part(one, other) => self.link.cut(one.spoke(), other.spoke(), false),
            Kind::Clock(member, _) => self.set_clock(member, 0)?,
            Kind::Full(member) => {
                if let Some(disk) = self.disks.get(&member) {
                    fs::remove_file(disk.ballast()).map_err(harm("emptying the disk", member))?;
                }
            }
            Kind::Collateral => self.start_source()?,
            Kind::Weather(_) => self.link.weather(Weather::default()),
        }
        Ok(())
    }

    /// A new policy that says the same: everybody keeps it, and makes or looks
    /// into evidence anew.
    fn publish(&mut self) -> Result<(), DeploymentError> {
        self.serial += 1;
        let policy = self.simulated.policy(self.serial);
        policy
            .and_then(|policy| self.simulated.publish(&policy))
            .map_err(harm("a new policy", "all"))
    }

    fn signal(&self, member: Member, signal: Signal) {
        if let Some(process) = self.running.get(&member) {
            process.signal(signal);
        }
    }

    fn cut(&self, member: Member, off: bool) {
        // The hub has the last place.
        for other in 0..=Member::ALL.len() {
            if other != member.spoke() {
                self.link.cut(member.spoke(), other, off);
            }
        }
    }

    fn set_clock(&mut self, member: Member, by: i64) -> Result<(), DeploymentError> {
        let Some(process) = self.running.get(&member) else {
            return Ok(());
        };
        let clock = match self.clocks.entry(member) {
            Entry::Occupied(taken) => taken.into_mut(),
            Entry::Vacant(free) => {
                let taken = Clock::take(process.pid()).map_err(harm("taking the clock", member))?;
                free.insert(taken)
            }
        };
        clock.set(by).map_err(harm("setting the clock", member))?;
        Ok(())
    }

    /// Members that have ended by themselves since the last time; they are
    /// started again, as a supervisor would.
    ///
    /// # Errors
    /// [`DeploymentError`].
    pub fn fallen(
        &mut self,
        down: &[Member],
        seen: &mut Observations,
    ) -> Result<Vec<String>, DeploymentError> {
        let mut said = Vec::new();
        for member in Member::ALL {
            if down.contains(&member) {
                continue;
            }
            let ended = self.running.get_mut(&member).and_then(Process::ended);
            if let Some(status) = ended {
                let life = self.lives.get(&member).copied().unwrap_or_default();
                said.push(format!("{member} (life {life}) ended by itself: {status}"));
                self.start_member(member, seen)?;
            }
        }
        Ok(said)
    }

    /// Has the clients say nothing new; they end once the fate of all that they
    /// have said is known.
    pub fn hush(&mut self) {
        for member in [Member::Load(0), Member::Load(1)] {
            if let Some(process) = self.running.get_mut(&member) {
                process.tell("hush");
            }
        }
    }

    /// Ends everybody as an operator would.
    pub fn finish(&mut self) {
        for process in self.running.values() {
            process.signal(Signal::SIGTERM);
        }
        for process in self.running.values_mut().chain(self.witness.as_mut()) {
            let _ = process.terminate(Duration::from_secs(8));
        }
    }
}

/// What the source of collateral serves: the world of a simulation's settings.
///
/// # Errors
/// If there is no such world.
pub fn publisher(seed: &str, issued: u64) -> io::Result<Publisher> {
    Publisher::new(seed.as_bytes(), issued).map_err(io::Error::other)
}
