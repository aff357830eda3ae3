//! Pooled maximum likelihood: the gain of each band with the smallest one-step error.

use super::bands::Bands;
use super::estimate::GainEstimate;
use super::rows::{Lanes, N_BLOCK_ROWS, N_LANES, NO_TOKEN, TiledRows, is_logit};

/// A band with fewer one-step errors gets the gain 1.
///
/// The standard deviation of a fitted gain is about `sqrt(K (2 - K) / n)`, at most
/// `1 / sqrt(n)`: with 400 errors 0.05, which is about the width of a step of the grid.
pub const N_ERRORS_MIN: usize = 400;

/// Streams rows through filters with every gain of a grid at once.
///
/// `y` is ARIMA(0,1,1): `y_t - y_(t-1) = e_t - (1 - K) e_(t-1)` with the one-step error
/// `e_t`, so the likelihood of a gain is the sum of squared errors of that recursion,
/// pooled over the tokens of a band and all windows. The first logit of a chain has no
/// error and starts the filter, as in use.
///
/// Memory: O(n_tokens), with a grid of 33 gains about 210 bytes a token. Errors are f32,
/// and their rounding does not grow since the recursion contracts; squares are summed in
/// f32 over blocks of 16 rows of one token, then in f64.
#[derive(Clone, Debug)]
pub struct GainSearch {
    n_tokens: usize,
    n_grid: usize,
    block: TiledRows,
    /// The tokens of each tile; tiles do not mix bands.
    order: Vec<Lanes<u32>>,
    tiles: Vec<Tile>,
    /// `[n_tiles, n_grid]`: the last error of each token under each gain.
    errors: Vec<Lanes>,
    bands: Vec<BandSums>,
}

/// The gain that was found for a band.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GainFit {
    /// The gain, 1 below [`N_ERRORS_MIN`].
    pub gain: f64,
    /// One-step errors pooled.
    pub n: usize,
    /// Mean squared one-step error at the gain; NaN without errors.
    pub mean_squared_error: f64,
    /// `Q = K^2 F` with the mean squared error `F`.
    pub q: f64,
    /// `R = (1 - K) F`.
    pub r: f64,
}

#[derive(Clone, Debug)]
struct Tile {
    band_idx: usize,
    previous: Lanes,
    /// 1 where the last entry was a logit of this window, else 0.
    weight: Lanes,
}

#[derive(Clone, Debug)]
struct BandSums {
    n: f64,
    /// `[n_grid]`: sums of squared errors.
    squares: Vec<f64>,
}

impl GainSearch {
    /// For rows of `n_tokens` and `n_grid` gains evenly from 0 to 1; 33 is a good number.
    ///
    /// # Panics
    ///
    /// When the bands are of another number of tokens, or `n_grid` is below 4.
    #[must_use]
    pub fn new(n_tokens: usize, bands: &Bands, n_grid: usize) -> GainSearch {
        assert_eq!(bands.n_tokens(), n_tokens, "a band for each token");
        assert!(4 <= n_grid, "a parabola needs 3 positive gains and 0, found {n_grid}");
        let mut of_band = vec![Vec::new(); bands.n_bands()];
        (0..n_tokens).for_each(|token| of_band[bands.band_of(token)].push(token as u32));
        let mut order = Vec::new();
        let mut tiles = Vec::new();
        for (band_idx, tokens) in of_band.iter().enumerate() {
            for chunk in tokens.chunks(N_LANES) {
                let mut lanes = [NO_TOKEN; N_LANES];
                lanes[..chunk.len()].copy_from_slice(chunk);
                order.push(lanes);
                let empty = [0.0; N_LANES];
                tiles.push(Tile { band_idx, previous: empty, weight: empty });
            }
        }
        GainSearch {
            n_tokens,
            n_grid,
            block: TiledRows::new(order.len() * N_LANES),
            errors: vec![[0.0; N_LANES]; order.len() * n_grid],
            order,
            tiles,
            bands: vec![BandSums { n: 0.0, squares: vec![0.0; n_grid] }; of_band.len()],
        }
    }

    /// What follows is not the continuation of what was pushed.
    pub fn begin_window(&mut self) {
        self.take_block();
        self.tiles.iter_mut().for_each(|tile| tile.weight = [0.0; N_LANES]);
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
        self.block.push_ordered(centred, &self.order);
        if self.block.is_full() {
            self.take_block();
        }
    }

    /// The best gain of each band: the best of the grid, refined by the parabola through
    /// it and its neighbours over the logarithm of the gain.
    ///
    /// Equally good gains of the grid: the largest. Below [`N_ERRORS_MIN`] errors: 1.
    ///
    /// Shapes: the result `[n_bands]`.
    #[must_use]
    pub fn best(&mut self) -> Vec<GainFit> {
        self.take_block();
        self.bands.iter().map(BandSums::fit).collect()
    }

    /// The mean squared one-step error of a band at each gain of the grid, `(gain, error)`;
    /// NaN without errors.
    ///
    /// # Panics
    ///
    /// When there is no such band.
    #[must_use]
    pub fn curve(&mut self, band_idx: usize) -> Vec<(f64, f64)> {
        self.take_block();
        let band = &self.bands[band_idx];
        let step = 1.0 / (self.n_grid - 1) as f64;
        let point = |(idx, square): (usize, &f64)| (idx as f64 * step, square / band.n);
        band.squares.iter().enumerate().map(point).collect()
    }

    fn take_block(&mut self) {
        // Every reader comes here first, often once for each token.
        if self.block.is_empty() {
            return;
        }
        let errors = self.errors.chunks_mut(self.n_grid);
        for ((tile, rows), errors) in self.tiles.iter_mut().zip(self.block.tiles()).zip(errors) {
            tile.take(rows, errors, &mut self.bands[tile.band_idx]);
        }
        self.block.clear();
    }
}

impl Tile {
    fn take(&mut self, rows: &[Lanes], errors: &mut [Lanes], band: &mut BandSums) {
        let mut increments = [[0.0; N_LANES]; N_BLOCK_ROWS];
        let mut weights = [[0.0; N_LANES]; N_BLOCK_ROWS];
        for ((row, increments), weights) in rows.iter().zip(&mut increments).zip(&mut weights) {
            self.increments(row, increments, weights);
        }
        let increments = &increments[..rows.len()];
        let weights = &weights[..rows.len()];
        band.n += f64::from(weights.iter().flatten().sum::<f32>());
        let step = 1.0 / (errors.len() - 1) as f32;
        for (idx, (errors, total)) in errors.iter_mut().zip(&mut band.squares).enumerate() {
            let remainder = 1.0 - idx as f32 * step;
            let squares = run(errors, remainder, increments, weights);
            *total += squares.iter().map(|&square| f64::from(square)).sum::<f64>();
        }
    }

    /// Weights instead of branches: without two neighbours the increment and weight are 0.
    fn increments(&mut self, row: &Lanes, increments: &mut Lanes, weights: &mut Lanes) {
        for lane in 0..N_LANES {
            let is_logit = is_logit(row[lane]);
            let value = if is_logit { row[lane] } else { 0.0 };
            let here = if is_logit { 1.0 } else { 0.0 };
            weights[lane] = here * self.weight[lane];
            increments[lane] = weights[lane] * (value - self.previous[lane]);
            self.previous[lane] = value;
            self.weight[lane] = here;
        }
    }
}

/// `e_t = d_t + (1 - K) e_(t-1)` over the rows of a tile; returns the sums of squares.
#[inline(always)]
fn run(errors: &mut Lanes, remainder: f32, increments: &[Lanes], weights: &[Lanes]) -> Lanes {
    let mut current = *errors;
    let mut squares = [0.0; N_LANES];
    for (increments, weights) in increments.iter().zip(weights) {
        for lane in 0..N_LANES {
            let error = increments[lane] + remainder * weights[lane] * current[lane];
            squares[lane] += error * error;
            current[lane] = error;
        }
    }
    *errors = current;
    squares
}

impl BandSums {
    fn fit(&self) -> GainFit {
        let (gain, square) = if self.n < N_ERRORS_MIN as f64 {
            (1.0, self.squares[self.squares.len() - 1])
        } else {
            lowest(&self.squares)
        };
        let error = square / self.n;
        GainFit {
            gain,
            n: self.n as usize,
            mean_squared_error: error,
            q: gain * gain * error,
            r: (1.0 - gain) * error,
        }
    }
}

/// Where a curve over gains 0, step, … 1 is lowest, and how low, between its points too.
///
/// The parabola is one in `ln K`: small gains differ by their ratio, and in `K` the curve
/// is so lopsided there that its parabola is 5 % off at K = 0.1. Gain 0 has no logarithm
/// and stays as it is: the pile-up of small samples. Next to it the points are those of
/// the first three positive gains, trusted down to half of the first.
fn lowest(curve: &[f64]) -> (f64, f64) {
    let last = curve.len() - 1;
    let step = 1.0 / last as f64;
    let best =
        (0..=last).rev().fold(last, |best, idx| if curve[idx] < curve[best] { idx } else { best });
    let found = (best as f64 * step, curve[best]);
    if best == 0 {
        return found;
    }
    let middle = best.clamp(2, last - 1);
    let [left, centre, right] = [middle - 1, middle, middle + 1].map(|idx| {
        let gain = idx as f64 * step;
        (gain.ln(), curve[idx])
    });
    let slope_left = (centre.1 - left.1) / (centre.0 - left.0);
    let slope_right = (right.1 - centre.1) / (right.0 - centre.0);
    let bend = (slope_right - slope_left) / (right.0 - left.0);
    if bend.is_nan() || bend <= 0.0 {
        return found;
    }
    let vertex = (left.0 + centre.0) / 2.0 - slope_left / (2.0 * bend);
    let smallest = if best == 1 { left.0 - std::f64::consts::LN_2 } else { left.0 };
    let position = vertex.clamp(smallest, right.0);
    let from_left = slope_left + bend * (position - centre.0);
    let low = left.1 + from_left * (position - left.0);
    // Rounding alone can lift it above the best point or below 0.
    (position.exp().min(1.0), low.clamp(0.0, curve[best]))
}

impl From<GainFit> for GainEstimate {
    fn from(fit: GainFit) -> GainEstimate {
        GainEstimate { q: fit.q, r: fit.r, gain: fit.gain }
    }
}

#[cfg(test)]
mod tests {
    use super::lowest;

    #[test]
    fn the_lowest_point_of_a_curve() {
        let check = |curve: &[f64], expected: (f64, f64)| {
            let (gain, low) = lowest(curve);
            let is_near = (gain - expected.0).abs() < 1e-12 && (low - expected.1).abs() < 1e-12;
            assert!(is_near, "{curve:?}: {gain} {low}");
        };
        let parabola = |at: f64| {
            let value = |idx: u8| 5.0 + 2.0 * (f64::from(idx) / 8.0 / at).ln().powi(2);
            let mut curve: Vec<f64> = (0..=8).map(value).collect();
            // As from a walk: finite, but hopeless.
            curve[0] = 1e6;
            curve
        };
        for at in [0.0625, 0.1, 0.125, 0.15, 0.25, 0.3, 0.71, 0.9, 1.0] {
            check(&parabola(at), (at, 5.0));
        }
        // Beyond what is trusted: its border.
        let beyond = |at: f64, border: f64| 5.0 + 2.0 * (border / at).ln().powi(2);
        check(&parabola(0.05), (0.0625, beyond(0.05, 0.0625)));
        check(&parabola(1.25), (1.0, beyond(1.25, 1.0)));
        check(&[3.0, 2.0, 1.0, 0.5], (1.0, 0.5));
        check(&[1.0, 2.0, 3.0, 4.0], (0.0, 1.0));
        // Nothing to choose: the largest.
        check(&[0.0; 5], (1.0, 0.0));
        check(&[7.0; 5], (1.0, 7.0));
    }
}
