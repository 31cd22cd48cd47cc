//! `/init` of the guest. As PID 1 it is the supervisor, whatever the kernel's
//! command line passed on; else its first argument names a stage.

use std::process::ExitCode;

use zipnet_init::{
    pid1, say,
    stages::{self, Stage},
};

fn main() -> ExitCode {
    if std::process::id() == 1 {
        pid1::run();
        return ExitCode::FAILURE;
    }
    let arguments: Vec<_> = std::env::args().skip(1).take(2).collect();
    let argument = |index| arguments.get(index).map(String::as_str);
    let stage = Stage::ALL
        .into_iter()
        .find(|stage| argument(0) == Some(stage.name()));
    let Some(stage) = stage else {
        say!("error: This is PID 1 of a zipnet guest; there it starts its stages by itself");
        return ExitCode::from(2);
    };
    stages::exit_code(&stage.run(argument(1))).into()
}
