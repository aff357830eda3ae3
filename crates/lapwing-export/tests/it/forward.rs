//! The arithmetic of the llama family, written once more and in double precision.

use std::f64::consts::PI;

use crate::drawn::{Drawn, Scaling};

/// The logits behind every token: `[ids.len()][n_vocab]`.
pub(crate) fn logits(drawn: &Drawn, ids: &[u32]) -> Vec<Vec<f64>> {
    let embedding = "model.embed_tokens.weight";
    let mut hidden: Vec<Vec<f64>> =
        ids.iter().map(|&id| row(drawn, embedding, id as usize)).collect();
    for layer_idx in 0..drawn.n_layers {
        let name = |rest: &str| format!("model.layers.{layer_idx}.{rest}");
        let normed: Vec<Vec<f64>> =
            hidden.iter().map(|x| norm(drawn, x, &name("input_layernorm.weight"))).collect();
        let window = drawn.window.filter(|_| drawn.windowed[layer_idx]);
        let attended = attention(drawn, &normed, &name("self_attn."), window);
        for (x, attended) in hidden.iter_mut().zip(&attended) {
            add(x, &project(drawn, attended, &name("self_attn.o_proj")));
            let y = norm(drawn, x, &name("post_attention_layernorm.weight"));
            let gate = project(drawn, &y, &name("mlp.gate_proj"));
            let up = project(drawn, &y, &name("mlp.up_proj"));
            let gated: Vec<f64> =
                gate.iter().zip(&up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
            add(x, &project(drawn, &gated, &name("mlp.down_proj")));
        }
    }
    let head = if drawn.has_own_head { "lm_head" } else { "model.embed_tokens" };
    hidden.iter().map(|x| project(drawn, &norm(drawn, x, "model.norm.weight"), head)).collect()
}

fn attention(drawn: &Drawn, x: &[Vec<f64>], prefix: &str, window: Option<usize>) -> Vec<Vec<f64>> {
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
                rotated(drawn, &head, position)
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
                pairs.map(|(q, k)| q * k).sum::<f64>() / (drawn.head_size as f64).sqrt()
            };
            let scores: Vec<f64> = seen.clone().map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = shares.iter().sum();
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

fn rotated(drawn: &Drawn, head: &[f64], position: usize) -> Vec<f64> {
    let half = head.len() / 2;
    let mut turned = vec![0.0; head.len()];
    for pair in 0..half {
        let plain = drawn.theta.powf(-2.0 * pair as f64 / head.len() as f64);
        let angle = position as f64 * stretched(drawn.scaling, plain);
        let (left, right) = (head[pair], head[pair + half]);
        turned[pair] = left * angle.cos() - right * angle.sin();
        turned[pair + half] = right * angle.cos() + left * angle.sin();
    }
    turned
}

fn stretched(scaling: Scaling, frequency: f64) -> f64 {
    match scaling {
        Scaling::None => frequency,
        Scaling::Linear(factor) => frequency / factor,
        Scaling::Llama3(factor, low, high, n_original) => {
            let wavelength = 2.0 * PI / frequency;
            if wavelength < n_original / high {
                return frequency;
            }
            if wavelength > n_original / low {
                return frequency / factor;
            }
            let smooth = (n_original / wavelength - low) / (high - low);
            (1.0 - smooth) * frequency / factor + smooth * frequency
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

fn add(x: &mut [f64], more: &[f64]) {
    x.iter_mut().zip(more).for_each(|(x, more)| *x += more);
}
