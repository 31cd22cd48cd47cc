//! Renews this server's evidence before it ends, and announces it.

use core::time::Duration;
use std::sync::Arc;

use mosaik::Network;
use tokio::time::Instant;
use zipnet_protocol::{AdmittedServer, Digest};

use super::context::{Attested, Context};
use crate::{
    attestation::{
        Standing,
        own::{Circumstances, OwnEvidence, OwnEvidenceError},
        ticket, upkeep,
    },
    metrics,
    settings::CommitteeRules,
};

/// How often the evidence is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How soon a failed renewal is tried again.
const AGAIN: Duration = Duration::from_secs(15);
/// How long the ticket of the old evidence is announced beside the new one's,
/// at most: bonds are kept by the old one until peers have verified the new
/// one.
const OVERLAP: Duration = Duration::from_secs(30);

/// Makes evidence and announces its ticket beside older ones.
pub(super) async fn renew(
    own: &Arc<OwnEvidence>,
    network: &Network,
    rules: &CommitteeRules,
    server: &AdmittedServer,
    freshness: Digest,
) -> Result<Standing, OwnEvidenceError> {
    let circumstances = Circumstances {
        config: own.config().unwrap_or_else(|| rules.digest()),
        freshness,
    };
    let made = own
        .clone()
        .renew(rules.instance.clone(), server.clone(), circumstances);
    let standing = made.await?;
    if let Some((credential, _)) = own.shown() {
        let ticket = ticket::ticket(&credential.digest());
        network.discovery().add_ticket(ticket);
    }
    Ok(standing)
}

pub(super) async fn run(context: Arc<Context>) {
    let Some(Attested { own, .. }) = context.attested().cloned() else {
        return;
    };
    let keep = tokio::spawn(upkeep::run(own.authority().clone()));
    let mut not_before: Option<Instant> = None;
    let mut old: Option<(Digest, Instant)> = None;
    let pulse = context.pulse("attestant");
    loop {
        pulse.beat();
        tokio::select! {
            () = context.stop().cancelled() => break,
            () = tokio::time::sleep(TICK) => {}
        }
        let Some(network) = context.network() else {
            break;
        };
        let view = context.view();
        if let Some(policy) = view.state.admissions().policy()
            && policy.serial() > own.authority().policy().serial()
        {
            own.authority().adopt(&policy.file);
        }
        if let Some((_, standing)) = own.shown() {
            let authority = own.authority();
            let policy = authority.policy();
            metrics::own_evidence(&standing, policy.verifier.policy(), authority.now());
        }
        if let Some((digest, _)) = old.filter(|(_, until)| *until <= Instant::now()) {
            network
                .discovery()
                .remove_ticket(ticket::ticket(&digest).id());
            old = None;
        }
        let wait = not_before.is_some_and(|at| Instant::now() < at);
        if old.is_some() || wait || !own.is_due(&context.rules.instance, &context.me()) {
            continue;
        }
        let before = own.shown().map(|(credential, _)| credential.digest());
        match renew(
            &own,
            &network,
            &context.rules,
            &context.me(),
            view.state.previous(),
        )
        .await
        {
            Ok(standing) => {
                tracing::info!("attestation: renewed this server's evidence");
                let whole = Duration::from_secs(standing.not_after.saturating_sub(standing.at));
                let until = Instant::now() + OVERLAP.min(whole / 4);
                old = before.map(|digest| (digest, until));
            }
            Err(error) => {
                not_before = Some(Instant::now() + AGAIN);
                tracing::error!(
                    because = %crate::report::chain(&error),
                    "attestation: this server's evidence could not be renewed; trying again"
                );
            }
        }
    }
    keep.abort();
}
