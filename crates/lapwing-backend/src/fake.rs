//! A backend without a library, for tests of what stands on the seam.

use lapwing_model::{EncoderOutput, ModelFolder, TokenId};

use crate::{
    Backend, Chunk, Decoder, Device, DeviceError, DeviceKind, Encoder, EncoderShape, Inference,
    Limits, MemoryBreakdown, Model, OpenError, OpenOptions, Sequence, Source, StepError,
};

const NAME: &str = "fake";

/// A backend whose likeliest next token is always the last token plus one.
#[derive(Clone, Copy, Debug)]
pub struct FakeBackend;

/// The model of [`FakeBackend`]; also made directly, without a folder.
#[derive(Clone, Debug)]
pub struct FakeModel {
    n_vocab: usize,
    n_positions_max: usize,
    can_rewind: bool,
    /// As on an NPU, when it is given.
    n_prompt_tokens_max: Option<usize>,
    device: Device,
}

struct FakeInference {
    n_vocab: usize,
    can_rewind: bool,
    logits: Vec<f32>,
}

impl FakeModel {
    /// A model with `n_vocab` tokens and room for `n_positions_max` positions.
    pub fn new(n_vocab: usize, n_positions_max: usize, can_rewind: bool) -> FakeModel {
        let device = Device { kind: DeviceKind::Cpu, id: "FAKE".into(), name: String::new() };
        FakeModel { n_vocab, n_positions_max, can_rewind, n_prompt_tokens_max: None, device }
    }

    /// The same with the fixed sizes of an NPU: prompts up to `n_prompt_tokens_max` start a
    /// sequence, behind them tokens go in one by one.
    #[must_use]
    pub fn with_fixed_prompt(self, n_prompt_tokens_max: usize) -> FakeModel {
        FakeModel { n_prompt_tokens_max: Some(n_prompt_tokens_max), can_rewind: false, ..self }
    }
}

impl Backend for FakeBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn devices(&self) -> Result<Vec<Device>, DeviceError> {
        Ok(vec![FakeModel::new(1, 1, true).device])
    }

    fn open(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
    ) -> Result<Box<dyn Model>, OpenError> {
        if options.hidden_states {
            return Err(OpenError::Unsupported {
                backend: NAME,
                folder: folder.root.clone(),
                reason: "it has no hidden states".to_owned(),
            });
        }
        let n_positions = options.n_positions_max.unwrap_or(folder.architecture.n_positions_max);
        Ok(Box::new(FakeModel::new(folder.architecture.n_vocab, n_positions, true)))
    }
}

impl Model for FakeModel {
    fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    fn limits(&self) -> Limits {
        let n_follow_tokens_max = self.n_prompt_tokens_max.map_or(self.n_positions_max, |_| 1);
        Limits {
            n_positions_max: self.n_positions_max,
            n_chunk_tokens_max: self.n_positions_max,
            n_prompt_tokens_max: self.n_prompt_tokens_max,
            n_follow_tokens_max,
            n_scored_tokens_max: n_follow_tokens_max,
            n_positions_switch: None,
            can_rewind: self.can_rewind,
            can_score: true,
        }
    }

    fn device_used(&self) -> &Device {
        &self.device
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown::default()
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        let (n_vocab, can_rewind) = (self.n_vocab, self.can_rewind);
        let inference = FakeInference { n_vocab, can_rewind, logits: vec![0.0; n_vocab] };
        Ok(Box::new(Sequence::new(NAME, self, inference)))
    }
}

impl Inference for FakeInference {
    fn run(&mut self, chunk: &mut Chunk<'_>) -> Result<(), Source> {
        for &token in &chunk.tokens[chunk.tokens.len() - chunk.n_rows..] {
            // The successor is certain, its successor next likeliest, the rest equal.
            self.logits.fill(0.0);
            self.logits[(token as usize + 2) % self.n_vocab] = 5.0;
            self.logits[(token as usize + 1) % self.n_vocab] = 10.0;
            chunk.give(&self.logits, None);
        }
        Ok(())
    }

    fn forget(&mut self, _: usize) -> Result<(), &'static str> {
        if self.can_rewind { Ok(()) } else { Err("made so") }
    }
}

/// An encoder without a library: the row of a token is its number and 1.
#[derive(Clone, Debug)]
pub struct FakeEncoder {
    shape: EncoderShape,
    device: Device,
}

impl FakeEncoder {
    /// An encoder of `n_vocab` tokens and texts of at most `n_tokens_max`.
    pub fn new(n_vocab: usize, n_tokens_max: usize) -> FakeEncoder {
        let output = EncoderOutput::Tokens("last_hidden_state".to_owned());
        let shape = EncoderShape { n_vocab, n_tokens_max, n_hidden: 2, output };
        FakeEncoder { shape, device: FakeModel::new(1, 1, true).device }
    }
}

impl Encoder for FakeEncoder {
    fn shape(&self) -> &EncoderShape {
        &self.shape
    }

    fn device_used(&self) -> &Device {
        &self.device
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown::default()
    }

    fn encode(&self, tokens: &[TokenId]) -> Result<Vec<f32>, StepError> {
        self.shape.check(tokens)?;
        Ok(tokens.iter().flat_map(|&token| [token as f32, 1.0]).collect())
    }
}
