//! The arithmetic of the families, written once more and in double precision.

use std::f64::consts::PI;

use crate::N_PROMPT;
use crate::drawn::{Drawn, Rope, Scaling};
use crate::experts::Experts;

/// The logits behind every token, where the first [`N_PROMPT`] come at once and the others one by
/// one: `[ids.len()][n_vocab]`.
///
/// What a sequence rotates by may depend on how long it is, and all of it does then.
pub(crate) fn logits(drawn: &Drawn, ids: &[u32]) -> Vec<Vec<f64>> {
    let (prompt, following) = ids.split_at(N_PROMPT);
    let mut rows = logits_at_once(drawn, prompt);
    for n_following in 1..=following.len() {
        rows.extend(logits_at_once(drawn, &ids[..N_PROMPT + n_following]).pop());
    }
    rows
}

fn logits_at_once(drawn: &Drawn, ids: &[u32]) -> Vec<Vec<f64>> {
    let embedding = "model.embed_tokens.weight";
    let mut hidden: Vec<Vec<f64>> =
        ids.iter().map(|&id| row(drawn, embedding, id as usize)).collect();
    hidden.iter_mut().flatten().for_each(|x| *x *= drawn.embedding_factor);
    for layer_idx in 0..drawn.n_layers {
        let name = |rest: &str| format!("model.layers.{layer_idx}.{rest}");
        let normed: Vec<Vec<f64>> =
            hidden.iter().map(|x| norm(drawn, x, &name("input_layernorm.weight"))).collect();
        let attended = attention(drawn, &normed, layer_idx);
        // With norms behind the branches, the one before the feed-forward layer has another name.
        let (behind_attention, before_mlp) = match drawn.has_norms_behind {
            true => (Some("post_attention_layernorm"), "pre_feedforward_layernorm"),
            false => (None, "post_attention_layernorm"),
        };
        let behind_mlp = drawn.has_norms_behind.then_some("post_feedforward_layernorm");
        let branch = |x: &mut Vec<f64>, mut more: Vec<f64>, behind: Option<&str>| {
            if let Some(norm_name) = behind {
                more = norm(drawn, &more, &name(&format!("{norm_name}.weight")));
            }
            x.iter_mut().zip(more).for_each(|(x, more)| *x += drawn.residual_factor * more);
        };
        for (x, attended) in hidden.iter_mut().zip(&attended) {
            branch(x, project(drawn, attended, &name("self_attn.o_proj")), behind_attention);
            let y = norm(drawn, x, &name(&format!("{before_mlp}.weight")));
            let fed = match drawn.experts {
                Some(experts) => mixture(drawn, experts, &y, &name),
                None => feed_forward(drawn, &y, &name),
            };
            branch(x, fed, behind_mlp);
        }
    }
    let head = if drawn.has_own_head { "lm_head" } else { "model.embed_tokens" };
    let of_hidden = |x: &Vec<f64>| {
        let logits = project(drawn, &norm(drawn, x, "model.norm.weight"), head);
        logits
            .into_iter()
            .map(|logit| capped(logit / drawn.logit_divisor, drawn.logit_cap))
            .collect()
    };
    hidden.iter().map(of_hidden).collect()
}

fn feed_forward(drawn: &Drawn, x: &[f64], name: &dyn Fn(&str) -> String) -> Vec<f64> {
    let gate = project(drawn, x, &name("mlp.gate_proj"));
    let up = project(drawn, x, &name("mlp.up_proj"));
    let gated: Vec<f64> = gate.iter().zip(&up).map(|(gate, up)| gated(drawn, *gate, *up)).collect();
    project(drawn, &gated, &name("mlp.down_proj"))
}

/// What the experts of a layer give together; `name` makes names inside of it.
fn mixture(drawn: &Drawn, experts: Experts, x: &[f64], name: &dyn Fn(&str) -> String) -> Vec<f64> {
    let scores = project(drawn, x, &name("mlp.gate"));
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let total: f64 = shares.iter().sum();
    let mut order: Vec<usize> = (0..experts.n_experts).collect();
    order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
    let used = &order[..experts.n_used];
    let total = match experts.normalises {
        true => used.iter().map(|&idx| shares[idx]).sum(),
        false => total,
    };
    let mut mixed = vec![0.0; x.len()];
    for &idx in used {
        let part = |part: &str| name(&format!("mlp.experts.{idx}.{part}_proj"));
        let gate = project(drawn, x, &part("gate"));
        let up = project(drawn, x, &part("up"));
        let gated: Vec<f64> =
            gate.iter().zip(&up).map(|(gate, up)| gated(drawn, *gate, *up)).collect();
        let down = project(drawn, &gated, &part("down"));
        mixed.iter_mut().zip(down).for_each(|(mixed, down)| *mixed += shares[idx] / total * down);
    }
    mixed
}

/// What the gate lets through.
fn gated(drawn: &Drawn, gate: f64, up: f64) -> f64 {
    if drawn.model_type != "gpt_oss" {
        return activated(drawn, gate) * up;
    }
    let gate = gate.min(7.0);
    (up.clamp(-7.0, 7.0) + 1.0) * gate / (1.0 + (-1.702 * gate).exp())
}

/// The function of the gate.
fn activated(drawn: &Drawn, x: f64) -> f64 {
    match drawn.is_gelu {
        false => x / (1.0 + (-x).exp()),
        true => {
            let inner = (2.0 / PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
    }
}

fn capped(x: f64, cap: Option<f64>) -> f64 {
    cap.map_or(x, |cap| cap * (x / cap).tanh())
}

fn attention(drawn: &Drawn, x: &[Vec<f64>], layer_idx: usize) -> Vec<Vec<f64>> {
    let prefix = format!("model.layers.{layer_idx}.self_attn.");
    let is_windowed = drawn.windowed[layer_idx];
    let window = drawn.window.filter(|_| is_windowed);
    let rope = match (&drawn.window_rope, is_windowed) {
        (Some(rope), true) => rope,
        _ => &drawn.rope,
    };
    let n_sequence = x.len();
    let heads = |letter: &str| -> Vec<Vec<Vec<f64>>> {
        let of_position = |(position, x): (usize, &Vec<f64>)| {
            let projected = project(drawn, x, &format!("{prefix}{letter}_proj"));
            let heads = projected.chunks(drawn.head_size).map(|head| {
                let mut head = head.to_vec();
                if letter == "v" {
                    return head;
                }
                if drawn.has_qk_norm {
                    head = norm(drawn, &head, &format!("{prefix}{letter}_norm.weight"));
                }
                match drawn.rotated[layer_idx] {
                    true => rotated(drawn, rope, &head, [position, n_sequence]),
                    false => head,
                }
            });
            heads.collect()
        };
        x.iter().enumerate().map(of_position).collect()
    };
    let (queries, keys, values) = (heads("q"), heads("k"), heads("v"));
    let n_shared = drawn.n_heads / drawn.n_kv_heads;
    let of_position = |position: usize| {
        let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
        let seen = first..=position;
        let of_head = |head_idx: usize| {
            let kv_idx = head_idx / n_shared;
            let score = |other: usize| {
                let pairs = queries[position][head_idx].iter().zip(&keys[other][kv_idx]);
                let product = pairs.map(|(q, k)| q * k).sum::<f64>();
                capped(product * drawn.attention_scale, drawn.attention_cap)
            };
            let scores: Vec<f64> = seen.clone().map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let sink = drawn.tensors.get(&format!("{prefix}sinks"));
            // It takes a share and gives nothing.
            let taken = sink.map_or(0.0, |(_, sinks)| (f64::from(sinks[head_idx]) - largest).exp());
            let total: f64 = shares.iter().sum::<f64>() + taken;
            let mut mixed = vec![0.0; drawn.head_size];
            for (other, share) in seen.clone().zip(&shares) {
                for (mixed, value) in mixed.iter_mut().zip(&values[other][kv_idx]) {
                    *mixed += share / total * value;
                }
            }
            mixed
        };
        (0..drawn.n_heads).flat_map(of_head).collect()
    };
    (0..x.len()).map(of_position).collect()
}

fn rotated(
    drawn: &Drawn,
    rope: &Rope,
    head: &[f64],
    [position, n_sequence]: [usize; 2],
) -> Vec<f64> {
    let half = rope.n_rotated / 2;
    let mut turned = head.to_vec();
    for pair in 0..half {
        let plain = rope.theta.powf(-2.0 * pair as f64 / rope.n_rotated as f64);
        let (frequency, magnitude) = stretched(drawn, rope, plain, pair, n_sequence);
        let angle = position as f64 * frequency;
        let (left, right) = (head[pair], head[pair + half]);
        turned[pair] = magnitude * (left * angle.cos() - right * angle.sin());
        turned[pair + half] = magnitude * (right * angle.cos() + left * angle.sin());
    }
    turned
}

/// A frequency, and what its cosine and sine are multiplied by.
fn stretched(
    drawn: &Drawn,
    rope: &Rope,
    frequency: f64,
    pair: usize,
    n_sequence: usize,
) -> (f64, f64) {
    match &rope.scaling {
        Scaling::None => (frequency, 1.0),
        Scaling::Linear(factor) => (frequency / factor, 1.0),
        Scaling::Llama3(factor, low, high, n_original) => {
            let wavelength = 2.0 * PI / frequency;
            if wavelength < n_original / high {
                return (frequency, 1.0);
            }
            if wavelength > n_original / low {
                return (frequency / factor, 1.0);
            }
            let smooth = (n_original / wavelength - low) / (high - low);
            ((1.0 - smooth) * frequency / factor + smooth * frequency, 1.0)
        }
        Scaling::Yarn(yarn) => {
            // The pair that turns so many times within the original context.
            let n = rope.n_rotated as f64;
            let pair_of = |n_turns: f64| {
                n / 2.0 * (yarn.n_original / (2.0 * PI * n_turns)).ln() / rope.theta.ln()
            };
            let (mut first, mut last) = (pair_of(yarn.fast), pair_of(yarn.slow));
            if yarn.truncate {
                (first, last) = (first.floor(), last.ceil());
            }
            let (first, last) = (first.max(0.0), last.min(n - 1.0));
            let width = if first == last { 0.001 } else { last - first };
            let divided = ((pair as f64 - first) / width).clamp(0.0, 1.0);
            let magnitude = yarn.magnitude.unwrap_or(1.0 + yarn.factor.ln() / 10.0);
            (frequency * (divided / yarn.factor + (1.0 - divided)), magnitude)
        }
        Scaling::LongRope(long) => {
            let is_long = long.n_original < n_sequence;
            let divisors = if is_long { &long.long } else { &long.short };
            let n_original = long.n_original as f64;
            let growth = drawn.n_positions_max as f64 / n_original;
            let magnitude = (1.0 + growth.ln().max(0.0) / n_original.ln()).sqrt();
            (frequency / divisors[pair], long.magnitude.unwrap_or(magnitude))
        }
    }
}

fn norm(drawn: &Drawn, x: &[f64], weight: &str) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + drawn.epsilon).sqrt();
    let weight = &drawn.tensors[weight].1;
    x.iter().zip(weight).map(|(x, weight)| x * scale * f64::from(*weight)).collect()
}

fn project(drawn: &Drawn, x: &[f64], name: &str) -> Vec<f64> {
    let (shape, values) = &drawn.tensors[&format!("{name}.weight")];
    let bias = drawn.tensors.get(&format!("{name}.bias")).map(|(_, values)| values);
    let of_row = |row_idx: usize| {
        let row = &values[row_idx * shape[1]..][..shape[1]];
        let product: f64 = row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
        product + bias.map_or(0.0, |bias| f64::from(bias[row_idx]))
    };
    (0..shape[0]).map(of_row).collect()
}

fn row(drawn: &Drawn, name: &str, row_idx: usize) -> Vec<f64> {
    let (shape, values) = &drawn.tensors[name];
    values[row_idx * shape[1]..][..shape[1]].iter().copied().map(f64::from).collect()
}
