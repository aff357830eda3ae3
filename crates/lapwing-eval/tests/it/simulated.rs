//! Made-up models whose logits move over a text as a theory says, with noise of a known kind.
//!
//! All that is random is drawn from a hash of the tokens seen, so that the same tokens always give
//! the same rows: to the reference, which has no noise, and to the model, which sees the same
//! signal through it.

use lapwing_backend::{
    Chunk, Decoder, Device, FakeModel, Inference, Limits, MemoryBreakdown, Model, OpenError,
    Sequence, Source,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How the logits of the reference move.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// A random walk of each logit.
    Walk { step: f64 },
    /// AR(1) of each logit about its mean, with a variance of 1.
    Reverting { a: f64 },
    /// Hidden states of which the logits are products.
    Hidden { head: Vec<f32>, n_hidden: usize },
}

/// What lies between the reference and the model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage {
    /// Standard deviation of white noise on each logit.
    pub(crate) noise: f64,
    /// Added to each logit.
    pub(crate) offset: Vec<f32>,
    /// `h' = scale h + shift`, entry by entry, for signals with hidden states.
    pub(crate) distortion: Option<(f32, f32)>,
}

#[derive(Clone, Debug)]
pub(crate) struct SimulatedModel {
    pub(crate) n_tokens: usize,
    pub(crate) signal: Signal,
    pub(crate) damage: Damage,
    device: FakeModel,
}

impl SimulatedModel {
    pub(crate) fn new(n_tokens: usize, signal: Signal, damage: Damage) -> SimulatedModel {
        SimulatedModel { n_tokens, signal, damage, device: FakeModel::new(1, 1, true) }
    }

    /// The same without damage.
    pub(crate) fn reference(&self) -> SimulatedModel {
        SimulatedModel { damage: Damage::default(), ..self.clone() }
    }

    /// Windows of text as this model would write it, one after the other.
    pub(crate) fn write(
        &self,
        seed: u64,
        n_windows: usize,
        n_window: usize,
        flat: f64,
    ) -> Vec<u32> {
        let mut random = Random::new(seed);
        let mut text = Vec::new();
        for _ in 0..n_windows {
            let mut sequence = Simulation::new(self);
            let mut token = (random.unit() * self.n_tokens as f64) as u32;
            for _ in 0..n_window {
                text.push(token);
                sequence.push(token);
                let weight = |logit: &f32| (f64::from(*logit) / flat).exp();
                let sum: f64 = sequence.logits.iter().map(weight).sum();
                let mut left = random.unit() * sum;
                let draw = sequence.logits.iter().position(|logit| {
                    left -= weight(logit);
                    left < 0.0
                });
                token = draw.unwrap_or(0) as u32;
            }
        }
        text
    }
}

/// What one decoder has seen.
struct Simulation {
    model: SimulatedModel,
    hash: u64,
    state: Vec<f64>,
    hidden: Vec<f32>,
    logits: Vec<f32>,
}

impl Simulation {
    fn new(model: &SimulatedModel) -> Simulation {
        let logits = vec![0.0; model.n_tokens];
        let (state, hidden) = (Vec::new(), Vec::new());
        Simulation { model: model.clone(), hash: 17, state, hidden, logits }
    }

    fn push(&mut self, token: u32) {
        // Odd factors mix well enough; the generator behind does the rest.
        self.hash =
            (self.hash ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let mut random = Random::new(self.hash);
        self.advance(&mut random);
        let Damage { noise, offset, .. } = &self.model.damage;
        for (idx, logit) in self.logits.iter_mut().enumerate() {
            let offset = offset.get(idx).copied().unwrap_or(0.0);
            *logit += offset + (noise * random.normal()) as f32;
        }
    }

    /// The next signal and its logits.
    fn advance(&mut self, random: &mut Random) {
        let n_state = match &self.model.signal {
            Signal::Hidden { n_hidden, .. } => *n_hidden,
            _ => self.model.n_tokens,
        };
        let is_first = self.state.is_empty();
        if is_first {
            self.state = (0..n_state).map(|_| random.normal()).collect();
        }
        match &self.model.signal {
            Signal::Walk { step } => {
                self.state.iter_mut().for_each(|state| *state += step * random.normal());
                self.logits = self.state.iter().map(|&state| 2.0 * state as f32).collect();
            }
            Signal::Reverting { a } => {
                let step = (1.0 - a * a).sqrt();
                self.state
                    .iter_mut()
                    .for_each(|state| *state = a * *state + step * random.normal());
                // Means of their own, so that there are bands.
                let mean = |idx: usize| (idx % 7) as f64 * 0.3;
                let logits = self.state.iter().enumerate();
                self.logits = logits.map(|(idx, state)| (state + mean(idx)) as f32).collect();
            }
            Signal::Hidden { head, n_hidden } => {
                self.state.iter_mut().for_each(|state| *state = random.normal());
                let (scale, shift) = self.model.damage.distortion.unwrap_or((1.0, 0.0));
                let distorted = |(idx, state): (usize, &f64)| {
                    // Neighbours mix, so that the matrix is no diagonal.
                    let next = self.state[(idx + 1) % n_hidden];
                    let mixed = if scale == 1.0 { 0.0 } else { 0.3 * next };
                    (*state + mixed) as f32 * scale + shift
                };
                self.hidden = self.state.iter().enumerate().map(distorted).collect();
                let rows = head.chunks_exact(*n_hidden);
                let product =
                    |row: &[f32]| row.iter().zip(&self.hidden).map(|(a, b)| a * b).sum::<f32>();
                self.logits = rows.map(product).collect();
            }
        }
    }
}

impl Model for SimulatedModel {
    fn n_vocab(&self) -> usize {
        self.n_tokens
    }

    fn n_hidden(&self) -> Option<usize> {
        match &self.signal {
            Signal::Hidden { n_hidden, .. } => Some(*n_hidden),
            _ => None,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            n_positions_max: 4096,
            n_chunk_tokens_max: 4096,
            n_prompt_tokens_max: None,
            n_follow_tokens_max: 4096,
            n_scored_tokens_max: 4096,
            n_positions_switch: None,
            can_rewind: false,
            can_score: true,
        }
    }

    fn device_used(&self) -> &Device {
        self.device.device_used()
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown::default()
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        Ok(Box::new(Sequence::new("simulated", self, Simulation::new(self))))
    }
}

impl Inference for Simulation {
    fn run(&mut self, chunk: &mut Chunk<'_>) -> Result<(), Source> {
        let (before, wanted) = chunk.tokens.split_at(chunk.tokens.len() - chunk.n_rows);
        before.iter().for_each(|&token| self.push(token));
        for &token in wanted {
            self.push(token);
            let hidden = (!self.hidden.is_empty()).then_some(self.hidden.as_slice());
            chunk.give(&self.logits, hidden);
        }
        Ok(())
    }

    fn forget(&mut self, _: usize) -> Result<(), &'static str> {
        Err("made so")
    }
}

pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normal with mean 0 and variance 1, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}
