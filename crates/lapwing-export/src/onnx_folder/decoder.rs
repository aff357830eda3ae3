//! The whole graph, layer by layer.

use lapwing_formats::onnx::proto::AttributeProto;
use lapwing_formats::onnx::{Dim, ElementType};
use lapwing_model::{Architecture, Transformer};

use super::attention::{Attention, AttentionKind, Projections};
use super::graph::Graph;
use super::{embedding, matrix};
use crate::error::ExportError;
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
    let mut decoder = Decoder { graph, architecture, source, attention, residual: embedded };
    let mut branch = None;
    for layer_idx in 0..architecture.n_layers {
        let prefix = format!("model.layers.{layer_idx}");
        let normed = decoder.norm(&format!("{prefix}.input_layernorm"), branch.as_deref())?;
        let attended = decoder.self_attention(layer_idx, &normed)?;
        let name = format!("{prefix}.post_attention_layernorm");
        let normed = decoder.norm(&name, Some(&attended))?;
        branch = Some(decoder.feed_forward(&prefix, &normed)?);
    }
    let normed = decoder.norm("model.norm", branch.as_deref())?;
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
    let Some(constant) = source.logits_constant()? else {
        matrix::product(graph, "/lm_head/MatMul", &normed, &head, "logits");
        return Ok(());
    };
    let product = "/lm_head/MatMul/output_0";
    matrix::product(graph, "/lm_head/MatMul", &normed, &head, product);
    graph.f32_weight("lm_head.bias", &[constant.len()], &constant)?;
    graph.node_to("/lm_head/Add", "Add", &[product, "lm_head.bias"], &["logits"], []);
    Ok(())
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

    fn self_attention(&mut self, layer_idx: usize, normed: &str) -> Result<String, ExportError> {
        let prefix = format!("model.layers.{layer_idx}.self_attn");
        let projections = self.projections(&prefix, normed)?;
        let attended = self.attention.layer(self.graph, layer_idx, &projections);
        let width = self.architecture.n_heads * self.architecture.head_size;
        self.projection(
            &format!("{prefix}.o_proj"),
            &attended,
            [self.architecture.hidden_size, width],
        )
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
            if architecture.family.attention_bias {
                biases.push(self.source.vector(&format!("{name}.bias"))?);
            }
        }
        let stacked =
            if architecture.family.qk_norm { Err(weights) } else { matrix::stacked(weights) };
        let weights = match stacked {
            Ok(weight) => {
                let dims = [sizes.iter().sum(), architecture.hidden_size];
                let name = format!("{prefix}.qkv_proj");
                let bias = architecture.family.attention_bias.then(|| biases.concat());
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

    /// A projection without a bias.
    fn projection(
        &mut self,
        name: &str,
        input: &str,
        dims: [usize; 2],
    ) -> Result<String, ExportError> {
        let weight = self.source.matrix(&format!("{name}.weight"))?;
        self.biased(name, weight, None, input, dims)
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

    /// `down(silu(gate(x)) * up(x))`.
    fn feed_forward(&mut self, prefix: &str, normed: &str) -> Result<String, ExportError> {
        let (hidden, inner) =
            (self.architecture.hidden_size, self.architecture.family.intermediate_size);
        let gate = self.projection(&format!("{prefix}.mlp.gate_proj"), normed, [inner, hidden])?;
        let up = self.projection(&format!("{prefix}.mlp.up_proj"), normed, [inner, hidden])?;
        let node = |part: &str| format!("/{}/mlp/{part}", prefix.replace('.', "/"));
        let sigmoid = self.graph.node(&node("Sigmoid"), "Sigmoid", &[&gate], []);
        let activated = self.graph.node(&node("act/Mul"), "Mul", &[&gate, &sigmoid], []);
        let gated = self.graph.node(&node("Mul"), "Mul", &[&activated, &up], []);
        self.projection(&format!("{prefix}.mlp.down_proj"), &gated, [hidden, inner])
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
