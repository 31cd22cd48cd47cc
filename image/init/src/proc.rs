//! The kernel's text files about processes, memory and sockets.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// A process that has a program: not a thread of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its program's file.
    pub program: String,
    /// Its arguments after the first.
    pub arguments: Vec<String>,
}

/// A socket that waits for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listening {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The socket's number.
    pub inode: u64,
}

/// A field in kB of a file such as /proc/meminfo, in bytes.
#[must_use]
pub fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// A field of /proc/meminfo, in bytes.
#[must_use]
pub fn memory(field: &str) -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, field)
}

/// How much memory a process has in use, in bytes.
#[must_use]
pub fn resident(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kilobytes(&status, "VmRSS")
}

/// Seconds since the kernel started.
#[must_use]
pub fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split('.').next().unwrap_or_default();
    seconds.parse().unwrap_or_default()
}

/// All processes that have a program.
///
/// # Errors
/// If there is no /proc.
pub fn processes() -> io::Result<Vec<Process>> {
    let mut processes: Vec<_> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?))
        .collect();
    processes.sort_by_key(|process| process.pid);
    Ok(processes)
}

fn process(pid: i32) -> Option<Process> {
    // Threads of the kernel have none; others may have ended meanwhile.
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = arguments
        .split(|byte| *byte == 0)
        .skip(1)
        .filter(|argument| !argument.is_empty())
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    Some(Process {
        pid,
        program: program.to_string_lossy().into_owned(),
        arguments,
    })
}

/// Who a process is and what it may do: user, capabilities in force, and whether its
/// system calls are filtered.
#[must_use]
pub fn rights(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.split_whitespace().next())
    };
    let [user, capabilities, seccomp] =
        ["Uid", "CapEff", "Seccomp"].map(|name| field(name).unwrap_or("?"));
    format!("uid {user} caps {capabilities} seccomp {seccomp}")
}

/// The sockets that a process has open.
#[must_use]
pub fn sockets_of(pid: i32) -> Vec<u64> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| socket_inode(fs::read_link(entry.path()).ok()?.to_str()?))
        .collect()
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// All sockets that wait for others, in order.
#[must_use]
pub fn listening() -> Vec<Listening> {
    let mut all: Vec<_> = [
        ("tcp", "/proc/net/tcp"),
        ("tcp", "/proc/net/tcp6"),
        ("udp", "/proc/net/udp"),
        ("udp", "/proc/net/udp6"),
    ]
    .into_iter()
    .flat_map(|(protocol, file)| {
        let text = fs::read_to_string(file).unwrap_or_default();
        listening_in(protocol, &text)
    })
    .collect();
    all.sort();
    all
}

/// Lines of /proc/net/tcp and its like: `sl local remote state … inode …`.
fn listening_in(protocol: &'static str, text: &str) -> Vec<Listening> {
    // TCP_LISTEN, and a UDP socket that is bound and not connected.
    let waiting = if protocol == "tcp" { "0A" } else { "07" };
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            (*fields.get(3)? == waiting).then_some(())?;
            Some(Listening {
                protocol,
                address: socket_address(fields.get(1)?)?,
                inode: fields.get(9)?.parse().ok()?,
            })
        })
        .collect()
}

/// `0100007F:0016`: words of the address in this machine's byte order.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = [0; 16];
    let bytes = bytes.get_mut(..address.len().checked_div(2)?)?;
    hex::decode_to_slice(address, bytes).ok()?;
    for word in bytes.chunks_mut(4) {
        word.reverse();
    }
    let address: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(&*bytes).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(&*bytes).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Mounts in force, by their targets: kind, and the options that say what may
/// be done there. Of several on one target the last is seen.
#[must_use]
pub fn mounts() -> BTreeMap<String, String> {
    mounts_in(&fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

fn mounts_in(text: &str) -> BTreeMap<String, String> {
    const SAID: [&str; 6] = ["ro", "rw", "nosuid", "nodev", "noexec", "hidepid=invisible"];
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let target = fields.next()?.to_owned();
            let kind = fields.next()?;
            let options: Vec<_> = fields
                .next()?
                .split(',')
                .filter(|option| SAID.contains(option))
                .collect();
            Some((target, format!("{kind} {}", options.join(","))))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_of_memory_are_read() {
        let text = "MemTotal:         496456 kB\nMemFree:  1 kB\nHugePages_Total:       0\n";
        assert_eq!(kilobytes(text, "MemTotal"), Some(496_456 * 1024));
        assert_eq!(kilobytes(text, "HugePages_Total"), None);
        assert_eq!(kilobytes(text, "Mem"), None);
    }

    #[test]
    fn listening_sockets_are_found_among_others() {
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:238C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0\n   \
            1: 0F02000A:9999 0202000A:0016 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0\n";
        let found = listening_in("tcp", tcp);
        let expected = Listening {
            protocol: "tcp",
            address: "127.0.0.1:9100".parse().unwrap(),
            inode: 4242,
        };
        assert_eq!(found, [expected]);
        let six = socket_address("B80D0120000000000000000001000000:1DE2");
        assert_eq!(six, Some("[2001:db8::1]:7650".parse().unwrap()));
        assert_eq!(socket_inode("socket:[77]"), Some(77));
        assert_eq!(socket_inode("pipe:[77]"), None);
    }

    #[test]
    fn mounts_say_what_may_be_done() {
        let text = "none / rootfs rw 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime,hidepid=invisible 0 0\n\
            none / rootfs ro,size=1k 0 0\n";
        let mounts = mounts_in(text);
        assert_eq!(mounts["/"], "rootfs ro");
        assert_eq!(
            mounts["/proc"],
            "proc rw,nosuid,nodev,noexec,hidepid=invisible"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String, address in "[0-9A-Fg]{0,40}:[0-9A-F]{0,6}") {
            let _ = (listening_in("udp", &text), mounts_in(&text), kilobytes(&text, "M"));
            let _ = socket_address(&address);
        }
    }
}
