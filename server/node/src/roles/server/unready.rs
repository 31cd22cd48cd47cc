//! Why this server signs no rounds.

use core::time::Duration;

use super::{
    context::{Attested, Context},
    readiness::Readiness,
};
use crate::{
    committee::View,
    health::{Code, Reason},
};

/// So many periods may pass without a round, besides the deadline of one.
const PERIODS: u32 = 3;

/// All reasons: what keeps rounds from opening, and what keeps this server out of them.
/// `age` is the time since the last round was finalized here.
pub(super) fn reasons(
    context: &Context,
    view: &View,
    readiness: &Readiness,
    age: Duration,
) -> Vec<Reason> {
    let obstacles = readiness.obstacles.iter();
    let mut reasons: Vec<_> = obstacles
        .map(|obstacle| Reason::new(obstacle.code(), obstacle.to_string()))
        .collect();
    reasons.extend(own_evidence(context));
    let me = context.me();
    let listed = view.state.servers().get(me.id());
    if listed.is_none_or(|listed| listed.digest() != me.digest()) {
        let text = "the committee does not list this boot of this server";
        reasons.push(Reason::new(Code::Unlisted, text));
    }
    let limit = context.settings.period * PERIODS + context.settings.deadline;
    match view.state.head() {
        None => {
            let text = "no round was finalized yet, or none that this server knows of";
            reasons.push(Reason::new(Code::Round, text));
        }
        Some(_) if age > limit => {
            let text = format!(
                "the last round was finalized {} s ago, and {} s are the most",
                age.as_secs(),
                limit.as_secs()
            );
            reasons.push(Reason::new(Code::Round, text));
        }
        Some(head) => {
            let round = head.checked.round();
            let signed = round.server(me.id());
            if signed.is_none_or(|signed| signed.digest() != me.digest()) {
                let text = format!(
                    "round {} was made without this boot of this server",
                    round.header().number
                );
                reasons.push(Reason::new(Code::LeftOut, text));
            }
        }
    }
    reasons
}

fn own_evidence(context: &Context) -> Vec<Reason> {
    let Some(Attested { own, .. }) = context.attested() else {
        return Vec::new();
    };
    let mut reasons = Vec::new();
    let authority = own.authority();
    let policy = authority.policy();
    let ends = policy.verifier.policy().ends();
    if ends.is_some_and(|ends| ends <= authority.now()) {
        let text = format!(
            "the last image window of policy {} has ended; a later policy would be right",
            policy.serial()
        );
        reasons.push(Reason::new(Code::Policy, text));
    }
    let judged = own.shown().map(|(credential, _)| {
        authority.judge(&context.rules.instance, &context.me(), &credential)
    });
    match judged {
        None => {
            let text = "this server has no evidence yet";
            reasons.push(Reason::new(Code::Evidence, text));
        }
        Some(Err(refusal)) => {
            let text = format!(
                "this server's evidence does not hold under its own policy: {}",
                crate::report::chain(&*refusal)
            );
            reasons.push(Reason::new(Code::Evidence, text));
        }
        Some(Ok(_)) => {}
    }
    reasons
}
