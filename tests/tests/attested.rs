//! An attested committee over real processes: evidence, policies and collateral
//! as they change, and who has nothing to do with whom.
#![allow(missing_docs)]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::Value;
use zipnet_attest::{
    Policy,
    hexes::Hexes,
    simulation::{Pccs, Platform},
};
use zipnet_tests::{
    cluster::{Cluster, LEAVE, ROUND, Settings, UP},
    process::{Process, TestResult, eventually},
    server::{Server, free_port, free_udp_port},
};

/// How long servers may take to look into a stranger's evidence.
const LOOKED_INTO: Duration = Duration::from_secs(40);
/// How long is watched for what must not happen.
const QUIET: Duration = Duration::from_secs(10);

/// Where the policy of a server is that has one of its own.
fn own_policy(cluster: &Cluster, index: usize) -> TestResult<PathBuf> {
    let shared = cluster.simulated()?.policy_file();
    Ok(shared.with_file_name(format!("policy-{index}.json")))
}

/// Publishes a policy to one server.
fn publish(
    cluster: &Cluster,
    index: usize,
    serial: u64,
    change: impl FnOnce(&mut Policy),
) -> TestResult {
    let simulated = cluster.simulated()?;
    let mut policy = simulated.policy(serial)?;
    change(&mut policy);
    simulated.publish_at(&policy, &own_policy(cluster, index)?)?;
    Ok(())
}

/// Starts a server that has a policy of its own.
fn launch_with_own_policy(
    cluster: &mut Cluster,
    index: usize,
    extra: &[(&str, &str)],
) -> TestResult {
    let metrics = free_port();
    let mut command = cluster.server_command(index, "127.0.0.1:0", metrics)?;
    command.env("ZIPNET_POLICY", own_policy(cluster, index)?);
    command.envs(extra.iter().copied());
    let server = cluster.launch_server_as(index, metrics, command)?;
    cluster.servers.push(server);
    Ok(())
}

#[test]
fn evidence_is_renewed_without_a_missed_round() -> TestResult {
    let mut cluster = Cluster::start_attested(
        Settings {
            variables: vec![("ZIPNET_EVIDENCE_LIFETIME".into(), "12s".into())],
            ..Settings::default()
        },
        2,
    )?;
    cluster.finalize_another()?;
    let from: Vec<_> = cluster
        .servers
        .iter()
        .map(|server| server.process.lines().count())
        .collect();
    // Three lifetimes.
    for (server, from) in cluster.servers.iter_mut().zip(&from) {
        let mut at = *from;
        for _ in 0..6 {
            let renewed = "attestation: renewed this server's evidence";
            let limit = Duration::from_secs(40);
            at = server.process.expect_from(at, renewed, limit)?.0;
        }
    }
    cluster.finalize_another()?;
    for (server, from) in cluster.servers.iter().zip(&from) {
        let rounds = server.finalized(*from);
        for pair in rounds.windows(2) {
            assert_eq!(pair[1].number, pair[0].number + 1, "a round was missed");
        }
        assert!(rounds.len() > 20, "{} rounds", rounds.len());
        let lines = server.process.lines().since(*from);
        for bad in [
            "giving up a round",
            "servers are missing",
            "gave no partial",
        ] {
            let said = lines.iter().find(|line| line.contains(bad));
            assert!(said.is_none(), "{said:?}");
        }
        assert_eq!(
            server.metric("zipnet_rounds_force_advanced_total"),
            Some(0.0)
        );
    }
    Ok(())
}

#[test]
fn a_new_policy_reaches_all_servers_from_one_and_its_serial_stays() -> TestResult {
    let mut cluster = Cluster::new(Settings::default())?.attested()?;
    // Each server has a policy file of its own.
    for index in 0..3 {
        publish(&cluster, index, 1, |_| {})?;
        launch_with_own_policy(&mut cluster, index, &[])?;
    }
    cluster.add_aggregator()?;
    for _ in 0..2 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    cluster.finalize_another()?;
    publish(&cluster, 1, 2, |_| {})?;
    let serials = |cluster: &Cluster| -> Vec<_> {
        let serial = |server: &Server| server.metric("zipnet_policy_serial");
        cluster.servers.iter().map(serial).collect()
    };
    eventually("all servers go by policy 2", LOOKED_INTO, || {
        (serials(&cluster) == [Some(2.0); 3]).then_some(())
    })?;
    cluster.finalize_another()?;
    // Its old file does not bring the old policy back, also not by a restart.
    publish(&cluster, 1, 1, |_| {})?;
    cluster.servers[0].process.kill();
    let (hint, metrics) = (cluster.servers[0].hint.clone(), cluster.servers[0].metrics);
    let bind = hint.split('@').nth(1).unwrap_or_default().to_owned();
    let mut command = cluster.server_command(0, &bind, metrics)?;
    command.env("ZIPNET_POLICY", own_policy(&cluster, 0)?);
    cluster.servers[0] = cluster.launch_server_as(0, metrics, command)?;
    cluster.servers[0]
        .process
        .expect("older than the newest policy", LOOKED_INTO)?;
    cluster.finalize_another()?;
    eventually("the restarted server says so", LOOKED_INTO, || {
        (serials(&cluster) == [Some(2.0); 3]).then_some(())
    })?;
    Ok(())
}

#[test]
fn collateral_comes_from_a_pccs_and_condemns_a_platform_when_it_is_refreshed() -> TestResult {
    let mut cluster = Cluster::new(Settings::default())?.attested()?;
    let publisher = cluster.simulated()?.publisher();
    let builder = publisher.builder();
    let pccs = Pccs::serve(&publisher.world()?)?;
    let variables = &mut cluster.settings.variables;
    variables.push(("ZIPNET_COLLATERAL".into(), pccs.address()));
    variables.push(("ZIPNET_COLLATERAL_REFRESH".into(), "2s".into()));
    cluster.populate(2)?;
    cluster.finalize_another()?;
    let days = |server: &Server| server.metric("zipnet_collateral_days_left");
    eventually("the days left are shown", LOOKED_INTO, || {
        let shown = cluster.servers.iter().map(days);
        shown
            .collect::<Option<Vec<_>>>()
            .filter(|days| days.iter().all(|days| (28.5..29.5).contains(days)))
    })?;

    // Intel rates the platform anew, and well.
    let rated = |evaluation: u32, status: &str| {
        let platform = Platform {
            tcb_eval: Platform::default().tcb_eval + evaluation,
            tcb_status: status.to_owned(),
            ..Platform::default()
        };
        builder.clone().platform(platform).build()
    };
    let said: Vec<_> = cluster
        .servers
        .iter()
        .map(|server| server.process.lines().count())
        .collect();
    pccs.publish(&rated(1, "UpToDate")?);
    for (server, said) in cluster.servers.iter_mut().zip(said) {
        // From the PCCS, or from another server that was faster.
        let newer = "attestation: newer collateral";
        server.process.expect_from(said, newer, LOOKED_INTO)?;
    }
    cluster.finalize_another()?;

    // And then badly: nobody gives a partial any more.
    pccs.publish(&rated(2, "OutOfDate")?);
    for server in &mut cluster.servers {
        server.process.expect("rule=ZA-403", LOOKED_INTO)?;
    }
    let quiet = eventually("rounds stop", LOOKED_INTO, || {
        let before: Vec<_> = finalized(&cluster);
        std::thread::sleep(Duration::from_secs(5));
        (finalized(&cluster) == before).then_some(())
    });
    quiet?;
    Ok(())
}

/// How many rounds each server has finalized.
fn finalized(cluster: &Cluster) -> Vec<usize> {
    let rounds = |server: &Server| server.finalized(0).len();
    cluster.servers.iter().map(rounds).collect()
}

#[test]
fn i9_a_server_without_evidence_never_meets_an_attested_committee() -> TestResult {
    let mut cluster = Cluster::start_attested(Settings::default(), 2)?;
    cluster.finalize_another()?;
    // The same secret, name and place, but no evidence.
    cluster.servers[2].process.terminate(LEAVE)?;
    let metrics = free_port();
    let plain = [("ZIPNET_ATTESTATION", "none")];
    let mut plain = cluster.launch_server(2, "127.0.0.1:0", metrics, &plain)?;
    plain
        .process
        .expect("ZIPNET_ATTESTATION is `none`", LOOKED_INTO)?;
    let size = |server: &Server| server.metric("zipnet_server_registry_size");
    eventually("it is alone", LOOKED_INTO, || {
        (size(&plain) == Some(1.0)).then_some(())
    })?;
    let until = Instant::now() + QUIET;
    while Instant::now() < until {
        assert_eq!(size(&plain), Some(1.0), "somebody joined it");
        for server in &cluster.servers[..2] {
            assert_eq!(size(server), Some(2.0), "it joined the others");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    plain.process.terminate(LEAVE)?;
    cluster.restart_server(2)?;
    cluster.finalize_another()?;
    Ok(())
}

#[test]
fn i5_clients_that_do_not_believe_the_servers_seal_and_read_nothing() -> TestResult {
    let mut cluster = Cluster::start_attested(Settings::default(), 2)?;
    cluster.finalize_another()?;
    // One that asks for no evidence is told what is missing.
    let mut command = cluster.client_command(&["watch"])?;
    command.env("ZIPNET_ATTESTATION", "none");
    let (status, lines) = Process::run("client", command, UP)?;
    let said = lines.join("\n");
    assert_eq!(status.code(), Some(1), "{said}");
    let sentence = "The servers of instance zipnet.local.test show evidence";
    assert!(said.contains(sentence), "{said}");

    // One whose policy asks for another release believes nobody.
    let simulated = cluster.simulated()?;
    let mut policy = simulated.policy(7)?;
    for image in &mut policy.images {
        image.mrtd = Hexes([0x66; 48]);
    }
    let path = simulated.policy_file().with_file_name("other.json");
    simulated.publish_at(&policy, &path)?;
    let mut command = cluster.client_command(&["--json", "chat"])?;
    command.env("ZIPNET_POLICY", &path);
    let mut doubter = Process::start("doubter", command, None)?;
    doubter.tell("never to be seen");
    doubter.expect("rule=ZA-601", LOOKED_INTO)?;
    cluster.finalize_another()?;
    cluster.finalize_another()?;
    assert!(doubter.json_since(0).is_empty(), "it read a round");

    // One that was told the right policy reads and writes.
    let mut believer = cluster.client(&["--json", "publish", "--now", "seen"])?;
    let landed = |value: &Value| value["event"] == "landed";
    believer.expect_json(0, "that its message landed", ROUND, landed)?;
    assert!(doubter.json_since(0).is_empty(), "it read a round");
    Ok(())
}

#[test]
fn a_stranger_verifies_a_running_server() -> TestResult {
    let mut cluster = Cluster::start_attested(Settings::default(), 2)?;
    cluster.finalize_another()?;
    let simulated = cluster.simulated()?;
    let root = simulated.root_file();
    let mut other = simulated.policy(2)?;
    for image in &mut other.images {
        image.rtmr2 = Hexes([0x66; 48]);
    }
    let mixed = simulated.policy_file().with_file_name("other.json");
    simulated.publish_at(&other, &mixed)?;
    let verify = |live: &str, policy: &std::path::Path| -> TestResult<(Option<i32>, Value)> {
        let mut command = zipnet_tests::process::command("zipnet-attest")?;
        command
            .args([
                "verify",
                "--json",
                "--name",
                "zipnet.local.test",
                "--live",
                live,
            ])
            .arg("--policy")
            .arg(policy)
            .arg("--root")
            .arg(&root)
            .env("ZIPNET_UNIVERSE", cluster.universe())
            .env("ZIPNET_BIND", "127.0.0.1:0")
            .env("ZIPNET_RELAY", "embedded");
        let (status, lines) = Process::run("zipnet-attest", command, UP)?;
        let json = lines.iter().find(|line| line.starts_with('{'));
        let answer = json.map_or(Ok(Value::Null), |line| serde_json::from_str(line))?;
        Ok((status.code(), answer))
    };
    let hint = &cluster.servers[1].hint;
    let (status, answer) = verify(hint, &simulated.policy_file())?;
    assert_eq!(status, Some(0), "{answer}");
    assert_eq!(answer["verdict"], "accept");
    assert_eq!(answer["peer"], cluster.servers[1].peer());
    assert_eq!(
        answer["not_compared"],
        serde_json::json!(["config", "collateral"])
    );

    let (status, answer) = verify(hint, &mixed)?;
    assert_eq!((status, &answer["rule"]), (Some(1), &Value::from("ZA-601")));

    // Nobody is there: nothing is decided.
    let nobody = format!("{}@{}", cluster.servers[1].peer(), free_udp_port());
    let (status, _) = verify(&nobody, &mixed)?;
    assert_eq!(status, Some(3));
    Ok(())
}

#[test]
fn a_refused_server_is_told_and_comes_in_once_its_policy_is_the_right_one() -> TestResult {
    let mut cluster = Cluster::new(Settings::default())?.attested()?;
    let short = |policy: &mut Policy| policy.max_statement_hours = 24;
    for index in 0..2 {
        publish(&cluster, index, 2, short)?;
        let lifetime = [("ZIPNET_EVIDENCE_LIFETIME", "2h")];
        launch_with_own_policy(&mut cluster, index, &lifetime)?;
    }
    // The third has an old policy, under which its long statement is right.
    publish(&cluster, 2, 1, |_| {})?;
    let lifetime = [("ZIPNET_EVIDENCE_LIFETIME", "24h")];
    launch_with_own_policy(&mut cluster, 2, &lifetime)?;
    cluster.add_aggregator()?;
    for _ in 0..2 {
        let mut command = cluster.client_command(&["cover"])?;
        command.env("ZIPNET_POLICY", own_policy(&cluster, 0)?);
        let client = Process::start("client", command, None)?;
        cluster.clients.push(client);
    }
    let (refusing, refused) = cluster.servers.split_at_mut(2);
    let refused = &mut refused[0];
    for server in refusing.iter_mut() {
        server.process.expect("rule=ZA-711", LOOKED_INTO)?;
        let counted = server.metric("zipnet_peers_refused_total");
        assert!(counted.is_some_and(|times| times > 0.0), "{counted:?}");
    }
    let told = "attestation: a server refuses this one's evidence: ZA-711";
    refused.process.expect(told, LOOKED_INTO)?;
    eventually("it counts who refuses it", LOOKED_INTO, || {
        let metric = refused.metric("zipnet_refused_by_peers_total");
        metric.filter(|times| *times > 0.0)
    })?;
    // Its operator hands it the new policy, and it makes evidence that fits.
    publish(&cluster, 2, 2, short)?;
    cluster.finalize_another()?;
    Ok(())
}
