//! What a report shows of the files, beside the verdict.

use crate::{Collateral, Genuine, Quote, TrustRoot, collateral::Window};

use crate::cli::{
    checks::{Ended, Group},
    html::Html,
    values::{digest, iso},
    verify::{self, Case},
};

type Rows = Vec<(&'static str, String)>;

/// What a group of checks looked at.
pub fn inputs(
    group: Group,
    arguments: &verify::Inputs,
    case: &Case,
    quote: Option<&Quote>,
) -> Rows {
    let collateral = case.verdict.collateral();
    let found = case.verdict.genuine();
    let svn = |of: fn(&Quote) -> u16| quote.map(|quote| of(quote).to_string());
    let rows = match group {
        Group::Collateral => match (&arguments.how.collateral, &case.collateral) {
            (Some(path), Some(bytes)) => file(&path.display().to_string(), bytes),
            _ => vec![("file", Some("none".to_owned()))],
        },
        Group::Form => [
            file(&arguments.quote.display().to_string(), &case.quote),
            vec![
                ("version", svn(|quote| quote.version)),
                (
                    "without padding",
                    quote.map(|quote| format!("{} bytes", quote.length)),
                ),
            ],
        ]
        .concat(),
        Group::Certificates => vec![
            ("trust root", Some(root(case))),
            ("time", Some(iso(case.now))),
            ("TCB info", collateral.map(|of| span(of.tcb_info_window()))),
            (
                "QE identity",
                collateral.map(|of| span(of.qe_identity_window())),
            ),
        ],
        Group::Enclave => vec![
            (
                "SVN of the QE, by the quote's header",
                svn(|quote| quote.qe_svn),
            ),
            ("SVN of the PCE, likewise", svn(|quote| quote.pce_svn)),
        ],
        Group::Signature => vec![("of", quote.map(|_| "header and TD report".to_owned()))],
        Group::Level => vec![
            (
                "FMSPC, by the collateral",
                collateral.map(Collateral::fmspc),
            ),
            (
                "TEE_TCB_SVN",
                quote.map(|quote| hex::encode(quote.report.tee_tcb_svn)),
            ),
            (
                "MRSEAM",
                quote.map(|quote| hex::encode(quote.report.mr_seam)),
            ),
        ],
        Group::Launch => vec![
            (
                "TDATTRIBUTES",
                quote.map(|quote| hex::encode(quote.report.td_attributes)),
            ),
            ("MRSERVICETD", quote.map(service_td)),
        ],
        Group::Root => vec![("SHA-256 of the trusted root", Some(digest(case.root.der())))],
        Group::Pce => vec![(
            "PCE id, by the collateral",
            collateral.map(|of| hex::encode(of.pce_id())),
        )],
        Group::Status => status(arguments, found),
    };
    rows.into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect()
}

fn file(name: &str, bytes: &[u8]) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("file", Some(name.to_owned())),
        ("length", Some(format!("{} bytes", bytes.len()))),
        ("SHA-256", Some(digest(bytes))),
    ]
}

fn status(
    arguments: &verify::Inputs,
    found: Option<&Genuine>,
) -> Vec<(&'static str, Option<String>)> {
    let accepted: Vec<_> = arguments
        .how
        .accept_tcb
        .iter()
        .map(|status| format!("{status:?}"))
        .collect();
    let advisories = |found: &Genuine| match found.advisories() {
        [] => "none".to_owned(),
        some => some.join(", "),
    };
    let instance = |found: &Genuine| {
        let id = found.platform_instance();
        id.map_or_else(|| "none in its certificate".to_owned(), hex::encode)
    };
    let on = |flag: bool| if flag { "on" } else { "not on" };
    let flags = |found: &Genuine| {
        let (smt, dynamic) = (on(found.smt()), on(found.dynamic_platform()));
        let cached = on(found.cached_keys());
        format!("SMT {smt}, dynamic platform {dynamic}, cached keys {cached}; any is accepted")
    };
    vec![
        ("accepted", Some(accepted.join(", "))),
        ("found", found.map(|found| format!("{:?}", found.status()))),
        ("advisories", found.map(advisories)),
        (
            "evaluation",
            found.map(|found| format!("{}; any number is accepted", found.evaluation())),
        ),
        ("FMSPC", found.map(|found| hex::encode_upper(found.fmspc()))),
        ("platform instance", found.map(instance)),
        ("flags", found.map(flags)),
    ]
}

fn root(case: &Case) -> String {
    match &case.root {
        TrustRoot::Intel => "Intel's SGX root CA".to_owned(),
        TrustRoot::Other(der) => format!("another, SHA-256 {}", digest(der)),
    }
}

fn span(window: Option<Window>) -> String {
    window.map_or_else(
        || "without dates".to_owned(),
        |window| format!("{} to {}", window.issue_date, window.next_update),
    )
}

fn service_td(quote: &Quote) -> String {
    quote.report.mr_service_td.map_or_else(
        || "no such field: a report of TDX 1.0".to_owned(),
        hex::encode,
    )
}

/// The table of measurements.
pub fn measurements(html: &mut Html, case: &Case) {
    html.markup("<h2>Measurements</h2>\n");
    let quote = match Quote::parse(&case.quote) {
        Ok(quote) => quote,
        Err(refusal) => {
            html.around(
                "<p>None: the quote does not parse (",
                &refusal.to_string(),
                ").</p>\n",
            );
            return;
        }
    };
    let genuine = case.verdict.genuine().is_some();
    html.markup("<table>\n<caption>").markup(if genuine {
        "Signed by the quoting enclave. They are shown, not compared with anything."
    } else {
        "The quote's own words. It is not accepted as genuine: rely on none of them."
    });
    html.markup("</caption>\n<tbody>\n");
    let report = &quote.report;
    let registers = &report.registers;
    let [rtmr0, rtmr1, rtmr2, rtmr3] = registers.rtmr.map(hex::encode);
    for (name, value) in [
        ("MRTD", hex::encode(registers.mrtd)),
        ("RTMR0", rtmr0),
        ("RTMR1", rtmr1),
        ("RTMR2", rtmr2),
        ("RTMR3", rtmr3),
        ("REPORTDATA", hex::encode(report.report_data)),
        ("TDATTRIBUTES", hex::encode(report.td_attributes)),
        ("XFAM", hex::encode(report.xfam)),
        ("MRCONFIGID", hex::encode(report.mr_config_id)),
        ("MROWNER", hex::encode(report.mr_owner)),
        ("MROWNERCONFIG", hex::encode(report.mr_owner_config)),
        ("MRSERVICETD", service_td(&quote)),
    ] {
        html.around("<tr><th class=\"name\">", name, "</th><td><code>")
            .around("", &value, "</code></td></tr>\n");
    }
    html.markup("</tbody>\n</table>\n");
}

/// The table of what the collateral says of its own time.
pub fn windows(html: &mut Html, case: &Case) {
    html.markup("<h2>Collateral</h2>\n");
    let Some(collateral) = case.verdict.collateral() else {
        html.markup("<p>None that decodes.</p>\n");
        return;
    };
    let verified = Group::Certificates.ended(&case.verdict) == Ended::Passed;
    html.markup("<table>\n<caption>").markup(if verified {
        "When it is in force. Its signatures were verified."
    } else {
        "When it says that it is in force. Its signatures are not known to be good."
    });
    html.markup(
        "</caption>\n<thead><tr><th>Part</th><th>Issued</th><th>Next update</th>\
         <th>At the time judged for</th></tr></thead>\n<tbody>\n",
    );
    for (name, window) in [
        ("TCB info", collateral.tcb_info_window()),
        ("QE identity", collateral.qe_identity_window()),
    ] {
        html.around("<tr><th>", name, "</th>");
        let Some(window) = window else {
            html.markup("<td>–</td><td>–</td><td>no dates</td></tr>\n");
            continue;
        };
        html.around("<td data-name=\"Issued\">", &window.issue_date, "</td>")
            .around(
                "<td data-name=\"Next update\">",
                &window.next_update,
                "</td>",
            )
            .around(
                "<td data-name=\"At that time\">",
                at(&window, case.now),
                "</td></tr>\n",
            );
    }
    html.markup("</tbody>\n</table>\n");
    if let Some(found) = case.verdict.genuine() {
        html.around(
            "<p class=\"note\">Of everything used, certificates and revocation lists included, \
             the first expires ",
            &iso(found.expires()),
            ". After that this verdict needs newer collateral, and may differ.</p>\n",
        );
    }
}

/// Where a time is in a window.
fn at(window: &Window, now: u64) -> &'static str {
    let seconds = |date: &str| {
        let time = humantime::parse_rfc3339(date).ok()?;
        let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    };
    match (seconds(&window.issue_date), seconds(&window.next_update)) {
        (Some(from), _) if now < from => "not issued yet",
        (_, Some(to)) if now > to => "expired",
        (Some(_), Some(_)) => "in force",
        _ => "no dates",
    }
}

/// What no such verdict says.
pub fn unsaid(html: &mut Html, case: &Case) {
    html.markup(
        "<h2>What this verdict does not say</h2>\n<ul>\n\
         <li><strong>Which software runs.</strong> The measurements above mean nothing until they \
         are compared with those of a release, and that release is known to be good.</li>\n\
         <li><strong>That nobody tampers with the hardware.</strong> Who holds the platform in \
         hand may extract its keys, for instance with a probe on its memory bus, and then make \
         quotes that pass every check here. Intel's rating does not cover that.</li>\n\
         <li><strong>Whose keys these are.</strong> REPORTDATA is not compared with a statement or \
         with the server that is spoken to.</li>\n\
         <li><strong>What the host set at launch.</strong> XFAM, MRCONFIGID, MROWNER and \
         MROWNERCONFIG are compared with no policy, TDATTRIBUTES only with what is never \
         safe.</li>\n\
         <li><strong>When the quote was made.</strong> A quote bears no date: it may be an old one, \
         shown again.</li>\n\
         <li><strong>Anything of another time.</strong> What Intel revokes or rates worse later is \
         seen only by verifying again with newer collateral.</li>\n",
    );
    if case.verdict.genuine().is_none() {
        html.markup(
            "<li><strong>How Intel rates the platform.</strong> Verification ended before that was \
             to be told.</li>\n",
        );
    }
    html.markup("</ul>\n");
}
