//! The definition of a network in plain code: what the engine is compared with.

use lapwing_model::Activation;
use lapwing_native::{Attention, Layer, Linear, Network, Norm, Pairs, Rotary};

/// A sequence computed position by position in f32, sums in f64.
pub(crate) struct Plain<'n, 'w> {
    network: &'n Network<'w>,
    matrices: Vec<[Matrix; 7]>,
    head: Matrix,
    embedding: Vec<f32>,
    cache: Vec<Past>,
}

/// What a layer knows of every position.
#[derive(Default)]
struct Past {
    /// Rotated.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

struct Matrix {
    rows: Vec<f32>,
    n_inputs: usize,
    bias: Option<Vec<f32>>,
}

impl Matrix {
    fn of(linear: &Linear<'_>) -> Matrix {
        let rows = linear.matrix.rows_to_f32(linear.rows.clone());
        Matrix { rows, n_inputs: linear.n_inputs(), bias: linear.bias.clone() }
    }

    fn times(&self, x: &[f32]) -> Vec<f32> {
        assert_eq!(x.len(), self.n_inputs);
        let product = |row: &[f32]| -> f64 {
            row.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum()
        };
        let mut out: Vec<f32> =
            self.rows.chunks(self.n_inputs).map(|row| product(row) as f32).collect();
        for (out, bias) in out.iter_mut().zip(self.bias.iter().flatten()) {
            *out += bias;
        }
        out
    }
}

fn norm(norm: &Norm, x: &[f32]) -> Vec<f32> {
    let squares: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let mean = squares / x.len() as f64 + f64::from(norm.epsilon);
    let factor = mean.sqrt().recip();
    x.iter().zip(&norm.weight).map(|(&x, &w)| (f64::from(x) * factor) as f32 * w).collect()
}

fn norm_if(which: Option<&Norm>, x: Vec<f32>) -> Vec<f32> {
    which.map_or(x.clone(), |which| norm(which, &x))
}

fn capped(x: f32, cap: Option<f32>) -> f32 {
    cap.map_or(x, |cap| cap * (x / cap).tanh())
}

fn activate(activation: Activation, x: f32) -> f32 {
    let x = f64::from(x);
    let y = match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            x / 2.0 * (1.0 + inner.tanh())
        }
        Activation::ClampedSilu => panic!("of experts only"),
    };
    y as f32
}

fn rotate(rotary: &Rotary, position: usize, head: &mut [f32]) {
    let half = rotary.n_rotated / 2;
    for idx in 0..half {
        let (a, b) = match rotary.pairs {
            Pairs::Halves => (idx, idx + half),
            Pairs::Neighbours => (2 * idx, 2 * idx + 1),
        };
        let (cos, sin) =
            (rotary.cosines[position * half + idx], rotary.sines[position * half + idx]);
        (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[b] * cos + head[a] * sin);
    }
}

impl<'n, 'w> Plain<'n, 'w> {
    pub(crate) fn new(network: &'n Network<'w>) -> Plain<'n, 'w> {
        let matrices = |layer: &Layer<'_>| {
            let (attention, fed) = (&layer.attention, &layer.feed_forward);
            let Attention { query, key, value, output, .. } = attention;
            [query, key, value, output, &fed.gate, &fed.up, &fed.down].map(Matrix::of)
        };
        let mut head = Matrix::of(&network.head);
        if let Some(fine) = &network.fine_head {
            let fine = Matrix::of(fine);
            head.rows[..fine.rows.len()].copy_from_slice(&fine.rows);
        }
        Plain {
            network,
            matrices: network.layers.iter().map(matrices).collect(),
            head,
            embedding: network.embedding.to_f32(),
            cache: network.layers.iter().map(|_| Past::default()).collect(),
        }
    }

    /// The logits after one more token.
    pub(crate) fn step(&mut self, token: u32) -> Vec<f32> {
        let network = self.network;
        let row = &self.embedding[token as usize * network.n_hidden..][..network.n_hidden];
        let mut x: Vec<f32> = row.iter().map(|x| x * network.embedding_factor).collect();
        for layer_idx in 0..network.layers.len() {
            let layer = &network.layers[layer_idx];
            let attended = self.attend(layer_idx, &norm(&layer.norm, &x));
            self.add(&mut x, norm_if(layer.norm_behind_attention.as_ref(), attended));
            let normed = norm(&layer.feed_forward_norm, &x);
            let [.., gate, up, down] = &self.matrices[layer_idx];
            let activation = layer.feed_forward.activation;
            let gate = gate.times(&normed).into_iter().map(|x| activate(activation, x));
            let inner: Vec<f32> = gate.zip(up.times(&normed)).map(|(gate, up)| gate * up).collect();
            let fed = down.times(&inner);
            self.add(&mut x, norm_if(layer.norm_behind_feed_forward.as_ref(), fed));
        }
        let logits = self.head.times(&norm(&network.norm, &x)).into_iter();
        logits.map(|x| capped(x * network.logit_factor, network.logit_cap)).collect()
    }

    fn add(&self, x: &mut [f32], branch: Vec<f32>) {
        for (x, branch) in x.iter_mut().zip(branch) {
            *x += self.network.residual_factor * branch;
        }
    }

    fn attend(&mut self, layer_idx: usize, x: &[f32]) -> Vec<f32> {
        let size = self.network.head_size;
        let attention = &self.network.layers[layer_idx].attention;
        let rotary = attention.rotary.map(|idx| &self.network.rotary[idx]);
        let [query, key, value, output, ..] = &self.matrices[layer_idx];
        let Past { keys, values } = &mut self.cache[layer_idx];
        let position = keys.len();
        let heads = |x: Vec<f32>, norm_of: Option<&Norm>| -> Vec<Vec<f32>> {
            let head = |head: &[f32]| {
                let mut head = norm_if(norm_of, head.to_vec());
                if let Some(rotary) = rotary {
                    rotate(rotary, position, &mut head);
                }
                head
            };
            x.chunks(size).map(head).collect()
        };
        let queries = heads(query.times(x), attention.query_norm.as_ref());
        keys.push(heads(key.times(x), attention.key_norm.as_ref()).concat());
        values.push(value.times(x));
        let first = attention.window.map_or(0, |window| (position + 1).saturating_sub(window));
        let mut mixed = Vec::new();
        for (head_idx, query) in queries.iter().enumerate() {
            let of_group = head_idx / (attention.n_heads / attention.n_kv_heads) * size;
            let score = |key: &Vec<f32>| {
                let dot: f32 = query.iter().zip(&key[of_group..]).map(|(q, k)| q * k).sum();
                capped(dot * attention.factor, attention.cap)
            };
            let scores: Vec<f32> = keys[first..].iter().map(score).collect();
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let shares: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
            let sum: f32 = shares.iter().sum();
            for channel in of_group..of_group + size {
                let of_values = values[first..].iter().map(|value| value[channel]);
                mixed.push(
                    shares.iter().zip(of_values).map(|(share, v)| share * v).sum::<f32>() / sum,
                );
            }
        }
        output.times(&mixed)
    }
}
