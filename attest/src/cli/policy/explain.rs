//! What the fields of a policy mean, and what leaving one out would mean: said beside a new
//! policy, so that whoever signs it knows what it says.

use std::io::Write as _;

use crate::policy::{Policy, Track};

use crate::cli::plain;

/// Writes a line beside the policy.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "# {}", plain(line));
}

/// Servers that may run on one machine: whoever hosts it meets both pins.
fn shared(policy: &Policy) -> Option<String> {
    let servers = policy.servers.as_deref().unwrap_or_default();
    let mut pairs = servers.iter().enumerate().flat_map(|(at, one)| {
        let later = servers.iter().skip(at.saturating_add(1));
        later.map(move |other| (one, other))
    });
    let (one, other) =
        pairs.find(|(one, other)| one.platforms.iter().any(|id| other.platforms.contains(id)))?;
    Some(format!(
        "servers {} and {} may run on one machine: whoever hosts it meets the pins of both, and can exchange them",
        one.name, other.name
    ))
}

/// A line for each field that decides something.
pub fn lines(policy: &Policy) -> Vec<String> {
    let tcb = &policy.tcb;
    let evaluations = match (tcb.track, tcb.max_evaluation) {
        (Track::Standard, Some(max)) => format!(
            "tcb.track standard, evaluations {} to {max}: collateral of other numbers is refused, also if Intel signed it. Raise both in a policy of a higher serial when Intel's standard track moves; without an upper end anybody who shows early collateral condemns platforms before they can be updated",
            tcb.min_evaluation
        ),
        _ => format!(
            "tcb.track early, evaluations from {} on: platforms fall on the day of a disclosure, whoever shows the collateral",
            tcb.min_evaluation
        ),
    };
    let platforms = policy.platforms.as_ref().map_or_else(
        || "platforms null: every machine that Intel certifies will do, also one whose keys somebody extracted; members give no secrets without a list".to_owned(),
        |listed| format!("platforms: {} machines, by platform instance id. null would accept every machine that Intel certifies", listed.len()),
    );
    let servers = policy.servers.as_ref().map_or_else(
        || "servers null: whoever has the committee secret may be a server; no member keeps a guest's identity, so that a guest which restarts without its operator is a new server. --server NAME=PEERID@PLATFORM binds an identity to machines".to_owned(),
        |servers| format!("servers: {} identities, each on its own machines and nowhere else, whoever has its seed", servers.len()),
    );
    let mut lines = vec![
        format!(
            "issued {}: whoever sees this policy knows that this time has passed, whatever its host's clock says",
            policy.issued
        ),
        evaluations,
        format!("tcb.accept {:?}: how Intel rates a platform. More statuses accept platforms with known faults", tcb.accept),
        format!("tcb.reject_advisories {:?}: none are refused besides; name one, and platforms open to it fall whatever their status", tcb.reject_advisories),
        format!("tcb.max_collateral_age_days {}: how long old collateral helps a broken platform, and how far a host's clock can be set back or forward unnoticed", tcb.max_collateral_age_days),
        format!("tcb.smt, dynamic_platform, cached_keys {}, {}, {}: every TDX server that was seen has all three; false refuses such", tcb.smt, tcb.dynamic_platform, tcb.cached_keys),
        format!("tcb.sgx_types {:?}: how memory is protected. Scalable alone encrypts without integrity; leave it out if your machines have better", tcb.sgx_types),
        format!("td.attributes {}: to the bit. Any other bit lets a host debug, profile or migrate the TD, or gives it features that nobody looked at", policy.td.attributes),
        "td.mr_config_id, mr_owner, mr_owner_config: zeros, since zipnet's launcher sets none; others are refused".to_owned(),
        format!("td.mr_seam {}: which TDX modules may run; null leaves it to Intel's rating of the platform", policy.td.mr_seam.as_ref().map_or_else(|| "null".to_owned(), |listed| format!("{} listed", listed.len()))),
        "images: MRTD, RTMR1, RTMR2 and RTMR3 of one release with RTMR0 of one of its shapes. not_after null never ends: give a release that is replaced an end".to_owned(),
        platforms,
        servers,
        format!("max_statement_hours {}: how long one statement of a server is believed after its quote was made", policy.max_statement_hours),
    ];
    lines.extend(shared(policy));
    lines
}
