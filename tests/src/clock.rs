//! The clock of another process, to be set.
//!
//! Our programs are static, so that no library can be loaded before them; but they
//! read the time through a function that the kernel maps into each process, the vDSO.
//! This writes its own into there, through `/proc/PID/mem`: it asks the kernel for
//! the time, and adds seconds to the time of day. Other clocks stay as they are. Needs
//! root or the same user, on x86-64.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The function, and eight bytes of seconds behind it.
const CODE: [u8; 40] = [
    0xb8, 0xe4, 0x00, 0x00, 0x00, // mov eax, 228 (clock_gettime)
    0x0f, 0x05, // syscall
    0x85, 0xff, // test edi, edi (CLOCK_REALTIME is 0)
    0x75, 0x0e, // jnz to the end
    0x85, 0xc0, // test eax, eax
    0x75, 0x0a, // jnz to the end
    0x48, 0x8b, 0x0d, 0x0a, 0x00, 0x00, 0x00, // mov rcx, [rip + 10]
    0x48, 0x01, 0x0e, // add [rsi], rcx
    0xc3, // ret
    0x90, 0x90, 0x90, 0x90, 0x90, 0x90, // nothing
    0, 0, 0, 0, 0, 0, 0, 0, // the seconds
];
/// Where the seconds are in it.
const SECONDS: u64 = 32;
/// What is replaced of the kernel's function: a jump's length.
const JUMP: u64 = 5;
/// The function that is replaced.
const NAME: &[u8] = b"__vdso_clock_gettime\0";
/// How often is tried to find no thread in the middle of it.
const TRIES: u32 = 100;

/// The clock of a running process.
#[derive(Debug)]
pub struct Clock {
    memory: File,
    seconds: u64,
}

impl Clock {
    /// Takes a process's clock over; it stays right until it is set. The process
    /// stands still for a moment.
    ///
    /// # Errors
    /// If the process is gone, or its memory cannot be written.
    pub fn take(pid: u32) -> io::Result<Self> {
        let (start, end) = appears(pid)?;
        let memory = OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))?;
        let mut image = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        memory.read_exact_at(&mut image, start)?;
        let function = start + find(&image).ok_or_else(|| unusable("has no clock_gettime"))?;
        let code = end - 64;
        if image.iter().rev().take(64).any(|byte| *byte != 0) {
            return Err(unusable("has no room at its end"));
        }
        let target = Pid::from_raw(i32::try_from(pid).map_err(io::Error::other)?);
        let jump = i32::try_from(code - function - JUMP).map_err(io::Error::other)?;
        for _ in 0..TRIES {
            kill(target, Signal::SIGSTOP)?;
            let free = stands_outside(pid, function);
            if let Ok(true) = free {
                memory.write_all_at(&CODE, code)?;
                let mut bytes = vec![0xe9];
                bytes.extend(jump.to_le_bytes());
                memory.write_all_at(&bytes, function)?;
            }
            kill(target, Signal::SIGCONT)?;
            if free? {
                let seconds = code + SECONDS;
                return Ok(Self { memory, seconds });
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(unusable("is in use all the time"))
    }

    /// Has it show so many seconds more than the machine's.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn set(&self, seconds: i64) -> io::Result<()> {
        self.memory
            .write_all_at(&seconds.to_le_bytes(), self.seconds)
    }
}

fn unusable(what: &str) -> io::Error {
    io::Error::other(format!("the vDSO {what}"))
}

/// Where the vDSO is; a program that has just begun may not have it yet.
fn appears(pid: u32) -> io::Result<(u64, u64)> {
    let mut tries = 0..TRIES;
    loop {
        match mapped(pid) {
            Err(_) if tries.next().is_some() => thread::sleep(Duration::from_millis(1)),
            found => return found,
        }
    }
}

fn mapped(pid: u32) -> io::Result<(u64, u64)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"));
    let range = line.and_then(|line| line.split_whitespace().next());
    let (start, end) = range
        .and_then(|range| range.split_once('-'))
        .ok_or_else(|| unusable("is not mapped"))?;
    let number = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
    Ok((number(start)?, number(end)?))
}

fn number(image: &[u8], at: u64, bytes: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let mut value = [0; 8];
    value
        .get_mut(..bytes)?
        .copy_from_slice(image.get(at..at.checked_add(bytes)?)?);
    Some(u64::from_le_bytes(value))
}

/// Where the function is in an ELF image: by its dynamic section, as the C library
/// finds it.
fn find(image: &[u8]) -> Option<u64> {
    const DYNAMIC: u64 = 2;
    let (table, count) = (number(image, 32, 8)?, number(image, 56, 2)?);
    let dynamic = (0..count)
        .map(|entry| table + entry * 56)
        .find(|entry| number(image, *entry, 4) == Some(DYNAMIC))?;
    let dynamic = number(image, dynamic + 8, 8)?;
    let tag = |wanted: u64| {
        (0..64)
            .map(|entry| dynamic + entry * 16)
            .find(|entry| number(image, *entry, 8) == Some(wanted))
            .and_then(|entry| number(image, entry + 8, 8))
    };
    // DT_STRTAB and DT_SYMTAB; the names follow on the symbols.
    let (names, symbols) = (tag(5)?, tag(6)?);
    (0..names.checked_sub(symbols)? / 24)
        .map(|symbol| symbols + symbol * 24)
        .find(|symbol| {
            let name =
                number(image, *symbol, 4).and_then(|name| usize::try_from(names + name).ok());
            name.and_then(|name| image.get(name..))
                .is_some_and(|name| name.starts_with(NAME))
        })
        .and_then(|symbol| number(image, symbol + 8, 8))
}

/// Whether all threads have stopped, none of them within what is replaced.
fn stands_outside(pid: u32, function: u64) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let folder = thread?.path();
        // "-1 SP PC" of one that stopped outside of a call, which counts here alone.
        let text = loop {
            let text = fs::read_to_string(folder.join("syscall"))?;
            if !text.starts_with("running") {
                break text;
            }
            thread::yield_now();
        };
        let counter = text.split_whitespace().next_back().unwrap_or_default();
        let counter = counter.trim_start_matches("0x");
        let counter = u64::from_str_radix(counter, 16).map_err(io::Error::other)?;
        if counter > function && counter < function + JUMP {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        process::{Command, Stdio},
        time::{SystemTime, UNIX_EPOCH},
    };

    use super::*;

    /// Not a test: what the one below runs.
    #[test]
    #[ignore = "run by another test"]
    fn tells_the_time() {
        for _ in std::io::stdin().lines() {
            println!("at={}", seconds());
        }
    }

    fn seconds() -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(now.as_secs()).unwrap()
    }

    #[test]
    fn a_process_reads_the_time_that_it_is_given_and_the_right_one_again() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "clock::tests::tells_the_time", "--ignored"])
            .arg("--nocapture")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ask = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ahead = || {
            writeln!(ask).unwrap();
            let told = answers
                .find_map(|line| Some(line.unwrap().split_once("at=")?.1.to_owned()))
                .unwrap();
            told.parse::<i64>().unwrap() - seconds()
        };
        assert!(ahead().abs() <= 1);
        let clock = Clock::take(child.id()).unwrap();
        assert!(ahead().abs() <= 1);
        clock.set(1_000_000).unwrap();
        assert!((ahead() - 1_000_000).abs() <= 1);
        clock.set(-60).unwrap();
        assert!((ahead() + 60).abs() <= 1);
        clock.set(0).unwrap();
        assert!(ahead().abs() <= 1);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
