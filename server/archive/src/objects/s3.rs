//! A bucket of an S3-compatible store, spoken to by the HTTP client that the workspace has.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use object_store::{
    ClientOptions,
    aws::{AmazonS3, AmazonS3Builder},
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use ureq::{Agent, http};

use zipnet_history::record::MAX_RECORD;

/// How long one request may take, from the look-up of the name to the last byte.
const PATIENCE: Duration = Duration::from_mins(1);

/// A bucket, with the keys, region and endpoint that the environment names as every tool for
/// such stores takes them (`AWS_*`).
pub fn open(bucket: &str) -> object_store::Result<AmazonS3> {
    AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_http_connector(Connector)
        .build()
}

#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("zipnet-archive/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(HttpClient::new(Service(Arc::new(agent))))
    }
}

#[derive(Debug)]
struct Service(Arc<Agent>);

impl HttpService for Service {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let agent = self.0.clone();
            let call = move || ask(&agent, http::Request::from_parts(head, body));
            let joined = tokio::task::spawn_blocking(call).await;
            joined.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?
        })
    }
}

fn ask(agent: &Agent, request: http::Request<Bytes>) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = request.into_parts();
    // ureq sets both by itself.
    head.headers.remove(http::header::HOST);
    head.headers.remove(http::header::CONTENT_LENGTH);
    let request = http::Request::from_parts(head, body.to_vec());
    let (head, mut body) = agent.run(request).map_err(failed)?.into_parts();
    let most = u64::from(MAX_RECORD);
    let bytes = body.with_config().limit(most).read_to_vec();
    let body = HttpResponseBody::from(bytes.map_err(failed)?);
    Ok(HttpResponse::from_parts(head, body))
}

fn failed(error: ureq::Error) -> HttpError {
    let kind = match &error {
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => HttpErrorKind::Connect,
        ureq::Error::Io(_) => HttpErrorKind::Interrupted,
        ureq::Error::BodyExceedsLimit(_) => HttpErrorKind::Decode,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
