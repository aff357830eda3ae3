//! The small files beside the weights.

use std::path::Path;

use super::OpenCheckpointError;

/// Read a small JSON file.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(
    path: &Path,
) -> Result<T, OpenCheckpointError> {
    let bytes = read_file(path)?;
    serde_json::from_slice(&bytes).map_err(OpenCheckpointError::read(path))
}

/// Read a small file.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, OpenCheckpointError> {
    std::fs::read(path).map_err(OpenCheckpointError::read(path))
}
