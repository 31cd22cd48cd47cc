//! `make run`: a whole zipnet deployment on this machine, without the internet.
//!
//! Boots 3 servers in guests, from the local image under emulation, gives them
//! their secrets, starts an aggregator and 4 clients as processes, publishes
//! what comes from `MESSAGE` or standard input, and prints every finalized
//! round until Ctrl-C. The servers show simulated evidence, unless
//! `ZIPNET_ATTESTATION` is `none`.
//!
//! `zipnet-local processes` (`make run-processes`) has the servers as processes
//! too; `zipnet-local boot` (`make boot`) is one guest and its console.
#![allow(clippy::indexing_slicing)]

mod boot;
mod tell;
mod watch;

use std::{
    env, fs,
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tell::{VERIFIED, say_round, tell_how_to_verify, tell_verdicts, verdict};
use tokio::signal::unix::{SignalKind, signal};
use zipnet_tests::{
    cluster::{Cluster, LEAVE, Settings, UP},
    guest::{BOOT, Image, ImageError, POWER_OFF},
    process::{Process, ProcessError},
    server::free_port,
};

/// Bytes that fit into a slot of the local deployment.
const LIMIT: usize = 240;

/// What the main loop waits for.
enum Event {
    /// The talking client said something.
    Said(Box<Value>),
    /// A line to publish.
    Line(String),
    /// Nothing more to publish.
    End,
    /// Ctrl-C or SIGTERM.
    Stop,
}

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Servers in guests.
    Guests,
    /// Servers as processes.
    Processes,
    /// One guest, and nothing else.
    Boot,
}

#[derive(Debug, thiserror::Error)]
enum LocalError {
    #[error("{0:?} is nothing to run; `guests`, `processes` or `boot` would be right")]
    Form(String),
    #[error("There is no image to boot")]
    Image(#[from] ImageError),
    #[error("Could not make the folder {path} for the logs")]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("Could not listen for Ctrl-C")]
    Signals(#[source] std::io::Error),
    #[error("A process of the deployment failed")]
    Process(#[source] ProcessError),
    #[error("{name} ended by itself ({status}); its log is in {logs}")]
    Ended {
        name: String,
        status: String,
        logs: String,
    },
}

fn main() -> ExitCode {
    let form = match env::args().nth(1).as_deref() {
        None | Some("guests") => Ok(Form::Guests),
        Some("processes") => Ok(Form::Processes),
        Some("boot") => Ok(Form::Boot),
        Some(other) => Err(LocalError::Form(other.to_owned())),
    };
    match form.and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "error: {}",
                zipnet_node::report::chain(&error)
            );
            match error {
                LocalError::Form(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(form: Form) -> Result<(), LocalError> {
    let logs = env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(|folder| folder.join("local-logs")))
        .unwrap_or_else(|| env::temp_dir().join("zipnet-local-logs"));
    // What an earlier run left says nothing about this one.
    let _ = fs::remove_dir_all(&logs);
    fs::create_dir_all(&logs).map_err(|source| LocalError::Folder {
        path: logs.clone(),
        source,
    })?;
    let (events, inbox) = mpsc::channel();
    watch_signals(events.clone())?;

    let started = Instant::now();
    let image = match form {
        Form::Processes => None,
        Form::Guests | Form::Boot => Some(Image::of("local")?),
    };
    say(match form {
        Form::Guests => {
            "zipnet: 3 servers, each in a guest, and on this machine 2 aggregators and 4 clients; no internet is used."
        }
        Form::Processes => {
            "zipnet: 3 servers, 2 aggregators and 4 clients, each a process, on loopback; no internet is used."
        }
        Form::Boot => "zipnet: one server in a guest, and its console.",
    });
    say(&format!("Logs: {}", logs.display()));
    let settings = Settings {
        period: "3s".into(),
        deadline: "15s".into(),
        fold_deadline: "2s".into(),
        min_participants: 4,
        instance: "zipnet.local.demo".into(),
        secret: random_secret(),
        // Both aggregators take clients.
        variables: vec![("ZIPNET_LEAVES".into(), "2".into())],
        ..Settings::default()
    };
    let mut cluster = Cluster::logging_to(settings, &logs);
    if env::var("ZIPNET_ATTESTATION").is_ok_and(|mode| mode == "none") && form == Form::Processes {
        say("Servers show no evidence of what they run (ZIPNET_ATTESTATION=none).");
    } else {
        cluster = match &image {
            Some(image) => cluster.attested_as(image),
            None => cluster.attested(),
        }
        .map_err(LocalError::Process)?;
        say(
            "Servers show simulated evidence and verify each other's; it takes the same code as a TDX machine's and proves nothing.",
        );
    }
    if let (Form::Boot, Some(image)) = (form, &image) {
        return boot::boot(&mut cluster, image, &inbox);
    }
    let mut talker = match start(&mut cluster, image.as_ref(), &inbox) {
        Ok(Some(talker)) => talker,
        // Ctrl-C during the start.
        Ok(None) => return shut_down(cluster, None),
        Err(error) => return Err(LocalError::Process(error)),
    };
    say("All processes are up; the committee elects its leader and the clients register.");
    if std::io::stdin().is_terminal() {
        say(&format!(
            "Type a line (at most {LIMIT} bytes) and press Enter to publish it anonymously. Ctrl-C ends everything."
        ));
    }
    listen(&talker, events.clone());
    read_input(events);

    if let Some(simulated) = &cluster.attestation {
        tell_verdicts(&cluster);
        tell_how_to_verify(&cluster, simulated);
    }
    let outcome = serve(
        &mut cluster,
        &mut talker,
        &inbox,
        started,
        &logs.display().to_string(),
    );
    let ended = shut_down(cluster, Some(talker));
    outcome.and(ended)
}

/// Starts all processes, telling of each. `None` if asked to stop meanwhile.
fn start(
    cluster: &mut Cluster,
    image: Option<&Image>,
    inbox: &mpsc::Receiver<Event>,
) -> Result<Option<Process>, ProcessError> {
    let stopped = || matches!(inbox.try_recv(), Ok(Event::Stop));
    match image {
        Some(image) => {
            cluster.populate_guests(image, say)?;
            // On emulated processors clients would be in their way.
            meet(cluster, &stopped)?;
        }
        None => start_servers(cluster, &stopped)?,
    }
    if stopped() {
        return Ok(None);
    }
    let metrics = free_port();
    let mut command = cluster.aggregator_command()?;
    command.env("ZIPNET_METRICS", metrics.to_string());
    cluster.launch_aggregator(command)?;
    cluster.add_leaf()?;
    say("  2 aggregators are up, each a leaf for a part of the clients");
    match watch::configure(cluster, metrics) {
        Ok(path) => say(&format!(
            "  for a Prometheus: --config.file={}",
            path.display()
        )),
        Err(error) => say(&format!("  no configuration for a Prometheus: {error}")),
    }
    let mut talker = cluster.client(&["--json", "chat"])?;
    for _ in 0..3 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    talker.expect("zipnet up", UP)?;
    for client in &mut cluster.clients {
        client.expect("zipnet up", UP)?;
    }
    say("  4 clients are up: one talks, three cover");
    Ok(if stopped() { None } else { Some(talker) })
}

/// Waits until each server has verified itself and all others.
fn meet(cluster: &mut Cluster, stopped: &dyn Fn() -> bool) -> Result<(), ProcessError> {
    let all = cluster.servers.len();
    for server in &mut cluster.servers {
        let mut at = 0;
        for _ in 0..all {
            if stopped() {
                return Ok(());
            }
            (at, _) = server.process.expect_from(at, VERIFIED, BOOT)?;
        }
    }
    say("  the servers have verified each other");
    Ok(())
}

/// Starts the servers as processes.
fn start_servers(cluster: &mut Cluster, stopped: &dyn Fn() -> bool) -> Result<(), ProcessError> {
    for index in 0..3 {
        cluster.add_server(index)?;
        let hint = cluster
            .servers
            .last()
            .map(|server| server.hint.clone())
            .unwrap_or_default();
        say(&format!("  server {} is up: {hint}", index + 1));
        if cluster.attestation.is_some()
            && let Some(server) = cluster.servers.last_mut()
        {
            let line = server.process.expect(VERIFIED, UP)?;
            say(&format!("    its evidence: {}", verdict(&line)));
        }
        if stopped() {
            break;
        }
    }
    Ok(())
}

fn serve(
    cluster: &mut Cluster,
    talker: &mut Process,
    inbox: &mpsc::Receiver<Event>,
    started: Instant,
    logs: &str,
) -> Result<(), LocalError> {
    let mut waiting = 0_usize;
    let mut published = 0_usize;
    let mut ended = false;
    let mut first = true;
    loop {
        match inbox.recv_timeout(Duration::from_millis(500)) {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {
                say("");
                return Ok(());
            }
            Ok(Event::Line(line)) => {
                if line.len() > LIMIT {
                    say(&format!(
                        "  The message has {} bytes; at most {LIMIT} fit into a slot. It was not sent.",
                        line.len()
                    ));
                } else if !line.is_empty() {
                    waiting += 1;
                    published += 1;
                    talker.tell(&line);
                }
            }
            Ok(Event::End) => ended = true,
            Ok(Event::Said(value)) => {
                if value["event"] == "landed" {
                    waiting = waiting.saturating_sub(1);
                    say(&format!(
                        "  your message landed: round r{} slot {}, one of {} participants wrote it",
                        value["round"], value["slot"], value["participants"]
                    ));
                } else if value["event"] == "round" {
                    say_round(&value, first.then(|| started.elapsed()));
                    first = false;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if ended && published > 0 && waiting == 0 {
            return Ok(());
        }
        check(cluster, talker, logs)?;
    }
}

/// Whether everybody is still there.
fn check(cluster: &mut Cluster, talker: &mut Process, logs: &str) -> Result<(), LocalError> {
    let servers = cluster.servers.iter_mut().map(|server| &mut server.process);
    let aggregators = cluster.aggregator.iter_mut().chain(&mut cluster.leaves);
    let others = aggregators.chain(&mut cluster.clients);
    for process in servers.chain(others).chain([talker]) {
        if let Some(status) = process.ended() {
            return Err(LocalError::Ended {
                name: process.name().to_owned(),
                status: status.to_string(),
                logs: logs.to_owned(),
            });
        }
    }
    Ok(())
}

/// Ends clients first and servers last, each with SIGTERM.
fn shut_down(mut cluster: Cluster, talker: Option<Process>) -> Result<(), LocalError> {
    say("Ending all processes ...");
    let mut talker = talker;
    let clients = talker
        .iter_mut()
        .chain(&mut cluster.clients)
        .collect::<Vec<_>>();
    end(clients, LEAVE)?;
    let aggregators = cluster.aggregator.iter_mut().chain(&mut cluster.leaves);
    end(aggregators.collect(), LEAVE)?;
    end(
        cluster
            .servers
            .iter_mut()
            .map(|server| &mut server.process)
            .collect(),
        POWER_OFF,
    )?;
    say("Done.");
    Ok(())
}

fn end(mut processes: Vec<&mut Process>, limit: Duration) -> Result<(), LocalError> {
    for process in &processes {
        process.signal(nix::sys::signal::Signal::SIGTERM);
    }
    for process in &mut processes {
        process.wait(limit).map_err(LocalError::Process)?;
    }
    Ok(())
}

/// Forwards what the talking client says.
fn listen(talker: &Process, events: mpsc::Sender<Event>) {
    let lines = talker.lines().clone();
    thread::spawn(move || {
        let mut at = 0;
        loop {
            match lines.find(at, Duration::from_hours(1), |line| line.starts_with('{')) {
                None => return,
                Some((next, line)) => {
                    at = next;
                    if let Ok(value) = serde_json::from_str(&line)
                        && events.send(Event::Said(Box::new(value))).is_err()
                    {
                        return;
                    }
                }
            }
        }
    });
}

/// Publishes `MESSAGE`, then each line of standard input.
fn read_input(events: mpsc::Sender<Event>) {
    thread::spawn(move || {
        if let Ok(message) = env::var("MESSAGE") {
            let _ = events.send(Event::Line(message));
        }
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if events.send(Event::Line(line)).is_err() {
                return;
            }
        }
        let _ = events.send(Event::End);
    });
}

fn watch_signals(events: mpsc::Sender<Event>) -> Result<(), LocalError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LocalError::Signals)?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::interrupt()).map_err(LocalError::Signals)?,
            signal(SignalKind::terminate()).map_err(LocalError::Signals)?,
        )
    };
    thread::spawn(move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if events.send(Event::Stop).is_err() {
                    return;
                }
            }
        });
    });
    Ok(())
}

/// A fresh committee secret: whoever else is on this machine does not know it.
fn random_secret() -> String {
    zipnet_node::entropy::fresh()
        .map_or_else(|_| "no randomness".to_owned(), |bytes| hex::encode(*bytes))
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
