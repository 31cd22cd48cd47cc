//! What cargo compiles for `make run` and `make test`: each crate once, whatever it is
//! for; and what clients are not compiled with. Nothing is compiled here that was not before.
#![allow(missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use zipnet_tests::process::{Failed, TestResult};

/// Crates of which several versions are compiled, and who needs which.
const SEVERAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/several-versions.txt");

/// Packages whose build script, a second's work, is compiled twice: procedural macros
/// and the programs need other features of them, which cargo keeps apart so that what
/// runs while compiling has no say in what is shipped.
const AGAIN: [&str; 3] = ["libc", "serde", "serde_core"];

/// Runs cargo in the repository as a shell would, and yields what it prints.
fn cargo(arguments: &[&str]) -> TestResult<String> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(arguments)
        .args(["--locked", "--offline"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stdin(Stdio::null());
    // What a test has of its own package would be a change of all that asks for it.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let own = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if own.iter().any(|prefix| name.starts_with(prefix)) || name == "CARGO" {
            cargo.env_remove(&*name);
        }
    }
    let output = cargo.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failed::because(format!("cargo {arguments:?}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The objects that cargo prints.
fn objects(arguments: &[&str]) -> TestResult<Vec<Value>> {
    let text = cargo(arguments)?;
    let objects = text.lines().map(serde_json::from_str);
    Ok(objects.collect::<Result<_, _>>()?)
}

/// A compiled library, procedural macro or build script: its package, whether it is
/// for what runs while compiling, and its file without the ending.
type Compiled = (String, bool, PathBuf);

/// What the programs are for.
fn triple() -> String {
    format!("{}-unknown-linux-gnu", env::consts::ARCH)
}

fn compiled(message: &Value) -> Option<Compiled> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] == true {
        return None;
    }
    let file = PathBuf::from(message["filenames"][0].as_str()?);
    let kind = message["target"]["kind"][0].as_str()?;
    let file = match kind {
        // Each in a folder of its own.
        "custom-build" => file.parent()?.to_owned(),
        "bin" | "bench" | "test" | "example" => return None,
        _ => file.with_extension(""),
    };
    let host = !file.iter().any(|part| part == triple().as_str());
    Some((message["package_id"].as_str()?.to_owned(), host, file))
}

#[test]
fn no_crate_is_compiled_twice() -> TestResult {
    let mut files: BTreeMap<(String, bool), BTreeSet<PathBuf>> = BTreeMap::new();
    for arguments in [
        ["build", "--workspace", "--bins", "--message-format=json"],
        ["test", "--workspace", "--no-run", "--message-format=json"],
    ] {
        for (package, host, file) in objects(&arguments)?.iter().filter_map(compiled) {
            files.entry((package, host)).or_default().insert(file);
        }
    }
    // The list is of something.
    assert!(files.len() > 400, "{}", files.len());
    let again: BTreeSet<_> = files
        .iter()
        .filter(|(_, files)| {
            // A package has one build script at most, and one library.
            let script = |file: &Path| {
                file.parent()
                    .is_some_and(|folder| folder.ends_with("build"))
            };
            let scripts = files.iter().filter(|file| script(file)).count();
            scripts > 1 || files.len() - scripts > 1
        })
        .map(|((package, _), _)| package.rsplit(['/', '#']).next().unwrap_or_default())
        .map(|package| package.split('@').next().unwrap_or_default())
        .collect();
    assert_eq!(
        again,
        AGAIN.into_iter().collect(),
        "compiled more than once, with other features or settings: {files:#?}"
    );

    let listed = several(&files)?;
    if env::var_os("ZIPNET_BLESS").is_some() {
        fs::write(SEVERAL, &listed)?;
    }
    assert_eq!(listed, fs::read_to_string(SEVERAL)?, "see {SEVERAL}");
    Ok(())
}

/// A line for each version of a crate that is compiled in several for the programs,
/// with the packages that need it.
fn several(files: &BTreeMap<(String, bool), BTreeSet<PathBuf>>) -> TestResult<String> {
    let triple = triple();
    let metadata = objects(&[
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        &triple,
    ])?;
    let metadata = metadata.first().unwrap_or(&Value::Null);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named: BTreeMap<_, _> = list(&metadata["packages"])
        .iter()
        .map(|package| {
            (
                text(&package["id"]),
                (text(&package["name"]), text(&package["version"])),
            )
        })
        .collect();
    let mut versions: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    let programs = || {
        files
            .keys()
            .filter(|(_, host)| !host)
            .map(|(package, _)| package)
    };
    for package in programs() {
        if let Some((name, version)) = named.get(package) {
            versions
                .entry(name)
                .or_default()
                .entry(version)
                .or_default();
        }
    }
    versions.retain(|_, versions| versions.len() > 1);
    for node in list(&metadata["resolve"]["nodes"]) {
        let by = text(&node["id"]);
        if !programs().any(|package| *package == by) {
            continue;
        }
        for needed in list(&node["dependencies"]) {
            let needed = named.get(&text(&needed));
            let known =
                needed.and_then(|(name, version)| versions.get_mut(&**name)?.get_mut(&**version));
            if let (Some(known), Some((by, _))) = (known, named.get(&by)) {
                known.insert(by);
            }
        }
    }
    let lines = versions.iter().flat_map(|(name, versions)| {
        versions.iter().map(move |(version, by)| {
            let by: Vec<_> = by.iter().copied().collect();
            format!("{name} {version}: {}\n", by.join(", "))
        })
    });
    Ok(lines.collect())
}

/// The crates of the library that clients are made of, of `zipnet-client`, and of other
/// programs, with all that they are linked with.
#[test]
fn clients_are_not_linked_with_the_committee() -> TestResult {
    let linked = |package: &str, features: &[&str]| -> TestResult<BTreeSet<String>> {
        let mut arguments = vec!["tree", "-p", package, "-e", "normal", "--prefix", "none"];
        arguments.extend(features);
        let tree = cargo(&arguments)?;
        let names = tree.lines().filter_map(|line| line.split(' ').next());
        Ok(names.map(str::to_owned).collect())
    };
    // The list is of something.
    let server = linked("zipnet-server", &[])?;
    assert!(server.contains("mosaik") && server.contains("zipnet-node"));
    for package in ["zipnet", "zipnet-cli", "zipnet-archive"] {
        for features in [&[][..], &["--all-features"]] {
            let linked = linked(package, features)?;
            assert!(linked.contains("zipnet-door") && linked.contains("iroh"));
            let committee = ["mosaik", "zipnet-node", "zipnet-server"];
            let found: Vec<_> = committee
                .into_iter()
                .filter(|name| linked.contains(*name))
                .collect();
            assert!(found.is_empty(), "{package} {features:?}: {found:?}");
        }
    }
    // Nor is the library with what serves metrics, or reads arguments.
    let library = linked("zipnet", &[])?;
    for program in ["clap", "metrics-exporter-prometheus", "tracing-subscriber"] {
        assert!(!library.contains(program), "{program}");
    }
    Ok(())
}
