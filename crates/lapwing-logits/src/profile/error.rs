//! Why a profile cannot be read or written.

use crate::CorrectionError;

/// A profile or its sidecar that cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadProfileError {
    /// No profile is that long.
    #[error("a correction profile of {found} bytes: expected at most {expected}")]
    TooLong { expected: usize, found: usize },
    /// The bytes are no JSON, or not of the form of a profile.
    #[error("not a correction profile")]
    Json { source: serde_json::Error },
    /// Written by a version that this one cannot understand.
    #[error("a correction profile of schema version {found}: expected {expected}")]
    Version { expected: u32, found: u64 },
    /// A field that cannot be.
    #[error("{field} in the correction profile is {found:?}: expected {expected}")]
    Field { field: &'static str, expected: &'static str, found: String },
    /// The fields are not those that the checksum was made of.
    #[error(
        "the correction profile was changed after it was written: expected sha256 {expected}, \
         found {found}"
    )]
    Changed { expected: String, found: String },
    /// A sidecar that was cut off, exchanged or left away.
    #[error("a sidecar of {found} bytes: expected {expected}")]
    SidecarLength { expected: u64, found: u64 },
    /// A header of the sidecar that is longer than the names of a few arrays need.
    #[error("a sidecar with a header of {found} bytes: expected at most {expected}")]
    HeaderLength { expected: u64, found: u64 },
    /// The header of the sidecar is not one of safetensors.
    #[error("the sidecar is not safetensors")]
    Header { source: serde_json::Error },
    /// The sidecar does not hold an array that is needed.
    #[error("array {array:?} is not in the sidecar")]
    MissingArray { array: String },
    /// An array of other numbers.
    #[error("array {array:?} in the sidecar is of type {found}: expected {expected}")]
    ArrayType { array: String, expected: &'static str, found: String },
    /// An array of another shape.
    #[error("array {array:?} in the sidecar has shape {found:?}: expected {expected:?}")]
    ArrayShape { array: String, expected: Vec<usize>, found: Vec<usize> },
    /// An array with NaN or an infinity.
    #[error("array {array:?} in the sidecar holds {found} at {index}: expected finite numbers")]
    NotFinite { array: String, index: usize, found: f32 },
    /// The parts do not make a correction.
    #[error("the correction profile describes no correction")]
    Correction { source: CorrectionError },
}

/// A profile or arrays that cannot be written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WriteProfileError {
    /// Something in it has no JSON.
    #[error("cannot write the correction profile as json")]
    Json { source: serde_json::Error },
    /// What was written would not be read.
    #[error("the correction profile would not be read again")]
    Refused { source: Box<ReadProfileError> },
    /// The arrays have no safetensors.
    #[error("cannot write the arrays of the correction profile")]
    Arrays { source: safetensors::SafeTensorError },
}
