//! `--correct-head`: the head map of a correction profile, for the exporter.

use std::path::{Path, PathBuf};

use lapwing_export::{BodyRecipe, HeadMap};

use crate::correction::read_profile;

/// Why a profile's head map cannot be folded into an export.
#[derive(Debug, thiserror::Error)]
pub enum CorrectHeadError {
    /// The calibration found none that helps.
    #[error("{} holds no head map that may be used: {reason}", path.display())]
    NoHeadMap {
        /// The profile.
        path: PathBuf,
        /// What its gate says.
        reason: String,
    },
    /// Nobody knows which weights the hidden states were made with.
    #[error("{} does not say how its model was exported", path.display())]
    NoRecipe {
        /// The profile.
        path: PathBuf,
    },
    /// What the profile says of its model's export is of another form.
    #[error("{} does not say how its model was exported", path.display())]
    Recipe {
        /// The profile.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
}

/// The head map of the profile at `path`, with the recipe that an export must agree with.
///
/// # Errors
///
/// When the profile cannot be read, holds no head map that its gate lets through, or does not say
/// how its model was exported.
pub(super) fn head_map(path: &Path) -> anyhow::Result<HeadMap> {
    let stored = read_profile(path)?;
    let (profile, path) = (&stored.profile, stored.path.clone());
    let map = stored.head_map()?.filter(|_| profile.gate.open);
    let (Some(recipe), Some(map)) = (&profile.head_map, map) else {
        let reason = profile.gate.reason.clone();
        return Err(CorrectHeadError::NoHeadMap { path, reason }.into());
    };
    let Some(body) = recipe.body_recipe.clone() else {
        return Err(CorrectHeadError::NoRecipe { path }.into());
    };
    let body: BodyRecipe = match serde_json::from_value(body) {
        Ok(body) => body,
        Err(source) => return Err(CorrectHeadError::Recipe { path, source }.into()),
    };
    let (matrix, bias) = (map.matrix.to_vec(), map.bias.to_vec());
    Ok(HeadMap { n_hidden: map.n_hidden, matrix, bias, body: Some(body) })
}
