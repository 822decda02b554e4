//! The only file that asks the system for randomness, and a generator that repeats from a seed.

/// Fills `bytes` with what nobody can guess: nonces, salts, cancel keys.
pub fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("getrandom(2) exists since Linux 3.17, and we need 6.1");
}

/// SplitMix64: the same numbers from the same seed, for tests, simulations and jitter.
/// Anyone who sees one number knows all later ones, so never use it for secrets.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// Starts at `seed`; every seed is as good as any other.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound - 1`; `bound` must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        // The high half of the product is the random fraction of the bound.
        let product = u128::from(self.next_u64()) * u128::from(bound);
        (product >> 64) as u64
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_numbers() {
        // Reference output of SplitMix64 for seed 1234567.
        let mut random = Seeded::new(1_234_567);
        let numbers = [random.next_u64(), random.next_u64(), random.next_u64()];
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn a_bound_holds_and_is_reached() {
        let mut random = Seeded::new(7);
        let seen: std::collections::BTreeSet<_> = (0..1000).map(|_| random.below(6)).collect();
        assert_eq!(seen, (0..6).collect());
    }

    #[test]
    fn filling_reaches_every_byte() {
        for length in [0, 1, 7, 8, 9, 64] {
            let mut seeded = vec![0; length];
            let mut union = vec![0; length];
            let mut random = Seeded::new(length as u64);
            for _ in 0..64 {
                random.fill(&mut seeded);
                union
                    .iter_mut()
                    .zip(&seeded)
                    .for_each(|(all, byte)| *all |= byte);
            }
            assert!(union.iter().all(|byte| *byte == 0xff), "{length}");
        }
    }

    #[test]
    fn the_system_does_not_repeat_itself() {
        let (mut one, mut other) = ([0; 32], [0; 32]);
        fill(&mut one);
        fill(&mut other);
        assert_ne!(one, other);
    }
}
