//! Layers of several experts: one `MoE` node, or `QMoE` where their weights are codes.
//!
//! ONNX Runtime's kernels for CPUs take gate and up as one matrix whose rows alternate, and apply
//! `gate * sigmoid(alpha * gate) * (up + beta)`; with a limit, gate is cut off above it, and up on
//! both sides.

use lapwing_formats::onnx::ElementType;
use lapwing_formats::onnx::proto::AttributeProto;
use lapwing_model::{Activation, Architecture, Experts, Transformer};
use lapwing_quant::{Bits, GroupQuantized};

use super::blocks::Blocks;
use super::graph::Graph;
use super::matrix;
use crate::error::ExportError;
use crate::plan::{PlannedWeight, Precision, WHOLE_ROW, alternating, in_turn, stacked};
use crate::source::Source;

/// What the experts of a layer give together, for `input [batch, positions, hidden_size]`.
///
/// # Errors
///
/// When a weight cannot be read or expressed, or experts are stored in different ways.
pub(super) fn mixture(
    graph: &mut Graph,
    source: &mut Source<'_>,
    architecture: &Architecture<Transformer>,
    experts: Experts,
    layer: &str,
    input: &str,
) -> Result<String, ExportError> {
    let function = gate_attributes(architecture.family.activation)?;
    let (outer, inner) = (architecture.hidden_size, architecture.family.intermediate_size);
    let module = format!("{layer}.mlp.experts");
    let [scores, rows] = scores(graph, source, experts, layer, input, outer)?;
    let mut biases: [Vec<f32>; 2] = Default::default();
    let mut all = |part: &str, biases: &mut Vec<f32>| {
        let mut matrices = Vec::new();
        for expert_idx in 0..experts.n_experts {
            let name = format!("{layer}.{}", Experts::projection(expert_idx, part));
            matrices.push(taken(source, &name, [outer, inner])?);
            if experts.has_bias {
                let name = format!("{layer}.{}", Experts::projection_bias(expert_idx, part));
                biases.extend(source.vector(&name)?);
            }
        }
        Ok::<_, ExportError>(matrices)
    };
    let mut gate_up = all("gate", &mut biases[0])?;
    gate_up.extend(all("up", &mut biases[0])?);
    let down = all("down", &mut biases[1])?;
    biases[0] = in_turn(&biases[0], 1);
    let [gate_up, down] = [gate_up, down].map(stacked);
    let (Ok(gate_up), Ok(down)) = (gate_up, down) else {
        return Err(ExportError::unlike_experts("ONNX", &module));
    };
    let gate_up = alternating(gate_up, outer);
    let names = ["gate_up_proj", "down_proj"].map(|part| format!("{module}.{part}"));
    let sizes = [[experts.n_experts, 2 * inner, outer], [experts.n_experts, outer, inner]];
    let node = format!("/{}/mlp/experts", layer.replace('.', "/"));
    let number = |name: &str, value: usize| AttributeProto::int(name, value as i64);
    let mut attributes = vec![
        number("k", experts.n_used),
        number("normalize_routing_weights", 1),
        AttributeProto::string("activation_type", "swiglu"),
        number("swiglu_fusion", 1),
    ];
    attributes.extend(function);
    let mut biases_of = |projection_idx: usize| -> Result<String, ExportError> {
        if !experts.has_bias {
            return Ok(String::new());
        }
        let name = format!("{}_bias", names[projection_idx]);
        let [n_experts, n_rows, _] = sizes[projection_idx];
        graph.f32_weight(&name, &[n_experts, n_rows], &biases[projection_idx])?;
        Ok(name)
    };
    let biases = [biases_of(0)?, biases_of(1)?];
    let mixed = match [gate_up, down] {
        [PlannedWeight::Quantized(gate_up), PlannedWeight::Quantized(down)]
            if gate_up.grid.bits == down.grid.bits
                && gate_up.grid.symmetric == down.grid.symmetric =>
        {
            let block_size = Blocks::common_size(&[&gate_up, &down]);
            let bits = number("expert_weight_bits", 8 / gate_up.grid.bits.n_per_byte());
            let gate_up = Codes::write(graph, &names[0], &gate_up, sizes[0], block_size)?;
            let down = Codes::write(graph, &names[1], &down, sizes[1], block_size)?;
            let mut inputs = vec![input, &rows, &gate_up.codes, &gate_up.scales, &biases[0]];
            inputs.extend([&*down.codes, &down.scales, &biases[1]]);
            if let (Some(first), Some(second)) = (&gate_up.zero_points, &down.zero_points) {
                inputs.extend(["", "", "", first, second]);
            }
            attributes.push(bits);
            attributes.extend(block_size.map(|block_size| number("block_size", block_size)));
            graph.node(&format!("{node}/QMoE"), "QMoE", &inputs, attributes)
        }
        [gate_up, down] => {
            let gate_up = floats(graph, &names[0], gate_up, sizes[0])?;
            let down = floats(graph, &names[1], down, sizes[1])?;
            let inputs = [input, &rows, &gate_up, &biases[0], &down, &biases[1]];
            graph.node(&format!("{node}/MoE"), "MoE", &inputs, attributes)
        }
    };
    Ok(match experts.normalises_shares {
        true => mixed,
        false => times_shares(graph, &node, &scores, &mixed, experts.n_used),
    })
}

/// What the operators want to know of the gate's function.
fn gate_attributes(activation: Activation) -> Result<Vec<AttributeProto>, ExportError> {
    let (slope, added, limit) = match activation {
        Activation::Silu => (1.0, 0.0, None),
        Activation::ClampedSilu => (Activation::SLOPE, 1.0, Some(Activation::LIMIT)),
        Activation::GeluTanh => {
            return Err(ExportError::Unsupported {
                target: "ONNX",
                expected: "experts with silu".to_owned(),
                found: format!("{activation:?}"),
            });
        }
    };
    let mut attributes = vec![
        AttributeProto::float("activation_alpha", slope),
        AttributeProto::float("activation_beta", added),
    ];
    attributes.extend(limit.map(|limit| AttributeProto::float("swiglu_limit", limit)));
    Ok(attributes)
}

/// A mixture whose shares were divided by their sum, times that sum. `normalize_routing_weights` of 0
/// may do the same: a first try with ONNX Runtime 1.31.1 gave other numbers, and why was not found.
///
/// Shapes: `scores [batch, positions, n_experts]`, `mixed [batch, positions, hidden_size]`.
fn times_shares(graph: &mut Graph, node: &str, scores: &str, mixed: &str, n_used: usize) -> String {
    let last = || AttributeProto::int("axis", -1);
    let shares = graph.node(&format!("{node}/Softmax"), "Softmax", &[scores], [last()]);
    let k = graph.i64_list("/model/constants/experts", &[n_used as i64]);
    let name = format!("{node}/TopK");
    let outputs = ["largest", "places"].map(|output| format!("{name}/{output}"));
    let both = [outputs[0].as_str(), outputs[1].as_str()];
    graph.node_to(&name, "TopK", &[&shares, &k], &both, [last()]);
    let axis = graph.i64_list("/model/constants/last", &[-1]);
    let name = format!("{node}/ReduceSum");
    let sum = graph.node(&name, "ReduceSum", &[&outputs[0], &axis], []);
    graph.node(&format!("{node}/Mul"), "Mul", &[mixed, &sum], [])
}

/// The router's scores by batch and position, and as a row for each token.
fn scores(
    graph: &mut Graph,
    source: &mut Source<'_>,
    experts: Experts,
    layer: &str,
    input: &str,
    hidden_size: usize,
) -> Result<[String; 2], ExportError> {
    let name = format!("{layer}.{}", Experts::ROUTER);
    let weight = source.matrix(&name)?;
    let router = matrix::store(graph, &name, weight, [experts.n_experts, hidden_size])?;
    let node = format!("/{}/mlp/gate", layer.replace('.', "/"));
    let mut product = format!("{node}/MatMul/output_0");
    matrix::product(graph, &format!("{node}/MatMul"), input, &router, &product);
    if experts.has_bias {
        let name = format!("{layer}.{}", Experts::ROUTER_BIAS);
        let bias = source.vector(&name)?;
        graph.f32_weight(&name, &[bias.len()], &bias)?;
        product = graph.node(&format!("{node}/Add"), "Add", &[&product, &name], []);
    }
    let rows = [-1, experts.n_experts as i64];
    let rows = graph.i64_list("/model/constants/scores", &rows);
    let rows = graph.node(&format!("{node}/Reshape"), "Reshape", &[&product, &rows], []);
    Ok([product, rows])
}

/// A matrix of an expert. The operator takes whole blocks, and codes of one width: where the plan's
/// groups do not divide the columns of every projection, it gets 8 bits with one scale a row.
fn taken(
    source: &mut Source<'_>,
    name: &str,
    n_columns: [usize; 2],
) -> Result<PlannedWeight, ExportError> {
    let divides = |group_size: usize| {
        let size = if group_size == WHOLE_ROW { 32 } else { group_size.max(1) };
        n_columns.iter().all(|n_columns| n_columns.is_multiple_of(size))
    };
    let precision = match source.precision(name)? {
        Precision::Int4 { group_size, symmetric }
        | Precision::Int8 { group_size: Some(group_size), symmetric }
            if !divides(group_size) =>
        {
            Precision::Int8 { group_size: None, symmetric }
        }
        precision => precision,
    };
    source.matrix_as(name, precision)
}

/// Store floats of all experts; gives the value's name.
fn floats(
    graph: &mut Graph,
    name: &str,
    weight: PlannedWeight,
    sizes: [usize; 3],
) -> Result<String, ExportError> {
    match weight {
        PlannedWeight::F32(values) => {
            graph.f32_weight(name, &sizes, &values)?;
            Ok(name.to_owned())
        }
        PlannedWeight::F16(values) => {
            graph.f16_weight(name, &sizes, &values)?;
            Ok(matrix::widened(graph, name))
        }
        PlannedWeight::Quantized(_) => Err(ExportError::unlike_experts("ONNX", name)),
        PlannedWeight::Affine(codes) => Err(matrix::between_codes(name, &codes)),
        PlannedWeight::Mx(_) => Err(matrix::mxfp4(name)),
    }
}

/// Names of the values of one projection of all experts.
struct Codes {
    codes: String,
    scales: String,
    zero_points: Option<String>,
}

impl Codes {
    /// Store the rows of all experts, one expert behind the other: `[n_experts, n_rows, n_columns]`.
    /// Without a size of blocks each row, of one group, has one scale.
    fn write(
        graph: &mut Graph,
        name: &str,
        quantized: &GroupQuantized,
        [n_experts, n_rows, n_columns]: [usize; 3],
        block_size: Option<usize>,
    ) -> Result<Codes, ExportError> {
        let [codes, scales, zero_points] =
            ["qweight", "scales", "zero_points"].map(|part| format!("{name}.{part}"));
        let is_symmetric = quantized.grid.symmetric;
        let Some(block_size) = block_size else {
            if quantized.n_groups() > 1 || quantized.grid.bits != Bits::Eight {
                return Err(ExportError::Unsupported {
                    target: "ONNX",
                    expected: "groups of a multiple of 16 columns, or whole rows".to_owned(),
                    found: format!("groups of {} columns in {name}", quantized.grid.group_size),
                });
            }
            let bytes: Vec<u8> = quantized.codes.iter().copied().collect();
            let dims = [n_experts, n_rows, n_columns];
            graph.weight(&codes, ElementType::U8, &dims, &bytes)?;
            let values: Vec<f32> = quantized.scales.iter().copied().collect();
            graph.f32_weight(&scales, &dims[..2], &values)?;
            if !is_symmetric {
                let bytes: Vec<u8> = quantized.zero_points.iter().copied().collect();
                graph.weight(&zero_points, ElementType::U8, &dims[..2], &bytes)?;
            }
            let zero_points = (!is_symmetric).then_some(zero_points);
            return Ok(Codes { codes, scales, zero_points });
        };
        let blocks = Blocks::of_size(quantized, block_size);
        let dims = |n_last: usize| [n_experts, n_rows, n_last];
        let n_row_bytes = blocks.n_blocks * blocks.n_block_bytes();
        graph.weight(&codes, ElementType::U8, &dims(n_row_bytes), &blocks.codes)?;
        graph.f32_weight(&scales, &dims(blocks.n_blocks), &blocks.scales)?;
        if let Some(bytes) = &blocks.zero_points {
            graph.weight(
                &zero_points,
                ElementType::U8,
                &dims(blocks.n_zero_point_bytes()),
                bytes,
            )?;
        }
        let zero_points = (!is_symmetric).then_some(zero_points);
        Ok(Codes { codes, scales, zero_points })
    }
}
