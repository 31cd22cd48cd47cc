//! `zipnet-host` with real guests: the local image under emulation, from launch to
//! upgrade, and its domain before libvirt's own schema.
#![allow(missing_docs)]

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use zipnet_measurements::{Manifest, digest::sha256};
use zipnet_tests::{
    cluster::{Cluster, Settings},
    guest::{BOOT, Image, POWER_OFF, SHAPE, machine, provisioned},
    process::{Failed, Process, TestResult, command, eventually},
    server::{free_port, free_udp_port},
};

/// A host with one guest of a cluster.
struct Host {
    cluster: Cluster,
    image: Image,
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> TestResult<Self> {
        let image = Image::of("local")?;
        let cluster = Cluster::new(Settings::default())?.attested_as(&image)?;
        let folder = tempfile::tempdir()?;
        let config = cluster.guest_config(&image).to_string();
        fs::write(folder.path().join("server-1.conf"), config)?;
        Ok(Self {
            cluster,
            image,
            folder,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> TestResult<Command> {
        let mut command = command("zipnet-host")?;
        command
            .env("ZIPNET_RUN", self.path("run"))
            .env("QEMU", self.image.program("qemu-system-x86_64"))
            .current_dir(self.folder.path())
            .args(arguments);
        Ok(command)
    }

    fn run(&self, arguments: &[&str]) -> TestResult<(ExitStatus, String)> {
        let what = format!("zipnet-host {}", arguments.join(" "));
        let command = self.command(arguments)?;
        let (status, lines) = Process::run(&what, command, BOOT + POWER_OFF)?;
        Ok((status, lines.join("\n")))
    }

    fn good(&self, arguments: &[&str]) -> TestResult<String> {
        let (status, said) = self.run(arguments)?;
        if status.success() {
            Ok(said)
        } else {
            Err(Failed::because(format!("{arguments:?}: {status}: {said}")))
        }
    }

    fn status(&self) -> TestResult<Value> {
        let said = self.good(&["status", "server-1", "--json"])?;
        let all: Value = serde_json::from_str(&said)?;
        Ok(all[0].clone())
    }

    fn console(&self, words: &str, limit: Duration) -> TestResult {
        let console = self.path("run/guests/server-1/console.log");
        eventually(words, limit, || {
            let text = fs::read_to_string(&console).ok()?;
            text.contains(words).then_some(())
        })?;
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.run(&["stop", "server-1", "--grace", "1s"]);
    }
}

/// The image with a kernel that does not start, whose files fit each other all the same.
fn broken(image: &Image, folder: &Path) -> TestResult {
    let read = |name: &str| fs::read(image.folder.join(name));
    let firmware = read("zipnet-ovmf.fd")?;
    let mut unified = read("zipnet-image.efi")?;
    let kernel = read("zipnet-vmlinuz")?;
    let at = unified
        .windows(4096)
        .position(|part| kernel.starts_with(part));
    let at = at.ok_or_else(|| Failed::because("the kernel is not in the image"))?;
    // Of what the kernel unpacks itself from.
    let middle = at + kernel.len() / 2;
    for byte in &mut unified[middle..middle + 4096] {
        *byte ^= 0x55;
    }
    let mut manifest = Manifest::from_json(&read("manifest.json")?)?;
    "0.1.1-broken".clone_into(&mut manifest.version);
    if let Some(part) = &mut manifest.inputs.unified {
        part.sha256 = sha256(&unified);
    }
    let launcher =
        zipnet_image::launcher::launcher(zipnet_image::Flavor::Local, &firmware, &unified);
    let manifest = serde_json::to_vec(&manifest)?;
    let sums = format!(
        "{}  zipnet-run-qemu.sh\n{}  manifest.json\n",
        sha256(&launcher),
        sha256(&manifest)
    );
    fs::create_dir_all(folder)?;
    fs::write(folder.join("zipnet-run-qemu.sh"), launcher)?;
    fs::write(folder.join("manifest.json"), manifest)?;
    fs::write(folder.join("SHA256SUMS"), sums)?;
    Ok(())
}

#[test]
fn a_host_launches_keeps_and_upgrades_a_guest() -> TestResult {
    let host = Host::new()?;
    let folder = host.image.folder.display().to_string();
    let (server, provision) = (free_udp_port(), free_port());
    let forwards = [
        format!("udp:{server}:4400"),
        format!("tcp:{provision}:7650"),
    ];
    // The doctor finds this machine no TDX host, and the image as it should be.
    let (status, said) = host.run(&["doctor", "--image", &folder, "--shape", SHAPE, "--json"])?;
    assert_eq!(status.code(), Some(1), "{said}");
    let found: Value = serde_json::from_str(&said)?;
    for name in ["image", "shape", "qemu"] {
        let checks = found["checks"].as_array().into_iter().flatten();
        let verdicts: Vec<_> = checks
            .filter(|check| check["name"] == name)
            .map(|check| &check["verdict"])
            .collect();
        assert_eq!(verdicts, ["ok"], "{found:#}");
    }
    let said = host.good(&[
        "launch",
        "server-1",
        "--image",
        &folder,
        "--config",
        "server-1.conf",
        "--shape",
        SHAPE,
        "--accel",
        "tcg",
        "--forward",
        &forwards[0],
        "--forward",
        &forwards[1],
    ])?;
    assert!(
        said.contains("The guest server-1 waits for its secrets."),
        "{said}"
    );
    assert!(
        said.contains(&format!("zipnet-attest provision {provision} --config")),
        "{said}"
    );
    // Whoever watches is killed, and the guest does not notice: QEMU writes on.
    let holder = fs::read_to_string(host.path("run/guests/server-1/supervisor.lock"))?;
    let pid: i32 = holder.rsplit(' ').next().unwrap_or_default().parse()?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    let before = eventually("nobody watches", POWER_OFF, || {
        host.status()
            .ok()
            .filter(|status| status["state"] == "unwatched")
    })?;
    // What it says now, nobody reads.
    TcpStream::connect(provision)?.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let said = host.good(&["launch", "server-1"])?;
    assert!(said.contains("it is taken up as it is"), "{said}");
    let config = host.path("server-1.conf");
    provisioned(host.cluster.provisioning(0, provision, &config)?)?;
    let after = eventually("it serves", BOOT, || {
        host.status()
            .ok()
            .filter(|status| status["phase"] == "serving")
    })?;
    assert_eq!(after["state"], "running", "{after:#}");
    assert_eq!(after["pid"], before["pid"], "{after:#}");

    // An image that does not start: the old one comes back.
    broken(&host.image, &host.path("broken"))?;
    let (status, said) = host.run(&["upgrade", "server-1", "--image", "broken"])?;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("The guest server-1 runs its old image again"),
        "{said}"
    );
    let status = host.status()?;
    assert_eq!(
        (&status["phase"], &status["generation"]),
        (&"waiting".into(), &3.into()),
        "{status:#}"
    );
    assert_eq!(
        status["version"],
        host.image.manifest.version.as_str(),
        "{status:#}"
    );

    // The power button, and nothing is left.
    let said = host.good(&["stop", "server-1"])?;
    assert!(said.contains("has powered off"), "{said}");
    host.console("init: the power button was pressed", POWER_OFF)?;
    assert_eq!(host.status()?["state"], "stopped");
    assert!(!host.path("run/guests/server-1/work").exists());
    Ok(())
}

#[test]
fn a_port_that_is_taken_is_told() -> TestResult {
    let host = Host::new()?;
    let folder = host.image.folder.display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let forward = format!("tcp:{}:7650", taken.local_addr()?);
    let (status, said) = host.run(&[
        "launch",
        "server-1",
        "--image",
        &folder,
        "--config",
        "server-1.conf",
        "--shape",
        SHAPE,
        "--accel",
        "tcg",
        "--forward",
        &forward,
    ])?;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("It ended before it was up")
            && said.contains("Could not set up host forwarding rule"),
        "{said}"
    );
    Ok(())
}

/// libvirt's own validator, with the schema that was unpacked beside it.
fn validated(host: &Host, xml: &str) -> TestResult {
    let libvirt = machine().join("libvirt-only");
    let script = fs::read_to_string(libvirt.join("usr/bin/virt-xml-validate"))?;
    let schemas = libvirt.join("usr/share/libvirt/schemas");
    let here = script.replace("/usr/share/libvirt/schemas", &schemas.display().to_string());
    fs::write(host.path("virt-xml-validate"), here)?;
    fs::write(host.path("domain.xml"), xml)?;
    let mut command = Command::new("sh");
    command
        .arg(host.path("virt-xml-validate"))
        .arg(host.path("domain.xml"));
    let (status, lines) = Process::run("virt-xml-validate", command, POWER_OFF)?;
    if status.success() {
        Ok(())
    } else {
        Err(Failed::because(format!(
            "{status}: {}\n{xml}",
            lines.join("\n")
        )))
    }
}

#[test]
fn a_domain_is_valid_before_libvirts_schema() -> TestResult {
    let host = Host::new()?;
    let folder = host.image.folder.display().to_string();
    let domain = |more: &[&str]| {
        let fixed = [
            "libvirt",
            "server-1",
            "--image",
            &folder,
            "--config",
            "server-1.conf",
            "--files",
            "libvirt",
        ];
        host.good(&[&fixed[..], more].concat())
    };
    let forwards = [
        "--forward",
        "udp:4400:4400",
        "--forward",
        "tcp:127.0.0.1:7650:7650",
    ];
    let qemu = [
        "--qemu",
        "/usr/bin/qemu-system-x86_64",
        "--mac",
        "52:54:00:12:34:56",
        "--shape",
        "8c8G",
    ];
    for more in [
        &[][..],
        &forwards,
        &[&forwards[..], &qemu].concat(),
        &["--tap", "tap0"],
        &["--quotes", "unix:/run/a&b'<c>"],
    ] {
        validated(&host, &domain(more)?)?;
    }
    let xml = domain(&forwards)?;
    for words in [
        "<launchSecurity type='tdx'>",
        "<quoteGenerationService path='/var/run/tdx-qgs/qgs.socket'/>",
        "<entry name='opt/org.zipnet/config' file='",
        "<memory unit='KiB'>2097152</memory>",
    ] {
        assert!(xml.contains(words), "{words}: {xml}");
    }
    // The validator does find faults.
    let wrong = xml.replace(
        "quoteGenerationService path='/",
        "quoteGenerationService path='",
    );
    assert!(validated(&host, &wrong).is_err());
    // What the domain names are the image's very files.
    for name in ["zipnet-ovmf.fd", "zipnet-image.efi"] {
        let written = fs::read(host.path("libvirt").join(name))?;
        assert!(written == fs::read(host.image.folder.join(name))?, "{name}");
    }
    let (status, said) = host.run(&[
        "libvirt",
        "server-1",
        "--image",
        &folder,
        "--config",
        "server-1.conf",
        "--files",
        "libvirt",
        "--quotes",
        "vsock:2:4050",
    ])?;
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("--quotes unix:PATH would be right"), "{said}");
    Ok(())
}
