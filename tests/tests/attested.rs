//! An attested committee over real processes: whom it lets in, and that its
//! rounds go on whoever knocks.
#![allow(missing_docs)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use zipnet_attest::{
    Role, Rule, Statement,
    hexes::Hexes,
    simulation::{Draft, Pccs, Platform, Td, World},
};
use zipnet_node::{attestation::Credential, settings::parse_peer, wire::Opinion};
use zipnet_protocol::{AdmittedServer, Instance};
use zipnet_tests::{
    cluster::{Cluster, LEAVE, ROUND, Settings, UP},
    process::{Failed, Process, TestResult, eventually},
    rogue::{Rogue, shown_by},
    server::{Server, free_port, free_udp_port},
};

/// How long servers may take to look into a stranger's evidence.
const LOOKED_INTO: Duration = Duration::from_secs(40);
/// How long is watched for what must not happen.
const QUIET: Duration = Duration::from_secs(10);
/// Longest announcement that is safe to gossip.
const ANNOUNCEMENT: usize = 3000;

fn attested(settings: Settings) -> TestResult<Cluster> {
    let mut cluster = Cluster::new(settings)?.attested()?;
    cluster.populate(2)?;
    Ok(cluster)
}

fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A right statement of a server.
fn statement(instance: &Instance, server: &AdmittedServer) -> Statement {
    Statement {
        instance: *instance.id().as_bytes(),
        role: Role::Server,
        server: *server.id().as_bytes(),
        peer: *server.peer().as_bytes(),
        x25519: *server.dh().as_bytes(),
        signing: *server.signing().as_bytes(),
        epoch: 1,
        not_before: clock() - 60,
        not_after: clock() + 3600,
        config: [1; 32],
        freshness: [2; 32],
    }
}

/// What a rogue does to its evidence.
type Attack = (&'static str, Rule, fn(&mut Draft));

fn platform(draft: &mut Draft, change: impl FnOnce(&mut Platform)) {
    let mut platform = Platform::default();
    change(&mut platform);
    draft.world = draft.world.clone().platform(platform);
}

const ATTACKS: &[Attack] = &[
    (
        "its own quote with correct measurements and a throw-away key",
        Rule::CertificateChain,
        |draft| draft.world = World::builder(b"a throw-away Intel", clock() - 60),
    ),
    ("another X25519 key", Rule::StatementKey, |draft| {
        draft.statement.x25519 = [9; 32];
    }),
    ("another instance", Rule::StatementInstance, |draft| {
        draft.statement.instance = [9; 32];
    }),
    ("a far not_after", Rule::StatementLifetime, |draft| {
        draft.statement.not_after = clock() + 3650 * 86_400;
    }),
    ("the DEBUG bit", Rule::Debug, |draft| {
        draft.td.td_attributes[0] |= 1;
    }),
    ("an OutOfDate platform", Rule::TcbStatus, |draft| {
        platform(draft, |platform| {
            platform.fmspc = *b"OLDFMS";
            "OutOfDate".clone_into(&mut platform.tcb_status);
        });
    }),
    ("a revoked PCK", Rule::Revoked, |draft| {
        platform(draft, |platform| platform.fmspc = *b"REVOKE");
        draft.world = draft.world.clone().revoke_leaf();
    }),
    ("a rogue QE", Rule::QeIdentity, |draft| {
        platform(draft, |platform| platform.qe_mrsigner = [0x66; 32]);
    }),
    ("an RTMR of another release", Rule::Measurements, |draft| {
        draft.td.rtmr[1] = [0x66; 48];
    }),
];

/// A rogue shows `credential`; every server must refuse it by `rule`, name it
/// in its log and count it, tell it so, and finalize rounds all the while.
async fn is_refused<F, Fut>(
    cluster: &mut Cluster,
    name: &str,
    rule: Rule,
    credential: F,
) -> TestResult
where
    F: FnOnce(Instance, AdmittedServer, std::sync::Arc<mosaik::Network>) -> Fut,
    Fut: Future<Output = TestResult<Credential>>,
{
    let rogue = Rogue::join(cluster, credential).await?;
    let short = rogue.short();
    let until = Instant::now() + LOOKED_INTO;
    let mut told = 0;
    while told < cluster.servers.len() {
        if Instant::now() > until {
            return Err(Failed::because(format!(
                "{name}: {told} servers said that they refuse it"
            )));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let opinions = rogue.opinions().await;
        assert!(!opinions.contains(&Opinion::Verified), "{name} is believed");
        told = opinions
            .iter()
            .filter(|opinion| matches!(opinion, Opinion::Refused { rule: broken, .. } if *broken == rule.number()))
            .count();
    }
    assert_eq!(rogue.bonds(), 0, "{name} is in the group");
    for server in &cluster.servers {
        let lines = server.process.lines().since(0);
        let named = lines.iter().any(|said| {
            said.contains("attestation: refused a server")
                && said.contains(&format!("peer={short}"))
                && said.contains(&format!("rule={rule}"))
        });
        assert!(named, "{name}: not named with {rule}: {lines:#?}");
        let counted = zipnet_tests::server::scrape(server.metrics).unwrap_or_default();
        let labels = [format!("peer=\"{short}\""), format!("rule=\"{rule}\"")];
        let counted = counted.lines().any(|line| {
            line.starts_with("zipnet_peers_refused_total")
                && labels.iter().all(|label| line.contains(label))
        });
        assert!(counted, "{name}: not counted with {rule}");
    }
    cluster.finalize_another()?;
    rogue.leave().await;
    Ok(())
}

#[test]
fn i3_each_rogue_is_refused_by_its_rule_and_rounds_go_on() -> TestResult {
    let mut cluster = attested(Settings::default())?;
    cluster.finalize_another()?;
    let runtime = tokio::runtime::Runtime::new()?;
    for (name, rule, change) in ATTACKS {
        let world = cluster.simulated()?.publisher().builder();
        runtime.block_on(is_refused(
            &mut cluster,
            name,
            *rule,
            move |instance, server, _| async move {
                let mut draft = Draft {
                    world,
                    td: Td::default(),
                    statement: statement(&instance, &server),
                };
                change(&mut draft);
                let (evidence, collateral) = draft.finish()?;
                Ok(Credential::of(&evidence, &collateral))
            },
        ))?;
    }
    Ok(())
}

#[test]
fn i12_a_ticket_replayed_under_another_peer_id_opens_nothing() -> TestResult {
    let mut cluster = attested(Settings::default())?;
    cluster.finalize_another()?;
    let victim = parse_peer(&cluster.servers[0].peer())?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(is_refused(
        &mut cluster,
        "a replayed ticket",
        Rule::StatementServer,
        move |instance, _, network| async move { shown_by(&instance, &network, victim).await },
    ))
}

#[test]
fn announcements_of_servers_stay_short_also_while_evidence_is_renewed() -> TestResult {
    let mut cluster = attested(Settings {
        variables: vec![("ZIPNET_EVIDENCE_LIFETIME".into(), "40s".into())],
        ..Settings::default()
    })?;
    cluster.finalize_another()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let victim = parse_peer(&cluster.servers[0].peer())?;
    runtime.block_on(async {
        let rogue = Rogue::join(&cluster, move |instance, _, network| async move {
            shown_by(&instance, &network, victim).await
        })
        .await?;
        let renewed = "attestation: renewed this server's evidence";
        let mut longest = 0;
        let until = Instant::now() + Duration::from_mins(1);
        let all_renewed = || {
            let of = |server: &Server| {
                let lines = server.process.lines().since(0);
                lines.iter().any(|line| line.contains(renewed))
            };
            cluster.servers.iter().all(of)
        };
        // Both tickets stand side by side for a while after.
        let mut left = 20;
        while left > 0 {
            if all_renewed() {
                left -= 1;
            } else if Instant::now() > until {
                return Err(Failed::because("not all servers renewed their evidence"));
            }
            for server in &cluster.servers {
                let peer = parse_peer(&server.peer())?;
                longest = longest.max(rogue.announcement_of(&peer).unwrap_or(0));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        println!("longest announcement of a server: {longest} bytes");
        assert!(longest > 0 && longest < ANNOUNCEMENT, "{longest} bytes");
        rogue.leave().await;
        Ok(())
    })
}

#[test]
fn evidence_is_renewed_without_a_missed_round() -> TestResult {
    let mut cluster = attested(Settings {
        variables: vec![("ZIPNET_EVIDENCE_LIFETIME".into(), "12s".into())],
        ..Settings::default()
    })?;
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
    let own = |cluster: &Cluster, index: usize| -> TestResult<std::path::PathBuf> {
        let simulated = cluster.simulated()?;
        let path = simulated.policy_file();
        Ok(path.with_file_name(format!("policy-{index}.json")))
    };
    let publish = |cluster: &Cluster, index: usize, serial: u64| -> TestResult {
        let path = own(cluster, index)?;
        let simulated = cluster.simulated()?;
        simulated.publish_at(&simulated.publisher().policy(serial)?, &path)?;
        Ok(())
    };
    // Each server has a policy file of its own.
    for index in 0..3 {
        publish(&cluster, index, 1)?;
        let metrics = free_port();
        let mut command = cluster.server_command(index, "127.0.0.1:0", metrics)?;
        command.env("ZIPNET_POLICY", own(&cluster, index)?);
        let server = cluster.launch_server_as(index, metrics, command)?;
        cluster.servers.push(server);
    }
    cluster.add_aggregator()?;
    for _ in 0..2 {
        let client = cluster.client(&["cover"])?;
        cluster.clients.push(client);
    }
    cluster.finalize_another()?;
    publish(&cluster, 1, 2)?;
    let serials = |cluster: &Cluster| -> Vec<_> {
        let serial = |server: &Server| server.metric("zipnet_policy_serial");
        cluster.servers.iter().map(serial).collect()
    };
    eventually("all servers go by policy 2", LOOKED_INTO, || {
        (serials(&cluster) == [Some(2.0); 3]).then_some(())
    })?;
    cluster.finalize_another()?;
    // Its old file does not bring the old policy back, also not by a restart.
    publish(&cluster, 1, 1)?;
    cluster.servers[0].process.kill();
    let (hint, metrics) = (cluster.servers[0].hint.clone(), cluster.servers[0].metrics);
    let bind = hint.split('@').nth(1).unwrap_or_default().to_owned();
    let mut command = cluster.server_command(0, &bind, metrics)?;
    command.env("ZIPNET_POLICY", own(&cluster, 0)?);
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
    pccs.publish(&rated(1, "UpToDate")?);
    for server in &mut cluster.servers {
        let newer = "attestation: newer collateral";
        server.process.expect(newer, LOOKED_INTO)?;
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
    let mut cluster = attested(Settings::default())?;
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
    let mut cluster = attested(Settings::default())?;
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
    let mut policy = simulated.publisher().policy(7)?;
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
    let mut believer = cluster.client(&["--json", "publish", "seen"])?;
    let landed = |value: &Value| value["event"] == "landed";
    believer.expect_json(0, "that its message landed", ROUND, landed)?;
    assert!(doubter.json_since(0).is_empty(), "it read a round");
    Ok(())
}

#[test]
fn a_stranger_verifies_a_running_server() -> TestResult {
    let mut cluster = attested(Settings::default())?;
    cluster.finalize_another()?;
    let simulated = cluster.simulated()?;
    let root = simulated.policy_file().with_file_name("root.der");
    std::fs::write(&root, simulated.publisher().world()?.root_der())?;
    let mut other = simulated.publisher().policy(2)?;
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
    assert_eq!(answer["not_compared"], serde_json::json!([]));

    let (status, answer) = verify(hint, &mixed)?;
    assert_eq!((status, &answer["rule"]), (Some(1), &Value::from("ZA-601")));

    // Nobody is there: nothing is decided.
    let nobody = format!("{}@{}", cluster.servers[1].peer(), free_udp_port());
    let (status, _) = verify(&nobody, &mixed)?;
    assert_eq!(status, Some(3));
    Ok(())
}
