//! What a server tells those who follow it: whole records, or light ones.

use std::sync::Arc;

use zipnet_protocol::{
    AggregatorBundle, CertifiedRound, HeaderDelta, LightRecord, RoundContext, RoundHeader,
};

use crate::{
    committee::{
        Broadcasts, Kept,
        aggregators::Aggregators,
        state::{CommitteeState, Final},
    },
    wire::{
        Call, Follow, FollowCall, FollowLightCall, LightHeader, LightNews, LightOpened,
        LightPublished, MAX_NEWS, MAX_RECORDS, News, Opened,
    },
};

/// A way to tell followers what is new.
pub(super) trait Telling: Call<Request = Follow> {
    /// What its bytes are counted as.
    const LINK: &'static str;

    /// What is told.
    fn reply(news: Fresh, request: &Follow) -> Self::Reply;

    /// Bytes of the vectors or broadcasts in it.
    fn weight(reply: &Self::Reply) -> usize;
}

/// What is new to one who stands there.
pub(super) struct Fresh {
    records: Vec<Kept>,
    open: Option<Arc<CertifiedRound>>,
    /// The newest record.
    head: Option<Arc<Final>>,
    /// The bundles of the open round's aggregator and leaves.
    aggregators: Vec<AggregatorBundle>,
}

impl Fresh {
    pub fn of(state: &CommitteeState, broadcasts: &Broadcasts, request: &Follow) -> Self {
        let head = state.head();
        let (records, more) = match (head, request.after) {
            (None, _) => (Vec::new(), false),
            (Some(head), None) => (vec![Kept::Own(head.clone())], false),
            (Some(head), Some((epoch, number))) => {
                let from = if epoch == head.epoch() {
                    number.saturating_add(1)
                } else {
                    0
                };
                broadcasts.page(&head.epoch(), from, MAX_RECORDS, MAX_NEWS)
            }
        };
        // Who is still behind cannot tell yet what the open round follows.
        let open = state
            .current()
            .filter(|_| !more)
            .filter(|current| current.tally.is_none())
            .and_then(|current| current.certified.as_ref())
            .filter(|round| request.seen != Some(*round.context()));
        let aggregators = state.aggregators();
        Self {
            aggregators: open.map_or_else(Vec::new, |round| bundles(aggregators, round.header())),
            open: open.cloned(),
            head: head.cloned(),
            records,
        }
    }

    /// Whether there is anything in it.
    pub fn is_news(&self, request: &Follow) -> bool {
        request.after.is_none() || !self.records.is_empty() || self.open.is_some()
    }

    /// Where a follower stands that was told of it.
    pub fn behind(&self, request: &Follow) -> Follow {
        let last = self.records.last();
        Follow {
            // Whoever asks for open rounds alone goes on with these.
            after: last.map_or(request.after, |last| {
                Some(last.checked().round().position())
            }),
            seen: self
                .open
                .as_ref()
                .map_or(request.seen, |open| Some(*open.context())),
            wait: request.wait,
            aggregators: match &*self.aggregators {
                [] => request.aggregators,
                bundles => Some(AggregatorBundle::told(bundles)),
            },
        }
    }
}

/// The bundles of a round's aggregator and leaves, those that are listed.
fn bundles(listed: &Aggregators, header: &RoundHeader) -> Vec<AggregatorBundle> {
    let leaves = header.leaves.iter();
    let others = leaves.filter(|leaf| **leaf != header.aggregator);
    let all = [&header.aggregator].into_iter().chain(others);
    all.filter_map(|peer| listed.bundle(peer))
        .cloned()
        .collect()
}

impl Telling for FollowCall {
    const LINK: &'static str = "server-follower";

    fn reply(news: Fresh, _: &Follow) -> News {
        News {
            records: news
                .records
                .iter()
                .map(|kept| kept.published().clone())
                .collect(),
            open: news.open.map(|round| Opened {
                certificate: round.certificate().clone(),
                bundles: round.bundles(),
                aggregators: news.aggregators,
            }),
        }
    }

    fn weight(news: &News) -> usize {
        news.vector_bytes()
    }
}

impl Telling for FollowLightCall {
    const LINK: &'static str = "server-follower-light";

    fn reply(news: Fresh, request: &Follow) -> LightNews {
        let saw = |context: &RoundContext| request.seen.as_ref() == Some(context);
        let records = news.records.iter().map(|kept| {
            let (published, done) = (kept.published(), kept.checked());
            let round = || (published.record.header.clone(), published.bundles.clone());
            LightPublished {
                number: done.round().position().1,
                round: (!saw(done.context())).then(round),
                record: LightRecord::of(done),
            }
        });
        let records: Vec<_> = records.collect();
        let open = news.open.map(|round| {
            let base = news.head.as_ref().map(|head| head.checked.round());
            let base = base.filter(|base| saw(base.context()));
            let delta = base.and_then(|base| {
                // Whoever asks for open rounds alone was told of no record.
                let told = !records.is_empty() || request.after == Some(base.position());
                HeaderDelta::between(base.header(), round.signed(), told)
            });
            let whole = || LightHeader::Whole(round.signed().clone(), round.bundles());
            LightOpened {
                header: delta.map_or_else(whole, LightHeader::Delta),
                signatures: round.certificate().signatures.clone(),
                aggregators: Some(news.aggregators)
                    .filter(|bundles| request.aggregators != Some(AggregatorBundle::told(bundles))),
            }
        });
        LightNews { records, open }
    }

    fn weight(news: &LightNews) -> usize {
        let broadcasts = news.records.iter();
        let bytes = broadcasts.map(|published| published.record.broadcast.len());
        bytes.fold(0, usize::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committee::tests::fixture::World;

    fn told(
        state: &CommitteeState,
        broadcasts: &Broadcasts,
        request: &Follow,
    ) -> (LightNews, Follow) {
        let fresh = Fresh::of(state, broadcasts, request);
        let next = fresh.behind(request);
        (FollowLightCall::reply(fresh, request), next)
    }

    #[test]
    fn what_was_told_on_a_stream_is_left_out_of_what_comes_next() {
        let mut world = World::new(3, 3);
        let mut state = world.founded();
        let broadcasts = Broadcasts::new(8, usize::MAX);
        let mut asks = Follow {
            after: None,
            seen: None,
            wait: 1000,
            aggregators: None,
        };
        let mut alone = None;
        for number in 1..5_u64 {
            let round = world.open(&mut state);
            let (news, next) = told(&state, &broadcasts, &asks);
            let open = news.open.unwrap();
            let delta = matches!(open.header, LightHeader::Delta(_));
            assert_eq!(delta, number > 1, "round {number}");
            assert_eq!(open.aggregators.is_some(), number == 1);
            asks = next;
            assert_eq!(asks.seen, Some(*round.context()));
            // Whoever asks for open rounds alone is told of which record they are.
            let other = alone.get_or_insert(Follow {
                after: Some((round.position().0, u64::MAX)),
                ..asks.clone()
            });
            let (news, next) = told(&state, &broadcasts, other);
            assert!(news.records.is_empty());
            if let (Some(open), Some(head)) = (news.open, state.head()) {
                let LightHeader::Delta(delta) = open.header else {
                    panic!("it saw round {}", number - 1);
                };
                let base = head.checked.round().header();
                assert_eq!(delta.onto(base, None).as_ref(), Ok(round.signed()));
            }
            alone = Some(next);
            world.aggregate(&mut state, &[0, 1, 2]);
            let done = world.partials(&mut state, &[0, 1, 2]).unwrap();
            broadcasts.push(done.clone());
            let (news, next) = told(&state, &broadcasts, &asks);
            assert_eq!(news.records.len(), 1);
            assert!(news.records[0].round.is_none(), "it saw round {number}");
            assert_eq!(news.records[0].record, LightRecord::of(&done.checked));
            asks = next;
            assert_eq!(asks.after, Some(done.checked.round().position()));
        }
        // Whoever comes new is told whole.
        let newcomer = Follow {
            after: None,
            seen: None,
            wait: 0,
            aggregators: None,
        };
        world.open(&mut state);
        let (news, _) = told(&state, &broadcasts, &newcomer);
        assert!(news.records[0].round.is_some());
        let open = news.open.unwrap();
        assert!(matches!(open.header, LightHeader::Whole(..)));
    }

    #[test]
    fn a_light_round_is_little_more_than_its_broadcast() {
        let mut world = World::new(3, 3);
        let mut state = world.founded();
        let broadcasts = Broadcasts::new(8, usize::MAX);
        let done = world.play(&mut state, &[0, 1, 2]);
        broadcasts.push(done.clone());
        world.open(&mut state);
        let (epoch, number) = done.checked.round().position();
        let bytes = |after| {
            let request = Follow {
                after: Some((epoch, after)),
                seen: Some(*done.checked.context()),
                wait: 0,
                aggregators: Some(AggregatorBundle::told(&bundles(
                    state.aggregators(),
                    done.checked.round().header(),
                ))),
            };
            let (news, _) = told(&state, &broadcasts, &request);
            postcard::to_stdvec(&news).unwrap().len()
        };
        let besides = bytes(number - 1) - done.checked.broadcast().len();
        let alone = bytes(u64::MAX);
        assert!(besides + alone <= 700, "{besides} and {alone} bytes");
    }
}
