//! The quote path in a guest: the kernel's own configfs-tsm, driven by
//! `zipnet_attest::tsm` from a statement to evidence that verifies.
//!
//! The guest is no TD. Its provider is the module `faketsm`, behind which the
//! program `zipnet-tsm-probe` makes simulated quotes: see `tests/tsm/README.md`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use zipnet_attest::{
    Collateral, Evidence, Expected, Statement, TrustRoot, Verifier,
    quote::MAX_QUOTE,
    simulation::{IMAGE, Publisher},
    tsm::DEFAULT_ROOT,
};
use zipnet_image::{
    modules,
    newc::{self, Archive, Entry},
};
use zipnet_tests::{
    guest,
    process::{Failed, Process, TestResult},
};

/// What a boot may take on a busy machine; 7 s are usual.
const LIMIT: Duration = Duration::from_mins(3);
/// QEMU without acceleration, which works everywhere.
const QEMU: &str =
    "-accel tcg -cpu max -machine q35 -m 512M -nodefaults -display none -no-reboot -serial stdio";
/// Seed of the simulated Intel, which is in the guest as well.
const SEED: &str = "tsm-guest";

/// Kernel, QEMU, module and program.
fn machine() -> TestResult<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = guest::machine();
    let status = Command::new(repository.join("scripts/tsm-guest.sh"))
        .arg(&dir)
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        Ok(dir)
    } else {
        Err(Failed::because("scripts/tsm-guest.sh says why"))
    }
}

/// The probe as `/init`, and the modules that it loads.
fn initramfs(machine: &Path) -> TestResult<Vec<u8>> {
    let found = modules::find(&machine.join("kernel-only/lib/modules"))?;
    let console = Entry::Device {
        mode: 0o600,
        number: (5, 1),
    };
    let mut archive = Archive::from([
        ("dev".to_owned(), Entry::Folder { mode: 0o755 }),
        ("dev/console".to_owned(), console),
    ]);
    for (name, mode, data) in [
        ("init", 0o755, fs::read(machine.join("tsm-probe"))?),
        ("configfs.ko", 0o644, modules::load(&found, "configfs")?),
        ("tsm.ko", 0o644, modules::load(&found, "tsm")?),
        ("faketsm.ko", 0o644, fs::read(machine.join("faketsm.ko"))?),
    ] {
        archive.insert(name.to_owned(), Entry::File { mode, data });
    }
    Ok(newc::write(&archive)?)
}

/// The answers of a guest, by question.
struct Answers(BTreeMap<String, Value>);

impl Answers {
    /// Boots a guest with these variables and waits until it has powered off.
    fn of_a_guest(variables: &[(&str, String)]) -> TestResult<Self> {
        let machine = machine()?;
        let dir = tempfile::tempdir()?;
        let initrd = dir.path().join("initrd");
        fs::write(&initrd, initramfs(&machine)?)?;
        // The kernel makes what it does not know the environment of PID 1.
        let mut append = "console=ttyS0 panic=-1 quiet".to_owned();
        for (name, value) in variables {
            let _ = write!(append, " {name}={value}");
        }
        let mut qemu = Command::new(machine.join("bin/qemu-system-x86_64"));
        qemu.args(QEMU.split(' '))
            .arg("-kernel")
            .arg(machine.join("vmlinuz"))
            .arg("-initrd")
            .arg(&initrd)
            .args(["-append", &append]);
        let mut guest = Process::start("the guest", qemu, None)?;
        guest.expect_json(0, "that it is through", LIMIT, |answer| {
            answer["question"] == "end"
        })?;
        guest.wait(LIMIT)?;
        let answers = guest.json_since(0).into_iter().map(|answer| {
            let question = answer["question"].as_str().unwrap_or_default();
            (question.to_owned(), answer)
        });
        Ok(Self(answers.collect()))
    }

    fn to(&self, question: &str) -> TestResult<&Value> {
        let answer = self.0.get(question);
        answer.ok_or_else(|| Failed::because(format!("no answer to {question:?} in {:?}", self.0)))
    }

    /// An answer that is an error of this variant.
    fn failed(&self, question: &str, variant: &str) -> TestResult<&Value> {
        let answer = self.to(question)?;
        assert_eq!(answer["error"], variant, "{answer}");
        let text = answer["text"].as_str().unwrap_or_default();
        assert!(text.contains(DEFAULT_ROOT), "{text}");
        Ok(answer)
    }

    /// Bytes of an answer.
    fn bytes(&self, question: &str, field: &str) -> TestResult<Vec<u8>> {
        let answer = self.to(question)?;
        let hex = answer[field].as_str();
        let hex = hex.ok_or_else(|| Failed::because(format!("no {field}: {answer}")))?;
        Ok(hex::decode(hex)?)
    }
}

#[test]
fn quotes_come_through_the_kernels_own_interface() -> TestResult {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let publisher = Publisher::new(SEED.as_bytes(), now - 3600)?;
    let expected = Expected {
        instance: [1; 32],
        server: [2; 32],
        peer: [3; 32],
        x25519: [4; 32],
        signing: [5; 32],
    };
    let statement = expected.statement(6, now - 60..now + 3600, [8; 32], [9; 32]);
    let answers = Answers::of_a_guest(&[
        ("SEED", SEED.to_owned()),
        ("ISSUED", publisher.issued().to_string()),
        ("STATEMENT", hex::encode(statement.encode())),
    ])?;

    evidence_verifies(&answers, &publisher, &expected, &statement, now)?;
    errors_are_what_they_mean(&answers)?;

    // Somebody else's write to the entry is noticed; nothing is left behind.
    let race = answers.failed("race", "GenerationRaced")?;
    assert_eq!(race["entries"], 0, "{race}");
    assert_eq!(answers.to("end")?["entries"], 0);
    Ok(())
}

/// From the statement to a verdict, and whatever else the guest calls a quote.
fn evidence_verifies(
    answers: &Answers,
    publisher: &Publisher,
    expected: &Expected,
    statement: &Statement,
    now: u64,
) -> TestResult {
    let world = publisher.world()?;
    let root = TrustRoot::Other(world.root_der().to_vec());
    let verifier = Verifier::new(publisher.policy(1)?, root)?;
    let collateral = Collateral::new(world.collateral().clone())?;

    let evidence = Evidence::decode(&answers.bytes("statement", "evidence")?)?;
    let server = verifier.verify(&evidence, &collateral, expected, now)?;
    assert_eq!(server.statement(), statement);
    assert_eq!(server.image(), IMAGE);
    let answer = answers.to("statement")?;
    assert_eq!(
        (&answer["asked"], &answer["entries"]),
        (&1.into(), &0.into())
    );

    for (question, byte) in [("first", 1), ("second", 2), ("busy once", 7)] {
        let quote = answers.bytes(question, "quote")?;
        verifier.verify_td(&quote, &[byte; 64], &collateral, now)?;
    }
    // A verifier takes less than the kernel gives, zeros at the end included.
    let mut longest = answers.bytes("longest", "quote")?;
    assert_eq!(longest.len(), 32 << 10);
    longest.truncate(MAX_QUOTE);
    verifier.verify_td(&longest, &[7; 64], &collateral, now)?;
    assert_eq!(answers.to("busy once")?["asked"], 2);
    Ok(())
}

/// Every error of the kernel arrives as the variant that says what to do.
fn errors_are_what_they_mean(answers: &Answers) -> TestResult {
    for (question, variant) in [
        ("nothing", "NotATd"),
        ("configfs", "NotATd"),
        ("tsm", "NoProvider"),
        ("faketsm", "WrongProvider"),
        ("unprivileged", "Permission"),
    ] {
        answers.failed(question, variant)?;
    }
    let silence = answers.failed("silence", "TimedOut")?;
    assert_eq!(silence["attempts"], 3, "{silence}");
    assert_eq!(silence["entries"], 0, "{silence}");
    // What may pass is asked again, the rest is not.
    for (question, variant, attempts) in [
        ("EBUSY", "Busy", Some(3)),
        ("EINTR", "Interrupted", Some(3)),
        ("EIO", "HostFailed", None),
        ("EINVAL", "ReportDataRefused", None),
        ("EACCES", "Permission", None),
        ("ENXIO", "NoProvider", None),
        ("ENOMEM", "Io", None),
        ("other data", "ReportDataMissing", None),
        ("empty", "EmptyQuote", None),
        ("too long", "KernelLimit", None),
    ] {
        let answer = answers.failed(question, variant)?;
        assert_eq!(answer["attempts"], Value::from(attempts), "{answer}");
        assert_eq!(answer["asked"], attempts.unwrap_or(1), "{answer}");
        assert_eq!(answer["entries"], 0, "{answer}");
    }
    Ok(())
}
