//! All that is in the guest while its server runs, in lines that a test
//! compares with a list: mounts, sockets, processes, files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use crate::{
    paths::{RUN, STATE},
    proc::{self, Process},
};

/// From here on, Linux gives ports to whoever names none
/// (`net.ipv4.ip_local_port_range`).
const RANDOM_PORTS: u16 = 32_768;

/// The lines, without `inventory: `, in an order that depends on nothing else.
/// `named` are the ports that the configuration names.
#[must_use]
pub fn lines(named: &BTreeSet<u16>) -> Vec<String> {
    let processes = proc::processes().unwrap_or_default();
    let mut lines: Vec<_> = proc::mounts()
        .into_iter()
        .map(|(target, kind)| format!("mount {target} {kind}"))
        .collect();
    lines.extend(sockets(&processes, named));
    let programs: BTreeSet<_> = processes
        .iter()
        .map(|process| format!("process {} {}", title(process), proc::rights(process.pid)))
        .collect();
    lines.extend(programs);
    let mut files = BTreeMap::new();
    for root in ["/", "/run", "/tmp"] {
        walk(Path::new(root), &mut files);
    }
    lines.extend(
        files
            .into_iter()
            .map(|(path, what)| format!("file {path} {what}")),
    );
    lines
}

/// Program and, of this program, the stage.
fn title(process: &Process) -> String {
    let words = [&process.program].into_iter().chain(&process.arguments);
    words.cloned().collect::<Vec<_>>().join(" ")
}

fn sockets(processes: &[Process], named: &BTreeSet<u16>) -> BTreeSet<String> {
    let owners: BTreeMap<_, _> = processes
        .iter()
        .flat_map(|process| {
            let sockets = proc::sockets_of(process.pid);
            sockets
                .into_iter()
                .map(move |inode| (inode, title(process)))
        })
        .collect();
    proc::listening()
        .into_iter()
        .map(|socket| {
            let port = socket.address.port();
            let port = if port >= RANDOM_PORTS && !named.contains(&port) {
                "*".to_owned()
            } else {
                port.to_string()
            };
            let mut address = socket.address;
            address.set_port(0);
            let address = address.to_string();
            let address = address.strip_suffix('0').unwrap_or(&address);
            let owner = owners.get(&socket.inode).map_or("nobody", String::as_str);
            format!("listen {} {address}{port} {owner}", socket.protocol)
        })
        .collect()
}

/// Files below a folder on the same file system: mode in octal, and size where
/// the image says it.
fn walk(folder: &Path, files: &mut BTreeMap<String, String>) {
    let Ok(device) = fs::symlink_metadata(folder).map(|found| found.dev()) else {
        return;
    };
    // A loop, not a recursion: the stack is small and the depth not ours.
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(found) = fs::symlink_metadata(&path) else {
                continue;
            };
            let name = path.to_string_lossy().into_owned();
            let mode = format!("{:06o}", found.mode());
            let what = if found.is_symlink() {
                let to = fs::read_link(&path).unwrap_or_default();
                format!("{mode} -> {}", to.display())
            } else if found.is_file() && !path.starts_with(RUN) {
                format!("{mode} {}", found.len())
            } else {
                // What is written at run time has no size to compare.
                format!("{mode} -")
            };
            files.insert(name, what);
            // The server's own; what is in it is not told apart.
            if found.is_dir() && found.dev() == device && path != Path::new(STATE) {
                folders.push(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn files_sockets_and_processes_of_this_machine_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), "four").unwrap();
        let mut files = BTreeMap::new();
        walk(folder.path(), &mut files);
        let found: Vec<_> = files
            .iter()
            .map(|(path, what)| {
                (
                    path.rsplit('/').next().unwrap(),
                    what.split_once(' ').unwrap().1,
                )
            })
            .collect();
        assert_eq!(found, [("a", "-"), ("b", "4")]);

        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let own: Vec<_> = proc::processes()
            .unwrap()
            .into_iter()
            .filter(|process| process.pid.unsigned_abs() == std::process::id())
            .collect();
        let of = |named: &[u16]| sockets(&own, &named.iter().copied().collect());
        let line = |port: &str| format!("listen udp 127.0.0.1:{port} {}", title(&own[0]));
        assert!(of(&[port]).contains(&line(&port.to_string())));
        assert!(of(&[]).contains(&line("*")));
    }
}
