//! The numbers of a llama-family model.

use std::path::Path;

use super::OpenCheckpointError;

/// Llama 3's own scaling, but for the factor: what a GGUF's divisors are compared with.
const LLAMA3_LOW: f32 = 1.0;
const LLAMA3_HIGH: f32 = 4.0;
const LLAMA3_N_POSITIONS: usize = 8192;

/// Shapes, rope and token ids of one checkpoint, checked for consistency.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// `llama`, `mistral`, `qwen2` or `qwen3`.
    pub model_type: String,
    /// Rows of the embedding.
    pub n_vocab: usize,
    /// Decoder layers.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides [`LlamaConfig::n_heads`].
    pub n_kv_heads: usize,
    /// Elements of one head; even.
    pub head_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// The longest context the model was made for.
    pub n_positions_max: usize,
    /// Epsilon of every RMS normalisation.
    pub rms_epsilon: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// How the rotary frequencies are stretched, if they are.
    pub rope_scaling: Option<RopeScaling>,
    /// Positions that attention looks back on, where that is less than the context.
    pub sliding_window: Option<usize>,
    /// Whether the q, k and v projections have a bias.
    pub attention_bias: bool,
    /// Whether q and k are normalised per head before rope.
    pub qk_norm: bool,
    /// Whether the output head is the embedding.
    pub tied_head: bool,
    /// Start-of-text id.
    pub bos: Option<u32>,
    /// Padding id.
    pub pad: Option<u32>,
    /// Unknown-token id.
    pub unk: Option<u32>,
    /// Every id that ends an answer.
    pub eos: Vec<u32>,
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

impl LlamaConfig {
    /// Rotary frequencies in radians a position, scaling applied.
    ///
    /// Shapes: `[head_size / 2]`. Source: RoFormer, eq. 15; llama3 scaling as in the model card.
    pub fn inverse_frequencies(&self) -> Vec<f32> {
        let plain = plain_frequencies(self.rope_theta, self.head_size);
        match &self.rope_scaling {
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

    /// Refuse numbers that no graph can be built from, and ids outside of the vocabulary.
    pub(super) fn check(&self, path: &Path) -> Result<(), OpenCheckpointError> {
        let sizes = [self.n_vocab, self.n_layers, self.n_heads, self.n_kv_heads, self.hidden_size];
        let other_sizes = [self.head_size, self.intermediate_size, self.n_positions_max];
        let n_largest = sizes.iter().chain(&other_sizes).max().copied().unwrap_or(0);
        let stretch = match &self.rope_scaling {
            Some(RopeScaling::Linear { factor } | RopeScaling::Llama3 { factor, .. }) => *factor,
            _ => 1.0,
        };
        let rules: [(bool, &str, &str, String); 7] = [
            (
                !sizes.contains(&0) && !other_sizes.contains(&0) && n_largest <= i32::MAX as usize,
                "sizes",
                "all between 1 and 2^31",
                format!("{sizes:?} {other_sizes:?}"),
            ),
            (
                self.n_kv_heads > 0 && self.n_heads.is_multiple_of(self.n_kv_heads),
                "heads",
                "a multiple of the key and value heads",
                format!("{} and {}", self.n_heads, self.n_kv_heads),
            ),
            (
                self.head_size.is_multiple_of(2),
                "head size",
                "an even number",
                self.head_size.to_string(),
            ),
            (
                self.rope_theta.is_finite() && self.rope_theta > 0.0,
                "rope theta",
                "a positive number",
                self.rope_theta.to_string(),
            ),
            (
                stretch.is_finite() && stretch > 0.0,
                "rope factor",
                "a positive number",
                stretch.to_string(),
            ),
            (
                self.rms_epsilon.is_finite() && self.rms_epsilon >= 0.0,
                "rms epsilon",
                "a number from 0 on",
                self.rms_epsilon.to_string(),
            ),
            (
                self.ids().all(|id| (id as usize) < self.n_vocab),
                "special token ids",
                &format!("all below the vocabulary of {}", self.n_vocab),
                format!("{:?}", self.ids().collect::<Vec<u32>>()),
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            None => Ok(()),
            Some((_, what, expected, found)) => Err(OpenCheckpointError::Unsupported {
                path: path.to_owned(),
                what: what.to_owned(),
                expected: expected.to_owned(),
                found,
            }),
        }
    }

    fn ids(&self) -> impl Iterator<Item = u32> {
        self.bos.into_iter().chain(self.pad).chain(self.unk).chain(self.eos.iter().copied())
    }

    /// Every tensor the configuration calls for, with its shape, in the order of the layers.
    ///
    /// Made one at a time: a configuration may claim more layers than any file has.
    pub fn expected_tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        let head = (!self.tied_head).then_some("lm_head.weight");
        let matrix = |name: &str| (name.to_owned(), vec![self.n_vocab, self.hidden_size]);
        let embedding = std::iter::once(matrix("model.embed_tokens.weight"));
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
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let mut tensors = Vec::new();
        let mut add = |name: &str, shape: &[usize]| tensors.push((name.to_owned(), shape.to_vec()));
        add("input_layernorm.weight", &[hidden]);
        for (projection, n_rows) in [("q", q_size), ("k", kv_size), ("v", kv_size)] {
            add(&format!("self_attn.{projection}_proj.weight"), &[n_rows, hidden]);
            if self.attention_bias {
                add(&format!("self_attn.{projection}_proj.bias"), &[n_rows]);
            }
        }
        if self.qk_norm {
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
    pub(super) fn from_divisors(
        divisors: Vec<f32>,
        rope_theta: f32,
        head_size: usize,
    ) -> RopeScaling {
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
pub(super) mod tests {
    use super::*;

    fn check(rope_scaling: Option<RopeScaling>, expected: [f32; 4]) {
        let config = LlamaConfig { rope_theta: 10_000.0, rope_scaling, ..small() };
        for (found, expected) in config.inverse_frequencies().into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6 * expected, "{found} {expected}");
        }
    }

    pub(in crate::checkpoint) fn small() -> LlamaConfig {
        LlamaConfig {
            model_type: "llama".to_owned(),
            n_vocab: 10,
            n_layers: 1,
            n_heads: 4,
            n_kv_heads: 2,
            head_size: 8,
            hidden_size: 32,
            intermediate_size: 64,
            n_positions_max: 128,
            rms_epsilon: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            sliding_window: None,
            attention_bias: false,
            qk_norm: false,
            tied_head: true,
            bos: Some(1),
            pad: None,
            unk: None,
            eos: vec![2],
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
        let plain = LlamaConfig { rope_theta: 500_000.0, head_size: 64, ..small() };
        let scaled = LlamaConfig { rope_scaling: Some(llama3(32.0)), ..plain.clone() };
        let divisors: Vec<f32> =
            std::iter::zip(plain.inverse_frequencies(), scaled.inverse_frequencies())
                .map(|(plain, scaled)| plain / scaled)
                .collect();
        assert_eq!(RopeScaling::from_divisors(divisors.clone(), 500_000.0, 64), llama3(32.0));
        let found = RopeScaling::from_divisors(divisors.clone(), 10_000.0, 64);
        assert_eq!(found, RopeScaling::Divisors(divisors));
    }

    #[test]
    fn numbers_that_make_no_graph_are_refused() {
        let check = |change: fn(&mut LlamaConfig), expected: &str| {
            let mut config = small();
            config.check(Path::new("x")).unwrap();
            change(&mut config);
            let message = config.check(Path::new("x")).expect_err(expected).to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        };
        check(|c| c.n_layers = 0, "all between 1 and 2^31");
        check(|c| c.n_vocab = usize::MAX, "all between 1 and 2^31");
        check(|c| c.n_kv_heads = 3, "found 4 and 3");
        check(|c| c.head_size = 7, "an even number, found 7");
        check(|c| c.rope_theta = 0.0, "rope theta");
        check(|c| c.rope_scaling = Some(RopeScaling::Linear { factor: 0.0 }), "rope factor");
        check(|c| c.rms_epsilon = f32::NAN, "rms epsilon");
        check(|c| c.eos = vec![2, 10], "below the vocabulary of 10, found [1, 2, 10]");
    }
}
