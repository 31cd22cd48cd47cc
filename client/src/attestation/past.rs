//! What evidence was worth at a time that is past, for whoever reads old records.
//!
//! A statement is in force for a while, and so is the collateral that was shown with it. Both
//! are signed with their dates, and can be judged as of any of them. What cannot be told is
//! whether a quote was *made* then: whoever has got hold of the attestation keys of a platform
//! since can date a statement back and show collateral of the time before that was known. So
//! nothing that this yields is taken for what is judged now: it is not remembered, and moves no
//! clock.

use zipnet_attest::{Refusal, Rule};
use zipnet_protocol::{AdmittedServer, Instance};

use super::{Authority, Credential, Standing, credential::expected};

impl Authority {
    /// Judges the evidence that is shown for a bundle as of `at`, in seconds since 1970, by the
    /// policy in force now and the collateral that is shown, which has to have been in force
    /// then.
    ///
    /// # Errors
    /// The [`Refusal`], by the first rule that is broken; ZA-709 if `at` is still to come.
    pub fn judge_as_of(
        &self,
        instance: &Instance,
        server: &AdmittedServer,
        credential: &Credential,
        at: u64,
    ) -> Result<Standing, Refusal> {
        let now = self.now();
        if at > now {
            return Err(Rule::StatementFuture.refuse(
                format!("evidence as of {at}"),
                format!("a time that has passed; it is {now}"),
            ));
        }
        let (evidence, shown) = credential.decode()?;
        let policy = self.policy();
        policy.verifier.policy().wanted().check(&shown)?;
        let expected = expected(instance, server);
        let verified = policy.verifier.verify(&evidence, &shown, &expected, at)?;
        Ok(Standing::new(&verified, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Here, clock};

    #[test]
    fn i6_evidence_that_has_ended_is_judged_as_of_its_time_and_is_no_evidence_now() {
        let here = Here::new();
        let authority = here.authority();
        let server = &here.world.servers[0];
        let issued = here.intel().issued();
        let shown = here.credential(server, |draft| {
            draft.statement.not_before = issued;
            draft.statement.not_after = issued + 60;
        });
        let as_of = |at| {
            let instance = here.instance();
            let judged = authority.judge_as_of(instance, &server.admitted, &shown, at);
            judged
                .map(|standing| standing.at)
                .map_err(|refusal| refusal.rule())
        };
        assert_eq!(as_of(issued + 30), Ok(issued + 30));
        assert_eq!(as_of(issued + 60), Err(Rule::StatementExpired));
        assert_eq!(as_of(issued - 1), Err(Rule::StatementFuture));
        assert_eq!(as_of(clock() + 3600), Err(Rule::StatementFuture));
        let now = here.judge(&authority, server, &shown);
        assert_eq!(now, Err(Rule::StatementExpired));
        assert!(authority.credential(server.admitted.digest()).is_none());
        // That of another server is none at any time.
        let other = &here.world.servers[1].admitted;
        let instance = here.instance();
        assert!(
            authority
                .judge_as_of(instance, other, &shown, issued + 30)
                .is_err()
        );
    }
}
