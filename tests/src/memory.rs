//! A guest's memory, read from outside: what firmware measured lies in it.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};
use zipnet_measurements::eventlog::{EventLog, LogError};

/// How long QEMU may take to write a guest's memory to a file.
const LIMIT: Duration = Duration::from_mins(2);
/// In the first event of every log, 32 bytes behind its start.
const SIGNATURE: &[u8] = b"Spec ID Event03\0";
/// Longest log that is looked for, in bytes.
const MAX_LOG: usize = 64 * 1024;

/// Has a QEMU with a QMP socket stop its guest and write its first `size` bytes
/// of memory to `file`; then it ends.
///
/// # Errors
/// If the socket or QEMU says so.
pub fn dump(socket: &Path, size: usize, file: &Path) -> io::Result<Vec<u8>> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut line = String::new();
    // The greeting.
    answers.read_line(&mut line)?;
    for (command, arguments) in [
        ("qmp_capabilities", json!({})),
        ("stop", json!({})),
        (
            "pmemsave",
            json!({"val": 0, "size": size, "filename": file}),
        ),
        ("quit", json!({})),
    ] {
        writeln!(
            stream,
            "{}",
            json!({"execute": command, "arguments": arguments})
        )?;
        // Events come in between.
        loop {
            line.clear();
            if answers.read_line(&mut line)? == 0 {
                return Err(io::Error::other(format!("QEMU ended before {command}")));
            }
            let answer: Value = serde_json::from_str(&line)?;
            if let Some(error) = answer.get("error") {
                return Err(io::Error::other(format!("{command}: {error}")));
            }
            if answer.get("return").is_some() {
                break;
            }
        }
    }
    fs::read(file)
}

/// The longest event log in a guest's memory: the kernel's, which has the events
/// of the end of boot services too.
#[must_use]
pub fn longest_log(memory: &[u8]) -> Option<&[u8]> {
    let starts = memory
        .windows(SIGNATURE.len())
        .enumerate()
        .filter(|(_, window)| *window == SIGNATURE)
        .filter_map(|(at, _)| at.checked_sub(32));
    starts
        .filter_map(|start| {
            let bytes = memory.get(start..memory.len().min(start + MAX_LOG))?;
            let end = match EventLog::parse(bytes) {
                // What comes behind the last event is no event.
                Err(LogError::Event { at, .. }) => at,
                Err(_) => return None,
                Ok(_) => bytes.len(),
            };
            let log = bytes.get(..end)?;
            let events = EventLog::parse(log).ok()?.events.len();
            Some((events, log))
        })
        .max_by_key(|(events, _)| *events)
        .map(|(_, log)| log)
}
