//! `--correct-head`: the head map of a correction profile, for the exporter.

use std::path::{Path, PathBuf};

use lapwing_export::{BodyRecipe, HeadMap};
use lapwing_host::correction::{ProfileError, find_on_any_device, read_profile};

/// Why a profile's head map cannot be folded into an export.
#[derive(Debug, thiserror::Error)]
pub enum CorrectHeadError {
    /// There is no such profile, or it cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The calibration found nothing that helps.
    #[error("{} holds no head map that may be used: its gate is closed: {reason}", path.display())]
    GateClosed { path: PathBuf, reason: String },
    /// What helped is no head map.
    #[error("{} holds no head map: its gate let through {chosen} only", path.display())]
    NoHeadMap { path: PathBuf, chosen: String },
    /// Nobody knows which weights the hidden states were made with.
    #[error("{} does not say how its model was exported", path.display())]
    NoRecipe { path: PathBuf },
    /// What the profile says of its model's export is of another form.
    #[error("{} does not say how its model was exported", path.display())]
    Recipe { path: PathBuf, source: serde_json::Error },
}

/// The head map of the profile `name`, a path or a name in the profiles folder, with the recipe
/// that an export must agree with.
///
/// # Errors
///
/// When the profile is not there or cannot be read, holds no head map that its gate lets through,
/// or does not say how its model was exported.
pub(super) fn head_map(name: &str, profiles: &Path) -> Result<HeadMap, CorrectHeadError> {
    let stored = read_profile(&find_on_any_device(name, profiles)?)?;
    let (profile, path) = (&stored.profile, stored.path.clone());
    if !profile.gate.open {
        let reason = profile.gate.reason.clone();
        return Err(CorrectHeadError::GateClosed { path, reason });
    }
    let (Some(recipe), Some(map)) = (&profile.head_map, stored.head_map()?) else {
        let chosen = profile.gate.chosen.clone().unwrap_or_default();
        return Err(CorrectHeadError::NoHeadMap { path, chosen });
    };
    let Some(body) = recipe.body_recipe.clone() else {
        return Err(CorrectHeadError::NoRecipe { path });
    };
    let body: BodyRecipe = match serde_json::from_value(body) {
        Ok(body) => body,
        Err(source) => return Err(CorrectHeadError::Recipe { path, source }),
    };
    let (matrix, bias) = (map.matrix.to_vec(), map.bias.to_vec());
    Ok(HeadMap { n_hidden: map.n_hidden, matrix, bias, body: Some(body) })
}
