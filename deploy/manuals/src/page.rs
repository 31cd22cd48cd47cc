//! Man pages: one for a program, one for each of its verbs.

use clap::Command;
use clap_mangen::Man;

/// Where a page belongs.
#[derive(Debug, Clone, Copy)]
pub enum Section {
    /// What anybody runs.
    User,
    /// What a machine's administrator runs.
    Daemon,
}

impl Section {
    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Daemon => 8,
        }
    }
}

/// What the command itself does not say.
#[derive(Debug, Clone, Copy)]
pub struct Notes<'a> {
    /// What exit statuses mean, unless its help says so.
    pub exit: &'static str,
    /// Files that matter, and what they are.
    pub files: &'static [(&'static str, &'static str)],
    /// Other pages.
    pub see_also: &'a [&'a str],
}

/// Exit statuses of the programs that run for long.
pub const ONE_LINE: &str = "0 after a signal or at the end of its work, 1 after a failure at run time, 2 if a \
setting is refused. Either is one line on standard error.";

/// What the server's unit reads and writes.
pub const SERVER_FILES: &[(&str, &str)] = &[
    (
        "/etc/zipnet/INSTANCE/server.env",
        "Settings of zipnet-server@INSTANCE.service. Never a secret.",
    ),
    (
        "/etc/zipnet/INSTANCE/secrets/committee",
        "The committee admission secret, readable by root alone.",
    ),
    (
        "/etc/zipnet/INSTANCE/secrets/server",
        "The seed of this server's transport identity, readable by root alone.",
    ),
    (
        "/etc/zipnet/server.env",
        "Settings of all servers of this machine; those of the instance beat them.",
    ),
    (
        "/var/lib/zipnet-server/INSTANCE",
        "State (ZIPNET_STATE): the newest policy and collateral that were seen.",
    ),
];

/// What the guest's unit reads and writes.
pub const HOST_FILES: &[(&str, &str)] = &[
    (
        "/etc/zipnet/INSTANCE/guest.conf",
        "Settings of the guest. The host and everybody may read them.",
    ),
    (
        "/etc/zipnet/INSTANCE/guest.env",
        "ZIPNET_IMAGE and GUEST_ARGUMENTS of zipnet-guest@INSTANCE.service.",
    ),
    (
        "/run/zipnet",
        "State, images and consoles of this host's guests.",
    ),
];

/// What the aggregator's unit reads and writes.
pub const AGGREGATOR_FILES: &[(&str, &str)] = &[
    (
        "/etc/zipnet/INSTANCE/aggregator.env",
        "Settings of zipnet-aggregator@INSTANCE.service. Never a secret.",
    ),
    (
        "/etc/zipnet/INSTANCE/secrets/aggregator",
        "The seed of the aggregator's transport identity, readable by root alone.",
    ),
    (
        "/etc/zipnet/aggregator.env",
        "Settings of all aggregators of this machine; those of the instance beat them.",
    ),
    ("/var/lib/zipnet-aggregator/INSTANCE", "State."),
];

/// What the reader's unit reads and writes.
pub const READER_FILES: &[(&str, &str)] = &[
    (
        "/etc/zipnet/INSTANCE/reader.env",
        "Settings of zipnet-reader@INSTANCE.service, which runs `zipnet-client --json watch`.",
    ),
    (
        "/etc/zipnet/reader.env",
        "Settings of all readers of this machine; those of the instance beat them.",
    ),
    (
        "/var/log/zipnet-reader/INSTANCE.jsonl",
        "What was published, one round a line.",
    ),
];

/// The pages of a program, by name: its own, and one for each verb, however deep.
pub fn pages(mut command: Command, section: Section, notes: &Notes<'_>) -> Vec<(String, String)> {
    command = command.disable_help_subcommand(true);
    // What derives from it, such as the full names of verbs, is filled in.
    command.build();
    let program = name(&command);
    let about = format!("{program}({})", section.number());
    let mut found = vec![(program, render(&command, section, notes))];
    let verbs = Notes {
        files: &[],
        see_also: &[&about],
        ..*notes
    };
    collect(&command, section, &verbs, &mut found);
    found
}

fn collect(
    command: &Command,
    section: Section,
    notes: &Notes<'_>,
    found: &mut Vec<(String, String)>,
) {
    for verb in command.get_subcommands() {
        found.push((name(verb), render(verb, section, notes)));
        collect(verb, section, notes, found);
    }
}

/// A program's name, with its verbs behind dashes.
fn name(command: &Command) -> String {
    let shown = command.get_display_name();
    shown.unwrap_or_else(|| command.get_name()).to_owned()
}

fn render(command: &Command, section: Section, notes: &Notes<'_>) -> String {
    let man = Man::new(command.clone())
        .section(section.number().to_string())
        .source(concat!("zipnet ", env!("CARGO_PKG_VERSION")))
        .manual("zipnet");
    let mut page = Vec::new();
    // Writing into memory does not fail.
    let _ = man.render(&mut page);
    let mut page = String::from_utf8_lossy(&page).into_owned();
    if !notes.exit.is_empty() {
        page.push_str(".SH \"EXIT STATUS\"\n");
        page.push_str(&escape(notes.exit));
    }
    if !notes.files.is_empty() {
        page.push_str(".SH FILES\n");
        for (path, what) in notes.files {
            page.push_str(".TP\n.I ");
            page.push_str(&escape(path));
            page.push_str(&escape(what));
        }
    }
    if !notes.see_also.is_empty() {
        page.push_str(".SH \"SEE ALSO\"\n");
        page.push_str(&escape(&notes.see_also.join(", ")));
    }
    page
}

/// A line of text for roff.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let guard = if text.starts_with(['.', '\'']) {
        "\\&"
    } else {
        ""
    };
    format!("{guard}{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_a_page_with_what_its_program_adds() {
        let command = Command::new("mill").about("Grinds").subcommand(
            Command::new("run")
                .about("Turns")
                .subcommand(Command::new("fast")),
        );
        let notes = Notes {
            exit: "0 when empty",
            files: &[("/etc/mill", ".dots and -dashes")],
            see_also: &["miller(1)"],
        };
        let pages = pages(command, Section::Daemon, &notes);
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["mill", "mill-run", "mill-run-fast"]);
        let (program, verbs) = pages.split_first().unwrap();
        assert!(
            program.1.contains(".I /etc/mill\n\\&.dots and \\-dashes\n"),
            "{program:?}"
        );
        assert!(program.1.contains("miller(1)"), "{program:?}");
        for (_, page) in verbs {
            assert!(page.contains("0 when empty\n"), "{page}");
            assert!(page.contains("mill(8)"), "{page}");
            assert!(!page.contains("FILES"), "{page}");
        }
    }
}
