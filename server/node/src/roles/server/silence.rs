//! Which servers a round is opened without, because they were silent in one
//! (`ZIPNET_MIN_SERVERS`).
//!
//! mosaik takes seconds to notice that a peer is gone; a round notices as soon as a
//! word is missing. Whoever leads leaves the silent ones out of the next round, if
//! the rest is enough, and takes them in again once they answer a call. It is the
//! leader's own view and binds nobody: a leader may choose any roster of that size
//! (decision 0006), and clients take part with none that is smaller than they said.

use core::time::Duration;
use std::collections::BTreeMap;

use tokio::time::Instant;
use zipnet_protocol::{AdmittedServer, Digest, ServerId};

/// How long a server that was silent once is left out at least; it doubles with each
/// time, since each costs everybody a round.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(64);

/// How long the words of a round are waited for before somebody is called silent.
pub(super) fn patience(period: Duration) -> Duration {
    let third = period.checked_div(3).unwrap_or(period);
    third.clamp(Duration::from_millis(500), Duration::from_secs(5))
}

/// What is held against a server.
#[derive(Debug)]
struct Silent {
    /// The boot that was silent: another one begins anew.
    bundle: Digest,
    times: u32,
    /// Whether rounds are opened without it.
    out: bool,
    asked: bool,
    not_before: Instant,
}

/// The servers that were silent.
#[derive(Debug, Default)]
pub(super) struct Silence(BTreeMap<ServerId, Silent>);

impl Silence {
    /// A server gave no word in a round.
    pub fn note(&mut self, server: &AdmittedServer, now: Instant) {
        let times = match self.0.get(server.id()) {
            Some(known) if known.bundle == *server.digest() => known.times.saturating_add(1),
            _ => 1,
        };
        let doublings = times.saturating_sub(1).min(16);
        let pause = PAUSE.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        let silent = Silent {
            bundle: *server.digest(),
            times,
            out: true,
            asked: false,
            not_before: now + pause.min(LONGEST),
        };
        self.0.insert(*server.id(), silent);
    }

    /// Whether rounds are opened without this boot of a server.
    pub fn is_out(&self, server: &AdmittedServer) -> bool {
        self.of(server).is_some_and(|silent| silent.out)
    }

    /// A server that is to be asked now whether it is there again.
    pub fn ask_next<'a>(
        &mut self,
        mut servers: impl Iterator<Item = &'a AdmittedServer>,
        now: Instant,
    ) -> Option<&'a AdmittedServer> {
        servers.find(|server| {
            let silent = self.0.get_mut(server.id());
            silent.is_some_and(|silent| {
                let due = silent.bundle == *server.digest()
                    && silent.out
                    && !silent.asked
                    && silent.not_before <= now;
                silent.asked |= due;
                due
            })
        })
    }

    /// What came of asking: whether it is there, and can stand for rounds.
    pub fn answered(&mut self, server: &ServerId, there: bool, now: Instant) {
        if let Some(silent) = self.0.get_mut(server) {
            silent.asked = false;
            silent.out = !there;
            silent.not_before = now + PAUSE;
        }
    }

    /// A round was finalized with this server: nothing is held against it any more.
    pub fn forgive(&mut self, server: &AdmittedServer) {
        if self.of(server).is_some_and(|silent| !silent.out) {
            self.0.remove(server.id());
        }
    }

    fn of(&self, server: &AdmittedServer) -> Option<&Silent> {
        let silent = self.0.get(server.id());
        silent.filter(|silent| silent.bundle == *server.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committee::tests::fixture::World;

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_out_until_it_answers_and_longer_each_time() {
        let world = World::new(3, 3);
        let server = &world.servers[0].admitted;
        let mut silence = Silence::default();
        let mut now = Instant::now();
        assert!(!silence.is_out(server));
        for pause in [1, 2, 4] {
            silence.note(server, now);
            assert!(silence.is_out(server));
            now += Duration::from_millis(pause * 1000 - 1);
            assert!(silence.ask_next([server].into_iter(), now).is_none());
            now += Duration::from_millis(1);
            assert!(silence.ask_next([server].into_iter(), now).is_some());
            assert!(
                silence.ask_next([server].into_iter(), now).is_none(),
                "it is being asked"
            );
            silence.answered(server.id(), false, now);
            assert!(silence.is_out(server));
            now += PAUSE;
            assert!(silence.ask_next([server].into_iter(), now).is_some());
            silence.answered(server.id(), true, now);
            assert!(!silence.is_out(server));
        }
        silence.forgive(server);
        silence.note(server, now);
        assert!(
            silence
                .ask_next([server].into_iter(), now + PAUSE)
                .is_some(),
            "a finalized round makes it good again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn another_boot_begins_anew() {
        let world = World::new(3, 3);
        let mut silence = Silence::default();
        silence.note(&world.servers[0].admitted, Instant::now());
        let again = world.reboot(0, 2);
        assert!(!silence.is_out(&again.admitted));
    }

    #[test]
    fn words_are_waited_for_a_third_of_the_period_within_bounds() {
        let of = |millis| patience(Duration::from_millis(millis)).as_millis();
        assert_eq!([of(100), of(3_000), of(60_000)], [500, 1_000, 5_000]);
    }
}
