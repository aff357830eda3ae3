//! Temperature, top-k, top-p, min-p and the draw, over as few candidates as will do.
//!
//! By definition the row is sorted, cut, and one token drawn in proportion to
//! its weight `exp((logit - max) / temperature)`, walking from the best down.
//! Almost always the cut or the draw falls among the first few, so only those
//! are sorted; when it does not, the same walk is tried over many more:
//!
//! ```text
//! total = the weights of all candidates (the k of top-k, else the row)
//! for n in [first, 16 * first, ..., n_vocab]:
//!     walk the n best; return where the walk ends, if it ends among them
//! ```
//! The result does not depend on where the walk was cut off, because every sum
//! runs in the same order; only the row's total comes from a kernel, with a
//! fixed order of its own.

use lapwing_kernels::{Candidate, Level, exp_in_place, sum_exp, top_k, top_k_buffer_len};

use crate::SamplerOptions;

/// Enough for nearly every nucleus.
const N_FIRST: usize = 128;
const GROWTH: usize = 16;

/// The best candidates and their weights: room that is kept from token to token.
#[derive(Clone, Debug)]
pub(crate) struct Shortlist {
    buffer: Vec<Candidate>,
    weights: Vec<f32>,
}

impl Shortlist {
    pub(crate) fn new() -> Shortlist {
        Shortlist { buffer: Vec::new(), weights: Vec::new() }
    }

    /// Draw with `unit` in `[0, 1)` from what the options keep of the row.
    ///
    /// Shapes: `logits [n_vocab]`; `max` is its finite maximum. `None` only for
    /// a row without candidates.
    pub(crate) fn draw(
        &mut self,
        level: Level,
        options: &SamplerOptions,
        logits: &[f32],
        max: f32,
        unit: f64,
    ) -> Option<u32> {
        if options.top_k != 0 {
            let total = self.rank(level, options, logits, options.top_k);
            return self.walk(options, unit, total, true);
        }
        // The same inverse as in `exp_in_place`, so that both give the same weights.
        let scale = options.temperature.recip().min(f32::MAX);
        let total = sum_exp(level, logits, max, scale);
        let mut n_wanted = N_FIRST;
        while n_wanted < logits.len() {
            self.rank(level, options, logits, n_wanted);
            let drawn = self.walk(options, unit, total, false);
            if drawn.is_some() {
                return drawn;
            }
            n_wanted *= GROWTH;
        }
        self.rank(level, options, logits, logits.len());
        self.walk(options, unit, total, true)
    }

    /// Sort the `n_wanted` best to the front and weigh them; returns their total weight.
    fn rank(
        &mut self,
        level: Level,
        options: &SamplerOptions,
        logits: &[f32],
        n_wanted: usize,
    ) -> f64 {
        let n_buffer = top_k_buffer_len(logits.len(), n_wanted);
        if self.buffer.len() < n_buffer {
            self.buffer.resize(n_buffer, Candidate::default());
        }
        let best = top_k(level, logits, n_wanted, &mut self.buffer);
        self.weights.clear();
        self.weights.extend(best.iter().map(|candidate| candidate.logit));
        exp_in_place(&mut self.weights, options.temperature)
    }

    /// Walk the list; `None` when the end of the walk lies beyond it.
    ///
    /// `is_whole`: there is nothing beyond the list.
    fn walk(&self, options: &SamplerOptions, unit: f64, total: f64, is_whole: bool) -> Option<u32> {
        let kept = self.kept(options, total);
        let n_kept = kept.unwrap_or(self.weights.len());
        let is_cut = options.top_p < 1.0 || 0.0 < options.min_p;
        if is_cut && kept.is_none() && !is_whole {
            return None;
        }
        let weights = &self.weights[..n_kept];
        let total = if is_cut { sum(weights) } else { total };
        let target = unit * total;
        let mut sum = 0.0;
        let drawn_idx = weights.iter().position(|&weight| {
            sum += f64::from(weight);
            target < sum
        });
        let drawn_idx = match drawn_idx {
            None if is_whole || kept.is_some() => n_kept.checked_sub(1)?,
            other => other?,
        };
        Some(self.buffer[drawn_idx].token_idx)
    }

    /// How many candidates the truncations keep; `None` when they keep the whole list.
    fn kept(&self, options: &SamplerOptions, total: f64) -> Option<usize> {
        let weights = &self.weights;
        // What weighs nothing cannot be drawn, and all that follows weighs nothing.
        let is_out = |&weight: &f32| weight == 0.0 || weight < options.min_p;
        let by_min_p = weights.iter().position(is_out);
        let by_top_p = if options.top_p < 1.0 { self.nucleus(options, total) } else { None };
        match (by_min_p, by_top_p) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The fewest candidates that hold `top_p` of the total; at least one.
    fn nucleus(&self, options: &SamplerOptions, total: f64) -> Option<usize> {
        let wanted = f64::from(options.top_p) * total;
        let mut sum = 0.0;
        let last_idx = self.weights.iter().position(|&weight| {
            sum += f64::from(weight);
            wanted <= sum
        })?;
        Some(last_idx + 1)
    }
}

fn sum(weights: &[f32]) -> f64 {
    weights.iter().map(|&weight| f64::from(weight)).sum()
}
