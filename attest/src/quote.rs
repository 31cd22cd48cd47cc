//! The parts of a TD quote, taken from its bytes.
//!
//! Nothing here is verified: a quote that parses may be anybody's invention.
//! dcap-qvl parses it again when it verifies; this parser refuses, before that,
//! what no quoting enclave of Intel makes, and serves those who only look.
//!
//! Layout: Intel, "TDX DCAP Quoting Library API", appendix A.3 (version 4) and
//! A.4 (version 5); integers are little endian.

use crate::{
    hexes::Hexes,
    reader::Reader,
    rules::{Refusal, Rule},
};

/// Longest quote that is looked at, in bytes. Genuine ones have about 5,000,
/// or 8,000 with the padding of some clouds.
pub const MAX_QUOTE: usize = 16 << 10;

const HEADER: usize = 48;
const TEE_TDX: u32 = 0x81;
const ECDSA_P256: u16 = 2;
const INTEL_QE: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];

/// The measurements of a TD: MRTD is of its firmware, RTMR0 of the firmware's
/// configuration, RTMR1 and RTMR2 of what it booted, RTMR3 is the guest's own.
/// 48 bytes each, SHA-384.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers {
    /// Of the initial contents.
    pub mrtd: [u8; 48],
    /// RTMR0 to RTMR3.
    pub rtmr: [[u8; 48]; 4],
}

/// What a TD says of itself and its platform: the report inside of a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdReport {
    /// Security versions of the TDX module and its loader, 16 bytes.
    pub tee_tcb_svn: [u8; 16],
    /// Of the TDX module, 48 bytes.
    pub mr_seam: [u8; 48],
    /// Signer of the TDX module, 48 bytes; zero for Intel.
    pub mr_signer_seam: [u8; 48],
    /// Attributes of the TDX module, 8 bytes; zero.
    pub seam_attributes: [u8; 8],
    /// TDATTRIBUTES, 8 bytes; bit 0 is DEBUG.
    pub td_attributes: [u8; 8],
    /// XFAM, 8 bytes: processor features that the TD may use.
    pub xfam: [u8; 8],
    /// The measurements.
    pub registers: Registers,
    /// MRCONFIGID, 48 bytes, set by the host at launch.
    pub mr_config_id: [u8; 48],
    /// MROWNER, 48 bytes, set by the host at launch.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG, 48 bytes, set by the host at launch.
    pub mr_owner_config: [u8; 48],
    /// REPORTDATA, 64 bytes, chosen by the guest.
    pub report_data: [u8; 64],
    /// Of bound service TDs, 48 bytes; from TDX 1.5 on.
    pub mr_service_td: Option<[u8; 48]>,
}

/// A TD quote in its parts. Not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// 4 or 5.
    pub version: u16,
    /// Security version of the quoting enclave, by the quote's word.
    pub qe_svn: u16,
    /// Security version of the provisioning certification enclave, likewise.
    pub pce_svn: u16,
    /// Bytes of the quote without padding.
    pub length: usize,
    /// Bytes that the attestation key signed: header and report.
    signed: usize,
    /// The report.
    pub report: TdReport,
}

impl TdReport {
    /// Whether TDATTRIBUTES are these, to the bit.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-502.
    pub fn has_attributes(&self, wanted: &Hexes<8>) -> Result<(), Refusal> {
        if self.td_attributes != wanted.0 {
            return Err(Rule::Attributes.refuse(hex::encode(self.td_attributes), wanted));
        }
        Ok(())
    }
}

impl Quote {
    /// Parses a quote of version 4 or 5 of a TD; zeros may follow it.
    ///
    /// # Errors
    /// [`Refusal`] of the rules ZA-101 to ZA-107.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > MAX_QUOTE {
            return Err(Rule::QuoteLength.refuse(
                format!("{} bytes", bytes.len()),
                format!("at most {MAX_QUOTE}"),
            ));
        }
        let mut reader = Reader::new(bytes, Rule::QuoteTruncated);
        let version = reader.u16("the version")?;
        if version != 4 && version != 5 {
            return Err(Rule::QuoteVersion.refuse(version, "4 or 5"));
        }
        let key_type = reader.u16("the key type")?;
        if key_type != ECDSA_P256 {
            return Err(Rule::QuoteKeyType.refuse(key_type, "2, ECDSA with P-256"));
        }
        let tee = reader.u32("the TEE type")?;
        if tee != TEE_TDX {
            return Err(Rule::QuoteTee.refuse(format!("{tee:#x}"), "0x81, TDX"));
        }
        let (qe_svn, pce_svn) = (reader.u16("the QE's SVN")?, reader.u16("the PCE's SVN")?);
        let vendor: [u8; 16] = reader.array("the QE's vendor")?;
        if vendor != INTEL_QE {
            return Err(Rule::QuoteVendor.refuse(hex::encode(vendor), hex::encode(INTEL_QE)));
        }
        let _user_data: [u8; 20] = reader.array("the user data")?;
        debug_assert!(bytes.len() - reader.rest().len() == HEADER);
        let kind = if version == 5 {
            let kind = reader.u16("the body type")?;
            let size = reader.u32("the body size")?;
            let wanted = match kind {
                2 => 584,
                3 => 648,
                4 => 885,
                other => return Err(Rule::QuoteBody.refuse(format!("type {other}"), "2, 3 or 4")),
            };
            if size != wanted {
                return Err(Rule::QuoteBody.refuse(
                    format!("{size} bytes of type {kind}"),
                    format!("{wanted} bytes"),
                ));
            }
            kind
        } else {
            2
        };
        let report = TdReport::read(&mut reader, kind)?;
        let signed = bytes.len() - reader.rest().len();
        let signature = reader.u32("the length of the signature")? as usize;
        reader.take(signature, "the signature")?;
        let length = bytes.len() - reader.rest().len();
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(Rule::QuoteTrailing.refuse(
                format!("{} bytes after the signature", reader.rest().len()),
                "nothing but zeros",
            ));
        }
        Ok(Self {
            version,
            qe_svn,
            pce_svn,
            length,
            signed,
            report,
        })
    }

    /// Parses a quote and cuts off the zeros that some hosts fill it up with.
    ///
    /// # Errors
    /// As [`Quote::parse`].
    pub fn trim(bytes: &mut Vec<u8>) -> Result<Self, Refusal> {
        let quote = Self::parse(bytes)?;
        bytes.truncate(quote.length);
        Ok(quote)
    }

    /// Bytes that the attestation key signed: header and report.
    #[must_use]
    pub const fn signed_length(&self) -> usize {
        self.signed
    }
}

impl TdReport {
    fn read(reader: &mut Reader<'_>, kind: u16) -> Result<Self, Refusal> {
        let tee_tcb_svn = reader.array("TEE_TCB_SVN")?;
        let mr_seam = reader.array("MRSEAM")?;
        let mr_signer_seam = reader.array("MRSIGNERSEAM")?;
        let seam_attributes = reader.array("SEAMATTRIBUTES")?;
        let td_attributes = reader.array("TDATTRIBUTES")?;
        let xfam = reader.array("XFAM")?;
        let mrtd = reader.array("MRTD")?;
        let mr_config_id = reader.array("MRCONFIGID")?;
        let mr_owner = reader.array("MROWNER")?;
        let mr_owner_config = reader.array("MROWNERCONFIG")?;
        let rtmr = [
            reader.array("RTMR0")?,
            reader.array("RTMR1")?,
            reader.array("RTMR2")?,
            reader.array("RTMR3")?,
        ];
        let report_data = reader.array("REPORTDATA")?;
        let mr_service_td = if kind > 2 {
            let _: [u8; 16] = reader.array("TEE_TCB_SVN_2")?;
            Some(reader.array("MRSERVICETD")?)
        } else {
            None
        };
        if kind == 4 {
            reader.take(885 - 648, "the extension of TDX 1.5")?;
        }
        Ok(Self {
            tee_tcb_svn,
            mr_seam,
            mr_signer_seam,
            seam_attributes,
            td_attributes,
            xfam,
            registers: Registers { mrtd, rtmr },
            mr_config_id,
            mr_owner,
            mr_owner_config,
            report_data,
            mr_service_td,
        })
    }
}
