//! Matrices, with the layers that turn codes back into floats as NNCF writes them.
//!
//! ```text
//! f16:   Const f16 ─ Convert f32 (decompression)
//! int8:  Const u8 ─ Convert f16 ─ Subtract ─ Multiply ─ Convert f32          one scale a row
//!                   zero point u8 ─ Convert f16 ┘  scale f16 ┘
//! int4:  Const u4 [rows, groups, columns] ─ … ─ Multiply ─ Reshape [rows, columns] ─ Convert f32
//! ```
//!
//! Symmetric codes are i8 or i4 and have no `Subtract`. Plugins fuse all of it into the product and
//! read the codes themselves.
//!
//! Codes whose zero lies between two of them (GGUF's `Q4_1`) keep their grid: the arithmetic is
//! then in f32, with a zero point in f32. The CPU plugin of OpenVINO 2026.4 fuses that as well, but
//! has no integer path for it, so at its default precision long prompts take longer than with whole
//! zero points. The weights are those of the checkpoint; a second quantisation costs far more.
//!
//! MXFP4 stays what it is, f4e2m1 with scales of f8e8m0: the same plugin computes products with it
//! exactly, of experts, too.

use half::f16;
use lapwing_formats::ir::{Dim, ElementType, Node};
use lapwing_formats::mx::N_BLOCK_ELEMENTS;
use lapwing_quant::{Bits, GroupQuantized};
use lapwing_weights::{Codes, MxCodes};

use super::graph::Graph;
use super::source::Matrices;
use crate::error::ExportError;
use crate::plan::PlannedWeight;

/// `x` times the transpose of a matrix.
///
/// Shapes: `x [… , n_columns]`, the matrix `[n_rows, n_columns]`, the result `[… , n_rows]`.
///
/// # Errors
///
/// When the matrix cannot be read or written.
fn project(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    x: &Node,
    name: &str,
    shape: [usize; 2],
) -> Result<Node, ExportError> {
    let weight = weight(graph, source, name, shape)?;
    Ok(graph.matmul(x, &weight, true, None))
}

/// [`project`] by the module's name, and its bias where it has one.
///
/// # Errors
///
/// When a weight cannot be read or written.
pub(super) fn biased(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    x: &Node,
    module: &str,
    shape: [usize; 2],
    has_bias: bool,
) -> Result<Node, ExportError> {
    let projected = project(graph, source, x, &format!("{module}.weight"), shape)?;
    if !has_bias {
        return Ok(projected);
    }
    let bias_name = format!("{module}.bias");
    let bias = source.vector(&bias_name)?;
    let dims = [&vec![1; projected.dims.len() - 1][..], &[shape[0]]].concat();
    let bias = graph.floats(&format!("self.{bias_name}"), &dims, &bias)?;
    Ok(graph.binary("Add", &projected, &bias))
}

/// A matrix as floats, however it is stored.
///
/// # Errors
///
/// When the matrix cannot be read or written.
pub(super) fn weight(
    graph: &mut Graph,
    source: &mut Matrices<'_>,
    name: &str,
    shape: [usize; 2],
) -> Result<Node, ExportError> {
    let planned = source.matrix(name, shape)?;
    stored(graph, &format!("self.{name}"), &planned, &shape)
}

/// One or several matrices as floats, however they are stored.
///
/// Shapes: `dims [… , n_rows, n_columns]`; `planned` has the rows of all, one below the other.
///
/// # Errors
///
/// When they cannot be written.
pub(super) fn stored(
    graph: &mut Graph,
    name: &str,
    planned: &PlannedWeight,
    dims: &[usize],
) -> Result<Node, ExportError> {
    match planned {
        PlannedWeight::F32(values) => graph.floats(name, dims, values),
        PlannedWeight::F16(values) => {
            let stored = halves(graph, name, dims, values)?;
            Ok(graph.decompress(&stored, ElementType::F32))
        }
        PlannedWeight::Quantized(quantized) => dequantized(graph, name, quantized, dims),
        PlannedWeight::Affine(codes) => affine_dequantized(graph, name, codes, dims),
        PlannedWeight::Mx(codes) => mx_dequantized(graph, name, codes, dims),
    }
}

fn mx_dequantized(
    graph: &mut Graph,
    name: &str,
    mx: &MxCodes,
    dims: &[usize],
) -> Result<Node, ExportError> {
    let (code_dims, scale_dims) = grouped(dims, mx.n_columns / N_BLOCK_ELEMENTS);
    let codes = graph.constant(name, ElementType::F4E2M1, &code_dims, &mx.codes)?;
    let codes = graph.convert(&codes, ElementType::F32);
    let scale_name = format!("{name}/scale");
    let scales = graph.constant(&scale_name, ElementType::F8E8M0, &scale_dims, &mx.exponents)?;
    // In 16 bits the smallest and the largest of them are lost.
    let scales = graph.convert(&scales, ElementType::F32);
    let weights = graph.binary("Multiply", &codes, &scales);
    ungrouped(graph, &weights, dims)
}

fn affine_dequantized(
    graph: &mut Graph,
    name: &str,
    affine: &Codes,
    dims: &[usize],
) -> Result<Node, ExportError> {
    let n_groups = affine.n_columns / affine.group_size;
    let (code_dims, scale_dims) = grouped(dims, n_groups);
    let codes = graph.constant(name, ElementType::U4, &code_dims, &affine.codes)?;
    let codes = graph.convert(&codes, ElementType::F32);
    let zero_name = format!("{name}/zero_point");
    let zero_points = affine.zero_points.as_deref().unwrap_or_default();
    let zero_point = graph.floats(&zero_name, &scale_dims, zero_points)?;
    let weights = graph.binary("Subtract", &codes, &zero_point);
    let scales =
        halves(graph, &format!("{name}/scale"), &scale_dims, &to_f16(affine.scales.iter()))?;
    let scales = graph.convert(&scales, ElementType::F32);
    let weights = graph.binary("Multiply", &weights, &scales);
    ungrouped(graph, &weights, dims)
}

fn dequantized(
    graph: &mut Graph,
    name: &str,
    quantized: &GroupQuantized,
    dims: &[usize],
) -> Result<Node, ExportError> {
    let (grid, n_groups) = (quantized.grid, quantized.n_groups());
    // One scale a row needs no further dimension.
    let (code_dims, scale_dims) = match n_groups {
        1 => (dims.to_vec(), [&dims[..dims.len() - 1], &[1]].concat()),
        _ => grouped(dims, n_groups),
    };
    let (code_type, codes) = codes(quantized);
    let codes = graph.constant(name, code_type, &code_dims, &codes)?;
    let mut weights = graph.convert(&codes, ElementType::F16);
    if !grid.symmetric {
        let zero_points: Vec<u8> = quantized.zero_points.iter().copied().collect();
        let bytes = match grid.bits {
            Bits::Eight => zero_points,
            Bits::Four => paired(&zero_points),
        };
        let zero_name = format!("{name}/zero_point");
        let zero_point = graph.constant(&zero_name, code_type, &scale_dims, &bytes)?;
        let zero_point = graph.convert(&zero_point, ElementType::F16);
        weights = graph.binary("Subtract", &weights, &zero_point);
    }
    let scales = to_f16(quantized.scales.iter());
    let scales = halves(graph, &format!("{name}/scale"), &scale_dims, &scales)?;
    weights = graph.binary("Multiply", &weights, &scales);
    if n_groups > 1 {
        weights = ungrouped(graph, &weights, dims)?;
    }
    Ok(graph.convert(&weights, ElementType::F32))
}

/// The sizes of codes and scales, where rows are cut into groups.
fn grouped(dims: &[usize], n_groups: usize) -> (Vec<usize>, Vec<usize>) {
    let (rows, n_columns) = (&dims[..dims.len() - 1], dims[dims.len() - 1]);
    ([rows, &[n_groups, n_columns / n_groups]].concat(), [rows, &[n_groups, 1]].concat())
}

/// Groups of a row side by side.
fn ungrouped(graph: &mut Graph, x: &Node, dims: &[usize]) -> Result<Node, ExportError> {
    let pattern: Vec<i64> = dims.iter().map(|&size| size as i64).collect();
    let pattern = graph.integers(&pattern)?;
    let attributes = [("special_zero", "false")];
    let dims = dims.iter().map(|&size| Dim::Fixed(size as u64)).collect();
    let output = (x.element_type, dims);
    Ok(graph.operator(("Reshape", "opset1"), &attributes, &[x, &pattern], output))
}

/// Unsigned codes as they are; symmetric ones around zero, in two's complement.
fn codes(quantized: &GroupQuantized) -> (ElementType, Vec<u8>) {
    let (element_type, sign) = match (quantized.grid.bits, quantized.grid.symmetric) {
        (Bits::Eight, false) => (ElementType::U8, 0),
        (Bits::Four, false) => (ElementType::U4, 0),
        (Bits::Eight, true) => (ElementType::I8, 0x80),
        (Bits::Four, true) => (ElementType::I4, 0x88),
    };
    (element_type, quantized.codes.iter().map(|codes| codes ^ sign).collect())
}

/// Two a byte, the low nibble first.
fn paired(codes: &[u8]) -> Vec<u8> {
    codes.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4)).collect()
}

/// Scales, which are exact in 16 bits.
fn to_f16<'a>(scales: impl Iterator<Item = &'a f32>) -> Vec<f16> {
    scales.map(|&scale| f16::from_f32(scale)).collect()
}

fn halves(
    graph: &mut Graph,
    name: &str,
    dims: &[usize],
    values: &[f16],
) -> Result<Node, ExportError> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    graph.constant(name, ElementType::F16, dims, &bytes)
}
