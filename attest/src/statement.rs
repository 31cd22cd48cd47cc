//! What a TD quote says about a server: the statement, and how REPORTDATA
//! binds it.

use sha2::{Digest as _, Sha512};

use crate::rules::{Refusal, Rule};

/// Bytes of an encoded statement.
pub const STATEMENT_BYTES: usize = 32 + 32 + 1 + 32 * 4 + 8 * 3 + 32 * 2;

/// First 32 bytes of every statement: the tag, filled up with zeros.
const TAG: [u8; 32] = *b"zipnet/key-binding/v1\0\0\0\0\0\0\0\0\0\0\0";

/// Whose keys a statement binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A committee server.
    Server,
}

impl Role {
    const fn code(self) -> u8 {
        match self {
            Self::Server => 1,
        }
    }
}

/// What the TD states about itself. Fixed width, integers big endian, no
/// optional field; a change of this makes another tag.
///
/// A decoded statement is only a claim until its quote is verified and each
/// field is compared with what the verifier knows by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The instance, 32 bytes.
    pub instance: [u8; 32],
    /// The role.
    pub role: Role,
    /// The server, 32 bytes.
    pub server: [u8; 32],
    /// Its transport identity, 32 bytes (Ed25519 public key).
    pub peer: [u8; 32],
    /// Its X25519 public key, 32 bytes.
    pub x25519: [u8; 32],
    /// Its committee signing key, 32 bytes (Ed25519 public key).
    pub signing: [u8; 32],
    /// Counts the server's statements; higher is later.
    pub epoch: u64,
    /// In force from here on, seconds since 1970.
    pub not_before: u64,
    /// No longer in force from here on, seconds since 1970.
    pub not_after: u64,
    /// Digest of the configuration that the TD loaded, 32 bytes.
    pub config: [u8; 32],
    /// Digest of the latest broadcast record, or a verifier's nonce, 32 bytes.
    pub freshness: [u8; 32],
}

impl Statement {
    /// The bytes of the statement.
    #[must_use]
    pub fn encode(&self) -> [u8; STATEMENT_BYTES] {
        let parts: [&[u8]; 12] = [
            &TAG,
            &self.instance,
            &[self.role.code()],
            &self.server,
            &self.peer,
            &self.x25519,
            &self.signing,
            &self.epoch.to_be_bytes(),
            &self.not_before.to_be_bytes(),
            &self.not_after.to_be_bytes(),
            &self.config,
            &self.freshness,
        ];
        joined(&parts)
    }

    /// Reads a statement back.
    ///
    /// # Errors
    /// [`Refusal`] of ZA-701 (length, tag) or ZA-704 (role).
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut fields = Fields::of::<STATEMENT_BYTES>(bytes, &TAG)?;
        let instance = fields.take();
        let [role] = fields.take();
        if role != Role::Server.code() {
            return Err(Rule::StatementRole.refuse(role, "1, a server"));
        }
        Ok(Self {
            instance,
            role: Role::Server,
            server: fields.take(),
            peer: fields.take(),
            x25519: fields.take(),
            signing: fields.take(),
            epoch: u64::from_be_bytes(fields.take()),
            not_before: u64::from_be_bytes(fields.take()),
            not_after: u64::from_be_bytes(fields.take()),
            config: fields.take(),
            freshness: fields.take(),
        })
    }

    /// What REPORTDATA of the TD has to be: SHA-512 of the statement, 64 bytes.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        Sha512::digest(self.encode()).into()
    }
}

/// Parts one after the other, whose lengths come to `N`.
pub(crate) fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    let all = parts.iter().flat_map(|part| part.iter());
    for (to, from) in bytes.iter_mut().zip(all) {
        *to = *from;
    }
    bytes
}

/// Fields of a statement whose length and tag were checked.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields behind the tag of a statement of `N` bytes.
    pub(crate) fn of<const N: usize>(bytes: &'a [u8], tag: &[u8; 32]) -> Result<Self, Refusal> {
        if bytes.len() != N {
            let found = format!("{} bytes", bytes.len());
            return Err(Rule::StatementForm.refuse(found, N));
        }
        let mut fields = Self { rest: bytes };
        let found: [u8; 32] = fields.take();
        if found == *tag {
            return Ok(fields);
        }
        let name = String::from_utf8_lossy(tag);
        let name = name.trim_end_matches('\0');
        let found = format!("the tag {}", found.escape_ascii());
        Err(Rule::StatementForm.refuse(found, name))
    }

    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        if let Some((taken, rest)) = self.rest.split_first_chunk::<N>() {
            field = *taken;
            self.rest = rest;
        }
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement() -> Statement {
        Statement {
            instance: [1; 32],
            role: Role::Server,
            server: [2; 32],
            peer: [3; 32],
            x25519: [4; 32],
            signing: [5; 32],
            epoch: 6,
            not_before: 7,
            not_after: 8,
            config: [9; 32],
            freshness: [10; 32],
        }
    }

    #[test]
    fn a_statement_comes_back_from_its_bytes() {
        let bytes = statement().encode();
        assert_eq!(bytes.len(), 281);
        assert_eq!(Statement::decode(&bytes).unwrap(), statement());
    }

    #[test]
    fn za_701_only_the_exact_length_and_tag_decode() {
        let bytes = statement().encode();
        for length in 0..bytes.len() {
            let error = Statement::decode(&bytes[..length]).unwrap_err();
            assert_eq!(error.rule(), Rule::StatementForm);
        }
        assert!(Statement::decode(&[&bytes[..], &[0]].concat()).is_err());
        for at in 0..32 {
            let mut other = bytes;
            other[at] ^= 1;
            let error = Statement::decode(&other).unwrap_err();
            assert_eq!(error.rule(), Rule::StatementForm, "byte {at}");
        }
    }

    #[test]
    fn za_704_another_role_is_refused() {
        for role in (0..=255).filter(|role| *role != 1) {
            let mut bytes = statement().encode();
            bytes[64] = role;
            let error = Statement::decode(&bytes).unwrap_err();
            assert_eq!(error.rule(), Rule::StatementRole);
        }
    }

    #[test]
    fn za_702_every_bit_of_a_statement_is_in_its_report_data() {
        let bytes = statement().encode();
        let expected = statement().report_data();
        for bit in (0..bytes.len() * 8).filter(|bit| !(0..32 * 8).contains(bit)) {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Statement::decode(&other) {
                assert_ne!(other.report_data(), expected, "bit {bit}");
            } else {
                assert_eq!(bit / 8, 64, "only the role refuses");
            }
        }
    }
}
