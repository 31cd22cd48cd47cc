//! The simulated server and what the simulated Intel thinks of it.

/// The security versions of a TDX platform, as one TCB level lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcbSvns {
    /// The 16 SGX TCB components, one byte each.
    pub cpu_svn: [u8; 16],
    /// Version of the provisioning certification enclave.
    pub pce_svn: u16,
    /// The 16 TDX TCB components, one byte each; see [`Platform::tee_tcb_svn`].
    pub tee_tcb_svn: [u8; 16],
}

/// What a platform is and how the simulated Intel rates it.
///
/// The default is a platform in good standing. As on every genuine server whose certificate the
/// authors have seen, the certificate says: dynamic platform, cached keys, SMT enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Family-Model-Stepping-Platform-CustomSKU, 6 bytes: names the TCB info for this kind of
    /// platform. In the PCK certificate and in the TCB info.
    pub fmspc: [u8; 6],
    /// Platform provisioning id, 16 bytes; in the PCK certificate.
    pub ppid: [u8; 16],
    /// Platform instance id, 16 bytes; in PCK certificates of the platform CA only. The id to pin
    /// when only known servers shall be admitted.
    pub platform_instance_id: [u8; 16],
    /// CPUSVN, 16 bytes, here equal to its 16 decoded SGX TCB components; in the PCK certificate.
    pub cpu_svn: [u8; 16],
    /// PCE SVN in the PCK certificate. Keep it below 32768: the certificate encodes it as a signed
    /// DER INTEGER, and verifiers expect at most 2 bytes.
    pub pce_svn: u16,
    /// PCE id in the PCK certificate, 2 bytes; Intel's is always zero.
    pub pce_id: [u8; 2],
    /// PCE id in the TCB info, 2 bytes. A verifier must refuse a quote when it differs from
    /// [`pce_id`](Self::pce_id); `dcap-qvl` 0.7.1 does not.
    pub tcb_pce_id: [u8; 2],
    /// TEE TCB SVN in the TD report, 16 bytes: byte 0 is the TDX module's ISVSVN, byte 1 its major
    /// version (0 for TDX 1.0), byte 2 the SEAM loader's SVN.
    pub tee_tcb_svn: [u8; 16],
    /// What the only TCB level demands. `None` demands exactly what the platform has; more than
    /// that leaves the platform below every level.
    pub required: Option<TcbSvns>,
    /// `tcbStatus` of that level: `UpToDate`, `SWHardeningNeeded`, `ConfigurationNeeded`,
    /// `ConfigurationAndSWHardeningNeeded`, `OutOfDate`, `OutOfDateConfigurationNeeded` or
    /// `Revoked`. Anything else makes collateral that verifiers refuse.
    pub tcb_status: String,
    /// `advisoryIDs` of that level, such as `INTEL-SA-00615`.
    pub advisories: Vec<String>,
    /// `tcbEvaluationDataNumber` of the TCB info and the QE identity.
    pub tcb_eval: u32,
    /// Rating of platforms of lower TDX versions, if there is such a level, and its advisories:
    /// `tcbStatus` and `advisoryIDs` of a second level that demands nothing of TDX.
    pub below: Option<(String, Vec<String>)>,
    /// `id` of the TCB info, `TDX` unless it is another TEE's.
    pub tcb_info_id: String,
    /// `id` of the QE identity, `TD_QE` unless it is another enclave's.
    pub qe_identity_id: String,
    /// How many days before the world's issue time the `tcbDate` of every level lies. Grace periods
    /// count from `tcbDate`.
    pub tcb_date_days_before: u64,
    /// MRSIGNER of the quoting enclave that makes the quotes, 32 bytes. The QE identity always
    /// demands [`QE_MRSIGNER`](Self::QE_MRSIGNER); another value makes a rogue quoting enclave.
    pub qe_mrsigner: [u8; 32],
    /// ISVSVN of the quoting enclave. The QE identity's only level demands
    /// [`QE_ISV_SVN`](Self::QE_ISV_SVN).
    pub qe_isv_svn: u16,
}

impl Platform {
    /// The MRSIGNER that the QE identity demands, 32 bytes.
    pub const QE_MRSIGNER: [u8; 32] = *b"zipnet simulated TD QE MRSIGNER.";

    /// The ISVSVN that the QE identity demands.
    pub const QE_ISV_SVN: u16 = 4;

    /// What the platform has, in the shape of a TCB level.
    #[must_use]
    pub fn svns(&self) -> TcbSvns {
        TcbSvns {
            cpu_svn: self.cpu_svn,
            pce_svn: self.pce_svn,
            tee_tcb_svn: self.tee_tcb_svn,
        }
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self {
            fmspc: *b"SIMFMS",
            ppid: *b"simulated ppid 0",
            platform_instance_id: *b"simulated piid 0",
            cpu_svn: [2; 16],
            pce_svn: 13,
            pce_id: [0; 2],
            tcb_pce_id: [0; 2],
            tee_tcb_svn: [5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            required: None,
            tcb_status: "UpToDate".to_owned(),
            advisories: Vec::new(),
            tcb_eval: 20,
            below: None,
            tcb_info_id: "TDX".to_owned(),
            qe_identity_id: "TD_QE".to_owned(),
            tcb_date_days_before: 200,
            qe_mrsigner: Self::QE_MRSIGNER,
            qe_isv_svn: Self::QE_ISV_SVN,
        }
    }
}
