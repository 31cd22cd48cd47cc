//! Types of events. TCG, "PC Client Platform Firmware Profile", section 10.4.1.

use core::fmt;

use crate::bytes::{Reader, index};

/// The type of an event, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKind(pub u32);

macro_rules! kinds {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl EventKind {
            $(
                #[doc = concat!("`", $text, "`.")]
                pub const $name: Self = Self($number);
            )*

            /// Its name in the specification.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }

            /// The type of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    POST_CODE = 0x1, "EV_POST_CODE";
    NO_ACTION = 0x3, "EV_NO_ACTION";
    SEPARATOR = 0x4, "EV_SEPARATOR";
    ACTION = 0x5, "EV_ACTION";
    EVENT_TAG = 0x6, "EV_EVENT_TAG";
    CRTM_CONTENTS = 0x7, "EV_S_CRTM_CONTENTS";
    CRTM_VERSION = 0x8, "EV_S_CRTM_VERSION";
    PLATFORM_CONFIG_FLAGS = 0xa, "EV_PLATFORM_CONFIG_FLAGS";
    TABLE_OF_DEVICES = 0xb, "EV_TABLE_OF_DEVICES";
    IPL = 0xd, "EV_IPL";
    VARIABLE_DRIVER_CONFIG = 0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG";
    VARIABLE_BOOT = 0x8000_0002, "EV_EFI_VARIABLE_BOOT";
    BOOT_SERVICES_APPLICATION = 0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION";
    BOOT_SERVICES_DRIVER = 0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER";
    RUNTIME_SERVICES_DRIVER = 0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER";
    GPT_EVENT = 0x8000_0006, "EV_EFI_GPT_EVENT";
    EFI_ACTION = 0x8000_0007, "EV_EFI_ACTION";
    PLATFORM_FIRMWARE_BLOB = 0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB";
    HANDOFF_TABLES = 0x8000_0009, "EV_EFI_HANDOFF_TABLES";
    PLATFORM_FIRMWARE_BLOB2 = 0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2";
    HANDOFF_TABLES2 = 0x8000_000b, "EV_EFI_HANDOFF_TABLES2";
    VARIABLE_BOOT2 = 0x8000_000c, "EV_EFI_VARIABLE_BOOT2";
    VARIABLE_AUTHORITY = 0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY";
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

/// What an event's data say, where that is text; at most 256 characters.
pub(super) fn text(kind: EventKind, data: &[u8]) -> Option<String> {
    match kind {
        EventKind::VARIABLE_DRIVER_CONFIG
        | EventKind::VARIABLE_BOOT
        | EventKind::VARIABLE_BOOT2
        | EventKind::VARIABLE_AUTHORITY => variable_name(data),
        // Length of the text in one byte, then the text.
        EventKind::HANDOFF_TABLES2 | EventKind::PLATFORM_FIRMWARE_BLOB2 => {
            let (length, rest) = data.split_first()?;
            printable(rest.get(..usize::from(*length))?)
        }
        // An id and a length of 4 bytes each, then the text.
        EventKind::EVENT_TAG => printable(data.get(8..)?),
        EventKind::SEPARATOR => None,
        _ => printable(data),
    }
}

fn variable_name(data: &[u8]) -> Option<String> {
    let mut reader = Reader::at(data, 16);
    let length = reader.u64("the length of a name").ok()?;
    reader.u64("the length of the data").ok()?;
    let length = index(u32::try_from(length).ok().filter(|length| *length <= 256)?);
    let units: Vec<u16> = reader
        .take(length * 2, "a name")
        .ok()?
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .collect();
    String::from_utf16(&units).ok()
}

fn printable(data: &[u8]) -> Option<String> {
    let text = data.strip_suffix(&[0]).unwrap_or(data);
    let fits = (1..=256).contains(&text.len());
    let shown = text.iter().all(|byte| (0x20..0x7f).contains(byte));
    (fits && shown).then(|| String::from_utf8_lossy(text).into_owned())
}
