//! The side of whoever has the secrets: an operator, or a committee member.

use core::time::Duration;
use std::sync::Arc;

use hpke::HpkeError;

use super::{
    config::{Config, ConfigError, Difference, NAME, PROVISION_KEY},
    parcel::{Parcel, ParcelError},
    seal::{GiverKey, Proof, Sealed},
    statement::GuestStatement,
    wire::{Connection, Offer, Stream, WireError},
};
use crate::{
    collateral::Collateral,
    hexes::Hexes,
    mode::Mode,
    platforms::Platforms,
    policy::check_machine,
    report,
    rules::{Refusal, Rule},
    source::SourceError,
    trust::TrustBase,
    verified::{VerifiedTd, Verifier},
};

/// How long a guest may take to make its evidence: its host can delay a quote.
const OFFER_WITHIN: Duration = Duration::from_secs(40);
/// How long it may take to accept.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(30);

/// What a giver knows of a guest's configuration by itself.
#[derive(Debug, Clone, Copy)]
pub enum Known<'a> {
    /// All of it, as an operator does who launched the guest.
    Config(&'a Config),
    /// What members of one committee have in common.
    Member {
        /// Name of the instance.
        instance: &'a str,
        /// What its servers show of themselves.
        mode: Mode,
    },
}

/// On which machines a guest may run that is given secrets.
#[derive(Debug, Clone, Copy)]
pub enum Machines<'a> {
    /// On any that the policy accepts.
    Any,
    /// On one of these, by their platform instance ids.
    These(&'a [Hexes<16>]),
    /// On those that the policy names: for the guest by its name, if it names
    /// servers, or else on its list of platforms, which has to be there.
    OfPolicy,
}

/// Whoever has secrets, and by what it judges who may have them.
#[derive(Debug, Clone, Copy)]
pub struct Giver<'a> {
    /// The key by which guests know whoever has the committee secret.
    pub key: &'a GiverKey,
    /// Trust root and policy keys, which the guest must have too.
    pub base: &'a TrustBase,
    /// The policy in force.
    pub verifier: &'a Verifier,
    /// What it knows of the guest.
    pub known: Known<'a>,
    /// Where it may run.
    pub machines: Machines<'a>,
}

/// A guest that may have the secrets: all of its evidence holds. Only
/// [`Giver::give`] makes one.
#[derive(Debug, Clone)]
pub struct Welcome {
    statement: GuestStatement,
    config: Config,
    td: VerifiedTd,
}

/// Nothing was given, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum GiveError {
    /// No randomness.
    #[error("This machine gives no randomness for a nonce")]
    Entropy(#[source] getrandom::Error),
    /// What is to be given.
    #[error("The secrets cannot be given")]
    Parcel(#[source] ParcelError),
    /// No evidence came.
    #[error("The guest showed no evidence; nothing was given")]
    Offer(#[source] WireError),
    /// Its evidence does not hold.
    #[error("The guest's evidence is refused; nothing was given")]
    Refused(#[source] Refusal),
    /// Its configuration is none.
    #[error("The guest's configuration is refused; nothing was given")]
    Config(#[source] ConfigError),
    /// Its configuration is another.
    #[error(
        "The guest was launched with another configuration: its line {line} is {theirs}; {ours} would be right. Nothing was given",
        line = .0.line, theirs = line(.0.theirs.as_ref()), ours = line(.0.ours.as_ref())
    )]
    OtherConfig(Difference),
    /// Its configuration asks for another attestation.
    #[error(
        "The guest's configuration sets ZIPNET_ATTESTATION to {found:?}; `{mode}`, as of this committee, would be right. Nothing was given"
    )]
    Mode {
        /// What it sets.
        found: String,
        /// What is right.
        mode: Mode,
    },
    /// Its configuration names another giver.
    #[error(
        "The guest's configuration sets {PROVISION_KEY} to {found:?}, so that it takes nothing from here; {expected} would be right, by the committee secret at hand. Nothing was given"
    )]
    Key {
        /// What it sets.
        found: String,
        /// What is right.
        expected: String,
    },
    /// Nobody says where it may run.
    #[error(
        "The policy lists no machines, and members give to no others; `platforms` or `servers` in the policy would be right. Nothing was given"
    )]
    NoMachines,
    /// The policy names no such server.
    #[error(
        "The policy names servers, and none is called {0:?}, as the guest's GUEST_HOSTNAME says. Nothing was given"
    )]
    Nameless(String),
    /// There is nothing for it.
    #[error("There is nothing to give to this guest; nothing was given")]
    Nothing(#[source] SourceError),
    /// Its quote cannot be judged.
    #[error("There is nothing to judge the guest's quote by; nothing was given")]
    Collateral(#[source] SourceError),
    /// Sealing.
    #[error("The guest's key cannot be sealed to; nothing was given")]
    Seal(#[source] HpkeError),
    /// The sealed secrets were not sent as a whole.
    #[error("The sealed secrets did not reach the guest")]
    Sealed(#[source] WireError),
    /// Somebody said that the guest accepted.
    #[error(
        "Somebody answered that the guest accepted, and it was not the guest: whoever is in between may have kept from it what was sent, or given it something else. What it has, it says on its console"
    )]
    Unproven,
    /// The guest refused what it was given, or did not say.
    #[error(
        "The guest was sent its secrets and did not accept them, or could not say so; it says on its console. To try again does no harm"
    )]
    Accepted(#[source] WireError),
}

fn line(line: Option<&String>) -> String {
    line.map_or_else(|| "not there".to_owned(), |line| format!("{line:?}"))
}

impl GiveError {
    /// What broke on the connection, if that was it.
    #[must_use]
    pub const fn wire(&self) -> Option<&WireError> {
        match self {
            Self::Offer(error) | Self::Sealed(error) | Self::Accepted(error) => Some(error),
            _ => None,
        }
    }
}

impl Welcome {
    /// What the guest states.
    #[must_use]
    pub const fn statement(&self) -> &GuestStatement {
        &self.statement
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Its quote, and the image and shape that it runs.
    #[must_use]
    pub const fn td(&self) -> &VerifiedTd {
        &self.td
    }

    /// Its name, if its configuration has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.config.get(NAME)
    }

    /// Seals a message that only this guest opens, on this connection.
    fn seal(&self, key: &GiverKey, message: &[u8]) -> Result<(Sealed, Proof), HpkeError> {
        key.seal(&self.statement.key, message, &self.statement.encode())
    }
}

impl Giver<'_> {
    /// Gives a guest its secrets if its evidence holds at `now`, seconds since
    /// 1970. `collateral` finds that of a model of platform, for quotes only
    /// that the policy could accept, and may take seconds; `pack` is told of the
    /// guest before anything is given, and yields what.
    ///
    /// # Errors
    /// [`GiveError`]; the guest is told why, if it still listens.
    pub fn give<S: Stream>(
        &self,
        stream: S,
        now: u64,
        collateral: impl FnOnce(Platforms) -> Result<Arc<Collateral>, SourceError>,
        pack: impl FnOnce(&Welcome) -> Result<Parcel, SourceError>,
    ) -> Result<Welcome, GiveError> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(GiveError::Entropy)?;
        let mut guest = Connection::new(stream, OFFER_WITHIN);
        let welcome = guest
            .send_hello(&nonce)
            .and_then(|()| guest.receive_offer())
            .map_err(GiveError::Offer)
            .and_then(|offer| self.welcome(&offer, nonce, now, collateral));
        let sealed = welcome.and_then(|welcome| {
            let parcel = pack(&welcome).map_err(GiveError::Nothing)?;
            let message = parcel.pack().map_err(GiveError::Parcel)?;
            let sealed = welcome.seal(self.key, &message).map_err(GiveError::Seal)?;
            Ok((welcome, sealed))
        });
        let (welcome, (sealed, proof)) = match sealed {
            Ok(sealed) => sealed,
            Err(error) => {
                if !matches!(error.wire(), Some(WireError::Refused(_))) {
                    guest.within(ACCEPTED_WITHIN);
                    guest.refuse(&report::chain(&error));
                }
                return Err(error);
            }
        };
        guest.within(ACCEPTED_WITHIN);
        guest.send_sealed(&sealed).map_err(GiveError::Sealed)?;
        let proven = guest
            .receive_accepted(&proof)
            .map_err(GiveError::Accepted)?;
        if proven {
            Ok(welcome)
        } else {
            Err(GiveError::Unproven)
        }
    }

    /// Judges an offer. What costs little comes first.
    fn welcome(
        &self,
        offer: &Offer,
        nonce: [u8; 32],
        now: u64,
        collateral: impl FnOnce(Platforms) -> Result<Arc<Collateral>, SourceError>,
    ) -> Result<Welcome, GiveError> {
        let statement = GuestStatement::decode(&offer.statement).map_err(GiveError::Refused)?;
        let theirs = Config::parse(&offer.config).map_err(GiveError::Config)?;
        let instance = match self.known {
            Known::Config(ours) => ours.get("ZIPNET_INSTANCE").unwrap_or_default(),
            Known::Member { instance, .. } => instance,
        };
        let fields = [
            (Rule::StatementNonce, statement.nonce, nonce),
            (Rule::StatementConfig, statement.config, theirs.digest()),
        ];
        check(&fields)?;
        self.check_config(&theirs)?;
        let fields = [
            (Rule::StatementAnchor, statement.anchor, *self.base.anchor()),
            (
                Rule::StatementInstance,
                statement.instance,
                GuestStatement::instance(instance),
            ),
        ];
        check(&fields)?;
        let expected = hex::encode(self.key.public());
        let found = theirs.get(PROVISION_KEY).unwrap_or_default();
        if !found.eq_ignore_ascii_case(&expected) {
            return Err(GiveError::Key {
                found: found.chars().take(64).collect(),
                expected,
            });
        }
        // Before anybody is asked for collateral: a stranger chooses what he shows.
        let origin = self.verifier.origin(&offer.quote, now);
        let origin = origin.map_err(GiveError::Refused)?;
        self.check_machine(theirs.get(NAME), origin.platform_instance())?;
        let collateral = collateral(origin.platforms()).map_err(GiveError::Collateral)?;
        let td = self
            .verifier
            .verify_td(&offer.quote, &statement.report_data(), &collateral, now)
            .map_err(GiveError::Refused)?;
        Ok(Welcome {
            statement,
            config: theirs,
            td,
        })
    }

    /// Whether a guest runs where it should: where its giver expects it, and, if the
    /// policy names servers, where it may be the one of its name. Anywhere else all
    /// others would refuse it.
    fn check_machine(&self, name: Option<&str>, id: Option<[u8; 16]>) -> Result<(), GiveError> {
        let policy = self.verifier.policy();
        let check = |listed: &[Hexes<16>]| {
            check_machine(Rule::PlatformExpected, id, listed).map_err(GiveError::Refused)
        };
        if policy.servers.is_some() {
            let name = name.unwrap_or_default();
            let nameless = || GiveError::Nameless(name.chars().take(64).collect());
            check(&policy.server(name).ok_or_else(nameless)?.platforms)?;
        }
        match (self.machines, &policy.platforms) {
            (Machines::These(listed), _) => check(listed),
            (Machines::OfPolicy, Some(listed)) => check(listed),
            (Machines::OfPolicy, None) if policy.servers.is_none() => Err(GiveError::NoMachines),
            (Machines::OfPolicy, None) | (Machines::Any, _) => Ok(()),
        }
    }

    /// Whether a guest was launched with what it should be.
    fn check_config(&self, theirs: &Config) -> Result<(), GiveError> {
        match self.known {
            Known::Config(ours) => match ours.difference(theirs) {
                Some(difference) => Err(GiveError::OtherConfig(difference)),
                None => Ok(()),
            },
            Known::Member { mode, .. } => {
                let found = theirs.get("ZIPNET_ATTESTATION").unwrap_or_default();
                if found == mode.name() {
                    return Ok(());
                }
                Err(GiveError::Mode {
                    found: found.chars().take(64).collect(),
                    mode,
                })
            }
        }
    }
}

fn check(fields: &[(Rule, [u8; 32], [u8; 32])]) -> Result<(), GiveError> {
    for (rule, is, wanted) in fields {
        if is != wanted {
            let refusal = rule.refuse(hex::encode(is), hex::encode(wanted));
            return Err(GiveError::Refused(refusal));
        }
    }
    Ok(())
}
