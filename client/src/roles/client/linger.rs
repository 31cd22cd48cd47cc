//! How long to stay for company's sake (A8).
//!
//! Who registers, talks and leaves has given itself away with one message:
//! comings and goings are public. So whoever talks takes part for some rounds
//! before and after: as many in all as everybody else who comes to talk, with the
//! message at a random place among them. Stays of random length would hide when
//! somebody wrote, and tell who wrote better than a guess: who stays longer has
//! more messages fall into his stay (measured, decision 0016).

use core::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Client, Reader};
use crate::entropy::Dice;

/// Rounds to take part in, that of the message among them.
const WHOLE: u32 = 17;
/// How long to stay if rounds do not come: there is no more company then.
const PATIENCE: Duration = Duration::from_mins(10);

/// Where in its stay a client writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    before: u32,
}

impl Stay {
    /// Every place is as likely.
    #[must_use]
    pub fn draw(dice: &mut Dice) -> Self {
        let drawn = u32::try_from(dice.below(u64::from(WHOLE))).unwrap_or(0);
        Self {
            before: drawn.saturating_add(1),
        }
    }

    /// Records to wait for before the message: one at least, that of the round in
    /// which the client came and does not take part.
    #[must_use]
    pub const fn before(self) -> u32 {
        self.before
    }

    /// Records to wait for behind that of the message.
    #[must_use]
    pub const fn after(self) -> u32 {
        WHOLE.saturating_sub(self.before)
    }
}

/// A stay among others.
#[derive(Debug)]
pub struct Linger {
    reader: Reader,
    stay: Stay,
    left: u32,
    until: Instant,
}

impl Linger {
    pub(super) fn new(reader: Reader) -> Self {
        let stay = Stay::draw(&mut Dice::fresh());
        Self {
            reader,
            stay,
            left: stay.before(),
            until: Instant::now() + PATIENCE,
        }
    }

    /// The stay behind a message that this one came before: the rest of the whole,
    /// counted from now.
    #[must_use]
    pub fn behind(&self, client: &Client) -> Self {
        Self {
            reader: client.reader(),
            stay: self.stay,
            left: self.stay.after(),
            until: Instant::now() + PATIENCE,
        }
    }

    /// Rounds that are left.
    #[must_use]
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// Stays for one more round. `false` once it is time to go on, or no round
    /// has been finalized for ten minutes.
    pub async fn one_more(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        let came = loop {
            match timeout_at(self.until, self.reader.next()).await {
                // What is missing is no round.
                Ok(Some(Err(_))) => {}
                Ok(Some(Ok(_))) => break true,
                Ok(None) | Err(_) => break false,
            }
        };
        if came {
            self.until = Instant::now() + PATIENCE;
        }
        self.left = if came { self.left.saturating_sub(1) } else { 0 };
        self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a8_every_stay_is_as_long_and_the_message_anywhere_in_it() {
        let mut dice = Dice::seeded(&[8; 32]);
        let mut places = [0_u32; 18];
        for _ in 0..17_000 {
            let stay = Stay::draw(&mut dice);
            assert_eq!(stay.before() + stay.after(), WHOLE);
            places[stay.before() as usize] += 1;
        }
        assert_eq!(places[0], 0, "one round at least");
        // A thousand each; seven standard deviations are 215.
        let alike = places[1..].iter().all(|count| (785..=1215).contains(count));
        assert!(alike, "{places:?}");
    }
}
