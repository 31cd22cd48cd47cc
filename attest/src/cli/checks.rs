//! The checks of `verify` in the order in which they run, and how far a
//! verdict says that they came.

use crate::Rule;

use crate::cli::verify::Verdict;

/// Checks that run together. In the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Collateral,
    Form,
    Certificates,
    Enclave,
    Signature,
    Level,
    Launch,
    Root,
    Pce,
    Status,
}

/// How a group of checks ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Passed,
    Refused,
    /// Something before it refused.
    NotReached,
    /// The refusal may come from before or after it.
    NotTold,
}

impl Group {
    /// All groups, in their order.
    pub const ALL: [Self; 10] = [
        Self::Collateral,
        Self::Form,
        Self::Certificates,
        Self::Enclave,
        Self::Signature,
        Self::Level,
        Self::Launch,
        Self::Root,
        Self::Pce,
        Self::Status,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Collateral => "Form of the collateral",
            Self::Form => "Form of the quote",
            Self::Certificates => "Certificate chains, revocation, dates",
            Self::Enclave => "Quoting enclave",
            Self::Signature => "Signature of the quote",
            Self::Level => "Level of the platform",
            Self::Launch => "Launch of the TD",
            Self::Root => "Root that the quote brings",
            Self::Pce => "PCE of the platform",
            Self::Status => "TCB status",
        }
    }

    /// The group that checks a rule; none for what a policy or a statement
    /// would have to say.
    pub const fn of(rule: Rule) -> Option<Self> {
        match rule {
            Rule::CollateralForm => Some(Self::Collateral),
            Rule::QuoteLength
            | Rule::QuoteVersion
            | Rule::QuoteKeyType
            | Rule::QuoteTee
            | Rule::QuoteVendor
            | Rule::QuoteBody
            | Rule::QuoteTruncated
            | Rule::QuoteTrailing
            | Rule::CertificationType
            | Rule::CertificationTrailing
            | Rule::ChainForm => Some(Self::Form),
            Rule::QuoteUndecodable
            | Rule::CertificateChain
            | Rule::Revoked
            | Rule::CertificateDates
            | Rule::CollateralFuture
            | Rule::CollateralExpired
            | Rule::CollateralSignature => Some(Self::Certificates),
            Rule::QeSignature | Rule::QeBinding | Rule::QeIdentity => Some(Self::Enclave),
            Rule::QuoteSignature => Some(Self::Signature),
            Rule::CollateralFmspc | Rule::ModuleIdentity | Rule::TcbUnknown | Rule::TcbRevoked => {
                Some(Self::Level)
            }
            Rule::Debug | Rule::Launch | Rule::ServiceTd => Some(Self::Launch),
            Rule::ChainRoot => Some(Self::Root),
            Rule::CollateralPceId => Some(Self::Pce),
            Rule::TcbStatus => Some(Self::Status),
            _ => None,
        }
    }

    /// The rules that it checks, by number.
    pub fn rules(self) -> impl Iterator<Item = Rule> {
        let all = Rule::ALL.iter().copied();
        all.filter(move |rule| Self::of(*rule) == Some(self))
    }

    /// How it ended.
    pub fn ended(self, verdict: &Verdict) -> Ended {
        let (rule, inside) = match verdict {
            Verdict::Undecided => return Ended::NotReached,
            Verdict::Genuine(_, _, None) => return Ended::Passed,
            Verdict::Genuine(_, _, Some(refusal)) | Verdict::Collateral(refusal) => {
                (refusal.rule(), false)
            }
            Verdict::Quote(_, refusal) => (refusal.rule(), true),
        };
        let broken = Self::of(rule).unwrap_or(Self::Status);
        // Parts of both are decoded when they are needed, here and there.
        let vague = inside && matches!(rule, Rule::CollateralForm | Rule::QuoteUndecodable);
        if self == broken {
            Ended::Refused
        } else if vague && self > Self::Form {
            Ended::NotTold
        } else if vague || self < broken {
            Ended::Passed
        } else {
            Ended::NotReached
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_rules_and_no_rule_is_in_two() {
        let mut rules: Vec<_> = Group::ALL.iter().flat_map(|group| group.rules()).collect();
        assert!(Group::ALL.iter().all(|group| group.rules().count() > 0));
        assert!(Group::ALL.is_sorted());
        let all = rules.len();
        rules.sort_unstable();
        rules.dedup();
        assert_eq!(rules.len(), all);
    }

    #[test]
    fn what_a_refusal_does_not_tell_is_not_claimed() {
        let ended = |verdict: &Verdict| Group::ALL.map(|group| group.ended(verdict));
        let early = Verdict::Collateral(Rule::CollateralForm.refuse("", ""));
        let [first, rest @ ..] = ended(&early);
        assert_eq!(first, Ended::Refused);
        assert!(rest.iter().all(|ended| *ended == Ended::NotReached));
        assert!(
            ended(&Verdict::Undecided)
                .iter()
                .all(|ended| *ended == Ended::NotReached)
        );
    }
}
