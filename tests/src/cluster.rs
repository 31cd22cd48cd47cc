//! A committee with its aggregator and clients, as separate processes on
//! loopback or in network namespaces.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;

pub use crate::settings::Settings;
use crate::{
    attestation::Simulated,
    clock::Clock,
    netns::Namespaces,
    process::{Failed, Process, ProcessError, TestResult, binary, clean},
    server::{Server, free_port, transport_secret},
};

/// How long a process may take to join the network.
pub const UP: Duration = Duration::from_secs(30);
/// How long a committee may take to finalize its next round.
pub const ROUND: Duration = Duration::from_mins(1);
/// How long a process may take to leave.
pub const LEAVE: Duration = Duration::from_secs(5);

/// A running deployment. Fields are in the order in which they are dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The clients.
    pub clients: Vec<Process>,
    /// The aggregator, once started.
    pub aggregator: Option<Process>,
    /// Further ones.
    pub leaves: Vec<Process>,
    /// The servers.
    pub servers: Vec<Server>,
    /// What it is made of.
    pub settings: Settings,
    /// What its servers attest with, if they do.
    pub attestation: Option<Simulated>,
    namespaces: Option<Namespaces>,
    logs: PathBuf,
    started: usize,
    folder: Option<tempfile::TempDir>,
}

impl Cluster {
    /// A cluster without processes yet, logging to a folder of its own. It is
    /// kept, by the test's name, in the folder that `ZIPNET_TEST_LOGS` names.
    ///
    /// # Errors
    /// [`ProcessError::Start`] if no folder can be made.
    pub fn new(settings: Settings) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Start {
            name: "the cluster".into(),
            source,
        };
        if let Some(kept) = std::env::var_os("ZIPNET_TEST_LOGS") {
            let test = thread::current().name().unwrap_or("main").to_owned();
            let logs = Path::new(&kept).join(test).join(&settings.secret);
            std::fs::create_dir_all(&logs).map_err(failed)?;
            return Ok(Self::logging_to(settings, &logs));
        }
        let folder = tempfile::tempdir().map_err(failed)?;
        let mut cluster = Self::logging_to(settings, folder.path());
        cluster.folder = Some(folder);
        Ok(cluster)
    }

    /// A cluster without processes yet, logging to a given folder.
    #[must_use]
    pub fn logging_to(settings: Settings, logs: &Path) -> Self {
        Self {
            clients: Vec::new(),
            aggregator: None,
            leaves: Vec::new(),
            servers: Vec::new(),
            settings,
            attestation: None,
            namespaces: None,
            logs: logs.to_owned(),
            started: 0,
            folder: None,
        }
    }

    /// Puts each server into a namespace of its own; clients and aggregator
    /// stay with the hub.
    #[must_use]
    pub fn within(mut self, namespaces: Namespaces) -> Self {
        self.namespaces = Some(namespaces);
        self
    }

    /// Has the servers show simulated evidence from now on.
    ///
    /// # Errors
    /// [`ProcessError::Start`] if the policy cannot be written.
    pub fn attested(mut self) -> Result<Self, ProcessError> {
        let simulated = Simulated::new(&self.logs.join("attestation"));
        self.attestation = Some(simulated.map_err(|source| ProcessError::Start {
            name: "the simulated Intel".into(),
            source,
        })?);
        Ok(self)
    }

    /// Where its processes log to.
    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// What its servers attest with.
    ///
    /// # Errors
    /// If they do not.
    pub fn simulated(&self) -> TestResult<&Simulated> {
        let attestation = self.attestation.as_ref();
        attestation.ok_or_else(|| Failed::because("the cluster is not attested"))
    }

    /// The namespaces, if there are any.
    #[must_use]
    pub const fn namespaces(&self) -> Option<&Namespaces> {
        self.namespaces.as_ref()
    }

    /// A whole deployment: all servers, an aggregator and `clients` that cover.
    ///
    /// # Errors
    /// [`ProcessError`] of the first process that does not come up.
    pub fn start(settings: Settings, clients: usize) -> Result<Self, ProcessError> {
        let mut cluster = Self::new(settings)?;
        cluster.populate(clients)?;
        Ok(cluster)
    }

    /// As [`Cluster::start`], with servers that show simulated evidence.
    ///
    /// # Errors
    /// [`ProcessError`] of the first process that does not come up.
    pub fn start_attested(settings: Settings, clients: usize) -> Result<Self, ProcessError> {
        let mut cluster = Self::new(settings)?.attested()?;
        cluster.populate(clients)?;
        Ok(cluster)
    }

    /// Starts all servers, an aggregator and `clients` that cover.
    ///
    /// # Errors
    /// [`ProcessError`] of the first process that does not come up.
    pub fn populate(&mut self, clients: usize) -> Result<(), ProcessError> {
        for index in 0..self.settings.servers {
            self.add_server(index)?;
        }
        self.add_aggregator()?;
        for _ in 0..clients {
            let client = self.client(&["cover"])?;
            self.clients.push(client);
        }
        Ok(())
    }

    /// Starts server `index` and waits until it is up.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn add_server(&mut self, index: usize) -> Result<(), ProcessError> {
        let bind = format!("{}:0", self.address_of(Some(index)));
        let metrics = self.metrics_of(index);
        let server = self.launch_server(index, &bind, metrics, &[])?;
        self.servers.push(server);
        Ok(())
    }

    /// Starts a server like the one at a position again, on the same port,
    /// after it has ended.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn restart_server(&mut self, position: usize) -> Result<(), ProcessError> {
        let Some(old) = self.servers.get(position) else {
            return Ok(());
        };
        let bind = old
            .hint
            .split('@')
            .nth(1)
            .unwrap_or("127.0.0.1:0")
            .to_owned();
        let (index, metrics) = (old.index, old.metrics);
        let server = self.launch_server(index, &bind, metrics, &[])?;
        if let Some(slot) = self.servers.get_mut(position) {
            *slot = server;
        }
        Ok(())
    }

    /// Starts a server process with the secrets of server `index`.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn launch_server(
        &mut self,
        index: usize,
        bind: &str,
        metrics: SocketAddr,
        extra: &[(&str, &str)],
    ) -> Result<Server, ProcessError> {
        let mut command = self.server_command(index, bind, metrics)?;
        for (name, value) in extra {
            command.env(name, value);
        }
        self.launch_server_as(index, metrics, command)
    }

    /// The command of server `index`.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn server_command(
        &self,
        index: usize,
        bind: &str,
        metrics: SocketAddr,
    ) -> Result<Command, ProcessError> {
        let settings = &self.settings;
        let mut command = self.command("zipnet-server", Some(index))?;
        command
            .env("ZIPNET_COMMITTEE_SECRET", &settings.secret)
            .env("ZIPNET_SECRET", transport_secret(index))
            .env(
                "ZIPNET_MIN_PARTICIPANTS",
                settings.min_participants.to_string(),
            )
            .env("ZIPNET_ROUND_PERIOD", &settings.period)
            .env("ZIPNET_ROUND_DEADLINE", &settings.deadline)
            .env("ZIPNET_METRICS", metrics.to_string())
            .env("ZIPNET_BIND", bind);
        if let Some(size) = settings.committee_size {
            command.env("ZIPNET_COMMITTEE_SIZE", size.to_string());
        }
        if self.attestation.is_some() {
            let state = self.logs.join(format!("state-{}", index + 1));
            command.env("ZIPNET_STATE", state);
        }
        Ok(command)
    }

    /// Starts server `index` by a command that may differ from
    /// [`Cluster::server_command`], and waits until it is up.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn launch_server_as(
        &mut self,
        index: usize,
        metrics: SocketAddr,
        command: Command,
    ) -> Result<Server, ProcessError> {
        let process = self.launch(&format!("server-{}", index + 1), command)?;
        Self::is_up(process, index, metrics)
    }

    /// Waits until a server is up.
    fn is_up(
        mut process: Process,
        index: usize,
        metrics: SocketAddr,
    ) -> Result<Server, ProcessError> {
        let line = process.expect("bootstrap=", UP)?;
        let hint = line
            .split("bootstrap=")
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        Ok(Server {
            process,
            hint,
            metrics,
            index,
        })
    }

    /// Starts server `index` with a clock that shows so many seconds more than the
    /// machine's, and waits until it is up.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn launch_server_at_another_time(
        &mut self,
        index: usize,
        bind: &str,
        metrics: SocketAddr,
        seconds: i64,
        extra: &[(&str, &str)],
    ) -> Result<(Server, Clock), ProcessError> {
        let mut command = self.server_command(index, bind, metrics)?;
        command.envs(extra.iter().copied());
        let name = format!("server-{}", index + 1);
        let process = self.launch(&name, command)?;
        // Before it has read any: it has only just begun.
        let set = |clock: Clock| clock.set(seconds).map(|()| clock);
        let clock = Clock::take(process.pid()).and_then(set);
        let clock = clock.map_err(|source| ProcessError::Start { name, source })?;
        Ok((Self::is_up(process, index, metrics)?, clock))
    }

    /// Starts the aggregator.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn add_aggregator(&mut self) -> Result<(), ProcessError> {
        let command = self.aggregator_command()?;
        self.launch_aggregator(command)
    }

    /// Starts another aggregator, and waits until the committee deals with it.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn add_leaf(&mut self) -> Result<(), ProcessError> {
        let command = self.leaf_command()?;
        self.launch_leaf(command)
    }

    /// The command of another aggregator.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn leaf_command(&self) -> Result<Command, ProcessError> {
        let number = self.leaves.len() + 2;
        let transport = format!("{} {number}", self.settings.aggregator());
        let mut command = self.aggregator_command()?;
        command
            .env("ZIPNET_SECRET", &transport)
            .env("ZIPNET_ADMISSION", self.settings.admission(&transport)?);
        Ok(command)
    }

    /// Starts another aggregator by a command that may differ from
    /// [`Cluster::leaf_command`], and waits until the committee deals with it.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn launch_leaf(&mut self, command: Command) -> Result<(), ProcessError> {
        let number = self.leaves.len() + 2;
        let mut process = self.launch(&format!("aggregator-{number}"), command)?;
        process.expect("the committee deals with this aggregator", UP)?;
        self.leaves.push(process);
        Ok(())
    }

    /// Kills the aggregator and starts it again on the same port.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn restart_aggregator(&mut self) -> Result<(), ProcessError> {
        let mut command = self.aggregator_command()?;
        if let Some(mut old) = self.aggregator.take() {
            old.kill();
            let hint = old.lines().since(0).into_iter().find_map(|line| {
                let (_, address) = line.split_once("bootstrap=")?.1.split_once('@')?;
                Some(address.to_owned())
            });
            command.env("ZIPNET_BIND", hint.unwrap_or_default());
        }
        self.launch_aggregator(command)
    }

    /// Sends the aggregator a signal.
    pub fn signal_aggregator(&self, signal: Signal) {
        if let Some(aggregator) = &self.aggregator {
            aggregator.signal(signal);
        }
    }

    /// The command of the aggregator.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn aggregator_command(&self) -> Result<Command, ProcessError> {
        let mut command = self.command("zipnet-aggregator", None)?;
        command
            .env("ZIPNET_SECRET", self.settings.aggregator())
            .env(
                "ZIPNET_ADMISSION",
                self.settings.admission(&self.settings.aggregator())?,
            )
            .env("ZIPNET_FOLD_DEADLINE", &self.settings.fold_deadline)
            .env("ZIPNET_BIND", format!("{}:0", self.address_of(None)));
        Ok(command)
    }

    /// Starts the aggregator by a command that may differ from
    /// [`Cluster::aggregator_command`], and waits until it is up.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn launch_aggregator(&mut self, command: Command) -> Result<(), ProcessError> {
        let mut process = self.launch("aggregator", command)?;
        process.expect("bootstrap=", UP)?;
        self.aggregator = Some(process);
        Ok(())
    }

    /// Starts a client with a verb and its arguments.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn client(&mut self, arguments: &[&str]) -> Result<Process, ProcessError> {
        let command = self.client_command(arguments)?;
        self.launch_client(command)
    }

    /// Starts a client by a command that may differ from [`Cluster::client_command`].
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn launch_client(&mut self, command: Command) -> Result<Process, ProcessError> {
        self.launch("client", command)
    }

    /// Starts a client that prints what is published as JSON, and waits until
    /// it has joined.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn watcher(&mut self) -> Result<Process, ProcessError> {
        let mut client = self.client(&["--json", "watch"])?;
        client.expect("zipnet up", UP)?;
        Ok(client)
    }

    /// The command of a client.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn client_command(&self, arguments: &[&str]) -> Result<Command, ProcessError> {
        let mut command = self.reader_command("zipnet-client")?;
        command.args(arguments);
        Ok(command)
    }

    /// The command of a program that follows the committee as any reader does.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn reader_command(&self, program: &str) -> Result<Command, ProcessError> {
        let mut command = self.command(program, None)?;
        command.env("ZIPNET_BIND", format!("{}:0", self.address_of(None)));
        if let Some(size) = self.settings.committee_size {
            command.env("ZIPNET_COMMITTEE_SIZE", size.to_string());
        }
        Ok(command)
    }

    /// The name of the universe that all processes share.
    #[must_use]
    pub fn universe(&self) -> String {
        format!("zipnet test {}", std::process::id())
    }

    /// The hints of all servers.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        let hints: Vec<_> = self
            .servers
            .iter()
            .map(|server| server.hint.clone())
            .collect();
        hints.join(",")
    }

    /// Waits until every server has finalized a round that was opened after
    /// this call.
    ///
    /// # Errors
    /// [`ProcessError`] of the first server that does not.
    pub fn finalize_another(&mut self) -> Result<(), ProcessError> {
        let from: Vec<_> = self
            .servers
            .iter()
            .map(|server| server.process.lines().count())
            .collect();
        for (server, from) in self.servers.iter_mut().zip(from) {
            let (at, _) = server
                .process
                .expect_from(from, "committee: opening round", ROUND)?;
            server
                .process
                .expect_from(at, "committee: round finalized", ROUND)?;
        }
        Ok(())
    }

    /// The leader's position, if exactly one server says that it leads.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        let leads = |server: &Server| {
            server
                .metric("mosaik_groups_leader_is_local")
                .is_some_and(|value| value > 0.5)
        };
        let leaders: Vec<_> = (0..)
            .zip(&self.servers)
            .filter(|(_, server)| leads(server))
            .collect();
        match leaders.as_slice() {
            [(position, _)] => Some(*position),
            _ => None,
        }
    }

    /// Where server `index` is to serve its metrics, so that we reach them.
    fn metrics_of(&self, index: usize) -> SocketAddr {
        self.namespaces
            .as_ref()
            .and_then(|namespaces| namespaces.address(Some(index)).parse().ok())
            .map_or_else(free_port, |address| SocketAddr::new(address, 9100))
    }

    fn address_of(&self, server: Option<usize>) -> String {
        match &self.namespaces {
            Some(namespaces) => namespaces.address(server),
            None => "127.0.0.1".into(),
        }
    }

    fn command(&self, name: &str, server: Option<usize>) -> Result<Command, ProcessError> {
        let path = binary(name)?;
        let mut command = match (&self.namespaces, server) {
            (Some(namespaces), Some(index)) => namespaces.command(index, &path),
            _ => Command::new(path),
        };
        clean(&mut command);
        command
            .env("ZIPNET_INSTANCE", &self.settings.instance)
            .env("ZIPNET_UNIVERSE", self.universe())
            .env("ZIPNET_RELAY", "embedded")
            .env("ZIPNET_BOOTSTRAP", self.bootstrap());
        if let Some(filter) = std::env::var_os("ZIPNET_TEST_LOG_FILTER") {
            command.env("RUST_LOG", filter);
        }
        for (variable, value) in self.attestation.iter().flat_map(Simulated::variables) {
            command.env(variable, value);
        }
        for (variable, value) in &self.settings.variables {
            command.env(variable, value);
        }
        Ok(command)
    }

    /// Starts a command under a name that its log gets too.
    pub(crate) fn launch(&mut self, name: &str, command: Command) -> Result<Process, ProcessError> {
        self.started += 1;
        let log = self.logs.join(format!("{:02}-{name}.log", self.started));
        Process::start(name, command, Some(&log))
    }
}
