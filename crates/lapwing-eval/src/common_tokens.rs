//! The commonest tokens of a text, and so which of its words are told by the context alone.
//!
//! Half of any text is a few dozen tokens: articles, commas, endings. A correction can make a
//! model better on average by betting on them, and pay with the words that carry the meaning. What
//! is not among the commonest is called *rare* here, and judged on its own.

use lapwing_model::TokenId;

/// The commonest tokens cover at least this share of a text.
const SHARE_COVERED: f64 = 0.5;

/// Which tokens of a vocabulary are the commonest of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommonTokens {
    is_common: Vec<bool>,
    n_common: usize,
}

impl CommonTokens {
    /// The fewest tokens that make up half of `text`; of tokens that occur equally often, those
    /// with the lower ids.
    ///
    /// Shapes: a vocabulary of `n_tokens`; ids beyond it are not counted.
    #[must_use]
    pub fn of_text(text: impl Iterator<Item = TokenId>, n_tokens: usize) -> CommonTokens {
        let mut counts = vec![0usize; n_tokens];
        for token in text {
            if let Some(count) = counts.get_mut(token as usize) {
                *count += 1;
            }
        }
        let n_total: usize = counts.iter().sum();
        let mut by_count: Vec<usize> = (0..n_tokens).filter(|&token| counts[token] != 0).collect();
        by_count.sort_by_key(|&token| (std::cmp::Reverse(counts[token]), token));
        let mut common = CommonTokens { is_common: vec![false; n_tokens], n_common: 0 };
        let mut n_covered = 0;
        for token in by_count {
            if SHARE_COVERED * n_total as f64 <= n_covered as f64 {
                break;
            }
            common.is_common[token] = true;
            common.n_common += 1;
            n_covered += counts[token];
        }
        common
    }

    /// Whether `token` is one of the commonest.
    #[must_use]
    pub fn contains(&self, token: TokenId) -> bool {
        self.is_common.get(token as usize).copied().unwrap_or(false)
    }

    /// How many they are.
    #[must_use]
    pub fn n_common(&self) -> usize {
        self.n_common
    }

    /// One answer for each token of the vocabulary.
    #[must_use]
    pub fn as_flags(&self) -> &[bool] {
        &self.is_common
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_tokens_that_make_up_half() {
        let check = |text: &[TokenId], expected: &[TokenId]| {
            let common = CommonTokens::of_text(text.iter().copied(), 10);
            let found: Vec<TokenId> = (0..12).filter(|&token| common.contains(token)).collect();
            assert_eq!(found, expected, "{text:?}");
            assert_eq!(common.n_common(), expected.len());
        };
        check(&[], &[]);
        check(&[3], &[3]);
        check(&[7, 7, 7, 1, 2, 3], &[7]);
        // Three of seven are less than half.
        check(&[7, 7, 7, 1, 2, 3, 4], &[1, 7]);
        check(&[5, 4, 3, 2], &[2, 3]);
        // Beyond the vocabulary.
        check(&[11, 11, 11, 4], &[4]);
    }
}
