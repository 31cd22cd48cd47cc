//! A page of the operator's book, followed on the quickstart's committee while a client publishes and a
//! reader reads: what became of every line, and of every round.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    book::{self, Ran, Shell},
    process::{Failed, TestResult},
};

const QUICKSTART: &str = "operator/quickstart.md";
/// Where `one` is defined: a restart that refuses while another server is not ready.
const RESTART: &str = "operator/lifecycle/rolling-restart.md";

/// A reader, and a client that publishes lines until it is told that they are enough.
const TALK: &str = r#"
# A command that fails ends the script, and nothing else may keep its output open.
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
zipnet-client --json watch > rounds.json 2> rounds.log &
talk() { local i=0; until [ -e enough ]; do i=$((i+1)); echo "line $i" | tee -a lines; sleep 0.4; done; }
talk | zipnet-client --json chat --now > receipts.json 2> chat.log &
chat=$!
until grep -q landed receipts.json; do sleep 0.1; done
"#;
/// The client waits for its last receipt, and the reader for the round of that.
const ENOUGH: &str = r#"
touch enough
wait "$chat"
last=$(grep landed receipts.json | tail -n 1 | jq -r .record)
until grep -q "$last" rounds.json; do sleep 0.1; done
"#;

/// What a reader and a publisher saw while a page was followed.
#[derive(Debug)]
pub struct Followed {
    /// What the commands said.
    pub ran: Ran,
    folder: TempDir,
}

/// Follows commands on a committee of the quickstart that has begun to publish, and `after` when the
/// client has its last receipt. Those of the rolling restart's first block are there for them.
///
/// # Errors
/// If a page is not as expected, or a command fails.
pub fn follow(name: &str, commands: &str, after: &str) -> TestResult<Followed> {
    let start: Vec<_> = book::page(QUICKSTART)?
        .fences
        .into_iter()
        .filter(|fence| fence.test().is_some())
        .map(|fence| fence.text)
        .collect();
    let up = start.iter().position(|text| text.contains("until grep"));
    let up = up.ok_or_else(|| Failed::because("the quickstart waits for no round"))?;
    let tools = book::page(RESTART)?.fences.into_iter();
    let mut tools = tools.filter(|fence| fence.test().is_some());
    let tools = tools
        .next()
        .ok_or_else(|| Failed::because("the rolling restart begins with no command"))?;

    let mut script: String = start.into_iter().take(up + 1).collect();
    for part in [TALK, &tools.text, commands, ENOUGH, after] {
        script.push_str(part);
        script.push('\n');
    }
    let folder = tempfile::tempdir()?;
    let shell =
        Shell::new(folder.path())?.with_programs(&book::repository().join("deploy/lifecycle"));
    let ran = shell.alone().run(name, &script, Duration::from_mins(6));
    let ran = ran.inspect_err(|_| {
        // The folder goes with its logs.
        for log in ["server-1.log", "server-2.log", "server-3.log", "chat.log"] {
            let text = fs::read_to_string(folder.path().join("committee").join(log));
            let text = text.unwrap_or_default();
            let lines: Vec<_> = text.lines().rev().take(15).collect();
            println!("{log}, the last first:\n{}", lines.join("\n"));
        }
    })?;
    Ok(Followed { ran, folder })
}

/// A field of an object; null if it has none.
fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or(&Value::Null)
}

impl Followed {
    /// A file of the committee's folder.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("committee").join(name)
    }

    fn events(&self, file: &str, event: &str) -> TestResult<Vec<Value>> {
        let text = fs::read_to_string(self.file(file))?;
        let mut found = Vec::new();
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let value: Value = serde_json::from_str(line)?;
            if field(&value, "event") == event {
                found.push(value);
            }
        }
        Ok(found)
    }

    /// How many rounds were opened and are in no record: numbers that are missing between two that are not.
    ///
    /// # Errors
    /// If the committee began anew meanwhile, or a round has two records.
    pub fn lost_rounds(&self) -> TestResult<u64> {
        let rounds = self.events("rounds.json", "round")?;
        let epoch = rounds.first().map(|round| field(round, "epoch").clone());
        let mut numbers = Vec::new();
        for round in &rounds {
            if Some(field(round, "epoch")) != epoch.as_ref() {
                return Err(Failed::because(format!("another epoch: {round}")));
            }
            numbers.extend(field(round, "round").as_u64());
        }
        let mut lost = 0;
        for pair in numbers.windows(2) {
            let [before, after] = *pair else { continue };
            let step = after.checked_sub(before).filter(|step: &u64| *step > 0);
            let step = step.ok_or_else(|| Failed::because(format!("two records: {pair:?}")))?;
            lost += step - 1;
        }
        println!("{} rounds are final, {lost} lost", numbers.len());
        Ok(lost)
    }

    /// Every line has one receipt, its message is where that says, and nowhere else.
    ///
    /// # Errors
    /// If not.
    pub fn every_line_landed_once(&self) -> TestResult {
        let mut published = BTreeMap::new();
        for round in self.events("rounds.json", "round")? {
            for message in field(&round, "messages").as_array().into_iter().flatten() {
                let place = format!(
                    "{} {} {}",
                    field(&round, "record"),
                    field(&round, "round"),
                    field(message, "slot")
                );
                published.insert(
                    place,
                    field(message, "text")
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                );
            }
        }
        let receipts = self.events("receipts.json", "landed")?;
        let mut landed = Vec::new();
        for receipt in &receipts {
            let place = format!(
                "{} {} {}",
                field(receipt, "record"),
                field(receipt, "round"),
                field(receipt, "slot")
            );
            let text = published.get(&place);
            let text = text.ok_or_else(|| Failed::because(format!("in no record: {receipt}")))?;
            landed.push(text.clone());
        }
        let lines = fs::read_to_string(self.file("lines"))?;
        let mut lines: Vec<_> = lines.lines().map(str::to_owned).collect();
        println!("{} lines, {} receipts", lines.len(), landed.len());
        lines.sort();
        landed.sort();
        let mut all: Vec<_> = published.into_values().collect();
        // The page's own messages are its own matter.
        all.retain(|text| text.starts_with("line "));
        all.sort();
        if landed != lines {
            return Err(Failed::because(format!(
                "receipts of {landed:?} for the lines {lines:?}"
            )));
        }
        if all != lines {
            return Err(Failed::because(format!(
                "{all:?} was published for the lines {lines:?}"
            )));
        }
        Ok(())
    }
}
