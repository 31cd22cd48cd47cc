//! PID 1 after the boot: waits for the network, for the secrets, keeps the
//! server running, and stops it when the host asks for that.

use core::time::Duration;
use std::{
    collections::BTreeSet, io, net::SocketAddr, os::fd::AsFd as _, path::Path, time::Instant,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use zipnet_attest::{
    provision::{COMMITTEE_SECRET_FILE, POLICY_FILE, SECRET_FILE},
    report,
};

use crate::{
    button::Buttons,
    devices, health, inventory,
    paths::{ADDRESS, CONFIG, PROVISIONED, STATE},
    proc,
    rate::Rate,
    say,
    service::{End, Service},
    settings::{Address, Settings},
    stages::Stage,
};

/// What the server has to end; it hands its part of the committee over.
const GRACE: Duration = Duration::from_secs(30);
/// How often things are looked at that nobody announces.
const TICK: u16 = 250;
/// How long the server has to be there, and nothing to have changed, until what is in
/// the guest is listed: at its start a server has sockets that it closes again.
const SETTLED: Duration = Duration::from_secs(5);
/// A setting is wrong.
const USAGE: i32 = 2;

/// PID 1 cannot supervise.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// Signals.
    #[error("Signals cannot be received")]
    Signals(#[source] io::Error),
}

/// What the guest is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No address yet.
    Network,
    /// No secrets yet.
    Provisioning,
    /// The server's life.
    Serving,
}

/// PID 1 of a guest whose configuration holds.
#[derive(Debug)]
pub struct Supervisor {
    settings: Settings,
    signals: SignalFd,
    buttons: Buttons,
    rate: Rate,
    phase: Phase,
    dhcp: Option<Service>,
    provision: Option<Service>,
    server: Option<Service>,
    /// Until when the server has to be gone.
    stopping: Option<Instant>,
    healthy: Instant,
    listed: bool,
    /// What would be listed, and since when it is that.
    inventory: (Vec<String>, Instant),
}

/// Blocks the signals that PID 1 acts on, so that none is lost, and makes the
/// descriptor that they come from.
///
/// # Errors
/// [`SuperviseError::Signals`].
pub fn signals() -> Result<SignalFd, SuperviseError> {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGPWR,
    ] {
        set.add(signal);
    }
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
        .map_err(|error| SuperviseError::Signals(error.into()))
}

impl Supervisor {
    /// Takes over; `link` is the interface that DHCP is to serve, if it is.
    #[must_use]
    pub fn new(
        settings: Settings,
        signals: SignalFd,
        buttons: Buttons,
        rate: Rate,
        link: &str,
    ) -> Self {
        let dhcp = (settings.address == Address::Dhcp)
            .then(|| Service::new(Stage::Dhcp, Some(link.to_owned()), Vec::new()));
        Self {
            settings,
            signals,
            buttons,
            rate,
            phase: Phase::Network,
            dhcp,
            provision: None,
            server: None,
            stopping: None,
            healthy: Instant::now(),
            listed: false,
            inventory: (Vec::new(), Instant::now()),
        }
    }

    /// Runs until there is a reason to power off, which is returned.
    #[must_use]
    pub fn run(mut self) -> String {
        loop {
            let now = Instant::now();
            if let Some(reason) = self.reap(now) {
                return reason;
            }
            if let Some(reason) = self.asked_to_stop() {
                self.stop(&reason, now);
            }
            if let Some(until) = self.stopping {
                if self.services().all(|service| service.is_idle()) {
                    return "all has ended".to_owned();
                }
                if now >= until {
                    return format!("the server did not end within {} s", GRACE.as_secs());
                }
            } else {
                self.advance();
                for service in self.services() {
                    service.tick(now);
                }
                if let Some(reason) = self.tell(now) {
                    return reason;
                }
            }
            self.wait();
        }
    }

    fn services(&mut self) -> impl Iterator<Item = &mut Service> {
        [&mut self.dhcp, &mut self.provision, &mut self.server]
            .into_iter()
            .flatten()
    }

    /// Takes note of every process that ended; a reason to power off, if one
    /// was the last that made sense.
    fn reap(&mut self, now: Instant) -> Option<String> {
        loop {
            let status = match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(_) => return None,
            };
            // Nobody else's children come here: nothing but stages is started.
            let (pid, end) = End::of(status)?;
            if let Some(reason) = self.ended(pid, end, now) {
                return Some(reason);
            }
        }
    }

    fn ended(&mut self, pid: i32, end: End, now: Instant) -> Option<String> {
        let stopping = self.stopping.is_some();
        if let Some(dhcp) = &mut self.dhcp {
            let since = dhcp.running().map_or(now, |(_, since)| since);
            if dhcp.ended(pid) {
                if !stopping {
                    let wait = dhcp.again(since, now);
                    say!("network: the DHCP client {end}; it starts again in {wait} s");
                }
                return None;
            }
        }
        if let Some(provision) = &mut self.provision
            && provision.ended(pid)
        {
            if end == End::Exited(0) || stopping {
                return None;
            }
            if end == End::Exited(USAGE) {
                return Some("the configuration lets nobody provision this guest, as it says above; another would be right".to_owned());
            }
            return Some(format!(
                "provisioning {end}; a restarted guest can be provisioned again"
            ));
        }
        if let Some(server) = &mut self.server {
            let since = server.running().map_or(now, |(_, since)| since);
            if server.ended(pid) {
                if stopping {
                    say!("server: {end}");
                    return None;
                }
                if end == End::Exited(USAGE) {
                    return Some(
                        "the server refuses its settings, as it says above; another configuration would be right"
                            .to_owned(),
                    );
                }
                let life = now.saturating_duration_since(since).as_secs();
                let wait = server.again(since, now);
                say!("server: {end} after {life} s; it starts again in {wait} s");
            }
        }
        None
    }

    fn asked_to_stop(&self) -> Option<String> {
        if self.buttons.pressed() {
            return Some("the power button was pressed".to_owned());
        }
        let mut reason = None;
        while let Ok(Some(info)) = self.signals.read_signal() {
            let signal = i32::try_from(info.ssi_signo).ok();
            match signal.and_then(|number| Signal::try_from(number).ok()) {
                Some(Signal::SIGCHLD) | None => {}
                Some(signal) => reason = Some(format!("PID 1 was sent {signal}")),
            }
        }
        reason
    }

    fn stop(&mut self, reason: &str, now: Instant) {
        if self.stopping.is_some() {
            return;
        }
        say!("init: {reason}: stopping, within {} s", GRACE.as_secs());
        self.stopping = now.checked_add(GRACE).or(Some(now));
        for service in self.services() {
            service.signal(Signal::SIGTERM);
        }
    }

    /// Goes on to what is next once what is needed is there.
    fn advance(&mut self) {
        match self.phase {
            Phase::Network if Path::new(ADDRESS).exists() => {
                self.phase = Phase::Provisioning;
                self.provision = Some(Service::new(Stage::Provision, None, Vec::new()));
            }
            // Its last words are said before the server's first.
            Phase::Provisioning
                if Path::new(PROVISIONED).exists()
                    && self.provision.as_ref().is_none_or(Service::is_idle) =>
            {
                self.phase = Phase::Serving;
                self.provision = None;
                say!("server: starting");
                let environment = environment(&self.settings);
                self.server = Some(Service::new(Stage::Launch, None, environment));
                self.healthy = Instant::now();
            }
            _ => {}
        }
    }

    /// Says how things are; a reason to power off, if the machine is not what it was.
    fn tell(&mut self, now: Instant) -> Option<String> {
        if now.saturating_duration_since(self.healthy) >= health::EVERY {
            self.healthy = now;
            if let Err(error) = self.rate.look() {
                return Some(error.to_string());
            }
            // No driver takes it; but whoever adds one does not mean well.
            if let Err(error) = devices::check(Path::new(devices::SYS)) {
                return Some(report::chain(&error));
            }
            if let Some(server) = &self.server {
                say!("health: {}", health::line(server, self.settings.metrics));
            }
        }
        self.list(now);
        None
    }

    /// Lists what is in this guest, once, if that is wanted.
    fn list(&mut self, now: Instant) {
        let Some(server) = &self.server else {
            return;
        };
        if !self.settings.inventory || self.listed {
            return;
        }
        if let Some((pid, since)) = server.running()
            && now.saturating_duration_since(since) >= SETTLED
            && is_up(pid)
        {
            let lines = inventory::lines(&ports(&self.settings));
            if self.inventory.0 != lines {
                self.inventory = (lines, now);
            }
            if now.saturating_duration_since(self.inventory.1) < SETTLED {
                return;
            }
            self.listed = true;
            for line in &self.inventory.0 {
                say!("inventory: {line}");
            }
            say!("inventory: end");
        }
    }

    fn wait(&self) {
        let mut descriptors = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        descriptors.extend(
            self.buttons
                .descriptors()
                .map(|button| PollFd::new(button, PollFlags::POLLIN)),
        );
        // Interrupted or not, everything is looked at again.
        let _ = poll(&mut descriptors, PollTimeout::from(TICK));
    }
}

/// Whether a process has its UDP socket.
fn is_up(pid: i32) -> bool {
    let own = proc::sockets_of(pid);
    proc::listening()
        .iter()
        .any(|socket| socket.protocol == "udp" && own.contains(&socket.inode))
}

/// All that the server gets: its settings, and where its files are.
fn environment(settings: &Settings) -> Vec<(String, String)> {
    let provisioned = |file| format!("{PROVISIONED}/{file}");
    let fixed = [
        // A serial console keeps what others read as text.
        ("NO_COLOR", "1".to_owned()),
        (
            "ZIPNET_COMMITTEE_SECRET_FILE",
            provisioned(COMMITTEE_SECRET_FILE),
        ),
        ("ZIPNET_CONFIG", CONFIG.to_owned()),
        ("ZIPNET_POLICY", provisioned(POLICY_FILE)),
        ("ZIPNET_SECRET_FILE", provisioned(SECRET_FILE)),
        ("ZIPNET_STATE", STATE.to_owned()),
        // There is nobody in here to ask at a socket, and no call to make one.
        ("ZIPNET_STATUS", String::new()),
    ];
    let fixed = fixed.map(|(key, value)| (key.to_owned(), value));
    settings.server.iter().cloned().chain(fixed).collect()
}

/// The ports that the configuration names.
fn ports(settings: &Settings) -> BTreeSet<u16> {
    let named = settings.server.iter().map(|(_, value)| value.parse());
    named
        .flatten()
        .map(|address: SocketAddr| address.port())
        .chain([settings.provision.port()])
        .collect()
}
