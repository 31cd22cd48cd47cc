//! A headless Chromium that shows a page, asked over its debugging pipe what the page is by now.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::Command,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::{Value, json};

use crate::process::{Failed, Process, TestResult};

/// How long it may take to answer; it starts with that, too.
const PATIENCE: Duration = Duration::from_mins(1);

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    _process: Process,
    requests: File,
    answers: Receiver<Value>,
    session: Option<String>,
    asked: u64,
}

impl Browser {
    /// Starts a browser, which keeps its files in a folder, and has it show a page.
    ///
    /// # Errors
    /// If it does not start, or does not answer.
    pub fn show(url: &str, folder: &Path) -> TestResult<Self> {
        std::fs::create_dir_all(folder)?;
        let (to, from) = (folder.join("to"), folder.join("from"));
        for pipe in [&to, &from] {
            mkfifo(pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
        }
        let mut command = Command::new("bash");
        // Chromium's pipe is its files 3 and 4.
        let script = r#"exec chromium --headless=new --no-sandbox --disable-gpu --remote-debugging-pipe \
            --user-data-dir="$1/profile" 3<"$1/to" 4>"$1/from""#;
        command.args(["-c", script, "browser"]).arg(folder);
        let process = Process::start("browser", command, None)?;
        // Each waits for the other end.
        let requests = File::options().write(true).open(&to)?;
        let from = BufReader::new(File::open(&from)?);
        let (answer, answers) = channel();
        thread::spawn(move || {
            let messages = from.split(0).map_while(Result::ok);
            for message in messages.filter_map(|bytes| serde_json::from_slice(&bytes).ok()) {
                if answer.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            _process: process,
            requests,
            answers,
            session: None,
            asked: 0,
        };
        let page = browser.ask("Target.createTarget", &json!({"url": url}))?;
        let target = json!({"targetId": page.get("targetId"), "flatten": true});
        let attached = browser.ask("Target.attachToTarget", &target)?;
        browser.session = attached
            .get("sessionId")
            .and_then(Value::as_str)
            .map(str::to_owned);
        Ok(browser)
    }

    /// The page as it is now, as HTML.
    ///
    /// # Errors
    /// If the browser does not answer.
    pub fn html(&mut self) -> TestResult<String> {
        let expression = json!({"expression": "document.documentElement.outerHTML"});
        let answer = self.ask("Runtime.evaluate", &expression)?;
        let html = answer.pointer("/result/value").and_then(Value::as_str);
        Ok(html.unwrap_or_default().to_owned())
    }

    fn ask(&mut self, method: &str, parameters: &Value) -> TestResult<Value> {
        self.asked += 1;
        let mut request = json!({"id": self.asked, "method": method, "params": parameters});
        if let (Some(session), Some(request)) = (&self.session, request.as_object_mut()) {
            request.insert("sessionId".to_owned(), session.as_str().into());
        }
        write!(self.requests, "{request}\0")?;
        self.requests.flush()?;
        loop {
            // Events come in between.
            let message = self.answers.recv_timeout(PATIENCE)?;
            if message.get("id").and_then(Value::as_u64) == Some(self.asked) {
                return match message.get("result") {
                    Some(result) => Ok(result.clone()),
                    None => Err(Failed::because(format!("{method}: {message}"))),
                };
            }
        }
    }
}
