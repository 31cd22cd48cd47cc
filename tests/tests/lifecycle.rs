//! The operator's runbooks, followed on a committee of processes while a client publishes.
#![allow(missing_docs)]

use zipnet_tests::{
    book,
    lifecycle::{Followed, follow},
    process::TestResult,
};

/// A second restart while one is under way, and while another server hangs or is down.
const TWO_AT_ONCE: &str = r#"
refused() { if one "$1" > refused.log 2>&1; then echo "restarted $1" && exit 9; fi; cat refused.log; }
before=$(cat server-1.pid)
echo '## under way'
( flock 8; refused 1 ) 8>> restart.lock
echo '## hangs'
kill -STOP "$(cat server-2.pid)"
refused 1
kill -CONT "$(cat server-2.pid)"
echo '## down'
end server-2
refused 1
server 2
echo '## back'
until curl -sf "$(ready 2)" > back && curl -sf "$(ready 1)" > back && curl -sf "$(ready 3)" > back; do sleep 0.1; done
[ "$before" = "$(cat server-1.pid)" ] && kill -0 "$before"
echo '## wrong'
restart-one.sh --ready "$(ready 1)" -- true || echo "status $?"
"#;

fn says(followed: &Followed, text: &str) {
    let ran = &followed.ran;
    assert!(ran.line(text).is_some(), "{text:?} is not in {ran:#?}");
}

/// How many lines contain a text.
fn times(followed: &Followed, text: &str) -> usize {
    let lines = followed.ran.lines.iter();
    lines.filter(|line| line.contains(text)).count()
}

#[test]
fn a_rolling_restart_loses_no_receipt() -> TestResult {
    let page = book::blocks(
        "operator/lifecycle/rolling-restart.md",
        "a_rolling_restart_loses_no_receipt",
    )?;
    // The first block is there for every page.
    let commands = [&page[1..].concat(), TWO_AT_ONCE].concat();
    let followed = follow("rolling restart", &commands, "")?;
    assert_eq!(times(&followed, "ready again after"), 3);
    says(&followed, "servers    3 of 3 registered");
    says(&followed, "another restart is under way on this machine");
    let refused = "http://127.0.0.1:9102/readyz is not ready: it does not answer";
    assert_eq!(times(&followed, refused), 2, "{:#?}", followed.ran);
    says(&followed, "--others is missing");
    says(&followed, "status 2");
    followed.every_line_landed_once()?;
    // Three restarts, and one server that was ended and started by hand.
    let lost = followed.lost_rounds()?;
    assert!(lost <= 4, "{lost} rounds are lost");
    Ok(())
}

#[test]
fn a_rolling_image_upgrade_loses_no_receipt() -> TestResult {
    let page = book::block(
        "operator/lifecycle/image-upgrade.md",
        "a_rolling_image_upgrade_loses_no_receipt",
    )?;
    // What a policy says of collateral is tried on the same committee.
    let collateral = book::block(
        "operator/lifecycle/collateral.md",
        "a_rolling_image_upgrade_loses_no_receipt",
    )?;
    let followed = follow("image upgrade", &page, &collateral)?;
    let accepted = |image: &str| {
        let image = format!(r#""verdict":"accept","image":"{image}""#);
        times(&followed, &image)
    };
    assert_eq!(accepted("simulated"), 3, "{:#?}", followed.ran);
    // By the policy without the old image, and by that which lets another evaluation count.
    assert_eq!(accepted("simulated-2"), 6, "{:#?}", followed.ran);
    assert_eq!(times(&followed, r#""verdict":"refuse","rule":"ZA-308""#), 3);
    says(&followed, "refused: fetch the collateral");
    says(&followed, "zipnet_collateral_days_left{");
    says(&followed, "accepted: serial 2, signed by enough keys");
    says(&followed, "accepted: serial 3, signed by enough keys");
    assert_eq!(times(&followed, "ready again after"), 3);
    assert!(times(&followed, r#"image="simulated-2""#) > 0);
    says(&followed, "it does not answer");
    says(&followed, "This server cannot show what it is");
    says(&followed, "expected simulated-2, which differs in RTMR2");
    followed.every_line_landed_once()?;
    // Three upgrades, and one server of an image that nobody accepts.
    let lost = followed.lost_rounds()?;
    assert!(lost <= 4, "{lost} rounds are lost");
    Ok(())
}

/// Rounds that cannot end, as those with a stranger about, are given up sooner.
const SOONER: &str = "export ZIPNET_ROUND_DEADLINE=5s\n";

/// Rounds go on without the stranger.
const GONE: &str = r#"
echo '## without the stranger'
zipnet-client --json publish --now "after the stranger"
"#;

#[test]
fn an_aggregator_keys_and_servers_are_replaced() -> TestResult {
    let aggregator = book::block(
        "operator/lifecycle/aggregator.md",
        "an_aggregator_keys_and_servers_are_replaced",
    )?;
    let keys = book::block(
        "operator/lifecycle/keys.md",
        "an_aggregator_keys_and_servers_are_replaced",
    )?;
    let servers = book::blocks(
        "operator/lifecycle/servers.md",
        "an_aggregator_keys_and_servers_are_replaced",
    )?;
    // The first two blocks say how all stop and start, which keys need as well.
    let (all, servers) = servers.split_at(2);
    let after = [SOONER, &all.concat(), &keys, &servers.concat(), GONE].concat();
    let followed = follow("replacements", &aggregator, &after)?;
    says(&followed, "landed: round r");
    followed.every_line_landed_once()?;
    says(&followed, "the same peer, other keys");
    // With another seed, among four, without the first, and without the stranger.
    let landed = |servers: u32| {
        let text = format!(r#""servers":{servers}}}"#);
        times(&followed, &text)
    };
    assert_eq!((landed(3), landed(4)), (3, 1), "{:#?}", followed.ran);
    assert_eq!(times(&followed, "servers    4 of 4 registered"), 4);
    says(&followed, "unlisted: the committee does not list");
    Ok(())
}

#[test]
fn servers_are_lost_and_come_back() -> TestResult {
    let page = book::block(
        "operator/lifecycle/losses.md",
        "servers_are_lost_and_come_back",
    )?;
    let followed = follow("losses", "", &page)?;
    says(&followed, " away");
    says(&followed, "waits for  registered servers away");
    for over in [
        "one was lost: over",
        "the leader was lost: over",
        "all were lost: over",
    ] {
        says(&followed, over);
    }
    says(&followed, r#""event":"landed""#);
    Ok(())
}
