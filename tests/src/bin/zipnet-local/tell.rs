//! What the user is told of servers and rounds.

use std::{env, fmt::Write as _, thread, time::Duration};

use serde_json::Value;
use zipnet_tests::{attestation::Simulated, cluster::Cluster, server::Server};

use crate::say;

/// What comes after this in a server's log is whom it verified, and how.
pub const VERIFIED: &str = "attestation: verified a server ";

/// `image=a shape=b ...` of a log line, without what names the server.
pub fn verdict(line: &str) -> String {
    let (_, fields) = line.split_once(VERIFIED).unwrap_or_default();
    let fields = fields.split(' ');
    let shown = fields.filter(|field| !field.starts_with("server=") && !field.starts_with("peer="));
    shown.collect::<Vec<_>>().join(" ")
}

/// A command that verifies the first server from outside.
pub fn tell_how_to_verify(cluster: &Cluster, simulated: &Simulated) {
    let Some(server) = cluster.servers.first() else {
        return;
    };
    let program = env::current_exe().map(|exe| exe.with_file_name("zipnet-attest"));
    say("To verify server 1 yourself, in another terminal:");
    say(&format!(
        "  ZIPNET_RELAY=embedded ZIPNET_UNIVERSE='{}' {} verify --live {} --name {} --policy {} --root {}",
        cluster.universe(),
        program.unwrap_or_else(|_| "zipnet-attest".into()).display(),
        server.hint,
        cluster.settings.instance,
        simulated.policy_file().display(),
        simulated.root_file().display(),
    ));
}

/// Says in the background whom each server verifies or refuses.
pub fn tell_verdicts(cluster: &Cluster) {
    let names: Vec<_> = cluster.servers.iter().map(Server::short).collect();
    for (index, server) in cluster.servers.iter().enumerate() {
        let lines = server.process.lines().clone();
        let names = names.clone();
        thread::spawn(move || {
            let mut at = 0;
            let told = |line: &str| line.contains("attestation: ") && line.contains(" peer=");
            while let Some((next, line)) = lines.find(at, Duration::from_hours(1), told) {
                at = next;
                let of = names
                    .iter()
                    .position(|name| line.contains(&format!("peer={name}")));
                if of == Some(index) {
                    continue;
                }
                let other = of.map_or_else(
                    || "a stranger".to_owned(),
                    |of| format!("server {}", of + 1),
                );
                let (_, said) = line.split_once("attestation: ").unwrap_or_default();
                if line.contains(VERIFIED) {
                    say(&format!(
                        "  server {} verified {other}: {}",
                        index + 1,
                        verdict(&line)
                    ));
                } else {
                    say(&format!("  server {} about {other}: {said}", index + 1));
                }
            }
        });
    }
}

/// Prints what a finalized round brought.
pub fn say_round(value: &Value, since_start: Option<Duration>) {
    let mut head = format!(
        "round r{}: {} participants",
        value["round"], value["participants"]
    );
    if let Some(time) = since_start {
        let _ = write!(
            head,
            "  (first round, {:.1} s after the start)",
            time.as_secs_f64()
        );
    }
    say(&head);
    for message in value["messages"].as_array().into_iter().flatten() {
        let text = message["text"].as_str().unwrap_or_default();
        let shown: String = text.chars().filter(|c| !c.is_control()).collect();
        say(&format!("  slot {:>2}: {shown}", message["slot"]));
    }
}
