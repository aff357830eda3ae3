//! A model's logits against those of a reference, token by token.

use std::array::from_fn;

use super::rows::{Lanes, N_LANES, TiledRows, is_logit, lane_means};

/// Moments of the difference between a reference and a model, of every token at once.
///
/// A pair counts where both entries are logits. Memory: O(n_tokens), about 280 bytes a
/// token; sums are f32 over blocks of 16 rows and about an origin near the mean, then f64.
#[derive(Clone, Debug)]
pub struct PairedMoments {
    n_tokens: usize,
    references: TiledRows,
    models: TiledRows,
    tiles: Vec<Tile>,
}

/// What has to be added to a model's logit of one token to match the reference on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenOffset {
    /// Pairs seen.
    pub n: usize,
    /// Mean of `reference - model`; NaN when no pair was seen.
    pub mean: f64,
    /// Standard error of the mean, from how the windows differ; `+inf` below two windows.
    ///
    /// Rows of one window are correlated, so their number says little about the error:
    /// windows are taken as the independent units. `sqrt(W/(W-1) sum_w (S_w - n_w m)^2) / n`
    /// with the sum `S_w` and the number `n_w` of pairs in each of `W` windows.
    pub standard_error: f64,
}

impl TokenOffset {
    /// The mean times `d^2 / (d^2 + SE^2)`, with the mean `d` and its standard error.
    ///
    /// The posterior mean of an offset whose prior is normal about 0 with the variance
    /// `d^2`, the plug-in estimate: always of the sign of `d` and never above it, half of
    /// it where the mean is one standard error away from 0, and gone where the error is
    /// unknown. 0 when no pair was seen or the mean is 0.
    #[must_use]
    pub fn shrunk(&self) -> f64 {
        let square = self.mean * self.mean;
        if !(0.0 < square && self.standard_error.is_finite()) {
            return 0.0;
        }
        self.mean * (square / (square + self.standard_error * self.standard_error))
    }
}

/// What the difference `model - reference` of one token is like, beside its mean.
///
/// NaN where too little was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseMoments {
    /// Variance about its mean: `R`, measured.
    pub variance: f64,
    /// Autocovariance at lag 1; the filter takes it to be 0.
    pub autocovariance: f64,
    /// Covariance with the reference; the filter takes it to be 0.
    pub covariance: f64,
    /// Variance of the reference about its mean.
    pub reference_variance: f64,
}

impl PairedMoments {
    /// For rows of `n_tokens`.
    #[must_use]
    pub fn new(n_tokens: usize) -> PairedMoments {
        PairedMoments {
            n_tokens,
            references: TiledRows::new(n_tokens),
            models: TiledRows::new(n_tokens),
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
        for tile in &mut self.tiles {
            tile.clusters = tile.clusters_so_far();
            tile.window = [[0.0; N_LANES]; 2];
            tile.previous_weight = [0.0; N_LANES];
        }
    }

    /// Take in the rows of one position.
    ///
    /// Shapes: `reference_centred [n_tokens]`, `model_centred [n_tokens]`.
    ///
    /// # Panics
    ///
    /// When a row has another length.
    pub fn push(&mut self, reference_centred: &[f32], model_centred: &[f32]) {
        assert_eq!(reference_centred.len(), self.n_tokens, "one logit for each token");
        assert_eq!(model_centred.len(), self.n_tokens, "one logit for each token");
        self.references.push(reference_centred);
        self.models.push(model_centred);
        if self.models.is_full() {
            self.take_block();
        }
    }

    /// The offset of one token.
    ///
    /// # Panics
    ///
    /// When the token is outside the vocabulary.
    #[must_use]
    pub fn offset(&mut self, token_idx: usize) -> TokenOffset {
        let (tile, lane) = self.tile(token_idx);
        tile.offset(lane)
    }

    /// The offset of every token, shrunk as [`TokenOffset::shrunk`] says.
    ///
    /// Shapes: the result `[n_tokens]`.
    #[must_use]
    pub fn shrunk_offsets(&mut self) -> Vec<f32> {
        (0..self.n_tokens).map(|token_idx| self.offset(token_idx).shrunk() as f32).collect()
    }

    /// The noise of one token, with what the filter takes for granted about it.
    ///
    /// # Panics
    ///
    /// When the token is outside the vocabulary.
    #[must_use]
    pub fn noise(&mut self, token_idx: usize) -> NoiseMoments {
        let (tile, lane) = self.tile(token_idx);
        tile.noise(lane)
    }

    /// The variance of `model - reference` of one token: `R`, measured. NaN when unseen.
    ///
    /// # Panics
    ///
    /// When the token is outside the vocabulary.
    #[must_use]
    pub fn noise_variance(&mut self, token_idx: usize) -> f64 {
        self.noise(token_idx).variance
    }

    /// The mean square of the reference's increments of one token: `Q`, measured. NaN
    /// when unseen.
    ///
    /// # Panics
    ///
    /// When the token is outside the vocabulary.
    #[must_use]
    pub fn reference_increment_variance(&mut self, token_idx: usize) -> f64 {
        let (tile, lane) = self.tile(token_idx);
        tile.totals[INCREMENT][lane] / tile.totals[PAIR_COUNT][lane]
    }

    fn tile(&mut self, token_idx: usize) -> (&Tile, usize) {
        assert!(token_idx < self.n_tokens, "token {token_idx} of {}", self.n_tokens);
        self.take_block();
        (&self.tiles[token_idx / N_LANES], token_idx % N_LANES)
    }

    fn take_block(&mut self) {
        // Every reader comes here first, often once for each token.
        if self.models.is_empty() {
            return;
        }
        let rows = self.references.tiles().zip(self.models.tiles());
        for (tile, (references, models)) in self.tiles.iter_mut().zip(rows) {
            tile.take(references, models);
        }
        self.references.clear();
        self.models.clear();
    }
}

// Where each sum lies; d = reference - model, s = reference, both about their origin.
const COUNT: usize = 0;
const PAIR_COUNT: usize = 1; // positions whose predecessor counts too
const DIFFERENCE: usize = 2;
const DIFFERENCE_SQUARE: usize = 3;
const DIFFERENCE_PRODUCT: usize = 4; // d_t d_(t-1)
const DIFFERENCE_ENDS: usize = 5; // d_t + d_(t-1), to centre the products exactly
const REFERENCE: usize = 6;
const REFERENCE_SQUARE: usize = 7;
const CROSS: usize = 8; // d s
const INCREMENT: usize = 9; // (s_t - s_(t-1))^2
const N_SUMS: usize = 10;

// Sums over windows of their count n and their sum S of differences.
const WINDOWS: usize = 0;
const COUNT_SQUARE: usize = 1; // n^2
const COUNT_SUM: usize = 2; // n S
const SUM_SQUARE: usize = 3; // S^2
const N_CLUSTERS: usize = 4;

#[derive(Clone, Debug)]
struct Tile {
    difference_origin: Lanes,
    reference_origin: Lanes,
    previous_difference: Lanes,
    previous_reference: Lanes,
    /// 1 where the last position counts and belongs to this window, else 0.
    previous_weight: Lanes,
    totals: [Lanes<f64>; N_SUMS],
    /// Count and sum of differences in the open window.
    window: [Lanes<f64>; 2],
    clusters: [Lanes<f64>; N_CLUSTERS],
}

impl Tile {
    const EMPTY: Tile = Tile {
        difference_origin: [0.0; N_LANES],
        reference_origin: [0.0; N_LANES],
        previous_difference: [0.0; N_LANES],
        previous_reference: [0.0; N_LANES],
        previous_weight: [0.0; N_LANES],
        totals: [[0.0; N_LANES]; N_SUMS],
        window: [[0.0; N_LANES]; 2],
        clusters: [[0.0; N_LANES]; N_CLUSTERS],
    };

    fn take(&mut self, references: &[Lanes], models: &[Lanes]) {
        if self.totals[COUNT].contains(&0.0) {
            self.set_origins(references, models);
        }
        let mut sums = [[0.0; N_LANES]; N_SUMS];
        for (reference, model) in references.iter().zip(models) {
            self.take_row(&mut sums, reference, model);
        }
        for (totals, sums) in self.totals.iter_mut().zip(&sums) {
            for (total, &sum) in totals.iter_mut().zip(sums) {
                *total += f64::from(sum);
            }
        }
        for (window, idx) in self.window.iter_mut().zip([COUNT, DIFFERENCE]) {
            window.iter_mut().zip(sums[idx]).for_each(|(total, sum)| *total += f64::from(sum));
        }
    }

    /// The means over the first block in which a token shows up; nothing was summed yet.
    fn set_origins(&mut self, references: &[Lanes], models: &[Lanes]) {
        let reference_means = lane_means(references.iter());
        let model_means = lane_means(models.iter());
        for lane in 0..N_LANES {
            if self.totals[COUNT][lane] == 0.0 {
                self.reference_origin[lane] = reference_means[lane];
                self.difference_origin[lane] = reference_means[lane] - model_means[lane];
            }
        }
    }

    /// Weights instead of branches: a term that is missing one of its entries weighs 0.
    ///
    /// One short loop for each sum, since compilers do not turn one long loop into SIMD.
    fn take_row(&mut self, sums: &mut [Lanes; N_SUMS], reference: &Lanes, model: &Lanes) {
        let is_pair = |lane: usize| is_logit(reference[lane]) & is_logit(model[lane]);
        let here: Lanes = from_fn(|lane| if is_pair(lane) { 1.0 } else { 0.0 });
        let with: Lanes = from_fn(|lane| here[lane] * self.previous_weight[lane]);
        let d: Lanes = from_fn(|lane| {
            let difference = reference[lane] - model[lane] - self.difference_origin[lane];
            if is_pair(lane) { difference } else { 0.0 }
        });
        let s: Lanes = from_fn(|lane| {
            if is_pair(lane) { reference[lane] - self.reference_origin[lane] } else { 0.0 }
        });
        let previous = self.previous_difference;
        let step: Lanes = from_fn(|lane| s[lane] - self.previous_reference[lane]);

        let mut add = |idx: usize, term: Lanes| {
            sums[idx].iter_mut().zip(term).for_each(|(sum, term)| *sum += term);
        };
        add(COUNT, here);
        add(PAIR_COUNT, with);
        add(DIFFERENCE, d);
        add(DIFFERENCE_SQUARE, from_fn(|lane| d[lane] * d[lane]));
        add(DIFFERENCE_PRODUCT, from_fn(|lane| with[lane] * (d[lane] * previous[lane])));
        add(DIFFERENCE_ENDS, from_fn(|lane| with[lane] * (d[lane] + previous[lane])));
        add(REFERENCE, s);
        add(REFERENCE_SQUARE, from_fn(|lane| s[lane] * s[lane]));
        add(CROSS, from_fn(|lane| d[lane] * s[lane]));
        add(INCREMENT, from_fn(|lane| with[lane] * (step[lane] * step[lane])));

        self.previous_difference = d;
        self.previous_reference = s;
        self.previous_weight = here;
    }

    /// The sums over windows, the open one included.
    fn clusters_so_far(&self) -> [Lanes<f64>; N_CLUSTERS] {
        let mut clusters = self.clusters;
        for lane in 0..N_LANES {
            let [n, sum] = self.window.map(|values| values[lane]);
            clusters[WINDOWS][lane] += if 0.0 < n { 1.0 } else { 0.0 };
            clusters[COUNT_SQUARE][lane] += n * n;
            clusters[COUNT_SUM][lane] += n * sum;
            clusters[SUM_SQUARE][lane] += sum * sum;
        }
        clusters
    }

    fn offset(&self, lane: usize) -> TokenOffset {
        let n = self.totals[COUNT][lane];
        let mean = self.totals[DIFFERENCE][lane] / n;
        let [n_windows, count_square, count_sum, sum_square] =
            self.clusters_so_far().map(|values| values[lane]);
        let spread = sum_square - 2.0 * mean * count_sum + mean * mean * count_square;
        let standard_error = if n_windows < 2.0 {
            f64::INFINITY
        } else {
            (n_windows / (n_windows - 1.0) * spread.max(0.0)).sqrt() / n
        };
        let mean = f64::from(self.difference_origin[lane]) + mean;
        TokenOffset { n: n as usize, mean, standard_error }
    }

    fn noise(&self, lane: usize) -> NoiseMoments {
        let total = |idx: usize| self.totals[idx][lane];
        let n = total(COUNT);
        let mean = total(DIFFERENCE) / n;
        let reference_mean = total(REFERENCE) / n;
        let product =
            (total(DIFFERENCE_PRODUCT) - mean * total(DIFFERENCE_ENDS)) / total(PAIR_COUNT);
        let variance = (total(DIFFERENCE_SQUARE) / n - mean * mean).max(0.0);
        let square = total(REFERENCE_SQUARE) / n;
        NoiseMoments {
            // `max` would turn the NaN of an unseen token into 0.
            variance: if n == 0.0 { f64::NAN } else { variance },
            autocovariance: product + mean * mean,
            // The noise is model - reference, the difference with its sign turned.
            covariance: mean * reference_mean - total(CROSS) / n,
            reference_variance: square - reference_mean * reference_mean,
        }
    }
}
