//! What is answered about quotes and evidence, to people and as JSON.

use crate::{Genuine, Quote, Refusal};
use serde_json::{Map, Value, json};

use crate::cli::{causes, say};

/// Prints why something is refused.
pub fn say_refusal(refusal: &Refusal, json: bool) {
    if json {
        say(&refused(refusal).to_string());
        return;
    }
    say(&format!("refused: {refusal}"));
    for cause in causes(refusal) {
        say(&format!("because: {cause}"));
    }
}

fn refused(refusal: &Refusal) -> Value {
    json!({
        "verdict": "refuse",
        "rule": refusal.rule().to_string(),
        "found": refusal.found(),
        "expected": refusal.expected(),
        "because": causes(refusal),
        "tcb_status": null,
        "advisories": [],
    })
}

/// A machine, by its platform instance id.
pub fn machine(id: Option<[u8; 16]>) -> String {
    id.map_or_else(|| "none in its certificate".to_owned(), hex::encode)
}

/// Prints what a genuine quote says, and whether its platform is refused.
pub fn say_found(found: &Genuine, refusal: Option<&Refusal>, json: bool) {
    if !json {
        if let Some(refusal) = refusal {
            say_refusal(refusal, false);
        } else {
            say("accepted: the quote is genuine and the platform's TCB is in order");
        }
        say(&format!("  tcb status  {:?}", found.status()));
        say(&format!("  advisories  {}", found.advisories().join(", ")));
        say(&format!("  evaluation  {}", found.evaluation()));
        say(&format!(
            "       fmspc  {}",
            hex::encode_upper(found.fmspc())
        ));
        say(&format!(
            "    platform  {}",
            machine(found.platform_instance())
        ));
        let registers = &found.quote().report.registers;
        say(&format!("        mrtd  {}", hex::encode(registers.mrtd)));
        for (number, rtmr) in registers.rtmr.iter().enumerate() {
            say(&format!("       rtmr{number}  {}", hex::encode(rtmr)));
        }
        return;
    }
    let mut answer = refusal.map_or_else(|| json!({ "verdict": "accept", "rule": null }), refused);
    if let Some(answer) = answer.as_object_mut() {
        add_platform(answer, found);
    }
    say(&answer.to_string());
}

/// Without collateral there is no verdict.
pub fn say_undecided(json: bool) {
    if json {
        say(&json!({ "verdict": "undecided", "rule": null }).to_string());
    } else {
        say("undecided: without --collateral nobody can tell a genuine quote from a made-up one");
    }
}

/// Adds what a genuine quote says, and how Intel rates its platform.
pub fn add_platform(answer: &mut Map<String, Value>, found: &Genuine) {
    let status = format!("{:?}", found.status());
    answer.insert("tcb_status".to_owned(), status.into());
    answer.insert("advisories".to_owned(), found.advisories().into());
    answer.insert("tcb_evaluation".to_owned(), found.evaluation().into());
    let platform = found.platform_instance().map(hex::encode);
    answer.insert("platform".to_owned(), platform.into());
    answer.insert("fmspc".to_owned(), hex::encode_upper(found.fmspc()).into());
    answer.extend(fields(found.quote()));
}

/// The fields of a quote by their names.
pub fn fields(quote: &Quote) -> Map<String, Value> {
    let report = &quote.report;
    let [rtmr0, rtmr1, rtmr2, rtmr3] = &report.registers.rtmr;
    let fields = json!({
        "version": quote.version,
        "length": quote.length,
        "mrtd": hex::encode(report.registers.mrtd),
        "rtmr0": hex::encode(rtmr0),
        "rtmr1": hex::encode(rtmr1),
        "rtmr2": hex::encode(rtmr2),
        "rtmr3": hex::encode(rtmr3),
        "report_data": hex::encode(report.report_data),
        "td_attributes": hex::encode(report.td_attributes),
        "xfam": hex::encode(report.xfam),
        "mr_config_id": hex::encode(report.mr_config_id),
        "mr_owner": hex::encode(report.mr_owner),
        "mr_owner_config": hex::encode(report.mr_owner_config),
        "mr_service_td": report.mr_service_td.map(hex::encode),
        "mr_seam": hex::encode(report.mr_seam),
        "mr_signer_seam": hex::encode(report.mr_signer_seam),
        "seam_attributes": hex::encode(report.seam_attributes),
        "tee_tcb_svn": hex::encode(report.tee_tcb_svn),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Prints fields for people, one a line.
pub fn say_fields(fields: &Map<String, Value>) {
    for (name, value) in fields {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), ToOwned::to_owned);
        say(&format!("{name:>16}  {value}"));
    }
}
