//! What is seen of a run: what processes say, by the time at which this one hears
//! it, and how much memory they have. No other clock counts: some are made to jump.

use core::time::Duration;
use std::{collections::BTreeMap, time::Instant};

use serde_json::Value;

use super::plan::Fault;
use crate::{lines::Lines, process::resident, server::Finalized};

/// From one look at memory to the next.
const SAMPLE: Duration = Duration::from_secs(1);

/// A fault as it was carried out.
#[derive(Debug, Clone)]
pub struct Done {
    /// As planned.
    pub fault: Fault,
    /// When it began, in seconds since the start.
    pub from: f64,
    /// When it had ended.
    pub to: Option<f64>,
}

/// A record that a server says it has finalized.
#[derive(Debug, Clone)]
pub struct ByServer {
    /// Which server.
    pub who: String,
    /// When it was heard.
    pub at: f64,
    /// What.
    pub round: Finalized,
    /// How long it took from its opening on, if this server was told of that.
    pub took: Option<f64>,
}

/// A round that a reader has read.
#[derive(Debug, Clone)]
pub struct Read {
    /// When it was heard.
    pub at: f64,
    /// The epoch.
    pub epoch: String,
    /// The round's number.
    pub number: u64,
    /// The record's digest.
    pub record: String,
    /// That of the one before.
    pub previous: String,
    /// How many clients took part.
    pub participants: usize,
    /// What was said, by slot.
    pub messages: BTreeMap<u64, String>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Nobody has said it yet.
    Open,
    /// In a round and a slot.
    Landed {
        /// The epoch.
        epoch: String,
        /// The round.
        round: u64,
        /// The slot.
        slot: u64,
        /// The record's digest.
        record: String,
        /// How often it was sealed.
        attempts: u64,
    },
    /// In no record.
    NotLanded,
    /// Its client does not know.
    Unknown,
}

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// When it was handed to its client.
    pub sent: f64,
    /// When its fate was told, if it was.
    pub told: Option<f64>,
    /// What became of it.
    pub fate: Fate,
}

/// One life of one process.
#[derive(Debug, Clone)]
pub struct Life {
    /// Whose.
    pub who: String,
    /// The how manieth.
    pub life: usize,
    /// When it began.
    pub from: f64,
    /// Resident memory in bytes, by time.
    pub memory: Vec<(f64, u64)>,
    pid: u32,
    lines: Lines,
    at: usize,
}

/// Everything that was seen.
#[derive(Debug)]
pub struct Observations {
    start: Instant,
    sampled: f64,
    looked: f64,
    /// How long it took at most from one look to the next: how late this process
    /// was, and what it says of times with it.
    pub blind: f64,
    /// How many clients there are to be.
    pub clients: usize,
    /// Lives of all processes.
    pub lives: Vec<Life>,
    /// When each server last said that a round was opened, if none was final since.
    opened: BTreeMap<String, f64>,
    /// Records by servers.
    pub finalized: Vec<ByServer>,
    /// What each reader has read, by its name, life and node.
    pub streams: BTreeMap<(String, usize, u64), Vec<Read>>,
    /// Messages by their text.
    pub messages: BTreeMap<String, Message>,
    /// Faults.
    pub faults: Vec<Done>,
    /// What nobody had planned.
    pub surprises: Vec<String>,
    /// How many clients' processes have told the fate of all.
    pub hushed: usize,
    /// How many processes of clients have come up.
    pub up: usize,
}

impl Default for Observations {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            sampled: 0.0,
            looked: 0.0,
            blind: 0.0,
            clients: 0,
            lives: Vec::new(),
            opened: BTreeMap::new(),
            finalized: Vec::new(),
            streams: BTreeMap::new(),
            messages: BTreeMap::new(),
            faults: Vec::new(),
            surprises: Vec::new(),
            hushed: 0,
            up: 0,
        }
    }
}

impl Observations {
    /// Seconds since the start.
    #[must_use]
    pub fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Listens to a process from now on.
    pub fn listen(&mut self, who: &str, life: usize, lines: Lines, pid: u32) {
        self.lives.push(Life {
            who: who.to_owned(),
            life,
            from: self.now(),
            memory: Vec::new(),
            pid,
            lines,
            at: 0,
        });
    }

    /// Whether a life is the last one of its process.
    #[must_use]
    pub fn is_newest(&self, who: &str, life: usize) -> bool {
        let lives = self.lives.iter().filter(|other| other.who == who);
        lives.map(|other| other.life).max() == Some(life)
    }

    /// What the witness has read.
    #[must_use]
    pub fn witness(&self) -> &[Read] {
        let key = ("witness".to_owned(), 1, 0);
        self.streams.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Takes in what was said since the last time, and looks at memory if it is
    /// time to.
    pub fn look(&mut self) {
        let now = self.now();
        if self.looked > 0.0 {
            self.blind = self.blind.max(now - self.looked);
        }
        self.looked = now;
        let mut said = Vec::new();
        for (index, life) in self.lives.iter_mut().enumerate() {
            let lines = life.lines.since(life.at);
            life.at += lines.len();
            said.extend(lines.into_iter().map(|line| (index, line)));
        }
        for (index, line) in said {
            self.take(index, &line, now);
        }
        if now - self.sampled >= SAMPLE.as_secs_f64() {
            self.sampled = now;
            self.sample(now);
        }
    }

    /// The latest life of each process has its memory looked at; it is gone when its
    /// process is.
    fn sample(&mut self, now: f64) {
        let mut newest: BTreeMap<String, usize> = BTreeMap::new();
        for (index, life) in self.lives.iter().enumerate() {
            newest.insert(life.who.clone(), index);
        }
        for index in newest.into_values() {
            if let Some(life) = self.lives.get_mut(index)
                && let Some(bytes) = resident(life.pid)
            {
                life.memory.push((now, bytes));
            }
        }
    }

    fn take(&mut self, index: usize, line: &str, now: f64) {
        let Some(process) = self.lives.get(index) else {
            return;
        };
        let (who, number) = (process.who.clone(), process.life);
        if line.contains("panicked at") {
            self.surprises
                .push(format!("{who} (life {number}): {line}"));
        }
        if line.contains("committee: opening round") {
            self.opened.insert(who, now);
        } else if let Some(round) = Finalized::parse(line) {
            let took = self.opened.remove(&who).map(|opened| now - opened);
            self.finalized.push(ByServer {
                who,
                at: now,
                round,
                took,
            });
        } else if line.starts_with('{')
            && let Ok(value) = serde_json::from_str::<Value>(line)
        {
            self.hear(who, number, &value, now);
        }
    }

    fn hear(&mut self, who: String, life: usize, value: &Value, now: f64) {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| value[name].as_u64().unwrap_or_default();
        let fate = match text("event").as_str() {
            "round" => {
                let said = value["messages"].as_array().into_iter().flatten();
                let messages = said.filter_map(|message| {
                    Some((
                        message["slot"].as_u64()?,
                        message["text"].as_str()?.to_owned(),
                    ))
                });
                let read = Read {
                    at: now,
                    epoch: text("epoch"),
                    number: number("round"),
                    record: text("record"),
                    previous: text("previous"),
                    participants: usize::try_from(number("participants")).unwrap_or(usize::MAX),
                    messages: messages.collect(),
                };
                let key = (who, life, number("node"));
                self.streams.entry(key).or_default().push(read);
                return;
            }
            "sent" => {
                let message = Message {
                    sent: now,
                    told: None,
                    fate: Fate::Open,
                };
                self.messages.insert(text("text"), message);
                return;
            }
            "landed" => Fate::Landed {
                epoch: text("epoch"),
                round: number("round"),
                slot: number("slot"),
                record: text("record"),
                attempts: number("attempts"),
            },
            "not landed" => Fate::NotLanded,
            "unknown" => Fate::Unknown,
            "hushed" => {
                self.hushed += 1;
                return;
            }
            "up" => {
                self.up += 1;
                return;
            }
            _ => return,
        };
        if let Some(message) = self.messages.get_mut(&text("text")) {
            message.told = Some(now);
            message.fate = fate;
        }
    }
}
