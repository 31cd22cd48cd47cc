//! Collateral over HTTP: from a PCCS, which a data centre runs, or from Intel's
//! PCS.
//!
//! Interface: Intel, "Provisioning Certification Service for ECDSA
//! Attestation", version 4; the PCCS has the same. Whoever answers can answer
//! nothing, or something old, but nothing that [`trusted_alone`] accepts and
//! Intel did not sign: so plain HTTP will do, and nothing here is trusted.
//!
//! [`trusted_alone`]: crate::trusted_alone

mod body;
mod error;

use std::time::{Duration, Instant};

use dcap_qvl::QuoteCollateralV3;
use ureq::{
    Agent,
    http::{Response, Uri},
};

use crate::{
    collateral::{Collateral, MAX_COLLATERAL},
    edition::Edition,
    platforms::Platforms,
    policy::{Track, Wanted},
};

pub use error::FetchError;

/// Intel's PCS. It answers without a subscription, some requests a minute.
pub const INTEL: &str = "https://api.trustedservices.intel.com";
/// Where Intel keeps the revocation list of its root; its PCS does not serve it.
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// Longest address, in bytes.
const MAX_ADDRESS: usize = 512;
/// Longest answer without its body, in bytes. An issuer chain has about 2,500.
const MAX_HEADER: usize = 32 << 10;

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For one answer, from the look-up of the name to the last byte.
    pub request: Duration,
    /// For all four together.
    pub total: Duration,
}

/// 20 seconds, and a minute for all.
impl Default for Limits {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(20),
            total: Duration::from_mins(1),
        }
    }
}

/// Where collateral is fetched from.
#[derive(Debug, Clone)]
pub struct Source {
    base: String,
    root_crl: String,
    limits: Limits,
    agent: Agent,
}

impl Source {
    /// A source with the default [`Limits`]. The address is `http` or `https`,
    /// with or without the path `/sgx/certification/v4`; [`INTEL`] is one. TLS
    /// certificates are checked by the roots that Mozilla trusts. A proxy is
    /// taken from `HTTPS_PROXY` and the like, as everywhere, though not to
    /// reach this very machine.
    ///
    /// # Errors
    /// [`FetchError::Address`].
    pub fn new(address: &str) -> Result<Self, FetchError> {
        Self::with_limits(address, Limits::default())
    }

    /// As [`Source::new`].
    ///
    /// # Errors
    /// [`FetchError::Address`].
    pub fn with_limits(address: &str, limits: Limits) -> Result<Self, FetchError> {
        let unfit = || FetchError::Address {
            address: address.chars().take(MAX_ADDRESS).collect(),
        };
        if address.len() > MAX_ADDRESS || address.contains(['@', '?', '#']) {
            return Err(unfit());
        }
        let uri: Uri = address.parse().map_err(|_| unfit())?;
        let host = uri.host().unwrap_or_default();
        if !matches!(uri.scheme_str(), Some("http" | "https")) || host.is_empty() {
            return Err(unfit());
        }
        let base = address.trim_end_matches('/');
        let base = ["/sgx/certification/v4", "/tdx/certification/v4"]
            .into_iter()
            .find_map(|path| base.strip_suffix(path))
            .unwrap_or(base)
            .trim_end_matches('/');
        let root_crl = if base.eq_ignore_ascii_case(INTEL) {
            INTEL_ROOT_CRL.to_owned()
        } else {
            format!("{base}/sgx/certification/v4/rootcacrl")
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // No address but the one that was named, by no other scheme.
            .max_redirects(0)
            .max_response_header_size(MAX_HEADER)
            .user_agent(concat!("zipnet-attest/", env!("CARGO_PKG_VERSION")));
        if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            config = config.proxy(None);
        }
        Ok(Self {
            base: base.to_owned(),
            root_crl,
            limits,
            agent: config.build().new_agent(),
        })
    }

    /// The same source, waited for by other limits.
    #[must_use]
    pub fn limited(&self, limits: Limits) -> Self {
        Self {
            limits,
            ..self.clone()
        }
    }

    /// The address, without the path of the interface.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.base
    }

    /// Fetches what Intel publishes about a model of platform. It blocks, for
    /// no longer than [`Limits::total`]. Nothing of the answer is verified but
    /// that it is of these platforms, by its own word.
    ///
    /// It asks for what the wanted track is at. If that is beyond the highest
    /// evaluation that is wanted, it asks for that one by its number: Intel
    /// publishes several side by side, each for a year and more.
    ///
    /// Its four parts are asked for one by one: when Intel publishes in
    /// between, they are of two editions. Each is signed by itself, and a
    /// [`Shelf`](crate::Shelf) does not let any of them go back.
    ///
    /// # Errors
    /// [`FetchError`], which names the address that was asked.
    pub fn fetch(&self, platforms: Platforms, wanted: &Wanted) -> Result<Collateral, FetchError> {
        let until = Instant::now().checked_add(self.limits.total);
        let Platforms { fmspc, ca } = platforms;
        let (base, fmspc) = (&self.base, hex::encode_upper(fmspc));

        // That of `standard` is what is served if nothing is said, also by
        // a PCCS that knows no tracks.
        let early = (wanted.track == Track::Early).then_some("update=early");
        let published = |path: &str, part: &str| {
            let ask = |by: Option<&str>| {
                let sign = if path.contains('?') { '&' } else { '?' };
                let by = by.map(|by| format!("{sign}{by}")).unwrap_or_default();
                let url = format!("{base}/tdx/certification/v4/{path}{by}");
                self.get(&url, until).map(|(head, body)| (url, head, body))
            };
            let found = ask(early)?;
            match wanted.highest {
                Some(highest) if body::evaluation(&found.2, part) > Some(highest) => {
                    ask(Some(&format!("tcbEvaluationDataNumber={highest}")))
                }
                _ => Ok(found),
            }
        };

        let (url, head, body) = published(&format!("tcb?fmspc={fmspc}"), "tcbInfo")?;
        let names = ["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"];
        let tcb_info_issuer_chain = body::chain(&head, &url, &names)?;
        let (tcb_info, tcb_info_signature) = body::signed(&body, &url, "tcbInfo")?;

        let (url, head, body) = published("qe/identity", "enclaveIdentity")?;
        let names = ["SGX-Enclave-Identity-Issuer-Chain"];
        let qe_identity_issuer_chain = body::chain(&head, &url, &names)?;
        let (qe_identity, qe_identity_signature) = body::signed(&body, &url, "enclaveIdentity")?;

        let url = format!("{base}/sgx/certification/v4/pckcrl?ca={ca}&encoding=der");
        let (head, body) = self.get(&url, until)?;
        let pck_crl_issuer_chain = body::chain(&head, &url, &["SGX-PCK-CRL-Issuer-Chain"])?;
        let pck_crl = body::list(&body, &url)?;

        let (_, body) = self.get(&self.root_crl, until)?;
        let root_ca_crl = body::list(&body, &self.root_crl)?;

        let form = |source| FetchError::Form {
            address: base.clone(),
            source,
        };
        let collateral = Collateral::new(QuoteCollateralV3 {
            pck_crl_issuer_chain,
            root_ca_crl,
            pck_crl,
            tcb_info_issuer_chain,
            tcb_info,
            tcb_info_signature,
            qe_identity_issuer_chain,
            qe_identity,
            qe_identity_signature,
            pck_certificate_chain: None,
        })
        .map_err(form)?;
        let found = Edition::of(&collateral).map_err(form)?.platforms;
        if found != platforms {
            return Err(FetchError::Other {
                address: base.clone(),
                found,
                asked: platforms,
            });
        }
        Ok(collateral)
    }

    /// The answer to one request, and its body.
    fn get(
        &self,
        url: &str,
        until: Option<Instant>,
    ) -> Result<(Response<()>, Vec<u8>), FetchError> {
        // `None` is a limit beyond what the clock can say.
        let left = until.map_or(self.limits.total, |until| {
            until.saturating_duration_since(Instant::now())
        });
        let limit = left.min(self.limits.request);
        let failed = |error| FetchError::of(error, url, limit);
        if limit.is_zero() {
            return Err(FetchError::Late {
                url: url.to_owned(),
                limit: self.limits.total,
            });
        }
        let request = self.agent.get(url).config();
        let request = request.timeout_global(Some(limit)).build();
        let (head, mut body) = request.call().map_err(failed)?.into_parts();
        if head.status.as_u16() != 200 {
            return Err(FetchError::Status {
                url: url.to_owned(),
                status: head.status.as_u16(),
            });
        }
        let most = u64::try_from(MAX_COLLATERAL).unwrap_or(u64::MAX);
        let bytes = body.with_config().limit(most).read_to_vec();
        Ok((Response::from_parts(head, ()), bytes.map_err(failed)?))
    }
}
