//! KLS as plainly as it can be written, in `f64`, from the definition.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_logits::{Gains, Gauge, Rescale, Scope, Smoothing};

/// The filter of one sequence; it has no memory but this.
pub(crate) struct NaiveKls {
    smoothing: Smoothing,
    states: BTreeMap<usize, f64>,
    top_before: BTreeSet<usize>,
}

/// What one step should give.
pub(crate) struct NaiveStep {
    /// The row before rescaling.
    pub(crate) smoothed: Vec<f64>,
    /// The finite tokens that are followed.
    pub(crate) followed: Vec<usize>,
    /// Whether `+inf` is among the followed: there is no entropy then.
    pub(crate) follows_infinity: bool,
    /// The map that rescales them, `(mean_from, scale, mean_to)`; not told for entropy.
    pub(crate) map: (f64, f64, f64),
}

impl NaiveKls {
    pub(crate) fn new(smoothing: Smoothing) -> NaiveKls {
        NaiveKls { smoothing, states: BTreeMap::new(), top_before: BTreeSet::new() }
    }

    /// `None`: nothing is finite, and nothing has happened.
    pub(crate) fn step(&mut self, y: &[f32]) -> Option<NaiveStep> {
        let finite: Vec<usize> = (0..y.len()).filter(|&i| y[i].is_finite()).collect();
        if finite.is_empty() {
            return None;
        }
        let gauge = self.gauge(y, &finite);
        let tracked: BTreeSet<usize> = match self.smoothing.scope {
            Scope::Full => (0..y.len()).collect(),
            Scope::TopK { n_tracked_max } => {
                let top = top(y, &finite, n_tracked_max / 2);
                let tracked = top.union(&self.top_before).copied().collect();
                self.top_before = top;
                tracked
            }
        };
        self.states.retain(|i, _| tracked.contains(i));
        let mut smoothed: Vec<f64> = y.iter().map(|&y| f64::from(y)).collect();
        let followed: Vec<usize> = finite.into_iter().filter(|i| tracked.contains(i)).collect();
        for &i in &followed {
            let x = f64::from(y[i]) - gauge;
            let gain = match &self.smoothing.gains {
                Gains::One(gain) => f64::from(*gain),
                Gains::Each(gains) => f64::from(gains[i]),
            };
            let state = match (self.states.get(&i), &self.smoothing.reversion) {
                (None, _) => x,
                (Some(state), None) => state + gain * (x - state),
                (Some(state), Some(reversion)) => {
                    let a = f64::from(reversion.coefficient);
                    let prior = a * state + (1.0 - a) * f64::from(reversion.levels[i]);
                    prior + gain * (x - prior)
                }
            };
            self.states.insert(i, state);
            smoothed[i] = state + gauge;
        }
        let map = self.map(y, &smoothed, &followed);
        let follows_infinity = tracked.iter().any(|&i| y[i] == f32::INFINITY);
        Some(NaiveStep { smoothed, followed, follows_infinity, map })
    }

    fn gauge(&self, y: &[f32], finite: &[usize]) -> f64 {
        let values = || finite.iter().map(|&i| f64::from(y[i]));
        match self.smoothing.gauge {
            Gauge::Mean => values().sum::<f64>() / finite.len() as f64,
            Gauge::LogSumExp => {
                let max = values().fold(f64::MIN, f64::max);
                max + values().map(|y| (y - max).exp()).sum::<f64>().ln()
            }
        }
    }

    fn map(&self, y: &[f32], smoothed: &[f64], followed: &[usize]) -> (f64, f64, f64) {
        let measured: Vec<usize> = match self.smoothing.rescale {
            Rescale::Off | Rescale::Entropy => return (0.0, 1.0, 0.0),
            Rescale::Variance => followed.to_vec(),
            Rescale::TopVariance { n_top } => top(y, followed, n_top).into_iter().collect(),
        };
        if measured.is_empty() {
            return (0.0, 1.0, 0.0);
        }
        let of = |value: &dyn Fn(usize) -> f64| {
            mean_and_deviation(&measured.iter().map(|&i| value(i)).collect::<Vec<f64>>())
        };
        let (mean_to, wanted) = of(&|i| f64::from(y[i]));
        let (mean_from, found) = of(&|i| smoothed[i]);
        (mean_from, if found < 1e-6 { 1.0 } else { wanted / found }, mean_to)
    }
}

/// The `k` best of some tokens: logit descending, then id ascending.
fn top(y: &[f32], tokens: &[usize], k: usize) -> BTreeSet<usize> {
    let mut sorted = tokens.to_vec();
    sorted.sort_by(|&a, &b| y[b].partial_cmp(&y[a]).expect("finite").then(a.cmp(&b)));
    sorted.into_iter().take(k).collect()
}

pub(crate) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// Entropy of the softmax of `logits`, in nats.
pub(crate) fn entropy(logits: &[f64]) -> f64 {
    let max = logits.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - max).exp()).sum();
    let log_probability = |logit: f64| logit - max - sum.ln();
    -logits.iter().map(|&logit| log_probability(logit).exp() * log_probability(logit)).sum::<f64>()
}
