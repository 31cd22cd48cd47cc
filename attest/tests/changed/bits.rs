//! Every byte of a quote counts.

use std::{iter, ops::Range, thread};

use zipnet_attest::WarmVerifier;

use super::Good;

const EACH_BIT: [u8; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// Characters at the ends of a certificate that are signed by nobody: its
/// length, and signature with algorithm.
const ENDS: (usize, usize) = (8, 130);

/// The quoting enclave's report in a version 4 quote.
const QE_REPORT: Range<usize> = 770..1154;

/// What somebody signed and takes long to check: the report of the quoting
/// enclave, and most of each certificate's text.
fn signed(quote: &[u8]) -> Vec<Range<usize>> {
    let places = |marker: &[u8]| -> Vec<usize> {
        let windows = quote.windows(marker.len()).enumerate();
        let found = windows.filter(|(_, window)| *window == marker);
        found.map(|(at, _)| at).collect()
    };
    let begin = b"-----BEGIN CERTIFICATE-----\n";
    let begins = places(begin);
    let ends = places(b"\n-----END CERTIFICATE-----\n");
    assert_eq!((begins.len(), ends.len()), (3, 3));
    let from = |at| at + begin.len() + ENDS.0;
    let pairs = begins.into_iter().zip(ends);
    let texts = pairs.map(|(at, end)| from(at)..end - ENDS.1);
    iter::once(QE_REPORT).chain(texts).collect()
}

/// Which changes of a byte are tried: each of its bits, or, of what is signed,
/// one that is likely to leave base64 what it is.
fn masks(at: usize, signed: &[Range<usize>]) -> &'static [u8] {
    if signed.iter().any(|part| part.contains(&at)) {
        let bit = at % 5;
        &EACH_BIT[bit..=bit]
    } else {
        &EACH_BIT
    }
}

/// How many changes of one byte were tried, and those that were accepted.
fn flip_all(good: &Good) -> (usize, Vec<(usize, u8)>) {
    let signed = signed(&good.quote);
    let warm = WarmVerifier::new();
    good.judge_by(&warm, &good.quote).unwrap();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let flip_some = |first: usize| {
        let mut quote = good.quote.clone();
        let (mut tried, mut accepted) = (0, Vec::new());
        for at in (first..quote.len()).step_by(threads) {
            for mask in masks(at, &signed) {
                tried += 1;
                quote[at] ^= mask;
                if good.judge_by(&warm, &quote).is_ok() {
                    accepted.push((at, *mask));
                }
                quote[at] ^= mask;
            }
        }
        (tried, accepted)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || flip_some(first)))
            .collect();
        let mut all = (0, Vec::new());
        for thread in threads {
            let (tried, accepted) = thread.join().unwrap();
            all.0 += tried;
            all.1.extend(accepted);
        }
        all
    })
}

fn no_byte_may_change(good: &Good) {
    let (tried, accepted) = flip_all(good);
    assert_eq!(accepted, [], "(byte, change)");
    assert!(tried > 14_000, "{tried}");
}

#[test]
fn no_byte_of_a_genuine_quote_may_change() {
    no_byte_may_change(&Good::of_tdx_1_0());
}

#[test]
fn no_byte_of_a_simulated_quote_may_change() {
    no_byte_may_change(&Good::simulated());
}

#[test]
fn no_byte_of_a_quote_may_be_missing_or_stand_twice() {
    for good in [Good::simulated(), Good::of_tdx_1_5()] {
        for at in 0..good.quote.len() {
            let (before, after) = good.quote.split_at(at);
            for other in [
                [before, &after[1..]].concat(),
                [before, &after[..1], after].concat(),
            ] {
                // A zero too much after the last is padding.
                let padded = other.starts_with(&good.quote) && other.ends_with(&[0]);
                assert_eq!(good.judge(&other).is_ok(), padded, "byte {at}");
            }
        }
    }
}
