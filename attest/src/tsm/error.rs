//! Why there is no quote, and what to do about it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::MAX_QUOTE_LEN;

// Linux errno values (asm-generic), the same on every architecture that has TDX.
pub(super) const EPERM: i32 = 1;
pub(super) const ENOENT: i32 = 2;
pub(super) const EINTR: i32 = 4;
pub(super) const EIO: i32 = 5;
pub(super) const ENXIO: i32 = 6;
pub(super) const EACCES: i32 = 13;
pub(super) const EBUSY: i32 = 16;
pub(super) const EINVAL: i32 = 22;
pub(super) const EFBIG: i32 = 27;
pub(super) const ETIMEDOUT: i32 = 110;

/// One operation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `mkdir` of the entry.
    Mkdir,
    /// Read of `provider`.
    ReadProvider,
    /// Read of `generation`.
    ReadGeneration,
    /// Write of `inblob`.
    WriteInblob,
    /// Read of `outblob`, in which the kernel asks the host for the quote.
    ReadOutblob,
}

/// Where a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct At {
    /// The operation.
    pub step: Step,
    /// The root for [`Step::Mkdir`], the attribute for every other step.
    pub path: PathBuf,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.step {
            Step::Mkdir => "mkdir in",
            Step::ReadProvider | Step::ReadGeneration | Step::ReadOutblob => "read of",
            Step::WriteInblob => "write to",
        };
        write!(f, "{verb} {}", self.path.display())
    }
}

/// Why there is no quote. The errno rules are those of `report.c` and `tdx-guest.c`.
#[derive(Debug, Error)]
pub enum TsmError {
    /// `ENOENT` on `mkdir`: nothing provides the interface here.
    #[error(
        "No configfs-tsm interface is present ({0}); run in a TD with Linux 6.7 or later, \
         configfs mounted and the kernel's tsm report support loaded"
    )]
    NotATd(At, #[source] io::Error),
    /// `ENXIO`: the interface is there, but no driver has registered with it.
    #[error("No TDX quote provider is registered ({0}); load the kernel module tdx_guest in a TD")]
    NoProvider(At, #[source] io::Error),
    /// `EACCES` or `EPERM`: the interface belongs to root.
    #[error("The TDX quote interface refuses this user ({0}); run as root")]
    Permission(At, #[source] io::Error),
    /// `EBUSY`: the host still holds the buffer of an earlier request. Transient.
    #[error(
        "An earlier quote request is still in flight at the host ({0}); wait for the host's \
         quote service to answer"
    )]
    Busy(At, #[source] io::Error),
    /// `EINTR`: a signal ended the wait. Transient.
    #[error("A signal ended the quote request early ({0}); ask again")]
    Interrupted(At, #[source] io::Error),
    /// `ETIMEDOUT`: the host did not answer within the driver's limit of 30 s. Transient.
    #[error(
        "The host did not answer the quote request in time ({0}); check that the host's quote \
         service runs and is reachable"
    )]
    TimedOut(At, #[source] io::Error),
    /// `EIO` on `outblob`: the hypercall or the host's quote service failed.
    #[error(
        "The host failed to make a quote ({0}); check the quote service and its provisioning on \
         the host"
    )]
    HostFailed(At, #[source] io::Error),
    /// `EINVAL` on `outblob`: the driver did not get 64 bytes of report data.
    #[error(
        "The kernel did not accept the report data ({0}); it takes exactly 64 bytes, so check \
         that nothing else writes to the entry"
    )]
    ReportDataRefused(At, #[source] io::Error),
    /// `EFBIG` on `outblob`: the quote exceeds a limit of the kernel.
    #[error(
        "The host's quote is larger than this kernel allows ({0}); use a kernel that fits the \
         platform's quotes"
    )]
    KernelLimit(At, #[source] io::Error),
    /// Any other failure of an operation.
    #[error(
        "The quote request failed unexpectedly ({0}); see the cause and check the kernel's log"
    )]
    Io(At, #[source] io::Error),
    /// `outblob` is empty: how older kernels report that the host failed.
    #[error(
        "The host gave an empty quote ({0}); check the quote service and its provisioning on the \
         host"
    )]
    EmptyQuote(At),
    /// The quote is longer than [`MAX_QUOTE_LEN`].
    #[error(
        "The quote is longer than {MAX_QUOTE_LEN} bytes ({0}); a TDX quote has a few kilobytes, \
         so check the host's quote service"
    )]
    QuoteTooLong(At),
    /// The quote, of `length` bytes, was not made for the report data of this request.
    #[error(
        "The quote of {length} bytes lacks the requested report data ({at}); it should be at \
         byte 568 (version 4) or 574 (version 5), so check the host's quote service"
    )]
    ReportDataMissing {
        /// Where.
        at: At,
        /// Length of the quote in bytes.
        length: usize,
    },
    /// `generation` is `found`, not the `expected` value after this request's only write.
    /// Transient.
    #[error(
        "The write counter is {found} and should be {expected} ({at}); the kernel dropped the \
         report data or something else wrote to the entry, so ask again with a new entry"
    )]
    GenerationRaced {
        /// Where.
        at: At,
        /// What it had to be.
        expected: u64,
        /// What it was.
        found: u64,
    },
    /// `generation` is no number but `found`: at most 64 characters, `?` for each unprintable one.
    #[error("The write counter reads \"{found}\" ({at}); it should be a decimal number")]
    GenerationUnreadable {
        /// Where.
        at: At,
        /// What it read.
        found: String,
    },
    /// The quotes of this machine are of the technology `found`: at most 64 characters, `?` for
    /// each unprintable one.
    #[error("The quote provider is \"{found}\" ({at}); it should be \"tdx_guest\", so run in a TD")]
    WrongProvider {
        /// Where.
        at: At,
        /// What it read.
        found: String,
    },
    /// The kernel took only the first `written` bytes of the report data.
    #[error("Only {written} bytes of report data were taken ({at}); it should be all 64 at once")]
    ShortWrite {
        /// Where.
        at: At,
        /// How many bytes.
        written: usize,
    },
    /// Every request failed in a way that could have passed.
    #[error(
        "No TDX quote after {attempts} attempts; see the last failure and check the host's quote \
         service"
    )]
    GaveUp {
        /// How many requests were made.
        attempts: u32,
        /// How the last one failed.
        #[source]
        last: Box<TsmError>,
    },
}

impl TsmError {
    /// Whether a new request may succeed without a change to the machine: `EBUSY`, `EINTR`,
    /// `ETIMEDOUT` and a raced `generation`. [`GaveUp`](Self::GaveUp) is final.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy(..)
                | Self::Interrupted(..)
                | Self::TimedOut(..)
                | Self::GenerationRaced { .. }
        )
    }
}

/// Says what an operation's error means. `ENOENT`, `EIO`, `EINVAL` and `EFBIG` have their meaning
/// at one step only; anywhere else they are unexpected.
pub(super) fn classify(step: Step, path: &Path, error: io::Error) -> TsmError {
    let path = path.to_path_buf();
    let variant = match (step, error.raw_os_error()) {
        (Step::Mkdir, Some(ENOENT)) => TsmError::NotATd,
        (_, Some(ENXIO)) => TsmError::NoProvider,
        (_, Some(EACCES | EPERM)) => TsmError::Permission,
        (_, Some(EBUSY)) => TsmError::Busy,
        (_, Some(EINTR)) => TsmError::Interrupted,
        (_, Some(ETIMEDOUT)) => TsmError::TimedOut,
        (Step::ReadOutblob, Some(EIO)) => TsmError::HostFailed,
        (Step::ReadOutblob, Some(EINVAL)) => TsmError::ReportDataRefused,
        (Step::ReadOutblob, Some(EFBIG)) => TsmError::KernelLimit,
        _ => TsmError::Io,
    };
    variant(At { step, path }, error)
}
