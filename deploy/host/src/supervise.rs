//! Whoever watches a guest: starts it, keeps its console, follows what it says, and
//! starts it anew when another generation is wanted.
//!
//! The guest does not depend on this process. It writes to a FIFO: while nobody reads,
//! QEMU drops what the console says, and the next who reads goes on.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::sys::{
    signal::{SigSet, Signal as Sent},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, Mode, OFlags},
    process::Signal,
};

use crate::{
    alive::{self, Alive},
    console::{Keeper, Lines},
    files::{self, FileError, Lock},
    place::{Folder, Place},
    plan::Wanted,
    seen::{Phase, Seen, now},
};

/// How long a guest may take to power off when this process is told to end.
pub const GRACE: Duration = Duration::from_mins(1);
/// How long QEMU may outlive the launcher before it is killed by hand.
const SOON: Duration = Duration::from_secs(2);
/// How long whoever is to watch may take to begin.
const BEGUN: Duration = Duration::from_secs(10);
/// How often it is looked whether time is up.
const TICK: Duration = Duration::from_millis(500);
/// What is read at once, and most that is read of a guest that has ended, in bytes.
const CHUNK: usize = 64 << 10;
const MAX_REST: usize = 1 << 20;

/// A guest cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another watches it.
    #[error("The guest {0} is watched already ({1})")]
    Watched(crate::place::Name, String),
    /// There is nothing to start.
    #[error("The guest {0} was never launched")]
    Unknown(crate::place::Name),
    /// The kernel.
    #[error("Could not {0}")]
    System(&'static str, #[source] io::Error),
    /// It ended by itself.
    #[error("The guest {name} has ended: {reason}")]
    Ended {
        /// Which.
        name: crate::place::Name,
        /// Why, as far as is known.
        reason: String,
    },
}

/// What happens to a guest that is watched.
#[derive(Debug)]
pub enum Event<'a> {
    /// Its console says a line.
    Line(&'a str),
    /// It entered a phase.
    Phase(&'a Wanted, &'a Seen),
}

/// Signals that press the power button, read like a file.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// From here on they no longer end this process.
    ///
    /// # Errors
    /// [`SuperviseError::System`].
    pub fn take() -> Result<Self, SuperviseError> {
        let failed = |error: nix::Error| SuperviseError::System("listen to signals", error.into());
        let mut set = SigSet::empty();
        for signal in [Sent::SIGTERM, Sent::SIGINT, Sent::SIGHUP] {
            set.add(signal);
        }
        set.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        SignalFd::with_flags(&set, flags).map(Self).map_err(failed)
    }

    fn came(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

/// Takes the right to watch a guest.
///
/// # Errors
/// [`SuperviseError::Watched`] if another has it.
pub fn lock(folder: &Folder) -> Result<Lock, SuperviseError> {
    let path = folder.supervisor_lock();
    Lock::take(&path, "zipnet-host watches")?
        .ok_or_else(|| SuperviseError::Watched(folder.name.clone(), files::holder(&path)))
}

/// Watches a guest until it has ended and no later generation is wanted. One that
/// runs is taken up as it is.
///
/// # Errors
/// [`SuperviseError`], also if the guest ended by itself.
pub fn supervise(
    place: &Place,
    folder: &Folder,
    _right: &Lock,
    signals: &Signals,
    mut tell: impl FnMut(Event<'_>),
) -> Result<(), SuperviseError> {
    loop {
        let wanted = folder.read_wanted()?;
        let wanted = wanted.ok_or_else(|| SuperviseError::Unknown(folder.name.clone()))?;
        let mut watch = match folder.alive()? {
            Some((ran, alive)) => {
                let seen = files::read_state(&folder.seen()).ok().flatten();
                let seen = seen.filter(|seen: &Seen| seen.generation == ran.generation);
                let seen = seen.unwrap_or_else(|| Seen::new(ran.generation, ran.since));
                Watch::new(folder, seen, read_end(folder)?, alive, None)
            }
            None if wanted.run => start(place, folder, wanted.generation)?,
            None => return Ok(()),
        };
        watch.until_ended(&wanted, signals, &mut tell);
        let after = folder.read_wanted()?;
        match after {
            Some(after) if after.run && after.generation > watch.seen.generation => {}
            Some(after) if after.run => {
                let (name, reason) = (folder.name.clone(), watch.seen.reason());
                return Err(SuperviseError::Ended { name, reason });
            }
            _ => return Ok(()),
        }
    }
}

fn read_end(folder: &Folder) -> Result<File, SuperviseError> {
    let path = folder.fifo();
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(&path)
        .map_err(|source| FileError::Read(path, source).into())
}

fn start<'a>(
    place: &Place,
    folder: &'a Folder,
    generation: u64,
) -> Result<Watch<'a>, SuperviseError> {
    let failed = |what| move |source: io::Error| SuperviseError::System(what, source);
    // The launcher may have been killed, and what it started be on its way. If it stays,
    // the next process says so.
    let _ = alive::sweep(&folder.guest_lock(), SOON);
    files::remove(&folder.work())?;
    files::private_folder(&folder.work())?;
    let fifo = folder.fifo();
    files::remove(&fifo)?;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .map_err(|source| FileError::Write(fifo.clone(), source.into()))?;
    let console = read_end(folder)?;
    // Whoever only writes finds out by an error, not by waiting, that nobody reads.
    let write = OpenOptions::new()
        .write(true)
        .open(&fifo)
        .map_err(failed("open the console"))?;
    let again = write.try_clone().map_err(failed("open the console"))?;
    let mut command = own(place, "guest", folder)?;
    command
        .args(["--generation", &generation.to_string()])
        .stdout(write)
        .stderr(again);
    let seen = Seen::new(generation, now());
    // Before it runs: whoever waits for this generation is not to see the last one's end.
    files::write_state(&folder.seen(), &seen)?;
    let child = command.spawn().map_err(failed("start the launcher"))?;
    drop(command);
    let alive = Alive::of(&child).map_err(failed("watch the launcher"))?;
    Ok(Watch::new(folder, seen, console, alive, Some(child)))
}

/// This program again, with another part to play.
fn own(place: &Place, verb: &str, folder: &Folder) -> Result<Command, SuperviseError> {
    let program = Path::new("/proc/self/exe");
    let program = if program.exists() {
        program.to_owned()
    } else {
        std::env::current_exe()
            .map_err(|source| SuperviseError::System("find this program", source))?
    };
    let mut command = Command::new(program);
    command
        .arg("--run-dir")
        .arg(place.path())
        .args([verb, &folder.name.to_string()])
        .stdin(Stdio::null());
    Ok(command)
}

/// Has a process of its own watch a guest, and waits until it does so.
///
/// # Errors
/// [`SuperviseError`].
pub fn detach(place: &Place, folder: &Folder) -> Result<(), SuperviseError> {
    let failed = |source| SuperviseError::System("start who watches the guest", source);
    let path = folder.supervisor_log();
    let log = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| FileError::Write(path.clone(), source))?;
    let mut command = own(place, "watch", folder)?;
    let mut child = command
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(failed)?;
    let end = Instant::now() + BEGUN;
    while !folder.is_watched() {
        if let Some(status) = child.try_wait().map_err(failed)? {
            if status.success() {
                return Ok(());
            }
            let said = files::read(&path, CHUNK as u64).unwrap_or_default();
            let said = zipnet_attest::report::plain(String::from_utf8_lossy(&said).trim());
            return Err(failed(io::Error::other(said)));
        }
        if Instant::now() >= end {
            return Err(failed(io::ErrorKind::TimedOut.into()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// One generation that is watched.
struct Watch<'a> {
    folder: &'a Folder,
    seen: Seen,
    console: File,
    alive: Alive,
    child: Option<Child>,
    keeper: Keeper,
    lines: Lines,
    /// When it is killed, if it was told to end.
    deadline: Option<Instant>,
    /// When it was last written down, and whether there is more since.
    written: Instant,
    more: bool,
}

impl<'a> Watch<'a> {
    fn new(
        folder: &'a Folder,
        seen: Seen,
        console: File,
        alive: Alive,
        child: Option<Child>,
    ) -> Self {
        Self {
            folder,
            seen,
            console,
            alive,
            child,
            keeper: Keeper::new(folder.console()),
            lines: Lines::default(),
            deadline: None,
            written: Instant::now(),
            more: false,
        }
    }

    fn until_ended(
        &mut self,
        wanted: &Wanted,
        signals: &Signals,
        tell: &mut impl FnMut(Event<'_>),
    ) {
        // One that writes no more, though it runs, would be readable for ever.
        let mut written = true;
        while !self.alive.ends_within(Duration::ZERO) {
            let console = if written {
                self.console.as_fd()
            } else {
                self.alive.as_fd()
            };
            let mut handles = [
                PollFd::from_borrowed_fd(console, PollFlags::IN),
                PollFd::new(&self.alive, PollFlags::IN),
                PollFd::new(&signals.0, PollFlags::IN),
            ];
            let _ = poll(&mut handles, Timespec::try_from(TICK).ok().as_ref());
            if signals.came() && self.deadline.is_none() {
                self.press();
            }
            if self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
            {
                self.alive.signal(Signal::KILL);
            }
            written = self.read(wanted, tell).is_some();
            if self.more && self.written.elapsed() >= TICK {
                self.remember();
            }
        }
        let mut rest = 0;
        while let Some(read @ 1..) = self.read(wanted, tell) {
            rest += read;
            if rest > MAX_REST {
                break;
            }
        }
        let mut last = Vec::new();
        self.lines.finish(|line| last.push(line.to_owned()));
        for line in last {
            self.line(&line, wanted, tell);
        }
        self.reap();
        self.seen.enter(Phase::Ended, now());
        self.remember();
        tell(Event::Phase(wanted, &self.seen));
    }

    /// Reads what there is: `None` if nobody has the other end any more.
    fn read(&mut self, wanted: &Wanted, tell: &mut impl FnMut(Event<'_>)) -> Option<usize> {
        let mut buffer = vec![0; CHUNK];
        let read = match self.console.read(&mut buffer) {
            Ok(0) => return None,
            Ok(read) => read,
            Err(_) => return Some(0),
        };
        let mut all = Vec::new();
        let bytes = buffer.get(..read).unwrap_or_default();
        self.lines.take(bytes, |line| all.push(line.to_owned()));
        for line in all {
            self.line(&line, wanted, tell);
        }
        Some(read)
    }

    fn line(&mut self, line: &str, wanted: &Wanted, tell: &mut impl FnMut(Event<'_>)) {
        self.keeper.line(line);
        tell(Event::Line(line));
        let before = self.seen.phase;
        let told = self.seen.line(line, now());
        self.seen.lost = self.keeper.lost;
        self.more = true;
        if told {
            self.remember();
        }
        if before != self.seen.phase {
            tell(Event::Phase(wanted, &self.seen));
        }
    }

    /// A full disk does not keep anybody from watching.
    fn remember(&mut self) {
        let _ = files::write_state(&self.folder.seen(), &self.seen);
        self.written = Instant::now();
        self.more = false;
    }

    /// This process was told to end: so is the guest, and nobody starts it anew.
    fn press(&mut self) {
        let _ = stop_wanting(self.folder);
        self.alive.signal(Signal::TERM);
        self.deadline = Instant::now().checked_add(GRACE);
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            match child.wait() {
                Ok(status) if !status.success() && self.seen.error.is_none() => {
                    self.seen.error = Some(format!(
                        "the launcher ended with {status}; {}",
                        self.seen.reason()
                    ));
                }
                _ => {}
            }
        }
        let _ = alive::sweep(&self.folder.guest_lock(), SOON);
        let _ = fs::remove_dir_all(self.folder.work());
    }
}

/// From here on nobody starts the guest anew. If that cannot be written, what was
/// wanted is forgotten.
///
/// # Errors
/// [`FileError`] if nothing of it is possible.
pub fn stop_wanting(folder: &Folder) -> Result<(), FileError> {
    let Some(mut wanted) = folder.read_wanted()? else {
        return Ok(());
    };
    wanted.run = false;
    files::write_state(&folder.wanted(), &wanted).or_else(|_| files::remove(&folder.wanted()))
}
