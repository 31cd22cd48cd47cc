//! Real rounds at a small size.

use std::{collections::BTreeMap, sync::Arc};

use zipnet_node::committee::{command::Order, state::Final, strikes::Strike};
use zipnet_protocol::{
    Audit, CertifiedRound, Fault, Finding, Proof, SealedEnvelope, SlotContent, SlotOpening, audit,
};

use super::{
    super::{
        report::{Outcome, Row},
        stage::Stage,
    },
    Guesses, Learnt, Posterior, Rng,
};
use crate::sim::{
    byzantine::with_noise,
    cast::{Shape, aggregator_of},
    client::message,
    rule::{AtEveryRound, FateFirst, Rule},
};

const SMALL: Shape = Shape {
    servers: 3,
    clients: 16,
    min_servers: None,
    min_participants: 2,
    slots: 16,
    slot_bytes: 32,
    leaves: 0,
};
const AUTHORS: usize = 4;
/// A client of the attacker's own.
const SYBIL: usize = 0;

/// How the aggregator goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noise {
    /// Over everything.
    Whole,
    /// Over everything but the slot of a message of its own: the round is not noise as a
    /// whole, and clients talk on.
    Decoy,
}

/// Which rounds each server audits (`roles/server/auditor.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audits {
    /// None (0.1.0).
    Never,
    /// Those without a message, and one in sixteen of the others.
    Wholes,
    /// Those with more garbled slots than messages, and one in sixteen of the others.
    Garbled,
}

impl Audits {
    fn wants(self, done: &Final, rng: &mut Rng) -> bool {
        let count = |wanted: fn(&SlotContent) -> bool| {
            let found = done.checked.slots().filter(|(_, content)| wanted(content));
            found.count()
        };
        let messages = count(|content| matches!(content, SlotContent::Message(_)));
        let garbled = count(|content| *content == SlotContent::Garbled);
        let suspicious = match self {
            Self::Never => return false,
            Self::Wholes => messages == 0 && garbled > 0,
            Self::Garbled => garbled > messages,
        };
        suspicious || rng.below(16) == 0
    }
}

/// Audits a round as a server does, with the envelopes that the aggregator would have to
/// show; what comes of it goes before the committee.
fn look_into(stage: &mut Stage, done: &Final, envelopes: &[SealedEnvelope]) {
    let header = done.checked.round().header().clone();
    let aggregate = done.published.record.aggregate.clone();
    let context = *done.checked.context();
    let checked = aggregate.check(&context, &header, &done.registry);
    let checked = checked.expect("it was committed");
    let looking = Audit::new(&header, done.registry.clone(), &checked).expect("its registry");
    let mut shown = envelopes.to_vec();
    shown.sort_by_key(|envelope| envelope.client);
    let Err(Finding::Noise { slot }) = audit(looking, &aggregate, &shown) else {
        return;
    };
    let shares = shown
        .iter()
        .filter_map(|envelope| {
            let share = SlotOpening::of(&envelope.vector, header.params, slot)?;
            Some((envelope.client, share))
        })
        .collect();
    let proof = Proof {
        aggregate,
        fault: Fault::Noise {
            slot,
            shares,
            parts: Vec::new(),
        },
        header: header.clone(),
    };
    let order = Order::StrikeAggregator {
        aggregator: header.aggregator,
        strike: Strike::Proof(Box::new(proof)),
    };
    let command = stage.servers[0].keys.say(&order);
    // Another server may have been first.
    let _ = stage.state.apply(&command);
}

/// Who attacks whom under which rules.
#[derive(Debug, Clone, Copy)]
struct Attack {
    rule: fn(u64) -> Box<dyn Rule>,
    noise: Noise,
    audits: Audits,
    rounds: u32,
    /// Whether it leaves out half of the clients from the first round on, rather than as
    /// many as the floor allows (I15).
    half: bool,
}

/// What came of it.
struct Ran {
    learnt: Learnt,
    struck_after: Option<u32>,
    /// How often each message was read.
    readings: usize,
}

/// Real rounds of a small committee: every envelope, pad and partial is computed.
fn rounds(seed: u64, attack: Attack) -> Ran {
    let mut stage = Stage::new(&SMALL, seed, attack.rule);
    let mut clients: Vec<_> = (1..SMALL.clients).collect();
    stage.rng.shuffle(&mut clients);
    if !attack.half {
        // There was a round before: everybody took part.
        let round = stage.open();
        play(&mut stage, &round, SMALL.clients, None);
    }
    let authors: BTreeMap<Vec<u8>, usize> = clients
        .iter()
        .take(AUTHORS)
        .map(|author| {
            let text = stage.rng.word().to_be_bytes().to_vec();
            stage.say(*author, message(text.clone()));
            (text, *author)
        })
        .collect();
    let mut past: Vec<(Vec<bool>, Vec<Vec<u8>>)> = Vec::new();
    let (mut known, mut struck_after) = (None, None);
    for turn in 1..=attack.rounds {
        let round = stage.open();
        let attacker = round.header().aggregator;
        let size = if attack.half {
            SMALL.clients / 2
        } else {
            round.header().floor as usize
        };
        let Some((there, texts, done, envelopes)) =
            play(&mut stage, &round, size, Some(attack.noise))
        else {
            continue;
        };
        past.push((there, texts));
        if known.is_none()
            && posteriors(&past, &authors)
                .iter()
                .all(|(author, posterior)| {
                    let (best, sure) = posterior.best(&mut stage.rng);
                    best == *author && sure > 0.99
                })
        {
            known = Some(turn);
        }
        for _ in 0..SMALL.servers {
            if attack.audits.wants(&done, &mut stage.rng) {
                look_into(&mut stage, &done, &envelopes);
            }
        }
        if stage.state.strikes().is_struck(&attacker) {
            struck_after = Some(turn);
            break;
        }
    }
    let mut guesses = Guesses::default();
    let mut readings = 0;
    for (author, posterior) in posteriors(&past, &authors) {
        if posterior.appeared == 0 {
            continue;
        }
        readings += posterior.appeared;
        let (best, _) = posterior.best(&mut stage.rng);
        // Whoever took part the first time that it was read.
        guesses.guess(posterior.first, best == author);
    }
    Ran {
        learnt: Learnt {
            rounds: known,
            guesses,
        },
        struck_after,
        readings,
    }
}

/// What the attacker thinks of each author's message.
fn posteriors(
    past: &[(Vec<bool>, Vec<Vec<u8>>)],
    authors: &BTreeMap<Vec<u8>, usize>,
) -> Vec<(usize, Posterior)> {
    let of = |text: &Vec<u8>| {
        let mut posterior = Posterior::new(SMALL.clients);
        for (part, texts) in past {
            posterior.learn(part, texts.contains(text), 0.8);
        }
        // It is none of its own.
        posterior.log[SYBIL] = f64::NEG_INFINITY;
        posterior
    };
    authors
        .iter()
        .map(|(text, author)| (*author, of(text)))
        .collect()
}

type Played = (Vec<bool>, Vec<Vec<u8>>, Arc<Final>, Vec<SealedEnvelope>);

/// One round with some of the clients, the attacker's own among them: who took part, what
/// the aggregator reads, the record, and the envelopes that it folded.
fn play(
    stage: &mut Stage,
    round: &Arc<CertifiedRound>,
    size: usize,
    noise: Option<Noise>,
) -> Option<Played> {
    let mut others: Vec<_> = (1..SMALL.clients).collect();
    stage.rng.shuffle(&mut others);
    let mut part = vec![false; SMALL.clients];
    part[SYBIL] = true;
    for client in others.into_iter().take(size.saturating_sub(1)) {
        part[client] = true;
    }
    let decoy = message(b"decoy".to_vec());
    let mut own = None;
    let envelopes: Vec<_> = (0..SMALL.clients)
        .filter_map(|client| {
            if client == SYBIL && noise == Some(Noise::Decoy) {
                let sealer = &mut stage.clients[client].sealer;
                let (slot, envelope) = sealer.seal(round, Some(&decoy)).ok()?;
                own = Some(slot as usize);
                return Some((client, envelope));
            }
            Some((client, stage.seal(client, round)?))
        })
        .filter(|(client, _)| part[*client])
        .map(|(_, envelope)| envelope)
        .collect();
    let clean = stage.fold(round, &envelopes);
    let mut bytes = vec![0; clean.vector.len()];
    if noise.is_some() {
        stage.rng.fill(&mut bytes);
    }
    if let Some(slot) = own {
        let size = SMALL.slot_bytes as usize;
        bytes[slot * size..(slot + 1) * size].fill(0);
    }
    let by = aggregator_of(round.header());
    stage.aggregate(with_noise(&clean, &bytes, by)).ok()?;
    let done = stage.finalize()?;
    for client in &mut stage.clients {
        client.take(&done);
    }
    let read = read(done.checked.broadcast(), &bytes);
    Some((part, read, done, envelopes))
}

/// The texts of eight bytes that stand alone in a slot, once the noise is taken off.
fn read(broadcast: &[u8], noise: &[u8]) -> Vec<Vec<u8>> {
    let bytes: Vec<_> = broadcast
        .iter()
        .zip(noise)
        .map(|(byte, noise)| byte ^ noise)
        .collect();
    let slots = bytes.chunks(SMALL.slot_bytes as usize);
    slots
        .filter(|slot| slot[8] == 0x80 && slot[9..16] == [0; 7])
        .map(|slot| slot[..8].to_vec())
        .collect()
}

fn real(trials: u64, attack: Attack) -> Outcome {
    let mut guesses = Guesses::default();
    let (mut known, mut struck, mut last, mut readings) = (Vec::new(), 0, 0, 0);
    for seed in 0..trials {
        let ran = rounds(seed, attack);
        guesses.add(ran.learnt.guesses);
        known.extend(ran.learnt.rounds);
        struck += u32::from(ran.struck_after.is_some());
        last = last.max(ran.struck_after.unwrap_or(attack.rounds));
        readings += ran.readings;
    }
    known.sort_unstable();
    let median = known.get(known.len() / 2);
    let sure = median.map_or("never".to_owned(), |median| {
        format!("after {median} rounds")
    });
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = readings as f64 / guesses.chances.len().max(1) as f64;
    Outcome {
        learnt: format!(
            "author right {:.1} % of {} (uniform {:.1} %), each message read {each:.1} times in {last} rounds, all authors for sure: {sure}, in {} of {trials}; struck in {struck} of {trials}",
            guesses.rate() * 100.0,
            guesses.chances.len(),
            guesses.uniform() * 100.0,
            known.len(),
        ),
        by_chance: guesses.tail(),
        // With a message of its own in each round it may take some until dice fall on one.
        named: (attack.noise == Noise::Whole && attack.audits != Audits::Never)
            .then_some(u64::from(struck) == trials),
    }
}

const BEFORE: Attack = Attack {
    rule: |_| Box::<AtEveryRound>::default(),
    noise: Noise::Whole,
    audits: Audits::Never,
    rounds: 15,
    half: true,
};

const NOW: Attack = Attack {
    rule: |seed| Box::new(FateFirst::new(seed)),
    noise: Noise::Whole,
    audits: Audits::Wholes,
    rounds: 15,
    half: false,
};

/// Runs it over real rounds.
#[must_use]
pub fn run(trials: u64) -> Row {
    Row {
        attack: "A2",
        title: "the same, 4 authors among 16",
        invariant: "I15 I16",
        before: real(trials, BEFORE),
        after: real(trials, NOW),
        on: "real rounds",
    }
}

/// Runs it over real rounds, with a message of the attacker's own in each.
#[must_use]
pub fn run_decoy(trials: u64) -> Row {
    let decoy = |attack: Attack| Attack {
        noise: Noise::Decoy,
        ..attack
    };
    let stricter = Attack {
        audits: Audits::Garbled,
        ..NOW
    };
    let now = real(trials, decoy(NOW));
    let stricter = real(trials, decoy(stricter));
    Row {
        attack: "A2",
        title: "the same, but one slot is left as it is",
        invariant: "I15 I16",
        before: real(trials, decoy(BEFORE)),
        after: Outcome {
            learnt: format!(
                "{}; if rounds with more garbled slots than messages were audited: {} (p {:.0e})",
                now.learnt, stricter.learnt, stricter.by_chance
            ),
            ..now
        },
        on: "real rounds",
    }
}
