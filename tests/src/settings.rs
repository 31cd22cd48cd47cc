//! What a cluster is made of.

use zeroize::Zeroizing;
use zipnet_node::settings::TransportSeed;
use zipnet_protocol::{
    Admission, CommitteeSecret, InstanceName, InstanceNameError, PeerKey, SigningSecret,
};

use crate::process::ProcessError;

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

impl Settings {
    /// The transport secret of the aggregator: each committee has its own one.
    #[must_use]
    pub fn aggregator(&self) -> String {
        format!("the aggregator of {}", self.secret)
    }

    /// The committee key, as clients take it.
    ///
    /// # Errors
    /// If the instance's name is none.
    pub fn committee(&self) -> Result<String, InstanceNameError> {
        let name: InstanceName = self.instance.parse()?;
        let secret = CommitteeSecret::new(Zeroizing::new(self.secret.clone().into_bytes()));
        let key = secret.committee_key(&name).public();
        Ok(PeerKey::new(*key.as_bytes()).to_string())
    }

    /// The admission of an aggregator with this transport secret, as `zipnet-server
    /// admit` prints it.
    ///
    /// # Errors
    /// [`ProcessError::Start`] if the instance's name is none.
    pub fn admission(&self, transport: &str) -> Result<String, ProcessError> {
        let name: InstanceName =
            self.instance
                .parse()
                .map_err(|error: InstanceNameError| ProcessError::Start {
                    name: "the aggregator".into(),
                    source: std::io::Error::other(error),
                })?;
        let secret = CommitteeSecret::new(Zeroizing::new(self.secret.clone().into_bytes()));
        let seed = TransportSeed::from_text(transport);
        let peer = SigningSecret::from_seed(seed.as_bytes()).peer_key();
        Ok(Admission::sign(&name, &peer, &secret.committee_key(&name)).to_string())
    }
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
