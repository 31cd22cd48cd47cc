//! Bytes on each link.

use zipnet_protocol::RoundParams;

use super::{say, site::Site};

/// A link, and what is counted there.
#[derive(Debug, Clone, Copy)]
enum Counted {
    /// The same in every round.
    Fixed,
    /// By all processes together.
    Together,
    /// By all together, for one client of them.
    OfOneClient,
}

/// Byte counters, by link.
pub struct Bytes(Vec<(&'static str, Counted, f64)>);

impl Bytes {
    pub fn read(site: &Site) -> Self {
        let servers = |name: &str| site.at_servers(name);
        let payload = |link: &str| {
            format!(
                "zipnet_payload_bytes_total{{{},link=\"{link}\"",
                Site::LABEL
            )
        };
        let mut all = vec![(
            "client to leaf or aggregator, one client",
            Counted::Fixed,
            RoundParams::default().broadcast_bytes() as f64,
        )];
        if site.leaves > 1 {
            let parts = site.at_aggregators(&payload("leaf-aggregator"));
            all.push(("leaves to aggregator", Counted::Together, parts));
        }
        all.push((
            "aggregator to servers",
            Counted::Together,
            servers(&payload("aggregator-server")),
        ));
        all.push((
            "servers to one client (headers, light record)",
            Counted::OfOneClient,
            servers(&payload("server-follower-light")),
        ));
        all.push((
            "server to server, all six directions",
            Counted::Together,
            servers("mosaik_groups_bonds_bytes_sent"),
        ));
        Self(all)
    }

    /// What was added since, a round.
    pub fn until(&self, after: &Self, rounds: usize, clients: usize) -> Vec<(&'static str, f64)> {
        let pairs = self.0.iter().zip(&after.0);
        let each = pairs.map(|((link, counted, before), (_, _, after))| {
            let added = (after - before) / rounds as f64;
            let bytes = match counted {
                Counted::Fixed => *after,
                Counted::Together => added,
                Counted::OfOneClient => added / clients as f64,
            };
            (*link, bytes)
        });
        each.collect()
    }
}

pub fn say_links(links: &[(&str, f64)]) {
    let broadcast = RoundParams::default().broadcast_bytes();
    say("");
    say(&format!(
        "| link | bytes a round | in broadcasts of {broadcast} B |"
    ));
    say("| --- | --- | --- |");
    for (link, bytes) in links {
        let ratio = bytes / broadcast as f64;
        say(&format!("| {link} | {bytes:.0} | {ratio:.2} |"));
    }
}
