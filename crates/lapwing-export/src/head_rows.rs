//! The output head of the checkpoint that a model was exported from, for the fit of a head map.

use std::path::{Path, PathBuf};

use lapwing_files::checksum::HashError;
use lapwing_formats::{FileChanged, require_unchanged};
use lapwing_weights::{Checkpoint, ReadTensorError};

use crate::recipe::{ReadRecipeError, read_recipe};

/// The weights of an output head, for the tokens of a tokenizer.
#[derive(Debug, Clone)]
pub struct HeadRows {
    /// Row-major. Shapes: `[n_tokens, n_hidden]`.
    pub weights: Vec<f32>,
    /// Number of rows.
    pub n_tokens: usize,
    /// Length of a hidden state.
    pub n_hidden: usize,
}

/// Why no head map can be fitted.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum HeadRowsError {
    /// The checkpoint is of another model.
    #[error(
        "the model was not exported from {}: expected {what} {expected}, found {found}",
        checkpoint.display()
    )]
    Other { checkpoint: PathBuf, what: &'static str, expected: String, found: String },
    /// A map is folded into the model's head: its logits are not those of the checkpoint's head.
    #[error("the output head of {} is corrected already, with map {map_sha256}", model.display())]
    Corrected { model: PathBuf, map_sha256: String },
    /// The model's folder does not tell how it was made.
    #[error(transparent)]
    Recipe(#[from] ReadRecipeError),
    /// The checkpoint cannot be hashed, or the caller wants no more.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The head cannot be read.
    #[error(transparent)]
    Read(#[from] ReadTensorError),
    /// Somebody wrote to the checkpoint meanwhile.
    #[error(transparent)]
    Changed(#[from] FileChanged),
}

impl HeadRows {
    /// The rows of `n_tokens` tokens, when `checkpoint` is the one that the model in the folder
    /// `model` was exported from. Hidden states of the model have `n_hidden` entries, where it gives
    /// any.
    ///
    /// # Errors
    ///
    /// When it is not, when the model's head is corrected already, when a file cannot be read, or
    /// once `is_stopped` says so.
    pub fn of(
        checkpoint: &Checkpoint,
        model: &Path,
        n_hidden: Option<usize>,
        n_tokens: usize,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<HeadRows, HeadRowsError> {
        let require = |what, expected: &dyn ToString, found: &dyn ToString, fits: bool| {
            let checkpoint = checkpoint.path().to_owned();
            let (expected, found) = (expected.to_string(), found.to_string());
            let other = HeadRowsError::Other { checkpoint, what, expected, found };
            if fits { Ok(()) } else { Err(other) }
        };
        let architecture = &checkpoint.architecture;
        let found = architecture.hidden_size;
        let n_hidden = n_hidden.unwrap_or(found);
        require("hidden states of", &n_hidden, &found, n_hidden == found)?;
        let found = architecture.n_vocab;
        require("a vocabulary of", &n_tokens, &found, n_tokens <= found)?;
        if let Some(recipe) = read_recipe(model)? {
            if let Some(map_sha256) = recipe.head_map_sha256 {
                return Err(HeadRowsError::Corrected { model: model.to_owned(), map_sha256 });
            }
            let found = checkpoint.sha256(&mut |_, _| {}, is_stopped)?;
            let expected = recipe.checkpoint_sha256;
            require("sha256", &expected, &found, expected == found)?;
        }
        let weights = checkpoint.head_rows(0..n_tokens)?;
        require_unchanged(checkpoint.path())?;
        Ok(HeadRows { weights, n_tokens, n_hidden })
    }
}
