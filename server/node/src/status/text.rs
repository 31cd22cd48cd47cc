//! A status for people.

use core::{fmt, time::Duration};
use std::time::UNIX_EPOCH;

use super::{EvidenceStatus, RoundStatus, ServerStatus, Status};

fn time(seconds: u64) -> impl fmt::Display {
    let most = 253_402_300_799; // The year 9999.
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds.min(most)))
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "instance   {} (zipnet {})", self.instance, self.version)?;
        writeln!(f, "committee  {}", self.committee)?;
        let size = self.committee_size;
        writeln!(
            f,
            "servers    {} of {size} registered; a round needs {}",
            self.servers.len(),
            self.min_servers
        )?;
        writeln!(f, "leader     {}", self.leader.as_deref().unwrap_or("none"))?;
        if let Some(policy) = &self.policy {
            write!(f, "policy     serial {}", policy.serial)?;
            match policy.ends {
                Some(ends) => writeln!(f, ", accepts nobody from {}", time(ends))?,
                None => writeln!(f, ", without an end")?,
            }
        }
        writeln!(f, "clients    {}", self.clients)?;
        for ill in &self.unhealthy {
            writeln!(f, "unhealthy  {ill}")?;
        }
        if self.not_ready.is_empty() {
            writeln!(f, "ready      yes")?;
        }
        for why in &self.not_ready {
            writeln!(f, "not ready  {}: {}", why.reason, why.text)?;
        }
        writeln!(f, "waits for  {}", self.waiting_for)?;
        writeln!(f)?;
        for server in &self.servers {
            let me = server.peer == self.peer;
            let leads = self.leader.as_ref() == Some(&server.peer);
            show(f, server, me, leads)?;
        }
        for peer in &self.aggregators {
            write!(f, "aggregator {peer}")?;
            let next = self.turn.as_ref() == Some(peer);
            f.write_str(if next { ", next" } else { "" })?;
            let leaf = self.leaves.contains(peer);
            writeln!(f, "{}", if leaf { ", leaf" } else { "" })?;
        }
        for peer in &self.struck {
            writeln!(f, "aggregator {peer} is struck")?;
        }
        writeln!(f)?;
        for round in &self.rounds {
            writeln!(f, "{round}")?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, server: &ServerStatus, me: bool, leads: bool) -> fmt::Result {
    write!(f, "server     {}", server.peer)?;
    f.write_str(if server.here { " here" } else { " away" })?;
    f.write_str(if me { ", this one" } else { "" })?;
    f.write_str(if leads { ", leads" } else { "" })?;
    match &server.evidence {
        None => writeln!(f),
        Some(EvidenceStatus::Holds {
            until,
            image,
            shape,
            tcb,
        }) => writeln!(
            f,
            "\n           evidence until {}: image {image}, shape {shape}, {tcb}",
            time(*until)
        ),
        Some(EvidenceStatus::Refused { rule, because }) => {
            writeln!(f, "\n           evidence refused by {rule}: {because}")
        }
    }
}

impl fmt::Display for RoundStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "round      r{} {}: {} participants (floor {}), {} servers; slots: {} messages, {} empty, {} garbled",
            self.number,
            self.record,
            self.participants,
            self.floor,
            self.servers,
            self.messages,
            self.empty,
            self.garbled
        )
    }
}
