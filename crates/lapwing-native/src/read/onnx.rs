//! ONNX graphs of ONNX Runtime's own operators, as the onnxruntime-genai builder, onnx-community
//! and our exporter write them.

mod attention;
mod feed_forward;
mod graph;

use lapwing_formats::onnx::OnnxModel;
use lapwing_weights::Source;

use super::ReadError;
use crate::network::{Attention, Layer, Linear, Network, Norm, Rotary};
use graph::{Attributes, Graph, MICROSOFT, Refusal, Weight};

/// Layers of a graph, so that a cycle ends.
const N_LAYERS_MAX: usize = 1024;

/// The network of an ONNX graph.
///
/// # Errors
///
/// When anything between the token ids and the logits is not understood.
pub fn of_onnx(source: &Source) -> Result<Network<'_>, ReadError> {
    let refused = |problem: &str| {
        let path = source.files().first().copied().unwrap_or(std::path::Path::new("")).to_owned();
        ReadError::Refused { path, problem: problem.to_owned() }
    };
    let model = source.onnx().ok_or_else(|| refused("expected an ONNX graph"))?;
    let path = model.path().to_owned();
    let refused = |problem| ReadError::Refused { path: path.clone(), problem };
    let graph = Graph::new(source, model).map_err(refused)?;
    Reader { graph, model, rotary: Vec::new() }.network().map_err(refused)
}

struct Reader<'w> {
    graph: Graph<'w>,
    model: &'w OnnxModel,
    /// The tables of angles, with the names that they have in the graph.
    rotary: Vec<([String; 2], Rotary)>,
}

/// The sum of the residual stream at some place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stream {
    /// A value.
    Value(String),
    /// The sum that the norm of this output makes on its way.
    Within(String),
}

/// Something that is added to the residual stream.
struct Branch<'w> {
    /// What it is multiplied by.
    factor: f32,
    norm_behind: Option<Norm>,
    /// Its last matrix.
    output: Linear<'w>,
    /// What goes into that.
    inner: String,
}

impl<'w> Reader<'w> {
    fn network(mut self) -> Result<Network<'w>, Refusal> {
        let (logit_factor, logit_cap, value) = self.behind_head("logits".to_owned())?;
        let (head, fine_head, value) = self.head(&value)?;
        let (norm, mut stream) = self.norm(&value)?;
        let mut layers = Vec::new();
        let mut residual_factor = None;
        let mut factor_of = |branch: &Branch<'w>| match residual_factor.replace(branch.factor) {
            Some(other) if other != branch.factor => {
                Err(format!("branches are multiplied by {other} and by {}", branch.factor))
            }
            _ => Ok(()),
        };
        while let Some((before, branch)) = self.sum(&stream)? {
            factor_of(&branch)?;
            let (feed_forward, fed) = self.feed_forward(branch.output, &branch.inner)?;
            let (feed_forward_norm, at) = self.norm(&fed)?;
            same_stream(&at, &before, "the feed-forward layer")?;
            let norm_behind_feed_forward = branch.norm_behind;
            let Some((first, branch)) = self.sum(&before)? else {
                return Err("a feed-forward layer without attention before it".to_owned());
            };
            factor_of(&branch)?;
            let (attention, attended) = self.attention(branch.output, &branch.inner)?;
            let (norm, at) = self.norm(&attended)?;
            same_stream(&at, &first, "attention")?;
            let norm_behind_attention = branch.norm_behind;
            layers.push(Layer {
                norm,
                attention,
                norm_behind_attention,
                feed_forward_norm,
                feed_forward,
                norm_behind_feed_forward,
            });
            if layers.len() > N_LAYERS_MAX {
                return Err(format!("more than {N_LAYERS_MAX} layers"));
            }
            stream = first;
        }
        layers.reverse();
        let Stream::Value(value) = stream else {
            return Err("expected an embedding before the first layer, found a sum".to_owned());
        };
        let (embedding_factor, embedding) = self.embedding(&value)?;
        let head_size = head_size(&layers)?;
        let n_positions_max = self.rotary.iter().map(|(_, rotary)| rotary.n_positions()).min();
        Ok(Network {
            n_vocab: head.n_outputs(),
            n_hidden: norm.weight.len(),
            head_size,
            n_positions_max: n_positions_max.unwrap_or(usize::MAX),
            embedding: embedding.tensor,
            embedding_factor,
            layers,
            residual_factor: residual_factor.unwrap_or(1.0),
            norm,
            head,
            fine_head,
            logit_factor,
            logit_cap,
            rotary: self.rotary.into_iter().map(|(_, rotary)| rotary).collect(),
        })
    }

    /// What follows the head: casts, a factor, a limit.
    fn behind_head(&self, mut value: String) -> Result<(f32, Option<f32>, String), Refusal> {
        let graph = &self.graph;
        let mut cap = None;
        if let Some(node) = graph.standard(&value, "Cast") {
            value = node.input[0].clone();
        }
        // cap * tanh(x / cap)
        let capped = graph.standard(&value, "Mul").and_then(|node| graph.factor(node));
        let capped = capped.and_then(|(tanh, limit)| Some((graph.standard(tanh, "Tanh")?, limit)));
        if let Some((tanh, limit)) = capped {
            let share = tanh.input.first().and_then(|share| graph.standard(share, "Div"));
            let divided = share.filter(|share| graph.float(&share.input[1]) == Some(limit));
            let divided = divided.ok_or_else(|| graph.expected("x / cap", &tanh.input[0]))?;
            (cap, value) = (Some(limit), divided.input[0].clone());
        }
        let mut factor = 1.0;
        if let Some(node) = graph.standard(&value, "Div") {
            let divisor = graph.float(&node.input[1]);
            let divisor = divisor.ok_or_else(|| graph.expected("a constant divisor", &value))?;
            (factor, value) = (divisor.recip(), node.input[0].clone());
        } else if let Some((inner, found)) =
            graph.standard(&value, "Mul").and_then(|node| graph.factor(node))
        {
            (factor, value) = (found, inner.to_owned());
        }
        Ok((factor, cap, value))
    }

    /// The head, its first rows with more bits where it has such, and what goes in.
    fn head(&self, value: &str) -> Result<(Linear<'w>, Option<Linear<'w>>, String), Refusal> {
        let Some(concat) = self.graph.standard(value, "Concat") else {
            let (head, value) = self.linear(value)?;
            return Ok((head, None, value));
        };
        let [common, rest] = &concat.input[..] else {
            return Err(self.graph.expected("two parts of the logits", value));
        };
        let slice = self.graph.standard(rest, "Slice");
        let slice = slice.ok_or_else(|| self.graph.expected("the rest of the logits", rest))?;
        let (fine, fine_input) = self.linear(common)?;
        let (head, value) = self.linear(&slice.input[0])?;
        let bounds = slice.input.iter().skip(1).map(|at| self.graph.integers(self.model, at));
        let bounds: Option<Vec<i64>> = bounds.flatten().map(|at| at.first().copied()).collect();
        let n_fine = i64::try_from(fine.n_outputs()).unwrap_or(i64::MAX);
        if fine_input != value || bounds.as_deref() != Some(&[n_fine, i64::MAX, 2]) {
            return Err(self.graph.expected("the logits behind the first ones", rest));
        }
        Ok((head, Some(fine), value))
    }

    /// A product with a matrix, and what goes in.
    fn linear(&self, value: &str) -> Result<(Linear<'w>, String), Refusal> {
        let graph = &self.graph;
        if let Some(add) = graph.standard(value, "Add") {
            let [a, b] = &add.input[..] else { return Err(graph.expected("a sum of two", value)) };
            let (product, bias) = if graph.floats(b).is_some() { (a, b) } else { (b, a) };
            let bias = graph.floats(bias);
            let bias = bias.ok_or_else(|| graph.expected("a bias that is a constant", value))?;
            let (linear, input) = self.product(product)?;
            if linear.bias.is_some() || bias.len() != linear.n_outputs() {
                return Err(graph.expected("one bias for each row", value));
            }
            return Ok((Linear { bias: Some(bias), ..linear }, input));
        }
        self.product(value)
    }

    fn product(&self, value: &str) -> Result<(Linear<'w>, String), Refusal> {
        let graph = &self.graph;
        let operators = [("", "MatMul"), (MICROSOFT, "MatMulNBits"), (MICROSOFT, "FusedMatMul")];
        let node = graph.made_by(value, &operators);
        let node = node.ok_or_else(|| graph.expected("a product with a matrix", value))?;
        let [input, matrix, ..] = &node.input[..] else {
            return Err(graph.expected("a product of two", value));
        };
        let weight = graph.weight(matrix);
        let weight = weight.ok_or_else(|| graph.expected("a matrix of weights", matrix))?;
        let mut attributes = Attributes::of(node)?;
        let (wants_rows, bias) = match node.op_type() {
            "MatMul" => (false, None),
            "FusedMatMul" => {
                let is_turned = attributes.integer("transB", 0) == 1;
                let is_plain =
                    attributes.integer("transA", 0) == 0 && attributes.float("alpha", 1.0) == 1.0;
                if !is_plain {
                    return Err(graph.expected("a plain product", value));
                }
                (is_turned, None)
            }
            _ => {
                for known in ["K", "N", "bits", "block_size", "accuracy_level"] {
                    attributes.ignore(known);
                }
                let named = |at: usize| node.input.get(at).filter(|name| !name.is_empty());
                if named(4).is_some() {
                    return Err(graph.expected("columns in their own order", value));
                }
                let bias = named(5).map(|bias| {
                    graph.floats(bias).ok_or_else(|| graph.expected("a constant bias", bias))
                });
                (true, bias.transpose()?)
            }
        };
        attributes.finish()?;
        let tensor = if weight.is_transposed == wants_rows {
            weight.tensor.transposed()
        } else {
            Some(weight.tensor)
        };
        let tensor = tensor.filter(|tensor| tensor.shape.len() == 2);
        let tensor = tensor.ok_or_else(|| graph.expected("a matrix by rows", matrix))?;
        Ok((Linear { bias, ..Linear::whole(tensor) }, input.clone()))
    }

    /// A normalisation, and the place of the residual stream that it reads.
    fn norm(&self, value: &str) -> Result<(Norm, Stream), Refusal> {
        let graph = &self.graph;
        if let Some(node) = graph.made_by(value, &[(MICROSOFT, "SkipSimplifiedLayerNormalization")])
        {
            let [_, _, weight] = &node.input[..] else {
                return Err(graph.expected("a sum of two, and a norm", value));
            };
            let mut attributes = Attributes::of(node)?;
            let epsilon = attributes.float("epsilon", 1e-5);
            attributes.finish()?;
            let weight = self.norm_weight(weight)?;
            return Ok((Norm { weight, epsilon }, Stream::Within(value.to_owned())));
        }
        let (norm, input) = self.plain_norm(value)?;
        Ok((norm, self.stream(&input)))
    }

    /// A normalisation by itself, and what goes in.
    fn plain_norm(&self, value: &str) -> Result<(Norm, String), Refusal> {
        let graph = &self.graph;
        let operators = [("", "SimplifiedLayerNormalization"), ("", "RMSNormalization")];
        let node = graph.made_by(value, &operators);
        let node = node.ok_or_else(|| graph.expected("an RMS normalisation", value))?;
        let [input, weight] = &node.input[..] else {
            return Err(graph.expected("a norm with a weight", value));
        };
        let mut attributes = Attributes::of(node)?;
        let epsilon = attributes.float("epsilon", 1e-5);
        // It computes in 32 bits whatever this says.
        attributes.ignore("stash_type");
        if attributes.integer("axis", -1) != -1 {
            return Err(graph.expected("a norm over the last axis", value));
        }
        attributes.finish()?;
        Ok((Norm { weight: self.norm_weight(weight)?, epsilon }, input.clone()))
    }

    fn norm_weight(&self, weight: &str) -> Result<Vec<f32>, Refusal> {
        let floats = self.graph.floats(weight);
        floats.ok_or_else(|| self.graph.expected("the weight of a norm", weight))
    }

    /// Where in the residual stream a value is.
    fn stream(&self, value: &str) -> Stream {
        let node = self.graph.maker_of(value, 3);
        let skip = node.filter(|node| {
            (node.domain(), node.op_type()) == (MICROSOFT, "SkipSimplifiedLayerNormalization")
        });
        match skip {
            Some(node) => Stream::Within(node.output[0].clone()),
            None => Stream::Value(value.to_owned()),
        }
    }

    /// What a place of the residual stream is the sum of; `None` at its beginning.
    fn sum(&self, stream: &Stream) -> Result<Option<(Stream, Branch<'w>)>, Refusal> {
        let node = match stream {
            Stream::Within(normed) => self.graph.maker(normed),
            Stream::Value(value) => self.graph.standard(value, "Add"),
        };
        let Some(node) = node else { return Ok(None) };
        let [before, branch, ..] = &node.input[..] else {
            return Err(format!("{} has fewer than two inputs", node.name()));
        };
        Ok(Some((self.stream(before), self.branch(branch)?)))
    }

    fn branch(&self, value: &str) -> Result<Branch<'w>, Refusal> {
        let graph = &self.graph;
        let scaled = graph.standard(value, "Mul").and_then(|node| graph.factor(node));
        let (value, factor) = scaled.unwrap_or((value, 1.0));
        let (norm_behind, value) = match self.plain_norm(value) {
            Ok((norm, inner)) => (Some(norm), inner),
            Err(_) => (None, value.to_owned()),
        };
        let (output, inner) = self.linear(&value)?;
        Ok(Branch { factor, norm_behind, output, inner })
    }

    /// The rows that token ids stand for, and what they are multiplied by.
    fn embedding(&self, value: &str) -> Result<(f32, Weight<'w>), Refusal> {
        let graph = &self.graph;
        let scaled = graph.standard(value, "Mul").and_then(|node| graph.factor(node));
        let (mut value, factor) = scaled.unwrap_or((value, 1.0));
        if let Some(cast) = graph.standard(value, "Cast") {
            value = &cast.input[0];
        }
        let gather = graph.made_by(value, &[("", "Gather"), (MICROSOFT, "GatherBlockQuantized")]);
        let gather = gather.ok_or_else(|| graph.expected("an embedding", value))?;
        let [table, ids, ..] = &gather.input[..] else {
            return Err(graph.expected("a table and ids", value));
        };
        let ids = graph.standard(ids, "Cast").map_or(ids, |cast| &cast.input[0]);
        if !graph.is_input(ids, "input_ids") {
            return Err(graph.expected("input_ids", ids));
        }
        let mut attributes = Attributes::of(gather)?;
        let axis = attributes.integer("axis", 0);
        for known in ["bits", "block_size", "gather_axis", "quantize_axis"] {
            attributes.ignore(known);
        }
        attributes.finish()?;
        let weight = graph.weight(table).filter(|weight| weight.tensor.shape.len() == 2);
        let mut weight = weight.ok_or_else(|| graph.expected("a table of rows", table))?;
        if weight.is_transposed {
            let turned = weight.tensor.transposed();
            weight.tensor = turned.ok_or_else(|| graph.expected("a table of rows", table))?;
        }
        match axis {
            0 => Ok((factor, weight)),
            _ => Err(graph.expected("a look-up of rows", value)),
        }
    }
}

/// Branches must begin where they are added.
fn same_stream(found: &Stream, expected: &Stream, what: &str) -> Result<(), Refusal> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what} reads {found:?}, and is added to {expected:?}")),
    }
}

/// The length of one head, the same in all layers.
fn head_size(layers: &[Layer<'_>]) -> Result<usize, Refusal> {
    let size = |attention: &Attention<'_>| attention.query.n_outputs() / attention.n_heads;
    let first = layers.first().ok_or("no layers")?;
    let expected = size(&first.attention);
    match layers.iter().find(|layer| size(&layer.attention) != expected) {
        None => Ok(expected),
        Some(other) => {
            Err(format!("heads of {expected} and of {} elements", size(&other.attention)))
        }
    }
}
