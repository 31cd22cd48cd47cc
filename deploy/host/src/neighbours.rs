//! Whether the other servers of a committee are there: one is taken down only if they
//! are.

use crate::{
    doctor::PATIENCE,
    files::{self, FileError},
    http::{HttpError, Url},
    next,
    place::{Folder, Name, Place, PlaceError},
    plan::Plan,
    seen::{Phase, Seen},
};

/// Longest word of a peer that is shown, in characters.
const MAX_WORDS: usize = 200;

/// Another server is not there, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// On this host.
    #[error(
        "The guest {name} of the same instance does not serve: it {words}; with it serving, or stopped by `zipnet-host stop`, this goes on"
    )]
    Guest {
        /// Which.
        name: Name,
        /// How it is.
        words: String,
    },
    /// Elsewhere.
    #[error("{url} answers with {status}: {words}")]
    Peer {
        /// Who.
        url: String,
        /// How.
        status: u16,
        /// What it says.
        words: String,
    },
    /// Somebody who does not answer counts as down.
    #[error("A server that does not answer may be down")]
    Silent(#[source] HttpError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The run folder.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// Looks at the other guests of this host, and asks peers elsewhere.
///
/// # Errors
/// [`NotReady`] by the first that is not.
pub fn ready(place: &Place, folder: &Folder, plan: &Plan, peers: &[Url]) -> Result<(), NotReady> {
    let instance = instance(folder, plan);
    for other in place.guests()? {
        if other.name != folder.name {
            guest_ready(&other, instance.as_deref())?;
        }
    }
    for url in peers {
        let answer = url.get(PATIENCE).map_err(NotReady::Silent)?;
        if answer.status != 200 {
            let words: String = answer.body.trim().chars().take(MAX_WORDS).collect();
            return Err(NotReady::Peer {
                url: zipnet_attest::report::plain(&url.text),
                status: answer.status,
                words: zipnet_attest::report::plain(&words),
            });
        }
    }
    Ok(())
}

fn instance(folder: &Folder, plan: &Plan) -> Option<String> {
    let settings = next::settings(folder, plan)?;
    settings.get("ZIPNET_INSTANCE").map(str::to_owned)
}

/// Two whose instance is not known count as of one.
fn guest_ready(other: &Folder, of: Option<&str>) -> Result<(), NotReady> {
    let Some(wanted) = other.read_wanted()? else {
        return Ok(());
    };
    let theirs = instance(other, &wanted.plan);
    let strangers = matches!((of, theirs.as_deref()), (Some(ours), Some(theirs)) if ours != theirs);
    if !wanted.run || strangers {
        return Ok(());
    }
    let refuse = |words: &str| {
        Err(NotReady::Guest {
            name: other.name.clone(),
            words: words.to_owned(),
        })
    };
    if other.read_journal()?.is_some() {
        return refuse("is in an upgrade, or was left in one");
    }
    let seen: Option<Seen> = files::read_state(&other.seen())?;
    match (other.alive()?, seen) {
        (None, _) => refuse("does not run, and should"),
        (Some((ran, _)), Some(seen)) if seen.generation == ran.generation => match seen.phase {
            Phase::Serving => Ok(()),
            phase => refuse(phase.words()),
        },
        (Some(_), _) => refuse("has said nothing yet"),
    }
}
