//! TDX quotes from the guest kernel's configfs-tsm interface (Linux 6.7 or later).
//!
//! A request is one entry, that is one folder, below `/sys/kernel/config/tsm/report`. The kernel
//! fills it with attributes: the report data goes into `inblob`, the quote comes out of `outblob`,
//! `generation` counts the writes and `provider` names the format.
//!
//! The rules followed here are those of Linux `drivers/virt/coco/guest/report.c`,
//! `drivers/virt/coco/tdx-guest/tdx-guest.c`, `fs/configfs/file.c` and
//! `Documentation/ABI/testing/configfs-tsm-report`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

mod error;

use error::classify;
pub use error::{At, Step, TsmError};

/// Where Linux keeps the report entries when configfs is mounted at its usual place.
pub const DEFAULT_ROOT: &str = "/sys/kernel/config/tsm/report";

/// Length of the report data in bytes: the TDX driver takes exactly this much (`tdx-guest.c`,
/// `TDX_REPORTDATA_LEN`).
pub const REPORT_DATA_LEN: usize = 64;

/// Longest quote accepted, in bytes. Quotes are about 5 kB; the bound only keeps a broken or
/// hostile host from filling the memory.
pub const MAX_QUOTE_LEN: usize = 64 * 1024;

/// Where the report data starts in a version 4 quote: 48 bytes of header, then `REPORTDATA` at
/// 520 of the TD report body.
const REPORT_DATA_V4: usize = 568;
/// The same in a version 5 quote, whose header is followed by 6 bytes of body type and length.
const REPORT_DATA_V5: usize = 574;

/// Enough for any number or provider name; the kernel's own limit is 4096 bytes.
const MAX_TEXT_LEN: usize = 256;
/// How much of an unexpected text an error quotes.
const MAX_SHOWN_LEN: usize = 64;

const PROVIDER: &str = "provider";
const GENERATION: &str = "generation";
const INBLOB: &str = "inblob";
const OUTBLOB: &str = "outblob";
const TDX_PROVIDER: &[u8] = b"tdx_guest";

const DEFAULT_ATTEMPTS: u32 = 5;
const DEFAULT_PAUSE: Duration = Duration::from_millis(500);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A source of TDX quotes: the kernel's configfs-tsm interface.
///
/// It holds no kernel resource between calls and may be used from several threads at once; the
/// kernel serves their requests one after the other.
#[derive(Clone, Debug)]
pub struct TsmSource {
    root: PathBuf,
    attempts: u32,
    pause: Duration,
    /// Plays the kernel's part before each operation.
    #[cfg(test)]
    kernel: Option<std::sync::Arc<tests::Kernel>>,
}

impl Default for TsmSource {
    fn default() -> Self {
        Self::new()
    }
}

impl TsmSource {
    /// The interface of the running kernel, at [`DEFAULT_ROOT`]. Touches nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::at(DEFAULT_ROOT)
    }

    /// The interface at another folder, for a configfs mounted elsewhere or for tests. Touches
    /// nothing yet.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            attempts: DEFAULT_ATTEMPTS,
            pause: DEFAULT_PAUSE,
            #[cfg(test)]
            kernel: None,
        }
    }

    /// How many requests [`quote`](Self::quote) makes at most while they fail in a transient way:
    /// 5 by default, 0 counts as 1.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The pause after the first transient failure: 500 ms by default. It doubles from failure to
    /// failure and never exceeds 5 s.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause.min(MAX_PAUSE);
        self
    }

    /// Makes a quote over 64 bytes of report data and returns it as the host gave it, at most
    /// [`MAX_QUOTE_LEN`] bytes and possibly padded with zeros. The quote is *not* verified; it is
    /// only checked to carry the report data.
    ///
    /// This call **blocks**: one request usually takes a second, up to 30 s if the host does not
    /// answer, and transient failures are repeated after a pause. An async caller moves it to a
    /// thread for blocking work.
    ///
    /// Each request has an entry of its own, which is removed again in every case, unless the
    /// process is killed in the middle.
    ///
    /// # Errors
    ///
    /// [`TsmError::GaveUp`] when the last attempt, too, failed in a
    /// [transient](TsmError::is_transient) way; any other variant at once.
    pub fn quote(&self, report_data: &[u8; REPORT_DATA_LEN]) -> Result<Vec<u8>, TsmError> {
        let mut pause = self.pause;
        let mut attempts = 1;
        loop {
            match self.request(report_data) {
                Err(last) if last.is_transient() && attempts >= self.attempts => {
                    let last = Box::new(last);
                    return Err(TsmError::GaveUp { attempts, last });
                }
                Err(error) if error.is_transient() => {}
                result => return result,
            }
            thread::sleep(pause);
            pause = next_pause(pause);
            attempts += 1;
        }
    }

    /// One request with an entry of its own.
    fn request(&self, report_data: &[u8; REPORT_DATA_LEN]) -> Result<Vec<u8>, TsmError> {
        let entry = self.run(Step::Mkdir, &self.root, || Entry::create(&self.root))?;

        let at = entry.at(Step::ReadProvider);
        let provider = self.run(at.step, &at.path, || read(&at.path, MAX_TEXT_LEN))?;
        if provider.trim_ascii() != TDX_PROVIDER {
            let found = printable(&provider);
            return Err(TsmError::WrongProvider { at, found });
        }

        let expected = self.generation(&entry)?.wrapping_add(1);
        let at = entry.at(Step::WriteInblob);
        let written = self.run(at.step, &at.path, || write(&at.path, report_data))?;
        if written != REPORT_DATA_LEN {
            return Err(TsmError::ShortWrite { at, written });
        }
        // configfs hands a binary attribute over when it is closed and drops the error of that.
        // The counter is the only sign that the kernel has the report data. (A fork elsewhere in
        // the process may delay the close; that looks like a loss and is repeated.)
        self.expect_generation(&entry, expected)?;

        let at = entry.at(Step::ReadOutblob);
        let quote = self.run(at.step, &at.path, || read(&at.path, MAX_QUOTE_LEN + 1))?;
        if quote.len() > MAX_QUOTE_LEN {
            return Err(TsmError::QuoteTooLong(at));
        }
        // Unchanged, so the quote was made for this write and no other.
        self.expect_generation(&entry, expected)?;
        if quote.is_empty() {
            return Err(TsmError::EmptyQuote(at));
        }
        if !carries(&quote, report_data) {
            let length = quote.len();
            return Err(TsmError::ReportDataMissing { at, length });
        }
        Ok(quote)
    }

    fn generation(&self, entry: &Entry) -> Result<u64, TsmError> {
        let at = entry.at(Step::ReadGeneration);
        let text = self.run(at.step, &at.path, || read(&at.path, MAX_TEXT_LEN))?;
        let number = str::from_utf8(text.trim_ascii()).map(str::parse);
        if let Ok(Ok(number)) = number {
            return Ok(number);
        }
        let found = printable(&text);
        Err(TsmError::GenerationUnreadable { at, found })
    }

    fn expect_generation(&self, entry: &Entry, expected: u64) -> Result<(), TsmError> {
        let found = self.generation(entry)?;
        if found == expected {
            return Ok(());
        }
        let at = entry.at(Step::ReadGeneration);
        Err(TsmError::GenerationRaced {
            at,
            expected,
            found,
        })
    }

    /// Runs one operation and says what its error means.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "tests play the kernel here")
    )]
    fn run<T>(
        &self,
        step: Step,
        path: &Path,
        operation: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, TsmError> {
        #[cfg(test)]
        if let Some(kernel) = &self.kernel {
            kernel
                .before(step, path)
                .map_err(|error| classify(step, path, error))?;
        }
        operation().map_err(|error| classify(step, path, error))
    }
}

/// An entry of this process, removed when dropped.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
}

impl Entry {
    /// Creates an entry that nobody else uses: the counter tells the requests of this process
    /// apart, the process id and the time those of others, also across pid namespaces.
    fn create(root: &Path) -> io::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let pid = process::id();
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        // Only for the name; a clock before 1970 does no harm.
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos());
        let path = root.join(format!("quote-{pid}-{count}-{nanos:x}"));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// The place of a step in this entry.
    fn at(&self, step: Step) -> At {
        let path = match step {
            Step::Mkdir => self.path.clone(),
            Step::ReadProvider => self.path.join(PROVIDER),
            Step::ReadGeneration => self.path.join(GENERATION),
            Step::WriteInblob => self.path.join(INBLOB),
            Step::ReadOutblob => self.path.join(OUTBLOB),
        };
        At { step, path }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // In configfs this removes the attributes, too.
        if fs::remove_dir(&self.path).is_ok() {
            return;
        }
        // In a plain folder they have to go first; in configfs they cannot be removed one by one,
        // so this does nothing and the folder gets a second try. An entry that stays all the same
        // costs a little kernel memory, which is no reason to lose a quote.
        for name in [PROVIDER, GENERATION, INBLOB, OUTBLOB] {
            let _ = fs::remove_file(self.path.join(name));
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// Reads at most `limit` bytes. Not `read_to_end`, which repeats on `EINTR` without a limit.
fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; limit];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Writes to an existing file in one call, closes it and returns how many bytes it took.
fn write(path: &Path, bytes: &[u8]) -> io::Result<usize> {
    OpenOptions::new().write(true).open(path)?.write(bytes)
}

/// Whether a quote holds the report data where version 4 or version 5 has it.
fn carries(quote: &[u8], report_data: &[u8; REPORT_DATA_LEN]) -> bool {
    [REPORT_DATA_V4, REPORT_DATA_V5].into_iter().any(|start| {
        quote
            .get(start..)
            .is_some_and(|rest| rest.starts_with(report_data))
    })
}

/// The start of an unexpected text in a form that is safe in a message.
fn printable(text: &[u8]) -> String {
    let shown = text.trim_ascii().iter().take(MAX_SHOWN_LEN);
    shown
        .map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '?',
        })
        .collect()
}

fn next_pause(pause: Duration) -> Duration {
    pause.saturating_mul(2).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests;
