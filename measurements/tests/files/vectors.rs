//! The files of `vectors/`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use zipnet_measurements::{Digest384, eventlog::EventKind};

/// A file's path from `vectors/` on.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name)
}

pub fn read(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A digest of `expected.json`.
pub fn expected(file: &str, name: &str) -> String {
    let all: Value = serde_json::from_slice(&read("expected.json")).unwrap();
    all[file][name].as_str().unwrap().to_owned()
}

/// A real TD: its event log, and its registers if they were published.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Td {
    pub memory_gib: u64,
    pub registers: Option<TdRegisters>,
    pub events: Vec<TdEvent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdRegisters {
    pub mrtd: Digest384,
    pub rtmr0: Digest384,
    pub rtmr1: Digest384,
    pub rtmr2: Digest384,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdEvent {
    pub index: u32,
    pub kind: String,
    pub sha384: Digest384,
    pub data: String,
}

pub const TDS: [&str; 3] = ["coco", "near-old", "near-2025"];

impl Td {
    pub fn read(name: &str) -> Self {
        serde_json::from_slice(&read(&format!("td/{name}.json"))).unwrap()
    }

    /// The log as the bytes of a CC event log.
    pub fn log(&self) -> Vec<u8> {
        let mut log = log_header();
        for event in &self.events {
            let kind = event.kind.strip_prefix("0x").unwrap();
            let kind = EventKind(u32::from_str_radix(kind, 16).unwrap());
            let data = hex::decode(&event.data).unwrap();
            add(&mut log, event.index, kind, &event.sha384, &data);
        }
        log
    }
}

/// The header of a TD's log: SHA-384 is the only algorithm.
pub fn log_header() -> Vec<u8> {
    let mut header = b"Spec ID Event03\0".to_vec();
    header.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    header.extend(1_u32.to_le_bytes());
    header.extend(0xc_u16.to_le_bytes());
    header.extend(48_u16.to_le_bytes());
    header.push(0);
    let mut log = 1_u32.to_le_bytes().to_vec();
    log.extend(EventKind::NO_ACTION.0.to_le_bytes());
    log.extend([0; 20]);
    log.extend(u32::try_from(header.len()).unwrap().to_le_bytes());
    log.extend(header);
    log
}

/// Appends an event.
pub fn add(log: &mut Vec<u8>, index: u32, kind: EventKind, digest: &Digest384, data: &[u8]) {
    log.extend(index.to_le_bytes());
    log.extend(kind.0.to_le_bytes());
    log.extend(1_u32.to_le_bytes());
    log.extend(0xc_u16.to_le_bytes());
    log.extend(digest.0);
    log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    log.extend(data);
}
