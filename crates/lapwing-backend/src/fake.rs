//! A backend without a library, for tests of what stands on the seam.

use std::time::Duration;

use lapwing_model::{ModelFolder, TokenId};

use crate::{
    Backend, Decoder, Device, DeviceError, DeviceKind, Limits, MemoryBreakdown, Model, OpenError,
    OpenOptions, RewindError, Row, StepError,
};

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

struct FakeDecoder {
    model: FakeModel,
    n_positions: usize,
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
        "fake"
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
                backend: "fake",
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
        Limits {
            n_positions_max: self.n_positions_max,
            n_chunk_tokens_max: self.n_positions_max,
            n_prompt_tokens_max: self.n_prompt_tokens_max,
            n_follow_tokens_max: self.n_prompt_tokens_max.map_or(self.n_positions_max, |_| 1),
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
        Ok(Box::new(FakeDecoder { model: self.clone(), n_positions: 0 }))
    }
}

impl FakeDecoder {
    fn append(&mut self, tokens: &[TokenId]) -> Result<(), StepError> {
        assert!(!tokens.is_empty(), "a step needs at least one token");
        let n_max = self.model.n_positions_max;
        if n_max < self.n_positions + tokens.len() {
            let n_positions = self.n_positions;
            return Err(StepError::ContextFull { n_positions, n_new: tokens.len(), n_max });
        }
        match self.model.n_prompt_tokens_max {
            Some(n_prompt_tokens_max)
                if self.n_positions == 0 && n_prompt_tokens_max < tokens.len() =>
            {
                let n_tokens = tokens.len();
                return Err(StepError::PromptTooLong { n_tokens, n_prompt_tokens_max });
            }
            _ => {}
        }
        let n_vocab = self.model.n_vocab;
        if let Some(&token) = tokens.iter().find(|&&token| n_vocab <= token as usize) {
            return Err(StepError::NoSuchToken { token, n_vocab });
        }
        self.n_positions += tokens.len();
        Ok(())
    }

    /// The successor is certain, its successor next likeliest, the rest equal.
    fn fill(&self, token: TokenId, logits: &mut [f32]) {
        logits.fill(0.0);
        logits[(token as usize + 2) % self.model.n_vocab] = 5.0;
        logits[(token as usize + 1) % self.model.n_vocab] = 10.0;
    }
}

impl Decoder for FakeDecoder {
    fn step(&mut self, tokens: &[TokenId], logits: &mut [f32]) -> Result<(), StepError> {
        self.append(tokens)?;
        self.fill(tokens[tokens.len() - 1], logits);
        Ok(())
    }

    fn score(&mut self, tokens: &[TokenId], row: &mut dyn FnMut(Row<'_>)) -> Result<(), StepError> {
        self.append(tokens)?;
        let mut logits = vec![0.0; self.model.n_vocab];
        for (token_idx, &token) in tokens.iter().enumerate() {
            self.fill(token, &mut logits);
            row(Row { token_idx, logits: &logits, hidden: None });
        }
        Ok(())
    }

    fn n_positions(&self) -> usize {
        self.n_positions
    }

    fn rewind(&mut self, n_positions: usize) -> Result<(), RewindError> {
        if !self.model.can_rewind {
            return Err(RewindError::Unsupported { backend: "fake", reason: "made so" });
        }
        if self.n_positions < n_positions {
            let n_asked = n_positions;
            return Err(RewindError::Ahead { n_asked, n_positions: self.n_positions });
        }
        self.n_positions = n_positions;
        Ok(())
    }

    fn last_inference(&self) -> Duration {
        Duration::ZERO
    }
}
