//! One layer's feed-forward part: a gate, what it multiplies, and the way back.

use lapwing_model::Activation;

use super::Reader;
use super::graph::{Attributes, MICROSOFT, Refusal};
use crate::network::{FeedForward, Linear};

impl<'w> Reader<'w> {
    /// The feed-forward layer whose last matrix is `down`, and what goes in.
    pub(super) fn feed_forward(
        &self,
        down: Linear<'w>,
        inner: &str,
    ) -> Result<(FeedForward<'w>, String), Refusal> {
        let graph = &self.graph;
        let node = graph.standard(inner, "Mul");
        let node = node.ok_or_else(|| graph.expected("a gated feed-forward layer", inner))?;
        let [activated, up] = &node.input[..] else {
            return Err(graph.expected("a product of two", inner));
        };
        let (activation, gate) = self.activation(activated)?;
        let (gate, gate_input) = self.linear(&gate)?;
        let (up, up_input) = self.linear(up)?;
        if gate_input != up_input {
            return Err(graph.expected("one input for gate and up", inner));
        }
        Ok((FeedForward { gate, up, down, activation }, gate_input))
    }

    fn activation(&self, value: &str) -> Result<(Activation, String), Refusal> {
        let graph = &self.graph;
        if let Some(node) = graph.standard(value, "Mul")
            && let [x, sigmoid] = &node.input[..]
            && graph.standard(sigmoid, "Sigmoid").is_some_and(|node| node.input[0] == *x)
        {
            return Ok((Activation::Silu, x.clone()));
        }
        if let Some(node) = graph.made_by(value, &[("", "Gelu"), (MICROSOFT, "FastGelu")]) {
            let mut attributes = Attributes::of(node)?;
            let is_tanh = attributes.text("approximate").as_deref() == Some("tanh");
            attributes.finish()?;
            let has_bias = node.input.get(1).is_some_and(|bias| !bias.is_empty());
            if (is_tanh || node.op_type() == "FastGelu") && !has_bias {
                return Ok((Activation::GeluTanh, node.input[0].clone()));
            }
        }
        Err(graph.expected("SiLU or GELU by tanh", value))
    }
}
