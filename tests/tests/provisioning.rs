//! Secrets on their way to servers, over real processes: from an operator by
//! day, from a member by night.
#![allow(missing_docs)]

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use zipnet_attest::{
    Collateral,
    hexes::Hexes,
    provision::PROVISION_KEY,
    simulation::{Pccs, Platform},
};
use zipnet_tests::{
    cluster::{Cluster, Settings, UP},
    process::{Failed, Process, TestResult, command, eventually},
    server::{Server, free_port},
};

/// How long a guest may take to get its secrets, or to be refused.
const SOON: Duration = Duration::from_secs(30);
/// What the server's identity is seeded with; must not show.
const SEED: &str = "swordfish of server three";

/// Two servers, an aggregator and two clients, who wait for a third server.
struct Waiting {
    cluster: Cluster,
    folder: tempfile::TempDir,
    /// Where server 1 gives the committee secret.
    member: SocketAddr,
}

impl Waiting {
    fn start() -> TestResult<Self> {
        let mut cluster = Cluster::new(Settings::default())?.attested()?;
        let member = free_port();
        for (index, extra) in [
            (0, vec![("ZIPNET_PROVISION_LISTEN", member.to_string())]),
            (1, vec![]),
        ] {
            let metrics = free_port();
            let mut command = cluster.server_command(index, "127.0.0.1:0", metrics)?;
            command.envs(extra);
            let server = cluster.launch_server_as(index, metrics, command)?;
            cluster.servers.push(server);
        }
        cluster.add_aggregator()?;
        for _ in 0..2 {
            let client = cluster.client(&["cover"])?;
            cluster.clients.push(client);
        }
        let door = "guests may ask here for the committee secret";
        cluster.servers[0].process.expect(door, UP)?;
        Ok(Self {
            cluster,
            folder: tempfile::tempdir()?,
            member,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the file that the third server is launched with, and more lines.
    fn config(&self, name: &str, more: &str) -> TestResult<PathBuf> {
        let path = self.path(name);
        let mut text = format!(
            "# The third server.\nZIPNET_INSTANCE={}\n{PROVISION_KEY}={}\n",
            self.cluster.settings.instance,
            self.cluster.provision_key(),
        );
        for (variable, value) in self.cluster.simulated()?.variables() {
            if variable != "ZIPNET_POLICY" {
                writeln!(text, "{variable}={value}")?;
            }
        }
        fs::write(&path, text + more)?;
        Ok(path)
    }

    /// Starts a guest that waits for an operator; yields where.
    fn receive(&self, config: &Path, out: &str) -> TestResult<(Process, String)> {
        let mut command = command("zipnet-attest")?;
        command.arg("receive").arg("--config").arg(config);
        command.args(["--listen", "127.0.0.1:0", "--out"]);
        command.arg(self.path(out));
        let mut process = Process::start("receive", command, None)?;
        let line = process.expect("provisioning: waiting on ", SOON)?;
        let address = line.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok((process, address))
    }

    /// Writes the operator's secrets.
    fn secrets(&self, name: &str, mode: u32) -> TestResult<PathBuf> {
        let path = self.path(name);
        let committee = &self.cluster.settings.secret;
        let text = format!("ZIPNET_COMMITTEE_SECRET={committee}\nZIPNET_SECRET={SEED}\n");
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(path)
    }

    /// The operator's attempt.
    fn provision(
        &self,
        guest: &str,
        config: &Path,
        policy: &Path,
        secrets: &Path,
    ) -> TestResult<(Option<i32>, String)> {
        let simulated = self.cluster.simulated()?;
        let world = simulated.publisher().world()?;
        let collateral = self.path("collateral.json");
        let json = Collateral::new(world.collateral().clone())?.to_json();
        fs::write(&collateral, json)?;
        let mut command = command("zipnet-attest")?;
        command.args(["provision", guest, "--config"]).arg(config);
        command.arg("--policy").arg(policy);
        command.args(["--key", &simulated.publisher().public_key()]);
        command.arg("--root").arg(simulated.root_file());
        command.arg("--collateral").arg(collateral);
        command.arg("--secrets").arg(secrets);
        command.arg("--state").arg(self.path("giver"));
        run("provision", command)
    }

    /// Starts the third server with nothing but what a guest was given.
    fn start_third(&mut self, config: &Path, out: &str) -> TestResult {
        let metrics = free_port();
        let given = self.path(out);
        let mut command = self.cluster.server_command(2, "127.0.0.1:0", metrics)?;
        command
            .env_remove("ZIPNET_COMMITTEE_SECRET")
            .env_remove("ZIPNET_SECRET")
            .env(
                "ZIPNET_COMMITTEE_SECRET_FILE",
                given.join("committee-secret"),
            )
            .env("ZIPNET_SECRET_FILE", given.join("secret"))
            .env("ZIPNET_POLICY", given.join("policy.json"))
            .env("ZIPNET_CONFIG", config);
        let server = self.cluster.launch_server_as(2, metrics, command)?;
        self.cluster.servers.push(server);
        Ok(())
    }

    /// What became of guests that asked server 1.
    fn counted(&self, outcome: &str) -> Option<f64> {
        let given = format!(
            "zipnet_server_provisioned_total{{instance=\"zipnet.local.test\",outcome=\"{outcome}\"}}"
        );
        self.cluster
            .servers
            .first()
            .and_then(|server: &Server| server.metric(&given))
    }
}

/// Runs a command to its end; none of its lines holds a secret.
fn run(name: &str, command: Command) -> TestResult<(Option<i32>, String)> {
    let (status, lines) = Process::run(name, command, SOON)?;
    let lines = lines.join("\n");
    not_shown(&lines)?;
    Ok((status.code(), lines))
}

fn not_shown(text: &str) -> TestResult {
    let committee = Settings::default().secret;
    match [SEED, &committee]
        .into_iter()
        .find(|secret| text.contains(*secret))
    {
        Some(_) => Err(Failed::because(format!("a secret is shown:\n{text}"))),
        None => Ok(()),
    }
}

fn expect_status(found: &(Option<i32>, String), status: i32, texts: &[&str]) -> TestResult {
    let (code, lines) = found;
    if *code == Some(status) && texts.iter().all(|text| lines.contains(text)) {
        return Ok(());
    }
    Err(Failed::because(format!(
        "expected status {status} and {texts:?}; found {code:?}:\n{lines}"
    )))
}

#[test]
fn i10_an_operator_gives_a_guest_its_secrets_and_it_joins_the_committee() -> TestResult {
    let mut waiting = Waiting::start()?;
    let config = waiting.config("config", "")?;
    let (mut guest, address) = waiting.receive(&config, "given")?;

    let policy = waiting.cluster.simulated()?.policy_file();
    let secrets = waiting.secrets("secrets", 0o600)?;

    // Each of these is refused, in a line, and the guest waits on.
    let loose = waiting.secrets("loose", 0o640)?;
    let found = waiting.provision(&address, &config, &policy, &loose)?;
    expect_status(&found, 2, &["640", "chmod 600"])?;
    let other = waiting.config("other", "ZIPNET_MIN_PARTICIPANTS=1\n")?;
    let found = waiting.provision(&address, &other, &policy, &secrets)?;
    let texts = ["another configuration", "ZIPNET_MIN_PARTICIPANTS=1"];
    expect_status(&found, 1, &texts)?;
    let simulated = waiting.cluster.simulated()?;
    let mut wrong = simulated.policy(1)?;
    for image in &mut wrong.images {
        image.mrtd = Hexes([7; 48]);
    }
    simulated.publish_at(&wrong, &waiting.path("wrong.json"))?;
    let wrong = waiting.path("wrong.json");
    let found = waiting.provision(&address, &config, &wrong, &secrets)?;
    expect_status(&found, 1, &["refused: ZA-601", "nothing was given"])?;
    assert!(!waiting.path("given").exists());

    let found = waiting.provision(&address, &config, &policy, &secrets)?;
    let texts = ["image  simulated", "given: the guest has its secrets"];
    expect_status(&found, 0, &texts)?;
    assert!(guest.wait(SOON)?.success());
    not_shown(&guest.lines().since(0).join("\n"))?;
    // It no longer waits.
    let found = waiting.provision(&address, &config, &policy, &secrets)?;
    expect_status(&found, 1, &["Could not connect"])?;

    waiting.start_third(&config, "given")?;
    waiting.cluster.finalize_another()?;
    // Anybody can tell what it was launched with.
    let verify = |config: &Path| -> TestResult<(Option<i32>, String)> {
        let cluster = &waiting.cluster;
        let mut verify = zipnet_tests::process::command("zipnet-attest")?;
        verify
            .args(["verify", "--name", "zipnet.local.test", "--live"])
            .arg(&cluster.servers[2].hint)
            .arg("--policy")
            .arg(cluster.simulated()?.policy_file())
            .arg("--root")
            .arg(cluster.simulated()?.root_file())
            .arg("--config")
            .arg(config)
            .env("ZIPNET_UNIVERSE", cluster.universe())
            .env("ZIPNET_BIND", "127.0.0.1:0")
            .env("ZIPNET_RELAY", "embedded");
        run("verify", verify)
    };
    expect_status(&verify(&config)?, 0, &["accepted"])?;
    expect_status(&verify(&other)?, 1, &["refused: ZA-712"])
}

#[test]
fn i10_a_member_gives_the_committee_secret_to_who_verifies_and_to_nobody_else() -> TestResult {
    let mut waiting = Waiting::start()?;
    let config = waiting.config("config", "")?;

    // A machine that runs something else asks by itself, and through an
    // operator who has no secret.
    let td = [[7; 48]; 4].map(hex::encode).join(",");
    let rogue = waiting.config("rogue", &format!("ZIPNET_SIMULATION_TD={td}\n"))?;
    let (mut guest, address) = waiting.receive(&rogue, "rogue-given")?;
    let relay = |guest: &str| -> TestResult<(Option<i32>, String)> {
        let mut relay = command("zipnet-attest")?;
        relay.args([
            "provision",
            guest,
            "--from-peer",
            &waiting.member.to_string(),
        ]);
        run("provision", relay)
    };
    expect_status(&relay(&address)?, 1, &["The giver refuses", "ZA-601"])?;
    guest.expect("ZA-601", SOON)?;
    drop(guest);
    assert!(!waiting.path("rogue-given").exists());
    eventually("the member has counted it", SOON, || {
        (waiting.counted("refused") == Some(1.0)).then_some(())
    })?;

    // A good one, with the operator asleep.
    let mut command = command("zipnet-attest")?;
    command.arg("receive").arg("--config").arg(&config);
    command.args(["--from", &waiting.member.to_string(), "--out"]);
    command.arg(waiting.path("given"));
    let found = run("receive", command)?;
    expect_status(
        &found,
        0,
        &["gave the secrets", "ZIPNET_COMMITTEE_SECRET_FILE="],
    )?;
    // And one that the operator's machine reaches, and the member does not.
    let (mut guest, address) = waiting.receive(&config, "relayed")?;
    expect_status(&relay(&address)?, 0, &["passed on: the guest"])?;
    assert!(guest.wait(SOON)?.success());
    let secret = |out: &str| fs::read_to_string(waiting.path(out).join("committee-secret"));
    assert_eq!(secret("given")?, waiting.cluster.settings.secret);
    assert_eq!(secret("relayed")?, waiting.cluster.settings.secret);
    // Each has an identity of its own.
    let seed = |out: &str| fs::read_to_string(waiting.path(out).join("secret"));
    assert_ne!(seed("given")?, seed("relayed")?);
    eventually("the member has counted them", SOON, || {
        (waiting.counted("given") == Some(2.0)).then_some(())
    })?;

    waiting.start_third(&config, "given")?;
    waiting.cluster.finalize_another()?;
    for server in &waiting.cluster.servers {
        not_shown(&server.process.lines().since(0).join("\n"))?;
    }
    Ok(())
}

#[test]
fn f6_secrets_are_not_given_by_what_was_condemned_before() -> TestResult {
    let waiting = Waiting::start()?;
    let config = waiting.config("config", "")?;
    let (_guest, address) = waiting.receive(&config, "given")?;
    let simulated = waiting.cluster.simulated()?;
    let secrets = waiting.secrets("secrets", 0o600)?;
    let publisher = simulated.publisher();
    let rated = |status: &str, tcb_eval: u32| {
        let platform = Platform {
            tcb_status: status.to_owned(),
            tcb_eval,
            ..Platform::default()
        };
        publisher.builder().platform(platform).build()
    };
    let pccs = Pccs::serve(&rated("OutOfDate", 21)?)?;
    let provision = |policy: &Path, more: &[&str]| -> TestResult<(Option<i32>, String)> {
        let mut command = command("zipnet-attest")?;
        command
            .args(["provision", &address, "--config"])
            .arg(&config);
        command.arg("--policy").arg(policy);
        command.args(["--key", &publisher.public_key()]);
        command.arg("--root").arg(simulated.root_file());
        command.args(["--collateral", &pccs.address()]);
        command.arg("--secrets").arg(&secrets);
        command.arg("--state").arg(waiting.path("giver"));
        command.args(more);
        run("provision", command)
    };
    let policy = simulated.policy_file();
    expect_status(&provision(&policy, &[])?, 1, &["refused: ZA-403"])?;
    // Whoever answers for the PCCS goes back to before; what was seen stays.
    pccs.publish(&rated("UpToDate", 20)?);
    expect_status(&provision(&policy, &[])?, 1, &["refused: ZA-403"])?;
    // Nor does a policy go back.
    let later = waiting.path("later.json");
    simulated.publish_at(&simulated.policy(7)?, &later)?;
    expect_status(&provision(&later, &[])?, 1, &["refused: ZA-403"])?;
    expect_status(&provision(&policy, &[])?, 1, &["7 was seen already"])?;
    // Who says nothing of the machine, in the policy or here, has to say so.
    let anywhere = waiting.path("anywhere.json");
    simulated.publish_at(&publisher.policy(8)?, &anywhere)?;
    expect_status(&provision(&anywhere, &[])?, 2, &["--any-platform"])?;
    let elsewhere = ["--platform", "09090909090909090909090909090909"];
    expect_status(&provision(&anywhere, &elsewhere)?, 1, &["refused: ZA-410"])
}
