//! The SGX extension of a PCK certificate: which platform this is, and its TCB.
//!
//! Source: Intel SGX PCK Certificate and CRL Profile Specification (PCK certificate issued by the
//! platform CA). The value is a `SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, ANY }`, whose OIDs are
//! the arcs below 1.2.840.113741.1.13.1:
//!
//! | arc | value |
//! | --- | --- |
//! | 1 | PPID, `OCTET STRING` of 16 bytes |
//! | 2 | TCB, a sequence of the same shape: 2.1 to 2.16 components, 2.17 PCESVN, 2.18 CPUSVN |
//! | 3 | PCE-ID, `OCTET STRING` of 2 bytes |
//! | 4 | FMSPC, `OCTET STRING` of 6 bytes |
//! | 5 | SGX type, `ENUMERATED`: 0 standard, 1 scalable, 2 scalable with integrity |
//! | 6 | platform instance id, `OCTET STRING` of 16 bytes |
//! | 7 | configuration, a sequence: 7.1 dynamic platform, 7.2 cached keys, 7.3 SMT enabled |

use super::Platform;
use der::{
    Encode, Tag,
    asn1::{AnyRef, ObjectIdentifier, OctetStringRef},
    oid::Arc,
};

/// OID of the extension and prefix of the OIDs inside it.
pub(super) const SGX_EXTENSION: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

/// TDX runs on multi-package ("scalable") platforms.
const SGX_TYPE_SCALABLE: u8 = 1;

/// The DER value of the SGX extension of `platform`, about 550 bytes.
pub(super) fn sgx_extension(platform: &Platform) -> der::Result<Vec<u8>> {
    sequence(&[
        item(&[1], &octets(&platform.ppid)?)?,
        item(&[2], &tcb(platform)?)?,
        item(&[3], &octets(&platform.pce_id)?)?,
        item(&[4], &octets(&platform.fmspc)?)?,
        item(&[5], &tlv(Tag::Enumerated, &[SGX_TYPE_SCALABLE])?)?,
        item(&[6], &octets(&platform.platform_instance_id)?)?,
        item(&[7], &configuration()?)?,
    ])
}

/// 16 components of one byte, PCESVN of up to 2 bytes, CPUSVN of 16 bytes.
fn tcb(platform: &Platform) -> der::Result<Vec<u8>> {
    let mut items = Vec::with_capacity(18);
    for (arc, svn) in (1..).zip(platform.cpu_svn) {
        items.push(item(&[2, arc], &svn.to_der()?)?);
    }
    items.push(item(&[2, 17], &platform.pce_svn.to_der()?)?);
    items.push(item(&[2, 18], &octets(&platform.cpu_svn)?)?);
    sequence(&items)
}

/// Dynamic platform, cached keys and SMT, all true as on genuine TDX servers: a policy that refuses
/// them would pass no test and admit no server.
fn configuration() -> der::Result<Vec<u8>> {
    let yes = true.to_der()?;
    sequence(&[
        item(&[7, 1], &yes)?,
        item(&[7, 2], &yes)?,
        item(&[7, 3], &yes)?,
    ])
}

/// One `SEQUENCE { OBJECT IDENTIFIER, ANY }`, `value` being DER already.
fn item(arcs: &[Arc], value: &[u8]) -> der::Result<Vec<u8>> {
    let mut oid = SGX_EXTENSION;
    for arc in arcs {
        oid = oid.push_arc(*arc)?;
    }
    sequence(&[oid.to_der()?, value.to_vec()])
}

fn sequence(parts: &[Vec<u8>]) -> der::Result<Vec<u8>> {
    tlv(Tag::Sequence, &parts.concat())
}

fn octets(bytes: &[u8]) -> der::Result<Vec<u8>> {
    OctetStringRef::new(bytes)?.to_der()
}

fn tlv(tag: Tag, content: &[u8]) -> der::Result<Vec<u8>> {
    AnyRef::new(tag, content)?.to_der()
}
