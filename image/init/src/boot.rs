//! From the kernel's hand-over to a machine that servers can run on: mounts,
//! console, modules, knobs of the kernel.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{chown, symlink},
    path::Path,
};

use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout, sethostname},
};

use crate::{
    devices::{self, DeviceError, Probing},
    paths::{CONFIGFS, MODULE_ORDER, MODULES, NETWORK, RESOLV_CONF, RUN, STATE},
    say,
    stages::Stage,
};

/// The machine cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A mount.
    #[error("Could not mount {0}")]
    Mount(&'static str, #[source] io::Error),
    /// The console.
    #[error("Could not open /dev/console")]
    Console(#[source] io::Error),
    /// A file or a folder.
    #[error("Could not make {0}")]
    Make(&'static str, #[source] io::Error),
    /// The list of modules.
    #[error("Could not read {MODULE_ORDER}; names of modules, one a line, would be right")]
    Order(#[source] io::Error),
    /// A module.
    #[error("Could not load the module {0}")]
    Module(String, #[source] io::Error),
    /// A knob.
    #[error("Could not set /proc/sys/{0}")]
    Knob(&'static str, #[source] io::Error),
    /// The name.
    #[error("Could not set the host name {0}")]
    Hostname(String, #[source] io::Error),
    /// Devices.
    #[error(transparent)]
    Devices(#[from] DeviceError),
}

struct Mount {
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    data: &'static str,
}

const QUIET: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// Everything but configfs, whose module is not there yet. The tmpfs are all
/// that can be written to, and they are memory.
const MOUNTS: &[Mount] = &[
    Mount {
        target: "/proc",
        kind: "proc",
        flags: QUIET,
        // By default root's group, which all of these processes are in, sees all.
        data: "hidepid=invisible,gid=65534",
    },
    Mount {
        // Read-only once the network card has its driver.
        target: "/sys",
        kind: "sysfs",
        flags: QUIET,
        data: "",
    },
    Mount {
        target: "/dev",
        kind: "devtmpfs",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        data: "mode=0755,size=64k",
    },
    Mount {
        target: "/run",
        kind: "tmpfs",
        flags: QUIET,
        data: "mode=0755,size=32m,nr_inodes=4096",
    },
    Mount {
        target: "/tmp",
        kind: "tmpfs",
        flags: QUIET,
        data: "mode=1777,size=1m,nr_inodes=64",
    },
];

/// Knobs below /proc/sys, and what they are turned to.
const KNOBS: &[(&str, &str)] = &[
    // Errors only: the console is for people.
    ("kernel/printk", "4"),
    // No process leaves its memory in a file or a pipe.
    ("kernel/core_pattern", ""),
    ("fs/suid_dumpable", "0"),
    // Nobody looks into another process, or at the kernel's addresses.
    ("kernel/yama/ptrace_scope", "3"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    // Wide doors into the kernel that nobody here goes through.
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/io_uring_disabled", "2"),
    ("user/max_user_namespaces", "0"),
    // The host may send a break on the console.
    ("kernel/sysrq", "0"),
    // Another kernel would not be the one that was measured.
    ("kernel/kexec_load_disabled", "1"),
    // A kernel that stumbled is not trusted further; the host starts anew.
    ("kernel/panic_on_oops", "1"),
    // A host may send guests elsewhere; routes are those of the configuration.
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    // The server has no capability to listen at 443, and nobody else is here.
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    // QUIC's sockets take more than the kernel's default.
    ("net/core/rmem_max", "7500000"),
    ("net/core/wmem_max", "7500000"),
    // Last: nothing is loaded after the modules of the list.
    ("kernel/modules_disabled", "1"),
];

/// Mounts what there is and opens the console.
///
/// # Errors
/// [`BootError`].
pub fn mounts() -> Result<(), BootError> {
    for entry in MOUNTS {
        mount_one(entry)?;
    }
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console")
        .map_err(BootError::Console)?;
    let redirect = || {
        dup2_stdin(&console)?;
        dup2_stdout(&console)?;
        dup2_stderr(&console)
    };
    redirect().map_err(|error: Errno| BootError::Console(error.into()))
}

fn mount_one(entry: &Mount) -> Result<(), BootError> {
    let data = (!entry.data.is_empty()).then_some(entry.data);
    mount(
        Some(entry.kind),
        entry.target,
        Some(entry.kind),
        entry.flags,
        data,
    )
    .map_err(|error| BootError::Mount(entry.target, error.into()))
}

/// Makes the folders that are written to, and takes the right to write from
/// everything else.
///
/// # Errors
/// [`BootError`].
pub fn folders() -> Result<(), BootError> {
    for folder in [RUN, STATE, NETWORK] {
        fs::create_dir(folder).map_err(|source| BootError::Make(folder, source))?;
    }
    let user = Stage::Dhcp.user();
    chown(NETWORK, Some(user), Some(user)).map_err(|source| BootError::Make(NETWORK, source))?;
    let link = "/etc/resolv.conf";
    fs::create_dir_all("/etc")
        .and_then(|()| symlink(RESOLV_CONF, link))
        .map_err(|source| BootError::Make(link, source))?;
    read_only("/", MsFlags::empty())
}

fn read_only(target: &'static str, flags: MsFlags) -> Result<(), BootError> {
    mount(
        None::<&str>,
        target,
        None::<&str>,
        flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
        None::<&str>,
    )
    .map_err(|error| BootError::Mount(target, error.into()))
}

/// Refuses a machine with other devices than the image's, loads the modules, gives the
/// network card its driver, and lets no driver take anything by itself from then on.
///
/// # Errors
/// [`BootError`].
pub fn devices() -> Result<(), BootError> {
    let sys = Path::new(devices::SYS);
    devices::allow(sys, Probing::Modules)?;
    devices::check(sys)?;
    modules()?;
    devices::bind_card(sys)?;
    devices::allow(sys, Probing::Nowhere)?;
    // What came meanwhile.
    devices::check(sys)?;
    read_only(devices::SYS, QUIET)
}

/// Loads the modules of the list and mounts configfs. A module of hardware that
/// is not there is no error; one with a leading `-` may be missing altogether.
///
/// # Errors
/// [`BootError`].
fn modules() -> Result<(), BootError> {
    let order = fs::read_to_string(MODULE_ORDER).map_err(BootError::Order)?;
    for (name, optional) in modules_of(&order) {
        match load(name) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => {
                say!("modules: {name} finds no device");
            }
            Err(error) if optional => say!("modules: {name} is not loaded: {error}"),
            Err(source) => return Err(BootError::Module(name.to_owned(), source)),
        }
    }
    if Path::new(CONFIGFS).exists() {
        mount_one(&Mount {
            target: CONFIGFS,
            kind: "configfs",
            flags: QUIET,
            data: "",
        })?;
    }
    Ok(())
}

/// Name, and whether it may fail to load.
fn modules_of(order: &str) -> impl Iterator<Item = (&str, bool)> {
    order
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            line.strip_prefix('-')
                .map_or((line, false), |name| (name, true))
        })
}

fn load(name: &str) -> io::Result<()> {
    let file = File::open(Path::new(MODULES).join(format!("{name}.ko")))?;
    match finit_module(file, &CString::default(), ModuleInitFlags::empty()) {
        // It is part of this kernel, or listed twice.
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Turns the knobs.
///
/// # Errors
/// [`BootError::Knob`].
pub fn knobs() -> Result<(), BootError> {
    for (knob, value) in KNOBS {
        fs::write(Path::new("/proc/sys").join(knob), format!("{value}\n"))
            .map_err(|source| BootError::Knob(knob, source))?;
    }
    Ok(())
}

/// Names this machine.
///
/// # Errors
/// [`BootError::Hostname`].
pub fn hostname(name: &str) -> Result<(), BootError> {
    sethostname(name).map_err(|error| BootError::Hostname(name.to_owned(), error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_modules_has_comments_and_options() {
        let list = "# net\nfailover\n\n-button\n  tsm \n";
        let modules: Vec<_> = modules_of(list).collect();
        assert_eq!(
            modules,
            [("failover", false), ("button", true), ("tsm", false)]
        );
    }

    #[test]
    fn modules_are_forbidden_last() {
        assert_eq!(KNOBS.last().unwrap().0, "kernel/modules_disabled");
    }
}
