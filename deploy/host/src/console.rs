//! A guest's console: cut into lines that are safe to show, and kept in a few files of
//! bounded length.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Longest line, in bytes; a longer one becomes several.
pub const MAX_LINE: usize = 4096;
/// Longest file, in bytes, and how many there are: the newest, `.1`, `.2`, `.3`.
pub const MAX_FILE: u64 = 1 << 20;
/// The oldest file's number.
pub const OLDEST: u32 = 3;

/// Cuts what a guest says into lines without control characters: firmware moves the
/// cursor, and a guest could do so to an operator.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    escape: Escape,
}

/// Where in a control sequence of a terminal it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    Sequence,
}

impl Lines {
    /// Takes in bytes, and gives each line that is whole by them.
    pub fn take(&mut self, bytes: &[u8], mut give: impl FnMut(&str)) {
        for &byte in bytes {
            match (self.escape, byte) {
                (_, b'\n') => {
                    self.escape = Escape::None;
                    self.end(&mut give);
                }
                (_, 0x1b) => self.escape = Escape::Begun,
                (Escape::Begun, b'[') => self.escape = Escape::Sequence,
                (Escape::Sequence, 0x40..=0x7e) | (Escape::Begun, _) => self.escape = Escape::None,
                (Escape::None, b'\t') => self.line.push(b' '),
                (Escape::Sequence, _) | (Escape::None, 0..0x20 | 0x7f) => {}
                (Escape::None, _) => self.line.push(byte),
            }
            if self.line.len() >= MAX_LINE {
                self.end(&mut give);
            }
        }
    }

    /// Gives what is left when nothing comes any more.
    pub fn finish(&mut self, mut give: impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.end(&mut give);
        }
    }

    fn end(&mut self, give: &mut impl FnMut(&str)) {
        let text = String::from_utf8_lossy(&self.line);
        // Those beyond ASCII, such as the one that begins a sequence in one character.
        let text: String = text
            .chars()
            .filter(|character| !character.is_control())
            .collect();
        give(&text);
        self.line.clear();
    }
}

/// Keeps lines in files. What cannot be kept is counted, and nobody waits for it.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    file: Option<File>,
    length: u64,
    /// Bytes that could not be kept.
    pub lost: u64,
    untold: u64,
}

impl Keeper {
    /// Goes on where the files end.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            length: 0,
            lost: 0,
            untold: 0,
        }
    }

    /// Keeps a line.
    pub fn line(&mut self, line: &str) {
        let kept = if self.untold > 0 {
            let told = format!(
                "[zipnet-host: {} bytes of this console could not be kept]\n{line}\n",
                self.untold
            );
            self.write(told.as_bytes())
        } else {
            self.write(format!("{line}\n").as_bytes())
        };
        if kept.is_ok() {
            self.untold = 0;
        } else {
            let bytes = line.len() as u64 + 1;
            self.lost = self.lost.saturating_add(bytes);
            self.untold = self.untold.saturating_add(bytes);
            // Perhaps it can be opened anew later; a part of a line may be there.
            self.file = None;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.length.saturating_add(bytes.len() as u64) > MAX_FILE && self.length > 0 {
            self.file = None;
            for number in (0..OLDEST).rev() {
                let from = numbered(&self.path, number);
                if from.exists() {
                    fs::rename(from, numbered(&self.path, number + 1))?;
                }
            }
        }
        let mut file = if let Some(file) = self.file.take() {
            file
        } else {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&self.path)?;
            self.length = file.metadata()?.len();
            file
        };
        if let Err(error) = file.write_all(bytes) {
            // No line in halves.
            let _ = file.set_len(self.length);
            return Err(error);
        }
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.file = Some(file);
        Ok(())
    }
}

/// The name of a file of a console: 0 is the newest.
#[must_use]
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let mut all = Vec::new();
        let mut lines = Lines::default();
        for part in parts {
            lines.take(part, |line| all.push(line.to_owned()));
        }
        lines.finish(|line| all.push(line.to_owned()));
        all
    }

    #[test]
    fn nothing_that_moves_a_cursor_is_left_in_a_line() {
        assert_eq!(
            lines(&[
                b"\x1b[2J\x1b[01;01Hbios\r\nan",
                b"d\ton\n\x1bcthen\x07\xc2\x9b2J",
                b"\xff"
            ]),
            ["bios", "and on", "then2J\u{fffd}"]
        );
        // A sequence that never ends, ends with its line.
        assert_eq!(lines(&[b"\x1b[1;1", b"\nnext\n"]), ["", "next"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let all = lines(&[&vec![b'x'; 2 * MAX_LINE + 1]]);
        let lengths: Vec<_> = all.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, 1]);
    }

    #[test]
    fn files_are_bounded_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let mut keeper = Keeper::new(path.clone());
        let line = "x".repeat(1023);
        let per_file = u32::try_from(MAX_FILE / 1024).unwrap();
        for _ in 0..=(per_file * (OLDEST + 2)) {
            keeper.line(&line);
        }
        let length = |number| {
            fs::metadata(numbered(&path, number))
                .map(|found| found.len())
                .ok()
        };
        assert_eq!(length(0), Some(1024));
        for number in 1..=OLDEST {
            assert_eq!(length(number), Some(MAX_FILE), "{number}");
        }
        assert_eq!(length(OLDEST + 1), None);
        assert_eq!(keeper.lost, 0);
        // A new keeper goes on where the old one ended.
        Keeper::new(path.clone()).line("y");
        assert_eq!(length(0), Some(1026));
    }

    #[test]
    fn what_cannot_be_kept_is_counted_and_told_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later").join("console.log");
        let mut keeper = Keeper::new(path.clone());
        keeper.line("one");
        keeper.line("two");
        assert_eq!(keeper.lost, 8);
        fs::create_dir(path.parent().unwrap()).unwrap();
        keeper.line("three");
        keeper.line("four");
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "[zipnet-host: 8 bytes of this console could not be kept]\nthree\nfour\n"
        );
    }
}
