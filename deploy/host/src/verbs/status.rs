//! `status`: how one guest is, or all of them.

use clap::Args;

use crate::{
    files::FileError,
    output,
    place::{Name, Place, PlaceError},
    status::Status,
};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The guest's name on this host [default: all of them]
    #[arg(value_name = "NAME")]
    name: Option<Name>,
    /// Print one JSON array of objects
    #[arg(long)]
    json: bool,
}

/// No status can be told.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// There is none.
    #[error("There is no guest {0} here; `zipnet-host status` lists those that there are")]
    Unknown(Name),
    /// The run folder.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Shows how guests are.
///
/// # Errors
/// [`StatusError`].
pub fn run(place: &Place, arguments: &Arguments) -> Result<(), StatusError> {
    let folders = match &arguments.name {
        Some(name) => vec![place.guest(name)],
        None => place.guests()?,
    };
    let mut all = Vec::new();
    for folder in &folders {
        match (Status::of(folder)?, &arguments.name) {
            (Some(status), _) => all.push(status),
            (None, Some(name)) => return Err(StatusError::Unknown(name.clone())),
            // A launch that was ended before it had written down anything.
            (None, None) => {}
        }
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&all);
        output::say(&text.unwrap_or_default());
    } else if all.is_empty() {
        output::say(&format!(
            "No guest was launched here ({}).",
            place.path().display()
        ));
    } else {
        let texts: Vec<_> = all.iter().map(ToString::to_string).collect();
        output::say(texts.join("\n").trim_end());
    }
    Ok(())
}
