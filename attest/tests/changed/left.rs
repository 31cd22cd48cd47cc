//! What may change all the same: nobody can tell it from the original.

use super::Good;

/// Where a version 4 quote has its length, and the lengths inside.
const LENGTHS: [usize; 3] = [632, 766, 1254];
/// Where it has signatures: by the attestation key, and by the PCK.
const SIGNATURES: [usize; 2] = [636, 1154];

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// What the order exceeds a number by, big endian.
fn negated(number: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let digits = ORDER.iter().zip(number).rev().map(|(of, digit)| {
        let left = i16::from(*of) - i16::from(*digit) - borrow;
        borrow = i16::from(left < 0);
        u8::try_from(left.rem_euclid(256)).unwrap()
    });
    let mut digits: Vec<u8> = digits.collect();
    digits.reverse();
    digits
}

fn report_is_the_same(good: &Good, quote: &[u8]) {
    let report = |quote| good.judge(quote).unwrap().quote().report.clone();
    assert_ne!(quote, good.quote);
    assert_eq!(report(quote), report(&good.quote));
}

#[test]
fn zeros_may_follow_a_quote() {
    for good in [Good::simulated(), Good::of_tdx_1_0()] {
        report_is_the_same(&good, &[&good.quote[..], &[0; 100]].concat());
    }
}

#[test]
fn the_nul_after_a_chain_may_be_missing() {
    let good = Good::of_tdx_1_0();
    let mut quote = good.quote.clone();
    quote.remove(4935);
    for at in LENGTHS {
        let length = u32::from_le_bytes(quote[at..at + 4].try_into().unwrap());
        quote[at..at + 4].copy_from_slice(&(length - 1).to_le_bytes());
    }
    report_is_the_same(&good, &quote);
}

/// Of `(r, s)` and `(r, n - s)` either is a signature. Which one comes is
/// chance: Intel's enclaves and CAs keep to none.
#[test]
fn each_signature_has_another_form() {
    for good in [Good::simulated(), Good::of_tdx_1_0()] {
        for at in SIGNATURES {
            let mut quote = good.quote.clone();
            let s = at + 32..at + 64;
            let other = negated(&quote[s.clone()]);
            quote[s].copy_from_slice(&other);
            report_is_the_same(&good, &quote);
        }
    }
}
