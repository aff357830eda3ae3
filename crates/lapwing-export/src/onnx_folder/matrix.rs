//! Weight matrices in the graph, and products with them.

use half::f16;
use lapwing_formats::onnx::ElementType;
use lapwing_formats::onnx::proto::AttributeProto;
use lapwing_quant::GroupQuantized;
use lapwing_weights::Codes;
use ndarray::ArrayView2;

use super::blocks::Blocks;
use super::graph::Graph;
use crate::error::ExportError;
use crate::plan::PlannedWeight;

/// `MatMulNBits` may quantise activations to 8 bits a block. 0 would forbid it and is slower; to
/// measure it: export with either and compare `lapwing bench` of both folders.
const ACCURACY_LEVEL: i64 = 4;

/// A stored matrix `[n_outputs, n_inputs]`.
pub(super) enum Matrix {
    /// The value `name` has the transposed matrix.
    Transposed {
        /// Value name.
        name: String,
    },
    /// The value `name` has the matrix itself.
    Plain {
        /// Value name.
        name: String,
    },
    /// Codes, scales and, perhaps, zero points.
    Blocks {
        /// Value name of the codes.
        codes: String,
        /// Value names of the scales and, where there are any, the zero points.
        scales: Vec<String>,
        /// Rows.
        n_outputs: usize,
        /// Columns.
        n_inputs: usize,
        /// Bits of a code.
        n_bits: usize,
        /// Columns of a block.
        block_size: usize,
    },
}

/// Store a matrix that only products use.
///
/// # Errors
///
/// When its groups fit no block size or the data file cannot be written.
pub(super) fn store(
    graph: &mut Graph,
    name: &str,
    weight: PlannedWeight,
    [n_outputs, n_inputs]: [usize; 2],
) -> Result<Matrix, ExportError> {
    match weight {
        PlannedWeight::F32(values) => {
            let values = transposed(&values, n_inputs);
            graph.f32_weight(name, &[n_inputs, n_outputs], &values)?;
            Ok(Matrix::Transposed { name: name.to_owned() })
        }
        PlannedWeight::F16(values) => {
            let values = transposed(&values, n_inputs);
            graph.f16_weight(name, &[n_inputs, n_outputs], &values)?;
            Ok(Matrix::Transposed { name: widened(graph, name) })
        }
        PlannedWeight::Quantized(quantized) => store_blocks(graph, name, &quantized),
        PlannedWeight::Affine(codes) => Err(between_codes(name, &codes)),
        PlannedWeight::Mx(_) => Err(mxfp4(name)),
    }
}

/// The refusal of MXFP4, which the operators do not take.
pub(super) fn mxfp4(name: &str) -> ExportError {
    ExportError::Unsupported {
        target: "ONNX",
        expected: "floats, or codes of whole numbers".to_owned(),
        found: format!("MXFP4 in {name}"),
    }
}

/// The refusal of zero points that the operators do not take.
pub(super) fn between_codes(name: &str, codes: &Codes) -> ExportError {
    ExportError::Unsupported {
        target: "ONNX",
        expected: "whole zero points".to_owned(),
        found: format!("any, of {} bits, in {name}", codes.n_bits),
    }
}

/// Store a quantised matrix. The codes come last, so that they can be given a second name.
///
/// # Errors
///
/// As for [`store`].
pub(super) fn store_blocks(
    graph: &mut Graph,
    name: &str,
    quantized: &GroupQuantized,
) -> Result<Matrix, ExportError> {
    let blocks = cut(name, quantized)?;
    let scales = store_scales(graph, name, &blocks)?;
    let codes = format!("{name}_Q{}", blocks.n_bits);
    let dims = [quantized.n_rows(), blocks.n_blocks, blocks.n_block_bytes()];
    graph.weight(&codes, ElementType::U8, &dims, &blocks.codes)?;
    Ok(Matrix::Blocks {
        codes,
        scales,
        n_outputs: quantized.n_rows(),
        n_inputs: quantized.n_columns,
        n_bits: blocks.n_bits,
        block_size: blocks.block_size,
    })
}

/// Cut a matrix into the operators' blocks.
///
/// # Errors
///
/// When its groups fit no block size.
pub(super) fn cut(name: &str, quantized: &GroupQuantized) -> Result<Blocks, ExportError> {
    Blocks::new(quantized).ok_or_else(|| ExportError::Unsupported {
        target: "ONNX",
        expected: "groups of a multiple of 16 columns, or whole rows".to_owned(),
        found: format!("groups of {} columns in {name}", quantized.grid.group_size),
    })
}

/// Store scales and, where there are any, zero points; gives their names.
///
/// Scales are exact in 16 bits, and stored so. The operators want them in the type of what they
/// compute with: ONNX Runtime widens them once, when it loads a session, as it folds constants.
///
/// # Errors
///
/// When the data file cannot be written.
pub(super) fn store_scales(
    graph: &mut Graph,
    name: &str,
    blocks: &Blocks,
) -> Result<Vec<String>, ExportError> {
    let n_rows = blocks.scales.len() / blocks.n_blocks.max(1);
    let stored = format!("{name}_scales");
    let scales: Vec<f16> = blocks.scales.iter().map(|&scale| f16::from_f32(scale)).collect();
    graph.f16_weight(&stored, &[n_rows, blocks.n_blocks], &scales)?;
    let mut names = vec![widened(graph, &stored)];
    if let Some(zero_points) = &blocks.zero_points {
        let dims = [n_rows, blocks.n_zero_point_bytes()];
        names.push(format!("{name}_zero_points"));
        graph.weight(&names[1], ElementType::U8, &dims, zero_points)?;
    }
    Ok(names)
}

/// A 16-bit weight as 32-bit floats: a runtime for CPUs converts it once, when it loads.
pub(super) fn widened(graph: &mut Graph, name: &str) -> String {
    let to = AttributeProto::int("to", i64::from(ElementType::F32.number()));
    graph.node(&format!("{name}/Cast"), "Cast", &[name], [to])
}

/// Multiply `input [.., n_inputs]` by the matrix; writes the value `output`.
pub(super) fn product(graph: &mut Graph, name: &str, input: &str, matrix: &Matrix, output: &str) {
    match matrix {
        Matrix::Transposed { name: weight } => {
            graph.node_to(name, "MatMul", &[input, weight], &[output], []);
        }
        Matrix::Plain { name: weight } => {
            let transpose = AttributeProto::int("transB", 1);
            graph.node_to(name, "FusedMatMul", &[input, weight], &[output], [transpose]);
        }
        Matrix::Blocks { codes, scales, n_outputs, n_inputs, n_bits, block_size } => {
            let mut inputs = vec![input, codes];
            inputs.extend(scales.iter().map(String::as_str));
            let number = |name: &str, value: usize| AttributeProto::int(name, value as i64);
            let attributes = [
                number("K", *n_inputs),
                number("N", *n_outputs),
                number("bits", *n_bits),
                number("block_size", *block_size),
                AttributeProto::int("accuracy_level", ACCURACY_LEVEL),
            ];
            graph.node_to(name, "MatMulNBits", &inputs, &[output], attributes);
        }
    }
}

/// Columns become rows.
fn transposed<T: Copy>(values: &[T], n_columns: usize) -> Vec<T> {
    let rows = ArrayView2::from_shape((values.len() / n_columns.max(1), n_columns), values);
    rows.expect("whole rows").t().iter().copied().collect()
}
