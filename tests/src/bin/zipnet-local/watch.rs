//! Has the deployment watched: a configuration for a Prometheus beside it.

use std::{fs, io, net::SocketAddr, path::PathBuf};

use zipnet_tests::cluster::Cluster;

/// What an operator begins with; the targets are replaced.
const EXAMPLE: &str = include_str!("../../../../deploy/monitoring/prometheus.yml");
const RULES: &str = include_str!("../../../../deploy/monitoring/zipnet.rules.yml");
const SERVERS: &str = r#"["127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103"]"#;
const AGGREGATOR: &str = r#"["127.0.0.1:9104"]"#;

/// Writes the example of the repository for this deployment, with its rules beside it.
pub fn configure(cluster: &Cluster, aggregator: SocketAddr) -> io::Result<PathBuf> {
    let servers: Vec<_> = cluster
        .servers
        .iter()
        .map(|server| format!("\"{}\"", server.metrics))
        .collect();
    let text = EXAMPLE
        .replace(SERVERS, &format!("[{}]", servers.join(", ")))
        .replace(AGGREGATOR, &format!("[\"{aggregator}\"]"));
    let path = cluster.logs().join("prometheus.yml");
    fs::write(cluster.logs().join("zipnet.rules.yml"), RULES)?;
    fs::write(&path, text)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_the_targets_that_are_replaced() {
        assert_eq!(EXAMPLE.matches(SERVERS).count(), 1);
        assert_eq!(EXAMPLE.matches(AGGREGATOR).count(), 1);
    }
}
