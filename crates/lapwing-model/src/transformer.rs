//! What the models of the llama family compute, and what their weights are called.

use std::ops::Range;

use crate::Architecture;

/// Llama 3's own scaling, but for the factor: what a GGUF's divisors are compared with.
const LLAMA3_LOW: f32 = 1.0;
const LLAMA3_HIGH: f32 = 4.0;
const LLAMA3_N_POSITIONS: usize = 8192;

/// The arithmetic of a llama-family model, such as Transformer, Mistral, Qwen 2 and Qwen 3.
#[derive(Clone, Debug, PartialEq)]
pub struct Transformer {
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Epsilon of every RMS normalisation.
    pub rms_epsilon: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// How the rotary frequencies are stretched, if they are.
    pub rope_scaling: Option<RopeScaling>,
    /// Whether the q, k and v projections have a bias.
    pub attention_bias: bool,
    /// Whether q and k are normalised per head before rope.
    pub qk_norm: bool,
    /// Whether the output head is the embedding.
    pub tied_head: bool,
    /// The layers that look back over everything though the model has a sliding window.
    pub full_layers: Vec<Range<usize>>,
}

/// How rotary frequencies are stretched for a longer context.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Every frequency divided by one factor.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f32,
        /// Wavelengths longer than `n_positions_original / low` are low frequencies.
        low_frequency_factor: f32,
        /// Wavelengths shorter than `n_positions_original / high` are high frequencies.
        high_frequency_factor: f32,
        /// Context of the original training.
        n_positions_original: usize,
    },
    /// One divisor a frequency, `[head_size / 2]`.
    Divisors(Vec<f32>),
}

impl Transformer {
    /// The Hugging Face name of the embedding.
    pub const EMBEDDING: &str = "model.embed_tokens.weight";
    /// The Hugging Face name of the output head.
    pub const HEAD: &str = "lm_head.weight";
}

impl Architecture<Transformer> {
    /// Rotary frequencies in radians a position, scaling applied.
    ///
    /// Shapes: `[head_size / 2]`. Source: RoFormer, eq. 15; llama3 scaling as in the model card.
    pub fn inverse_frequencies(&self) -> Vec<f32> {
        let plain = plain_frequencies(self.family.rope_theta, self.head_size);
        match &self.family.rope_scaling {
            None => plain.collect(),
            Some(RopeScaling::Linear { factor }) => plain.map(|f| f / factor).collect(),
            Some(RopeScaling::Divisors(divisors)) => {
                plain.zip(divisors).map(|(f, divisor)| f / divisor).collect()
            }
            Some(RopeScaling::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                n_positions_original,
            }) => {
                let n_original = *n_positions_original as f32;
                plain.map(|f| stretch(f, *factor, *low, *high, n_original)).collect()
            }
        }
    }

    /// Positions that a layer looks back, when that is limited.
    pub fn window(&self, layer_idx: usize) -> Option<usize> {
        let is_full = self.family.full_layers.iter().any(|layers| layers.contains(&layer_idx));
        self.sliding_window.filter(|_| !is_full)
    }

    /// Every tensor that the model has, by its Hugging Face name, with its shape, in the order of the
    /// layers.
    ///
    /// Made one at a time: a manifest may claim more layers than any file has.
    pub fn expected_tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        let head = (!self.family.tied_head).then_some(Transformer::HEAD);
        let matrix = |name: &str| (name.to_owned(), vec![self.n_vocab, self.hidden_size]);
        let embedding = std::iter::once(matrix(Transformer::EMBEDDING));
        let layers = (0..self.n_layers).flat_map(|layer_idx| {
            let tensors = self.expected_layer_tensors().into_iter();
            tensors.map(move |(name, shape)| (format!("model.layers.{layer_idx}.{name}"), shape))
        });
        let norm = ("model.norm.weight".to_owned(), vec![self.hidden_size]);
        embedding.chain(layers).chain([norm]).chain(head.map(matrix))
    }

    /// The tensors of one layer, by their names inside of it.
    fn expected_layer_tensors(&self) -> Vec<(String, Vec<usize>)> {
        let q_size = self.n_heads.saturating_mul(self.head_size);
        let kv_size = self.n_kv_heads.saturating_mul(self.head_size);
        let (hidden, inner) = (self.hidden_size, self.family.intermediate_size);
        let mut tensors = Vec::new();
        let mut add = |name: &str, shape: &[usize]| tensors.push((name.to_owned(), shape.to_vec()));
        add("input_layernorm.weight", &[hidden]);
        for (projection, n_rows) in [("q", q_size), ("k", kv_size), ("v", kv_size)] {
            add(&format!("self_attn.{projection}_proj.weight"), &[n_rows, hidden]);
            if self.family.attention_bias {
                add(&format!("self_attn.{projection}_proj.bias"), &[n_rows]);
            }
        }
        if self.family.qk_norm {
            add("self_attn.q_norm.weight", &[self.head_size]);
            add("self_attn.k_norm.weight", &[self.head_size]);
        }
        add("self_attn.o_proj.weight", &[hidden, q_size]);
        add("post_attention_layernorm.weight", &[hidden]);
        add("mlp.gate_proj.weight", &[inner, hidden]);
        add("mlp.up_proj.weight", &[inner, hidden]);
        add("mlp.down_proj.weight", &[hidden, inner]);
        tensors
    }
}

impl RopeScaling {
    /// The rule behind divisors of plain frequencies: Llama 3's where they match it, else
    /// themselves.
    pub fn from_divisors(divisors: Vec<f32>, rope_theta: f32, head_size: usize) -> RopeScaling {
        let factor = divisors.iter().copied().fold(1.0, f32::max);
        let n_original = LLAMA3_N_POSITIONS as f32;
        let is_llama3 =
            plain_frequencies(rope_theta, head_size).zip(&divisors).all(|(f, found)| {
                let expected = f / stretch(f, factor, LLAMA3_LOW, LLAMA3_HIGH, n_original);
                (expected - found).abs() <= 1e-4 * expected
            });
        if !is_llama3 {
            return RopeScaling::Divisors(divisors);
        }
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor: LLAMA3_LOW,
            high_frequency_factor: LLAMA3_HIGH,
            n_positions_original: LLAMA3_N_POSITIONS,
        }
    }
}

fn plain_frequencies(rope_theta: f32, head_size: usize) -> impl Iterator<Item = f32> {
    (0..head_size / 2).map(move |index| {
        let exponent = (2 * index) as f32 / head_size as f32;
        1.0 / rope_theta.powf(exponent)
    })
}

/// Llama 3's rule for one frequency.
fn stretch(frequency: f32, factor: f32, low: f32, high: f32, n_original: f32) -> f32 {
    let wavelength = 2.0 * std::f32::consts::PI / frequency;
    if wavelength < n_original / high {
        frequency
    } else if wavelength > n_original / low {
        frequency / factor
    } else {
        let smooth = (n_original / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_rope(
        rope_theta: f32,
        head_size: usize,
        rope_scaling: Option<RopeScaling>,
    ) -> Architecture<Transformer> {
        let family = Transformer {
            intermediate_size: 64,
            rms_epsilon: 1e-5,
            rope_theta,
            rope_scaling,
            attention_bias: false,
            qk_norm: false,
            tied_head: true,
            full_layers: Vec::new(),
        };
        Architecture {
            model_type: "llama".to_owned(),
            n_vocab: 10,
            n_layers: 1,
            n_heads: 4,
            n_kv_heads: 2,
            head_size,
            hidden_size: 32,
            n_positions_max: 128,
            sliding_window: None,
            conv_cache_size: None,
            family,
        }
    }

    fn check(rope_scaling: Option<RopeScaling>, expected: [f32; 4]) {
        let architecture = with_rope(10_000.0, 8, rope_scaling);
        for (found, expected) in architecture.inverse_frequencies().into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6 * expected, "{found} {expected}");
        }
    }

    fn llama3(factor: f32) -> RopeScaling {
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            n_positions_original: 8192,
        }
    }

    #[test]
    fn frequencies_follow_the_scaling() {
        check(None, [1.0, 0.1, 0.01, 0.001]);
        check(Some(RopeScaling::Linear { factor: 4.0 }), [0.25, 0.025, 0.0025, 0.00025]);
        let divisors = vec![1.0, 2.0, 4.0, 8.0];
        check(Some(RopeScaling::Divisors(divisors)), [1.0, 0.05, 0.0025, 0.000_125]);
        // Wavelength 6283 lies between 8192 / 4 and 8192 / 1: smooth = 0.101265.
        check(Some(llama3(8.0)), [1.0, 0.1, 0.01, 0.000_213_607_54]);
    }

    #[test]
    fn divisors_of_llama3_are_recognised() {
        let plain = with_rope(500_000.0, 64, None);
        let scaled = with_rope(500_000.0, 64, Some(llama3(32.0)));
        let divisors: Vec<f32> =
            std::iter::zip(plain.inverse_frequencies(), scaled.inverse_frequencies())
                .map(|(plain, scaled)| plain / scaled)
                .collect();
        assert_eq!(RopeScaling::from_divisors(divisors.clone(), 500_000.0, 64), llama3(32.0));
        let found = RopeScaling::from_divisors(divisors.clone(), 10_000.0, 64);
        assert_eq!(found, RopeScaling::Divisors(divisors));
    }
}
