//! What a cluster is made of.

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of servers.
    pub servers: usize,
    /// The committee's meant size, if it is to be set.
    pub committee_size: Option<usize>,
    /// Fewest clients of a round.
    pub min_participants: usize,
    /// From round to round.
    pub period: String,
    /// Until a round is given up.
    pub deadline: String,
    /// How long the aggregator collects.
    pub fold_deadline: String,
    /// Further variables of every process.
    pub variables: Vec<(String, String)>,
    /// The name of the instance.
    pub instance: String,
    /// The committee secret.
    pub secret: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: 3,
            committee_size: Some(3),
            min_participants: 2,
            period: "500ms".into(),
            deadline: "4s".into(),
            fold_deadline: "1s".into(),
            variables: Vec::new(),
            instance: "zipnet.local.test".into(),
            secret: "the committee secret of a test".into(),
        }
    }
}
