//! An ONNX graph as it is followed from its end: who makes a value, and what is constant.

use std::collections::HashMap;

use lapwing_formats::onnx::OnnxModel;
use lapwing_formats::onnx::proto::{AttributeProto, NodeProto, TensorProto};
use lapwing_weights::{Source, Tensor};

/// Why a graph is refused.
pub(super) type Refusal = String;

/// ONNX Runtime's own operators.
pub(super) const MICROSOFT: &str = "com.microsoft";

/// Casts, transpositions and the like between a weight and its use.
const N_WRAPPERS_MAX: usize = 4;

pub(super) struct Graph<'w> {
    source: &'w Source,
    nodes: Vec<NodeProto>,
    /// Which node makes a value, as which of its outputs.
    makers: HashMap<String, (usize, usize)>,
    inputs: Vec<String>,
}

/// A weight between the file and its use.
pub(super) struct Weight<'w> {
    pub(super) tensor: Tensor<'w>,
    /// Whether its rows are used as columns.
    pub(super) is_transposed: bool,
}

impl<'w> Graph<'w> {
    pub(super) fn new(source: &'w Source, model: &OnnxModel) -> Result<Graph<'w>, Refusal> {
        let nodes: Result<Vec<_>, _> = model.nodes().collect();
        let nodes = nodes.map_err(|error| format!("a node cannot be read: {error}"))?;
        let mut makers = HashMap::new();
        for (node_idx, node) in nodes.iter().enumerate() {
            for (output_idx, output) in node.output.iter().enumerate() {
                if !output.is_empty() {
                    let earlier = makers.insert(output.clone(), (node_idx, output_idx));
                    if earlier.is_some() {
                        return Err(format!("two nodes make the value {output}"));
                    }
                }
            }
        }
        let inputs = model.inputs().into_iter().map(|input| input.name).collect();
        Ok(Graph { source, nodes, makers, inputs })
    }

    /// The node whose first output a value is.
    pub(super) fn maker(&self, value: &str) -> Option<&NodeProto> {
        self.maker_of(value, 0)
    }

    /// The node whose output of this place a value is.
    pub(super) fn maker_of(&self, value: &str, output_idx: usize) -> Option<&NodeProto> {
        let &(node_idx, found) = self.makers.get(value)?;
        (found == output_idx).then(|| &self.nodes[node_idx])
    }

    /// The node of one of these operators whose first output a value is.
    pub(super) fn made_by(&self, value: &str, operator: &[(&str, &str)]) -> Option<&NodeProto> {
        let node = self.maker(value)?;
        operator.contains(&(node.domain(), node.op_type())).then_some(node)
    }

    /// The node of a standard operator whose first output a value is.
    pub(super) fn standard(&self, value: &str, operator: &str) -> Option<&NodeProto> {
        self.made_by(value, &[("", operator)])
    }

    pub(super) fn is_input(&self, value: &str, name: &str) -> bool {
        value == name && self.inputs.iter().any(|input| input == name)
    }

    /// What a value is, for a message.
    pub(super) fn describe(&self, value: &str) -> String {
        match self.makers.get(value) {
            Some(&(node_idx, output_idx)) => {
                let node = &self.nodes[node_idx];
                let place =
                    if output_idx == 0 { String::new() } else { format!(" ({output_idx})") };
                format!("{} {}{place}", node.op_type(), node.name())
            }
            None if self.inputs.iter().any(|input| input == value) => format!("input {value}"),
            None => format!("weight {value}"),
        }
    }

    pub(super) fn expected(&self, expected: &str, value: &str) -> Refusal {
        format!("expected {expected}, found {}", self.describe(value))
    }

    /// A weight, read through casts, transpositions and reshapes that keep its elements' order.
    pub(super) fn weight(&self, value: &str) -> Option<Weight<'w>> {
        let (mut name, mut is_transposed) = (value, false);
        for _ in 0..N_WRAPPERS_MAX {
            if let Ok(tensor) = self.source.tensor(name) {
                return Some(Weight { tensor, is_transposed });
            }
            let node = self.maker(name)?;
            match (node.domain(), node.op_type()) {
                ("", "Cast") if is_float_cast(node) => {}
                ("", "Transpose") if is_swap(node) => is_transposed = !is_transposed,
                // The look-up of a tied embedding reads the head's blocks as rows.
                ("", "Reshape") if !is_transposed => {}
                _ => return None,
            }
            name = node.input.first()?;
        }
        None
    }

    /// A constant vector of floats.
    pub(super) fn floats(&self, value: &str) -> Option<Vec<f32>> {
        let n_elements_max = 1 << 24;
        if let Some(weight) = self.weight(value).filter(|weight| !weight.is_transposed) {
            return (weight.tensor.n_elements() <= n_elements_max).then(|| weight.tensor.to_f32());
        }
        let node = self.standard(value, "Constant")?;
        let tensor = node.attribute("value").ok()??.t?;
        (tensor.data_type() == FLOAT).then(|| raw_floats(&tensor)).flatten()
    }

    /// A constant number.
    pub(super) fn float(&self, value: &str) -> Option<f32> {
        self.floats(value).filter(|floats| floats.len() == 1).map(|floats| floats[0])
    }

    /// Constant integers, of a `Constant` or a weight.
    pub(super) fn integers(&self, model: &OnnxModel, value: &str) -> Option<Vec<i64>> {
        let of_node =
            self.standard(value, "Constant").and_then(|node| node.attribute("value").ok()?);
        let of_node = of_node.and_then(|attribute| attribute.t.map(|tensor| *tensor));
        let weights = &model.graph().initializer;
        let tensor = of_node.or_else(|| weights.iter().find(|t| t.name() == value).cloned())?;
        let raw = tensor.raw_data.filter(|_| tensor.data_type == Some(INT64))?;
        let (integers, rest) = raw.as_chunks::<8>();
        rest.is_empty().then(|| integers.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect())
    }

    /// The factor in a product of a value and a constant number.
    pub(super) fn factor<'v>(&self, node: &'v NodeProto) -> Option<(&'v str, f32)> {
        let [a, b] = &node.input[..] else { return None };
        let of_b = self.float(b).map(|factor| (a.as_str(), factor));
        of_b.or_else(|| self.float(a).map(|factor| (b.as_str(), factor)))
    }
}

/// `TensorProto.DataType` of 32-bit floats.
const FLOAT: i32 = 1;
/// `TensorProto.DataType` of 64-bit integers.
const INT64: i32 = 7;
/// The floats that a cast may turn a weight into.
const FLOATS: [i64; 3] = [1, 10, 16];

fn is_float_cast(node: &NodeProto) -> bool {
    node.attribute("to").is_ok_and(|to| to.is_some_and(|to| FLOATS.contains(&to.i())))
}

fn is_swap(node: &NodeProto) -> bool {
    node.attribute("perm").is_ok_and(|perm| perm.is_none_or(|perm| perm.ints == [1, 0]))
}

fn raw_floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    let (floats, rest) = tensor.raw_data.as_deref()?.as_chunks::<4>();
    rest.is_empty().then(|| floats.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

/// The attributes of a node, all of which must be asked for: one that nobody knows changes the
/// numbers.
pub(super) struct Attributes<'n> {
    node: &'n NodeProto,
    left: Vec<AttributeProto>,
}

impl<'n> Attributes<'n> {
    pub(super) fn of(node: &'n NodeProto) -> Result<Attributes<'n>, Refusal> {
        let left: Result<Vec<_>, _> = node.attributes().collect();
        let left = left.map_err(|error| format!("{}: {error}", node.name()))?;
        Ok(Attributes { node, left })
    }

    fn take(&mut self, name: &str) -> Option<AttributeProto> {
        let at = self.left.iter().position(|attribute| attribute.name() == name)?;
        Some(self.left.swap_remove(at))
    }

    pub(super) fn integer(&mut self, name: &str, default: i64) -> i64 {
        self.take(name).map_or(default, |attribute| attribute.i())
    }

    pub(super) fn float(&mut self, name: &str, default: f32) -> f32 {
        self.take(name).map_or(default, |attribute| attribute.f())
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let text = self.take(name)?.s?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Leave out what changes nothing.
    pub(super) fn ignore(&mut self, name: &str) {
        self.take(name);
    }

    /// # Errors
    ///
    /// When an attribute was not asked for.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.left.first() {
            None => Ok(()),
            Some(attribute) => {
                let node = self.node;
                let name = attribute.name();
                Err(format!(
                    "{} {} has an attribute that is not known: {name}",
                    node.op_type(),
                    node.name()
                ))
            }
        }
    }
}
