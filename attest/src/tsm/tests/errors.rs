//! What each errno means, and what is said of it.

use super::*;

fn verb(step: Step) -> &'static str {
    match step {
        Step::Mkdir => "mkdir in",
        Step::ReadProvider | Step::ReadGeneration | Step::ReadOutblob => "read of",
        Step::WriteInblob => "write to",
    }
}

#[test]
fn every_errno_has_its_meaning_and_its_sentence() {
    let all = [
        Step::Mkdir,
        Step::ReadProvider,
        Step::ReadGeneration,
        Step::WriteInblob,
        Step::ReadOutblob,
    ];
    let outblob = [Step::ReadOutblob];
    let table: [(i32, &[Step], &str); 10] = [
        (
            ENOENT,
            &[Step::Mkdir],
            "No configfs-tsm interface is present (STEP /r); run in a TD with Linux 6.7 or \
             later, configfs mounted and the kernel's tsm report support loaded",
        ),
        (
            ENXIO,
            &all,
            "No TDX quote provider is registered (STEP /r); load the kernel module tdx_guest in a \
             TD",
        ),
        (
            EACCES,
            &all,
            "The TDX quote interface refuses this user (STEP /r); run as root",
        ),
        (
            EPERM,
            &all,
            "The TDX quote interface refuses this user (STEP /r); run as root",
        ),
        (
            EBUSY,
            &all,
            "An earlier quote request is still in flight at the host (STEP /r); wait for the \
             host's quote service to answer",
        ),
        (
            EINTR,
            &all,
            "A signal ended the quote request early (STEP /r); ask again",
        ),
        (
            ETIMEDOUT,
            &all,
            "The host did not answer the quote request in time (STEP /r); check that the host's \
             quote service runs and is reachable",
        ),
        (
            EIO,
            &outblob,
            "The host failed to make a quote (STEP /r); check the quote service and its \
             provisioning on the host",
        ),
        (
            EINVAL,
            &outblob,
            "The kernel did not accept the report data (STEP /r); it takes exactly 64 bytes, \
             so check that nothing else writes to the entry",
        ),
        (
            EFBIG,
            &outblob,
            "The host's quote is larger than this kernel allows (STEP /r); use a kernel that \
             fits the platform's quotes",
        ),
    ];
    let unexpected = "The quote request failed unexpectedly (STEP /r); see the cause and check \
                      the kernel's log";
    for (errno, steps, sentence) in table {
        for step in all {
            let error = classify(step, Path::new("/r"), io::Error::from_raw_os_error(errno));
            let expected = if steps.contains(&step) {
                sentence
            } else {
                unexpected
            };
            assert_eq!(error.to_string(), expected.replace("STEP", verb(step)));
            check_message(&error);
            let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
            assert_eq!(source.raw_os_error(), Some(errno));
            let transient = [EBUSY, EINTR, ETIMEDOUT].contains(&errno);
            assert_eq!(error.is_transient(), transient);
        }
    }
}

#[test]
fn an_errno_has_its_own_variant() {
    let kind = |errno, step| {
        let error = classify(step, Path::new("/r"), io::Error::from_raw_os_error(errno));
        let text = format!("{error:?}");
        text.split('(').next().unwrap().to_owned()
    };
    assert_eq!(kind(ENOENT, Step::Mkdir), "NotATd");
    assert_eq!(kind(ENXIO, Step::Mkdir), "NoProvider");
    assert_eq!(kind(EACCES, Step::Mkdir), "Permission");
    assert_eq!(kind(EPERM, Step::Mkdir), "Permission");
    assert_eq!(kind(EBUSY, Step::ReadOutblob), "Busy");
    assert_eq!(kind(EINTR, Step::ReadOutblob), "Interrupted");
    assert_eq!(kind(ETIMEDOUT, Step::ReadOutblob), "TimedOut");
    assert_eq!(kind(EIO, Step::ReadOutblob), "HostFailed");
    assert_eq!(kind(EINVAL, Step::ReadOutblob), "ReportDataRefused");
    assert_eq!(kind(EFBIG, Step::ReadOutblob), "KernelLimit");
    assert_eq!(kind(ENOENT, Step::ReadProvider), "Io");
    assert_eq!(kind(12, Step::Mkdir), "Io");

    // An error without a number is unexpected, too.
    let error = classify(Step::Mkdir, Path::new("/r"), io::ErrorKind::NotFound.into());
    assert!(matches!(error, TsmError::Io(..)));
}

#[test]
fn a_short_write_has_its_sentence() {
    let error = TsmError::ShortWrite {
        at: At {
            step: Step::WriteInblob,
            path: "/r/inblob".into(),
        },
        written: 63,
    };
    check_message(&error);
    assert!(!error.is_transient());
}
