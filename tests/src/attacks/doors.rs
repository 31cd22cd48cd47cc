//! Givers and guests on two ends of a stream, and whoever is between them.
//!
//! Givers are real ones, and so are guests whose machine their own configuration may name.
//! One whose configuration has to be somebody else's, byte for byte, is played by hand: it
//! sends what the image sends, and opens what it is sent.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    thread::{self, JoinHandle},
};

use hpke::{
    Deserializable as _, Kem as _, OpModeR, Serializable as _, aead::ChaCha20Poly1305,
    kdf::HkdfSha256, kem::X25519HkdfSha256, setup_receiver,
};
use zipnet_attest::{
    PolicyFile, SecretText,
    provision::{
        AttemptError, Config, GiveError, GiverKey, Guest, GuestStatement, Parcel, Provisions,
        Welcome,
    },
    simulation::{Td, World},
};

use super::ground::{COMMITTEE_SECRET, Ground, INSTANCE, clock};
use crate::sim::rng::entropy;

type Public = <X25519HkdfSha256 as hpke::Kem>::PublicKey;
type Encapsulated = <X25519HkdfSha256 as hpke::Kem>::EncappedKey;

/// The kinds of messages: giver to guest.
pub const HELLO: u8 = 1;
/// Guest to giver.
pub const OFFER: u8 = 2;
/// Giver to guest.
pub const SEALED: u8 = 3;
/// Guest to giver.
pub const ACCEPTED: u8 = 4;
/// Either.
pub const REFUSED: u8 = 5;

/// What today's guests are sealed to for.
const INFO: &[u8] = b"zipnet/provisioning/v2";
/// Where a statement has the guest's key.
pub const KEY: core::ops::Range<usize> = 128..160;
/// Bytes of a statement.
pub const STATEMENT: usize = zipnet_attest::provision::STATEMENT_BYTES;

/// The key of whoever has the committee secret.
#[must_use]
pub fn key() -> GiverKey {
    GiverKey::new(&SecretText::from(COMMITTEE_SECRET), INSTANCE)
}

/// What an operator gives: the committee secret, and a seed that it chose.
#[must_use]
pub fn parcel(policy: &PolicyFile, secret: Option<SecretText>) -> Parcel {
    Parcel {
        committee_secret: SecretText::from(COMMITTEE_SECRET),
        time: clock(),
        secret,
        policy: policy.clone(),
    }
}

/// The configuration of a guest of a name, and more lines.
#[must_use]
pub fn config(ground: &Ground, name: &str, more: &str) -> Config {
    let text = format!(
        "ZIPNET_INSTANCE={INSTANCE}\nGUEST_HOSTNAME={name}\nGUEST_PROVISION_KEY={}\nZIPNET_ATTESTATION=simulated\n\
         ZIPNET_POLICY_KEYS={}\nZIPNET_SIMULATION_SEED={}\nZIPNET_SIMULATION_ISSUED={}\n{more}",
        hex::encode(key().public()),
        ground.intel.public_key(),
        ground.seed,
        ground.intel.issued(),
    );
    Config::parse(text.as_bytes()).expect("a configuration")
}

/// A guest of a name on a machine.
#[must_use]
pub fn guest(ground: &Ground, name: &str, machine: u8) -> Guest {
    let id = hex::encode([machine; 16]);
    let config = config(ground, name, &format!("ZIPNET_SIMULATION_PLATFORM={id}\n"));
    Guest::new(config, Path::new("/nowhere")).expect("a guest")
}

/// What came of an exchange, for both.
pub type Exchanged = (Result<Provisions, AttemptError>, Result<Welcome, GiveError>);

/// Connects a guest to whoever gives.
pub fn exchange(
    guest: Guest,
    give: impl FnOnce(UnixStream) -> Result<Welcome, GiveError>,
) -> Exchanged {
    let (ours, theirs) = pair();
    let guest = attempt(guest, theirs);
    let given = give(ours);
    (guest.join().expect("a guest"), given)
}

/// Both ends of a stream.
#[must_use]
pub fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("a stream")
}

/// A guest that waits for whoever connects.
#[must_use]
pub fn attempt(guest: Guest, stream: UnixStream) -> JoinHandle<Result<Provisions, AttemptError>> {
    thread::spawn(move || guest.attempt(stream, |given| Ok(given.clone())))
}

/// A TD of somebody who plays the guest by hand; yields what it was given, if anything.
#[must_use]
pub fn by_hand(
    ground: &Ground,
    world: World,
    td: &Td,
    config: Config,
    mut giver: UnixStream,
) -> JoinHandle<Option<Parcel>> {
    let (secret, public) = X25519HkdfSha256::derive_keypair(&*entropy("one-time key", 0, 0));
    let base = ground.intel.base().expect("a root");
    let mut statement = GuestStatement {
        anchor: *base.anchor(),
        instance: GuestStatement::instance(INSTANCE),
        config: config.digest(),
        key: public.to_bytes().into(),
        nonce: [0; 32],
        time: clock(),
    };
    let td = td.clone();
    thread::spawn(move || {
        let (_, hello) = receive(&mut giver).ok()?;
        statement.nonce = hello.get(32..)?.try_into().ok()?;
        let quote = world.quote(&Td {
            report_data: statement.report_data(),
            ..td
        });
        let statement = statement.encode();
        let length = u32::try_from(quote.len()).ok()?.to_be_bytes();
        let offer = [&statement[..], &length, &quote, config.bytes()].concat();
        send(&mut giver, OFFER, &offer).ok()?;
        let (kind, body) = receive(&mut giver).ok()?;
        let (encapsulated, ciphertext) = body.split_at_checked(32)?;
        if kind != SEALED {
            return None;
        }
        let from = Public::from_bytes(&key().public()).ok()?;
        let encapsulated = Encapsulated::from_bytes(encapsulated).ok()?;
        let mode = OpModeR::Auth(from);
        let opened = setup_receiver::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &mode,
            &secret,
            &encapsulated,
            INFO,
        );
        let message = opened.ok()?.open(ciphertext, &statement).ok()?;
        Parcel::unpack(&message).ok()
    })
}

/// A host between giver and guest, which sees every message and may send another one in its
/// place. It ends when either side does.
pub fn between(
    mut giver: UnixStream,
    mut guest: UnixStream,
    mut change: impl FnMut(u8, Vec<u8>) -> (u8, Vec<u8>) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        for step in 0..4 {
            let (from, to) = if step % 2 == 0 {
                (&mut giver, &mut guest)
            } else {
                (&mut guest, &mut giver)
            };
            let Ok((kind, body)) = receive(from) else {
                return;
            };
            let (kind, body) = change(kind, body);
            if send(to, kind, &body).is_err() {
                return;
            }
        }
    })
}

/// Reads a message.
///
/// # Errors
/// The stream's.
pub fn receive(stream: &mut UnixStream) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}

/// Writes a message.
///
/// # Errors
/// The stream's.
pub fn send(stream: &mut UnixStream, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&[&[kind][..], &length.to_be_bytes(), body].concat())
}

/// In a word, what a giver says.
#[must_use]
pub fn rule(given: &Result<Welcome, GiveError>) -> String {
    match given {
        Ok(_) => "given".to_owned(),
        Err(GiveError::Refused(refusal)) => refusal.rule().to_string(),
        Err(GiveError::Unproven) => "not proven".to_owned(),
        Err(GiveError::Accepted(_)) => "not accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}
