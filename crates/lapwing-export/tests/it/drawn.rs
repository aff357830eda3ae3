//! What a model computes, drawn at random: the truth that a checkpoint then tells in one of many
//! ways.

use std::collections::BTreeMap;

use crate::checkpoint::Kind;
use crate::random::Random;

/// How rotary frequencies are stretched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scaling {
    None,
    Linear(f64),
    /// Factor, low, high, positions of the first training.
    Llama3(f64, f64, f64, f64),
}

/// A model: its sizes, its arithmetic and its weights.
pub(crate) struct Drawn {
    pub(crate) model_type: &'static str,
    pub(crate) n_vocab: usize,
    pub(crate) n_layers: usize,
    pub(crate) n_heads: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) n_positions_max: usize,
    pub(crate) epsilon: f64,
    pub(crate) theta: f64,
    pub(crate) scaling: Scaling,
    pub(crate) has_bias: bool,
    pub(crate) has_qk_norm: bool,
    pub(crate) window: Option<usize>,
    /// Whether each layer has the window.
    pub(crate) windowed: Vec<bool>,
    /// None where the head is the embedding.
    pub(crate) has_own_head: bool,
    /// By their Hugging Face names, with shapes.
    pub(crate) tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl std::fmt::Debug for Drawn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} of {} layers, {} and {} heads of {}, theta {}, {:?}, bias {}, window {:?} {:?}, own \
             head {}",
            self.model_type,
            self.n_layers,
            self.n_heads,
            self.n_kv_heads,
            self.head_size,
            self.theta,
            self.scaling,
            self.has_bias,
            self.window,
            self.windowed,
            self.has_own_head,
        )
    }
}

impl Drawn {
    pub(crate) fn new(random: &mut Random) -> Drawn {
        let model_type = random.choose(&["llama", "mistral", "qwen2", "qwen3"]);
        let is_qwen = model_type.starts_with("qwen");
        let n_layers = 1 + random.below(4) as usize;
        let n_kv_heads = 1 + random.below(2) as usize;
        let (head_size, n_heads) =
            (random.choose(&[6, 8, 16, 32]), n_kv_heads * (1 + random.below(3) as usize));
        let hidden_size = match random.one_in(2) {
            true => n_heads * head_size,
            false => random.choose(&[24, 32, 48]),
        };
        let has_window = model_type != "llama" && random.one_in(2);
        let window = has_window.then(|| 1 + random.below(12) as usize);
        let is_mixed = is_qwen && random.one_in(2);
        let mut windowed: Vec<bool> =
            (0..n_layers).map(|_| has_window && !(is_mixed && random.one_in(2))).collect();
        if has_window && !windowed.contains(&true) {
            windowed[n_layers - 1] = true;
        }
        let mut drawn = Drawn {
            model_type,
            n_vocab: 40,
            n_layers,
            n_heads,
            n_kv_heads,
            head_size,
            hidden_size,
            intermediate_size: random.choose(&[20, 32]),
            n_positions_max: random.choose(&[64, 128]),
            epsilon: random.choose(&[1e-5, 1e-6]),
            theta: random.choose(&[10_000.0, 500_000.0, 100.0]),
            scaling: match random.below(3) {
                0 => Scaling::None,
                1 => Scaling::Linear(random.choose(&[2.0, 4.0, 1.5])),
                _ => Scaling::Llama3(random.choose(&[8.0, 4.0]), 1.0, 4.0, 16.0),
            },
            has_bias: model_type == "qwen2" || model_type == "llama" && random.one_in(3),
            has_qk_norm: model_type == "qwen3",
            window,
            windowed,
            has_own_head: random.one_in(2),
            tensors: BTreeMap::new(),
        };
        drawn.fill(random);
        drawn
    }

    /// Whether this kind of file can tell of such a model.
    pub(crate) fn fits(&self, kind: Kind) -> bool {
        match kind {
            Kind::HuggingFace => true,
            // The architecture is not known there, the divisors stand in a tensor of their own, and
            // these architectures have no windows.
            Kind::Gguf => {
                self.model_type != "mistral"
                    && !matches!(self.scaling, Scaling::Llama3(..))
                    && self.window.is_none()
            }
        }
    }

    fn fill(&mut self, random: &mut Random) {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.n_heads * self.head_size, self.n_kv_heads * self.head_size);
        self.matrix(random, "model.embed_tokens.weight", self.n_vocab, hidden, 1.0);
        if self.has_own_head {
            self.matrix(random, "lm_head.weight", self.n_vocab, hidden, 0.7);
        }
        self.vector(random, "model.norm.weight", hidden, 1.0);
        for layer_idx in 0..self.n_layers {
            let name = |rest: &str| format!("model.layers.{layer_idx}.{rest}");
            self.vector(random, &name("input_layernorm.weight"), hidden, 1.0);
            self.vector(random, &name("post_attention_layernorm.weight"), hidden, 1.0);
            for (letter, n_rows) in [("q", q), ("k", kv), ("v", kv)] {
                let projection = name(&format!("self_attn.{letter}_proj"));
                self.matrix(random, &format!("{projection}.weight"), n_rows, hidden, 3.0);
                if self.has_bias {
                    self.vector(random, &format!("{projection}.bias"), n_rows, 0.0);
                }
            }
            if self.has_qk_norm {
                self.vector(random, &name("self_attn.q_norm.weight"), self.head_size, 1.0);
                self.vector(random, &name("self_attn.k_norm.weight"), self.head_size, 1.0);
            }
            self.matrix(random, &name("self_attn.o_proj.weight"), hidden, q, 2.0);
            self.matrix(random, &name("mlp.gate_proj.weight"), inner, hidden, 1.0);
            self.matrix(random, &name("mlp.up_proj.weight"), inner, hidden, 1.0);
            self.matrix(random, &name("mlp.down_proj.weight"), hidden, inner, 1.0);
        }
    }

    fn matrix(&mut self, random: &mut Random, name: &str, n_rows: usize, n: usize, scale: f32) {
        let scale = scale / (n as f32).sqrt();
        let values = (0..n_rows * n).map(|_| random.weight() * scale).collect();
        self.tensors.insert(name.to_owned(), (vec![n_rows, n], values));
    }

    fn vector(&mut self, random: &mut Random, name: &str, n: usize, middle: f32) {
        let values = (0..n).map(|_| middle + 0.3 * random.weight()).collect();
        self.tensors.insert(name.to_owned(), (vec![n], values));
    }
}
