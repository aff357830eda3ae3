//! The output head of the checkpoint, for the fit of a head map.

use std::path::PathBuf;

use anyhow::Context as _;
use lapwing_eval::{HeadMatrix, HeadMatrixError};
use lapwing_export::read_recipe;
use lapwing_host::Engine;
use lapwing_store::resolve_model;
use lapwing_weights::Checkpoint;

use crate::cli::CalibrateArgs;
use crate::commands::export;
use crate::interrupt;
use crate::settings::Settings;

/// A checkpoint that a model was exported from.
pub(in crate::commands) struct Head {
    checkpoint: Checkpoint,
}

/// The weights of its output head.
pub(in crate::commands) struct Rows {
    weights: Vec<f32>,
    n_tokens: usize,
    n_hidden: usize,
}

/// Why no head map can be fitted.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The checkpoint is of another model.
    #[error(
        "the model was not exported from {}: expected {what} {expected}, found {found}",
        checkpoint.display()
    )]
    Other { checkpoint: PathBuf, what: &'static str, expected: String, found: String },
    /// A map is folded into the model's head: its logits are not those of the checkpoint's head.
    #[error("the output head of {} is corrected already, with map {map_sha256}", model.display())]
    Corrected { model: PathBuf, map_sha256: String },
}

impl Head {
    /// Open the checkpoint that was named, if one was.
    pub(in crate::commands) fn open(
        args: &CalibrateArgs,
        settings: &Settings,
    ) -> anyhow::Result<Option<Head>> {
        let Some(name) = &args.fit.checkpoint else { return Ok(None) };
        let path = export::checkpoint(resolve_model(name, &settings.host.store)?);
        let checkpoint = Checkpoint::open(&path).context("cannot open the checkpoint")?;
        Ok(Some(Head { checkpoint }))
    }

    /// The rows of the tokens, when the checkpoint is the one that `engine` was exported from.
    pub(in crate::commands) fn rows(
        &self,
        engine: &Engine,
        n_tokens: usize,
    ) -> anyhow::Result<Rows> {
        let architecture = &self.checkpoint.architecture;
        let n_hidden = engine.model.n_hidden().unwrap_or(architecture.hidden_size);
        self.require(
            "hidden states of",
            n_hidden,
            architecture.hidden_size,
            n_hidden == architecture.hidden_size,
        )?;
        let has_all = n_tokens <= architecture.n_vocab;
        self.require("a vocabulary of", n_tokens, architecture.n_vocab, has_all)?;
        if let Some(recipe) = read_recipe(&engine.path)? {
            if let Some(map_sha256) = recipe.head_map_sha256 {
                let model = engine.path.clone();
                return Err(CheckpointError::Corrected { model, map_sha256 }.into());
            }
            let found = self.checkpoint.sha256(&mut |_, _| {}, &interrupt::requested);
            interrupt::check()?;
            let (expected, found) = (recipe.checkpoint_sha256, found?);
            let is_same = expected == found;
            self.require("sha256", expected, found, is_same)?;
        }
        let weights = self.checkpoint.head_rows(0..n_tokens)?;
        Ok(Rows { weights, n_tokens, n_hidden })
    }

    fn require(
        &self,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
        fits: bool,
    ) -> Result<(), CheckpointError> {
        if fits {
            return Ok(());
        }
        let checkpoint = self.checkpoint.path().to_owned();
        let (expected, found) = (expected.to_string(), found.to_string());
        Err(CheckpointError::Other { checkpoint, what, expected, found })
    }
}

impl Rows {
    pub(in crate::commands) fn matrix(&self) -> Result<HeadMatrix<'_>, HeadMatrixError> {
        HeadMatrix::new(&self.weights, self.n_tokens, self.n_hidden)
    }
}
