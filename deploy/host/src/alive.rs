//! Processes of guests, told from strangers that have got their numbers since.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

use crate::files;

/// How long processes may take to end that were killed.
const KILLED: Duration = Duration::from_secs(10);

/// A process for good: its number, when it was started, and in which boot of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Its number.
    pub pid: i32,
    /// When it was started, in ticks since the host booted.
    start: u64,
    /// The boot's name.
    boot: String,
}

impl Birth {
    /// This process, or what it becomes by executing another program.
    ///
    /// # Errors
    /// If /proc cannot be read.
    pub fn own() -> io::Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let boot = boot()?;
        let start = start(pid)?;
        Ok(Self { pid, start, boot })
    }

    /// The process, if it is still there.
    #[must_use]
    pub fn find(&self) -> Option<Alive> {
        // First the handle, then whose it is: later it cannot become another's.
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        let alive = Alive { handle };
        let same = boot().ok()? == self.boot && start(self.pid).ok()? == self.start;
        // One that has ended and that nobody has waited for is gone, too.
        (same && !alive.ends_within(Duration::ZERO)).then_some(alive)
    }
}

/// A handle on a process.
#[derive(Debug)]
pub struct Alive {
    handle: OwnedFd,
}

impl Alive {
    /// A child that was not waited for: its number is still its own.
    ///
    /// # Errors
    /// If the kernel has no such handles.
    pub fn of(child: &std::process::Child) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { handle })
    }

    /// Sends it a signal. One that is gone gets none.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// Whether it ends within a time.
    #[must_use]
    pub fn ends_within(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut handles = [PollFd::new(&self.handle, PollFlags::IN)];
            match poll(&mut handles, Timespec::try_from(left).ok().as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) if left.is_zero() => return false,
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }
}

impl AsFd for Alive {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Waits until nobody holds a lock, and kills whoever still does after `limit`: a guest's
/// processes hold its lock, and inherit it from each other. Whether nobody does.
#[must_use]
pub fn sweep(lock: &Path, limit: Duration) -> bool {
    let soon = Instant::now() + limit;
    let end = soon + KILLED;
    while files::is_held(lock) {
        if Instant::now() >= end {
            return false;
        }
        if Instant::now() >= soon {
            for holder in holders(lock) {
                holder.signal(Signal::KILL);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Processes that hold a lock through a file of their own.
fn holders(lock: &Path) -> Vec<Alive> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter_map(|pid| {
            let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
            holds(pid, lock).then_some(Alive { handle })
        })
        .collect()
}

/// Whether a process holds the lock. Whoever only looks at it has it open, too.
fn holds(pid: i32, lock: &Path) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let number = entry.file_name();
        let info = Path::new("/proc")
            .join(pid.to_string())
            .join("fdinfo")
            .join(number);
        fs::read_link(entry.path()).is_ok_and(|path| path == lock)
            && fs::read_to_string(info).is_ok_and(|info| {
                let mut lines = info.lines().filter(|line| line.starts_with("lock:"));
                lines.any(|line| line.contains("FLOCK") && line.contains("WRITE"))
            })
    })
}

fn boot() -> io::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

fn start(pid: i32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may have spaces and parentheses. Field 22 is the 20th
    // behind it.
    text.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> (Child, Birth) {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let birth = Birth {
            pid,
            start: start(pid).unwrap(),
            boot: boot().unwrap(),
        };
        (child, birth)
    }

    #[test]
    fn a_process_is_found_until_it_ends() {
        let (mut child, birth) = sleeper();
        let alive = birth.find().unwrap();
        assert!(!alive.ends_within(Duration::from_millis(20)));
        alive.signal(Signal::KILL);
        assert!(alive.ends_within(Duration::from_secs(10)));
        // Nobody has waited for it yet.
        assert!(birth.find().is_none());
        child.wait().unwrap();
        assert!(birth.find().is_none());
    }

    #[test]
    fn a_stranger_with_the_same_number_is_not_found() {
        let (mut child, birth) = sleeper();
        let older = Birth {
            start: birth.start - 1,
            ..birth.clone()
        };
        let before = Birth {
            boot: "another".to_owned(),
            ..birth
        };
        assert!(older.find().is_none());
        assert!(before.find().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn who_inherited_a_lock_is_swept_and_who_looks_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("guest.lock");
        assert!(sweep(&path, Duration::ZERO));
        // A shell takes it, leaves it to its child, and ends.
        let script = "exec 9>\"$0\"; flock 9; sleep 60 & exit 0";
        let status = Command::new("bash")
            .args(["-c", script])
            .arg(&path)
            .status()
            .unwrap();
        assert!(status.success());
        assert!(files::is_held(&path));
        let mut looks = Command::new("bash")
            .args(["-c", "exec 9<\"$0\"; sleep 60"])
            .arg(&path)
            .spawn()
            .unwrap();
        assert!(sweep(&path, Duration::from_millis(50)));
        assert!(!files::is_held(&path));
        assert!(looks.try_wait().unwrap().is_none());
        looks.kill().unwrap();
        looks.wait().unwrap();
    }

    #[test]
    fn this_process_knows_itself() {
        assert!(Birth::own().unwrap().find().is_some());
    }
}
