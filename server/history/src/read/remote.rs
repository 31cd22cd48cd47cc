//! The files of an archive, asked for over HTTP, each bounded before it is read.

use core::time::Duration;

use ureq::{
    Agent,
    http::{Uri, header},
};
use zipnet::attestation::Credential;
use zipnet_protocol::InstanceId;

use crate::{
    head::{Head, MAX_HEAD},
    index::{MAX_PAGE, Page, TextError},
    layout::Name,
    record::{self, FileError, MAX_CREDENTIAL},
};

/// How long one answer may take, from the look-up of the name to the last byte.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest address, in bytes.
const MAX_ADDRESS: usize = 512;
/// Longest answer without its body, in bytes.
const MAX_HEADER: usize = 16 << 10;

/// Nothing to read from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address:?} is no archive's address; `http` or `https`, a host and at most a path, {MAX_ADDRESS} bytes in all, would be right"
)]
pub struct AddressError {
    address: String,
}

/// An archive could not be read. A later attempt, or another archive, may fare better.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nobody there, no answer in time, or more than there may be.
    #[error("Could not fetch {url}; an archive that can be reached would be right")]
    Fetch {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Something else than what was asked for.
    #[error("{url} answered with status {status}; 200, of an archive, would be right")]
    Status {
        /// What was asked.
        url: String,
        /// HTTP's.
        status: u16,
    },
    /// A head or a page that is none.
    #[error("{url} is no file of an archive's index")]
    Text {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: TextError,
    },
    /// A page of something else.
    #[error("{url} is a page of another epoch or number")]
    OtherPage {
        /// What was asked.
        url: String,
    },
    /// The head is not there.
    #[error("There is no {url}; the address of an archive would be right")]
    NoArchive {
        /// What was asked.
        url: String,
    },
    /// Somebody else's.
    #[error(
        "The archive is of instance {found}, and this is instance {expected}; an archive of that one would be right, or its ZIPNET_INSTANCE, ZIPNET_COMMITTEE and evidence settings"
    )]
    Instance {
        /// Whose it is.
        found: InstanceId,
        /// Ours.
        expected: InstanceId,
    },
}

/// An archive.
#[derive(Debug)]
pub struct Remote {
    base: String,
    agent: Agent,
    /// The tag of the head that was read last.
    tag: Option<String>,
}

impl Remote {
    pub fn new(address: &str) -> Result<Self, AddressError> {
        let unfit = || AddressError {
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
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // No address but the one that was named, by no other scheme.
            .max_redirects(0)
            .max_response_header_size(MAX_HEADER)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(PATIENCE))
            .user_agent("zipnet-client");
        if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            config = config.proxy(None);
        }
        Ok(Self {
            base: address.trim_end_matches('/').to_owned(),
            agent: config.build().new_agent(),
            tag: None,
        })
    }

    /// The head, if it has changed.
    pub fn head(&mut self) -> Result<Option<Head>, ReadError> {
        let url = self.url(&Name::Head);
        let failed = |source| ReadError::Fetch {
            url: url.clone(),
            source: Box::new(source),
        };
        let mut request = self.agent.get(&url);
        if let Some(tag) = &self.tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let (head, mut body) = request.call().map_err(failed)?.into_parts();
        match head.status.as_u16() {
            200 => {}
            304 => return Ok(None),
            404 => return Err(ReadError::NoArchive { url }),
            status => return Err(ReadError::Status { url, status }),
        }
        let most = u64::try_from(MAX_HEAD).unwrap_or(u64::MAX);
        let bytes = body
            .with_config()
            .limit(most)
            .read_to_vec()
            .map_err(failed)?;
        let read = Head::decode(&bytes).map_err(|source| ReadError::Text {
            url: url.clone(),
            source,
        })?;
        let tag = head.headers.get(header::ETAG);
        let tag = tag.and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        // Without tags a head that says the same is one that has not changed, to the caller.
        self.tag = tag;
        Ok(Some(read))
    }

    /// A page of the index, if it is there.
    pub fn page(&self, name: &Name) -> Result<Option<Page>, ReadError> {
        let Some(bytes) = self.get(name, MAX_PAGE)? else {
            return Ok(None);
        };
        let url = || self.url(name);
        let page = Page::decode(&bytes).map_err(|source| ReadError::Text { url: url(), source })?;
        if Name::Page(page.epoch, page.page) != *name {
            return Err(ReadError::OtherPage { url: url() });
        }
        Ok(Some(page))
    }

    /// Evidence, if it is there.
    pub fn credential(
        &self,
        name: &Name,
    ) -> Result<Option<Result<Credential, FileError>>, ReadError> {
        let bytes = self.get(name, MAX_CREDENTIAL)?;
        Ok(bytes.map(|bytes| record::decode_credential(&bytes)))
    }

    /// A file of at most so many bytes, if it is there.
    pub fn get(&self, name: &Name, most: usize) -> Result<Option<Vec<u8>>, ReadError> {
        let url = self.url(name);
        let failed = |source| ReadError::Fetch {
            url: url.clone(),
            source: Box::new(source),
        };
        let (head, mut body) = self.agent.get(&url).call().map_err(failed)?.into_parts();
        match head.status.as_u16() {
            200 => {
                let most = u64::try_from(most).unwrap_or(u64::MAX);
                let bytes = body.with_config().limit(most).read_to_vec();
                bytes.map(Some).map_err(failed)
            }
            404 => Ok(None),
            status => Err(ReadError::Status { url, status }),
        }
    }

    fn url(&self, name: &Name) -> String {
        format!("{}/{name}", self.base)
    }
}
