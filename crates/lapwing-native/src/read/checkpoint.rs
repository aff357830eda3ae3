//! Checkpoints: GGUF files, whose configuration says everything.

use lapwing_model::{Architecture, RopeKind, Transformer};
use lapwing_weights::{Checkpoint, ReadTensorError};

use super::ReadError;
use crate::network::{Attention, FeedForward, Layer, Linear, Network, Norm, Pairs, Rotary};

/// The network of a checkpoint.
///
/// # Errors
///
/// When it has experts, sinks, or angles that depend on the length of the sequence.
pub fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Network<'_>, ReadError> {
    let architecture = &checkpoint.architecture;
    let family = &architecture.family;
    let refused = |problem: &str| {
        let (path, problem) = (checkpoint.path().to_owned(), problem.to_owned());
        Err(ReadError::Refused { path, problem })
    };
    if family.experts.is_some() {
        return refused("expected a dense model, found experts");
    }
    if family.has_sinks {
        return refused("expected plain attention, found sinks");
    }
    if family.rope.long_frequencies().is_some() {
        return refused("expected angles of a position alone, found LongRoPE");
    }
    let read = Reader { checkpoint, architecture };
    let layers = (0..architecture.n_layers).map(|layer_idx| read.layer(layer_idx));
    let kinds = [RopeKind::General, RopeKind::Window];
    let kinds = kinds.into_iter().take(1 + usize::from(family.window_rope.is_some()));
    Ok(Network {
        n_vocab: architecture.n_vocab,
        n_hidden: architecture.hidden_size,
        head_size: architecture.head_size,
        n_positions_max: architecture.n_positions_max,
        embedding: checkpoint.tensor(Transformer::EMBEDDING)?,
        embedding_factor: family.embedding_factor,
        layers: layers.collect::<Result<_, _>>()?,
        residual_factor: family.residual_factor,
        norm: read.norm("model.norm")?,
        head: Linear::whole(checkpoint.head()?),
        fine_head: None,
        logit_factor: family.logit_divisor.recip(),
        logit_cap: family.logit_cap,
        rotary: kinds.map(|kind| rotary(architecture, kind)).collect(),
    })
}

struct Reader<'w> {
    checkpoint: &'w Checkpoint,
    architecture: &'w Architecture<Transformer>,
}

impl<'w> Reader<'w> {
    fn layer(&self, layer_idx: usize) -> Result<Layer<'w>, ReadTensorError> {
        let (architecture, family) = (self.architecture, &self.architecture.family);
        let name = |part: &str| format!("model.layers.{layer_idx}.{part}");
        let norm = |part: &str| self.norm(&name(part));
        let linear = |part: &str, has_bias| self.linear(&name(part), has_bias);
        let norm_if = |is_there: bool, part: &str| is_there.then(|| norm(part)).transpose();
        Ok(Layer {
            norm: norm("input_layernorm")?,
            attention: Attention {
                n_heads: architecture.n_heads,
                n_kv_heads: architecture.n_kv_heads,
                query: linear("self_attn.q_proj", family.biases.qkv)?,
                key: linear("self_attn.k_proj", family.biases.qkv)?,
                value: linear("self_attn.v_proj", family.biases.qkv)?,
                query_norm: norm_if(family.qk_norm, "self_attn.q_norm")?,
                key_norm: norm_if(family.qk_norm, "self_attn.k_norm")?,
                rotary: architecture.rope_kind(layer_idx).map(|kind| kind as usize),
                factor: family.attention_scale,
                cap: family.attention_cap,
                window: architecture.window(layer_idx),
                output: linear("self_attn.o_proj", family.biases.output)?,
            },
            norm_behind_attention: norm_if(family.norms_behind, "post_attention_layernorm")?,
            feed_forward_norm: norm(architecture.feed_forward_norm())?,
            feed_forward: FeedForward {
                gate: linear("mlp.gate_proj", family.biases.feed_forward)?,
                up: linear("mlp.up_proj", family.biases.feed_forward)?,
                down: linear("mlp.down_proj", family.biases.feed_forward)?,
                activation: family.activation,
            },
            norm_behind_feed_forward: norm_if(family.norms_behind, "post_feedforward_layernorm")?,
        })
    }

    fn norm(&self, name: &str) -> Result<Norm, ReadTensorError> {
        let weight = self.checkpoint.tensor(&format!("{name}.weight"))?.to_f32();
        Ok(Norm { weight, epsilon: self.architecture.family.rms_epsilon })
    }

    fn linear(&self, name: &str, has_bias: bool) -> Result<Linear<'w>, ReadTensorError> {
        let bias = has_bias.then(|| self.checkpoint.tensor(&format!("{name}.bias")));
        let bias = bias.transpose()?.map(|bias| bias.to_f32());
        let matrix = self.checkpoint.tensor(&format!("{name}.weight"))?;
        Ok(Linear { bias, ..Linear::whole(matrix) })
    }
}

/// The table of angles that an export would hold: angles rounded to f32 as in the models' own code.
fn rotary(architecture: &Architecture<Transformer>, kind: RopeKind) -> Rotary {
    let rope = architecture.rope(kind);
    let frequencies = rope.inverse_frequencies();
    let magnitude = f64::from(rope.magnitude());
    let angle = |position: usize, frequency: &f32| f64::from(position as f32 * frequency);
    let table = |function: fn(f64) -> f64| {
        let rows = 0..architecture.n_positions_max;
        let row = |position| {
            let angles = frequencies.iter().map(move |frequency| angle(position, frequency));
            angles.map(|angle| (function(angle) * magnitude) as f32)
        };
        rows.flat_map(row).collect()
    };
    Rotary {
        cosines: table(f64::cos),
        sines: table(f64::sin),
        n_rotated: rope.n_rotated,
        pairs: Pairs::Halves,
    }
}
