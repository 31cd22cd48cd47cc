//! A launcher with a shell script for a guest. Everything around it is real: manifest,
//! sums, payload, processes. Real guests are in `tests/tests/host.rs`.
#![allow(dead_code)]

pub mod bench;

use std::{fs, path::Path};

use zipnet_measurements::{digest::sha256, release::Manifest};

/// A release's manifest, of which only the files are replaced.
const MANIFEST: &str = include_str!("../../../../measurements/releases/0.1.0.json");

/// A guest that says what a guest says, waits for its secrets, and has a power button.
const SCRIPT: &str = r#"#!/usr/bin/env bash
# As QEMU: it ends with the launcher, and goes on if nobody reads its console.
trap '' PIPE
rest() { setpriv --pdeathsig KILL -- sleep "$1" & child=$!; wait "$child"; }
child=$$
trap 'echo "init: powering off: the power button was pressed"; ((child == $$)) || kill "$child"; exit 0' TERM
echo "zipnet-init (stand-in) @WORDS@"
@BEFORE@
echo "provisioning: waiting at 0.0.0.0:7650 for secrets, for 60 s at most"
@AFTER@
while true; do rest 60; done
exit 0
"#;

/// What an image is made of.
pub struct Image {
    words: String,
    version: String,
    before: String,
    after: String,
}

impl Image {
    pub fn new(words: &str) -> Self {
        Self {
            words: words.to_owned(),
            version: "0.1.0".to_owned(),
            before: String::new(),
            after: String::new(),
        }
    }

    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// What the guest does before it waits.
    pub fn before(mut self, script: &str) -> Self {
        script.clone_into(&mut self.before);
        self
    }

    /// What it does then.
    pub fn after(mut self, script: &str) -> Self {
        script.clone_into(&mut self.after);
        self
    }

    /// Writes launcher, manifest and sums.
    pub fn write(&self, folder: &Path) {
        let (firmware, unified) = (b"firmware of a stand-in", b"image of a stand-in");
        let mut manifest = Manifest::from_json(MANIFEST.as_bytes()).unwrap();
        self.version.clone_into(&mut manifest.version);
        manifest.inputs.firmware.sha256 = sha256(firmware);
        manifest.inputs.firmware.size = firmware.len() as u64;
        let part = manifest.inputs.unified.as_mut().unwrap();
        part.sha256 = sha256(unified);
        part.size = unified.len() as u64;
        let script = SCRIPT
            .replace("@WORDS@", &self.words)
            .replace("@BEFORE@", &self.before)
            .replace("@AFTER@", &self.after);
        let launcher = [script.as_bytes(), firmware, unified].concat();
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let sums = format!(
            "{}  zipnet-run-qemu.sh\n{}  manifest.json\n",
            sha256(&launcher),
            sha256(&manifest)
        );
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("zipnet-run-qemu.sh"), launcher).unwrap();
        fs::write(folder.join("manifest.json"), manifest).unwrap();
        fs::write(folder.join("SHA256SUMS"), sums).unwrap();
    }
}

/// A part of a launcher.
#[derive(Clone, Copy)]
pub enum Part {
    Script,
    Firmware,
    Image,
    End,
}

/// Changes a byte of a part, or cuts the end.
pub fn damage(folder: &Path, part: Part) {
    let path = folder.join("zipnet-run-qemu.sh");
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    let at = match part {
        Part::Script => 40,
        Part::Image => length - 1,
        Part::Firmware => length - b"image of a stand-in".len() - 1,
        Part::End => {
            bytes.truncate(length - 5);
            0
        }
    };
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}
