//! The signed part of a TDX quote, version 4: header and TD report body; or of version 5 for a
//! TD 1.5.
//!
//! Source: TDX DCAP Quoting Library API, appendix A.3 and A.4. All integers are little endian.
//!
//! | offset | bytes | field |
//! | ---: | ---: | --- |
//! | 0 | 2 | version, 4 |
//! | 2 | 2 | attestation key type, 2 for ECDSA over P-256 |
//! | 4 | 4 | TEE type, 0x81 for TDX |
//! | 8 | 4 | reserved |
//! | 12 | 16 | QE vendor id |
//! | 28 | 20 | user data |
//! | 48 | 16 | TEE TCB SVN |
//! | 64 | 48 | MRSEAM |
//! | 112 | 48 | MRSIGNERSEAM |
//! | 160 | 8 | SEAMATTRIBUTES |
//! | 168 | 8 | TDATTRIBUTES |
//! | 176 | 8 | XFAM |
//! | 184 | 48 | MRTD |
//! | 232 | 48 | MRCONFIGID |
//! | 280 | 48 | MROWNER |
//! | 328 | 48 | MROWNERCONFIG |
//! | 376 | 192 | RTMR0 to RTMR3, 48 each |
//! | 568 | 64 | REPORTDATA |
//!
//! In version 5 the type of the body, 3 for a TD 1.5, and its length stand before it, 2 and 4 bytes;
//! `TEE_TCB_SVN_2` (16) and MRSERVICETD (48) follow REPORTDATA.

/// Length of header (48 bytes) and TD report body (584 bytes).
pub(super) const SIGNED_LEN: usize = 632;

/// Quote version, and that of a TD 1.5.
const VERSIONS: [u16; 2] = [4, 5];
/// Type and length of the body of a TD 1.5.
const TD15: (u16, u32) = (3, 648);
/// Attestation key type: ECDSA over P-256.
const ECDSA_P256: u16 = 2;
/// TEE type: TDX.
const TDX: u32 = 0x81;

/// The launch state and the run-time measurements of a simulated trust domain (TD).
///
/// The default is a TD as honest launch tools make it: `SEPT_VE_DISABLE` set and nothing else,
/// host identities zero, and a recognisable constant in MRSEAM, MRTD and each RTMR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Td {
    /// Measurement of the TDX module, 48 bytes.
    pub mrseam: [u8; 48],
    /// Signer of the TDX module, 48 bytes; zero for Intel's.
    pub mr_signer_seam: [u8; 48],
    /// Attributes of the TDX module, 8 bytes; zero for a production module.
    pub seam_attributes: [u8; 8],
    /// Security versions that the platform is at by now, 16 bytes: the quote is then of version 5,
    /// of a TD 1.5, which was launched at those of its platform.
    pub tee_tcb_svn_2: Option<[u8; 16]>,
    /// TDATTRIBUTES, 8 bytes, little endian: bit 0 DEBUG, bit 28 `SEPT_VE_DISABLE`, bit 29
    /// MIGRATABLE.
    pub td_attributes: [u8; 8],
    /// Extended features the TD may use, 8 bytes, little endian, a mask as in XCR0.
    pub xfam: [u8; 8],
    /// Measurement of the TD's initial contents, 48 bytes.
    pub mrtd: [u8; 48],
    /// MRCONFIGID, 48 bytes, chosen by the host at launch.
    pub mr_config_id: [u8; 48],
    /// MROWNER, 48 bytes, chosen by the host at launch.
    pub mr_owner: [u8; 48],
    /// MROWNERCONFIG, 48 bytes, chosen by the host at launch.
    pub mr_owner_config: [u8; 48],
    /// Run-time measurement registers 0 to 3, 48 bytes each.
    pub rtmr: [[u8; 48]; 4],
    /// REPORTDATA, 64 bytes, chosen by the TD.
    pub report_data: [u8; 64],
}

impl Default for Td {
    fn default() -> Self {
        Self {
            mrseam: [0x5e; 48],
            mr_signer_seam: [0; 48],
            seam_attributes: [0; 8],
            tee_tcb_svn_2: None,
            td_attributes: [0, 0, 0, 0x10, 0, 0, 0, 0],
            xfam: [0xe7, 0x02, 0x06, 0, 0, 0, 0, 0],
            mrtd: [0x10; 48],
            mr_config_id: [0; 48],
            mr_owner: [0; 48],
            mr_owner_config: [0; 48],
            rtmr: [[0x20; 48], [0x21; 48], [0x22; 48], [0; 48]],
            report_data: [0; 64],
        }
    }
}

impl Td {
    /// Header and TD report body, [`SIGNED_LEN`] bytes, on a platform with this TEE TCB SVN.
    pub(super) fn signed_part(&self, tee_tcb_svn: &[u8; 16]) -> Vec<u8> {
        let mut out = Vec::with_capacity(SIGNED_LEN);
        let [plain, td15] = VERSIONS;
        let version = self.tee_tcb_svn_2.map_or(plain, |_| td15);
        out.extend(version.to_le_bytes());
        out.extend(ECDSA_P256.to_le_bytes());
        out.extend(TDX.to_le_bytes());
        out.extend([0; 4]);
        out.extend(dcap_qvl::INTEL_QE_VENDOR_ID);
        out.extend([0; 20]);

        if self.tee_tcb_svn_2.is_some() {
            let (kind, length) = TD15;
            out.extend(kind.to_le_bytes());
            out.extend(length.to_le_bytes());
        }
        out.extend(tee_tcb_svn);
        out.extend(self.mrseam);
        out.extend(self.mr_signer_seam);
        out.extend(self.seam_attributes);
        out.extend(self.td_attributes);
        out.extend(self.xfam);
        out.extend(self.mrtd);
        out.extend(self.mr_config_id);
        out.extend(self.mr_owner);
        out.extend(self.mr_owner_config);
        out.extend(self.rtmr.as_flattened());
        out.extend(self.report_data);
        if let Some(now) = self.tee_tcb_svn_2 {
            out.extend(now);
            // MRSERVICETD: none.
            out.extend([0; 48]);
        }
        out
    }
}
