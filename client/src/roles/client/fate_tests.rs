use proptest::prelude::*;

use super::*;

const BUDGET: u32 = 8;

fn wide(tag: u8, number: u64) -> [u8; 32] {
    let mut bytes = [tag; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn servers(count: u8) -> BTreeSet<ServerId> {
    (0..count)
        .map(|server| ServerId::new([server; 32]))
        .collect()
}

fn digest(number: u64) -> Digest {
    Digest::new(wide(0xd0, number))
}

/// A certified round behind the record of a number.
fn opened(number: u64, previous: u64) -> Opened {
    Opened {
        epoch: Epoch::new([1; 32]),
        number,
        context: RoundContext::new(wide(0xc0, number)),
        previous: digest(previous),
        roster: servers(3),
    }
}

fn record(number: u64, previous: u64, holds: bool) -> Recorded {
    let round = opened(number, previous);
    Recorded {
        epoch: round.epoch,
        number,
        context: round.context,
        digest: digest(number),
        previous: round.previous,
        holds,
    }
}

/// A message that was sealed once, for round 10 behind record 9.
fn sealed() -> Fate {
    let mut fate = Fate::new(BUDGET);
    fate.permit(&opened(10, 9)).expect("queued").sealed(5);
    assert_eq!(fate.standing(), Standing::Undecided);
    fate
}

#[test]
fn i14_a_round_that_no_record_holds_is_lost() {
    let mut fate = sealed();
    assert!(fate.permit(&opened(11, 9)).is_some());
    assert_eq!(fate.standing(), Standing::Queued);
}

#[test]
fn i14_opens_without_records_never_lead_to_a_second_seal() {
    // A1: one server shows genuine rounds and keeps the records to itself.
    let mut fate = sealed();
    for number in 11..100 {
        assert!(fate.permit(&opened(number, number - 1)).is_none());
        assert!(fate.permit(&opened(number, 10)).is_none(), "even so");
    }
    assert_eq!(fate.standing(), Standing::Undecided);
    // Others tell it what the first one withheld.
    fate.recorded(&record(10, 9, true));
    let landed = Standing::Landed(opened(10, 9).context);
    assert_eq!(fate.standing(), landed);
    assert!(fate.permit(&opened(100, 99)).is_none());
}

#[test]
fn i14_a_chain_decides_once_it_is_whole() {
    // 10 is given up, 11 and 12 are recorded.
    let mut fate = sealed();
    assert!(fate.permit(&opened(13, 12)).is_none());
    fate.recorded(&record(12, 11, false));
    assert_eq!(fate.standing(), Standing::Undecided);
    fate.recorded(&record(11, 9, false));
    assert_eq!(fate.standing(), Standing::Queued);
    assert_eq!(fate.attempts(), 1);
}

#[test]
fn i14_a_record_without_the_message_counts_only_in_the_chain() {
    // The record that the committee goes on with has another digest: one
    // server signed twice, and showed this one to us.
    let mut fate = sealed();
    let mut forged = record(10, 9, false);
    forged.digest = digest(777);
    fate.recorded(&forged);
    assert!(fate.permit(&opened(11, 10)).is_none());
    fate.recorded(&record(10, 9, true));
    assert!(matches!(fate.standing(), Standing::Landed(_)));

    let mut fate = sealed();
    fate.recorded(&record(10, 9, false));
    assert_eq!(fate.standing(), Standing::Undecided);
    assert!(fate.permit(&opened(11, 10)).is_some());
}

#[test]
fn i14_a_smaller_roster_decides_nothing() {
    let mut fate = sealed();
    let mut without = opened(11, 9);
    without.roster = servers(2);
    assert!(fate.permit(&without).is_none());
    without.roster = servers(4);
    assert!(fate.permit(&without).is_some());
}

#[test]
fn i14_another_epoch_decides_nothing() {
    let mut fate = sealed();
    let foreign = Epoch::new([2; 32]);
    for number in [1, 10, 11, 500] {
        let round = Opened {
            epoch: foreign,
            ..opened(number, 9)
        };
        assert!(fate.permit(&round).is_none());
        fate.recorded(&Recorded {
            epoch: foreign,
            ..record(number, 9, false)
        });
    }
    assert_eq!(fate.standing(), Standing::Undecided);
}

#[test]
fn i14_a_late_record_of_an_earlier_attempt_ends_it() {
    let mut fate = sealed();
    fate.permit(&opened(11, 9)).expect("lost").sealed(6);
    // A server kept the last partial of round 10 to itself until now.
    fate.recorded(&record(10, 9, true));
    assert!(matches!(fate.standing(), Standing::Landed(_)));
    assert!(fate.permit(&opened(12, 9)).is_none());
}

#[test]
fn i16_the_budget_ends_it() {
    let mut fate = Fate::new(3);
    for number in 10..13 {
        fate.permit(&opened(number, 9)).expect("queued").sealed(0);
    }
    assert!(fate.permit(&opened(13, 9)).is_none());
    assert_eq!(fate.standing(), Standing::Spent);
    assert_eq!(fate.attempts(), 3);
    assert_eq!(fate.slot(&opened(12, 9).context), Some(0));
    assert_eq!(fate.slot(&opened(13, 9).context), None);
}

#[test]
fn i14_records_without_end_are_not_kept() {
    let mut fate = sealed();
    fate.opened(&opened(12, 11));
    for forged in 0..3 * MAX_CHAIN as u64 {
        fate.recorded(&Recorded {
            digest: Digest::new(wide(0xff, forged)),
            ..record(10, 9, false)
        });
    }
    let State::Sealed { chain, .. } = &fate.state else {
        panic!("{fate:?}");
    };
    assert!(chain.len() <= MAX_CHAIN);
    assert_eq!(fate.standing(), Standing::Undecided);
    // What leads back from the certified round is kept all the same.
    fate.recorded(&record(11, 10, false));
    fate.recorded(&record(10, 9, false));
    assert_eq!(fate.standing(), Standing::Queued);
}

/// What becomes of a round in a made-up history.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each happens or not, whatever the others"
)]
struct Plan {
    /// Which of three epochs the committee is in.
    epoch: u8,
    finalized: bool,
    /// Whether an envelope of ours makes it into the aggregate and its slot.
    takes: bool,
    /// Whether the certificate is shown while the round takes envelopes.
    in_time: bool,
    /// Whether some server signs a second partial that garbles our slot.
    forged: bool,
    /// What the adversary delivers besides, by position in all that there is.
    shown: Vec<prop::sample::Index>,
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        prop_oneof![6 => Just(0_u8), 1 => Just(1), 1 => Just(2)],
        prop::bool::weighted(0.7),
        any::<bool>(),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.2),
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    )
        .prop_map(|(epoch, finalized, takes, in_time, forged, shown)| Plan {
            epoch,
            finalized,
            takes,
            in_time,
            forged,
            shown,
        })
}

#[derive(Debug, Clone)]
enum Fact {
    Opened(Opened),
    Recorded(Recorded),
}

/// A client with one message that is given facts, in a committee that is honest
/// but for what it shows.
struct Client {
    fate: Fate,
    /// As the sealer has it: each number once, ascending.
    sealed: BTreeMap<Epoch, u64>,
}

impl Client {
    /// Whether the message was sealed for it now.
    fn hears(&mut self, fact: &Fact) -> bool {
        match fact {
            Fact::Recorded(record) => {
                self.fate.recorded(record);
                false
            }
            Fact::Opened(round) => {
                let last = self.sealed.entry(round.epoch).or_default();
                if round.number <= *last {
                    self.fate.opened(round);
                    return false;
                }
                *last = round.number;
                match self.fate.permit(round) {
                    Some(permit) => {
                        permit.sealed(1);
                        true
                    }
                    None => false,
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn i14_whatever_is_withheld_a_message_is_in_one_record_at_most(
        plans in prop::collection::vec(plan(), 1..40),
        rest in any::<u64>(),
    ) {
        let mut client = Client { fate: Fate::new(BUDGET), sealed: BTreeMap::new() };
        let mut heads = [Digest::new([0; 32]); 3];
        let mut facts = Vec::new();
        let mut holding = 0;
        for (number, plan) in (1_u64..).zip(&plans) {
            let at = usize::from(plan.epoch);
            let round = Opened {
                epoch: Epoch::new([plan.epoch; 32]),
                number,
                context: RoundContext::new(wide(0xc0, number)),
                previous: heads[at],
                roster: servers(3),
            };
            facts.push(Fact::Opened(round.clone()));
            let ours = plan.in_time && client.hears(&Fact::Opened(round.clone()));
            let holds = ours && plan.takes;
            if plan.finalized {
                let recorded = Recorded {
                    epoch: round.epoch,
                    number,
                    context: round.context,
                    digest: digest(number),
                    previous: round.previous,
                    holds,
                };
                heads[at] = recorded.digest;
                holding += usize::from(holds);
                facts.push(Fact::Recorded(recorded.clone()));
                if plan.forged {
                    let digest = Digest::new(wide(0xf0, number));
                    facts.push(Fact::Recorded(Recorded { digest, holds: false, ..recorded }));
                }
            }
            // What is withheld, shown late, again, and in any order.
            for shown in &plan.shown {
                client.hears(shown.get(&facts));
            }
            prop_assert!(client.fate.attempts() <= BUDGET);
        }
        prop_assert!(holding <= 1, "the message is in {holding} records");

        // In the end all is delivered, in some order; nobody seals any more.
        let start = usize::try_from(rest % facts.len() as u64).unwrap();
        for fact in facts.iter().cycle().skip(start).take(facts.len()) {
            match fact {
                Fact::Opened(round) => client.fate.opened(round),
                Fact::Recorded(record) => client.fate.recorded(record),
            }
        }
        let landed = matches!(client.fate.standing(), Standing::Landed(_));
        prop_assert_eq!(landed, holding == 1);
        if client.fate.standing() == Standing::Undecided {
            let last = &client.fate.attempts.last().unwrap().round;
            let followed = facts.iter().any(|fact| matches!(
                fact,
                Fact::Opened(round) if round.epoch == last.epoch && round.number > last.number
            ));
            prop_assert!(!followed, "all is known, and nothing decided");
        }
    }
}
