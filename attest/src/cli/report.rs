//! `report`: a page for people that says what `verify` found.

use std::path::PathBuf;

use crate::{Quote, Refusal, TrustRoot};
use clap::Args;

use crate::cli::{
    FileError, Outcome, causes,
    checks::{Ended, Group},
    files,
    html::Html,
    say,
    sections::{inputs, measurements, unsaid, windows},
    values::{digest, iso},
    verify::{self, Case, Verdict},
};

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    inputs: verify::Inputs,
    /// File to write the page to [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Opening of every page. Nothing but its own style may be loaded or run.
const HEAD: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
    "<meta http-equiv=\"Content-Security-Policy\" ",
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<title>Verdict on a TD quote</title>\n<style>\n",
    include_str!("report.css"),
    "</style>\n</head>\n<body>\n"
);

pub fn run(arguments: &Arguments) -> Result<Outcome, FileError> {
    let case = verify::judge(&arguments.inputs.quote, &arguments.inputs.how)?;
    let page = page(&arguments.inputs, &case);
    let outcome = case.verdict.outcome();
    match &arguments.out {
        Some(path) => {
            files::write(path, &page)?;
            let word = match outcome {
                Outcome::Verified => "accepted",
                Outcome::Refused => "refused",
                Outcome::Undecided => "undecided",
            };
            say(&format!("{word}: see {}", path.display()));
        }
        None => files::put(&page)?,
    }
    Ok(outcome)
}

/// The page.
fn page(arguments: &verify::Inputs, case: &Case) -> Vec<u8> {
    let mut html = Html::new();
    html.markup(HEAD);
    verdict(&mut html, arguments, case);
    if let Some(refusal) = case.verdict.refusal() {
        refused(&mut html, refusal);
    }
    checks(&mut html, arguments, case);
    measurements(&mut html, case);
    windows(&mut html, case);
    unsaid(&mut html, case);
    html.around(
        "<p class=\"note\">Written by zipnet-attest ",
        env!("CARGO_PKG_VERSION"),
        ".</p>\n</body>\n</html>\n",
    );
    html.into_bytes()
}

fn verdict(html: &mut Html, arguments: &verify::Inputs, case: &Case) {
    match &case.verdict {
        Verdict::Undecided => html.markup(
            "<header>\n<h1 class=\"open\">Undecided: without collateral nobody can tell a genuine \
             quote from a made-up one.</h1>\n",
        ),
        Verdict::Genuine(_, found, None) => html
            .markup("<header class=\"good\">\n<h1 class=\"passed\">Accepted: the quote is genuine, and its platform's TCB status is ")
            .around("", &format!("{:?}", found.status()), ", which the arguments accept.</h1>\n"),
        Verdict::Genuine(_, _, Some(refusal)) => html
            .markup("<header class=\"bad\">\n<h1 class=\"refused\">Refused: the quote is genuine, but ")
            .around("", &refusal.rule().to_string(), " is broken: “")
            .around("", refusal.rule().title(), ".”</h1>\n"),
        Verdict::Collateral(refusal) | Verdict::Quote(_, refusal) => html
            .around("<header class=\"bad\">\n<h1 class=\"refused\">Refused: ", &refusal.rule().to_string(), " is broken: “")
            .around("", refusal.rule().title(), ".”</h1>\n"),
    };
    html.around("<p>Judged for ", &iso(case.now), "").around(
        " (unix ",
        &case.now.to_string(),
        ").</p>\n",
    );
    match &case.root {
        TrustRoot::Intel => {
            html.markup("<p>Trust root: Intel's SGX root CA, built in.</p>\n");
        }
        TrustRoot::Other(der) => {
            html.around("<p>Trust root: the certificate in <code>", &arguments.how.root, "</code>")
                .around(" (SHA-256 <code>", &digest(der), "</code>), <strong>not the built-in root of Intel</strong>. Whoever has its key can make any quote.</p>\n");
        }
    }
    html.markup("</header>\n");
}

fn refused(html: &mut Html, refusal: &Refusal) {
    html.around("<h2>Why: ", &refusal.rule().to_string(), "</h2>\n")
        .around(
            "<p>The rule: “",
            refusal.rule().title(),
            ".” It is broken.</p>\n",
        )
        .around(
            "<div class=\"sides\">\n<div><p class=\"soft\">Found</p><code>",
            refusal.found(),
            "</code></div>\n",
        )
        .around(
            "<div><p class=\"soft\">Expected</p><code>",
            refusal.expected(),
            "</code></div>\n</div>\n",
        );
    let causes = causes(refusal);
    if !causes.is_empty() {
        html.markup("<p class=\"soft\">Because, nearest first:</p>\n<ol>\n");
        for cause in &causes {
            html.around("<li><code>", cause, "</code></li>\n");
        }
        html.markup("</ol>\n");
    }
}

fn checks(html: &mut Html, arguments: &verify::Inputs, case: &Case) {
    html.markup(
        "<h2>Checks</h2>\n<table class=\"checks\">\n<caption>In the order in which they run; the \
         first that refuses ends it.</caption>\n<thead><tr><th>Check</th><th>Looked at</th>\
         <th>Outcome</th></tr></thead>\n<tbody>\n",
    );
    let quote = Quote::parse(&case.quote).ok();
    let broken = case.verdict.refusal().map(Refusal::rule);
    for group in Group::ALL {
        let ended = group.ended(&case.verdict);
        html.around("<tr><td><strong>", group.title(), "</strong><ul>");
        for rule in group.rules() {
            let start = if broken == Some(rule) {
                "<li class=\"broken\">"
            } else {
                "<li>"
            };
            html.markup(start)
                .around("<span class=\"name\">", &rule.to_string(), "</span> ")
                .around("", rule.title(), "</li>");
        }
        html.markup("</ul></td>\n<td><dl>");
        for (name, value) in inputs(group, arguments, case, quote.as_ref()) {
            html.around("<dt>", name, "</dt>");
            if value.len() > 8 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                html.around("<dd><code>", &value, "</code></dd>");
            } else {
                html.around("<dd>", &value, "</dd>");
            }
        }
        html.markup("</dl></td>\n<td>").markup(match ended {
            Ended::Passed => "<span class=\"outcome passed\">✓ passed</span>",
            Ended::Refused => "<span class=\"outcome refused\">✗ refused</span>",
            Ended::NotReached => "<span class=\"outcome open\">– not reached</span>",
            Ended::NotTold => {
                "<span class=\"outcome open\">? not known</span> <span class=\"soft\">the refusal does not \
                 tell whether this ran before it</span>"
            }
        });
        html.markup("</td></tr>\n");
    }
    html.markup("</tbody>\n</table>\n");
}
