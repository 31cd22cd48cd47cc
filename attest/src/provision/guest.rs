//! The guest's side of one connection.

use core::time::Duration;
use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use hkdf::Hkdf;
use sha2::Sha256;

use super::{
    config::Config,
    parcel::{Parcel, ParcelError, Provisions},
    seal::OneTimeKey,
    statement::GuestStatement,
    wire::{Connection, Offer, Stream, WireError},
};
use crate::{
    mode::{Ground, Mode, ModeError, Simulation},
    quote::{Quote, Registers},
    report,
    rules::Refusal,
    secret::SecretText,
    signed::{PolicyKeys, SignedPolicyError},
    source::{QuoteSource, SourceError},
    trust::{TrustBase, TrustError},
};

/// How long whoever connects may take to send a nonce.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How long a giver may take to judge evidence: it may have to fetch
/// collateral for it first.
const SEALED_WITHIN: Duration = Duration::from_secs(30);

/// The guest's own name, if it has one.
const NAME_KEY: &str = "GUEST_HOSTNAME";
/// What seeds are derived under.
const SEED_TAG: &[u8] = b"zipnet/transport-seed/v1";

/// A guest that has no secrets yet.
pub struct Guest {
    config: Config,
    instance: [u8; 32],
    base: TrustBase,
    source: Arc<dyn QuoteSource>,
}

impl core::fmt::Debug for Guest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Guest")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// A configuration with which no guest can ask for secrets.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A key is missing.
    #[error("The configuration does not set {0}, which provisioning needs")]
    Missing(&'static str),
    /// Servers show nothing.
    #[error(
        "The configuration sets ZIPNET_ATTESTATION to `none`, so that nobody can tell this guest from another; `tdx` would be right"
    )]
    None,
    /// A number.
    #[error("The configuration sets {0} to something else than a number; digits would be right")]
    Number(&'static str),
    /// Where quotes come from.
    #[error("The configuration gives no attestation")]
    Mode(#[from] ModeError),
    /// The policy keys.
    #[error("The configuration names no policy keys")]
    Keys(#[source] SignedPolicyError),
}

/// One connection brought no secrets; nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// Nobody asked for evidence.
    #[error("Whoever connected did not ask for evidence")]
    Hello(#[source] WireError),
    /// No randomness.
    #[error("This machine gives no randomness for a key")]
    Entropy(#[source] getrandom::Error),
    /// No quote.
    #[error("This machine gives no TD quote")]
    Quote(#[source] SourceError),
    /// The quote is nonsense.
    #[error("The quote of this machine cannot be read")]
    Form(#[source] Refusal),
    /// The evidence was not taken, or no secrets came.
    #[error("No secrets came for the evidence")]
    Wire(#[source] WireError),
    /// They do not open.
    #[error(
        "The secrets are not sealed to this evidence; those sealed to what was sent on this connection would be right"
    )]
    Sealed,
    /// Something else was in it.
    #[error("What was given is refused")]
    Parcel(#[source] ParcelError),
    /// Its policy.
    #[error("The policy that was given is refused under the keys of the configuration")]
    Policy(#[source] TrustError),
    /// They could not be kept.
    #[error("What was given could not be kept")]
    Keep(#[source] SourceError),
}

impl AttemptError {
    /// Whether a quote was made for it, which anybody who connects can ask
    /// for.
    #[must_use]
    pub const fn cost_a_quote(&self) -> bool {
        !matches!(self, Self::Hello(_))
    }
}

impl Guest {
    /// A guest of this configuration; `tsm` is the kernel's configfs-tsm
    /// folder. It looks at `ZIPNET_INSTANCE`, `ZIPNET_ATTESTATION`,
    /// `ZIPNET_POLICY_KEYS`, `ZIPNET_POLICY_THRESHOLD` and, in builds with the
    /// feature `simulation`, `ZIPNET_SIMULATION_*`.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn new(config: Config, tsm: &Path) -> Result<Self, GuestError> {
        let get = |key| config.get(key).ok_or(GuestError::Missing(key));
        let instance = GuestStatement::instance(get("ZIPNET_INSTANCE")?);
        let mode: Mode = get("ZIPNET_ATTESTATION")?.parse()?;
        if mode == Mode::None {
            return Err(GuestError::None);
        }
        let keys: Vec<_> = get("ZIPNET_POLICY_KEYS")?
            .split(',')
            .map(|key| key.trim().to_owned())
            .collect();
        let threshold = number(&config, "ZIPNET_POLICY_THRESHOLD")?.unwrap_or(keys.len());
        let keys = PolicyKeys::new(&keys, threshold).map_err(GuestError::Keys)?;
        let text = |key| config.get(key).map(str::to_owned);
        let simulation = Simulation {
            seed: text("ZIPNET_SIMULATION_SEED"),
            issued: number(&config, "ZIPNET_SIMULATION_ISSUED")?,
            td: text("ZIPNET_SIMULATION_TD"),
        };
        let ground = Ground::new(mode, &simulation)?;
        Ok(Self {
            instance,
            base: TrustBase::new(ground.root.clone(), keys),
            source: ground.source(tsm)?,
            config,
        })
    }

    /// What this guest trusts for good.
    #[must_use]
    pub const fn base(&self) -> &TrustBase {
        &self.base
    }

    /// This machine's measurements, out of a quote of its own; not verified.
    /// May take seconds.
    ///
    /// # Errors
    /// [`AttemptError::Quote`] or [`AttemptError::Form`].
    pub fn registers(&self) -> Result<Registers, AttemptError> {
        let (_, quote) = self.quote(&[0; 64])?;
        Ok(quote.report.registers)
    }

    fn quote(&self, report_data: &[u8; 64]) -> Result<(Vec<u8>, Quote), AttemptError> {
        let quote = self.source.quote(report_data);
        let mut quote = quote.map_err(AttemptError::Quote)?;
        let parsed = Quote::trim(&mut quote).map_err(AttemptError::Form)?;
        Ok((quote, parsed))
    }

    /// Gets secrets over a connection, and has `keep` keep them before the
    /// giver is told that they were accepted. Whoever gave them may not hear
    /// of it; that changes nothing.
    ///
    /// # Errors
    /// [`AttemptError`]; the giver is told why, if it still listens.
    pub fn attempt<S: Stream, T>(
        &self,
        stream: S,
        keep: impl FnOnce(&Provisions) -> Result<T, SourceError>,
    ) -> Result<T, AttemptError> {
        let mut giver = Connection::new(stream, HELLO_WITHIN);
        let outcome = self.exchange(&mut giver, keep);
        match &outcome {
            Ok(_) => {
                let _ = giver.send_accepted();
            }
            Err(AttemptError::Wire(WireError::Refused(_))) => {}
            Err(error) => giver.refuse(&report::chain(error)),
        }
        outcome
    }

    fn exchange<S: Stream, T>(
        &self,
        giver: &mut Connection<S>,
        keep: impl FnOnce(&Provisions) -> Result<T, SourceError>,
    ) -> Result<T, AttemptError> {
        let nonce = giver.receive_hello().map_err(AttemptError::Hello)?;
        let key = OneTimeKey::new().map_err(AttemptError::Entropy)?;
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        let statement = GuestStatement {
            anchor: *self.base.anchor(),
            instance: self.instance,
            config: self.config.digest(),
            key: *key.public(),
            nonce,
            time: clock.map_or(0, |since| since.as_secs()),
        };
        let (quote, _) = self.quote(&statement.report_data())?;
        giver.within(SEALED_WITHIN);
        let offer = Offer {
            statement: statement.encode().to_vec(),
            quote,
            config: self.config.bytes().to_vec(),
        };
        giver.send_offer(&offer).map_err(AttemptError::Wire)?;
        let sealed = giver.receive_sealed().map_err(AttemptError::Wire)?;
        let parcel = key
            .open(&sealed, &offer.statement)
            .map_err(|_| AttemptError::Sealed)?;
        let parcel = Parcel::unpack(&parcel).map_err(AttemptError::Parcel)?;
        let accepted = self.accept(parcel)?;
        giver.within(HELLO_WITHIN);
        keep(&accepted).map_err(AttemptError::Keep)
    }

    fn accept(&self, parcel: Parcel) -> Result<Provisions, AttemptError> {
        self.base
            .open(&parcel.policy, 0)
            .map_err(AttemptError::Policy)?;
        let secret = match parcel.secret {
            Some(secret) => secret,
            None => match self.config.get(NAME_KEY) {
                Some(name) => derived(&parcel.committee_secret, &self.instance, name),
                None => fresh().map_err(AttemptError::Entropy)?,
            },
        };
        Ok(Provisions {
            committee_secret: parcel.committee_secret,
            secret,
            policy: parcel.policy,
        })
    }
}

/// The seed of the guest of a name: the same after every restart, so that the
/// committee knows the guest again whoever gave it the committee secret. Who
/// has that can compute it, and gains what operators have anyway (I12): a
/// place to stall from, without evidence none to forge from.
fn derived(committee_secret: &SecretText, instance: &[u8; 32], name: &str) -> SecretText {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    let keys = Hkdf::<Sha256>::new(None, committee_secret.expose().as_bytes());
    let info = [SEED_TAG, instance, name.as_bytes()];
    // HKDF has enough for 255 times as much.
    let _ = keys.expand_multi_info(&info, &mut *seed);
    text(&seed)
}

/// A seed that nobody else knows.
fn fresh() -> Result<SecretText, getrandom::Error> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    Ok(text(&seed))
}

fn text(seed: &[u8; 32]) -> SecretText {
    SecretText::from(zeroize::Zeroizing::new(hex::encode(seed)).as_str())
}

fn number<N: core::str::FromStr>(
    config: &Config,
    key: &'static str,
) -> Result<Option<N>, GuestError> {
    let number = config.get(key).map(str::parse).transpose();
    number.map_err(|_| GuestError::Number(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_follows_from_committee_secret_instance_and_name_alone() {
        let seed = |secret: &str, instance: u8, name: &str| {
            let seed = derived(&SecretText::from(secret), &[instance; 32], name);
            seed.expose().to_owned()
        };
        let one = seed("a committee secret", 1, "server-1");
        assert_eq!(one.len(), 64);
        assert_eq!(one, seed("a committee secret", 1, "server-1"));
        for other in [
            seed("another secret", 1, "server-1"),
            seed("a committee secret", 2, "server-1"),
            seed("a committee secret", 1, "server-2"),
        ] {
            assert_ne!(one, other);
        }
    }
}
