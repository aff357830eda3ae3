//! How an exported folder was made: `lapwing_export.json`.
//!
//! A head map is fitted to the hidden states of one body, the model without its output head. The
//! recipe tells whether another export has the same body.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use lapwing_files::regular;
use lapwing_model::Transformer;
use serde::{Deserialize, Serialize};

use crate::error::ExportError;
use crate::target::Target;

/// The file's name in an exported folder.
pub const RECIPE_FILE: &str = "lapwing_export.json";

/// No recipe is longer, in bytes.
const RECIPE_BYTES_MAX: u64 = 1 << 20;

/// How a folder was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Of the program that wrote it.
    pub lapwing_version: String,
    /// Of the checkpoint's weight files; see `Checkpoint::sha256` of `lapwing-weights`.
    pub checkpoint_sha256: String,
    /// Which kind of folder.
    pub target: Target,
    /// Precision of the projections, as [`crate::Precision`] shows itself.
    pub weights: String,
    /// Precision of the embedding.
    pub embedding: String,
    /// Precision of the output head.
    pub head: String,
    /// The plan's exceptions: pattern and precision.
    pub per_tensor: BTreeMap<String, String>,
    /// [`crate::HeadMap::sha256`] of the map that is folded into the head.
    pub head_map_sha256: Option<String>,
}

/// The part of a recipe that decides about hidden states: all but the output head and the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyRecipe {
    /// See [`Recipe::checkpoint_sha256`].
    pub checkpoint_sha256: String,
    /// See [`Recipe::target`].
    pub target: Target,
    /// See [`Recipe::weights`].
    pub weights: String,
    /// See [`Recipe::embedding`].
    pub embedding: String,
    /// See [`Recipe::per_tensor`]; without an exception for the output head alone.
    pub per_tensor: BTreeMap<String, String>,
}

/// Why a recipe could not be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadRecipeError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file is too long for a recipe.
    #[error("{}: expected a recipe of at most {expected} bytes, found more", path.display())]
    TooLong { path: PathBuf, expected: u64 },
    /// The file is no JSON of the right form.
    #[error("{} is no recipe of an export", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    /// A hash is none.
    #[error(
        "{}: {field}: expected 64 lower-case hexadecimal digits, found {found:?}",
        path.display()
    )]
    Sha256 { path: PathBuf, field: &'static str, found: String },
}

/// Read how the folder at `folder` was exported; `None` when Lapwing did not export it, or did so
/// before it wrote recipes.
///
/// # Errors
///
/// When the file is there and cannot be read, is too long, or is no recipe.
pub fn read_recipe(folder: &Path) -> Result<Option<Recipe>, ReadRecipeError> {
    let path = folder.join(RECIPE_FILE);
    let mut bytes = Vec::new();
    let read = regular::open(&path)
        .and_then(|file| file.take(RECIPE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ReadRecipeError::Read { path, source }),
    }
    if RECIPE_BYTES_MAX < bytes.len() as u64 {
        return Err(ReadRecipeError::TooLong { path, expected: RECIPE_BYTES_MAX });
    }
    let recipe: Recipe = match serde_json::from_slice(&bytes) {
        Ok(recipe) => recipe,
        Err(source) => return Err(ReadRecipeError::Json { path, source }),
    };
    let hashes = [
        ("checkpoint_sha256", Some(&recipe.checkpoint_sha256)),
        ("head_map_sha256", recipe.head_map_sha256.as_ref()),
    ];
    for (field, hash) in hashes {
        if let Some(found) = hash.filter(|hash| !is_sha256(hash)) {
            return Err(ReadRecipeError::Sha256 { path, field, found: found.clone() });
        }
    }
    Ok(Some(recipe))
}

fn is_sha256(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(is_digit)
}

impl Recipe {
    /// What decides about hidden states.
    pub fn body(&self) -> BodyRecipe {
        let mut per_tensor = self.per_tensor.clone();
        per_tensor.remove(Transformer::HEAD);
        BodyRecipe {
            checkpoint_sha256: self.checkpoint_sha256.clone(),
            target: self.target,
            weights: self.weights.clone(),
            embedding: self.embedding.clone(),
            per_tensor,
        }
    }

    /// The contents of [`RECIPE_FILE`].
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("strings and maps of strings have a JSON")
    }
}

impl BodyRecipe {
    /// Refuse an export whose hidden states are others than those of `self`.
    pub(crate) fn check(&self, export: &BodyRecipe) -> Result<(), ExportError> {
        let parts: [(&'static str, String, String); 5] = [
            ("checkpoint", self.checkpoint_sha256.clone(), export.checkpoint_sha256.clone()),
            ("target", self.target.name().to_owned(), export.target.name().to_owned()),
            ("precision of the weights", self.weights.clone(), export.weights.clone()),
            ("precision of the embedding", self.embedding.clone(), export.embedding.clone()),
            ("precision by tensor", listed(&self.per_tensor), listed(&export.per_tensor)),
        ];
        match parts.into_iter().find(|(_, expected, found)| expected != found) {
            Some((what, expected, found)) => Err(ExportError::OtherBody { what, expected, found }),
            None => Ok(()),
        }
    }
}

fn listed(per_tensor: &BTreeMap<String, String>) -> String {
    let entries: Vec<String> =
        per_tensor.iter().map(|(name, precision)| format!("{name}: {precision}")).collect();
    if entries.is_empty() { "no exception".to_owned() } else { entries.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn recipe() -> String {
        format!(
            r#"{{"lapwing_version":"0.1.0","checkpoint_sha256":"{SHA256}","target":"onnx",
            "weights":"f32","embedding":"f32","head":"f32","per_tensor":{{"a":"f16"}},
            "head_map_sha256":null}}"#
        )
    }

    fn read(bytes: &[u8]) -> Result<Option<Recipe>, ReadRecipeError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(RECIPE_FILE), bytes).unwrap();
        read_recipe(folder.path())
    }

    #[test]
    fn hostile_recipes_are_refused() {
        let check = |text: &str, expected: &str| {
            let error = read(text.as_bytes()).expect_err(expected);
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let message = format!("{error}: {}", cause.unwrap_or_default());
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        };
        let recipe = recipe();
        assert_eq!(read(recipe.as_bytes()).unwrap().unwrap().per_tensor["a"], "f16");
        for end in 0..recipe.len() {
            check(&recipe[..end], "no recipe of an export");
        }
        check(&recipe.replace("\"onnx\"", "\"gguf\""), "unknown variant `gguf`");
        check(&recipe.replace("\"f16\"", "[[]]"), "invalid type");
        check(&recipe.replace("\"head\"", "\"hed\""), "unknown field `hed`");
        check(&recipe.replace("aabb", "AABB"), "checkpoint_sha256: expected 64 lower-case");
        check(&recipe.replace("null", "\"0\""), "head_map_sha256: expected 64 lower-case");
        check(&"[".repeat(100_000), "no recipe of an export");
        check(&" ".repeat(2 << 20), "expected a recipe of at most 1048576 bytes");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(RECIPE_FILE)).unwrap();
        let error = read_recipe(folder.path()).unwrap_err();
        assert!(matches!(error, ReadRecipeError::Read { .. }), "{error}");
    }
}
