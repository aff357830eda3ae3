//! The estimators on simulated logits: known variances, explicit seeds.

mod held_out;
mod local_level;
mod paired;
mod published;
mod reverting;
mod rows;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What one simulated token is like: `s_t = a s_(t-1) + w_t`, `y_t = s_t + v_t`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    pub(crate) a: f64,
    /// Variance of `w`.
    pub(crate) q: f64,
    /// Variance of `v`.
    pub(crate) r: f64,
}

impl Series {
    /// The local level model with noise of variance 1.
    pub(crate) fn local_level(ratio: f64) -> Series {
        Series { a: 1.0, q: ratio, r: 1.0 }
    }

    /// A state of variance 1 that reverts to 0.
    pub(crate) fn reverting(a: f64, r: f64) -> Series {
        Series { a, q: 1.0 - a * a, r }
    }
}

/// Rows of independent tokens.
pub(crate) struct Simulation {
    tokens: Vec<Series>,
    states: Vec<f64>,
    normal: Normal,
    /// The states of the last row.
    pub(crate) reference: Vec<f32>,
    /// The observations of the last row.
    pub(crate) model: Vec<f32>,
}

impl Simulation {
    /// Walks start at 0, reverting states where they are at home.
    pub(crate) fn new(tokens: Vec<Series>, seed: u64) -> Simulation {
        let mut normal = Normal::new(seed);
        let start = |series: &Series| {
            let variance = series.q / (1.0 - series.a * series.a);
            if series.a < 1.0 { normal.next() * variance.sqrt() } else { 0.0 }
        };
        let states = tokens.iter().map(start).collect();
        let row = vec![0.0; tokens.len()];
        Simulation { tokens, states, normal, reference: row.clone(), model: row }
    }

    pub(crate) fn step(&mut self) {
        for (idx, series) in self.tokens.iter().enumerate() {
            let state = series.a * self.states[idx] + series.q.sqrt() * self.normal.next();
            self.states[idx] = state;
            self.reference[idx] = state as f32;
            self.model[idx] = (state + series.r.sqrt() * self.normal.next()) as f32;
        }
    }
}

/// Normal numbers by Box and Muller.
pub(crate) struct Normal {
    random: ChaCha8Rng,
    spare: Option<f64>,
}

impl Normal {
    pub(crate) fn new(seed: u64) -> Normal {
        Normal { random: ChaCha8Rng::seed_from_u64(seed), spare: None }
    }

    pub(crate) fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let bits = self.random.next_u64();
        // Above 0, for the logarithm.
        let radius = ((bits >> 32) as f64 + 1.0) / 4_294_967_296.0;
        let angle = f64::from(bits as u32) / 4_294_967_296.0 * std::f64::consts::TAU;
        let radius = (-2.0 * radius.ln()).sqrt();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

/// Mean and standard deviation.
pub(crate) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

/// `found` is within a share of `expected`.
#[track_caller]
pub(crate) fn near(found: f64, expected: f64, share: f64) {
    assert!((found - expected).abs() <= share * expected.abs(), "{found}, expected {expected}");
}
