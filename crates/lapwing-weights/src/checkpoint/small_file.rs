//! The small files beside the weights.

use std::path::Path;

use lapwing_files::regular;
use lapwing_model::TOKENIZER_BYTES_MAX;

use super::OpenCheckpointError;

/// Read a small JSON file.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(
    path: &Path,
) -> Result<T, OpenCheckpointError> {
    let bytes = read_file(path)?;
    lapwing_model::parse_json(&bytes).map_err(OpenCheckpointError::read(path))
}

/// Read a small file.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, OpenCheckpointError> {
    regular::read(path, TOKENIZER_BYTES_MAX).map_err(OpenCheckpointError::read(path))
}
