//! What is asked for, and what is answered.

use core::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Frame, Incoming},
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
        HeaderName, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, RETRY_AFTER,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use tokio::sync::Semaphore;
use zipnet_protocol::{Digest, domain_digest};

use super::{Meter, events, messages, page};
use crate::{keeper::Keeper, objects::ObjectError};
use zipnet_history::{
    index::MAX_PAGE,
    layout::{Name, NotAName},
    record::MAX_RECORD,
};

/// The body of an answer. An error cuts the connection: what was sent is not all.
type Body = UnsyncBoxBody<Bytes, object_store::Error>;

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
const JSON: &str = "application/json";

/// Records that are put into words at once: each takes a processor for some milliseconds.
const IN_WORDS: usize = 2;

/// How long an answer may be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// For ever: the file of this name does not change.
    Ever,
    /// It has to be asked for anew each time; if it has not changed that costs little.
    Ask,
    /// Not at all.
    Never,
}

impl Keep {
    const fn header(self) -> &'static str {
        match self {
            Self::Ever => "public, max-age=31536000, immutable",
            Self::Ask => "no-cache",
            Self::Never => "no-store",
        }
    }
}

/// What is wrong with a request.
enum Wrong {
    Method,
    NotFound,
    Malformed(&'static str),
    Busy,
    Store(ObjectError),
}

impl From<ObjectError> for Wrong {
    fn from(error: ObjectError) -> Self {
        Self::Store(error)
    }
}

/// Answers requests.
pub struct Desk {
    keeper: Arc<Keeper>,
    /// Half of the connections may be for events, and the rest stays for files.
    events: Arc<Semaphore>,
    in_words: Arc<Semaphore>,
    meter: Arc<dyn Meter>,
}

impl Desk {
    pub fn new(keeper: Arc<Keeper>, connections: usize, meter: Arc<dyn Meter>) -> Self {
        Self {
            keeper,
            events: Arc::new(Semaphore::new((connections / 2).max(1))),
            in_words: Arc::new(Semaphore::new(IN_WORDS)),
            meter,
        }
    }

    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let answered = self.look_up(&request).await;
        let mut response = answered.unwrap_or_else(|wrong| refuse(&wrong));
        let headers = response.headers_mut();
        let fixed = |text: &'static str| HeaderValue::from_static(text);
        headers.insert(X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
        headers.insert(REFERRER_POLICY, fixed("no-referrer"));
        headers.insert(CONTENT_SECURITY_POLICY, fixed(page::POLICY));
        self.meter.answered(response.status().as_u16());
        response
    }

    async fn look_up(&self, request: &Request<Incoming>) -> Result<Response<Body>, Wrong> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(Wrong::Method);
        }
        if !request.body().is_end_stream() {
            return Err(Wrong::Malformed(
                "A request without a body would be right\n",
            ));
        }
        if request.uri().query().is_some() {
            // Each would be another name of the same for whoever caches it.
            return Err(Wrong::Malformed(
                "An address without a query would be right\n",
            ));
        }
        let path = request.uri().path();
        let path = path.strip_prefix('/').ok_or(Wrong::NotFound)?;
        if let Some((kind, bytes)) = page::file(path) {
            return Ok(text(request, kind, Keep::Ask, bytes));
        }
        if path == "events" {
            return self.subscribe(request).await;
        }
        if let Some(record) = path.strip_prefix("messages/") {
            let name = parse(&format!("records/{record}"))?;
            return self.say(request, name).await;
        }
        let name = parse(path)?;
        let index = self.keeper.shelf();
        match name {
            Name::Head => Ok(text(request, TEXT, Keep::Ask, index.head.clone())),
            Name::Page(epoch, number) => {
                if let Some(bytes) = index.open.get(&(epoch, number)) {
                    return Ok(text(request, TEXT, Keep::Ask, bytes.clone()));
                }
                let bytes = self.keeper.objects().get(&name, MAX_PAGE).await?;
                let bytes = bytes.ok_or(Wrong::NotFound)?;
                Ok(text(request, TEXT, Keep::Ever, bytes))
            }
            Name::Record(_, _, digest) => self.file(request, &name, &digest).await,
            Name::Credential(bundle, credential) => {
                let pair = [*bundle.as_bytes(), *credential.as_bytes()].concat();
                self.file(request, &name, &etag(&pair)).await
            }
        }
    }

    /// A file that does not change, as it is read.
    async fn file(
        &self,
        request: &Request<Incoming>,
        name: &Name,
        digest: &Digest,
    ) -> Result<Response<Body>, Wrong> {
        let objects = self.keeper.objects();
        if request.method() == Method::HEAD || is_known(request, digest) {
            let length = objects.length(name).await?.ok_or(Wrong::NotFound)?;
            if is_known(request, digest) {
                return Ok(unchanged(Keep::Ever, digest));
            }
            let mut response = whole(BYTES, Keep::Ever, Some(digest), Bytes::new());
            set_length(&mut response, length);
            return Ok(response);
        }
        let (length, parts) = objects.stream(name).await?.ok_or(Wrong::NotFound)?;
        let frames = parts.map(|part| part.map(Frame::data));
        let body = StreamBody::new(frames).boxed_unsync();
        let mut response = with(body, BYTES, Keep::Ever, Some(digest));
        set_length(&mut response, length);
        Ok(response)
    }

    /// A record in words.
    async fn say(&self, request: &Request<Incoming>, name: Name) -> Result<Response<Body>, Wrong> {
        let Name::Record(_, _, digest) = name else {
            return Err(Wrong::NotFound);
        };
        if is_known(request, &digest) {
            return Ok(unchanged(Keep::Ever, &digest));
        }
        let place = self.in_words.clone().acquire_owned().await;
        let place = place.map_err(|_| Wrong::Busy)?;
        let most = MAX_RECORD as usize;
        let bytes = self.keeper.objects().get(&name, most).await?;
        let bytes = bytes.ok_or(Wrong::NotFound)?;
        let instance = self.keeper.instance().clone();
        let said = tokio::task::spawn_blocking(move || {
            let _place = place;
            messages::of(&instance, &bytes)
        });
        let said = said.await.ok().flatten().ok_or(Wrong::NotFound)?;
        let bytes = Bytes::from(format!("{said}\n"));
        Ok(whole(JSON, Keep::Ever, Some(&digest), bytes))
    }

    async fn subscribe(&self, request: &Request<Incoming>) -> Result<Response<Body>, Wrong> {
        let kind = "text/event-stream";
        if request.method() == Method::HEAD {
            return Ok(with(
                Full::default().map_err(never).boxed_unsync(),
                kind,
                Keep::Never,
                None,
            ));
        }
        let place = self.events.clone().try_acquire_owned();
        let place = place.map_err(|_| Wrong::Busy)?;
        let last = request
            .headers()
            .get(HeaderName::from_static("last-event-id"));
        let last = last.and_then(|last| last.to_str().ok());
        let events = events::subscribe(&self.keeper, last, place).await;
        let frames = events.map(|event| Ok(Frame::data(event)));
        let body = StreamBody::new(frames).boxed_unsync();
        Ok(with(body, kind, Keep::Never, None))
    }
}

fn parse(path: &str) -> Result<Name, Wrong> {
    Name::parse(path).map_err(|wrong| match wrong {
        NotAName::Unknown => Wrong::NotFound,
        NotAName::Malformed => Wrong::Malformed(
            "index/EPOCH/PAGE, records/EPOCH/NUMBER-DIGEST or credentials/BUNDLE-CREDENTIAL, all digits written out, would be right\n",
        ),
    })
}

fn etag(bytes: &[u8]) -> Digest {
    domain_digest("zipnet/archive/etag/v1", bytes)
}

/// Whether the caller has it, by its own word.
fn is_known(request: &Request<Incoming>, digest: &Digest) -> bool {
    let tags = request.headers().get_all(IF_NONE_MATCH).iter();
    let mut tags = tags
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tags.any(|tag| {
        let tag = tag.trim();
        let strong = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*"
            || strong
                .strip_prefix('"')
                .and_then(|tag| tag.strip_suffix('"'))
                == Some(&digest.to_string())
    })
}

fn text(
    request: &Request<Incoming>,
    kind: &'static str,
    keep: Keep,
    bytes: Bytes,
) -> Response<Body> {
    let digest = etag(&bytes);
    if is_known(request, &digest) {
        unchanged(keep, &digest)
    } else {
        whole(kind, keep, Some(&digest), bytes)
    }
}

fn unchanged(keep: Keep, digest: &Digest) -> Response<Body> {
    let mut response = with(
        Full::default().map_err(never).boxed_unsync(),
        TEXT,
        keep,
        Some(digest),
    );
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

fn whole(kind: &'static str, keep: Keep, digest: Option<&Digest>, bytes: Bytes) -> Response<Body> {
    with(
        Full::new(bytes).map_err(never).boxed_unsync(),
        kind,
        keep,
        digest,
    )
}

fn with(body: Body, kind: &'static str, keep: Keep, digest: Option<&Digest>) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(keep.header()));
    let tag = digest.and_then(|digest| HeaderValue::from_str(&format!("\"{digest}\"")).ok());
    if let Some(tag) = tag {
        headers.insert(ETAG, tag);
    }
    response
}

fn set_length(response: &mut Response<Body>, length: u64) {
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
}

fn never(never: Infallible) -> object_store::Error {
    match never {}
}

fn refuse(wrong: &Wrong) -> Response<Body> {
    let (status, said) = match wrong {
        Wrong::Method => (
            StatusCode::METHOD_NOT_ALLOWED,
            "GET or HEAD would be right\n",
        ),
        Wrong::NotFound => (
            StatusCode::NOT_FOUND,
            "There is no such file; what there is, /head and the index say\n",
        ),
        Wrong::Malformed(text) => (StatusCode::BAD_REQUEST, *text),
        Wrong::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many listen to events\n",
        ),
        Wrong::Store(error) => {
            tracing::warn!(because = %zipnet::report::chain(error), "archive: a file could not be served");
            (
                StatusCode::BAD_GATEWAY,
                "The archive's store does not answer\n",
            )
        }
    };
    let mut response = whole(TEXT, Keep::Never, None, Bytes::from_static(said.as_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    match wrong {
        Wrong::Method => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        Wrong::Busy | Wrong::Store(_) => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        Wrong::NotFound | Wrong::Malformed(_) => {}
    }
    response
}
