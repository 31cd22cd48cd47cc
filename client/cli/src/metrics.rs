//! The listener for Prometheus and for whoever asks how the process is.
//!
//! Strangers may reach it. What they ask for is rendered, not computed; the number of
//! connections, the size of a request and the time that one may take are bounded.

use core::{convert::Infallible, net::SocketAddr, time::Duration};
use std::{io, net::TcpListener as StdListener, sync::Arc};

use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use zipnet::{
    health::{Answer, Form, Health},
    metrics::table::{self, Kind, names},
};
use zipnet_protocol::InstanceName;

/// Connections at once; what comes beyond waits in the kernel's queue.
const CONNECTIONS: usize = 16;
/// Longest head of a request, in bytes. hyper takes none below 8 KiB.
const HEAD: usize = 8 << 10;
/// How long one connection may take. Each is for one request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often what was counted is put together, if nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be taken: the process is out of files.
const PAUSE: Duration = Duration::from_millis(200);

const LATENCY: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
const ATTEMPTS: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 64.0];

/// The exporter could not start.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address.
    #[error(
        "Could not serve metrics on {address}; a free TCP address of this machine would be right"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The recorder's settings, which do not come from an operator.
    #[error("The recorder of metrics does not build")]
    Build(#[source] BuildError),
    /// There is one already.
    #[error("This process records metrics already; one listener for each process would be right")]
    Twice,
}

/// Serves the process's metrics, and whether it is healthy and ready. Must run inside of
/// a tokio runtime.
///
/// # Errors
/// [`MetricsError`].
pub fn serve(
    address: SocketAddr,
    instance: &InstanceName,
    health: Health,
) -> Result<(), MetricsError> {
    let failed = |source| MetricsError::Listen { address, source };
    let listener = StdListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let recorder = PrometheusBuilder::new()
        .add_global_label("instance", instance.as_str())
        .set_buckets(&LATENCY)
        .and_then(|builder| {
            let attempts = Matcher::Full(names::MESSAGE_ATTEMPTS.to_owned());
            builder.set_buckets_for_metric(attempts, &ATTEMPTS)
        })
        .map_err(MetricsError::Build)?
        .build_recorder();
    let metrics = recorder.handle();
    ::metrics::set_global_recorder(Listed(recorder)).map_err(|_| MetricsError::Twice)?;
    describe();
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    let desk = Arc::new(Desk { metrics, health });
    tokio::spawn(accept(listener, desk));
    Ok(())
}

fn describe() {
    for metric in table::TABLE {
        let (name, meaning) = (metric.name, metric.meaning);
        match metric.kind {
            Kind::Counter => ::metrics::describe_counter!(name, meaning),
            Kind::Gauge => ::metrics::describe_gauge!(name, meaning),
            Kind::Histogram => ::metrics::describe_histogram!(name, meaning),
        }
    }
}

/// Records the metrics of the table, and no others.
struct Listed(PrometheusRecorder);

impl Listed {
    /// A name as it is exported: mosaik's have dots.
    fn has(name: &str, kind: Kind) -> bool {
        let found = if name.contains('.') {
            table::find(&name.replace('.', "_"))
        } else {
            table::find(name)
        };
        found.is_some_and(|metric| metric.kind == kind)
    }
}

impl Recorder for Listed {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        if Self::has(name.as_str(), Kind::Counter) {
            self.0.describe_counter(name, unit, text);
        }
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        if Self::has(name.as_str(), Kind::Gauge) {
            self.0.describe_gauge(name, unit, text);
        }
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        if Self::has(name.as_str(), Kind::Histogram) {
            self.0.describe_histogram(name, unit, text);
        }
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        if Self::has(key.name(), Kind::Counter) {
            self.0.register_counter(key, metadata)
        } else {
            Counter::noop()
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        if Self::has(key.name(), Kind::Gauge) {
            self.0.register_gauge(key, metadata)
        } else {
            Gauge::noop()
        }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        if Self::has(key.name(), Kind::Histogram) {
            self.0.register_histogram(key, metadata)
        } else {
            Histogram::noop()
        }
    }
}

struct Desk {
    metrics: PrometheusHandle,
    health: Health,
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            let _place = place;
            // Who is cut off, or sends nonsense, asks again.
            let _ = timeout(PATIENCE, answer(stream, desk)).await;
        });
    }
}

async fn answer(stream: TcpStream, desk: Arc<Desk>) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let answer = desk.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

impl Desk {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        const TEXT: &str = "text/plain; charset=utf-8";
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = say(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET it\n".into());
            let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        let accepts = request.headers().get(ACCEPT);
        let json = accepts.is_some_and(|accepts| accepts.as_bytes() == b"application/json");
        let (form, kind) = if json {
            (Form::Json, "application/json")
        } else {
            (Form::Text, TEXT)
        };
        let told = |answer: Answer| {
            let status = if answer.good {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            say(status, kind, answer.body)
        };
        match request.uri().path() {
            "/metrics" => {
                self.health.show();
                let version = "text/plain; version=0.0.4; charset=utf-8";
                say(StatusCode::OK, version, self.metrics.render())
            }
            "/healthz" => told(Answer::health(&self.health, form)),
            "/readyz" => told(Answer::readiness(&self.health, form)),
            _ => say(
                StatusCode::NOT_FOUND,
                TEXT,
                "/metrics, /healthz or /readyz would be right\n".into(),
            ),
        }
    }
}

fn say(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
