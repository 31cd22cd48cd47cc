//! A1: one malicious server makes clients repeat their messages in public.
//!
//! All clients started with the lowest `PeerId` and stayed with it (0.1.0), so the attacker
//! ground its key until it was that. It shows its clients genuine headers and no records,
//! and each header only to those whose code word has a one for this round. Who seals at
//! every round that it is shown repeats its message in exactly those rounds: the message
//! spells its author's code word, and 2 ceil(log2 n) rounds tell who it was.

use std::collections::BTreeMap;

use super::{
    report::{Outcome, Row},
    stage::{Stage, texts},
    stats::Guesses,
};
use crate::sim::{
    cast::Shape,
    client::message,
    rng::Rng,
    rule::{AtEveryRound, FateFirst, Rule},
};

const CLIENTS: usize = 8;
const BITS: usize = 3;
/// Clients with something to say.
const TALKERS: usize = 3;

/// Whom clients hear of rounds and records from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The attacker alone: the lowest `PeerId` first, and never another (0.1.0).
    Lowest,
    /// Two servers at once: the attacker and another one, who tells everything.
    Two,
}

/// Each number and then its complement: as many ones in each word.
fn code(client: usize) -> Vec<bool> {
    let bits = (0..BITS).map(|bit| client >> bit & 1 == 1);
    let inverse = (0..BITS).map(|bit| client >> bit & 1 == 0);
    bits.chain(inverse).collect()
}

struct Learnt {
    guesses: Guesses,
    appearances: usize,
    messages: usize,
}

fn attack(seed: u64, source: Source, rule: fn(u64) -> Box<dyn Rule>) -> Learnt {
    let shape = Shape {
        clients: CLIENTS,
        slots: 32,
        ..Shape::default()
    };
    let mut stage = Stage::new(&shape, seed, rule);
    let mut who: Vec<_> = (0..CLIENTS).collect();
    stage.rng.shuffle(&mut who);
    let mut authors = BTreeMap::new();
    for author in who.into_iter().take(TALKERS) {
        let text = stage.rng.word().to_be_bytes().to_vec();
        authors.insert(text.clone(), author);
        stage.say(author, message(text));
    }
    // In which rounds each text stands, and who took part.
    let mut stands: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
    let mut present = Vec::new();
    for turn in 0..2 * BITS {
        let round = stage.open();
        let shown: Vec<_> = (0..CLIENTS)
            .filter(|client| source == Source::Two || code(*client)[turn])
            .collect();
        let envelopes: Vec<_> = shown
            .iter()
            .filter_map(|client| stage.seal(*client, &round))
            .collect();
        let aggregate = stage.fold(&round, &envelopes);
        stage.aggregate(aggregate).expect("an honest aggregator");
        let done = stage.finalize().expect("honest servers");
        for text in texts(&done) {
            stands.entry(text).or_default().push(turn);
        }
        present.push(shown);
        if source == Source::Two {
            for client in &mut stage.clients {
                client.take(&done);
            }
        }
    }
    let appearances = stands.values().map(Vec::len).sum();
    let messages = stands.len();
    let mut guesses = Guesses::default();
    for (text, turns) in stands {
        let Some(author) = authors.get(&text) else {
            continue;
        };
        // Who took part whenever it appeared: the honest participants that stayed.
        let stayed: Vec<_> = (0..CLIENTS)
            .filter(|client| turns.iter().all(|turn| present[*turn].contains(client)))
            .collect();
        let guess = guess(&mut stage.rng, &stayed, &turns);
        // By what the attacker should know: everybody who took part the first time.
        let among = turns.first().map_or(CLIENTS, |turn| present[*turn].len());
        guesses.guess(among, guess == *author);
    }
    Learnt {
        guesses,
        appearances,
        messages,
    }
}

/// The most likely author: of those who took part each time, whoever has the fewest
/// rounds without the message in its code word.
fn guess(rng: &mut Rng, stayed: &[usize], turns: &[usize]) -> usize {
    let missing = |client: usize| {
        let word = code(client);
        (0..word.len())
            .filter(|turn| word[*turn] && !turns.contains(turn))
            .count()
    };
    let least = stayed.iter().map(|client| missing(*client)).min();
    let best: Vec<_> = stayed
        .iter()
        .copied()
        .filter(|client| Some(missing(*client)) == least)
        .collect();
    rng.pick(&best).copied().unwrap_or(0)
}

fn outcome(trials: u64, source: Source, rule: fn(u64) -> Box<dyn Rule>) -> Outcome {
    let mut guesses = Guesses::default();
    let (mut appearances, mut messages) = (0, 0);
    for seed in 0..trials {
        let learnt = attack(seed, source, rule);
        guesses.add(learnt.guesses);
        appearances += learnt.appearances;
        messages += learnt.messages;
    }
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = appearances as f64 / messages.max(1) as f64;
    Outcome {
        learnt: format!(
            "author right {:.1} % of {} (uniform {:.1} %) after {} rounds; a message stands in {each:.2} records",
            guesses.rate() * 100.0,
            guesses.chances.len(),
            guesses.uniform() * 100.0,
            2 * BITS,
        ),
        by_chance: guesses.tail(),
        named: None,
    }
}

/// The rules as they are; and, to see what each of them is worth, with the attacker as
/// the only source of news.
fn now(trials: u64) -> Outcome {
    let two = outcome(trials, Source::Two, |seed| Box::new(FateFirst::new(seed)));
    let alone = outcome(trials, Source::Lowest, |seed| {
        Box::new(FateFirst::new(seed))
    });
    Outcome {
        learnt: format!("{}; were it the only source: {}", two.learnt, alone.learnt),
        by_chance: two.by_chance,
        named: None,
    }
}

/// Runs it.
#[must_use]
pub fn run(trials: u64) -> Row {
    Row {
        attack: "A1",
        title: "a server withholds records from clients that believe it alone",
        invariant: "I14",
        before: outcome(trials, Source::Lowest, |_| Box::<AtEveryRound>::default()),
        after: now(trials),
        on: "real rounds",
    }
}
