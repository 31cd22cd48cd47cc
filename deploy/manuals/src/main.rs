//! Writes man pages and shell completions of every program that ships into a
//! folder, as packages install them.
//!
//! They are made of the very commands that the programs parse their arguments
//! with, so that neither says what the other does not. A new program is one row
//! of [`programs`].

mod page;

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Command;
use clap_complete::{Shell, generate};

use page::{Notes, Section};

/// What is written about one program.
struct Program {
    command: Command,
    section: Section,
    notes: Notes<'static>,
}

/// Every program that a package holds.
fn programs() -> Vec<Program> {
    let server = Notes {
        exit: page::ONE_LINE,
        files: page::SERVER_FILES,
        see_also: &[
            "zipnet-aggregator(8)",
            "zipnet-attest(1)",
            "systemd.exec(5)",
        ],
    };
    let aggregator = Notes {
        exit: page::ONE_LINE,
        files: page::AGGREGATOR_FILES,
        see_also: &["zipnet-server(8)", "systemd.exec(5)"],
    };
    let client = Notes {
        exit: page::ONE_LINE,
        files: page::READER_FILES,
        see_also: &["zipnet-server(8)", "zipnet-attest(1)"],
    };
    let archive = Notes {
        exit: page::ONE_LINE,
        files: &[],
        see_also: &["zipnet-client(1)", "zipnet-server(8)"],
    };
    let attest = Notes {
        exit: "",
        files: &[],
        see_also: &["zipnet-measure(1)", "zipnet-client(1)", "minisign(1)"],
    };
    let measure = Notes {
        exit: "",
        files: &[],
        see_also: &["zipnet-attest(1)"],
    };
    let host = Notes {
        exit: "0 if all is as asked, 1 after a failure or if the host is not fit, 2 if an argument is refused.",
        files: page::HOST_FILES,
        see_also: &["zipnet-server(8)", "zipnet-attest(1)", "zipnet-measure(1)"],
    };
    let row = |command, section, notes| Program {
        command,
        section,
        notes,
    };
    vec![
        row(zipnet_server::cli::server(), Section::Daemon, server),
        row(
            zipnet_server::cli::aggregator(),
            Section::Daemon,
            aggregator,
        ),
        row(zipnet_archive::cli::command(), Section::Daemon, archive),
        row(zipnet_cli::client::command(), Section::User, client),
        row(zipnet_attest::cli::command(), Section::User, attest),
        row(zipnet_measurements::cli::command(), Section::User, measure),
        row(zipnet_host::command(), Section::Daemon, host),
    ]
}

/// Why nothing, or not all, was written.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("A folder to write into is missing; `zipnet-manuals DIR` would be right")]
    Usage,
    #[error("Could not write {path}; a folder with room that this user may write into would be right", path = .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let outcome = match (arguments.next(), arguments.next()) {
        (Some(folder), None) => write_all(Path::new(&folder)),
        _ => Err(Failure::Usage),
    };
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "error: {failure}");
    match failure {
        Failure::Usage => ExitCode::from(2),
        Failure::Write { source, .. } => {
            let _ = writeln!(err, "because: {source}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(folder: &Path) -> Result<(), Failure> {
    for program in programs() {
        let name = program.command.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            generate(shell, &mut program.command.clone(), &name, &mut script);
            write(&folder.join(place(shell, &name)), &script)?;
        }
        for (name, page) in page::pages(program.command, program.section, &program.notes) {
            let section = program.section.number();
            let path = format!("usr/share/man/man{section}/{name}.{section}");
            write(&folder.join(path), page.as_bytes())?;
        }
    }
    Ok(())
}

/// Where Debian's shells look.
fn place(shell: Shell, name: &str) -> String {
    match shell {
        Shell::Zsh => format!("usr/share/zsh/vendor-completions/_{name}"),
        Shell::Fish => format!("usr/share/fish/vendor_completions.d/{name}.fish"),
        _ => format!("usr/share/bash-completion/completions/{name}"),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |source| Failure::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, bytes).map_err(failed)
}
