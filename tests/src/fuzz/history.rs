//! The files of an archive.

use zipnet_history::{
    head::Head,
    index::{Entry, Page},
    layout::{Name, page_of},
    record::{RecordFile, decode_credential},
};
use zipnet_node::committee::command::Published;
use zipnet_protocol::FinalizedRound;

use super::{Seed, instance};

/// [`RecordFile`], and a file of evidence.
pub fn archive_record(data: &[u8]) {
    if let Ok(file) = RecordFile::decode(data) {
        let published = &file.published;
        let _ = published.record.verify(instance(), &published.bundles);
    }
    let _ = decode_credential(data);
}

/// [`Page`], [`Head`] and [`Name`].
pub fn archive_index(data: &[u8]) {
    let _ = Page::decode(data);
    let _ = Head::decode(data);
    if let Ok(text) = core::str::from_utf8(data) {
        let _ = Name::parse(text);
    }
}

/// The files of an archive of one record.
pub fn seeds(
    published: &Published,
    done: &FinalizedRound,
) -> Result<Vec<Seed>, Box<dyn std::error::Error>> {
    let file = RecordFile {
        at: 1_767_225_600,
        evidence: Vec::new(),
        published: published.clone(),
    };
    let bytes = file.encode()?;
    let (epoch, number) = done.round().position();
    let entry = Entry {
        number,
        record: *done.digest(),
        previous: done.round().header().previous,
        at: file.at,
        size: u32::try_from(bytes.len())?,
    };
    let page = Page {
        epoch,
        page: page_of(number),
        entries: vec![entry],
        gaps: Vec::new(),
    };
    Ok(vec![
        ("archive_record", bytes.to_vec()),
        ("archive_index", page.encode().into_bytes()),
    ])
}
