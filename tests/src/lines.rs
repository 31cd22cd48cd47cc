//! What a process has said so far.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read, Write as _},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    open: usize,
}

/// The lines that a process has said, on either output.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<(Mutex<Said>, Condvar)>);

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of lines so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().lines.len()
    }

    /// The lines from position `from` on.
    #[must_use]
    pub fn since(&self, from: usize) -> Vec<String> {
        self.lock().lines.iter().skip(from).cloned().collect()
    }

    /// The last 30 of them.
    pub(crate) fn last(&self) -> String {
        let said = self.lock();
        let skip = said.lines.len().saturating_sub(30);
        said.lines
            .iter()
            .skip(skip)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Takes over an output, and copies it to `log`.
    pub(crate) fn listen(&self, from: impl Read + Send + 'static, mut log: Option<File>) {
        self.lock().open += 1;
        let lines = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                let Ok(line) = line else { break };
                if let Some(log) = &mut log {
                    let _ = writeln!(log, "{line}");
                }
                lines.lock().lines.push(line);
                lines.0.1.notify_all();
            }
            lines.lock().open -= 1;
            lines.0.1.notify_all();
        });
    }

    /// The first line from position `from` on that `wanted` accepts, and the
    /// position after it. `None` when time is up or both outputs have closed.
    pub fn find(
        &self,
        from: usize,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<(usize, String)> {
        let until = Instant::now() + limit;
        let mut at = from;
        let mut said = self.lock();
        loop {
            while let Some(line) = said.lines.get(at) {
                at += 1;
                if wanted(line) {
                    return Some((at, line.clone()));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || said.open == 0 {
                return None;
            }
            said = self
                .0
                .1
                .wait_timeout(said, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
