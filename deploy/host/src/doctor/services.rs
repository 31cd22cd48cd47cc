//! What a host's other programs give: quotes, certificates, the time.

use std::{
    io,
    time::{Duration, UNIX_EPOCH},
};

use super::{Check, Host, PATIENCE};
use crate::{http::Url, quotes::Quotes};

/// When this program was last gone through, as the image's first program knows it.
const BUILT: &str = include_str!("../../../../image/date");
/// Where Intel's library for quotes has its settings.
const QCNL: &str = "/etc/sgx_default_qcnl.conf";

pub fn quotes(host: &Host, quotes: &Quotes) -> Check {
    const NAME: &str = "quotes";
    // A path is one of the host.
    let there = match quotes {
        Quotes::Unix(path) => Quotes::Unix(host.at(&path.display().to_string())),
        Quotes::Vsock { .. } => quotes.clone(),
    };
    let Err(error) = there.reach() else {
        return Check::ok(
            NAME,
            format!("somebody listens at {quotes}; whether it quotes, a TD's first evidence shows"),
        );
    };
    let remedy = if !host.has("/dev/sgx_enclave") {
        "there is no /dev/sgx_enclave either, and quotes are signed in an SGX enclave: switch on SGX in the firmware's settings, then install and start qgsd (Intel's tdx-qgs)"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "run this as root, or as a user who may open it, as QEMU has to"
    } else if let Quotes::Vsock { .. } = quotes {
        "install and start qgsd (Intel's tdx-qgs) with port = 4050 in /etc/qgs.conf, and `modprobe vsock_loopback vhost_vsock`; or name its socket by --quotes unix:PATH"
    } else {
        "start qgsd (Intel's tdx-qgs), or name where it listens by --quotes"
    };
    Check::fail(
        NAME,
        format!("nobody answers at {quotes} ({error})"),
        remedy,
    )
}

pub fn pccs(host: &Host, named: Option<&Url>) -> Check {
    const NAME: &str = "pccs";
    let settings = || {
        let text = host.text(QCNL).ok()?;
        // JSON with comments.
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with("\"pccs_url\""))?;
        line.split('"').nth(3).map(str::to_owned)
    };
    let url = match named {
        Some(url) => url.clone(),
        None => match settings().map(|url| url.parse::<Url>()) {
            Some(Ok(url)) => url,
            Some(Err(error)) => {
                return Check::fail(
                    NAME,
                    format!("{QCNL} has a pccs_url that is none"),
                    error.to_string(),
                );
            }
            None => {
                return Check::warn(
                    NAME,
                    format!("no PCCS is named, neither by --pccs nor in {QCNL}"),
                    "the host's library gets its certificate from a PCCS, or from what registration has left in its cache",
                );
            }
        },
    };
    let remedy =
        "start it, or correct pccs_url; without it the host has no certificate for its quotes";
    let text = zipnet_attest::report::plain(&url.text);
    if url.tls {
        return match url.connect(PATIENCE) {
            Ok(_) => Check::ok(
                NAME,
                format!(
                    "somebody listens at {text}; its TLS and its certificates were not looked at"
                ),
            ),
            Err(error) => Check::fail(NAME, zipnet_attest::report::chain(&error), remedy),
        };
    }
    match url.get(PATIENCE) {
        // Whatever it says to this path: it is up.
        Ok(answer) if answer.status < 500 => Check::ok(NAME, format!("{text} answers")),
        Ok(answer) => Check::fail(
            NAME,
            format!("{text} answers with status {}", answer.status),
            remedy,
        ),
        Err(error) => Check::fail(NAME, zipnet_attest::report::chain(&error), remedy),
    }
}

pub fn clock(host: &Host) -> Check {
    const NAME: &str = "clock";
    let built = UNIX_EPOCH + Duration::from_secs(BUILT.trim().parse().unwrap_or_default());
    let now = humantime::format_rfc3339_seconds(host.now);
    if host.now < built {
        return Check::fail(
            NAME,
            format!("it says {now}, before this program was made"),
            "set it: a guest begins with it, and one of that day refuses to run",
        );
    }
    if host.has("/run/systemd/timesync/synchronized") {
        return Check::ok(
            NAME,
            format!("it says {now}, and systemd-timesyncd has set it"),
        );
    }
    for (path, name) in [
        ("/run/chrony/chronyd.pid", "chronyd"),
        ("/run/ntpd.pid", "ntpd"),
    ] {
        if host.has(path) {
            return Check::ok(NAME, format!("it says {now}, and {name} keeps it"));
        }
    }
    Check::warn(
        NAME,
        format!("it says {now}, and nobody is seen to keep it"),
        "run systemd-timesyncd or chronyd: a guest that is 600 s behind whoever gives it secrets takes none",
    )
}
