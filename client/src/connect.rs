//! A client of one line of text.

use core::{convert::Infallible, net::SocketAddr, time::Duration};
use std::{path::PathBuf, sync::Arc};

use zipnet_attest::{PolicyKeys, TrustBase, TrustRoot, signed::SignedPolicyError};
use zipnet_protocol::{Instance, Invite, SigningPublic};

use crate::{
    attestation::{Authority, AuthoritySettings, CollateralSource, authority::AuthorityError},
    roles::client::{
        Client, ClientError, ClientSettings, Participation, PublishError, Publisher, Reader,
        Readiness, Receipt,
    },
    settings::{DEFAULT_UNIVERSE, NetworkSettings, TrustSettings},
    typed::Typed,
    uri::{Evidence, Uri, UriError},
};

/// Fewest participants that a round must ask for before a client takes part, unless it is
/// set: whoever is alone in a round is its author. The same for those who talk and those who
/// cover, so that nobody tells them apart by it.
const COMPANY: u32 = 2;
/// How often collateral is fetched anew.
const REFRESH: Duration = Duration::from_hours(12);

/// There is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text.
    #[error("There is no saying which committee to talk to")]
    Uri(#[from] UriError),
    /// Who signs policies.
    #[error("`policy-key` and `policy-threshold` in the URI name no policy keys")]
    PolicyKeys(#[source] SignedPolicyError),
    /// What evidence is judged by.
    #[error("Evidence cannot be judged")]
    Authority(#[source] AuthorityError),
    /// The client.
    #[error("The client could not start")]
    Client(#[from] ClientError),
}

impl From<Infallible> for ConnectError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A client to be: what a [`Uri`] says, and what no text that is passed around should.
#[derive(Debug)]
pub struct Builder {
    uri: Uri,
    participation: Participation,
    bind: Option<SocketAddr>,
    invite: Option<Invite>,
    authority: Option<Arc<Authority>>,
    collateral: CollateralSource,
    state: Option<PathBuf>,
}

impl From<Uri> for Builder {
    fn from(uri: Uri) -> Self {
        Self {
            uri,
            participation: Participation::Talk,
            bind: None,
            invite: None,
            authority: None,
            collateral: CollateralSource::Shown,
            state: None,
        }
    }
}

impl TryFrom<&str> for Builder {
    type Error = UriError;

    fn try_from(text: &str) -> Result<Self, UriError> {
        text.parse().map(|uri: Uri| Self::from(uri))
    }
}

impl TryFrom<String> for Builder {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        text.as_str().try_into()
    }
}

impl TryFrom<&String> for Builder {
    type Error = UriError;

    fn try_from(text: &String) -> Result<Self, UriError> {
        text.as_str().try_into()
    }
}

impl Builder {
    /// What may be passed on. No secret is in it.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What the client does in rounds: unless it is said, it talks, and covers when it has
    /// nothing to say.
    #[must_use]
    pub const fn taking_part(mut self, participation: Participation) -> Self {
        self.participation = participation;
        self
    }

    /// Only reads: the broadcasts, each proven by the round behind it.
    #[must_use]
    pub const fn reading(self) -> Self {
        self.taking_part(Participation::Watch)
    }

    /// Only reads: whole records, and adds their vectors up by itself. It costs as many
    /// times the bytes as there are servers, and one more.
    #[must_use]
    pub const fn auditing(self) -> Self {
        self.taking_part(Participation::Audit)
    }

    /// Where to listen (UDP); any port on all interfaces unless it is set.
    #[must_use]
    pub const fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = Some(address);
        self
    }

    /// By what the client is admitted, where that is needed. A secret.
    #[must_use]
    pub fn invite(mut self, invite: Invite) -> Self {
        self.invite = Some(invite);
        self
    }

    /// What judges evidence, in place of what the URI says of it.
    #[must_use]
    pub fn authority(mut self, authority: Arc<Authority>) -> Self {
        self.authority = Some(authority);
        self
    }

    /// Where Intel's collateral comes from; from those who show it unless it is set.
    #[must_use]
    pub fn collateral(mut self, source: CollateralSource) -> Self {
        self.collateral = source;
        self
    }

    /// A folder for what has to survive the process: the newest policy and collateral that
    /// were seen. Without one, older ones are believed again by the next process.
    #[must_use]
    pub fn state(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state = Some(folder.into());
        self
    }

    /// The settings of the client.
    fn settings(self) -> Result<(ClientSettings, Participation), ConnectError> {
        let Self {
            uri,
            participation,
            bind,
            invite,
            authority,
            collateral,
            state,
        } = self;
        let authority = match (authority, &uri.evidence) {
            (Some(authority), _) => Some(authority),
            (None, Some(evidence)) => Some(judge(evidence, collateral, state)?),
            (None, None) => {
                tracing::warn!(
                    "no evidence is asked for: nobody can tell what the servers run; whoever operates them may read \
                     their keys"
                );
                None
            }
        };
        let company = if participation.seals() { COMPANY } else { 1 };
        let settings = ClientSettings {
            network: NetworkSettings {
                universe: DEFAULT_UNIVERSE.to_owned(),
                seed: None,
                bootstrap: uri.bootstrap,
                bind,
                relay: uri.relay,
            },
            trust: TrustSettings {
                name: uri.instance,
                committee: uri.committee.map(SigningPublic::from),
                required: uri.required,
                committee_size: uri.committee_size,
                min_servers: uri.min_servers,
                min_participants: uri.min_participants.unwrap_or(company),
                aggregators: uri.aggregators,
                authority,
            },
            params: uri.params,
            invite,
        };
        Ok((settings, participation))
    }
}

/// What judges evidence by a policy that keys sign.
fn judge(
    evidence: &Evidence,
    collateral: CollateralSource,
    state: Option<PathBuf>,
) -> Result<Arc<Authority>, ConnectError> {
    let threshold = evidence.threshold.map(|threshold| threshold as usize);
    let threshold = threshold.unwrap_or(evidence.keys.len());
    let keys = PolicyKeys::new(&evidence.keys, threshold).map_err(ConnectError::PolicyKeys)?;
    let settings = AuthoritySettings {
        base: Arc::new(TrustBase::new(TrustRoot::Intel, keys)),
        policy: PathBuf::from(&evidence.policy),
        collateral,
        refresh: REFRESH,
        state,
    };
    let authority = Authority::open(settings).map_err(ConnectError::Authority)?;
    Ok(Arc::new(authority))
}

/// A client of an instance: it publishes and reads, and covers for others whenever it has
/// nothing to say.
///
/// What is sent does not depend on what is published through it. That it comes and goes
/// everybody sees: keep one for the life of the process, or
/// [publish and leave](Self::publish_and_leave) as all do who come to say one thing.
///
/// One that is dropped without [leaving](Self::leave) stays in the registry until its lease
/// has ended.
#[derive(Debug)]
pub struct Zipnet {
    client: Client,
}

impl Zipnet {
    /// Reaches an instance: by a line of text (see [`Uri`]), or by a [`Builder`] made of
    /// it. Keys are fresh, for this client alone. It returns once there is a client; whether
    /// rounds are followed, [`Zipnet::readiness`] says.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect<B>(to: B) -> Result<Self, ConnectError>
    where
        B: TryInto<Builder>,
        ConnectError: From<B::Error>,
    {
        Self::start(to.try_into()?).await
    }

    async fn start(builder: Builder) -> Result<Self, ConnectError> {
        let (settings, participation) = builder.settings()?;
        let client = Client::start(settings, participation).await?;
        Ok(Self { client })
    }

    /// A handle to publish with.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.client.publisher()
    }

    /// A handle to read with: a stream of rounds, from the next finalized one on.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.client.reader()
    }

    /// A handle to publish messages of one kind with.
    #[must_use]
    pub fn publisher_of<T>(&self) -> Typed<T, Publisher> {
        Typed::new(self.publisher())
    }

    /// A handle to read messages of one kind with.
    #[must_use]
    pub fn reader_of<T>(&self) -> Typed<T, Reader> {
        Typed::new(self.reader())
    }

    /// Whether the client is ready, and why not.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.client.readiness()
    }

    /// The instance that the client belongs to.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        self.client.instance()
    }

    /// The client itself.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Withdraws from the registry and closes the connections.
    pub async fn leave(self) {
        self.client.leave().await;
    }

    /// Publishes one message and leaves as all do who come for one: takes part in 17
    /// rounds, with the message at a random place among them, and withdraws. Readers of
    /// this client end then.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish_and_leave(
        self,
        message: impl Into<Vec<u8>>,
    ) -> Result<Receipt, PublishError> {
        let message = message.into();
        let mut stay = self.client.linger();
        while stay.one_more().await {}
        let landed = self.publisher().publish(message).await;
        // Whether it landed or not: it may have been seen.
        let mut rest = stay.behind(&self.client);
        while rest.one_more().await {}
        self.leave().await;
        landed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "ae58ff8833241ac82d6ff7611046ed67b5072d142c588d0063e942d9a75502b6";

    fn builder(text: &str) -> Builder {
        text.try_into().unwrap()
    }

    #[test]
    fn a_line_of_text_sets_a_client_up() {
        let text =
            format!("zipnet:acme.test?committee={PEER}&require={PEER}&size=3&relay=embedded");
        let (settings, participation) = builder(&text).settings().unwrap();
        assert_eq!(participation, Participation::Talk);
        let trust = settings.trust;
        assert_eq!(trust.name.as_str(), "acme.test");
        assert_eq!(hex::encode(trust.committee.unwrap().as_bytes()), PEER);
        assert_eq!(trust.required.len(), 1);
        assert_eq!((trust.committee_size, trust.min_servers), (Some(3), None));
        // An identity that follows from nothing.
        assert!(settings.network.seed.is_none());
    }

    #[test]
    fn a8_who_talks_and_who_covers_take_part_in_the_same_rounds() {
        let needed = |participation, text: &str| {
            let builder = builder(text).taking_part(participation);
            builder.settings().unwrap().0.trust.min_participants
        };
        for text in ["zipnet:a.b", "zipnet:a.b?min-participants=5"] {
            let talk = needed(Participation::Talk, text);
            assert_eq!(talk, needed(Participation::Cover, text));
            assert!(talk >= COMPANY);
        }
        assert_eq!(needed(Participation::Watch, "zipnet:a.b"), 1);
    }

    #[test]
    fn readers_read_lightly_unless_they_are_to_audit() {
        let reads = builder("zipnet:a.b").reading();
        assert_eq!(reads.participation, Participation::Watch);
        let audits = builder("zipnet:a.b").auditing();
        assert_eq!(audits.participation, Participation::Audit);
    }

    #[tokio::test]
    async fn what_is_no_committee_is_refused_before_anything_is_sent() {
        let refused = async |text: &str| {
            let error = Zipnet::connect(text).await.unwrap_err();
            crate::report::chain(&error)
        };
        let error = refused("zipnet:a.b?colour=green").await;
        assert!(error.contains("`committee`"), "{error}");
        let error = refused("zipnet:a.b?policy=/nowhere/p.json&policy-key=RWx").await;
        assert!(error.contains("minisign"), "{error}");
    }
}
