//! The log, on standard error: as text or as JSON.
//!
//! What the libraries below say about an internet that is not there is counted, and told
//! once and shortly: iroh writes a kilobyte at every attempt.

use core::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde_json::json;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::FilterFn,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use zipnet::settings::RelaySetting;

use crate::{args::NodeArgs, process::Failure};

/// The log filter unless `RUST_LOG` says otherwise.
pub const DEFAULT_LOG: &str = "info,zipnet_node=info,mosaik=warn";

/// What the libraries below say about things that are none of an operator's
/// business: duplicate dials that lost, relay connections that ended.
const QUIET: &str = "iroh::protocol=error,iroh::socket=warn,iroh_relay=error";

/// Who tells of an internet that is not there, and of nothing else.
const OF_THE_INTERNET: [&str; 5] = [
    "iroh::address_lookup",
    "iroh::net_report",
    "iroh_dns",
    "mosaik::discovery::dht",
    "pkarr",
];
/// What does not work then, and what does.
const NO_INTERNET: &str = "iroh's directory in the internet is not reached: this node is not found, and finds nobody, \
     by a peer id alone. Bootstrap peers with an address, and whomever they tell of, are reached as ever. \
     RUST_LOG=debug shows each attempt";
/// How often it is looked whether there is something to tell.
const TICK: Duration = Duration::from_secs(1);

/// What was counted and not shown.
static UNSEEN: AtomicU64 = AtomicU64::new(0);
/// Whether all of it is shown.
static SHOWN: AtomicBool = AtomicBool::new(false);
/// Whether the internet is meant to be there.
static MEANT: AtomicBool = AtomicBool::new(false);
/// Whether the log is JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The log filter.
#[derive(Debug, thiserror::Error)]
#[error("RUST_LOG is no log filter; something like `{DEFAULT_LOG}` would be right")]
struct FilterError(#[source] tracing_subscriber::filter::ParseError);

/// Starts the log. How the process is to reach a relay says whether the internet is
/// meant to be there.
///
/// # Errors
/// [`Failure::Usage`] if `RUST_LOG` is no filter.
pub fn start(node: &NodeArgs) -> Result<(), Failure> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text),
        _ => EnvFilter::try_new(format!("{DEFAULT_LOG},{QUIET}")),
    }
    .map_err(|error| Failure::usage(FilterError(error)))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match node.log_format {
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal() && !no_color())
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    MEANT.store(node.relay == RelaySetting::Default, Ordering::Relaxed);
    JSON.store(node.log_format == LogFormat::Json, Ordering::Relaxed);
    let shown = FilterFn::new(|of| SHOWN.load(Ordering::Relaxed) || !is_of_the_internet(of));
    tracing_subscriber::registry()
        .with(filter)
        .with(Unseen)
        .with(lines.with_filter(shown))
        .init();
    // Whoever asks for details gets them.
    let detailed = tracing::enabled!(target: "iroh::address_lookup", Level::DEBUG);
    SHOWN.store(detailed, Ordering::Relaxed);
    Ok(())
}

/// <https://no-color.org>: set and not empty.
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Whether something is said about the internet, and nothing that an operator could mend
/// in this process.
fn is_of_the_internet(of: &Metadata<'_>) -> bool {
    *of.level() <= Level::WARN
        && OF_THE_INTERNET.iter().any(|target| {
            let rest = of.target().strip_prefix(target);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })
}

/// Counts what is not shown. It says nothing itself: whoever logs while something is
/// logged loses lines.
struct Unseen;

impl<S: Subscriber> Layer<S> for Unseen {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if is_of_the_internet(event.metadata()) {
            UNSEEN.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Tells, once, that the internet is not reached.
pub(crate) async fn tell_of_the_internet() {
    if SHOWN.load(Ordering::Relaxed) {
        return;
    }
    while UNSEEN.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(TICK).await;
    }
    if MEANT.load(Ordering::Relaxed) {
        tracing::warn!("{NO_INTERNET}");
    } else {
        tracing::info!("{NO_INTERNET}");
    }
}

/// Says why the process ends, in the format of the log.
pub(crate) fn last_word(why: &str) {
    let line = if JSON.load(Ordering::Relaxed) {
        json!({"level": "ERROR", "message": format!("error: {why}")}).to_string()
    } else {
        format!("error: {why}")
    };
    let _ = writeln!(std::io::stderr(), "{line}");
}
