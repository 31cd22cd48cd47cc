//! The whole verification of a server: its evidence under a policy, against
//! what the verifier knows by itself.

use core::ops::Range;
use std::sync::Arc;

use crate::{
    collateral::Collateral,
    evidence::Evidence,
    genuine::{Genuine, TrustRoot},
    origin::{Origin, origin},
    policy::Policy,
    rules::{Refusal, Rule},
    statement::{Role, Statement},
    warm::WarmVerifier,
};

/// What a verifier knows about a server by itself, never from the evidence:
/// from its own settings, from the authenticated transport, from the bundle
/// that it is about to accept. 32 bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The instance.
    pub instance: [u8; 32],
    /// The server's id.
    pub server: [u8; 32],
    /// The authenticated transport identity.
    pub peer: [u8; 32],
    /// The X25519 key of the bundle.
    pub x25519: [u8; 32],
    /// The committee signing key of the bundle.
    pub signing: [u8; 32],
}

impl Expected {
    /// The statement of a server that is this one, in force from the start of
    /// `window` to its end, in seconds since 1970. `config` and `freshness` are
    /// digests of 32 bytes.
    #[must_use]
    pub const fn statement(
        &self,
        epoch: u64,
        window: Range<u64>,
        config: [u8; 32],
        freshness: [u8; 32],
    ) -> Statement {
        Statement {
            instance: self.instance,
            role: Role::Server,
            server: self.server,
            peer: self.peer,
            x25519: self.x25519,
            signing: self.signing,
            epoch,
            not_before: window.start,
            not_after: window.end,
            config,
            freshness,
        }
    }
}

/// A server whose evidence holds in every respect. Only [`Verifier::verify`]
/// makes one, when every check has run. It holds from now until
/// [`Verified::not_after`].
#[derive(Debug, Clone)]
pub struct Verified {
    statement: Statement,
    td: VerifiedTd,
    not_after: u64,
}

/// A TD that the policy accepts. Only [`Verifier::verify_td`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedTd {
    genuine: Genuine,
    image: String,
    shape: String,
    not_after: u64,
}

impl VerifiedTd {
    /// The quote and its platform.
    #[must_use]
    pub const fn genuine(&self) -> &Genuine {
        &self.genuine
    }

    /// Name of the image that runs, by the policy.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.image
    }

    /// Name of the shape that it runs in, by the policy.
    #[must_use]
    pub fn shape(&self) -> &str {
        &self.shape
    }
}

impl Verified {
    /// What the TD states.
    #[must_use]
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The quote and its platform.
    #[must_use]
    pub const fn genuine(&self) -> &Genuine {
        self.td.genuine()
    }

    /// Name of the image that runs, by the policy.
    #[must_use]
    pub fn image(&self) -> &str {
        self.td.image()
    }

    /// Name of the shape that it runs in, by the policy.
    #[must_use]
    pub fn shape(&self) -> &str {
        self.td.shape()
    }

    /// Whether the TD loaded the configuration of this digest, 32 bytes.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-712.
    pub fn check_config(&self, config: &[u8; 32]) -> Result<(), Refusal> {
        let said = &self.statement.config;
        if said != config {
            return Err(Rule::StatementConfig.refuse(hex::encode(said), hex::encode(config)));
        }
        Ok(())
    }

    /// When the statement ends, or the image's time of use if that is sooner,
    /// seconds since 1970.
    #[must_use]
    pub const fn not_after(&self) -> u64 {
        self.not_after
    }
}

/// A policy with the trust root that it names. It remembers platforms, so
/// that a second server on one, or a renewed statement, is verified sooner.
#[derive(Debug, Clone)]
pub struct Verifier {
    policy: Policy,
    root: TrustRoot,
    platforms: Arc<WarmVerifier>,
}

/// A policy names another trust root.
#[derive(Debug, thiserror::Error)]
#[error(
    "The policy names another trust root than the one at hand; the certificate that its `root` names would be right"
)]
pub struct RootError;

impl Verifier {
    /// A verifier by a policy.
    ///
    /// # Errors
    /// [`RootError`] if `root` is not the one that the policy names.
    pub fn new(policy: Policy, root: TrustRoot) -> Result<Self, RootError> {
        if !policy.names(&root) {
            return Err(RootError);
        }
        Ok(Self {
            policy,
            root,
            platforms: Arc::default(),
        })
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Verifies a server's evidence at a time in seconds since 1970.
    ///
    /// # Errors
    /// [`Refusal`] of the first rule that is broken. Cheap checks come first:
    /// what was never meant for this verifier costs it no signature check.
    pub fn verify(
        &self,
        evidence: &Evidence,
        collateral: &Collateral,
        expected: &Expected,
        now: u64,
    ) -> Result<Verified, Refusal> {
        let statement = &evidence.statement;
        self.check_statement(statement, expected, now)?;
        let wanted = statement.report_data();
        let td = self.verify_td(&evidence.quote, &wanted, collateral, now)?;
        let machine = td.genuine.platform_instance();
        self.policy.judge_server(&expected.peer, machine)?;
        Ok(Verified {
            statement: statement.clone(),
            not_after: statement.not_after.min(td.not_after),
            td,
        })
    }

    /// Verifies that a quote is of a TD that the policy accepts and that chose
    /// these 64 bytes of report data, at a time in seconds since 1970. Whoever
    /// calls this knows what the report data says.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-1xx to ZA-6xx, or of ZA-702.
    pub fn verify_td(
        &self,
        quote: &[u8],
        report_data: &[u8; 64],
        collateral: &Collateral,
        now: u64,
    ) -> Result<VerifiedTd, Refusal> {
        let genuine = self.platforms.whole(&self.root, quote, collateral, now)?;
        let said = genuine.quote().report.report_data;
        if said != *report_data {
            return Err(Rule::ReportData.refuse(hex::encode(said), hex::encode(report_data)));
        }
        let (image, shape) = self.policy.judge(&genuine, now)?;
        Ok(VerifiedTd {
            not_after: image.not_after.unwrap_or(u64::MAX),
            image: image.id.clone(),
            shape: shape.id.clone(),
            genuine,
        })
    }

    /// Whether a quote is one that this policy could accept, as far as that can be said without
    /// collateral: it is of a platform that the trust root certifies, and machine, launch and
    /// measurements are the policy's. Before that nobody is asked for collateral, since a stranger
    /// chooses what he shows.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-1xx, ZA-2xx, ZA-406, ZA-5xx or ZA-6xx.
    pub fn origin(&self, quote: &[u8], now: u64) -> Result<Origin, Refusal> {
        let found = origin(&self.root, quote, now)?;
        self.policy.judge_origin(&found, now)?;
        Ok(found)
    }

    /// Whether a statement says what is expected, and is in force for no longer
    /// than the policy allows, and whether the policy names its peer. It says nothing about the
    /// quote.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-408, ZA-703 or ZA-705 to ZA-711.
    pub fn check_statement(
        &self,
        statement: &Statement,
        expected: &Expected,
        now: u64,
    ) -> Result<(), Refusal> {
        let fields = [
            (
                Rule::StatementInstance,
                statement.instance,
                expected.instance,
            ),
            (Rule::StatementServer, statement.server, expected.server),
            (Rule::StatementPeer, statement.peer, expected.peer),
            (Rule::StatementKey, statement.x25519, expected.x25519),
            (Rule::StatementSigning, statement.signing, expected.signing),
        ];
        for (rule, is, wanted) in fields {
            if is != wanted {
                return Err(rule.refuse(hex::encode(is), hex::encode(wanted)));
            }
        }
        let (from, to) = (statement.not_before, statement.not_after);
        if now < from {
            return Err(Rule::StatementFuture.refuse(format!("from {from} on"), format!("{now}")));
        }
        if now >= to {
            return Err(
                Rule::StatementExpired.refuse(format!("until {to}"), format!("after {now}"))
            );
        }
        let longest = self.policy.max_statement_seconds();
        if to.saturating_sub(from) > longest {
            return Err(Rule::StatementLifetime.refuse(
                format!("{} s", to.saturating_sub(from)),
                format!("at most {longest} s"),
            ));
        }
        self.policy.judge_peer(&expected.peer)
    }
}
