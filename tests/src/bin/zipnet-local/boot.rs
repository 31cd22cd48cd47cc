//! `make boot`: one guest and its console.

use std::{process::Command, sync::mpsc, time::Duration};

use zipnet_tests::{
    cluster::Cluster,
    guest::{Image, POWER_OFF, WAITS, provisioned},
    process::Process,
};

use crate::{Event, LocalError, say};

/// Boots one guest, provisions it, and prints its console until it ends or is to
/// be stopped.
pub fn boot(
    cluster: &mut Cluster,
    image: &Image,
    inbox: &mpsc::Receiver<Event>,
) -> Result<(), LocalError> {
    let config = cluster.guest_config(image);
    let mut guest = cluster
        .boot(image, 0, &config)
        .map_err(LocalError::Process)?;
    say("Ctrl-C presses its power button.");
    let mut shown = 0;
    let mut show = |console: &Process| {
        for line in console.lines().since(shown) {
            shown += 1;
            say(&format!("| {}", printable(&line)));
        }
    };
    let mut given = false;
    while guest.console.ended().is_none() {
        show(&guest.console);
        if !given
            && guest
                .console
                .lines()
                .find(0, Duration::ZERO, |line| line.contains(WAITS))
                .is_some()
        {
            given = true;
            let command = guest.provisioning(cluster).map_err(LocalError::Process)?;
            say("Now from this machine:");
            say(&format!("  {}", shown_command(&command)));
            for line in provisioned(command).map_err(LocalError::Process)? {
                say(&format!("  {line}"));
            }
        }
        if let Ok(Event::Stop) = inbox.recv_timeout(Duration::from_millis(100)) {
            guest
                .console
                .terminate(POWER_OFF)
                .map_err(LocalError::Process)?;
        }
    }
    show(&guest.console);
    Ok(())
}

/// A command as one would type it.
fn shown_command(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words = words.map(|word| word.to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}

/// A line of a console without what terminals obey: firmware clears the screen.
fn printable(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    let shown = parts.fold(first, |shown, part| {
        let rest = part.split_once(|c: char| c.is_ascii_alphabetic());
        shown + rest.map_or("", |(_, rest)| rest)
    });
    shown.chars().filter(|c| !c.is_control()).collect()
}
