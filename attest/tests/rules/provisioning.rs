//! What a guest's statement can break towards whoever has its secrets.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
};

use zipnet_attest::{
    Refusal, Rule, TrustRoot,
    hexes::Hexes,
    provision::{GiveError, Known, Machines},
};

use crate::giving::{Setting, attempt, exchange, now};

fn refusal(given: Result<impl Sized, GiveError>) -> Refusal {
    match given {
        Err(GiveError::Refused(refusal)) => refusal,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("something was given"),
    }
}

/// A guest whose host changes the nonce on its way.
fn other_nonce() -> Refusal {
    let setting = Setting::new("rules");
    let (ours, mut asked) = UnixStream::pair().unwrap();
    let (mut asks, theirs) = UnixStream::pair().unwrap();
    let guest = attempt(setting.guest(), theirs);
    let host = thread::spawn(move || {
        let mut hello = [0; 5 + 64];
        asked.read_exact(&mut hello).unwrap();
        hello[68] ^= 1;
        asks.write_all(&hello).unwrap();
        let mut head = [0; 5];
        asks.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize];
        asks.read_exact(&mut body).unwrap();
        asked.write_all(&[&head[..], &body].concat()).unwrap();
    });
    let given = setting.operator().give(ours);
    host.join().unwrap();
    assert!(guest.join().unwrap().is_err());
    refusal(given)
}

/// A guest that trusts Intel instead.
fn other_anchor() -> Refusal {
    let setting = Setting::new("rules");
    let mut operator = setting.operator();
    operator.base = setting.publisher.base_on(TrustRoot::Intel).unwrap();
    refusal(exchange(setting.guest(), &operator).1)
}

/// A guest on another machine than its giver expects.
fn other_machine() -> Refusal {
    let setting = Setting::new("rules");
    let operator = setting.operator();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let guest = attempt(setting.guest(), theirs);
    let expected = [Hexes([9; 16])];
    let mut strict = operator.giver(Known::Config(&operator.config));
    strict.machines = Machines::These(&expected);
    let given = strict.give(
        ours,
        now(),
        |_| Ok(Arc::new(operator.collateral.clone())),
        |_| Ok(operator.parcel.clone()),
    );
    assert!(guest.join().unwrap().is_err());
    refusal(given)
}

pub fn provisioning() -> Vec<(Rule, Refusal)> {
    vec![
        (Rule::StatementNonce, other_nonce()),
        (Rule::StatementAnchor, other_anchor()),
        (Rule::PlatformExpected, other_machine()),
    ]
}
