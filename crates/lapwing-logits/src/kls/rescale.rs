//! Restore the spread that smoothing took, so that the temperature does not drift.
//!
//! Works on the logits that are followed: the whole row, or the gathered ones of the tracked
//! tokens. The filter never sees what this does.

use lapwing_kernels::{
    Level, TopKIdsBuffer, affine_in_place, exp_moments, finite_squares, finite_sum, gather,
    row_max, top_k_ids,
};

use crate::Rescale;

/// Below this standard deviation there is no spread to scale.
const DEVIATION_MIN: f64 = 1e-6;
/// Entropy is matched by a scale between the inverse of this and this.
const SCALE_MAX: f64 = 8.0;
/// The first scale that is tried, or its inverse: smoothing takes little.
const FIRST_SCALE: f64 = 1.25;
/// Entropies this near are equal, in nats.
const ENTROPY_TOLERANCE: f64 = 1e-4;
/// Some five trials are usual; rounding must not make it more than this.
const N_TRIALS_MAX: usize = 40;

/// What is rescaled, and the room to measure it.
#[derive(Clone, Debug)]
pub(super) struct Rescaler {
    rescale: Rescale,
    top: Option<TopLogits>,
}

/// The largest logits of a row, found again after they were changed.
#[derive(Clone, Debug)]
struct TopLogits {
    buffer: TopKIdsBuffer,
    ids: Box<[u32]>,
    logits: Box<[f32]>,
    n_found: usize,
}

/// How followed logits were spread before smoothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spread {
    /// Not asked for, or not to be told.
    Unknown,
    /// Mean and standard deviation.
    Deviation { mean: f32, deviation: f64 },
    /// Mean, and entropy in nats.
    Entropy { mean: f32, entropy: f64 },
}

impl Rescaler {
    /// Room for `n_followed` logits.
    pub(super) fn new(rescale: Rescale, n_followed: usize) -> Rescaler {
        let top = match rescale {
            Rescale::TopVariance { n_top } => Some(TopLogits::new(n_followed, n_top)),
            Rescale::Off | Rescale::Variance | Rescale::Entropy => None,
        };
        Rescaler { rescale, top }
    }

    /// Measure the logits that are about to be smoothed.
    pub(super) fn measure(&mut self, level: Level, logits: &[f32]) -> Spread {
        if let Some(top) = &mut self.top {
            top.find(level, logits);
        }
        self.spread(level, logits)
    }

    /// Give the smoothed logits the spread that was measured before; nothing when it is the same.
    pub(super) fn restore(&mut self, level: Level, before: Spread, logits: &mut [f32]) {
        if let Some(top) = &mut self.top {
            top.gather(level, logits);
        }
        let after = self.spread(level, logits);
        let (from_mean, scale, to_mean) = match (before, after) {
            (
                Spread::Deviation { mean: to_mean, deviation: wanted },
                Spread::Deviation { mean: from_mean, deviation: found },
            ) => (from_mean, deviation_scale(wanted, found), to_mean),
            (
                Spread::Entropy { mean: to_mean, entropy: wanted },
                Spread::Entropy { mean: from_mean, entropy: found },
            ) => (from_mean, entropy_scale(level, logits, wanted, found), to_mean),
            _ => return,
        };
        // What smoothing left alone must keep its bits.
        if scale != 1.0 || from_mean != to_mean {
            affine_in_place(level, logits, from_mean, scale, to_mean);
        }
    }

    fn spread(&self, level: Level, logits: &[f32]) -> Spread {
        if self.rescale == Rescale::Off {
            return Spread::Unknown;
        }
        let measured = self.top.as_ref().map_or(logits, TopLogits::logits);
        let total = finite_sum(level, measured);
        let Some(mean) = total.mean() else { return Spread::Unknown };
        let mean = mean as f32;
        if self.rescale == Rescale::Entropy {
            let max = row_max(level, logits);
            if max == f32::INFINITY {
                return Spread::Unknown;
            }
            let entropy = exp_moments(level, logits, max, 1.0).entropy(1.0);
            return Spread::Entropy { mean, entropy };
        }
        let variance = finite_squares(level, measured, mean) / total.n_finite as f64;
        Spread::Deviation { mean, deviation: variance.sqrt() }
    }
}

impl TopLogits {
    fn new(n_followed: usize, n_top: usize) -> TopLogits {
        let n_top = n_top.min(n_followed);
        TopLogits {
            buffer: TopKIdsBuffer::new(n_followed, n_top),
            ids: vec![0; n_top].into(),
            logits: vec![0.0; n_top].into(),
            n_found: 0,
        }
    }

    fn find(&mut self, level: Level, logits: &[f32]) {
        let ids = top_k_ids(level, logits, self.ids.len(), &mut self.buffer);
        self.n_found = ids.len();
        self.ids[..self.n_found].copy_from_slice(ids);
        self.gather(level, logits);
    }

    fn gather(&mut self, level: Level, logits: &[f32]) {
        gather(level, logits, &self.ids[..self.n_found], &mut self.logits[..self.n_found]);
    }

    fn logits(&self) -> &[f32] {
        &self.logits[..self.n_found]
    }
}

fn deviation_scale(wanted: f64, found: f64) -> f32 {
    if found < DEVIATION_MIN { 1.0 } else { (wanted / found) as f32 }
}

/// The scale at which the logits have the entropy `wanted`; at scale 1 they have `found`.
///
/// Entropy falls as the scale grows. From scale 1, steps that double bracket the root; regula
/// falsi then finds it, where the end that stays twice counts half (Illinois).
fn entropy_scale(level: Level, logits: &[f32], wanted: f64, found: f64) -> f32 {
    let excess = found - wanted;
    if excess.abs() <= ENTROPY_TOLERANCE {
        return 1.0;
    }
    let max = row_max(level, logits);
    let trial = |scale: f64| {
        let moments = exp_moments(level, logits, max, scale as f32);
        Trial { scale, excess: moments.entropy(scale as f32) - wanted }
    };
    let mut near = Trial { scale: 1.0, excess };
    let mut far = trial(if excess > 0.0 { FIRST_SCALE } else { FIRST_SCALE.recip() });
    while far.excess.signum() == excess.signum() {
        if far.scale == SCALE_MAX || far.scale == SCALE_MAX.recip() {
            // Out of reach; without any spread no scale changes the entropy.
            let changes = ENTROPY_TOLERANCE < (far.excess - excess).abs();
            return if changes { far.scale as f32 } else { 1.0 };
        }
        near = far;
        far = trial((far.scale * far.scale).clamp(SCALE_MAX.recip(), SCALE_MAX));
    }
    for _ in 0..N_TRIALS_MAX {
        if far.excess.abs() <= ENTROPY_TOLERANCE {
            break;
        }
        let slope = (far.excess - near.excess) / (far.scale - near.scale);
        let next = trial(far.scale - far.excess / slope);
        if next.excess.signum() == far.excess.signum() {
            near.excess /= 2.0;
        } else {
            near = far;
        }
        far = next;
    }
    far.scale as f32
}

/// A scale that was tried, and by how much its entropy is too large.
#[derive(Clone, Copy)]
struct Trial {
    scale: f64,
    excess: f64,
}
