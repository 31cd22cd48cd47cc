//! `make attack`: runs the attacks of the review and prints what they learnt.

use std::{env, process::ExitCode, time::Instant};

use zipnet_tests::attacks::{ALPHA, ATTACKS, Form, run};

fn main() -> ExitCode {
    let mut form = Form::Long;
    let mut wanted = Vec::new();
    for word in env::args().skip(1) {
        match word.as_str() {
            "--short" => form = Form::Short,
            name => wanted.push(name.to_uppercase()),
        }
    }
    println!(
        "Each attack runs against the rule of release 0.1.0 and against the rules as they are. p is the\n\
         chance that a uniform guess among the honest participants that stayed does as well; below {ALPHA:e}\n\
         the attack has won.\n"
    );
    let mut problems = Vec::new();
    for (name, attack) in ATTACKS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let started = Instant::now();
        let row = run(*attack, form);
        println!("{row}     {:.1} s\n", started.elapsed().as_secs_f64());
        problems.extend(row.problem());
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
