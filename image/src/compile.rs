//! The programs of the image, linked statically by the locked toolchain.
//!
//! Nothing of the machine goes into them: the environment is cleared, paths are
//! replaced in what the compiler writes down, and C compiler, linker and libc
//! come from the lock. `rust-toolchain.toml` names the Rust.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use crate::{
    files::{self, FileError},
    recipe::{DATE, Flavor},
    sbom::TREE_FORMAT,
};

/// What is compiled for.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Variables that cargo and rustup keep: where things are, how to reach
/// registries, how many jobs. No word of them goes into a program. Not
/// `RUSTUP_TOOLCHAIN`, which beats `rust-toolchain.toml`.
const KEPT: [&str; 8] = [
    "PATH",
    "HOME",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "CARGO_BUILD_JOBS",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Beginnings of further such variables.
const KEPT_PREFIXES: [&str; 5] = [
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
];

/// What the compiler gets besides; the second is that of `.cargo/config.toml`,
/// which these replace.
const FLAGS: [&str; 2] = ["-Ctarget-feature=+crt-static", "--cfg=chacha20_avx512"];

/// Tables of cargo's settings that say where crates come from and how cargo speaks;
/// any other could change a program.
const HARMLESS: [&str; 10] = [
    "alias",
    "cache",
    "cargo-new",
    "credential-alias",
    "http",
    "net",
    "registries",
    "registry",
    "source",
    "term",
];

/// How the program that firmware starts is linked: code that runs wherever it lies,
/// by the linker that comes with the compiler, without anything of the machine's. Below
/// the stack is the firmware's, which handles interrupts there.
const STUB_FLAGS: [&str; 12] = [
    "-Clinker=rust-lld",
    "-Clinker-flavor=ld.lld",
    "-Cno-redzone=yes",
    "-Crelocation-model=pic",
    "-Cforce-unwind-tables=no",
    "-Clink-arg=-pie",
    "-Clink-arg=--no-dynamic-linker",
    "-Clink-arg=--entry=efi_main",
    "-Clink-arg=--gc-sections",
    "-Clink-arg=--build-id=none",
    "-Clink-arg=-znorelro",
    "-Clink-arg=-ztext",
];

/// PID 1 and the server, packages and programs alike.
const PROGRAMS: [&str; 2] = ["zipnet-init", "zipnet-server"];

/// The programs cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A file.
    #[error("The locked toolchain could not be made ready")]
    File(#[from] FileError),
    /// Cargo does not start.
    #[error("Could not run {program}; Rust by rustup (https://rustup.rs) would be right")]
    Start {
        /// Which program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Cargo fails.
    #[error("cargo {verb} ended with {status}; what it said is above")]
    Cargo {
        /// What it was to do.
        verb: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// Cargo's own settings.
    #[error(
        "{path} has settings for `{table}`, with which the image may be another one; a CARGO_HOME without them would be right",
        path = .path.display()
    )]
    Settings {
        /// The file.
        path: PathBuf,
        /// Its table.
        table: String,
    },
    /// Settings that nobody can read.
    #[error("{path} is no TOML", path = .path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The compiler.
    #[error("rustc -vV does not say its release and commit; a rustc of rustup's would be right")]
    Compiler,
    /// Cargo's home.
    #[error("Neither CARGO_HOME nor HOME is set; one of them would be right")]
    NoHome,
}

/// Built programs.
#[derive(Debug)]
pub struct Programs {
    /// PID 1.
    pub init: PathBuf,
    /// The committee server.
    pub server: PathBuf,
}

impl Programs {
    /// The programs in a folder of cargo's.
    #[must_use]
    pub fn within(folder: &Path) -> Self {
        let [init, server] = PROGRAMS.map(|program| folder.join(program));
        Self { init, server }
    }
}

/// What is compiled, with what, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Compiler<'a> {
    /// The repository.
    pub repository: &'a Path,
    /// The unpacked toolchain of the lock.
    pub toolchain: &'a Path,
    /// Cargo's target directory, for the image alone.
    pub target: &'a Path,
}

impl Compiler<'_> {
    /// Builds the programs of the production image.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn compile(&self) -> Result<Programs, CompileError> {
        let wrappers = self.wrappers()?;
        // So that all sources are there, and their folders known.
        let fetch = self.cargo(&["fetch", "--locked", "--target", TARGET]);
        run("fetch", fetch)?;
        let mut build = self.cargo(&["build", "--release", "--locked", "--target", TARGET]);
        programs(&mut build, Flavor::Production);
        build.args(PROGRAMS.map(|program| format!("--bin={program}")));
        let renames = self.renames()?;
        let rust = remapped(&renames).chain(FLAGS.map(str::to_owned));
        let c = renames
            .iter()
            .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
            .collect::<Vec<_>>();
        let c = if c.iter().any(|flag| flag.contains(' ')) {
            build.env("CC_SHELL_ESCAPED_FLAGS", "1");
            format!("'{}'", c.join("' '"))
        } else {
            c.join(" ")
        };
        encode(&mut build, rust);
        build
            .env("CFLAGS_x86_64_unknown_linux_gnu", c)
            .env("CC_x86_64_unknown_linux_gnu", wrappers.join("cc"))
            .env("AR_x86_64_unknown_linux_gnu", wrappers.join("ar"))
            .env(
                "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
                wrappers.join("cc"),
            );
        run("build", build)?;
        Ok(Programs::within(&self.target.join(TARGET).join("release")))
    }

    /// Builds the program that firmware starts, the same for every flavor.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn stub(&self) -> Result<PathBuf, CompileError> {
        let mut build = self.cargo(&["build", "--profile=stub", "--locked", "--target", TARGET]);
        build.args([
            "--package=zipnet-stub",
            "--bin=zipnet-stub",
            "--features=efi",
        ]);
        let renames = self.renames()?;
        let flags = remapped(&renames).chain(STUB_FLAGS.map(str::to_owned));
        encode(&mut build, flags);
        run("build", build)?;
        Ok(self.target.join(TARGET).join("stub/zipnet-stub"))
    }

    /// What is linked into the programs of a flavor, one crate a line.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn tree(&self, flavor: Flavor) -> Result<String, CompileError> {
        let mut tree = self.cargo(&["tree", "--locked", "--target", TARGET]);
        tree.args([
            "--edges",
            "no-dev,no-build,no-proc-macro",
            "--prefix",
            "none",
        ])
        .args(["--no-dedupe", "--format", TREE_FORMAT]);
        programs(&mut tree, flavor);
        let output = tree.stderr(Stdio::inherit()).output();
        let output = output.map_err(cannot_start(&tree))?;
        succeed("tree", output.status)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Refuses settings of cargo's, outside of the repository, that reach into programs.
    ///
    /// # Errors
    /// [`CompileError::Settings`].
    pub fn settings(&self) -> Result<(), CompileError> {
        // A clone inside of another one has the same settings twice.
        let own = files::read(&self.repository.join(".cargo/config.toml"))?;
        let above = self.repository.ancestors().skip(1);
        let folders = above.map(|folder| folder.join(".cargo")).chain([home()?]);
        for folder in folders {
            for path in ["config.toml", "config"].map(|name| folder.join(name)) {
                if !path.is_file() {
                    continue;
                }
                let settings = files::read(&path)?;
                if settings != own {
                    harmless(&path, &settings)?;
                }
            }
        }
        Ok(())
    }

    /// The compiler's release and its commit, by its own word: that which cargo runs.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn rustc(&self) -> Result<(String, String), CompileError> {
        let mut rustc = self.tool("rustc", &["-vV"]);
        let output = rustc.stderr(Stdio::inherit()).output();
        let output = output.map_err(cannot_start(&rustc))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let word = |name: &str| said.lines().find_map(|line| line.strip_prefix(name));
        word("release: ")
            .zip(word("commit-hash: "))
            .map(|(release, commit)| (release.to_owned(), commit.to_owned()))
            .ok_or(CompileError::Compiler)
    }

    /// Which folders are called what in the programs.
    fn renames(&self) -> Result<Vec<(PathBuf, &'static str)>, CompileError> {
        let home = home()?;
        let sources = home.join("registry/src");
        let mut renames = vec![
            (home, "/cargo"),
            (self.repository.to_owned(), "/zipnet"),
            (self.target.to_owned(), "/target"),
        ];
        // Later ones win. These are named after the registry's address.
        let sources = files::entries(&sources).unwrap_or_default();
        renames.extend(sources.into_iter().map(|path| (path, "/crates")));
        Ok(renames)
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        self.tool("cargo", arguments)
    }

    fn tool(&self, name: &str, arguments: &[&str]) -> Command {
        let mut cargo = Command::new(name);
        cargo.args(arguments).current_dir(self.repository);
        cargo.env_clear();
        for (name, value) in env::vars_os() {
            let text = name.to_string_lossy();
            let network = text.to_ascii_lowercase().ends_with("_proxy");
            let kept = KEPT.contains(&&*text) || network;
            if kept || KEPT_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
                cargo.env(name, value);
            }
        }
        cargo
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("SOURCE_DATE_EPOCH", DATE.trim_ascii())
            .env("CARGO_TARGET_DIR", self.target);
        cargo
    }

    /// Scripts that run the locked compiler and archiver wherever they were
    /// unpacked. The libraries that they need come along; libc is the machine's.
    fn wrappers(&self) -> Result<PathBuf, CompileError> {
        let dir = self.target.join("toolchain");
        fs::create_dir_all(&dir).map_err(FileError::of("make the folder", &dir))?;
        let root = self.toolchain.display();
        for (name, program) in [
            ("cc", format!("x86_64-linux-gnu-gcc-12 '--sysroot={root}'")),
            ("ar", "x86_64-linux-gnu-ar".to_owned()),
        ] {
            let text = format!(
                "#!/bin/sh\nPATH='{root}/usr/bin':$PATH LD_LIBRARY_PATH='{root}/usr/lib/x86_64-linux-gnu' exec {program} \"$@\"\n"
            );
            let path = dir.join(name);
            // Cargo builds anew what newer wrappers have built.
            if files::read(&path).is_ok_and(|old| old == text.as_bytes()) {
                continue;
            }
            files::write(&path, text.as_bytes())?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .map_err(FileError::of("make executable", &path))?;
        }
        Ok(dir)
    }
}

fn home() -> Result<PathBuf, CompileError> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let user = || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"));
    home.or_else(user).ok_or(CompileError::NoHome)
}

/// Refuses a file of settings that reaches into programs.
fn harmless(path: &Path, bytes: &[u8]) -> Result<(), CompileError> {
    let text = String::from_utf8_lossy(bytes);
    let settings: toml::Table = text.parse().map_err(|source| CompileError::Toml {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    match settings
        .keys()
        .find(|table| !HARMLESS.contains(&table.as_str()))
    {
        Some(table) => Err(CompileError::Settings {
            path: path.to_owned(),
            table: table.clone(),
        }),
        None => Ok(()),
    }
}

/// What the compiler writes instead of paths.
fn remapped(renames: &[(PathBuf, &'static str)]) -> impl Iterator<Item = String> {
    let flag =
        |(from, to): &(PathBuf, &str)| format!("--remap-path-prefix={}={to}", from.display());
    renames.iter().map(flag)
}

/// Flags for the compiler, instead of those of `.cargo/config.toml`.
fn encode(cargo: &mut Command, flags: impl Iterator<Item = String>) {
    let flags = flags.collect::<Vec<_>>().join("\u{1f}");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags);
}

fn programs(cargo: &mut Command, flavor: Flavor) {
    cargo.args(PROGRAMS.map(|program| format!("--package={program}")));
    if !flavor.features().is_empty() {
        cargo.args(["--features", &flavor.features().join(",")]);
    }
}

fn run(verb: &'static str, mut command: Command) -> Result<(), CompileError> {
    let status = command.status().map_err(cannot_start(&command))?;
    succeed(verb, status)
}

fn cannot_start(command: &Command) -> impl FnOnce(std::io::Error) -> CompileError {
    let program = command.get_program().to_string_lossy().into_owned();
    move |source| CompileError::Start { program, source }
}

fn succeed(verb: &'static str, status: ExitStatus) -> Result<(), CompileError> {
    if status.success() {
        Ok(())
    } else {
        Err(CompileError::Cargo { verb, status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d7_settings_that_reach_into_programs_are_refused() {
        let path = Path::new("config.toml");
        let read = |text: &str| harmless(path, text.as_bytes());
        read("").unwrap();
        read("[source.crates-io]\nreplace-with = \"m\"\n[net]\noffline = true\n").unwrap();
        for text in [
            "[build]\nrustc-wrapper = \"w\"\n",
            "build.rustc-wrapper = \"w\"\n",
            "[net]\noffline = true\n[profile.release]\nopt-level = 0\n",
            "[env]\nCFLAGS = \"-O0\"\n",
            "[target.x86_64-unknown-linux-gnu]\nlinker = \"l\"\n",
            "include = [\"other.toml\"]\n",
        ] {
            let error = read(text).unwrap_err();
            assert!(matches!(error, CompileError::Settings { .. }), "{error}");
        }
        assert!(matches!(read("["), Err(CompileError::Toml { .. })));
    }
}
