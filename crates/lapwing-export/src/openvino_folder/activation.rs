//! The function of the gate.

use lapwing_formats::ir::Node;
use lapwing_model::Activation;

use super::graph::Graph;
use crate::error::ExportError;

/// What goes into the last projection: the gate through its function, times `up`.
///
/// # Errors
///
/// When a constant cannot be written.
pub(super) fn gated(
    graph: &mut Graph,
    activation: Activation,
    gate: &Node,
    up: &Node,
) -> Result<Node, ExportError> {
    let gate = match activation {
        Activation::Silu => graph.unary("Swish", "opset4", gate),
        Activation::GeluTanh => {
            let attributes = [("approximation_mode", "TANH")];
            let output = (gate.element_type, gate.dims.clone());
            graph.operator(("Gelu", "opset7"), &attributes, &[gate], output)
        }
        Activation::ClampedSilu => return clamped(graph, gate, up),
    };
    Ok(graph.binary("Multiply", &gate, up))
}

/// As optimum-intel writes it.
fn clamped(graph: &mut Graph, gate: &Node, up: &Node) -> Result<Node, ExportError> {
    let [least, most] = [-Activation::LIMIT, Activation::LIMIT].map(|limit| limit.to_string());
    let attributes = [("min", least.as_str()), ("max", most.as_str())];
    let output = (up.element_type, up.dims.clone());
    let up = graph.operator(("Clamp", "opset1"), &attributes, &[up], output);
    let one = graph.float(1.0, up.dims.len())?;
    let up = graph.binary("Add", &up, &one);
    let most = graph.float(Activation::LIMIT, gate.dims.len())?;
    let gate = graph.binary("Minimum", gate, &most);
    let slope = graph.float(Activation::SLOPE, 0)?;
    let output = (gate.element_type, gate.dims.clone());
    let gate = graph.operator(("Swish", "opset4"), &[], &[&gate, &slope], output);
    Ok(graph.binary("Multiply", &up, &gate))
}
