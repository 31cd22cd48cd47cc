//! The quoting enclave: certified by the platform's PCK, it signs TD reports.
//!
//! Source: TDX DCAP Quoting Library API, appendix A.3. After the signed part
//! ([`quote`](super::quote)), a quote continues (all integers little endian):
//!
//! | offset | bytes | field |
//! | ---: | ---: | --- |
//! | 632 | 4 | length of all that follows |
//! | 636 | 64 | signature of the signed part by the attestation key |
//! | 700 | 64 | attestation key |
//! | 764 | 2 | certification data type, 6: QE report certification data |
//! | 766 | 4 | its length |
//! | 770 | 384 | QE report |
//! | 1154 | 64 | signature of the QE report by the PCK |
//! | 1218 | 2 | length of the QE authentication data, 32 |
//! | 1220 | 32 | QE authentication data |
//! | 1252 | 2 | certification data type, 5: PCK certificate chain |
//! | 1254 | 4 | its length |
//! | 1258 | | PCK leaf, platform CA and root CA, PEM |

use super::{
    Platform, SimulationError, Td,
    collateral::QE_ISV_PROD_ID,
    keys::{Key, Keys},
};
use sha2::{Digest, Sha256};

/// Certification data type: QE report certification data.
const QE_REPORT: u16 = 6;
/// Certification data type: PCK certificate chain, PEM.
const PCK_CHAIN: u16 = 5;

/// Length of an SGX enclave report body.
const QE_REPORT_LEN: usize = 384;

/// FLAGS of the quoting enclave, 8 bytes: INIT, MODE64BIT and `PROVISION_KEY`.
const QE_FLAGS: [u8; 8] = [0x15, 0, 0, 0, 0, 0, 0, 0];
/// XFRM of the quoting enclave, 8 bytes: x87, SSE and AVX state.
const QE_XFRM: [u8; 8] = [0x07, 0, 0, 0, 0, 0, 0, 0];
/// MRENCLAVE of the quoting enclave, 32 bytes; the QE identity does not pin it.
const QE_MRENCLAVE: [u8; 32] = *b"zipnet simulated TD QE MRENCLAVE";
/// QE authentication data, 32 bytes: free, but hashed together with the attestation key.
const AUTHENTICATION_DATA: [u8; 32] = *b"zipnet simulated QE auth data v1";

/// A quoting enclave with its attestation key and everything that certifies it.
#[derive(Debug, Clone)]
pub(super) struct QuotingEnclave {
    attestation: Key,
    tee_tcb_svn: [u8; 16],
    /// The length field at offset 632.
    signature_data_len: [u8; 4],
    /// From offset 764 to the end.
    certification: Vec<u8>,
}

impl QuotingEnclave {
    /// Starts the quoting enclave of `platform` and has its key certified by the PCK.
    pub(super) fn start(
        keys: &Keys,
        platform: &Platform,
        pck_chain: &str,
    ) -> Result<Self, SimulationError> {
        let report = qe_report(platform, keys.attestation.public());
        let mut data = report.clone();
        data.extend(keys.pck.sign(&report));
        data.extend(u16::try_from(AUTHENTICATION_DATA.len())?.to_le_bytes());
        data.extend(AUTHENTICATION_DATA);
        append_certification(&mut data, PCK_CHAIN, pck_chain.as_bytes())?;

        let mut certification = Vec::with_capacity(data.len() + 6);
        append_certification(&mut certification, QE_REPORT, &data)?;
        let signature_data_len = u32::try_from(64 + 64 + certification.len())?;
        Ok(Self {
            attestation: keys.attestation.clone(),
            tee_tcb_svn: platform.tee_tcb_svn,
            signature_data_len: signature_data_len.to_le_bytes(),
            certification,
        })
    }

    /// A version 4 quote of `td`.
    pub(super) fn quote(&self, td: &Td) -> Vec<u8> {
        let mut quote = td.signed_part(&self.tee_tcb_svn);
        let signature = self.attestation.sign(&quote);
        quote.extend(self.signature_data_len);
        quote.extend(signature);
        quote.extend(self.attestation.public());
        quote.extend(&self.certification);
        quote
    }
}

/// Type (2 bytes), length (4 bytes), data.
fn append_certification(out: &mut Vec<u8>, kind: u16, data: &[u8]) -> Result<(), SimulationError> {
    out.extend(kind.to_le_bytes());
    out.extend(u32::try_from(data.len())?.to_le_bytes());
    out.extend(data);
    Ok(())
}

/// The SGX report body of the quoting enclave, 384 bytes.
///
/// Its report data is SHA-256 of attestation key and authentication data, then 32 zero bytes: that
/// is how the PCK's signature over this report certifies the attestation key.
fn qe_report(platform: &Platform, attestation_key: &[u8; 64]) -> Vec<u8> {
    let key_digest = Sha256::new()
        .chain_update(attestation_key)
        .chain_update(AUTHENTICATION_DATA)
        .finalize();
    let mut report = Vec::with_capacity(QE_REPORT_LEN);
    report.extend(platform.cpu_svn);
    report.extend([0; 4]); // MISCSELECT
    report.extend([0; 28]); // reserved
    report.extend(QE_FLAGS);
    report.extend(QE_XFRM);
    report.extend(QE_MRENCLAVE);
    report.extend([0; 32]); // reserved
    report.extend(platform.qe_mrsigner);
    report.extend([0; 96]); // reserved
    report.extend(QE_ISV_PROD_ID.to_le_bytes());
    report.extend(platform.qe_isv_svn.to_le_bytes());
    report.extend([0; 60]); // reserved
    report.extend(key_digest);
    report.extend([0; 32]);
    report
}
