//! Made-up models whose rows depend on every token before, so that a wrong context shows.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use lapwing_backend::{
    Chunk, Decoder, Device, FakeModel, Inference, Limits, MemoryBreakdown, Model, OpenError,
    Sequence, Source,
};
use lapwing_eval::{OnProgress, Progress};
use lapwing_logits::{Gains, Gauge, Rescale, Scope, Smoothing};

/// A model with logits from a hash of all tokens seen.
pub(crate) struct HashModel {
    pub(crate) seed: u64,
    /// Tokens that mean something.
    pub(crate) n_vocab: usize,
    /// Logits behind them, which are huge: to leave them in would show.
    pub(crate) n_padding: usize,
    pub(crate) n_hidden: Option<usize>,
    pub(crate) can_rewind: bool,
    pub(crate) can_score: bool,
    pub(crate) n_positions_max: usize,
    /// The row after this position is NaN.
    pub(crate) nan_at: Option<usize>,
    /// How many decoders were asked for.
    pub(crate) n_decoders: AtomicUsize,
    pub(crate) device: FakeModel,
}

impl HashModel {
    pub(crate) fn new(seed: u64, n_vocab: usize) -> HashModel {
        HashModel {
            seed,
            n_vocab,
            n_padding: 0,
            n_hidden: None,
            can_rewind: true,
            can_score: true,
            n_positions_max: 10_000,
            nan_at: None,
            n_decoders: AtomicUsize::new(0),
            device: FakeModel::new(1, 1, true),
        }
    }

    /// The row after `tokens`, by definition.
    pub(crate) fn row(&self, tokens: &[u32]) -> Vec<f32> {
        let seen = tokens.iter().fold(self.seed, |hash, &token| mix(hash ^ u64::from(token)));
        let logit = |idx: usize| (mix(seen ^ mix(idx as u64)) % 4096) as f32 / 512.0;
        let padding = std::iter::repeat_n(20.0, self.n_padding);
        let row = (0..self.n_vocab).map(logit).chain(padding);
        match self.nan_at == Some(tokens.len() - 1) {
            true => row.map(|_| f32::NAN).collect(),
            false => row.collect(),
        }
    }

    pub(crate) fn hidden(&self, tokens: &[u32]) -> Vec<f32> {
        let n_hidden = self.n_hidden.unwrap_or(0);
        (0..n_hidden).map(|idx| (tokens.len() * 10 + idx) as f32 + self.seed as f32).collect()
    }
}

/// One round of SplitMix64.
pub(crate) fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A text of `n_tokens` below `n_vocab`.
pub(crate) fn text(n_tokens: usize, n_vocab: usize) -> Vec<u32> {
    (0..n_tokens as u64).map(|idx| (mix(idx) % n_vocab as u64) as u32).collect()
}

/// `-ln softmax(row)[token]`, by definition.
pub(crate) fn nll(row: &[f32], token: u32) -> f64 {
    let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
    sum.ln() - f64::from(row[token as usize])
}

/// Smoothing with one gain and nothing else.
pub(crate) fn smoothing(gain: f32) -> Smoothing {
    Smoothing {
        gains: Gains::One(gain),
        scope: Scope::Full,
        gauge: Gauge::Mean,
        reversion: None,
        rescale: Rescale::Off,
    }
}

/// The next row of [`smoothing`], but for a constant; `state` is what it remembers.
pub(crate) fn smooth(state: &mut Option<Vec<f32>>, gain: f32, row: &[f32]) -> Vec<f32> {
    let mean = row.iter().sum::<f32>() / row.len() as f32;
    let centred = row.iter().map(|logit| logit - mean);
    let next: Vec<f32> = match state {
        None => centred.collect(),
        Some(state) => centred.zip(state).map(|(x, s)| *s + gain * (x - *s)).collect(),
    };
    *state = Some(next.clone());
    next
}

/// Never breaks off.
pub(crate) fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Breaks off when so many units are done.
pub(crate) fn stop_after(n: usize) -> impl FnMut(Progress) -> ControlFlow<()> {
    move |progress| match progress.n_done == n {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    }
}

/// Hear of the progress and go on.
pub(crate) fn listen(heard: &mut Vec<Progress>) -> impl FnMut(Progress) -> ControlFlow<()> {
    |progress| {
        heard.push(progress);
        ControlFlow::Continue(())
    }
}

/// Gives a closure the type that the crate asks for.
pub(crate) fn hear(on_progress: OnProgress<'_>) -> OnProgress<'_> {
    on_progress
}

struct HashInference {
    model: HashModel,
    seen: Vec<u32>,
}

impl Model for HashModel {
    fn n_vocab(&self) -> usize {
        self.n_vocab + self.n_padding
    }

    fn n_hidden(&self) -> Option<usize> {
        self.n_hidden
    }

    fn limits(&self) -> Limits {
        Limits {
            n_positions_max: self.n_positions_max,
            n_chunk_tokens_max: self.n_positions_max,
            n_prompt_tokens_max: None,
            n_follow_tokens_max: self.n_positions_max,
            n_scored_tokens_max: self.n_positions_max,
            n_positions_switch: None,
            can_rewind: self.can_rewind,
            can_score: self.can_score,
        }
    }

    fn device_used(&self) -> &Device {
        self.device.device_used()
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown::default()
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        self.n_decoders.fetch_add(1, Ordering::Relaxed);
        let model =
            HashModel { n_decoders: AtomicUsize::new(0), device: self.device.clone(), ..*self };
        let inference = HashInference { model, seen: Vec::new() };
        Ok(Box::new(Sequence::new("hash", self, inference)))
    }
}

impl Inference for HashInference {
    fn run(&mut self, chunk: &mut Chunk<'_>) -> Result<(), Source> {
        let (before, wanted) = chunk.tokens.split_at(chunk.tokens.len() - chunk.n_rows);
        self.seen.extend_from_slice(before);
        for &token in wanted {
            self.seen.push(token);
            let hidden = self.model.hidden(&self.seen);
            chunk.give(&self.model.row(&self.seen), self.model.n_hidden.map(|_| &hidden[..]));
        }
        Ok(())
    }

    fn forget(&mut self, n_positions: usize) -> Result<(), &'static str> {
        if !self.model.can_rewind {
            return Err("made so");
        }
        self.seen.truncate(n_positions);
        Ok(())
    }
}
