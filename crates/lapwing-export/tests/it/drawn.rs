//! What a model computes, drawn at random: the truth that a checkpoint then tells in one of many
//! ways.

use crate::checkpoint::Kind;
use crate::experts::{Experts, Tensors};
use crate::mx;
use crate::random::Random;

/// The families that are drawn.
pub(crate) const MODEL_TYPES: &[&str] = &[
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "gpt_oss",
    "gemma2",
    "gemma3_text",
    "phi3",
    "granite",
    "smollm3",
];

/// How rotary frequencies are stretched.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    None,
    Linear(f64),
    /// Factor, low, high, positions of the first training.
    Llama3(f64, f64, f64, f64),
    Yarn(Yarn),
    LongRope(LongRope),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Yarn {
    pub(crate) factor: f64,
    pub(crate) fast: f64,
    pub(crate) slow: f64,
    pub(crate) truncate: bool,
    pub(crate) n_original: f64,
    /// None where it follows from the factor.
    pub(crate) magnitude: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LongRope {
    pub(crate) short: Vec<f64>,
    pub(crate) long: Vec<f64>,
    pub(crate) n_original: usize,
    /// None where it follows from the lengths.
    pub(crate) magnitude: Option<f64>,
}

/// Rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    pub(crate) theta: f64,
    pub(crate) n_rotated: usize,
    pub(crate) scaling: Scaling,
}

/// A model: its sizes, its arithmetic and its weights.
#[derive(Clone)]
pub(crate) struct Drawn {
    pub(crate) model_type: &'static str,
    pub(crate) n_vocab: usize,
    pub(crate) n_layers: usize,
    pub(crate) n_heads: usize,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) hidden_size: usize,
    /// Of each expert, where there are any.
    pub(crate) intermediate_size: usize,
    pub(crate) experts: Option<Experts>,
    /// Whether files have the experts in MXFP4, which their weights are exact in.
    pub(crate) is_mx: bool,
    pub(crate) n_positions_max: usize,
    pub(crate) epsilon: f64,
    pub(crate) rope: Rope,
    /// Of layers with a window, where it is another.
    pub(crate) window_rope: Option<Rope>,
    pub(crate) has_bias: bool,
    pub(crate) has_output_bias: bool,
    pub(crate) has_feed_forward_bias: bool,
    pub(crate) has_qk_norm: bool,
    pub(crate) has_norms_behind: bool,
    pub(crate) is_gelu: bool,
    pub(crate) embedding_factor: f64,
    pub(crate) residual_factor: f64,
    pub(crate) attention_scale: f64,
    pub(crate) attention_cap: Option<f64>,
    pub(crate) logit_divisor: f64,
    pub(crate) logit_cap: Option<f64>,
    pub(crate) window: Option<usize>,
    /// Whether each layer has the window.
    pub(crate) windowed: Vec<bool>,
    /// Whether each layer has rotary embedding.
    pub(crate) rotated: Vec<bool>,
    /// None where the head is the embedding.
    pub(crate) has_own_head: bool,
    /// By their Hugging Face names, with shapes; norms as they multiply.
    pub(crate) tensors: Tensors,
}

impl std::fmt::Debug for Drawn {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{} of {} layers, {:?} {:?}, {} and {} heads of {}, {:?} {:?}, bias {} {} {}, window {:?} {:?}, \
             rotated {:?}, factors {} {} {} {}, caps {:?} {:?}, own head {}",
            self.model_type,
            self.n_layers,
            self.experts,
            self.is_mx,
            self.n_heads,
            self.n_kv_heads,
            self.head_size,
            self.rope,
            self.window_rope,
            self.has_bias,
            self.has_output_bias,
            self.has_feed_forward_bias,
            self.window,
            self.windowed,
            self.rotated,
            self.embedding_factor,
            self.residual_factor,
            self.attention_scale,
            self.logit_divisor,
            self.attention_cap,
            self.logit_cap,
            self.has_own_head,
        )
    }
}

impl Drawn {
    pub(crate) fn new(random: &mut Random) -> Drawn {
        let model_type = random.choose(MODEL_TYPES);
        Drawn::of(model_type, random)
    }

    /// A model of one family.
    pub(crate) fn of(model_type: &'static str, random: &mut Random) -> Drawn {
        let is = |names: &[&str]| names.contains(&model_type);
        let is_gemma = model_type.starts_with("gemma");
        let n_layers = match is_gemma || is(&["smollm3"]) {
            true => random.choose(&[2, 4, 7]),
            false => 1 + random.below(4) as usize,
        };
        let n_kv_heads = 1 + random.below(2) as usize;
        let (head_size, n_heads) =
            (random.choose(&[6, 8, 16, 32]), n_kv_heads * (1 + random.below(3) as usize));
        let is_mx = is(&["gpt_oss"]) && random.one_in(2);
        let hidden_size = match random.one_in(2) {
            _ if is_mx => random.choose(&[32, 64]),
            true => n_heads * head_size,
            false => random.choose(&[24, 32, 48]),
        };
        let n_positions_max = random.choose(&[64, 128]);
        let rotated: Vec<bool> = match (model_type, random.one_in(2)) {
            ("smollm3", true) => (0..n_layers).map(|_| random.one_in(2)).collect(),
            ("smollm3", false) => (0..n_layers).map(|layer_idx| layer_idx % 4 != 3).collect(),
            _ => vec![true; n_layers],
        };
        let (window, windowed) = windows(model_type, n_layers, n_positions_max, random);
        let n_rotated = match (model_type, head_size) {
            ("phi3", 8..) => head_size * random.choose(&[2, 3, 4]) / 4,
            _ => head_size,
        };
        let theta = random.choose(&[10_000.0, 500_000.0, 150_000.0, 100.0]);
        let scaling = scaling(model_type, n_rotated, n_positions_max, random);
        let rope = Rope { theta, n_rotated, scaling };
        let window_rope = (model_type == "gemma3_text").then(|| {
            let theta = random.choose(&[10_000.0, 50.0]);
            Rope { theta, n_rotated, scaling: Scaling::None }
        });
        let is_scaled = model_type == "granite" && !random.one_in(4);
        let may_be_biased = is(&["llama", "granite", "smollm3", "gpt_oss"]) || is_gemma;
        let mut drawn = Drawn {
            model_type,
            n_vocab: 40,
            n_layers,
            n_heads,
            n_kv_heads,
            head_size,
            hidden_size,
            intermediate_size: if is_mx { 32 } else { random.choose(&[20, 32]) },
            experts: Experts::draw(model_type, random),
            is_mx,
            n_positions_max,
            epsilon: random.choose(&[1e-5, 1e-6]),
            rope,
            window_rope,
            has_bias: model_type == "qwen2" || may_be_biased && random.one_in(3),
            has_output_bias: false,
            has_feed_forward_bias: is(&["llama", "granite", "smollm3"]) && random.one_in(3),
            has_qk_norm: is(&["qwen3", "qwen3_moe", "gemma3_text"]),
            has_norms_behind: is_gemma,
            is_gelu: is_gemma,
            embedding_factor: match is_gemma {
                true => (hidden_size as f64).sqrt(),
                false if is_scaled => 3.0,
                false => 1.0,
            },
            residual_factor: if is_scaled { 0.25 } else { 1.0 },
            attention_scale: match (is_gemma, is_scaled) {
                (true, _) if random.one_in(2) => (2.0 * head_size as f64).powf(-0.5),
                (_, true) => 0.125,
                _ => (head_size as f64).powf(-0.5),
            },
            attention_cap: (model_type == "gemma2" && !random.one_in(4)).then_some(3.0),
            logit_divisor: if is_scaled { 5.0 } else { 1.0 },
            logit_cap: (model_type == "gemma2" && !random.one_in(4)).then_some(2.0),
            window,
            windowed,
            rotated,
            has_own_head: random.one_in(2),
            tensors: Tensors::new(),
        };
        drawn.has_output_bias = drawn.has_bias && may_be_biased && random.one_in(2);
        drawn.fill(random);
        drawn
    }

    /// Whether this kind of file can tell of such a model.
    pub(crate) fn fits(&self, kind: Kind) -> bool {
        let is_plain_scale =
            (self.attention_scale - (self.head_size as f64).powf(-0.5)).abs() < 1e-9;
        let is_told_elsewhere = match &self.rope.scaling {
            // The divisors stand in a tensor of their own.
            Scaling::Llama3(..) => true,
            // What llama.cpp computes from the factor.
            Scaling::Yarn(yarn) => {
                let truncates = self.model_type != "gpt_oss";
                yarn.magnitude.is_some() || yarn.truncate != truncates
            }
            _ => false,
        };
        match (kind, self.model_type) {
            (Kind::HuggingFace, _) => true,
            (Kind::Gguf, _) if is_told_elsewhere => false,
            // Not an architecture of its own there.
            (Kind::Gguf, "mistral") => false,
            (Kind::Gguf, "gemma2" | "gemma3_text") => is_plain_scale,
            (Kind::Gguf, "phi3") => true,
            // Its windows are not told there.
            (Kind::Gguf, "gpt_oss") => {
                self.windowed.iter().enumerate().all(|(idx, windowed)| *windowed == (idx % 2 == 0))
            }
            (Kind::Gguf, "smollm3") => {
                let is_by_interval =
                    |(layer_idx, rotated): (usize, &bool)| *rotated == (layer_idx % 4 != 3);
                self.window.is_none() && self.rotated.iter().enumerate().all(is_by_interval)
            }
            // There it has no word for what it does not do.
            (Kind::Gguf, "qwen3_moe") => self.experts.is_some_and(|experts| experts.normalises),
            // These architectures have no windows there.
            (Kind::Gguf, _) => self.window.is_none(),
        }
    }

    /// Draw every weight.
    pub(crate) fn fill(&mut self, random: &mut Random) {
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
            if self.has_norms_behind {
                self.vector(random, &name("pre_feedforward_layernorm.weight"), hidden, 1.0);
                self.vector(random, &name("post_feedforward_layernorm.weight"), hidden, 1.0);
            }
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
            if self.model_type == "gpt_oss" {
                self.vector(random, &name("self_attn.sinks"), self.n_heads, 0.5);
            }
            self.matrix(random, &name("self_attn.o_proj.weight"), hidden, q, 2.0);
            if self.has_output_bias {
                self.vector(random, &name("self_attn.o_proj.bias"), hidden, 0.0);
            }
            let shapes = [("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)];
            if let Some(experts) = self.experts {
                self.matrix(random, &name("mlp.gate.weight"), experts.n_experts, hidden, 2.0);
                if experts.has_bias {
                    self.vector(random, &name("mlp.gate.bias"), experts.n_experts, 0.0);
                }
                // Of gpt-oss some gates are cut off.
                let scale = if self.model_type == "gpt_oss" { 8.0 } else { 2.0 };
                for expert_idx in 0..experts.n_experts {
                    for (part, n_rows, n_columns) in shapes {
                        let module = name(&format!("mlp.experts.{expert_idx}.{part}_proj"));
                        let scale = if part == "down" { 2.0 } else { scale };
                        let weight = format!("{module}.weight");
                        self.matrix(random, &weight, n_rows, n_columns, scale);
                        if experts.has_bias {
                            self.vector(random, &format!("{module}.bias"), n_rows, 0.0);
                        }
                    }
                }
                continue;
            }
            for (part, n_rows, n_columns) in shapes {
                let projection = name(&format!("mlp.{part}_proj"));
                self.matrix(random, &format!("{projection}.weight"), n_rows, n_columns, 1.0);
                if self.has_feed_forward_bias {
                    self.vector(random, &format!("{projection}.bias"), n_rows, 0.0);
                }
            }
        }
    }

    fn matrix(&mut self, random: &mut Random, name: &str, n_rows: usize, n: usize, scale: f32) {
        let scale = scale / (n as f32).sqrt();
        let mut values: Vec<f32> = (0..n_rows * n).map(|_| random.weight() * scale).collect();
        if self.is_mx && mx::is_stored_so(name) {
            mx::round(&mut values);
        }
        self.tensors.insert(name.to_owned(), (vec![n_rows, n], values));
    }

    fn vector(&mut self, random: &mut Random, name: &str, n: usize, middle: f32) {
        let values = (0..n).map(|_| middle + 0.3 * random.weight()).collect();
        self.tensors.insert(name.to_owned(), (vec![n], values));
    }
}

/// The window, and which layers have it.
fn windows(
    model_type: &str,
    n_layers: usize,
    n_positions_max: usize,
    random: &mut Random,
) -> (Option<usize>, Vec<bool>) {
    let is_gemma = model_type.starts_with("gemma");
    let is_gpt_oss = model_type == "gpt_oss";
    let has_window = is_gemma
        || is_gpt_oss
        || !["llama", "granite", "qwen3_moe"].contains(&model_type) && random.one_in(2);
    // As long as the context, it still tells layers by their rotary embedding.
    let is_idle = model_type == "gemma3_text" && random.one_in(6);
    let length = if is_idle { n_positions_max } else { 1 + random.below(12) as usize };
    let is_mixed = match model_type {
        "gemma2" | "gemma3_text" | "smollm3" | "gpt_oss" => true,
        _ => model_type.starts_with("qwen") && random.one_in(2),
    };
    let pattern = match (is_gemma, is_gpt_oss) {
        (true, _) => random.choose(&[0, 2, 3, 6]),
        (_, true) => random.choose(&[0, 2]),
        _ => 0,
    };
    let mut windowed: Vec<bool> = (0..n_layers)
        .map(|layer_idx| match pattern {
            0 => has_window && !(is_mixed && random.one_in(2)),
            n => layer_idx % n != n - 1,
        })
        .collect();
    if has_window && !windowed.contains(&true) {
        windowed[n_layers - 1] = true;
    }
    (has_window.then_some(length), windowed)
}

fn scaling(
    model_type: &str,
    n_rotated: usize,
    n_positions_max: usize,
    random: &mut Random,
) -> Scaling {
    let n_kinds = match model_type {
        "phi3" => return long_rope(n_rotated, random),
        _ => 5,
    };
    match random.below(n_kinds) {
        0 => Scaling::None,
        1 => Scaling::Linear(random.choose(&[2.0, 4.0, 1.5])),
        2 => Scaling::Llama3(random.choose(&[8.0, 4.0]), 1.0, 4.0, 16.0),
        3 => Scaling::Yarn(Yarn {
            factor: random.choose(&[4.0, 2.0]),
            fast: random.choose(&[32.0, 2.0]),
            slow: random.choose(&[1.0, 0.25]),
            truncate: !random.one_in(4),
            n_original: n_positions_max as f64 / 2.0,
            magnitude: random.one_in(3).then_some(1.25),
        }),
        // Any family may have it.
        _ => long_rope(n_rotated, random),
    }
}

fn long_rope(n_rotated: usize, random: &mut Random) -> Scaling {
    if random.one_in(4) {
        return Scaling::None;
    }
    let mut divisors = |most: u64| -> Vec<f64> {
        (0..n_rotated / 2).map(|_| 1.0 + random.below(most * 16) as f64 / 16.0).collect()
    };
    Scaling::LongRope(LongRope {
        short: divisors(2),
        long: divisors(8),
        // Before and behind what the tests ask for: who runs the graph reads a sequence that grows
        // over it anew.
        n_original: random.choose(&[16, 48]),
        magnitude: random.one_in(3).then_some(1.25),
    })
}
