//! `confirm`: boots an image on a TDX host, and writes down what that confirms.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Manifest, Report, Shape,
    confirm::{Row, Said, Verdict, judge},
    digest::sha256,
    report::MAX_REPORT,
};
use clap::Args;
use serde_json::json;

use crate::cli::{
    Failure, Outcome,
    files::{self, FileError},
    say, say_json,
};

/// Longest line of a console, in bytes, and most lines of it.
const MAX_LINE: u64 = 64 << 10;
const MAX_LINES: usize = 20_000;
/// How long a guest may take to power off before it is ended.
const GRACE: Duration = Duration::from_mins(1);

/// Arguments of `confirm`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The release manifest of the image
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// The image: zipnet-run-qemu.sh
    #[arg(long, value_name = "FILE")]
    launcher: PathBuf,
    /// A configuration of the guest; with `GUEST_EVENT_LOG=yes` it prints its event log
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Which shape of the manifest
    #[arg(long, value_name = "ID", default_value = "2c2G")]
    shape: String,
    /// The launcher's --accel; with anything but tdx, nothing is confirmed
    #[arg(long, value_name = "KIND", default_value = "tdx")]
    accel: String,
    /// The launcher's --quotes
    #[arg(long, value_name = "WHERE")]
    quotes: Option<String>,
    /// Socket of a swtpm (--ctrl type=unixio): boots once more with that TPM (D1)
    #[arg(long, value_name = "SOCKET")]
    tpm: Option<PathBuf>,
    /// Seconds that a boot may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    within: u64,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print the file, too
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let bytes = files::read(&arguments.manifest, MAX_REPORT)?;
    let manifest =
        Manifest::from_json(&bytes).map_err(|error| Failure::input(&arguments.manifest, error))?;
    let known = || manifest.shapes.iter().map(|shape| shape.id.as_str());
    let report = manifest.report(&arguments.shape).ok_or_else(|| {
        let known = known().collect::<Vec<_>>().join(", ");
        let shape = &arguments.shape;
        Failure::Usage(format!("The manifest has no shape {shape}; it has {known}"))
    })?;
    let boot = boot(arguments, &report, &[])?;
    let with_tpm = arguments
        .tpm
        .as_ref()
        .map(|socket| {
            let socket = socket.display().to_string().replace(',', ",,");
            let chardev = format!("socket,id=tpm,path={socket}");
            let words = [
                "-chardev",
                &chardev,
                "-tpmdev",
                "emulator,id=tpm,chardev=tpm",
                "-device",
                "tpm-crb,tpmdev=tpm",
            ];
            self::boot(arguments, &report, &words)
        })
        .transpose()?;
    let rows = judge(&report, &boot, with_tpm.as_ref());
    let record = json!({
        "version": manifest.version,
        "manifest": sha256(&bytes),
        "machine": manifest.machine,
        "shape": arguments.shape,
        "accel": arguments.accel,
        "rows": rows,
        "boot": { "td": boot.td, "registers": boot.registers, "event_log": hex::encode(&boot.log) },
    });
    let mut text = serde_json::to_vec_pretty(&record).map_err(|source| FileError::Write {
        path: arguments.out.clone(),
        source: source.into(),
    })?;
    text.push(b'\n');
    files::write(&arguments.out, &text)?;
    if arguments.json {
        say_json(&record);
    } else {
        rows.iter().for_each(tell);
        say(&format!("All of it is in {}.", arguments.out.display()));
    }
    let all = rows.iter().all(|row| row.verdict == Verdict::Confirmed);
    Ok(if all { Outcome::Done } else { Outcome::Differs })
}

fn tell(row: &Row) {
    let verdict = match row.verdict {
        Verdict::Confirmed => "confirmed",
        Verdict::Wrong => "WRONG    ",
        Verdict::NotSeen => "not seen ",
    };
    say(&format!(
        "{verdict}  {}\n           {}",
        row.what, row.because
    ));
}

/// Starts the image and listens until it has said enough, ended, or taken too long.
fn boot(arguments: &Arguments, report: &Report, more: &[&str]) -> Result<Said, Failure> {
    let shape = report.shape.unwrap_or(Shape { cpus: 1, memory: 0 });
    let mut launcher = Command::new(&arguments.launcher);
    launcher
        .args(["--accel", &arguments.accel, "--cpus"])
        .arg(shape.cpus.to_string())
        .args(["--memory", &format!("{}M", shape.memory >> 20)])
        .arg("--config")
        .arg(&arguments.config);
    if let Some(quotes) = &arguments.quotes {
        launcher.args(["--quotes", quotes]);
    }
    launcher.arg("--").args(more);
    let mut guest = launcher
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| {
            Failure::File(FileError::Read {
                path: arguments.launcher.clone(),
                source,
            })
        })?;
    let (send, lines) = sync_channel(64);
    if let Some(console) = guest.stdout.take() {
        thread::spawn(move || read(console, &send));
    }
    let end = Instant::now() + Duration::from_secs(arguments.within);
    let mut said = Said::default();
    for _ in 0..MAX_LINES {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => said.line(&line),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
        if said.is_whole() {
            break;
        }
    }
    // It may say more while it ends; nobody is to wait for a full pipe.
    thread::spawn(move || lines.iter().for_each(drop));
    stop(&mut guest);
    Ok(said)
}

fn read(console: impl std::io::Read, lines: &SyncSender<String>) {
    let mut console = BufReader::new(console);
    loop {
        let mut line = Vec::new();
        match console.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            _ => return,
        }
        if lines
            .send(String::from_utf8_lossy(&line).into_owned())
            .is_err()
        {
            return;
        }
    }
}

/// The launcher presses the power button at SIGTERM.
fn stop(guest: &mut Child) {
    let pid = guest.id().to_string();
    let _ = Command::new("kill").args(["-TERM", &pid]).status();
    let end = Instant::now() + GRACE;
    while Instant::now() < end {
        if !matches!(guest.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let _ = guest.kill();
    let _ = guest.wait();
}
