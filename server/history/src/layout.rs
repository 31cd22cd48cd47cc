//! How the files of an archive are called. The same names are paths over HTTP, so that
//! a folder or a bucket can be served by anything.

use core::fmt;

use zipnet_protocol::{Digest, Epoch};

/// Numbers of rounds that one page of the index covers.
pub const PAGE_ROUNDS: u64 = 128;

/// The file that lists the epochs.
pub const HEAD: &str = "head";

/// The page of the index that a round is in.
#[must_use]
pub const fn page_of(number: u64) -> u64 {
    number / PAGE_ROUNDS
}

/// A file of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// The list of epochs.
    Head,
    /// A page of an epoch's index.
    Page(Epoch, u64),
    /// A record, by epoch, number and digest.
    Record(Epoch, u64, Digest),
    /// What a server showed of itself, by the digests of its bundle and of its evidence.
    Credential(Digest, Digest),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str(HEAD),
            Self::Page(epoch, page) => write!(f, "index/{epoch}/{page:018}"),
            Self::Record(epoch, number, digest) => {
                write!(f, "records/{epoch}/{number:020}-{digest}")
            }
            Self::Credential(bundle, credential) => {
                write!(f, "credentials/{bundle}-{credential}")
            }
        }
    }
}

/// A name that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAName {
    /// No file is called anything like this.
    Unknown,
    /// It begins like a name, and goes on as none does.
    Malformed,
}

impl Name {
    /// The name that a text is, exactly as it is written.
    ///
    /// # Errors
    /// [`NotAName`].
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let mut parts = text.split('/');
        let parsed = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(HEAD), None, None, None) => Some(Self::Head),
            (Some("index"), Some(epoch), Some(page), None) => page_name(epoch, page),
            (Some("records"), Some(epoch), Some(record), None) => {
                let record = numbered(record);
                record
                    .zip(epoch.parse().ok())
                    .map(|((number, digest), epoch)| Self::Record(epoch, number, digest))
            }
            (Some("credentials"), Some(pair), None, None) => {
                let pair = pair.split_once('-');
                pair.and_then(|(bundle, credential)| {
                    Some(Self::Credential(
                        bundle.parse().ok()?,
                        credential.parse().ok()?,
                    ))
                })
            }
            (Some("index" | "records" | "credentials"), ..) => None,
            _ => return Err(NotAName::Unknown),
        };
        // One name for each file: caches know it by its name.
        parsed
            .filter(|name| name.to_string() == text)
            .ok_or(NotAName::Malformed)
    }
}

fn page_name(epoch: &str, page: &str) -> Option<Name> {
    Some(Name::Page(epoch.parse().ok()?, page.parse().ok()?))
}

/// The number and digest in `NUMBER-DIGEST`, as files of records are called.
#[must_use]
pub fn numbered(text: &str) -> Option<(u64, Digest)> {
    let (number, digest) = text.split_once('-')?;
    Some((number.parse().ok()?, digest.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_name() -> impl Strategy<Value = Name> {
        let digest = || any::<[u8; 32]>().prop_map(Digest::new);
        let epoch = || any::<[u8; 32]>().prop_map(Epoch::new);
        prop_oneof![
            Just(Name::Head),
            (epoch(), any::<u32>()).prop_map(|(epoch, page)| Name::Page(epoch, page.into())),
            (epoch(), any::<u64>(), digest())
                .prop_map(|(epoch, number, digest)| Name::Record(epoch, number, digest)),
            (digest(), digest()).prop_map(|(one, other)| Name::Credential(one, other)),
        ]
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(name in any_name()) {
            prop_assert_eq!(Name::parse(&name.to_string()), Ok(name));
        }

        #[test]
        fn whatever_is_read_is_written_the_same(text in "(index|records|credentials|head)?[/a-f0-9.-]{0,140}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn one_file_has_one_name() {
        let name = Name::Record(Epoch::new([0xab; 32]), 7, Digest::new([0xcd; 32]));
        let text = name.to_string();
        for other in [
            text.to_uppercase(),
            text.replace("00000000000000000007", "7"),
            text.replace("00000000000000000007", "+0000000000000000007"),
            format!("{text}/"),
            format!("{text}0"),
            format!("/{text}"),
            text.replace("records/", "records//"),
            text.replace("records/", "records/../records/"),
        ] {
            assert!(Name::parse(&other).is_err(), "{other}");
        }
        assert_eq!(Name::parse("records"), Err(NotAName::Malformed));
        for unknown in ["", "heads", "head/", "../etc/passwd", "etc/passwd"] {
            assert!(Name::parse(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn names_sort_as_rounds_do() {
        let name =
            |number| Name::Record(Epoch::new([1; 32]), number, Digest::new([9; 32])).to_string();
        let numbers = [0, 9, 10, 127, 128, 1 << 40, u64::MAX];
        assert!(numbers.windows(2).all(|pair| name(pair[0]) < name(pair[1])));
    }
}
