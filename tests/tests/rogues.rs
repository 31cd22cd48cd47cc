//! Rogues that hold the committee secret and knock at an attested committee:
//! each is refused by its rule, and rounds go on.
#![allow(missing_docs)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zipnet_attest::{
    Rule, Statement,
    simulation::{Draft, Platform, Td, World},
};
use zipnet_node::{
    attestation::{Credential, credential::expected},
    settings::parse_peer,
    wire::Opinion,
};
use zipnet_protocol::{AdmittedServer, Instance};
use zipnet_tests::{
    cluster::{Cluster, Settings},
    process::{Failed, TestResult},
    rogue::{Rogue, shown_by},
    server::Server,
};

/// How long servers may take to look into a stranger's evidence.
const LOOKED_INTO: Duration = Duration::from_secs(40);
/// Longest announcement that is safe to gossip.
const ANNOUNCEMENT: usize = 3000;

fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A right statement of a server.
fn statement(instance: &Instance, server: &AdmittedServer) -> Statement {
    let window = clock() - 60..clock() + 3600;
    expected(instance, server).statement(1, window, [1; 32], [2; 32])
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
    let mut cluster = Cluster::start_attested(Settings::default(), 2)?;
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
    let mut cluster = Cluster::start_attested(Settings::default(), 2)?;
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
    let mut cluster = Cluster::start_attested(
        Settings {
            variables: vec![("ZIPNET_EVIDENCE_LIFETIME".into(), "40s".into())],
            ..Settings::default()
        },
        2,
    )?;
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
            longest = longest.max(rogue.longest_announcement().unwrap_or(0));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        println!("longest announcement of a server: {longest} bytes");
        assert!(longest > 0 && longest < ANNOUNCEMENT, "{longest} bytes");
        rogue.leave().await;
        Ok(())
    })
}
