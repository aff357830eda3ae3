//! The seam: tokens in, logits out; or of a text, rows to make an embedding of ([`Encoder`]). One
//! implementation per backend crate.
//!
//! Nothing of ONNX Runtime, OpenVINO or ndarray appears in a signature here. What a backend cannot
//! do is a typed refusal, never a wrong answer. To add a backend: implement [`Backend`], [`Model`]
//! and, for its sequences, [`Inference`] in a crate of its own, whose decoders are then
//! [`Sequence`]s, and run the suite of `conformance` over real exports.

mod encoder;
mod error;
mod fake;
mod options;
mod sequence;

#[cfg(feature = "conformance")]
pub mod conformance;

use std::any::Any;
use std::path::PathBuf;

use lapwing_model::{ModelFolder, TokenId};
use serde::{Deserialize, Serialize};

pub use encoder::{Encoder, EncoderShape, require_encoder_options};
pub use error::{DeviceError, OpenError, RewindError, Source, StepError};
pub use fake::{FakeBackend, FakeEncoder, FakeModel};
pub use options::{
    Device, DeviceKind, DeviceRequest, OpenOptions, ParseDeviceError, ParsePrecisionError,
    Precision,
};
pub use sequence::{Chunk, Inference, Sequence};

/// A library that can run models, such as ONNX Runtime.
pub trait Backend: Send + Sync {
    /// The name used in settings, records and logs.
    fn name(&self) -> &'static str;

    /// The version of the library that does the work.
    fn version(&self) -> String;

    /// The devices this library can use on this machine.
    ///
    /// # Errors
    ///
    /// When the library cannot be asked.
    fn devices(&self) -> Result<Vec<Device>, DeviceError>;

    /// The version of a device's driver; `None` where the library does not tell.
    fn driver(&self, _device: &Device) -> Option<String> {
        None
    }

    /// Load a model on a device.
    ///
    /// # Errors
    ///
    /// When the folder does not fit the backend, the device is not there, or the library refuses
    /// the model. A device is never replaced by another one silently.
    fn open(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
    ) -> Result<Box<dyn Model>, OpenError>;

    /// As [`Backend::open`], and `on_inference` is called before an inference, where opening holds
    /// one: whatever goes wrong from there on went wrong in it.
    ///
    /// # Errors
    ///
    /// As for [`Backend::open`].
    fn open_telling(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
        on_inference: &mut dyn FnMut(),
    ) -> Result<Box<dyn Model>, OpenError> {
        let _ = on_inference;
        self.open(folder, options)
    }

    /// Load a model that gives rows for texts, on the CPU.
    ///
    /// # Errors
    ///
    /// As for [`Backend::open`], and when another device is asked for.
    fn open_encoder(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
    ) -> Result<Box<dyn Encoder>, OpenError> {
        let _ = options;
        let reason = "this backend runs no encoders".to_owned();
        Err(OpenError::Unsupported { backend: self.name(), folder: folder.root.clone(), reason })
    }
}

/// What one position gave while scoring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// The token's place in what was given to [`Decoder::score`].
    pub token_idx: usize,
    /// The logits after that token.
    ///
    /// Shapes: `[n_vocab]`.
    pub logits: &'a [f32],
    /// What went into the output head, after the last norm; only where
    /// [`OpenOptions::hidden_states`] asked for it.
    ///
    /// Shapes: `[n_hidden]`, see [`Model::n_hidden`].
    pub hidden: Option<&'a [f32]>,
}

/// The longest row that a model may have, of logits or of a hidden state. Graphs and manifests
/// claim sizes, and memory is made for a row before the first one comes: sixty times the largest
/// vocabulary that is published is none.
pub const N_ROW_MAX: usize = 1 << 24;

/// A row as long as something claims to be.
///
/// # Errors
///
/// Why there is no such row.
pub fn row_length(claimed: u64) -> Result<usize, String> {
    let length = usize::try_from(claimed).ok().filter(|length| (1..=N_ROW_MAX).contains(length));
    length.ok_or_else(|| format!("expected a length between 1 and {N_ROW_MAX}, found {claimed}"))
}

/// One loaded model. Its weights are shared by all its decoders.
pub trait Model: Send + Sync {
    /// Length of one row of logits, at most [`N_ROW_MAX`].
    fn n_vocab(&self) -> usize;

    /// Length of the hidden states that [`Decoder::score`] gives; `None` when none were asked for.
    fn n_hidden(&self) -> Option<usize> {
        None
    }

    /// What a decoder of this model can do.
    fn limits(&self) -> Limits;

    /// The device that runs the model, as the library reports it.
    fn device_used(&self) -> &Device;

    /// What the model holds in memory.
    fn memory(&self) -> MemoryBreakdown;

    /// How long reading the files into a graph took, before it was compiled; `None` where the
    /// library does both in one call.
    fn read_time(&self) -> Option<std::time::Duration> {
        None
    }

    /// What came of the cache of compiled models; `None` where there is no such cache.
    fn cache_use(&self) -> Option<&CacheUse> {
        None
    }

    /// Start a sequence with no positions.
    ///
    /// # Errors
    ///
    /// When the library cannot make room for one more sequence.
    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError>;

    /// Step several sequences; the result has one entry for each, in order, and what fails for one
    /// is no failure of the others.
    ///
    /// Here they go one after the other. A backend that can run them together finds its own
    /// decoders behind [`Any`], which every decoder is.
    fn step_many(&self, steps: &mut [Step<'_>]) -> Vec<Result<(), StepError>> {
        let step = |step: &mut Step<'_>| step.decoder.step(step.tokens, step.logits);
        steps.iter_mut().map(step).collect()
    }

    /// Whether [`Model::step_many`] takes less time than its steps one after the other.
    fn steps_together(&self) -> bool {
        false
    }
}

/// What one sequence does in [`Model::step_many`]: the arguments of [`Decoder::step`].
pub struct Step<'a> {
    /// A decoder of the model.
    pub decoder: &'a mut dyn Decoder,
    /// The tokens to append.
    pub tokens: &'a [TokenId],
    /// Where the logits of the last one go.
    pub logits: &'a mut [f32],
}

/// One sequence: the positions a model has already seen, as a KV cache. Backends write an
/// [`Inference`] and leave the rest to [`Sequence`].
pub trait Decoder: Any + Send {
    /// Append `tokens` and write the logits of the last one to `logits`.
    ///
    /// Long inputs are split into chunks inside. After a failure of the library the decoder has seen
    /// an unknown part of `tokens`: from then on it refuses everything with [`StepError::Lost`], and
    /// a new one is the way. After any other error it is what it was before.
    ///
    /// Shapes: `tokens [n]` with `1 <= n`, `logits [n_vocab]`.
    ///
    /// # Errors
    ///
    /// When the context is full (nothing was appended then) or the library fails.
    ///
    /// # Panics
    ///
    /// When `tokens` is empty or `logits` has another length than the vocabulary.
    fn step(&mut self, tokens: &[TokenId], logits: &mut [f32]) -> Result<(), StepError>;

    /// As [`Decoder::step`], and `is_wanted` is asked now and then, within an inference where the
    /// library can be broken off in one: on its first `false` the step ends early. What a step that
    /// goes on to its end gives is what [`Decoder::step`] gives.
    ///
    /// # Errors
    ///
    /// As for [`Decoder::step`], and [`StepError::Stopped`]: where that knows no positions, the
    /// decoder is lost as after a failure.
    fn step_while(
        &mut self,
        tokens: &[TokenId],
        logits: &mut [f32],
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<(), StepError> {
        let _ = is_wanted;
        self.step(tokens, logits)
    }

    /// Append `tokens` and give the logits of every one of them to `row`, in order.
    ///
    /// Shapes: `tokens [n]` with `1 <= n`, each row's logits `[n_vocab]`.
    ///
    /// # Errors
    ///
    /// As for [`Decoder::step`], or when the device gives only the last position's logits.
    fn score(&mut self, tokens: &[TokenId], row: &mut dyn FnMut(Row<'_>)) -> Result<(), StepError>;

    /// Number of positions seen; of a decoder that is lost, those before what it was lost in.
    fn n_positions(&self) -> usize;

    /// Forget every position from `n_positions` on.
    ///
    /// # Errors
    ///
    /// When this decoder cannot forget so few or so many positions, or is lost; it is unchanged
    /// then, and a new decoder is the way.
    fn rewind(&mut self, n_positions: usize) -> Result<(), RewindError>;

    /// Time the library spent in its own inference calls during the last `step` or `score`.
    ///
    /// The rest of a step is our work; the profiler shows both.
    fn last_inference(&self) -> std::time::Duration;
}

/// What a decoder can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most positions a sequence can have, prompt and answer together.
    pub n_positions_max: usize,
    /// Most tokens that go into the library at once; longer inputs are chunked.
    pub n_chunk_tokens_max: usize,
    /// Most tokens of a first step; `None` where only the positions limit it.
    pub n_prompt_tokens_max: Option<usize>,
    /// Most tokens that go into the library at once behind others: where it is small, a long
    /// continuation takes longer than to start anew.
    pub n_follow_tokens_max: usize,
    /// Most tokens that go into the library at once where every one's row is wanted.
    pub n_scored_tokens_max: usize,
    /// Positions behind which the model computes all of a sequence otherwise, as LongRoPE does: what
    /// was kept of the positions before does not fit what comes behind. A step over this border
    /// takes in the whole sequence anew.
    pub n_positions_switch: Option<usize>,
    /// Whether [`Decoder::rewind`] can ever succeed.
    pub can_rewind: bool,
    /// Whether [`Decoder::score`] can succeed.
    pub can_score: bool,
}

/// What a model holds in memory, in bytes. `None` where the library does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryBreakdown {
    /// Weight files mapped read-only: shared with the page cache.
    pub weights_mapped_bytes: u64,
    /// KV cache and other state, for one decoder at its present capacity.
    pub state_bytes_per_decoder: Option<u64>,
    /// State of one position.
    pub state_bytes_per_position: Option<u64>,
    /// What this process holds on the device, when that has a count of its own.
    pub device_bytes: Option<u64>,
}

/// What came of the cache of compiled models when a model was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheUse {
    /// Whether the model came out of it.
    pub outcome: CacheOutcome,
    /// The entry's folder, there or not.
    pub folder: PathBuf,
    /// What the entry takes on disk; 0 when there is none.
    pub n_bytes: u64,
}

/// Whether a compiled model came out of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheOutcome {
    /// It did.
    Hit,
    /// It was compiled, and is there for the next time.
    Stored,
    /// What was there could not be used; it was compiled and stored anew.
    Rebuilt {
        /// What was wrong.
        why: String,
    },
    /// It was compiled and could not be kept.
    NotStored {
        /// What stood in the way.
        why: String,
    },
}
