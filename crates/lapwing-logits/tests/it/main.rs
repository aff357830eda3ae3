//! The sampler and the correction stage against their definitions, and what else they promise.

mod correction;
mod distribution;
mod naive;
mod naive_kls;
mod profile;
mod reproducible;
mod sequences;

use lapwing_logits::SamplerOptions;

/// Draw from the whole row at temperature 1.
fn plain() -> SamplerOptions {
    SamplerOptions { temperature: 1.0, ..SamplerOptions::greedy() }
}

/// Bell-shaped logits, as a model's are; a larger `spread` makes them more peaked.
fn bell(len: usize, spread: f32) -> Vec<f32> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| (next() + next() + next() + next() - 2.0) * spread).collect()
}
