//! What is run: prompts of random tokens, the same on every machine.
//!
//! A prompt is drawn from a seed. Every repetition of a test gets the tokens of the first prompt in
//! another order, so that nothing that remembers prompts can answer from memory, and the work stays
//! the same.

use lapwing_files::checksum;
use lapwing_model::TokenId;
use lapwing_report::statistics::below;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The prompt of run number `run_idx` of a test: `n_tokens` ids below `n_vocab`.
///
/// Run 0 has them in the order they were drawn, every later one in its own.
///
/// # Panics
///
/// When `n_vocab` is zero.
pub fn prompt(seed: u64, run_idx: usize, n_tokens: usize, n_vocab: usize) -> Vec<TokenId> {
    assert!(n_vocab > 0, "a vocabulary has tokens");
    // Another length is another prompt, not the beginning of this one.
    let mut rng = stream(seed, n_tokens as u64);
    let mut ids: Vec<TokenId> =
        (0..n_tokens).map(|_| below(&mut rng, n_vocab) as TokenId).collect();
    if run_idx != 0 {
        let mut rng = stream(seed ^ 0x5bd1_e995_9e37_79b9, run_idx as u64);
        // Fisher and Yates.
        for last in (1..ids.len()).rev() {
            ids.swap(last, below(&mut rng, last + 1));
        }
    }
    ids
}

/// SHA-256 of token ids, each as four bytes, little end first; in lower-case hexadecimal.
pub fn tokens_sha256(ids: &[TokenId]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    checksum::sha256_bytes(&bytes)
}

/// A generator of its own for each pair.
fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(mut ids: Vec<TokenId>) -> Vec<TokenId> {
        ids.sort_unstable();
        ids
    }

    #[test]
    fn repetitions_have_the_same_tokens_in_another_order() {
        let first = prompt(1, 0, 64, 49_152);
        assert_eq!(first, prompt(1, 0, 64, 49_152));
        for run_idx in 1..20 {
            let other = prompt(1, run_idx, 64, 49_152);
            assert_ne!(first[0], other[0], "a first token in common is a prefix to reuse");
            assert_ne!(other, prompt(1, run_idx + 1, 64, 49_152));
            assert_eq!(sorted(first.clone()), sorted(other));
        }
    }

    #[test]
    fn another_seed_or_length_is_another_prompt() {
        let first = prompt(1, 0, 64, 49_152);
        assert_ne!(first, prompt(2, 0, 64, 49_152));
        assert_ne!(first[..32], prompt(1, 0, 32, 49_152)[..]);
        assert!(prompt(1, 3, 5000, 7).iter().all(|&id| id < 7));
        assert_eq!(prompt(1, 1, 1, 1), [0]);
        assert_eq!(prompt(1, 1, 0, 5), [0; 0]);
    }

    #[test]
    fn prompts_are_pinned() {
        // A change would make tokens hashes of older records differ: it must be on purpose.
        assert_eq!(prompt(0, 0, 4, 49_152), [42_071, 31_304, 5765, 47_264]);
    }

    #[test]
    fn the_hash_is_of_four_bytes_an_id() {
        // printf '\1\0\0\0\2\0\0\0\36\0\0\0' | sha256sum
        let expected = "8c57245b83dfe6e95667bede9f2486f02c30a77ca812346101426e829bc784e8";
        assert_eq!(tokens_sha256(&[1, 2, 30]), expected);
    }
}
