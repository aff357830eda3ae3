//! The function of the gate.

use lapwing_formats::ir::Node;
use lapwing_model::Activation;

use super::graph::Graph;

/// Every element of `x` through it.
pub(super) fn activated(graph: &mut Graph, activation: Activation, x: &Node) -> Node {
    match activation {
        Activation::Silu => graph.unary("Swish", "opset4", x),
        Activation::GeluTanh => {
            let attributes = [("approximation_mode", "TANH")];
            let output = (x.element_type, x.dims.clone());
            graph.operator(("Gelu", "opset7"), &attributes, &[x], output)
        }
    }
}
