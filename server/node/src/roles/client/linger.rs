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

/// Rounds to stay, before and after together.
const WHOLE: u32 = 17;
/// How long to stay if rounds do not come: there is no more company then.
const PATIENCE: Duration = Duration::from_mins(10);

/// A stay among others.
#[derive(Debug)]
pub struct Linger {
    reader: Reader,
    /// How long the stay before was, of which this is the rest or the whole.
    before: u32,
    left: u32,
    until: Instant,
}

impl Linger {
    pub(super) fn new(reader: Reader) -> Self {
        let before = rounds(&mut Dice::fresh());
        Self {
            reader,
            before,
            left: before,
            until: Instant::now() + PATIENCE,
        }
    }

    /// The stay behind a message that this one came before: the rest of the whole,
    /// counted from now.
    #[must_use]
    pub fn behind(&self, client: &Client) -> Self {
        Self {
            reader: client.reader(),
            before: self.before,
            left: after(self.before),
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
        let came = timeout_at(self.until, self.reader.next()).await;
        let came = matches!(came, Ok(Some(_)));
        if came {
            self.until = Instant::now() + PATIENCE;
        }
        self.left = if came { self.left.saturating_sub(1) } else { 0 };
        self.left > 0
    }
}

/// One at least, and one less than the whole at most, each as likely.
fn rounds(dice: &mut Dice) -> u32 {
    let most = WHOLE.saturating_sub(1);
    let drawn = u32::try_from(dice.below(u64::from(most))).unwrap_or(0);
    drawn.saturating_add(1)
}

const fn after(before: u32) -> u32 {
    WHOLE.saturating_sub(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a8_every_stay_is_as_long_and_the_message_anywhere_in_it() {
        let mut dice = Dice::seeded(&[8; 32]);
        let mut places = [0_u32; 17];
        for _ in 0..16_000 {
            let before = rounds(&mut dice);
            assert_eq!(before + after(before), WHOLE);
            places[before as usize] += 1;
        }
        assert_eq!(places[0], 0, "one round at least");
        // A thousand each; seven standard deviations are 215.
        let alike = places[1..].iter().all(|count| (785..=1215).contains(count));
        assert!(alike, "{places:?}");
    }
}
