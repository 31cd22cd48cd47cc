#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod errors;

use std::{
    collections::HashMap,
    error::Error as _,
    sync::{Arc, Mutex},
    time::Instant,
};

use tempfile::TempDir;

use super::{error::*, *};

const DATA: [u8; REPORT_DATA_LEN] =
    *b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

/// What the fake kernel answers to the read of `outblob`.
#[derive(Clone, Debug)]
enum Answer {
    /// 5000 bytes with the content of `inblob` at this offset.
    QuoteAt(usize),
    Bytes(Vec<u8>),
}

/// The kernel's part in a plain folder. The client calls it before each of its own operations, so
/// that nothing depends on timing.
#[derive(Debug)]
pub(super) struct Kernel {
    provider: Vec<u8>,
    /// What the first, second and third read of `generation` give.
    generations: [Vec<u8>; 3],
    answer: Answer,
    /// Errors with this number at this step, this many times.
    fault: Mutex<Option<(Step, i32, u32)>>,
    /// Waits until this many entries exist before the quote is made.
    together: usize,
    /// Every entry ever made, with the number of its `generation` reads.
    entries: Mutex<HashMap<PathBuf, usize>>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            provider: b"tdx_guest\n".into(),
            generations: [b"0\n".into(), b"1\n".into(), b"1\n".into()],
            answer: Answer::QuoteAt(REPORT_DATA_V4),
            fault: Mutex::new(None),
            together: 1,
            entries: Mutex::default(),
        }
    }
}

impl Kernel {
    pub(super) fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        if let Some((at, errno, left)) = self.fault.lock().unwrap().as_mut()
            && *at == step
            && *left > 0
        {
            *left -= 1;
            return Err(io::Error::from_raw_os_error(*errno));
        }
        if step == Step::Mkdir {
            return Ok(());
        }
        let entry = path.parent().unwrap();
        match step {
            Step::ReadProvider => {
                let new = self.entries.lock().unwrap().insert(entry.into(), 0);
                assert_eq!(new, None, "an entry was used twice");
                fs::write(path, &self.provider)?;
                for name in [GENERATION, INBLOB, OUTBLOB] {
                    fs::write(entry.join(name), [])?;
                }
            }
            Step::ReadGeneration => {
                let mut entries = self.entries.lock().unwrap();
                let reads = entries.get_mut(entry).unwrap();
                fs::write(path, &self.generations[*reads])?;
                *reads += 1;
            }
            Step::ReadOutblob => {
                self.wait_for_the_others();
                let inblob = fs::read(entry.join(INBLOB))?;
                assert_eq!(inblob.len(), REPORT_DATA_LEN);
                fs::write(path, self.answer_to(&inblob))?;
            }
            Step::Mkdir | Step::WriteInblob => {}
        }
        Ok(())
    }

    fn answer_to(&self, inblob: &[u8]) -> Vec<u8> {
        match &self.answer {
            Answer::QuoteAt(start) => quote_at(*start, inblob),
            Answer::Bytes(bytes) => bytes.clone(),
        }
    }

    fn wait_for_the_others(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.entries() < self.together {
            assert!(Instant::now() < end, "the other request never came");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn entries(&self) -> usize {
        self.entries.lock().unwrap().len()
    }
}

fn quote_at(start: usize, inblob: &[u8]) -> Vec<u8> {
    let mut quote = vec![0xee; 5000];
    quote[start..start + inblob.len()].copy_from_slice(inblob);
    quote
}

struct Bench {
    root: TempDir,
    kernel: Arc<Kernel>,
    source: TsmSource,
}

impl Bench {
    fn new(kernel: Kernel) -> Self {
        let root = TempDir::new().unwrap();
        let kernel = Arc::new(kernel);
        let mut source = TsmSource::at(root.path())
            .with_attempts(3)
            .with_pause(Duration::ZERO);
        source.kernel = Some(Arc::clone(&kernel));
        Self {
            root,
            kernel,
            source,
        }
    }

    /// The result of one call, after which no entry may be left.
    fn quote(&self) -> Result<Vec<u8>, TsmError> {
        let result = self.source.quote(&DATA);
        assert_eq!(fs::read_dir(self.root.path()).unwrap().count(), 0);
        result
    }

    /// The error of one call that made this many entries.
    fn error(&self, entries: usize) -> TsmError {
        let error = self.quote().unwrap_err();
        assert_eq!(self.kernel.entries(), entries);
        check_message(&error);
        error
    }
}

/// The rules that hold for every message.
fn check_message(error: &TsmError) {
    let message = error.to_string();
    assert!(!message.ends_with('.'), "{message}");
    assert!(message.starts_with(char::is_uppercase), "{message}");
    assert!(!message.contains("  "), "{message}");
    if let Some(source) = error.source() {
        assert!(!message.contains(&source.to_string()), "{message}");
    }
}

fn kernel_with_fault(step: Step, errno: i32, times: u32) -> Kernel {
    Kernel {
        fault: Mutex::new(Some((step, errno, times))),
        ..Kernel::default()
    }
}

#[test]
fn quotes_of_both_versions_are_returned_whole() {
    for start in [REPORT_DATA_V4, REPORT_DATA_V5] {
        let bench = Bench::new(Kernel {
            answer: Answer::QuoteAt(start),
            ..Kernel::default()
        });
        assert_eq!(bench.quote().unwrap(), quote_at(start, &DATA));
        assert_eq!(bench.kernel.entries(), 1);
    }
}

#[test]
fn the_counter_may_start_anywhere() {
    let max = u64::MAX.to_string();
    for (old, new) in [("41", "42"), (max.as_str(), "0")] {
        let bench = Bench::new(Kernel {
            generations: [old, new, new].map(|text| text.as_bytes().to_vec()),
            ..Kernel::default()
        });
        bench.quote().unwrap();
    }
}

#[test]
fn a_lost_commit_is_repeated_with_a_new_entry_and_then_given_up() {
    let bench = Bench::new(Kernel {
        generations: [b"7\n".into(), b"7\n".into(), b"7\n".into()],
        ..Kernel::default()
    });
    let error = bench.error(3);
    assert!(!error.is_transient());
    let TsmError::GaveUp { attempts: 3, last } = error else {
        panic!("{error:?}");
    };
    check_message(&last);
    assert!(last.is_transient());
    assert!(matches!(
        *last,
        TsmError::GenerationRaced {
            expected: 8,
            found: 7,
            ..
        }
    ));
}

#[test]
fn a_write_during_the_read_is_repeated_and_then_given_up() {
    let bench = Bench::new(Kernel {
        generations: [b"0\n".into(), b"1\n".into(), b"2\n".into()],
        ..Kernel::default()
    });
    let TsmError::GaveUp { attempts: 3, last } = bench.error(3) else {
        panic!("not given up");
    };
    assert!(matches!(
        *last,
        TsmError::GenerationRaced {
            expected: 1,
            found: 2,
            ..
        }
    ));
}

#[test]
fn transient_errors_pass_when_the_next_attempt_succeeds() {
    for errno in [EBUSY, EINTR, ETIMEDOUT] {
        let bench = Bench::new(kernel_with_fault(Step::ReadOutblob, errno, 2));
        bench.quote().unwrap();
        assert_eq!(bench.kernel.entries(), 3);

        let bench = Bench::new(kernel_with_fault(Step::ReadOutblob, errno, 3));
        assert!(matches!(
            bench.error(3),
            TsmError::GaveUp { attempts: 3, .. }
        ));
    }
}

#[test]
fn every_other_error_ends_the_call_at_once() {
    for errno in [EIO, EINVAL, EFBIG, ENXIO, EACCES, EPERM, ENOENT, 12] {
        for step in [
            Step::ReadProvider,
            Step::ReadGeneration,
            Step::WriteInblob,
            Step::ReadOutblob,
        ] {
            let bench = Bench::new(kernel_with_fault(step, errno, 1));
            let entries = usize::from(step != Step::ReadProvider);
            assert!(!bench.error(entries).is_transient());
        }
    }
}

#[test]
fn an_error_on_mkdir_leaves_nothing() {
    let bench = Bench::new(kernel_with_fault(Step::Mkdir, ENXIO, 1));
    assert!(matches!(bench.error(0), TsmError::NoProvider(..)));
}

#[test]
fn without_the_interface_this_is_no_td() {
    let root = TempDir::new().unwrap();
    let error = TsmSource::at(root.path().join("tsm/report"))
        .quote(&DATA)
        .unwrap_err();
    assert!(matches!(error, TsmError::NotATd(..)));
    check_message(&error);
}

#[test]
fn a_folder_that_no_kernel_fills_is_an_error() {
    let root = TempDir::new().unwrap();
    let error = TsmSource::at(root.path()).quote(&DATA).unwrap_err();
    let TsmError::Io(At { step, .. }, _) = error else {
        panic!("{error:?}");
    };
    assert_eq!(step, Step::ReadProvider);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn an_empty_quote_is_an_error() {
    let bench = Bench::new(Kernel {
        answer: Answer::Bytes(Vec::new()),
        ..Kernel::default()
    });
    assert!(matches!(bench.error(1), TsmError::EmptyQuote(..)));
}

#[test]
fn the_longest_quote_passes_and_one_byte_more_does_not() {
    let mut longest = quote_at(REPORT_DATA_V4, &DATA);
    longest.resize(MAX_QUOTE_LEN, 0);
    let mut longer = longest.clone();
    longer.push(0);

    let bench = Bench::new(Kernel {
        answer: Answer::Bytes(longest.clone()),
        ..Kernel::default()
    });
    assert_eq!(bench.quote().unwrap(), longest);

    let bench = Bench::new(Kernel {
        answer: Answer::Bytes(longer),
        ..Kernel::default()
    });
    assert!(matches!(bench.error(1), TsmError::QuoteTooLong(..)));
}

#[test]
fn another_provider_is_named_and_refused() {
    let long = "x".repeat(300);
    for (provider, shown) in [
        ("sev_guest\n", "sev_guest"),
        ("", ""),
        ("tdx_guest2", "tdx_guest2"),
        ("a\u{1b}[31m\u{e9}", "a?[31m??"),
        (long.as_str(), &long[..MAX_SHOWN_LEN]),
    ] {
        let bench = Bench::new(Kernel {
            provider: provider.into(),
            ..Kernel::default()
        });
        let error = bench.error(1);
        let TsmError::WrongProvider { found, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(found, shown);
        assert!(
            error
                .to_string()
                .contains(&format!("is \"{shown}\" (read of "))
        );
    }
}

#[test]
fn a_counter_that_is_no_number_is_an_error() {
    let long = "1".repeat(300);
    let texts: [&[u8]; 7] = [
        b"",
        b"\n",
        b"-1",
        b"0x1",
        b"one\n",
        b"\xff\xfe",
        long.as_bytes(),
    ];
    for text in texts {
        for position in 0..3 {
            let mut kernel = Kernel::default();
            kernel.generations[position] = text.into();
            let error = Bench::new(kernel).error(1);
            let TsmError::GenerationUnreadable { found, .. } = error else {
                panic!("{error:?}");
            };
            assert!(found.len() <= MAX_SHOWN_LEN);
        }
    }
}

#[test]
fn a_quote_without_the_report_data_is_an_error() {
    let cut = quote_at(REPORT_DATA_V4, &DATA)[..REPORT_DATA_V4 + 63].to_vec();
    for answer in [
        Answer::QuoteAt(REPORT_DATA_V4 + 1),
        Answer::QuoteAt(REPORT_DATA_V5 + 1),
        Answer::QuoteAt(0),
        Answer::Bytes(cut),
        Answer::Bytes(vec![0]),
    ] {
        let bench = Bench::new(Kernel {
            answer,
            ..Kernel::default()
        });
        assert!(matches!(bench.error(1), TsmError::ReportDataMissing { .. }));
    }
}

#[test]
fn parallel_requests_use_entries_of_their_own() {
    let bench = Bench::new(Kernel {
        together: 2,
        ..Kernel::default()
    });
    let other = [7; REPORT_DATA_LEN];
    thread::scope(|scope| {
        let first = scope.spawn(|| bench.source.quote(&DATA));
        let second = scope.spawn(|| bench.source.clone().quote(&other));
        assert!(carries(&first.join().unwrap().unwrap(), &DATA));
        assert!(carries(&second.join().unwrap().unwrap(), &other));
    });
    assert_eq!(bench.kernel.entries(), 2);
    assert_eq!(fs::read_dir(bench.root.path()).unwrap().count(), 0);
}

#[test]
fn reads_stop_at_their_limit() {
    assert_eq!(read(Path::new("/dev/zero"), 300).unwrap(), [0; 300]);
    assert_eq!(read(Path::new("/dev/null"), 300).unwrap(), [0; 0]);
}

#[test]
fn the_pause_doubles_up_to_its_limit() {
    let pauses: Vec<_> =
        std::iter::successors(Some(DEFAULT_PAUSE), |&pause| Some(next_pause(pause)))
            .take(6)
            .map(|pause| pause.as_millis())
            .collect();
    assert_eq!(pauses, [500, 1000, 2000, 4000, 5000, 5000]);
    assert_eq!(next_pause(Duration::MAX), MAX_PAUSE);
}

#[test]
fn settings_have_sensible_bounds() {
    let source = TsmSource::default();
    assert_eq!(source.root, Path::new("/sys/kernel/config/tsm/report"));
    assert_eq!((source.attempts, source.pause), (5, DEFAULT_PAUSE));
    let source = source.with_attempts(0).with_pause(Duration::MAX);
    assert_eq!((source.attempts, source.pause), (1, MAX_PAUSE));
}
