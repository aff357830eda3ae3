//! SIMD kernels over plain slices: rows of logits, and the steps of a transformer; the level is chosen once per process at run time.
//!
//! This crate must not know models, tokens, files or the environment, and no
//! kernel allocates: a caller that needs room brings a buffer. That is what
//! makes each kernel testable in isolation.
//!
//! Every kernel that is not plain code or made of others has a `scalar.rs`,
//! which is the definition and the test oracle, and a `vector.rs`, which is one loop for all instruction sets, over
//! the operations of `lanes`. **All levels return the same value**, to the last
//! bit: sums keep one fixed order of additions. In kernels over logits products are
//! rounded before they are added; in those of matrices and attention the fused
//! multiply-add is part of the definition. A sampler on top, or a whole model, is
//! then reproducible on every machine.
//!
//! One more kernel: `foo.rs` holds the contract and one `dispatch!`,
//! `foo/scalar.rs` the definition, `foo/vector.rs` the loop. Its test is one body
//! over [`Level::available_for_floats`] with the rows of `oracle.rs`; its bench is a
//! function in `benches/rows.rs`, or a line in `benches/step.rs` for a step of a
//! transformer. Kernels of quantised matrices have `dispatch_dots!` and loops over
//! the operations of `dots`. One more operation or instruction set:
//! `lanes.rs` says how.
#![allow(unsafe_code, reason = "SIMD instructions and loads; see level.rs and lanes.rs")]

mod attend;
mod distribution;
mod dots;
mod exp;
mod exp_moments;
mod f16;
mod finite_sum;
mod floats;
mod gate;
mod gather;
mod kl_divergence;
mod kls_update;
mod lanes;
mod level;
mod matmul_floats;
mod matmul_quantized;
#[cfg(test)]
mod oracle;
mod prefetch;
mod quantize_rows;
mod rms_norm;
mod rotate;
mod row_affine;
mod row_argmax;
mod row_find;
mod row_max;
mod softmax;
mod sum_exp;
mod tiles;
mod top_k;
mod top_k_ids;

pub use attend::{
    AttendPart, N_BLOCK_POSITIONS, attend_merge, attend_scores, attend_softmax, attend_values,
};
pub use distribution::Distribution;
pub use exp::exp_nonpositive;
pub use exp_moments::{ExpMoments, exp_moments};
pub use f16::{f16_from_f32, f16_to_f32};
pub use finite_sum::{FiniteSum, finite_squares, finite_sum};
pub use floats::Floats;
pub use gate::{Activation, gate_in_place};
pub use gather::{gather, scatter};
pub use kl_divergence::kl_divergence;
pub use kls_update::{Reversion, kls_update, kls_update_each, kls_update_reverting};
pub use level::Level;
pub use matmul_floats::matmul_floats;
pub use matmul_quantized::matmul_quantized;
pub use quantize_rows::{N_GROUP, QuantizedGroup, quantize_rows, quantize_rows_in_two};
pub use rms_norm::rms_norm;
pub use rotate::{rotate_halves, rotate_pairs};
pub use row_affine::{add_offset, affine_in_place};
pub use row_argmax::row_argmax;
pub use row_find::{row_find_equal, row_find_nan};
pub use row_max::row_max;
pub use softmax::{exp_in_place, softmax_in_place};
pub use sum_exp::{log_sum_exp, sum_exp};
pub use tiles::{CodeBits, N_TILE_ROWS, Offsets, PlainOffsets, PlainWeights, TileLayout, Tiles};
pub use top_k::{Candidate, top_k, top_k_buffer_len};
pub use top_k_ids::{TopKIdsBuffer, top_k_ids};
