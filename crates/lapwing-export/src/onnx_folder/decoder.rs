//! The whole graph, layer by layer.

use lapwing_formats::onnx::proto::AttributeProto;
use lapwing_formats::onnx::{Dim, ElementType};
use lapwing_model::{Activation, Architecture, Transformer};

use super::attention::{Attention, AttentionKind, Projections};
use super::graph::Graph;
use super::{embedding, experts, matrix};
use crate::error::ExportError;
use crate::plan::{FINE_HEAD, PlannedWeight, stacked};
use crate::source::Source;

/// Write every node and weight.
///
/// # Errors
///
/// When a weight cannot be read or expressed, a file cannot be written, or the caller stops.
pub(super) fn write(
    graph: &mut Graph,
    architecture: &Architecture<Transformer>,
    kind: AttentionKind,
    source: &mut Source<'_>,
) -> Result<(), ExportError> {
    declare(graph, architecture, kind);
    let attention = Attention::new(graph, architecture, kind)?;
    let weight = source.matrix("model.embed_tokens.weight")?;
    let (embedded, tied_head) = embedding::write(graph, architecture, weight)?;
    let residual =
        scaled(graph, "/model/embed_tokens", embedded, architecture.family.embedding_factor);
    let mut decoder = Decoder { graph, architecture, source, attention, residual };
    let mut branch = None;
    for layer_idx in 0..architecture.n_layers {
        let prefix = format!("model.layers.{layer_idx}");
        let normed = decoder.norm(&format!("{prefix}.input_layernorm"), branch.as_deref())?;
        let attended = decoder.self_attention(layer_idx, &normed)?;
        let behind = format!("{prefix}.post_attention_layernorm");
        let attended = decoder.branch(&format!("{prefix}.self_attn"), &behind, attended)?;
        let name = format!("{prefix}.{}", architecture.feed_forward_norm());
        let normed = decoder.norm(&name, Some(&attended))?;
        let fed = decoder.feed_forward(&prefix, &normed)?;
        let behind = format!("{prefix}.post_feedforward_layernorm");
        branch = Some(decoder.branch(&format!("{prefix}.mlp"), &behind, fed)?);
    }
    let normed = decoder.norm("model.norm", branch.as_deref())?;
    let fine = source.fine_head()?;
    let fine = fine.map(|fine| fine_rows(graph, architecture.hidden_size, fine)).transpose()?;
    let head = match tied_head {
        Some(head) => head,
        None => {
            let weight = source.matrix("lm_head.weight")?;
            matrix::store(
                graph,
                "lm_head.weight",
                weight,
                [architecture.n_vocab, architecture.hidden_size],
            )?
        }
    };
    let constant = source.logits_constant()?;
    let head = Head { whole: head, fine };
    write_logits(graph, architecture, &normed, &head, constant.as_deref())
}

/// The head's matrix, and its first rows with more bits, with their number.
struct Head {
    whole: matrix::Matrix,
    fine: Option<(matrix::Matrix, usize)>,
}

/// Store the rows of the head that have more bits.
fn fine_rows(
    graph: &mut Graph,
    n_columns: usize,
    weight: PlannedWeight,
) -> Result<(matrix::Matrix, usize), ExportError> {
    let PlannedWeight::Quantized(quantized) = &weight else {
        unreachable!("these rows have codes, found {weight:?}");
    };
    let n_rows = quantized.n_rows();
    Ok((matrix::store(graph, FINE_HEAD, weight, [n_rows, n_columns])?, n_rows))
}

/// The product with the head; writes the value `output`.
fn head_product(graph: &mut Graph, normed: &str, head: &Head, output: &str) {
    let Some((fine, n_rows)) = &head.fine else {
        matrix::product(graph, "/lm_head/MatMul", normed, &head.whole, output);
        return;
    };
    // What follows the head may take `/lm_head/MatMul/output_0`, which is then `output`.
    let (whole, common) = ("/lm_head/MatMul/whole", "/lm_head/Fine/MatMul/output_0");
    matrix::product(graph, "/lm_head/MatMul", normed, &head.whole, whole);
    matrix::product(graph, "/lm_head/Fine/MatMul", normed, fine, common);
    let starts = graph.i64_list("/lm_head/constants/n_fine", &[*n_rows as i64]);
    let ends = graph.i64_list("/lm_head/constants/end", &[i64::MAX]);
    let axes = graph.i64_list("/lm_head/constants/axis", &[2]);
    let rest = graph.node("/lm_head/Slice", "Slice", &[whole, &starts, &ends, &axes], []);
    let axis = AttributeProto::int("axis", 2);
    graph.node_to("/lm_head/Concat", "Concat", &[common, &rest], &[output], [axis]);
}

/// The head's product, and what comes behind it.
fn write_logits(
    graph: &mut Graph,
    architecture: &Architecture<Transformer>,
    normed: &str,
    head: &Head,
    constant: Option<&[f32]>,
) -> Result<(), ExportError> {
    let Transformer { logit_divisor, logit_cap, .. } = architecture.family;
    let mut steps = vec![("MatMul", None)];
    if let Some(constant) = constant {
        graph.f32_weight("lm_head.bias", &[constant.len()], constant)?;
        steps.push(("Add", Some("lm_head.bias".to_owned())));
    }
    if logit_divisor != 1.0 {
        let divisor = graph.f32_scalar("/lm_head/constants/divisor", logit_divisor);
        steps.push(("Div", Some(divisor)));
    }
    if let Some(cap) = logit_cap {
        let limit = graph.f32_scalar("/lm_head/constants/cap", cap);
        let share = ("Cap/Div", Some(limit.clone()));
        steps.extend([share, ("Cap/Tanh", None), ("Cap/Mul", Some(limit))]);
    }
    let mut value = normed.to_owned();
    let n_steps = steps.len();
    for (step_idx, (step, operand)) in steps.into_iter().enumerate() {
        let node = format!("/lm_head/{step}");
        let output = match step_idx + 1 == n_steps {
            true => "logits".to_owned(),
            false => format!("{node}/output_0"),
        };
        if step_idx == 0 {
            head_product(graph, &value, head, &output);
        } else {
            let operator = step.rsplit('/').next().unwrap_or(step);
            let inputs = std::iter::once(value.as_str()).chain(operand.as_deref());
            graph.node_to(&node, operator, &inputs.collect::<Vec<_>>(), &[&output], []);
        }
        value = output;
    }
    Ok(())
}

/// A value times a number; itself where that is 1.
fn scaled(graph: &mut Graph, node: &str, value: String, factor: f32) -> String {
    if factor == 1.0 {
        return value;
    }
    let factor = graph.f32_scalar(&format!("{node}/factor"), factor);
    graph.node(&format!("{node}/Scale"), "Mul", &[&value, &factor], [])
}

/// Inputs and outputs in the order of ONNX Runtime GenAI's own exports.
fn declare(graph: &mut Graph, architecture: &Architecture<Transformer>, kind: AttentionKind) {
    let symbol = Dim::symbol;
    let (batch, positions) = (symbol("batch_size"), symbol("sequence_length"));
    let total = symbol("total_sequence_length");
    let ids = [batch.clone(), positions.clone()];
    graph.input("input_ids", ElementType::I64, &ids);
    graph.input("attention_mask", ElementType::I64, &[batch.clone(), total.clone()]);
    if matches!(kind, AttentionKind::Plain) {
        graph.input("position_ids", ElementType::I64, &ids);
    }
    let cache = |length: Dim| {
        [
            batch.clone(),
            Dim::Fixed(architecture.n_kv_heads),
            length,
            Dim::Fixed(architecture.head_size),
        ]
    };
    let logits = [batch.clone(), positions, Dim::Fixed(architecture.n_vocab)];
    graph.output("logits", ElementType::F32, &logits);
    for layer_idx in 0..architecture.n_layers {
        for part in ["key", "value"] {
            let past = format!("past_key_values.{layer_idx}.{part}");
            graph.input(&past, ElementType::F32, &cache(symbol("past_sequence_length")));
            let present = format!("present.{layer_idx}.{part}");
            graph.output(&present, ElementType::F32, &cache(total.clone()));
        }
    }
}

struct Decoder<'a, 's> {
    graph: &'a mut Graph,
    architecture: &'a Architecture<Transformer>,
    source: &'a mut Source<'s>,
    attention: Attention<'a>,
    /// The value that every block adds to.
    residual: String,
}

impl Decoder<'_, '_> {
    /// Add `branch`, if there is one, to the residual stream and normalise the sum.
    fn norm(&mut self, name: &str, branch: Option<&str>) -> Result<String, ExportError> {
        let weight = format!("{name}.weight");
        let values = self.source.vector(&weight)?;
        self.graph.f32_weight(&weight, &[values.len()], &values)?;
        let node = format!("/{}/Norm", name.replace('.', "/"));
        let epsilon = AttributeProto::float("epsilon", self.architecture.family.rms_epsilon);
        let Some(branch) = branch else {
            return Ok(simplified_norm(self.graph, &node, &self.residual, &weight, epsilon));
        };
        let (normed, sum) = (format!("{node}/output_0"), format!("{node}/output_3"));
        let inputs = [self.residual.as_str(), branch, &weight];
        let outputs = [normed.as_str(), "", "", &sum];
        let operator = "SkipSimplifiedLayerNormalization";
        self.graph.node_to(&node, operator, &inputs, &outputs, [epsilon]);
        self.residual = sum;
        Ok(normed)
    }

    /// What a branch gives, as it is added: normalised where the family has a norm behind it, and
    /// scaled.
    fn branch(&mut self, module: &str, norm: &str, value: String) -> Result<String, ExportError> {
        let mut value = value;
        if self.architecture.family.norms_behind {
            let weight = format!("{norm}.weight");
            let values = self.source.vector(&weight)?;
            self.graph.f32_weight(&weight, &[values.len()], &values)?;
            let node = format!("/{}/Norm", norm.replace('.', "/"));
            let epsilon = AttributeProto::float("epsilon", self.architecture.family.rms_epsilon);
            value = simplified_norm(self.graph, &node, &value, &weight, epsilon);
        }
        let node = format!("/{}", module.replace('.', "/"));
        Ok(scaled(self.graph, &node, value, self.architecture.family.residual_factor))
    }

    fn self_attention(&mut self, layer_idx: usize, normed: &str) -> Result<String, ExportError> {
        let prefix = format!("model.layers.{layer_idx}.self_attn");
        let projections = self.projections(&prefix, normed)?;
        let sinks = self.sinks(layer_idx)?;
        let sinks = sinks.as_deref();
        let attended = self.attention.layer(self.graph, layer_idx, &projections, sinks);
        let width = self.architecture.n_heads * self.architecture.head_size;
        self.projection(
            &format!("{prefix}.o_proj"),
            &attended,
            [self.architecture.hidden_size, width],
            self.architecture.family.biases.output,
        )
    }

    /// The value of a layer's sinks, where the family has such.
    fn sinks(&mut self, layer_idx: usize) -> Result<Option<String>, ExportError> {
        if !self.architecture.family.has_sinks {
            return Ok(None);
        }
        let name = format!("model.layers.{layer_idx}.{}", Transformer::SINKS);
        let values = self.source.vector(&name)?;
        self.graph.f32_weight(&name, &[values.len()], &values)?;
        Ok(Some(name))
    }

    /// Query, key and value: one product where their weights are stored alike and nothing comes
    /// between them and attention.
    fn projections(&mut self, prefix: &str, normed: &str) -> Result<Projections, ExportError> {
        let architecture = self.architecture;
        let sizes = [architecture.n_heads, architecture.n_kv_heads, architecture.n_kv_heads];
        let sizes = sizes.map(|n_heads| n_heads * architecture.head_size);
        let names = ["q", "k", "v"].map(|letter| format!("{prefix}.{letter}_proj"));
        let mut weights = Vec::new();
        let mut biases = Vec::new();
        for name in &names {
            weights.push(self.source.matrix(&format!("{name}.weight"))?);
            if architecture.family.biases.qkv {
                biases.push(self.source.vector(&format!("{name}.bias"))?);
            }
        }
        let stacked = if architecture.family.qk_norm { Err(weights) } else { stacked(weights) };
        let weights = match stacked {
            Ok(weight) => {
                let dims = [sizes.iter().sum(), architecture.hidden_size];
                let name = format!("{prefix}.qkv_proj");
                let bias = architecture.family.biases.qkv.then(|| biases.concat());
                return self.biased(&name, weight, bias, normed, dims).map(Projections::Packed);
            }
            Err(weights) => weights,
        };
        let mut values = Vec::new();
        let mut biases = biases.into_iter();
        for ((name, weight), size) in names.iter().zip(weights).zip(sizes) {
            let dims = [size, architecture.hidden_size];
            values.push(self.biased(name, weight, biases.next(), normed, dims)?);
        }
        let [query, key, value] = values.try_into().expect("three names give three values");
        if !architecture.family.qk_norm {
            return Ok(Projections::Separate([query, key, value]));
        }
        let query = self.head_norm(&format!("{prefix}.q_norm"), &query, sizes[0])?;
        let key = self.head_norm(&format!("{prefix}.k_norm"), &key, sizes[1])?;
        Ok(Projections::Separate([query, key, value]))
    }

    fn biased(
        &mut self,
        name: &str,
        weight: crate::plan::PlannedWeight,
        bias: Option<Vec<f32>>,
        input: &str,
        dims: [usize; 2],
    ) -> Result<String, ExportError> {
        let weight = matrix::store(self.graph, &format!("{name}.weight"), weight, dims)?;
        let node = format!("/{}", name.replace('.', "/"));
        let product = format!("{node}/MatMul/output_0");
        matrix::product(self.graph, &format!("{node}/MatMul"), input, &weight, &product);
        let Some(bias) = bias else { return Ok(product) };
        let bias_name = format!("{name}.bias");
        self.graph.f32_weight(&bias_name, &[bias.len()], &bias)?;
        Ok(self.graph.node(&format!("{node}/Add"), "Add", &[&product, &bias_name], []))
    }

    /// A projection by itself.
    fn projection(
        &mut self,
        name: &str,
        input: &str,
        dims: [usize; 2],
        has_bias: bool,
    ) -> Result<String, ExportError> {
        let weight = self.source.matrix(&format!("{name}.weight"))?;
        let bias = has_bias.then(|| self.source.vector(&format!("{name}.bias"))).transpose()?;
        self.biased(name, weight, bias, input, dims)
    }

    /// Normalise each head of `[batch, positions, width]` by itself.
    fn head_norm(&mut self, name: &str, value: &str, width: usize) -> Result<String, ExportError> {
        let weight = format!("{name}.weight");
        let values = self.source.vector(&weight)?;
        self.graph.f32_weight(&weight, &[values.len()], &values)?;
        let node = format!("/{}", name.replace('.', "/"));
        // Rows of one head each: position by position, head by head.
        let heads = self.graph.i64_list("/model/constants/heads", &[0, -1, values.len() as i64]);
        let wide = format!("/model/constants/wide/{width}");
        let wide = self.graph.i64_list(&wide, &[0, -1, width as i64]);
        let split = format!("{node}/Split");
        let split = self.graph.node(&split, "Reshape", &[value, &heads], []);
        let epsilon = AttributeProto::float("epsilon", self.architecture.family.rms_epsilon);
        let normed = simplified_norm(self.graph, &format!("{node}/Norm"), &split, &weight, epsilon);
        Ok(self.graph.node(&format!("{node}/Join"), "Reshape", &[&normed, &wide], []))
    }

    /// `down(activation(gate(x)) * up(x))`, or a sum over some experts that compute it.
    fn feed_forward(&mut self, prefix: &str, normed: &str) -> Result<String, ExportError> {
        let family = &self.architecture.family;
        if let Some(of) = family.experts {
            return experts::mixture(
                self.graph,
                self.source,
                self.architecture,
                of,
                prefix,
                normed,
            );
        }
        let (hidden, inner) = (self.architecture.hidden_size, family.intermediate_size);
        let (has_bias, activation) = (family.biases.feed_forward, family.activation);
        let name = |projection: &str| format!("{prefix}.mlp.{projection}_proj");
        let gate = self.projection(&name("gate"), normed, [inner, hidden], has_bias)?;
        let up = self.projection(&name("up"), normed, [inner, hidden], has_bias)?;
        let node = |part: &str| format!("/{}/mlp/{part}", prefix.replace('.', "/"));
        let activated = match activation {
            Activation::Silu => {
                let sigmoid = self.graph.node(&node("Sigmoid"), "Sigmoid", &[&gate], []);
                self.graph.node(&node("act/Mul"), "Mul", &[&gate, &sigmoid], [])
            }
            Activation::GeluTanh => {
                let tanh = AttributeProto::string("approximate", "tanh");
                self.graph.node(&node("Gelu"), "Gelu", &[&gate], [tanh])
            }
            Activation::ClampedSilu => {
                return Err(ExportError::Unsupported {
                    target: "ONNX",
                    expected: "experts where gates are cut off".to_owned(),
                    found: "a dense layer".to_owned(),
                });
            }
        };
        let gated = self.graph.node(&node("Mul"), "Mul", &[&activated, &up], []);
        self.projection(&name("down"), &gated, [hidden, inner], has_bias)
    }
}

fn simplified_norm(
    graph: &mut Graph,
    node: &str,
    value: &str,
    weight: &str,
    epsilon: AttributeProto,
) -> String {
    let attributes =
        [epsilon, AttributeProto::int("axis", -1), AttributeProto::int("stash_type", 1)];
    graph.node(node, "SimplifiedLayerNormalization", &[value, weight], attributes)
}
