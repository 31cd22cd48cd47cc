//! The bill of materials, in `CycloneDX` 1.5: the Rust crates that are linked into
//! the programs, and the Debian packages that the rest comes from.

use cyclonedx_bom::{
    external_models::{spdx::SpdxExpression, uri::Purl},
    models::{
        bom::{Bom, SpecVersion},
        component::{Classification, Component, Components},
        hash::{Hash, HashAlgorithm, HashValue, Hashes},
        license::{LicenseChoice, Licenses},
        metadata::Metadata,
    },
};

use crate::{
    lock::Lock,
    recipe::{Flavor, NAME},
};

/// A bill of materials cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// Cargo's words.
    #[error("cargo tree says `{line}`; `NAME vVERSION [(FOLDER)]|LICENCE` would be right")]
    Line {
        /// What it says.
        line: String,
    },
    /// The format.
    #[error("The bill of materials could not be written")]
    Format(#[source] cyclonedx_bom::errors::JsonWriteError),
}

/// How `cargo tree` is to print each crate, for [`bill`].
pub const TREE_FORMAT: &str = "{p}|{l}";

/// The bill of materials of an image, from what `cargo tree` prints of its
/// programs and from the locked packages. It has neither number nor date of its
/// own: the same image has the same bill.
///
/// # Errors
/// [`SbomError`].
pub fn bill(tree: &str, lock: &Lock, flavor: Flavor) -> Result<Vec<u8>, SbomError> {
    let mut lines: Vec<_> = tree.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    let crates = lines.into_iter().map(of_crate);
    let mut components = crates.collect::<Result<Vec<_>, _>>()?;
    components.extend(lock.0.iter().map(|package| {
        let mut component = library("deb/debian", &package.name, &package.version);
        component.hashes = Some(Hashes(vec![Hash {
            alg: HashAlgorithm::SHA_256,
            content: HashValue(package.sha256.clone()),
        }]));
        component
    }));
    let version = flavor.version();
    let image = Component::new(Classification::OperatingSystem, NAME, &version, None);
    let about = Metadata {
        component: Some(image),
        ..Metadata::default()
    };
    let bom = Bom {
        serial_number: None,
        metadata: Some(about),
        components: Some(Components(components)),
        spec_version: SpecVersion::V1_5,
        ..Bom::default()
    };
    let mut json = Vec::new();
    bom.output_as_json_v1_5(&mut json)
        .map_err(SbomError::Format)?;
    json.push(b'\n');
    Ok(json)
}

fn of_crate(line: &str) -> Result<Component, SbomError> {
    let error = || SbomError::Line {
        line: line.to_owned(),
    };
    let (package, license) = line.split_once('|').ok_or_else(error)?;
    let mut words = package.split(' ');
    let name = words.next().ok_or_else(error)?;
    let version = words.next().and_then(|word| word.strip_prefix('v'));
    let mut component = library("cargo", name, version.ok_or_else(error)?);
    // An old way to write `OR`.
    let license = SpdxExpression::try_from(license.replace('/', " OR ")).ok();
    component.licenses = license.map(|license| Licenses(vec![LicenseChoice::Expression(license)]));
    Ok(component)
}

fn library(kind: &str, name: &str, version: &str) -> Component {
    // Of the characters of Debian's versions, these two have a meaning in URLs.
    let escaped = version.replace('+', "%2B").replace(':', "%3A");
    let url = format!("pkg:{kind}/{name}@{escaped}");
    let mut component = Component::new(Classification::Library, name, version, Some(url.clone()));
    component.purl = url.parse::<Purl>().ok();
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str =
        "b v0.2.0|MIT/Apache-2.0\n\na v1.0.0 (/somewhere)|MIT\nb v0.2.0|MIT/Apache-2.0\n";

    #[test]
    fn crates_and_packages_are_listed_once_and_without_folders() {
        let lock = Lock::parse(&format!("r s libc6-dev 2:1+b {}", "0".repeat(64))).unwrap();
        let bill = |tree| String::from_utf8(super::bill(tree, &lock, Flavor::Local).unwrap());
        let text = bill(TREE).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let named: Vec<_> = value["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["purl"].as_str().unwrap())
            .collect();
        assert_eq!(
            named,
            [
                "pkg:cargo/a@1.0.0",
                "pkg:cargo/b@0.2.0",
                "pkg:deb/debian/libc6-dev@2%3A1%2Bb"
            ]
        );
        assert_eq!(
            value["components"][1]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert!(!text.contains("somewhere"), "{text}");
        assert_eq!(text, bill(TREE).unwrap());
        assert!(super::bill("nonsense", &lock, Flavor::Local).is_err());
    }
}
