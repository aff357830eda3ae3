//! Intervals of a mean whose values come in blocks that are not independent inside.
//!
//! Neighbouring tokens of a window are related, windows are (nearly) not: windows are drawn with
//! replacement, whole. The estimate is a ratio of sums, because windows may differ in length.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};

use super::{Interval, below, quantile, standard_deviation};

/// What one block (a window, a document) adds to a mean.
///
/// For the difference of two conditions, form the differences of the values first and sum those:
/// resampling blocks of differences keeps what the two have in common out of the interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Sum of the block's values.
    pub sum: f64,
    /// How many values there are.
    pub n: usize,
}

/// How to resample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootstrapOptions {
    /// How many times to draw as many blocks as there are; at least 2.
    pub n_resamples: usize,
    /// Share of the resampled means that lie within the interval, between 0 and 1.
    pub confidence: f64,
    /// Where the random numbers start; the same seed gives the same interval.
    pub seed: u64,
}

/// Why there is no interval.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum BootstrapError {
    /// One block says nothing about how blocks differ.
    #[error("cannot bootstrap {n_blocks} blocks: expected at least 2")]
    TooFewBlocks { n_blocks: usize },
    /// A block without values, or whose sum is not finite.
    #[error("block {block_idx} cannot be used: sum {sum} of {n} values")]
    BadBlock { block_idx: usize, sum: f64, n: usize },
    /// An option makes no sense.
    #[error("bootstrap option {option} must be {expected}, found {found}")]
    BadOption {
        /// The field of [`BootstrapOptions`].
        option: &'static str,
        expected: &'static str,
        found: f64,
    },
}

/// Percentile interval of a mean, by drawing whole blocks with replacement.
///
/// The estimate is the ratio of the sums; the ends are the percentiles `(1 ± confidence) / 2` of
/// the resampled means, and the standard error is their standard deviation.
///
/// With few blocks the interval is too narrow, by about `sqrt((n - 1) / n)` for `n` blocks.
///
/// Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3; blocks as
/// the unit as in Künsch 1989, without overlap.
///
/// # Errors
///
/// With fewer than two blocks, a block without values or with a sum that is not finite, or options
/// out of range.
pub fn block_bootstrap(
    blocks: &[Block],
    options: &BootstrapOptions,
) -> Result<Interval, BootstrapError> {
    check(blocks, options)?;
    let estimate = block_mean(blocks);
    let n_blocks = blocks.len();
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    let mut means = Vec::with_capacity(options.n_resamples);
    for _ in 0..options.n_resamples {
        means.push(block_mean((0..n_blocks).map(|_| &blocks[below(&mut random, n_blocks)])));
    }
    means.sort_by(f64::total_cmp);
    let tail = (1.0 - options.confidence) / 2.0;
    let low = quantile(&means, tail);
    let high = quantile(&means, 1.0 - tail);
    Ok(Interval { estimate, low, high, standard_error: standard_deviation(&means) })
}

/// Standard error of the ratio of sums, linearised about the mean; `None` below two blocks,
/// and where it is no finite number.
///
/// With one value in each block it is the textbook `s / sqrt(n)`.
///
/// Source: Cochran 1977, "Sampling Techniques", equation 6.13 (ratio estimate, without the finite
/// population correction).
#[must_use]
pub fn ratio_standard_error(blocks: &[Block]) -> Option<f64> {
    let n_values: usize = blocks.iter().map(|block| block.n).sum();
    if blocks.len() < 2 || n_values == 0 {
        return None;
    }
    let mean = block_mean(blocks);
    let squares: f64 = blocks.iter().map(|block| (block.sum - mean * block.n as f64).powi(2)).sum();
    let n_blocks = blocks.len() as f64;
    let error = (squares * n_blocks / (n_blocks - 1.0)).sqrt() / n_values as f64;
    error.is_finite().then_some(error)
}

/// The mean over all values of `blocks`: the ratio of the sums.
pub fn block_mean<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> f64 {
    let (sum, n) =
        blocks.into_iter().fold((0.0, 0), |(sum, n), block| (sum + block.sum, n + block.n));
    sum / n as f64
}

fn check(blocks: &[Block], options: &BootstrapOptions) -> Result<(), BootstrapError> {
    let BootstrapOptions { n_resamples, confidence, .. } = *options;
    let bad = |option, expected, found| Err(BootstrapError::BadOption { option, expected, found });
    if n_resamples < 2 {
        return bad("n_resamples", "at least 2", n_resamples as f64);
    }
    // Written so that NaN is refused.
    if !(0.0 < confidence && confidence < 1.0) {
        return bad("confidence", "between 0 and 1", confidence);
    }
    if blocks.len() < 2 {
        return Err(BootstrapError::TooFewBlocks { n_blocks: blocks.len() });
    }
    match blocks.iter().position(|block| block.n == 0 || !block.sum.is_finite()) {
        Some(block_idx) => {
            let Block { sum, n } = blocks[block_idx];
            Err(BootstrapError::BadBlock { block_idx, sum, n })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::Rng as _;

    use super::*;

    const OPTIONS: BootstrapOptions =
        BootstrapOptions { n_resamples: 2000, confidence: 0.95, seed: 7 };

    fn block(sum: f64, n: usize) -> Block {
        Block { sum, n }
    }

    #[test]
    fn bad_input_is_refused() {
        let check = |blocks: &[Block], options: BootstrapOptions, expected: &str| {
            let error = block_bootstrap(blocks, &options).expect_err(expected);
            assert_eq!(error.to_string(), expected);
        };
        let two = [block(1.0, 1), block(2.0, 1)];
        check(&two[..1], OPTIONS, "cannot bootstrap 1 blocks: expected at least 2");
        check(&[two[0], block(0.0, 0)], OPTIONS, "block 1 cannot be used: sum 0 of 0 values");
        check(
            &[block(f64::INFINITY, 3), two[0]],
            OPTIONS,
            "block 0 cannot be used: sum inf of 3 values",
        );
        let options = BootstrapOptions { confidence: f64::NAN, ..OPTIONS };
        check(&two, options, "bootstrap option confidence must be between 0 and 1, found NaN");
        let options = BootstrapOptions { n_resamples: 1, ..OPTIONS };
        check(&two, options, "bootstrap option n_resamples must be at least 2, found 1");
    }

    #[test]
    fn equal_blocks_leave_no_doubt_and_the_seed_decides_the_rest() {
        let equal = [block(6.0, 3), block(2.0, 1), block(4.0, 2)];
        let interval = block_bootstrap(&equal, &OPTIONS).expect("an interval");
        assert_eq!((interval.estimate, interval.low, interval.high), (2.0, 2.0, 2.0));
        let blocks: Vec<Block> = (0..9).map(|i| block(f64::from(i * i), 2)).collect();
        let first = block_bootstrap(&blocks, &OPTIONS).expect("an interval");
        assert_eq!(first, block_bootstrap(&blocks, &OPTIONS).expect("an interval"));
        let other = BootstrapOptions { seed: 8, ..OPTIONS };
        assert_ne!(first, block_bootstrap(&blocks, &other).expect("an interval"));
        assert!(first.low < first.estimate && first.estimate < first.high, "{first:?}");
    }

    /// Both standard errors agree with the textbook, and the interval holds the truth as often as
    /// it says.
    #[test]
    fn intervals_cover_the_truth() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut unit = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut n_covering = 0;
        for seed in 0..200 {
            // Sums of twelve uniform numbers are all but normal: mean 6, variance 1.
            let values: Vec<f64> = (0..60).map(|_| (0..12).map(|_| unit()).sum()).collect();
            let blocks: Vec<Block> = values.iter().map(|&value| block(value, 1)).collect();
            let options = BootstrapOptions { n_resamples: 400, confidence: 0.9, seed };
            let interval = block_bootstrap(&blocks, &options).expect("an interval");
            let textbook = standard_deviation(&values).unwrap() / 60f64.sqrt();
            let linear = ratio_standard_error(&blocks).expect("an error");
            assert!((linear - textbook).abs() < 1e-12, "{linear} {textbook}");
            let error = interval.standard_error.unwrap();
            assert!((error / textbook - 1.0).abs() < 0.25, "{seed}");
            n_covering += usize::from(interval.low <= 6.0 && 6.0 <= interval.high);
        }
        // 180 expected, standard deviation 4.2.
        assert!((165..=195).contains(&n_covering), "{n_covering} of 200");
    }

    #[test]
    fn one_block_has_no_standard_error() {
        assert_eq!(ratio_standard_error(&[block(1.0, 1)]), None);
    }
}
