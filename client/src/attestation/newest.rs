//! By which collateral evidence is judged: the newest of its platform that this
//! process knows, never merely what is shown.

use std::sync::Arc;

use zipnet_attest::{Collateral, Edition, Platforms, Refusal, Rule, store::Put, trusted_alone};

use super::{Authority, CollateralSource, InForce, authority::is_of_age};

impl Authority {
    /// The newest collateral for a model of platform that the policy takes, if
    /// any is known.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-301 if a file of it cannot be read: nobody can tell
    /// then how new it was.
    pub(super) fn newest(
        &self,
        policy: &InForce,
        platforms: Platforms,
    ) -> Result<Option<Arc<Collateral>>, Refusal> {
        let found = self.shelf().get(platforms).map_err(|error| {
            Rule::CollateralForm
                .refuse(
                    "a file of collateral that cannot be read",
                    "one that can, or none",
                )
                .because(error)
        })?;
        let wanted = policy.verifier.policy().wanted();
        Ok(found.filter(|found| wanted.check(found).is_ok()))
    }

    /// The collateral to judge a quote by: what is shown with it, if nothing newer
    /// is known and this process's own source was asked.
    ///
    /// # Errors
    /// [`Refusal`] of what is shown, if it would be the newest and is not to be
    /// trusted: what cannot be kept is not judged by. Of ZA-311 if the source has
    /// not answered yet, and of whatever keeps it from being asked.
    pub(super) fn to_judge_by(
        &self,
        policy: &InForce,
        quote: &[u8],
        shown: &Collateral,
        now: u64,
    ) -> Result<Arc<Collateral>, Refusal> {
        let platforms = Platforms::of_quote(quote)?;
        self.ask_first(policy, quote, platforms, now)?;
        let known = self.newest(policy, platforms)?;
        if let Some(known) = &known
            && **known == *shown
        {
            return Ok(known.clone());
        }
        // A stranger's quote brings no collateral in.
        policy.verifier.origin(quote, now)?;
        if let CollateralSource::Folder(folder) = &self.settings.collateral
            && known.is_none()
        {
            self.read_folder(folder);
        }
        // What is shown may be newer, or older: a platform that was condemned
        // since must not come back with what was said before.
        match self.learn(shown, &"a server's evidence", now) {
            Ok(()) => {}
            // It ends by itself, and what is known has not ended.
            Err(refusal) if is_of_age(refusal.rule()) && in_force(known.as_deref(), now) => {}
            Err(refusal) => return Err(refusal),
        }
        Ok(self
            .newest(policy, platforms)?
            .unwrap_or_else(|| Arc::new(shown.clone())))
    }

    /// Nothing is believed of a model of platform before this process's source
    /// was asked about it.
    fn ask_first(
        &self,
        policy: &InForce,
        quote: &[u8],
        platforms: Platforms,
        now: u64,
    ) -> Result<(), Refusal> {
        let CollateralSource::Http(source) = &self.settings.collateral else {
            return Ok(());
        };
        if self.lookups.answered(platforms).is_some() {
            return Ok(());
        }
        // Only for what the policy could accept: a stranger chooses what he shows.
        policy.verifier.origin(quote, now)?;
        self.lookups.want(platforms);
        Err(Rule::CollateralUnasked.refuse(
            format!("no answer about {platforms} from {} yet", source.address()),
            "one",
        ))
    }

    /// A server's statement is of a time to come. Either its clock is ahead, or this
    /// one is behind: what Intel has signed in the collateral beside it tells. The
    /// statement itself is the word of a host, and moves nothing: two hosts could
    /// push everybody's clock.
    pub(super) fn hear_of_later(
        &self,
        policy: &InForce,
        quote: &[u8],
        shown: &Collateral,
        now: u64,
    ) {
        if policy.verifier.origin(quote, now).is_ok() {
            let _ = self.learn(shown, &"evidence of a later time", now);
        }
    }

    /// Takes in collateral that is signed under the trust root and of the
    /// policy's track, if it is newer than what is known; `from` says where it
    /// was found. What was issued after this host's clock shows that the clock is
    /// behind.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-2xx or ZA-3xx.
    pub(super) fn learn(
        &self,
        collateral: &Collateral,
        from: &dyn core::fmt::Display,
        now: u64,
    ) -> Result<(), Refusal> {
        let policy = self.policy();
        let wanted = policy.verifier.policy().wanted();
        wanted.check(collateral)?;
        let issued = Edition::of(collateral)?.latest();
        let trusted = trusted_alone(self.base().root(), collateral, now.max(issued))?;
        self.clock.passed(issued, from);
        match self.shelf().put(trusted, wanted.highest) {
            Ok(Put::Stored) => {
                self.changed();
                tracing::info!(%from, "attestation: newer collateral");
            }
            Ok(Put::Older) => {}
            Err(error) => tracing::warn!(
                because = %crate::report::chain(&error),
                "attestation: collateral could not be kept"
            ),
        }
        Ok(())
    }
}

fn in_force(collateral: Option<&Collateral>, now: u64) -> bool {
    let edition = collateral.and_then(|known| Edition::of(known).ok());
    edition.is_some_and(|edition| now <= edition.expires)
}
