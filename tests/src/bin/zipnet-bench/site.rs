//! The committee that is measured, and its counters.

use std::net::SocketAddr;

use zipnet_tests::{
    cluster::{Cluster, Settings},
    process::Process,
    readers::places,
    server::{free_port, scrape},
};

use super::{BenchResult, Cli};

/// A committee for many clients.
pub struct Site {
    pub cluster: Cluster,
    /// Aggregators that share out the clients; 1 if one takes all.
    pub leaves: usize,
    /// Where the metrics of the aggregators are.
    folding: Vec<SocketAddr>,
}

impl Site {
    /// The label of all series.
    pub const LABEL: &str = "instance=\"zipnet.local.test\"";

    pub fn new(cli: &Cli) -> BenchResult<Self> {
        let settings = Settings {
            variables: [
                (
                    "RUST_LOG".into(),
                    "info,zipnet_node::committee=debug".into(),
                ),
                // All come from one address here.
                ("ZIPNET_DOOR_EACH_ADDRESS".into(), "100000".into()),
                ("ZIPNET_DOOR_STRANGERS".into(), "20000".into()),
                ("ZIPNET_LEAVES".into(), cli.leaves.to_string()),
            ]
            .into_iter()
            .chain(places(cli.readers))
            .collect(),
            min_participants: 2,
            period: cli.period.clone(),
            deadline: "240s".into(),
            fold_deadline: cli.fold_deadline.clone(),
            ..Settings::default()
        };
        let mut cluster = Cluster::new(settings)?;
        for index in 0..cluster.settings.servers {
            cluster.add_server(index)?;
        }
        let metrics = free_port();
        let mut aggregator = cluster.aggregator_command()?;
        aggregator.env("ZIPNET_METRICS", metrics.to_string());
        cluster.launch_aggregator(aggregator)?;
        let mut folding = vec![metrics];
        for _ in 1..cli.leaves {
            let metrics = free_port();
            let mut leaf = cluster.leaf_command()?;
            leaf.env("ZIPNET_METRICS", metrics.to_string());
            cluster.launch_leaf(leaf)?;
            folding.push(metrics);
        }
        Ok(Self {
            cluster,
            leaves: cli.leaves,
            folding,
        })
    }

    /// The aggregators' processes.
    pub fn aggregators(&self) -> impl Iterator<Item = &Process> {
        self.cluster.aggregator.iter().chain(&self.cluster.leaves)
    }

    /// The number of the aggregator that hands aggregates to the servers.
    pub fn root(&self) -> usize {
        let handed = format!("zipnet_aggregates_total{{{},", Self::LABEL);
        let handed = self.folding.iter().map(|at| sum(*at, &handed));
        let most = handed
            .enumerate()
            .max_by(|one, other| one.1.total_cmp(&other.1));
        most.map_or(0, |(number, _)| number)
    }

    /// The series that begin so at all servers, together.
    pub fn at_servers(&self, name: &str) -> f64 {
        let servers = self.cluster.servers.iter();
        servers.map(|server| sum(server.metrics, name)).sum()
    }

    /// Those at all aggregators.
    pub fn at_aggregators(&self, name: &str) -> f64 {
        self.folding.iter().map(|at| sum(*at, name)).sum()
    }
}

/// The sum of the series at an exporter whose lines begin so.
fn sum(at: SocketAddr, name: &str) -> f64 {
    let text = scrape(at).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
