//! The messages by hand, as somebody else would write them.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    thread,
};

use zipnet_attest::{
    provision::{Config, GuestStatement},
    simulation::{Td, World},
};

use crate::fixture::{Setting, now};

pub const HELLO: u8 = 1;
pub const OFFER: u8 = 2;
pub const SEALED: u8 = 3;
pub const ACCEPTED: u8 = 4;
pub const REFUSED: u8 = 5;

pub fn receive(stream: &mut UnixStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes(head[1..].try_into().unwrap());
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

pub fn send(stream: &mut UnixStream, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    stream.write_all(&[&[kind][..], &length, body].concat())
}

pub fn hello(nonce: [u8; 32]) -> Vec<u8> {
    let mut tag = b"zipnet/provisioning-stream/v2".to_vec();
    tag.resize(32, 0);
    [tag, nonce.to_vec()].concat()
}

pub fn offer(statement: &[u8], quote: &[u8], config: &Config) -> Vec<u8> {
    let length = u32::try_from(quote.len()).unwrap().to_be_bytes();
    [statement, &length, quote, config.bytes()].concat()
}

/// A machine in the middle that sees every message between giver and guest,
/// may change it, and ends both connections where `change` says `None`.
/// Yields all that it saw.
pub fn between(
    giver: UnixStream,
    guest: UnixStream,
    change: impl Fn(u8, Vec<u8>) -> Option<Vec<u8>> + Send + 'static,
) -> thread::JoinHandle<Vec<(u8, Vec<u8>)>> {
    thread::spawn(move || {
        let (mut giver, mut guest) = (giver, guest);
        let mut seen = Vec::new();
        for step in 0..4 {
            let (from, to) = if step % 2 == 0 {
                (&mut giver, &mut guest)
            } else {
                (&mut guest, &mut giver)
            };
            let Ok((kind, body)) = receive(from) else {
                break;
            };
            seen.push((kind, body.clone()));
            let Some(body) = change(kind, body) else {
                break;
            };
            if send(to, kind, &body).is_err() || kind == REFUSED {
                break;
            }
        }
        seen
    })
}

/// A guest of somebody who chose all of it by himself, before a giver: its
/// statement, what its quote says, and its configuration. Yields what the
/// giver answers.
pub fn impostor(
    setting: &Setting,
    config: &Config,
    statement_of: impl FnOnce(&mut GuestStatement),
    td_of: impl FnOnce(&mut Td),
    giver: UnixStream,
) -> thread::JoinHandle<(u8, Vec<u8>)> {
    let world = setting.publisher.world().unwrap();
    impostor_in(setting, &world, config, statement_of, td_of, giver)
}

/// The same with quotes of another world.
pub fn impostor_in(
    setting: &Setting,
    world: &World,
    config: &Config,
    statement_of: impl FnOnce(&mut GuestStatement),
    td_of: impl FnOnce(&mut Td),
    mut giver: UnixStream,
) -> thread::JoinHandle<(u8, Vec<u8>)> {
    let base = setting.publisher.base().unwrap();
    let mut statement = GuestStatement {
        anchor: *base.anchor(),
        instance: GuestStatement::instance("zipnet.provision.test"),
        config: config.digest(),
        key: [9; 32],
        nonce: [0; 32],
        time: now(),
    };
    statement_of(&mut statement);
    let mut td = Td::default();
    td_of(&mut td);
    let (world, config) = (world.clone(), config.clone());
    thread::spawn(move || {
        let (kind, hello) = receive(&mut giver).unwrap();
        assert_eq!(kind, HELLO);
        statement.nonce = hello[32..].try_into().unwrap();
        td.report_data = statement.report_data();
        let offer = offer(&statement.encode(), &world.quote(&td), &config);
        send(&mut giver, OFFER, &offer).unwrap();
        receive(&mut giver).unwrap()
    })
}
