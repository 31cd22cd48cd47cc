//! The guest's side of one connection.

use core::time::Duration;
use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    config::{Config, PROVISION_KEY},
    parcel::{Parcel, ParcelError, Provisions},
    seal::{OneTimeKey, Proof},
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
const SEALED_WITHIN: Duration = Duration::from_secs(45);

/// How far a guest's clock may be behind its giver's, in seconds.
const BEHIND: u64 = 600;

/// A guest that has no secrets yet.
pub struct Guest {
    config: Config,
    instance: [u8; 32],
    giver: [u8; 32],
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
    /// Whom to take secrets from.
    #[error(
        "The configuration sets {PROVISION_KEY} to no key; the 64 hex digits that `zipnet-server keys` prints would be right"
    )]
    Giver,
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
        "The secrets are not sealed to this evidence by whoever has the committee secret; a giver of the key in {PROVISION_KEY} would be right"
    )]
    Sealed,
    /// Something else was in it.
    #[error("What was given is refused")]
    Parcel(#[source] ParcelError),
    /// Its policy.
    #[error("The policy that was given is refused under the keys of the configuration")]
    Policy(#[source] TrustError),
    /// The host's clock.
    #[error(
        "This guest's clock is {0} s behind its giver's; a host whose clock is right would be right"
    )]
    Clock(u64),
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
    /// folder. It looks at `ZIPNET_INSTANCE`, `GUEST_PROVISION_KEY`, `ZIPNET_ATTESTATION`,
    /// `ZIPNET_POLICY_KEYS`, `ZIPNET_POLICY_THRESHOLD` and, in builds with the
    /// feature `simulation`, `ZIPNET_SIMULATION_*`.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn new(config: Config, tsm: &Path) -> Result<Self, GuestError> {
        let get = |key| config.get(key).ok_or(GuestError::Missing(key));
        let instance = GuestStatement::instance(get("ZIPNET_INSTANCE")?);
        let mut giver = [0; 32];
        hex::decode_to_slice(get(PROVISION_KEY)?, &mut giver).map_err(|_| GuestError::Giver)?;
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
            platform: text("ZIPNET_SIMULATION_PLATFORM"),
        };
        let ground = Ground::new(mode, &simulation)?;
        Ok(Self {
            instance,
            giver,
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
            Ok((_, proof)) => {
                let _ = giver.send_accepted(proof);
            }
            Err(AttemptError::Wire(WireError::Refused(_))) => {}
            Err(error) => giver.refuse(&report::chain(error)),
        }
        outcome.map(|(kept, _)| kept)
    }

    fn exchange<S: Stream, T>(
        &self,
        giver: &mut Connection<S>,
        keep: impl FnOnce(&Provisions) -> Result<T, SourceError>,
    ) -> Result<(T, Proof), AttemptError> {
        let nonce = giver.receive_hello().map_err(AttemptError::Hello)?;
        let key = OneTimeKey::new().map_err(AttemptError::Entropy)?;
        let statement = GuestStatement {
            anchor: *self.base.anchor(),
            instance: self.instance,
            config: self.config.digest(),
            key: *key.public(),
            nonce,
            time: clock(),
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
        let (parcel, proof) = key
            .open(&self.giver, &sealed, &offer.statement)
            .map_err(|_| AttemptError::Sealed)?;
        let parcel = Parcel::unpack(&parcel).map_err(AttemptError::Parcel)?;
        let accepted = self.accept(parcel)?;
        giver.within(HELLO_WITHIN);
        let kept = keep(&accepted).map_err(AttemptError::Keep)?;
        Ok((kept, proof))
    }

    fn accept(&self, parcel: Parcel) -> Result<Provisions, AttemptError> {
        self.base
            .open(&parcel.policy, 0)
            .map_err(AttemptError::Policy)?;
        let behind = parcel.time.saturating_sub(clock());
        if behind > BEHIND {
            return Err(AttemptError::Clock(behind));
        }
        let secret = match parcel.secret {
            Some(secret) => secret,
            None => fresh().map_err(AttemptError::Entropy)?,
        };
        Ok(Provisions {
            time: parcel.time,
            committee_secret: parcel.committee_secret,
            secret,
            policy: parcel.policy,
        })
    }
}

/// The clock, which is the host's, in seconds since 1970.
fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A seed that nobody else knows.
fn fresh() -> Result<SecretText, getrandom::Error> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    let seed = zeroize::Zeroizing::new(hex::encode(*seed));
    Ok(SecretText::from(seed.as_str()))
}

fn number<N: core::str::FromStr>(
    config: &Config,
    key: &'static str,
) -> Result<Option<N>, GuestError> {
    let number = config.get(key).map(str::parse).transpose();
    number.map_err(|_| GuestError::Number(key))
}
