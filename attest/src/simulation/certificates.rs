//! The four certificates of a world: root CA, PCK platform CA, TCB signing, PCK leaf.
//!
//! Source: Intel SGX PCK Certificate and CRL Profile Specification. Left out are the CRL
//! distribution points: there is nowhere to fetch a simulated CRL from.

use super::{
    Platform, SimulationError,
    extension::{SGX_EXTENSION, sgx_extension},
    keys::{Key, Keys},
    time::{Window, x509_time},
};
use der::{EncodePem, asn1::OctetString, pem::LineEnding};
use p256::ecdsa::DerSignature;
use std::str::FromStr;
use x509_cert::{
    Certificate, TbsCertificate,
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    ext::{
        Extension, ToExtension,
        pkix::{
            AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
        },
    },
    name::Name,
    serial_number::SerialNumber,
    spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef},
    time::Validity,
};

const ROOT_CA: &str = "zipnet simulated SGX Root CA (not Intel)";
const PLATFORM_CA: &str = "zipnet simulated SGX PCK Platform CA (not Intel)";
const TCB_SIGNING: &str = "zipnet simulated SGX TCB Signing (not Intel)";
const PCK: &str = "zipnet simulated SGX PCK Certificate (not Intel)";

/// Serial numbers are per issuer; small ones are easy to recognise in a CRL.
const ROOT_CA_SERIAL: u32 = 1;
pub(super) const PLATFORM_CA_SERIAL: u32 = 2;
pub(super) const TCB_SIGNING_SERIAL: u32 = 3;
pub(super) const PCK_SERIAL: u32 = 4;

/// The certificates of one world.
#[derive(Debug, Clone)]
pub(super) struct Certificates {
    /// Self-signed trust root.
    pub(super) root: Certificate,
    /// Issuer of the PCK leaf and of the PCK CRL.
    pub(super) platform_ca: Certificate,
    tcb_signing: Certificate,
    pck: Certificate,
}

impl Certificates {
    /// Issues all four, each valid throughout `validity`.
    pub(super) fn issue(
        keys: &Keys,
        platform: &Platform,
        validity: Window,
    ) -> Result<Self, SimulationError> {
        let root = Request {
            subject: (ROOT_CA, &keys.root),
            issuer: (ROOT_CA, &keys.root),
            serial: ROOT_CA_SERIAL,
            role: Role::Ca { path_len: 1 },
        };
        let platform_ca = Request {
            subject: (PLATFORM_CA, &keys.platform_ca),
            issuer: (ROOT_CA, &keys.root),
            serial: PLATFORM_CA_SERIAL,
            role: Role::Ca { path_len: 0 },
        };
        let tcb_signing = Request {
            subject: (TCB_SIGNING, &keys.tcb_signing),
            issuer: (ROOT_CA, &keys.root),
            serial: TCB_SIGNING_SERIAL,
            role: Role::TcbSigning,
        };
        let pck = Request {
            subject: (PCK, &keys.pck),
            issuer: (PLATFORM_CA, &keys.platform_ca),
            serial: PCK_SERIAL,
            role: Role::Pck {
                sgx_extension: sgx_extension(platform)?,
            },
        };
        Ok(Self {
            root: root.sign(validity)?,
            platform_ca: platform_ca.sign(validity)?,
            tcb_signing: tcb_signing.sign(validity)?,
            pck: pck.sign(validity)?,
        })
    }

    /// The chain that a quote carries: PCK leaf, platform CA, root CA.
    pub(super) fn pck_chain(&self) -> der::Result<String> {
        pem(&[&self.pck, &self.platform_ca, &self.root])
    }

    /// The chain of the PCK CRL's issuer: platform CA, root CA.
    pub(super) fn platform_ca_chain(&self) -> der::Result<String> {
        pem(&[&self.platform_ca, &self.root])
    }

    /// The chain of the issuer of TCB info and QE identity: TCB signing, root CA.
    pub(super) fn tcb_signing_chain(&self) -> der::Result<String> {
        pem(&[&self.tcb_signing, &self.root])
    }
}

fn pem(chain: &[&Certificate]) -> der::Result<String> {
    chain.iter().map(|c| c.to_pem(LineEnding::LF)).collect()
}

/// A certificate to be issued.
struct Request<'a> {
    subject: (&'static str, &'a Key),
    issuer: (&'static str, &'a Key),
    serial: u32,
    role: Role,
}

impl Request<'_> {
    fn sign(self, validity: Window) -> Result<Certificate, SimulationError> {
        let (subject, subject_key) = self.subject;
        let (issuer, issuer_key) = self.issuer;
        let builder = CertificateBuilder::new(
            Profile {
                subject: name(subject)?,
                issuer: name(issuer)?,
                role: self.role,
            },
            SerialNumber::from(self.serial),
            Validity::new(x509_time(validity.from)?, x509_time(validity.to)?),
            SubjectPublicKeyInfo::from_key(subject_key.signing().verifying_key())?,
        )?;
        Ok(builder.build::<_, DerSignature>(issuer_key.signing())?)
    }
}

/// Intel's names have the same attributes in the same order, with `O=Intel Corporation`. RFC 4514
/// writes the last one first.
fn name(common_name: &str) -> der::Result<Name> {
    Name::from_str(&format!(
        "C=US,ST=CA,L=Nowhere,O=zipnet simulation (not Intel),CN={common_name}"
    ))
}

/// What a certificate is for.
enum Role {
    Ca { path_len: u8 },
    TcbSigning,
    Pck { sgx_extension: Vec<u8> },
}

struct Profile {
    subject: Name,
    issuer: Name,
    role: Role,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        subject_key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let (usage, path_len) = match self.role {
            Role::Ca { path_len } => {
                let usage = KeyUsages::KeyCertSign | KeyUsages::CRLSign;
                (usage, Some(path_len))
            }
            Role::TcbSigning | Role::Pck { .. } => {
                let usage = KeyUsages::DigitalSignature | KeyUsages::NonRepudiation;
                (usage, None)
            }
        };
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(SubjectKeyIdentifier::try_from(issuer_key)?.0),
            ..Default::default()
        };
        let constraints = BasicConstraints {
            ca: path_len.is_some(),
            path_len_constraint: path_len,
        };

        let subject = tbs.subject();
        let mut extensions = Vec::with_capacity(5);
        extensions.push((&authority).to_extension(subject, &extensions)?);
        let subject_key = SubjectKeyIdentifier::try_from(subject_key)?;
        extensions.push((&subject_key).to_extension(subject, &extensions)?);
        extensions.push((&KeyUsage(usage)).to_extension(subject, &extensions)?);
        extensions.push((&constraints).to_extension(subject, &extensions)?);
        if let Role::Pck { sgx_extension } = &self.role {
            extensions.push(Extension {
                extn_id: SGX_EXTENSION,
                critical: false,
                extn_value: OctetString::new(sgx_extension.as_slice())?,
            });
        }
        Ok(extensions)
    }
}
