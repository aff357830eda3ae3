//! Moments of every token's logit over time.

use std::array::from_fn;

use super::rows::{Lanes, N_LANES, TiledRows, is_logit, lane_means};

/// The weight of the new value in the smoothing of the published estimator, as it is
/// usually read.
pub const PUBLISHED_ALPHA: f64 = 0.1;

/// Means, autocovariances of levels and increments, and the error of an exponential
/// moving average, of every token at once.
///
/// Memory: O(n_tokens), about 220 bytes a token. Sums are f32 over blocks of 16 rows and
/// about an origin near the token's mean, then f64: relative errors of about 1e-6, far
/// below the sampling error of any text.
#[derive(Clone, Debug)]
pub struct SeriesMoments {
    n_tokens: usize,
    alpha: f32,
    block: TiledRows,
    tiles: Vec<Tile>,
}

/// Moments of one token, or of several pooled.
///
/// When nothing was seen, the counts are 0 and the rest is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenMoments {
    /// Tokens pooled that were seen at all.
    pub n_tokens: usize,
    /// Logits seen.
    pub n: usize,
    /// Increments seen: pairs of neighbours within a window.
    pub n_increments: usize,
    /// Mean logit.
    pub mean: f64,
    /// Variance about each token's own mean, divided by `n - n_tokens`.
    pub variance: f64,
    /// Autocovariances of the logit about each token's own mean, lags 0 to 2, each
    /// divided by its number of pairs.
    pub autocovariances: [f64; 3],
    /// Autocovariances of the increments `y_t - y_(t-1)`, lags 0 to 2, about zero: the
    /// increments of any stationary series have no mean.
    pub increments: [f64; 3],
    /// Variance of the logit about its exponential moving average.
    pub ema_variance: EmaVariance,
}

/// Variance of `y - EMA(y)`, for both readings of what the average contains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmaVariance {
    /// About the average that contains `y_t` already.
    pub current: f64,
    /// About the average up to `y_(t-1)`.
    pub previous: f64,
}

impl SeriesMoments {
    /// For rows of `n_tokens`, with [`PUBLISHED_ALPHA`].
    #[must_use]
    pub fn new(n_tokens: usize) -> SeriesMoments {
        SeriesMoments::with_alpha(n_tokens, PUBLISHED_ALPHA)
    }

    /// With another weight of the new value in the moving average.
    ///
    /// # Panics
    ///
    /// When `alpha` is not above 0 and at most 1.
    #[must_use]
    pub fn with_alpha(n_tokens: usize, alpha: f64) -> SeriesMoments {
        assert!(0.0 < alpha && alpha <= 1.0, "alpha {alpha} is not in (0, 1]");
        SeriesMoments {
            n_tokens,
            alpha: alpha as f32,
            block: TiledRows::new(n_tokens),
            tiles: vec![Tile::EMPTY; n_tokens.div_ceil(N_LANES)],
        }
    }

    /// How many tokens a row has.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// What follows is not the continuation of what was pushed.
    pub fn begin_window(&mut self) {
        self.take_block();
        self.tiles.iter_mut().for_each(|tile| tile.chain.weights = Chain::EMPTY.weights);
    }

    /// Take the next row in.
    ///
    /// Shapes: `centred [n_tokens]`.
    ///
    /// # Panics
    ///
    /// When the row has another length.
    pub fn push(&mut self, centred: &[f32]) {
        assert_eq!(centred.len(), self.n_tokens, "one logit for each token");
        self.block.push(centred);
        if self.block.is_full() {
            self.take_block();
        }
    }

    /// The moments of one token.
    ///
    /// # Panics
    ///
    /// When the token is outside the vocabulary.
    #[must_use]
    pub fn token(&mut self, token_idx: usize) -> TokenMoments {
        self.pooled([token_idx])
    }

    /// The moments of several tokens, each about its own mean, weighted by their counts.
    ///
    /// # Panics
    ///
    /// When a token is outside the vocabulary.
    #[must_use]
    pub fn pooled(&mut self, token_idxs: impl IntoIterator<Item = usize>) -> TokenMoments {
        self.take_block();
        let mut pooled = Centred::default();
        for token_idx in token_idxs {
            assert!(token_idx < self.n_tokens, "token {token_idx} of {}", self.n_tokens);
            let tile = &self.tiles[token_idx / N_LANES];
            pooled.add(&tile.totals, tile.chain.origin, token_idx % N_LANES);
        }
        pooled.moments(f64::from(self.alpha))
    }

    /// The mean logit of every token; NaN where nothing was seen.
    ///
    /// Shapes: the result `[n_tokens]`.
    #[must_use]
    pub fn means(&mut self) -> Vec<f64> {
        (0..self.n_tokens).map(|token_idx| self.token(token_idx).mean).collect()
    }

    fn take_block(&mut self) {
        // Every reader comes here first, often once for each token.
        if self.block.is_empty() {
            return;
        }
        for (tile, rows) in self.tiles.iter_mut().zip(self.block.tiles()) {
            tile.take(rows, self.alpha);
        }
        self.block.clear();
    }
}

// Where each sum lies; those with a number have so many lags.
const COUNT: usize = 0; // 4: logits with 0, 1, 2, 3 logits directly before
const VALUE: usize = 4;
const SQUARE: usize = 5;
const PRODUCT: usize = 6; // 2: y_t y_(t-k)
const ENDS: usize = 8; // 2: y_t + y_(t-k), to centre the products exactly
const INCREMENT: usize = 10; // 3: d_t d_(t-k)
const ERROR: usize = 13;
const ERROR_SQUARE: usize = 14;
const N_SUMS: usize = 15;

#[derive(Clone, Debug)]
struct Tile {
    chain: Chain,
    totals: [Lanes<f64>; N_SUMS],
}

/// What the next row needs to know of the last ones; values are about the origin.
#[derive(Clone, Copy, Debug)]
struct Chain {
    origin: Lanes,
    /// The last three values; 0 where there was no logit.
    previous: [Lanes; 3],
    /// 1 where the last one, two, three entries were all logits of this window, else 0.
    weights: [Lanes; 3],
    average: Lanes,
}

impl Chain {
    const EMPTY: Chain = Chain {
        origin: [0.0; N_LANES],
        previous: [[0.0; N_LANES]; 3],
        weights: [[0.0; N_LANES]; 3],
        average: [0.0; N_LANES],
    };
}

impl Tile {
    const EMPTY: Tile = Tile { chain: Chain::EMPTY, totals: [[0.0; N_LANES]; N_SUMS] };

    fn take(&mut self, rows: &[Lanes], alpha: f32) {
        if self.totals[COUNT].contains(&0.0) {
            self.set_origins(rows);
        }
        let mut sums = [[0.0; N_LANES]; N_SUMS];
        for row in rows {
            take_row(&mut sums, &mut self.chain, row, alpha);
        }
        for (totals, sums) in self.totals.iter_mut().zip(&sums) {
            for (total, &sum) in totals.iter_mut().zip(sums) {
                *total += f64::from(sum);
            }
        }
    }

    /// The mean over the first block in which a token shows up; nothing was summed yet.
    fn set_origins(&mut self, rows: &[Lanes]) {
        let means = lane_means(rows.iter());
        for (lane, mean) in means.into_iter().enumerate() {
            if self.totals[COUNT][lane] == 0.0 {
                self.chain.origin[lane] = mean;
            }
        }
    }
}

/// Weights instead of branches: a term that is missing one of its entries weighs 0.
///
/// One short loop for each sum, since compilers do not turn one long loop into SIMD.
fn take_row(sums: &mut [Lanes; N_SUMS], chain: &mut Chain, row: &Lanes, alpha: f32) {
    let here: Lanes = from_fn(|lane| if is_logit(row[lane]) { 1.0 } else { 0.0 });
    let value: Lanes =
        from_fn(|lane| if is_logit(row[lane]) { row[lane] - chain.origin[lane] } else { 0.0 });
    let [one, two, three] = chain.previous;
    let with = chain.weights.map(|weights| from_fn(|lane| here[lane] * weights[lane]));
    let [with_one, with_two, with_three]: [Lanes; 3] = with;
    let step: Lanes = from_fn(|lane| value[lane] - one[lane]);
    let error: Lanes = from_fn(|lane| with_one[lane] * (value[lane] - chain.average[lane]));

    let mut add = |idx: usize, term: Lanes| {
        sums[idx].iter_mut().zip(term).for_each(|(sum, term)| *sum += term);
    };
    add(COUNT, here);
    add(COUNT + 1, with_one);
    add(COUNT + 2, with_two);
    add(COUNT + 3, with_three);
    add(VALUE, value);
    add(SQUARE, from_fn(|lane| value[lane] * value[lane]));
    add(PRODUCT, from_fn(|lane| with_one[lane] * (value[lane] * one[lane])));
    add(PRODUCT + 1, from_fn(|lane| with_two[lane] * (value[lane] * two[lane])));
    add(ENDS, from_fn(|lane| with_one[lane] * (value[lane] + one[lane])));
    add(ENDS + 1, from_fn(|lane| with_two[lane] * (value[lane] + two[lane])));
    add(INCREMENT, from_fn(|lane| with_one[lane] * (step[lane] * step[lane])));
    add(INCREMENT + 1, from_fn(|lane| with_two[lane] * (step[lane] * (one[lane] - two[lane]))));
    add(INCREMENT + 2, from_fn(|lane| with_three[lane] * (step[lane] * (two[lane] - three[lane]))));
    add(ERROR, error);
    add(ERROR_SQUARE, from_fn(|lane| error[lane] * error[lane]));

    // Without a predecessor the error is 0 and the average starts at the value.
    chain.average = from_fn(|lane| value[lane] - (1.0 - alpha) * error[lane]);
    chain.previous = [value, one, two];
    chain.weights = [here, with_one, with_two];
}

/// Sums about each token's own mean, which can be added over tokens.
#[derive(Default)]
struct Centred {
    n_tokens: usize,
    /// Logits with 0, 1, 2, 3 logits directly before.
    counts: [f64; 4],
    value: f64,
    products: [f64; 3],
    increments: [f64; 3],
    error_square: f64,
}

impl Centred {
    fn add(&mut self, totals: &[Lanes<f64>; N_SUMS], origin: Lanes, lane: usize) {
        let sum = |idx: usize| totals[idx][lane];
        let n = sum(COUNT);
        if n == 0.0 {
            return;
        }
        let mean = sum(VALUE) / n;
        self.n_tokens += 1;
        self.value += sum(VALUE) + n * f64::from(origin[lane]);
        self.products[0] += sum(SQUARE) - n * mean * mean;
        for lag in 1..3 {
            let product = sum(PRODUCT + lag - 1) - mean * sum(ENDS + lag - 1);
            self.products[lag] += product + sum(COUNT + lag) * mean * mean;
        }
        for lag in 0..3 {
            self.increments[lag] += sum(INCREMENT + lag);
        }
        let n_errors = sum(COUNT + 1).max(1.0);
        self.error_square += sum(ERROR_SQUARE) - sum(ERROR) * sum(ERROR) / n_errors;
        for (count, idx) in self.counts.iter_mut().zip(COUNT..) {
            *count += sum(idx);
        }
    }

    fn moments(&self, alpha: f64) -> TokenMoments {
        let [n, n_increments, ..] = self.counts;
        let previous = self.error_square.max(0.0) / n_increments;
        let degrees = n - self.n_tokens as f64;
        TokenMoments {
            n_tokens: self.n_tokens,
            n: n as usize,
            n_increments: n_increments as usize,
            mean: self.value / n,
            variance: self.products[0].max(0.0) / degrees,
            autocovariances: from_fn(|lag| self.products[lag] / self.counts[lag]),
            increments: from_fn(|lag| self.increments[lag] / self.counts[lag + 1]),
            // y_t - m_t = (1 - alpha) (y_t - m_(t-1)), exactly.
            ema_variance: EmaVariance { current: (1.0 - alpha).powi(2) * previous, previous },
        }
    }
}
