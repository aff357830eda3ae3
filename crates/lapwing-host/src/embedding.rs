//! Texts to vectors: an encoder that is open, with its text side.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lapwing_backend::{Encoder, StepError};
use lapwing_formats::{FileChanged, Watch};
use lapwing_model::{EmbeddingRecipe, EncoderOutput, ModelFolder, TokenId};
use lapwing_store::natives::Runtime;
use lapwing_text::{EncodeError, Tokenizer};

use crate::backends;
use crate::engine::{NoTokenizer, check_vocabulary, watched};
use crate::host::Host;
use crate::model_files::{ModelFiles, folder_name};
use crate::notice::{Caller, Notice};
use crate::open_error::{OpenModelError, cannot_open};
use crate::request::OpenRequest;
use crate::setup::Setup;
use crate::trial::Stage;

/// A model that makes embeddings, ready to run.
pub struct EmbeddingEngine {
    /// Where the model is.
    pub path: PathBuf,
    /// What its folder says.
    pub folder: ModelFolder,
    /// The library that the backend runs on.
    pub runtime: Runtime,
    /// The version of the backend's library.
    pub backend_version: String,
    /// What turns texts into vectors.
    pub embedder: Embedder,
    /// Time from the call to here.
    pub load: Duration,
    /// See [`Engine::require_unchanged`](crate::Engine::require_unchanged).
    _watches: Vec<Watch>,
}

/// What turns texts into vectors.
pub struct Embedder {
    /// Tokens to rows.
    pub encoder: Box<dyn Encoder>,
    /// Text to tokens, when the folder has a tokenizer.
    pub tokenizer: Option<Tokenizer>,
    /// Rows to a vector.
    pub recipe: EmbeddingRecipe,
}

/// Why there is no vector of a text.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum EmbedError {
    /// It is longer than the model takes.
    #[error("text of {n_tokens} tokens is too long: the model takes {n_tokens_max}")]
    TooLong { n_tokens: usize, n_tokens_max: usize },
    /// The model has no tokenizer.
    #[error("cannot read the text: the model has no tokenizer.json")]
    NoTokenizer,
    /// The tokenizer cannot express it.
    #[error("cannot read the text")]
    Text(#[from] EncodeError),
    /// The tokens are none of the model's, or the library fails.
    #[error("cannot make an embedding")]
    Encode(#[from] StepError),
    /// Numbers are missing in what came out.
    #[error("cannot make an embedding: the model gives numbers that are not finite")]
    NotFinite,
}

impl EmbeddingEngine {
    /// Find a model and open it on the CPU.
    ///
    /// # Errors
    ///
    /// When the model or the backend's library is not there or not usable, the model makes no
    /// embeddings, another device is asked for, or the caller wants no more.
    pub fn open(
        host: &Host,
        request: &OpenRequest,
        caller: Caller<'_>,
    ) -> Result<EmbeddingEngine, OpenModelError> {
        let started = Instant::now();
        let (Setup { path, runtime, options, .. }, folder) = request.settle(host)?;
        (caller.begins)(Stage::Files, &path.display().to_string());
        let recipe = EmbeddingRecipe::read(&folder).map_err(cannot_open)?;
        let tokenizer = match &folder.text.tokenizer {
            Some(file) => Some(Tokenizer::open(file).map_err(cannot_open)?),
            None => None,
        };
        if let (Some(tokenizer), Some(file)) = (&tokenizer, &folder.text.tokenizer) {
            check_vocabulary(tokenizer, file, folder.architecture.n_vocab)?;
        }
        let files = ModelFiles::of(&folder);
        let n_file_bytes = files.as_ref().map_or(0, ModelFiles::n_bytes);
        Notice::of_memory(n_file_bytes, &host.allowance)
            .into_iter()
            .for_each(|notice| caller.tell(notice));
        let (watches, unwatched) = watched(files.and_then(|files| files.watch()));
        unwatched.into_iter().for_each(|notice| caller.tell(notice));
        (caller.begins)(Stage::Library, runtime.name());
        let backend = backends::load(runtime, host)?;
        let with = format!("{} {} on cpu", runtime.name(), backend.version());
        (caller.begins)(Stage::Compile, &with);
        let encoder = backend.open_encoder(&folder, &options);
        if encoder.is_err() {
            lapwing_formats::require_unchanged(&folder.graph)?;
        }
        let encoder = encoder.map_err(cannot_open)?;
        (caller.begins)(Stage::Inference, &with);
        let load = started.elapsed();
        tracing::info!(model = %path.display(), backend = backend.name(), ?load, "opened");
        Ok(EmbeddingEngine {
            path,
            folder,
            runtime,
            backend_version: backend.version(),
            embedder: Embedder { encoder, tokenizer, recipe },
            load,
            _watches: watches,
        })
    }

    /// As [`Engine::require_unchanged`](crate::Engine::require_unchanged).
    ///
    /// # Errors
    ///
    /// With the file that was changed.
    pub fn require_unchanged(&self) -> Result<(), FileChanged> {
        lapwing_formats::require_unchanged(&self.folder.graph)
    }

    /// The tokenizer, for whoever was given text.
    ///
    /// # Errors
    ///
    /// When the folder has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, NoTokenizer> {
        let none = || NoTokenizer { folder: self.folder.root.clone() };
        self.embedder.tokenizer.as_ref().ok_or_else(none)
    }

    /// The name of the model's folder, which is its name in the store too.
    pub fn name(&self) -> String {
        folder_name(&self.path, &self.folder)
    }
}

impl Embedder {
    /// Most tokens of a text, those included that the tokenizer puts around it.
    pub fn n_tokens_max(&self) -> usize {
        self.encoder.shape().n_tokens_max.min(self.recipe.n_tokens_max)
    }

    /// The tokens of a text, with those that the tokenizer puts around it.
    ///
    /// # Errors
    ///
    /// When there is no tokenizer, or it cannot express the text.
    pub fn tokens(&self, text: &str) -> Result<Vec<TokenId>, EmbedError> {
        Ok(self.tokenizer.as_ref().ok_or(EmbedError::NoTokenizer)?.encode(text, true)?)
    }

    /// The same of as much of the text's beginning as fits.
    ///
    /// # Errors
    ///
    /// As for [`Embedder::tokens`].
    pub fn tokens_that_fit(&self, text: &str) -> Result<Vec<TokenId>, EmbedError> {
        let whole = self.tokens(text)?;
        let n_max = self.n_tokens_max();
        if whole.len() <= n_max {
            return Ok(whole);
        }
        let tokenizer = self.tokenizer.as_ref().ok_or(EmbedError::NoTokenizer)?;
        let around = around(&whole, &tokenizer.encode(text, false)?);
        let (before, within, behind) = around.unwrap_or((&[], &whole, &[]));
        let n_within = n_max.saturating_sub(before.len() + behind.len());
        let kept = [before, &within[..n_within.min(within.len())], behind].concat();
        Ok(kept)
    }

    /// The vector of a text by its tokens, of length 1 if `is_unit`.
    ///
    /// Shapes: the result `[n_hidden]`.
    ///
    /// # Errors
    ///
    /// When there are too many tokens, or one is none of the model's, or the library fails.
    pub fn embed(&self, tokens: &[TokenId], is_unit: bool) -> Result<Vec<f32>, EmbedError> {
        let (n_tokens, n_tokens_max) = (tokens.len(), self.n_tokens_max());
        if n_tokens_max < n_tokens {
            return Err(EmbedError::TooLong { n_tokens, n_tokens_max });
        }
        let shape = self.encoder.shape();
        let rows = self.encoder.encode(tokens)?;
        // Before they are pooled: the largest of some numbers passes NaN over.
        if !rows.iter().all(|number| number.is_finite()) {
            return Err(EmbedError::NotFinite);
        }
        let mut vector = match shape.output {
            EncoderOutput::Tokens(_) => self.recipe.pooling.pool(&rows, shape.n_hidden),
            EncoderOutput::Pooled(_) => rows,
        };
        if !vector.iter().all(|number| number.is_finite()) {
            return Err(EmbedError::NotFinite);
        }
        if is_unit {
            make_unit(&mut vector);
        }
        Ok(vector)
    }
}

/// Give a vector length 1, if it has any.
pub fn make_unit(vector: &mut [f32]) {
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length != 0.0 {
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

/// What stands before and behind `within` in `whole`, with it.
fn around<'a>(
    whole: &'a [TokenId],
    within: &[TokenId],
) -> Option<(&'a [TokenId], &'a [TokenId], &'a [TokenId])> {
    let n_around = whole.len().checked_sub(within.len())?;
    let n_before = (0..=n_around).find(|&n| whole[n..].starts_with(within))?;
    let (before, rest) = whole.split_at(n_before);
    let (within, behind) = rest.split_at(within.len());
    Some((before, within, behind))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lapwing_backend::FakeEncoder;
    use lapwing_model::Pooling;

    use super::*;

    fn embedder(n_tokens_max: usize, pooling: Pooling) -> Embedder {
        let file = "../lapwing-ort/tests/data/tiny-encoder/tokenizer.json";
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        Embedder {
            encoder: Box::new(FakeEncoder::new(12, 16)),
            tokenizer: Some(Tokenizer::open(&file).unwrap()),
            recipe: EmbeddingRecipe { pooling, is_said: true, n_tokens_max },
        }
    }

    #[test]
    fn a_text_is_cut_within_what_stands_around_it() {
        let check = |n_tokens_max: usize, text: &str, expected: &[TokenId]| {
            let embedder = embedder(n_tokens_max, Pooling::Mean);
            assert_eq!(embedder.tokens_that_fit(text).unwrap(), expected, "{n_tokens_max}");
            embedder.embed(expected, true).unwrap();
        };
        check(16, "the cats sat", &[2, 7, 4, 6, 8, 3]);
        check(6, "the cats sat", &[2, 7, 4, 6, 8, 3]);
        check(5, "the cats sat", &[2, 7, 4, 6, 3]);
        check(3, "the cats sat", &[2, 7, 3]);
        let embedder = embedder(5, Pooling::Mean);
        let refused = embedder.embed(&embedder.tokens("the cats sat").unwrap(), true).unwrap_err();
        assert!(matches!(refused, EmbedError::TooLong { n_tokens: 6, n_tokens_max: 5 }));
    }

    #[test]
    fn rows_are_pooled_and_given_length_1_where_it_is_asked_for() {
        // Rows of a token are the token and 1.
        let check = |pooling: Pooling, is_unit: bool, expected: [f32; 2]| {
            let vector = embedder(8, pooling).embed(&[2, 5, 5], is_unit).unwrap();
            assert_eq!(vector, expected, "{pooling}");
        };
        check(Pooling::Mean, false, [4.0, 1.0]);
        check(Pooling::First, false, [2.0, 1.0]);
        check(Pooling::Max, false, [5.0, 1.0]);
        check(Pooling::First, true, [2.0 / 5_f32.sqrt(), 1.0 / 5_f32.sqrt()]);
        let error = embedder(8, Pooling::Mean).embed(&[], true).unwrap_err();
        assert!(matches!(error, EmbedError::Encode(StepError::NoTokens)));
        let mut nothing = [0.0; 2];
        make_unit(&mut nothing);
        assert_eq!(nothing, [0.0; 2]);
    }
}
