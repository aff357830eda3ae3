//! A tied embedding and head that a quantiser stored twice.
//!
//! Converters leave a tied head out; tools that quantise give it a precision of its own and write
//! both. Then they are one matrix but for what the coarser type rounds off.

use lapwing_formats::gguf::DType;
use lapwing_model::{Architecture, Transformer};

use crate::source::Source;
use crate::tensor::Encoding;

/// The name of the finer of both, where embedding and head are one matrix in two precisions.
pub(super) fn finer_of_both(
    architecture: &Architecture<Transformer>,
    source: &Source,
    [embedding_name, head_name]: [&'static str; 2],
) -> Option<&'static str> {
    let shape = [architecture.n_vocab, architecture.hidden_size];
    let (embedding, head) = (source.tensor(embedding_name).ok()?, source.tensor(head_name).ok()?);
    if embedding.shape != shape || head.shape != shape {
        return None;
    }
    let error_of = |encoding: &Encoding<'_>| match encoding {
        Encoding::Blocks { dtype, .. } => rounding_error(*dtype),
        Encoding::Grid(_) | Encoding::Mx(_) => None,
    };
    let errors = [error_of(&embedding.encoding)?, error_of(&head.encoding)?];
    let allowed = errors[0].max(errors[1]);
    let is_same_row = |row_idx: usize| {
        let [one, other] =
            [&embedding, &head].map(|tensor| tensor.rows_to_f32(row_idx..row_idx + 1));
        let square = |x: f32| f64::from(x) * f64::from(x);
        let difference: f64 = one.iter().zip(&other).map(|(a, b)| square(a - b)).sum();
        let length: f64 = one.iter().zip(&other).map(|(a, b)| square(*a).max(square(*b))).sum();
        // NaN is no agreement.
        difference <= allowed * allowed * length
    };
    let is_finer_head = errors[1] <= errors[0];
    let finer = if is_finer_head { head_name } else { embedding_name };
    (0..shape[0]).all(is_same_row).then_some(finer)
}

/// The most that a type rounds off, as a share of the root mean square of a row: half as much again
/// as rows of trained models have.
fn rounding_error(dtype: DType) -> Option<f64> {
    Some(match dtype {
        DType::F32 => 0.0,
        DType::F16 => 0.001,
        DType::BF16 => 0.004,
        DType::Q8_0 => 0.012,
        DType::Q6_K => 0.035,
        DType::Q5_0 | DType::Q5_1 | DType::Q5_K => 0.07,
        DType::Q4_0 | DType::Q4_1 | DType::Q4_K => 0.14,
        _ => return None,
    })
}
