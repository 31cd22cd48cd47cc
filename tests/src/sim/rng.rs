//! The one source of chance of a simulation.

use zeroize::Zeroizing;
use zipnet_protocol::{Digest, domain_digest};

/// `SplitMix64` (Steele, Lea and Flood 2014): twenty lines that will give the same
/// numbers in ten years, which no version of a library promises.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The source that belongs to a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another source, of its own seed: what one part of a simulation draws does
    /// not shift what another one gets.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.word())
    }

    /// 64 bits.
    pub const fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.word()) * bound.max(1) as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = usize::try_from(high.saturating_sub(low)).unwrap_or(usize::MAX - 1);
        low + self.below(span + 1) as u64
    }

    /// True in so many of a thousand cases.
    pub fn per_mille(&mut self, chance: u32) -> bool {
        self.below(1000) < chance as usize
    }

    /// True with a probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number from 0 (included) to 1.
    pub fn unit(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let unit = (self.word() >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }

    /// How many trials come before the first success; the memoryless law.
    pub fn geometric(&mut self, success: f64) -> u64 {
        let mut failures = 0;
        while !self.chance(success) && failures < 1 << 20 {
            failures += 1;
        }
        failures
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        among.get(self.below(among.len()))
    }

    /// Puts things into a random order.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }

    /// Bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(word) {
                *to = from;
            }
        }
    }

    /// Thirty-two bytes.
    pub fn entropy(&mut self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        self.fill(bytes.as_mut_slice());
        bytes
    }
}

/// Thirty-two bytes that belong to a label and two numbers.
#[must_use]
pub fn entropy(label: &str, index: usize, boot: u64) -> Zeroizing<[u8; 32]> {
    let text = format!("{label} {index} {boot}");
    let digest: Digest = domain_digest("zipnet-tests/sim/v1", text.as_bytes());
    Zeroizing::new(*digest.as_bytes())
}
