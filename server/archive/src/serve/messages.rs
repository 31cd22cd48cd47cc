//! What a record says, for the page: computed of its file.

use serde_json::{Value, json};
use zipnet_protocol::Instance;

use zipnet_history::record::RecordFile;

/// The messages of a record, if its file is a record of the instance.
pub fn of(instance: &Instance, bytes: &[u8]) -> Option<Value> {
    let file = RecordFile::decode(bytes).ok()?;
    let done = file
        .published
        .record
        .verify(instance, &file.published.bundles)
        .ok()?;
    let header = done.round().header();
    let messages: Vec<_> = done
        .messages()
        .map(|(slot, bytes)| {
            json!({"slot": slot, "text": String::from_utf8_lossy(&bytes), "hex": hex::encode(&bytes)})
        })
        .collect();
    Some(json!({
        "epoch": header.epoch.to_string(),
        "round": header.number,
        "record": done.digest().to_string(),
        "previous": header.previous.to_string(),
        "participants": done.participants(),
        "servers": done.servers(),
        "at": file.at,
        "messages": messages,
    }))
}
