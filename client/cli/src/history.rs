//! Reading an archive in a program: in a thread of its own, since its calls block.

use core::time::Duration;

use tokio::sync::mpsc;
use zipnet::{report::chain, settings};
use zipnet_history::read::{AddressError, From, History, Item, ReadError, ReadSettings};
use zipnet_protocol::RoundParams;

use crate::{args::TrustArgs, attestation::AttestationArgs, process::Failure};

/// How often the archive is asked whether there is more.
const POLL: Duration = Duration::from_secs(1);
/// How soon an archive is asked again that did not answer as it should.
const AGAIN: Duration = Duration::from_secs(5);
/// Items that wait to be shown.
const INBOX: usize = 16;

/// History cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Everything could be made up.
    #[error(
        "ZIPNET_COMMITTEE is not set: an archive is not believed, and could make up a committee; the committee key, as servers log it, would be right"
    )]
    Committee,
    /// The address.
    #[error("ZIPNET_ARCHIVE cannot be read from")]
    Address(#[source] AddressError),
    /// The archive.
    #[error("The archive named by ZIPNET_ARCHIVE cannot be read")]
    Read(#[source] ReadError),
}

/// Begins to read an archive. With `once`, items end when all was yielded that it has.
///
/// # Errors
/// [`Failure::Usage`].
pub fn read(
    archive: &str,
    from: Option<From>,
    once: bool,
    name: zipnet_protocol::InstanceName,
    (trust, attestation): (&TrustArgs, &AttestationArgs),
    params: RoundParams,
) -> Result<mpsc::Receiver<Result<Item, HistoryError>>, Failure> {
    let authority = attestation.authority()?;
    let trust = trust.trust(name.clone(), authority.clone());
    let committee = trust.committee;
    let committee = committee.ok_or_else(|| Failure::usage(HistoryError::Committee))?;
    let settings = ReadSettings {
        archive: archive.to_owned(),
        instance: settings::instance(name, committee, authority.as_deref()),
        trust,
        params,
        from: from.unwrap_or(From::Now),
    };
    let history = History::new(settings);
    let history = history.map_err(|error| Failure::usage(HistoryError::Address(error)))?;
    let (items, shown) = mpsc::channel(INBOX);
    tokio::task::spawn_blocking(move || run(history, once, &items));
    Ok(shown)
}

fn run(mut history: History, once: bool, items: &mpsc::Sender<Result<Item, HistoryError>>) {
    loop {
        let item = match history.item() {
            Ok(Some(item)) => Ok(item),
            Ok(None) if once => return,
            Ok(None) => {
                std::thread::sleep(POLL);
                if items.is_closed() {
                    return;
                }
                continue;
            }
            Err(error) => {
                let hopeless = matches!(error, ReadError::Instance { .. });
                if !once && !hopeless {
                    tracing::warn!(because = %chain(&error), "the archive does not answer as it should; it is asked again");
                    std::thread::sleep(AGAIN);
                    if items.is_closed() {
                        return;
                    }
                    continue;
                }
                Err(HistoryError::Read(error))
            }
        };
        let last = item.is_err();
        if items.blocking_send(item).is_err() || last {
            return;
        }
    }
}
