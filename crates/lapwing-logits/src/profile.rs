//! Correction profiles: what a calibration found, as bytes in and plain data out.
//!
//! A profile is a JSON object, and its long arrays are a *sidecar*, safetensors bytes. This module
//! must not know files: the caller reads them, and compares hashes with what it is about to run.
//! Both are taken as hostile: every length, shape, number and version is checked, and refused with
//! what was expected and what was found. The JSON carries a checksum of itself and of its sidecar,
//! so that what was changed since the calibration is not applied.
//!
//! One more field: add it to the struct, and raise [`SCHEMA_VERSION`] where an older reader would
//! misunderstand the profile without it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Correction, Gains, Gauge, Levels, Rescale, Scope, Smoothing};

mod arrays;
mod error;
mod findings;
mod sealed;

pub use arrays::{Array, Arrays};
pub use error::{ReadProfileError, WriteProfileError};
pub use findings::{
    BandFinding, ChangeInterval, Diagnostics, Gate, GateRules, RepetitionFinding, TextFinding,
    Verdict,
};

use sealed::Sealed;

/// The version of the schema that is written, and the only one that is read.
pub const SCHEMA_VERSION: u32 = 3;

/// No profile is longer, in bytes: what is long belongs into the sidecar.
pub const PROFILE_BYTES_MAX: usize = 1 << 20;

/// No sidecar is longer, in bytes, whatever the profile says of its arrays: room for the head map
/// of a hidden state of 20000.
pub const SIDECAR_BYTES_MAX: u64 = 2 << 30;

/// What a calibration found about one model on one device.
///
/// Its JSON has one field more, `sha256`, which [`CorrectionProfile::to_json`] adds and
/// [`CorrectionProfile::parse`] checks: of the compact JSON of these fields, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorrectionProfile {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The model that is corrected.
    pub model: ProfiledModel,
    /// The model it was compared with.
    pub reference: Option<ProfiledModel>,
    /// What was read.
    pub texts: Vec<ProfiledText>,
    /// Of everything that was drawn.
    pub seed: u64,
    /// Where the gains come from.
    pub estimator: String,
    /// What tells whether the filter's model fits.
    pub diagnostics: Diagnostics,
    /// Every correction that was judged.
    pub candidates: Vec<Verdict>,
    /// What came of it.
    pub gate: Gate,
    /// What to do at run time.
    pub correction: CorrectionRecipe,
    /// What to fold into the output head at export.
    pub head_map: Option<HeadMapRecipe>,
    /// The file of the arrays.
    pub sidecar: Option<Sidecar>,
}

/// Which model a profile is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfiledModel {
    /// The folder's name.
    pub name: String,
    /// Of the model's files: 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Which library ran it.
    pub backend: String,
    /// What it ran on.
    pub device: String,
    /// Of its weights and arithmetic.
    pub precision: String,
    /// How many tokens it knows.
    pub n_vocab: usize,
}

/// One text that was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfiledText {
    /// What it was for.
    pub role: TextRole,
    /// The file's name.
    pub name: String,
    /// Of the bytes that were read.
    pub sha256: String,
    /// How many bytes.
    pub n_bytes: u64,
    /// How many tokens of the model these are.
    pub n_tokens: u64,
}

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextRole {
    /// To fit.
    Calibration,
    /// To judge: not seen when fitting, of the same domain.
    HeldOut,
    /// To judge: of another domain.
    OtherDomain,
}

/// How to build a [`Correction`]; both `None` is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectionRecipe {
    /// Name of the array of offsets. Shapes: `[n_vocab]`.
    pub offset: Option<String>,
    /// How to smooth.
    pub smoothing: Option<SmoothingRecipe>,
}

/// How to build a [`Smoothing`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmoothingRecipe {
    /// The gains.
    pub gains: GainsRecipe,
    /// As in [`Smoothing`].
    pub scope: Scope,
    /// As in [`Smoothing`].
    pub gauge: Gauge,
    /// Long-term levels.
    pub reversion: Option<ReversionRecipe>,
    /// As in [`Smoothing`].
    pub rescale: Rescale,
}

/// Where gains are. Those of bands are written per token; see [`Diagnostics::bands`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GainsRecipe {
    /// One for all tokens.
    One(f32),
    /// Name of an array. Shapes: `[n_vocab]`.
    Each(String),
}

/// How to build [`Levels`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReversionRecipe {
    /// What of a state is kept from one step to the next.
    pub coefficient: f32,
    /// Name of the array of long-term levels. Shapes: `[n_vocab]`.
    pub levels: String,
}

/// How to build a [`HeadMap`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadMapRecipe {
    /// The length of the hidden state.
    pub n_hidden: usize,
    /// Name of the array of the matrix. Shapes: `[n_hidden, n_hidden]`.
    pub matrix: String,
    /// Name of the array of the constant. Shapes: `[n_hidden]`.
    pub bias: String,
    /// The ridge penalty it was fitted with.
    pub ridge: f64,
    /// How all but the output head was exported, an object, when the model's folder tells: an
    /// export that takes this map must agree.
    pub body_recipe: Option<serde_json::Value>,
}

/// An affine map of the hidden state before the output head: `h' = matrix h + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadMap {
    /// `d`, the length of the hidden state.
    pub n_hidden: usize,
    /// Row-major. Shapes: `[d, d]`.
    pub matrix: Arc<[f32]>,
    /// Shapes: `[d]`.
    pub bias: Arc<[f32]>,
}

/// The file of the arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Its name, in the folder of the profile: no path.
    pub file: String,
    /// Of its bytes.
    pub sha256: String,
    /// Its length.
    pub n_bytes: u64,
}

/// All that is read before the version is known.
#[derive(Deserialize)]
struct Versioned {
    schema_version: u64,
}

impl CorrectionProfile {
    /// Read and check a profile.
    ///
    /// # Errors
    ///
    /// When the bytes are too many, no JSON, of another schema version or not of its form, when a
    /// field is outside its range, or when something was changed after it was written.
    pub fn parse(json: &[u8]) -> Result<CorrectionProfile, ReadProfileError> {
        if PROFILE_BYTES_MAX < json.len() {
            let (expected, found) = (PROFILE_BYTES_MAX, json.len());
            return Err(ReadProfileError::TooLong { expected, found });
        }
        let not_a_profile = |source| ReadProfileError::Json { source };
        // First, since a later version may have any other form.
        let versioned: Versioned = serde_json::from_slice(json).map_err(not_a_profile)?;
        if versioned.schema_version != u64::from(SCHEMA_VERSION) {
            let (expected, found) = (SCHEMA_VERSION, versioned.schema_version);
            return Err(ReadProfileError::Version { expected, found });
        }
        let profile: CorrectionProfile = serde_json::from_slice(json).map_err(not_a_profile)?;
        let sealed: Sealed = serde_json::from_slice(json).map_err(not_a_profile)?;
        // What cannot be is told as such: a checksum says less.
        profile.check()?;
        sealed.check(&profile)?;
        Ok(profile)
    }

    /// The bytes of the profile's file, indented, with a line feed at the end.
    ///
    /// # Errors
    ///
    /// When [`CorrectionProfile::parse`] would refuse them, as with a number that is not finite.
    pub fn to_json(&self) -> Result<Vec<u8>, WriteProfileError> {
        let mut json = sealed::seal(self).map_err(|source| WriteProfileError::Json { source })?;
        json.push(b'\n');
        match CorrectionProfile::parse(&json) {
            Ok(_) => Ok(json),
            Err(source) => Err(WriteProfileError::Refused { source: Box::new(source) }),
        }
    }

    /// Read the bytes of the sidecar; without one there are no arrays.
    ///
    /// # Errors
    ///
    /// When the length is not the one of the profile, or the bytes are not [`Arrays`].
    pub fn arrays(&self, sidecar: Option<&[u8]>) -> Result<Arrays, ReadProfileError> {
        let found = sidecar.map(|bytes| bytes.len() as u64);
        let expected = self.sidecar.as_ref().map(|sidecar| sidecar.n_bytes);
        if found != expected {
            let (expected, found) = (expected.unwrap_or(0), found.unwrap_or(0));
            return Err(ReadProfileError::SidecarLength { expected, found });
        }
        sidecar.map_or_else(|| Ok(Arrays::default()), Arrays::parse)
    }

    /// The correction to apply at run time, if there is one; whether the gate lets it is not asked.
    ///
    /// # Errors
    ///
    /// When an array is missing, of another shape or not finite, or a gain is out of range.
    pub fn correction(&self, arrays: &Arrays) -> Result<Option<Correction>, ReadProfileError> {
        let CorrectionRecipe { offset, smoothing } = &self.correction;
        if offset.is_none() && smoothing.is_none() {
            return Ok(None);
        }
        let n_vocab = self.model.n_vocab;
        let per_token = |name: &String| arrays.finite(name, &[n_vocab]);
        let offset = offset.as_ref().map(per_token).transpose()?;
        let smoothing = match smoothing {
            None => None,
            Some(recipe) => Some(recipe.smoothing(per_token)?),
        };
        let correction = Correction::new(n_vocab, offset, smoothing)
            .map_err(|source| ReadProfileError::Correction { source })?;
        Ok(Some(correction))
    }

    /// The map to fold into the output head, if there is one.
    ///
    /// # Errors
    ///
    /// When an array is missing, of another shape or not finite.
    pub fn head_map(&self, arrays: &Arrays) -> Result<Option<HeadMap>, ReadProfileError> {
        let Some(recipe) = &self.head_map else { return Ok(None) };
        let n_hidden = recipe.n_hidden;
        let matrix = arrays.finite(&recipe.matrix, &[n_hidden, n_hidden])?;
        let bias = arrays.finite(&recipe.bias, &[n_hidden])?;
        Ok(Some(HeadMap { n_hidden, matrix, bias }))
    }

    /// What the arrays that the profile may name take in all, in bytes.
    fn sidecar_bytes_max(&self) -> u64 {
        // Offsets, gains and levels.
        let per_token = 3_u64.saturating_mul(self.model.n_vocab as u64);
        let n_hidden = self.head_map.as_ref().map_or(0, |map| map.n_hidden as u64);
        let of_map = n_hidden.saturating_mul(n_hidden.saturating_add(1));
        let n_data = per_token.saturating_add(of_map).saturating_mul(size_of::<f32>() as u64);
        n_data.saturating_add(arrays::OVERHEAD_BYTES_MAX).min(SIDECAR_BYTES_MAX)
    }

    fn check(&self) -> Result<(), ReadProfileError> {
        for model in [Some(&self.model), self.reference.as_ref()].into_iter().flatten() {
            check_sha256("sha256 of a model", &model.sha256)?;
            check_field("n_vocab", "at least 1", 0 < model.n_vocab, || model.n_vocab.to_string())?;
        }
        for text in &self.texts {
            check_sha256("sha256 of a text", &text.sha256)?;
        }
        if let Some(sidecar) = &self.sidecar {
            check_sha256("sha256 of the sidecar", &sidecar.sha256)?;
            let file = &sidecar.file;
            let plain = !file.is_empty()
                && !file.starts_with('.')
                && !file.contains(['/', '\\', ':', '\0']);
            check_field("file of the sidecar", "a file name without folders", plain, || {
                file.clone()
            })?;
            let fits = sidecar.n_bytes <= self.sidecar_bytes_max();
            check_field("n_bytes of the sidecar", "at most what its arrays take", fits, || {
                sidecar.n_bytes.to_string()
            })?;
        }
        if let Some(recipe) = self.head_map.as_ref().and_then(|map| map.body_recipe.as_ref()) {
            let found = || recipe.to_string();
            check_field("body_recipe of the head map", "an object", recipe.is_object(), found)?;
        }
        let chosen = self.gate.chosen.as_deref();
        let is_candidate = |name| self.candidates.iter().any(|verdict| verdict.name == name);
        let fits = chosen.map_or(!self.gate.open, is_candidate);
        check_field("chosen of the gate", "the name of a candidate when it is open", fits, || {
            chosen.unwrap_or("none").to_owned()
        })
    }
}

impl SmoothingRecipe {
    fn smoothing(
        &self,
        per_token: impl Fn(&String) -> Result<Arc<[f32]>, ReadProfileError>,
    ) -> Result<Smoothing, ReadProfileError> {
        let gains = match &self.gains {
            GainsRecipe::One(gain) => Gains::One(*gain),
            GainsRecipe::Each(name) => Gains::Each(per_token(name)?),
        };
        let reversion = match &self.reversion {
            None => None,
            Some(ReversionRecipe { coefficient, levels }) => {
                Some(Levels { coefficient: *coefficient, levels: per_token(levels)? })
            }
        };
        let SmoothingRecipe { scope, gauge, rescale, .. } = *self;
        Ok(Smoothing { gains, scope, gauge, reversion, rescale })
    }
}

fn check_sha256(field: &'static str, found: &str) -> Result<(), ReadProfileError> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fits = found.len() == 64 && found.bytes().all(is_digit);
    check_field(field, "64 lower-case hexadecimal digits", fits, || found.to_owned())
}

fn check_field(
    field: &'static str,
    expected: &'static str,
    fits: bool,
    found: impl FnOnce() -> String,
) -> Result<(), ReadProfileError> {
    if fits { Ok(()) } else { Err(ReadProfileError::Field { field, expected, found: found() }) }
}
