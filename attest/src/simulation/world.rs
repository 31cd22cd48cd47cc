//! One simulated world: a root of trust, one platform, its collateral and its quotes.

use super::{
    Platform, SimulationError, Td,
    certificates::Certificates,
    collateral::{Revoked, collateral},
    keys::Keys,
    quoting_enclave::QuotingEnclave,
    time::{DAY, Window},
};
use dcap_qvl::QuoteCollateralV3;
use der::Encode;

/// Certificates are valid from one day before the issue time.
const CERTIFICATE_BEFORE: u64 = DAY;
/// Certificates are valid until 20 Julian years (7305 days) after the issue time.
const CERTIFICATE_AFTER: u64 = 7305 * DAY;
/// Collateral is valid for 30 days, as Intel's is.
const COLLATERAL_AFTER: u64 = 30 * DAY;

/// A simulated Intel, one simulated platform, and the quotes that platform makes.
///
/// **Not secret and not real**: see the [module documentation](super). Whoever knows the seed holds
/// every key of the world.
#[derive(Debug, Clone)]
pub struct World {
    platform: Platform,
    root: Vec<u8>,
    collateral: QuoteCollateralV3,
    quoting_enclave: QuotingEnclave,
}

impl World {
    /// Begins a world in which everything was issued at `issued_unix` (Unix seconds).
    ///
    /// `seed` may have any length and is public: equal seeds, times and options give equal bytes.
    pub fn builder(seed: &[u8], issued_unix: u64) -> WorldBuilder {
        WorldBuilder {
            seed: seed.to_vec(),
            issued: issued_unix,
            platform: Platform::default(),
            window: None,
            lists: None,
            revoked: Revoked::default(),
        }
    }

    /// The root CA certificate, DER, about 600 bytes: the trust anchor of this world's verifiers.
    #[must_use]
    pub fn root_der(&self) -> &[u8] {
        &self.root
    }

    /// What a verifier needs besides quote and root.
    #[must_use]
    pub fn collateral(&self) -> &QuoteCollateralV3 {
        &self.collateral
    }

    /// The platform on which this world's quotes are made.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// A version 4 quote of `td`, about 4700 bytes, made by the platform's quoting enclave.
    ///
    /// Source: TDX DCAP Quoting Library API, appendix A.3.
    #[must_use]
    pub fn quote(&self, td: &Td) -> Vec<u8> {
        self.quoting_enclave.quote(td)
    }
}

/// A world and a TD in it, as a source of quotes.
#[derive(Debug, Clone)]
pub struct SimulatedTd {
    /// The world.
    pub world: World,
    /// The TD; its report data is filled in.
    pub td: Td,
}

impl crate::QuoteSource for SimulatedTd {
    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, crate::source::SourceError> {
        let td = Td {
            report_data: *report_data,
            ..self.td.clone()
        };
        Ok(self.world.quote(&td))
    }
}

/// Options of a [`World`]; made by [`World::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct WorldBuilder {
    seed: Vec<u8>,
    issued: u64,
    platform: Platform,
    window: Option<Window>,
    lists: Option<Window>,
    revoked: Revoked,
}

impl WorldBuilder {
    /// Sets the platform and its rating. Default: [`Platform::default`].
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// Lists the platform's PCK certificate in the PCK CRL.
    pub fn revoke_leaf(mut self) -> Self {
        self.revoked.leaf = true;
        self
    }

    /// Lists the PCK platform CA in the root CA CRL.
    pub fn revoke_platform_ca(mut self) -> Self {
        self.revoked.platform_ca = true;
        self
    }

    /// Lists the TCB signing certificate in the root CA CRL.
    pub fn revoke_tcb_signer(mut self) -> Self {
        self.revoked.tcb_signer = true;
        self
    }

    /// Sets the validity of TCB info, QE identity and both CRLs, in Unix seconds.
    ///
    /// Default: from the issue time to 30 days later.
    pub fn collateral_window(mut self, from: u64, to: u64) -> Self {
        self.window = Some(Window { from, to });
        self
    }

    /// Sets the validity of both CRLs by themselves, in Unix seconds.
    ///
    /// Default: that of TCB info and QE identity.
    pub fn crl_window(mut self, from: u64, to: u64) -> Self {
        self.lists = Some(Window { from, to });
        self
    }

    /// Issues everything.
    ///
    /// # Errors
    ///
    /// When a window is empty, when a time leaves the range of X.509 dates (1970 to
    /// 9999), or when the seed gives no valid key (with probability about 2⁻³²).
    pub fn build(self) -> Result<World, SimulationError> {
        let validity = Window::around(self.issued, CERTIFICATE_BEFORE, CERTIFICATE_AFTER)?;
        let window = match self.window {
            Some(window) => window,
            None => Window::around(self.issued, 0, COLLATERAL_AFTER)?,
        };
        let lists = self.lists.unwrap_or(window);
        for Window { from, to } in [window, lists] {
            if from >= to {
                return Err(SimulationError::EmptyCollateralWindow { from, to });
            }
        }

        let keys = Keys::derive(&self.seed)?;
        let certificates = Certificates::issue(&keys, &self.platform, validity)?;
        let collateral = collateral(
            &keys,
            &certificates,
            &self.platform,
            self.issued,
            [window, lists],
            self.revoked,
        )?;
        let pck_chain = certificates.pck_chain()?;
        let quoting_enclave = QuotingEnclave::start(&keys, &self.platform, &pck_chain)?;
        Ok(World {
            platform: self.platform,
            root: certificates.root.to_der()?,
            collateral,
            quoting_enclave,
        })
    }
}
