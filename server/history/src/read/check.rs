//! Whether a record of an archive is one: signed by every server of a roster that this reader
//! trusts, whose evidence held when the record was made.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use zipnet::{
    roles::follow::{self, NewsError},
    settings::TrustSettings,
};
use zipnet_attest::Refusal;
use zipnet_protocol::{
    AdmittedServer, Digest, Instance, MAX_ROSTER, PeerKey, RecordError, RoundParams,
};

use super::{Checked, ReadError, remote::Remote};
use crate::{
    index::Entry,
    layout::Name,
    record::{FileError, MAX_RECORD, RecordFile, Shown},
};

/// How far an archive's clock may be ahead of this one, in seconds.
const AHEAD: u64 = 120;
/// For how long evidence is looked into at once, in seconds.
const SPAN: u64 = 3600;
/// Most verdicts that are remembered.
const MAX_HELD: usize = 1024;
/// Most of what a record's file has of each server besides vectors.
const BESIDES: usize = 8 << 10;

/// A record that is not shown.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Listed and not there.
    #[error("The archive lists record {record}, and does not give it")]
    Withheld {
        /// Its digest.
        record: Digest,
    },
    /// No file of a record.
    #[error("The file of record {record} is none")]
    File {
        /// The digest that it is called by.
        record: Digest,
        /// Why.
        #[source]
        source: FileError,
    },
    /// It does not verify.
    #[error("Record {record} is refused")]
    Record {
        /// The digest that it is called by.
        record: Digest,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// Another one.
    #[error("The file of record {record} holds another one, {found}")]
    Other {
        /// The digest that it is called by.
        record: Digest,
        /// What it holds.
        found: Digest,
    },
    /// The time that the archive says.
    #[error(
        "By the archive's word record {record} was there at {at}, before the record before it or after now"
    )]
    Time {
        /// Its digest.
        record: Digest,
        /// Seconds since 1970.
        at: u64,
    },
    /// The roster.
    #[error("The roster of record {record} is not trusted")]
    Roster {
        /// The record's digest.
        record: Digest,
        /// Why.
        #[source]
        source: Box<NewsError>,
    },
    /// No evidence.
    #[error("The archive has no evidence of server {server} for record {record}")]
    NoEvidence {
        /// The record's digest.
        record: Digest,
        /// The server's transport key.
        server: PeerKey,
    },
    /// No file of evidence.
    #[error("The evidence of server {server} for record {record} is none")]
    Evidence {
        /// The record's digest.
        record: Digest,
        /// The server's transport key.
        server: PeerKey,
        /// Why.
        #[source]
        source: FileError,
    },
    /// Bad evidence.
    #[error(
        "The evidence of server {server} is refused as of {at}, when record {record} was there by the archive's word"
    )]
    Refused {
        /// The record's digest.
        record: Digest,
        /// The server's transport key.
        server: PeerKey,
        /// Seconds since 1970.
        at: u64,
        /// By which rule.
        #[source]
        source: Box<Refusal>,
    },
    /// The instance is attested and this process verifies nothing.
    #[error(
        "The servers of this instance show evidence, and this process has no policy to judge it by"
    )]
    NoAuthority,
}

/// Verifies records.
#[derive(Debug)]
pub struct Checker {
    instance: Instance,
    trust: TrustSettings,
    most: usize,
    roster: Vec<AdmittedServer>,
    /// From when until when evidence is known to hold. Whatever is looked at has a beginning and an
    /// end: what holds at two times holds between them.
    held: BTreeMap<Shown, (u64, u64)>,
    last_at: u64,
}

impl Checker {
    pub fn new(instance: Instance, trust: TrustSettings, params: RoundParams) -> Self {
        let vectors = params
            .broadcast_bytes()
            .saturating_mul(MAX_ROSTER.saturating_add(1));
        let most = vectors
            .saturating_add(BESIDES.saturating_mul(MAX_ROSTER))
            .saturating_add(zipnet_protocol::MAX_CLIENTS);
        Self {
            instance,
            trust,
            most: most.min(MAX_RECORD as usize),
            roster: Vec::new(),
            held: BTreeMap::new(),
            last_at: 0,
        }
    }

    pub const fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Another epoch begins: the archive may have taken it up before it was done with the last.
    pub const fn begin(&mut self) {
        self.last_at = 0;
    }

    /// Fetches a record and looks into it.
    pub fn check(
        &mut self,
        remote: &Remote,
        name: &Name,
        entry: &Entry,
    ) -> Result<Result<Checked, CheckError>, ReadError> {
        let Some(bytes) = remote.get(name, self.most)? else {
            let record = entry.record;
            return Ok(Err(CheckError::Withheld { record }));
        };
        let checked = match self.record(name, entry, &bytes) {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error)),
        };
        let (file, checked) = checked;
        if self.instance.anchor().is_some()
            && let Err(error) = self.vouch(remote, &file, &checked)?
        {
            return Ok(Err(error));
        }
        self.last_at = checked.at;
        Ok(Ok(checked))
    }

    /// All but the evidence.
    fn record(
        &mut self,
        name: &Name,
        entry: &Entry,
        bytes: &[u8],
    ) -> Result<(RecordFile, Checked), CheckError> {
        let record = entry.record;
        let file = RecordFile::decode(bytes);
        let file = file.map_err(|source| CheckError::File { record, source })?;
        let failed = |source| CheckError::Record { record, source };
        let published = &file.published;
        let header = &published.record.header;
        let round = header
            .verify_knowing(&self.instance, &published.bundles, &self.roster)
            .map_err(|source| failed(RecordError::Header(source)))?;
        let done = published.record.verify_in(round).map_err(failed)?;
        let (epoch, number) = done.round().position();
        if Name::Record(epoch, number, *done.digest()) != *name {
            let found = *done.digest();
            return Err(CheckError::Other { record, found });
        }
        if self.roster != done.round().roster() {
            self.roster = done.round().roster().to_vec();
        }
        follow::pinned(&self.trust, done.round()).map_err(|source| CheckError::Roster {
            record,
            source: Box::new(source),
        })?;
        let at = file.at;
        if at < self.last_at || at > now().saturating_add(AHEAD) {
            return Err(CheckError::Time { record, at });
        }
        let done = Arc::new(done);
        Ok((file, Checked { done, at }))
    }

    /// The evidence of the whole roster (I6), as of the record's time.
    fn vouch(
        &mut self,
        remote: &Remote,
        file: &RecordFile,
        checked: &Checked,
    ) -> Result<Result<(), CheckError>, ReadError> {
        let Some(authority) = self.trust.authority.clone() else {
            return Ok(Err(CheckError::NoAuthority));
        };
        let record = *checked.done.digest();
        // Somebody else's clock may be ahead a little.
        let at = checked.at.min(authority.now());
        for server in checked.done.round().roster() {
            let peer = *server.peer();
            let none = CheckError::NoEvidence {
                record,
                server: peer,
            };
            let shown: BTreeSet<_> = file
                .evidence
                .iter()
                .filter(|shown| shown.bundle == *server.digest())
                .copied()
                .collect();
            // One for each server; of several the first is looked at.
            let Some(shown) = shown.first() else {
                return Ok(Err(none));
            };
            let held = self.held.get(shown);
            if held.is_some_and(|(from, to)| (*from..=*to).contains(&at)) {
                continue;
            }
            let name = Name::Credential(shown.bundle, shown.credential);
            let credential = match remote.credential(&name)? {
                None => return Ok(Err(none)),
                Some(Err(source)) => {
                    let server = peer;
                    return Ok(Err(CheckError::Evidence {
                        record,
                        server,
                        source,
                    }));
                }
                Some(Ok(credential)) => credential,
            };
            let judge = |at| authority.judge_as_of(&self.instance, server, &credential, at);
            if let Err(source) = judge(at) {
                let server = peer;
                return Ok(Err(CheckError::Refused {
                    record,
                    server,
                    at,
                    source: Box::new(source),
                }));
            }
            // Later records need not be looked into at their very time.
            let later = at.saturating_add(SPAN).min(authority.now());
            let to = if judge(later).is_ok() { later } else { at };
            self.hold(*shown, (at, to));
        }
        Ok(Ok(()))
    }

    fn hold(&mut self, shown: Shown, (from, to): (u64, u64)) {
        if self.held.len() >= MAX_HELD {
            self.held.clear();
        }
        let held = self.held.entry(shown).or_insert((from, to));
        *held = (held.0.min(from), held.1.max(to));
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
