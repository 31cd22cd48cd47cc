//! From `main` to exit status.

use core::{error::Error, future::Future, net::SocketAddr};
use std::{io::Write as _, process::ExitCode};

use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zipnet::{health::Health, report};
use zipnet_protocol::InstanceName;

use crate::{args::NodeArgs, log, metrics};

/// Why a process ends before its time.
#[derive(Debug)]
pub enum Failure {
    /// A setting: exit status 2.
    Usage(Box<dyn Error + Send + Sync>),
    /// Anything else: exit status 1.
    Runtime(Box<dyn Error + Send + Sync>),
}

impl Failure {
    /// A refused setting.
    pub fn usage(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Usage(Box::new(error))
    }

    /// A failure at run time.
    pub fn runtime(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Runtime(Box::new(error))
    }
}

/// The runtime or the signal handlers did not start.
#[derive(Debug, thiserror::Error)]
#[error("Could not start the process's {what}")]
struct StartError {
    what: &'static str,
    #[source]
    source: std::io::Error,
}

/// Parses the arguments, starts logging and a runtime, and runs `body` until
/// it ends or a signal cancels its token. A second signal ends the process at
/// once.
pub fn main_with<A, F, Fut>(node: fn(&A) -> &NodeArgs, body: F) -> ExitCode
where
    A: Parser,
    F: FnOnce(A, CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    finish(A::try_parse(), |args| {
        log::start(node(&args)).and_then(|()| run(args, body))
    })
}

/// Runs a verb that needs no runtime and no log, if it is the first argument.
pub fn verb<A: Parser>(
    name: &str,
    body: impl FnOnce(A) -> Result<(), Failure>,
) -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    if arguments.next()? != name {
        return None;
    }
    let rest = std::iter::once(program).chain(arguments);
    Some(finish(A::try_parse_from(rest), body))
}

fn finish<A>(
    parsed: Result<A, clap::Error>,
    body: impl FnOnce(A) -> Result<(), Failure>,
) -> ExitCode {
    let outcome = match parsed {
        Ok(args) => body(args),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(&one_line(&error));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            log::last_word(&report::chain(&*error));
            ExitCode::from(2)
        }
        Err(Failure::Runtime(error)) => {
            log::last_word(&report::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run<A, F, Fut>(args: A, body: F) -> Result<(), Failure>
where
    F: FnOnce(A, CancellationToken) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    // A panic in one task must not leave a process that is half alive, in no
    // profile: what ships aborts by itself.
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default_hook(panic);
        std::process::abort();
    }));
    let runtime = tokio::runtime::Runtime::new().map_err(|source| {
        Failure::runtime(StartError {
            what: "runtime",
            source,
        })
    })?;
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        watch_signals(&stop).map_err(Failure::runtime)?;
        tokio::spawn(log::tell_of_the_internet());
        body(args, stop).await
    });
    // The process ends now, and the runtime is not ended before it: a pending read of
    // standard input would keep it for ever, and endpoints that are still on their way
    // would be dropped instead of closed.
    core::mem::forget(runtime);
    outcome
}

fn watch_signals(stop: &CancellationToken) -> Result<(), StartError> {
    let listen = |kind| {
        signal(kind).map_err(|source| StartError {
            what: "signal handlers",
            source,
        })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(1);
            }
            stop.cancel();
        }
    });
    Ok(())
}

/// Serves metrics, and how the process is, if an address is set.
///
/// # Errors
/// [`Failure::Runtime`] if it cannot be bound.
pub fn start_metrics(
    address: Option<SocketAddr>,
    instance: &InstanceName,
    health: &Health,
) -> Result<(), Failure> {
    match address {
        Some(address) => {
            metrics::serve(address, instance, health.clone()).map_err(Failure::runtime)
        }
        None => Ok(()),
    }
}

fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// clap's message in one line, with the variable that the flag stands for.
fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let message: Vec<_> = rendered
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let message = message.join(" ");
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => format!("{message} (variable {})", variable(arg)),
        Some(ContextValue::Strings(args)) => {
            let variables: Vec<_> = args.iter().map(|arg| variable(arg)).collect();
            format!("{message} (variables {})", variables.join(", "))
        }
        _ => message,
    }
}

/// `--round-period <DURATION>` is `ZIPNET_ROUND_PERIOD`.
fn variable(arg: &str) -> String {
    let flag = arg
        .split([' ', '='])
        .next()
        .unwrap_or(arg)
        .trim_start_matches('-');
    format!("ZIPNET_{}", flag.replace('-', "_").to_uppercase())
}
