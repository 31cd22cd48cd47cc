//! A committee with its aggregator and clients, as separate processes on
//! loopback or in network namespaces.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    netns::Namespaces,
    process::{Process, ProcessError, binary, clean},
};

/// How long a process may take to join the network.
pub const UP: Duration = Duration::from_secs(30);
/// How long a committee may take to finalize its next round.
pub const ROUND: Duration = Duration::from_mins(1);
/// How long a process may take to leave.
pub const LEAVE: Duration = Duration::from_secs(5);

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of servers.
    pub servers: usize,
    /// The committee's meant size, if it is to be set.
    pub committee_size: Option<usize>,
    /// Fewest clients of a round.
    pub min_participants: usize,
    /// From round to round.
    pub period: String,
    /// Until a round is given up.
    pub deadline: String,
    /// How long the aggregator collects.
    pub fold_deadline: String,
    /// Further variables of every process.
    pub variables: Vec<(String, String)>,
    /// The name of the instance.
    pub instance: String,
    /// The committee secret.
    pub secret: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: 3,
            committee_size: Some(3),
            min_participants: 2,
            period: "500ms".into(),
            deadline: "4s".into(),
            fold_deadline: "1s".into(),
            variables: Vec::new(),
            instance: "zipnet.local.test".into(),
            secret: "the committee secret of a test".into(),
        }
    }
}

/// A line of a server's log about a finalized round.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finalized {
    /// The round's number.
    pub number: u64,
    /// The start of the record's digest.
    pub record: String,
    /// How many clients took part.
    pub participants: usize,
}

impl Finalized {
    fn parse(line: &str) -> Option<Self> {
        let fields = line.split("committee: round finalized ").nth(1)?;
        let field = |name: &str| {
            fields
                .split(' ')
                .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        Some(Self {
            number: field("round")?.strip_prefix('r')?.parse().ok()?,
            record: field("record")?.trim_matches('"').to_owned(),
            participants: field("participants")?.parse().ok()?,
        })
    }
}

/// A server process with what is needed to start it again.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// `PEERID@ip:port`.
    pub hint: String,
    /// Where its metrics are.
    pub metrics: SocketAddr,
    index: usize,
}

impl Server {
    /// The short name that other servers' logs and metrics use.
    #[must_use]
    pub fn short(&self) -> String {
        self.hint.chars().take(10).collect()
    }

    /// The server's peer id.
    #[must_use]
    pub fn peer(&self) -> String {
        self.hint.chars().take(64).collect()
    }

    /// The rounds that it says it has finalized, from line `from` on.
    #[must_use]
    pub fn finalized(&self, from: usize) -> Vec<Finalized> {
        self.process
            .lines()
            .since(from)
            .iter()
            .filter_map(|line| Finalized::parse(line))
            .collect()
    }

    /// The value of a metric whose line starts with `name`.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        scrape(self.metrics)?
            .lines()
            .filter(|line| !line.starts_with('#'))
            .find(|line| line.starts_with(name))
            .and_then(|line| line.rsplit(' ').next())
            .and_then(|value| value.parse().ok())
    }
}

/// Everything the exporter at `address` says.
#[must_use]
pub fn scrape(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// A running deployment. Fields are in the order in which they are dropped.
#[derive(Debug)]
pub struct Cluster {
    /// The clients.
    pub clients: Vec<Process>,
    /// The aggregator, once started.
    pub aggregator: Option<Process>,
    /// The servers.
    pub servers: Vec<Server>,
    /// What it is made of.
    pub settings: Settings,
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
            servers: Vec::new(),
            settings,
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
            .env("ZIPNET_SECRET", format!("server {index}"))
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
        let mut process = self.launch(&format!("server-{}", index + 1), command)?;
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

    /// Starts the aggregator.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn add_aggregator(&mut self) -> Result<(), ProcessError> {
        let command = self.aggregator_command()?;
        self.launch_aggregator(command)
    }

    /// The command of the aggregator.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn aggregator_command(&self) -> Result<Command, ProcessError> {
        let mut command = self.command("zipnet-aggregator", None)?;
        command
            .env("ZIPNET_SECRET", "the aggregator")
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
        self.launch("client", command)
    }

    /// Starts a client that prints what is published as JSON, and waits until
    /// it has joined.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn watcher(&mut self) -> Result<Process, ProcessError> {
        let mut client = self.client(&["--json", "watch"])?;
        client.expect("bootstrap=", UP)?;
        Ok(client)
    }

    /// The command of a client.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub fn client_command(&self, arguments: &[&str]) -> Result<Command, ProcessError> {
        let mut command = self.command("zipnet-client", None)?;
        command
            .args(arguments)
            .env("ZIPNET_BIND", format!("{}:0", self.address_of(None)));
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
        for (variable, value) in &self.settings.variables {
            command.env(variable, value);
        }
        Ok(command)
    }

    fn launch(&mut self, name: &str, command: Command) -> Result<Process, ProcessError> {
        self.started += 1;
        let log = self.logs.join(format!("{:02}-{name}.log", self.started));
        Process::start(name, command, Some(&log))
    }
}

/// A TCP address on loopback that was free a moment ago.
#[must_use]
pub fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 9100)))
}

/// A UDP address on loopback that was free a moment ago.
#[must_use]
pub fn free_udp_port() -> SocketAddr {
    std::net::UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 4400)))
}
