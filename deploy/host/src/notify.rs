//! What a service manager is told (`sd_notify`), if there is one that listens.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// The guest waits for its secrets, or serves.
pub fn ready() {
    send("READY=1");
}

/// The guest is told to end, or has ended.
pub fn stopping() {
    send("STOPPING=1");
}

/// How the guest is, for `systemctl status`.
pub fn status(words: &str) {
    send(&format!("STATUS=The guest {words}"));
}

fn send(message: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match path.as_encoded_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    // A manager that is gone is no reason to end.
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.send_to_addr(message.as_bytes(), &address);
    }
}
