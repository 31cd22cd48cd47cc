//! Whose an identity is, over real processes: a server's is worth something on its own
//! machine only, and its guest gets it back there.
#![allow(missing_docs)]

use std::{fmt::Write as _, fs, path::PathBuf, process::Command, time::Duration};

use zipnet_attest::provision::PROVISION_KEY;
use zipnet_tests::{
    attestation::server,
    cluster::{Cluster, ROUND, Settings, UP},
    process::{Process, TestResult, command},
    server::{free_port, transport_secret},
};

/// How long a guest may take to get its secrets, or to be refused.
const SOON: Duration = Duration::from_secs(30);

/// The machine of server `index`; one more is a stranger's.
fn machine(index: usize) -> [u8; 16] {
    let mut id = *b"machine number 0";
    id[15] = b'0' + u8::try_from(index).unwrap_or(9);
    id
}

const STRANGER: usize = 7;
/// The machine of an operator with other plans.
const HIS: usize = 0;

/// Three servers, each on its own machine, which the policy names; the first gives
/// secrets to guests.
struct Bound {
    cluster: Cluster,
    folder: tempfile::TempDir,
    member: String,
}

impl Bound {
    fn start() -> TestResult<Self> {
        let settings = Settings {
            committee_size: Some(3),
            ..Settings::default()
        };
        let cluster = Cluster::new(settings)?.attested()?;
        let named = (0..3).map(|index| {
            server(
                &format!("server-{index}"),
                &transport_secret(index),
                machine(index),
            )
        });
        cluster.simulated()?.name_servers(2, named.collect())?;
        let mut bound = Self {
            member: free_port().to_string(),
            folder: tempfile::tempdir()?,
            cluster,
        };
        for index in 0..3 {
            bound.launch(index, &[])?;
        }
        bound.cluster.add_aggregator()?;
        for _ in 0..2 {
            let client = bound.cluster.client(&["cover"])?;
            bound.cluster.clients.push(client);
        }
        bound.cluster.finalize_another()?;
        Ok(bound)
    }

    fn server_command(
        &self,
        index: usize,
        on: usize,
        metrics: std::net::SocketAddr,
    ) -> TestResult<Command> {
        let mut command = self.cluster.server_command(index, "127.0.0.1:0", metrics)?;
        command.env("ZIPNET_SIMULATION_PLATFORM", hex::encode(machine(on)));
        if index == 0 {
            command.env("ZIPNET_PROVISION_LISTEN", &self.member);
        }
        Ok(command)
    }

    /// Starts server `index` on its machine.
    fn launch(&mut self, index: usize, extra: &[(&str, PathBuf)]) -> TestResult {
        let metrics = free_port();
        let mut command = self.server_command(index, index, metrics)?;
        if !extra.is_empty() {
            command
                .env_remove("ZIPNET_COMMITTEE_SECRET")
                .env_remove("ZIPNET_SECRET");
        }
        command.envs(extra.iter().map(|(key, value)| (key, value)));
        let server = self.cluster.launch_server_as(index, metrics, command)?;
        self.cluster.servers.push(server);
        Ok(())
    }

    /// A guest of the policy's image that calls itself `name`, on a machine, and asks the
    /// member for secrets; how it ended, and what it said.
    fn ask(&self, name: &str, on: usize, out: &str) -> TestResult<(Option<i32>, String)> {
        let config = self.folder.path().join(format!("{out}.conf"));
        let mut text = format!(
            "ZIPNET_INSTANCE={}\n{PROVISION_KEY}={}\nGUEST_HOSTNAME={name}\nZIPNET_SIMULATION_PLATFORM={}\n",
            self.cluster.settings.instance,
            self.cluster.provision_key(),
            hex::encode(machine(on)),
        );
        for (variable, value) in self.cluster.simulated()?.variables() {
            if variable != "ZIPNET_POLICY" {
                writeln!(text, "{variable}={value}")?;
            }
        }
        fs::write(&config, text)?;
        let mut command = command("zipnet-attest")?;
        command.arg("receive").arg("--config").arg(config);
        command.args(["--from", &self.member, "--within", "4s", "--out"]);
        command.arg(self.folder.path().join(out));
        let mut process = Process::start("receive", command, None)?;
        let status = process.wait(SOON)?;
        Ok((status.code(), process.lines().since(0).join("\n")))
    }
}

#[test]
fn f1_nobody_meets_a_pin_from_another_machine_with_genuine_tds_secret_and_seed() -> TestResult {
    let mut bound = Bound::start()?;
    // A stranger launches the released image on his own machine under the names of all.
    let (_, said) = bound.ask("server-1", STRANGER, "stolen")?;
    assert!(said.contains("ZA-406"), "{said}");
    // An operator does so on the machine that the policy names for his own server.
    for (name, says) in [
        ("server-1", "ZA-410"),
        ("server-2", "ZA-410"),
        ("server-9", "none is called \"server-9\""),
    ] {
        let (status, said) = bound.ask(name, HIS, "stolen")?;
        assert_eq!(status, Some(1), "{said}");
        assert!(said.contains(says), "{said}");
        assert!(!bound.folder.path().join("stolen").exists());
    }
    // Whoever pins all three gets his message through.
    let pins: Vec<_> = bound
        .cluster
        .servers
        .iter()
        .map(|server| server.peer().clone())
        .collect();
    let mut talker = bound
        .cluster
        .client_command(&["publish", "--now", "to all three"])?;
    talker.env("ZIPNET_REQUIRE_SERVERS", pins.join(","));
    let mut talker = Process::start("a client with pins", talker, None)?;
    assert!(talker.wait(ROUND * 2)?.success());
    // He has the committee secret, and even the seeds of the others: each pin that he tries
    // to meet is refused, by his own TD first.
    for victim in [1, 2] {
        let metrics = free_port();
        let command = bound.server_command(victim, HIS, metrics)?;
        let mut rogue = Process::start("a server on another machine", command, None)?;
        let status = rogue.wait(UP)?;
        let said = rogue.lines().since(0).join("\n");
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("ZA-409"), "{said}");
    }
    // Nor is he a server under a name of his own.
    let metrics = free_port();
    let mut command = bound.server_command(5, HIS, metrics)?;
    command.env("ZIPNET_SECRET", "a seed of his own");
    let mut rogue = Process::start("a server of no name", command, None)?;
    let status = rogue.wait(UP)?;
    let said = rogue.lines().since(0).join("\n");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("ZA-408"), "{said}");
    // None of the servers has given way.
    for server in &mut bound.cluster.servers {
        assert!(server.process.ended().is_none());
    }
    Ok(())
}

#[test]
fn f1_a_server_comes_back_on_its_own_machine_by_a_member_at_night() -> TestResult {
    let mut bound = Bound::start()?;
    let left = "left this server's identity with a member";
    bound.cluster.servers[2].process.expect(left, UP)?;
    let peer = bound.cluster.servers[2].peer().clone();
    let mut gone = bound.cluster.servers.remove(2);
    gone.process.kill();
    let (status, said) = bound.ask("server-2", 2, "given")?;
    assert_eq!(status, Some(0), "{said}");
    let given = bound.folder.path().join("given");
    let files = [
        (
            "ZIPNET_COMMITTEE_SECRET_FILE",
            given.join("committee-secret"),
        ),
        ("ZIPNET_SECRET_FILE", given.join("secret")),
        ("ZIPNET_POLICY", given.join("policy.json")),
    ];
    bound.launch(2, &files)?;
    assert_eq!(
        bound.cluster.servers[2].peer(),
        peer,
        "the server that it was"
    );
    bound.cluster.finalize_another()?;
    Ok(())
}
