//! The seam of models that read a text at once and give rows for it: embeddings are made of those.

use lapwing_model::{EncoderOutput, ModelFolder, TokenId};

use crate::{
    Device, DeviceKind, DeviceRequest, MemoryBreakdown, OpenError, OpenOptions, StepError,
};

/// One loaded model that gives rows for a text. It keeps nothing between two texts.
///
/// A text goes in alone: in a batch texts of other lengths are padded, and where a graph quantises
/// activations over all that goes in, its neighbours would change a text's numbers.
pub trait Encoder: Send + Sync {
    /// What goes in and comes out.
    fn shape(&self) -> &EncoderShape;

    /// The device that runs the model, as the library reports it.
    fn device_used(&self) -> &Device;

    /// What the model holds in memory.
    fn memory(&self) -> MemoryBreakdown;

    /// The rows of a text. Calls from several threads take turns.
    ///
    /// Shapes: `tokens [n]`, with those that the tokenizer puts around a text; the result
    /// `[n, n_hidden]`, or `[n_hidden]` where the graph pools them.
    ///
    /// # Errors
    ///
    /// When the text has no tokens, more than fit, or one that is not of the vocabulary, or the library
    /// fails.
    fn encode(&self, tokens: &[TokenId]) -> Result<Vec<f32>, StepError>;
}

/// What goes into an encoder and comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderShape {
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// Most tokens of a text.
    pub n_tokens_max: usize,
    /// Length of a row, at most [`N_ROW_MAX`](crate::N_ROW_MAX).
    pub n_hidden: usize,
    /// What is used of the graph.
    pub output: EncoderOutput,
}

/// Refuse what no encoder is opened with: other devices than the CPU, and what is told a library in its
/// own words.
///
/// # Errors
///
/// With what was asked for.
pub fn require_encoder_options(
    backend: &'static str,
    folder: &ModelFolder,
    options: &OpenOptions,
) -> Result<(), OpenError> {
    let reason = match (options.device, options.properties.keys().next()) {
        (DeviceRequest::Auto | DeviceRequest::One(DeviceKind::Cpu, None | Some(0)), None) => {
            return Ok(());
        }
        (DeviceRequest::Auto | DeviceRequest::One(DeviceKind::Cpu, _), Some(name)) => {
            format!("property {name} is not free: embeddings are made with the library's own")
        }
        (device, _) => format!("embeddings are made on the CPU, not on `{device}`"),
    };
    Err(OpenError::Unsupported { backend, folder: folder.root.clone(), reason })
}

impl EncoderShape {
    /// Numbers that come out of a text of `n_tokens`.
    pub fn n_numbers(&self, n_tokens: usize) -> usize {
        match self.output {
            EncoderOutput::Tokens(_) => n_tokens.saturating_mul(self.n_hidden),
            EncoderOutput::Pooled(_) => self.n_hidden,
        }
    }

    /// Refuse what no graph should be given.
    ///
    /// # Errors
    ///
    /// As for [`Encoder::encode`].
    pub fn check(&self, tokens: &[TokenId]) -> Result<(), StepError> {
        let EncoderShape { n_vocab, n_tokens_max, .. } = *self;
        if tokens.is_empty() {
            return Err(StepError::NoTokens);
        }
        if n_tokens_max < tokens.len() {
            let n_tokens = tokens.len();
            return Err(StepError::ContextFull {
                n_positions: 0,
                n_new: n_tokens,
                n_max: n_tokens_max,
            });
        }
        match tokens.iter().find(|&&token| n_vocab <= token as usize) {
            Some(&token) => Err(StepError::NoSuchToken { token, n_vocab }),
            None => Ok(()),
        }
    }
}
