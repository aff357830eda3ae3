//! What opens a model, settled: the one struct that travels to other processes.

use std::path::PathBuf;

use lapwing_backend::OpenOptions;
use lapwing_model::{ModelFolder, OpenFolderError};
use lapwing_store::natives::Runtime;
use serde::{Deserialize, Serialize};

/// Which model, by what and how: what travels to a process that opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The model's folder.
    pub path: PathBuf,
    /// Which of its graphs; `None` where there is nothing to choose from.
    pub variant: Option<String>,
    /// The library.
    pub runtime: Runtime,
    /// How.
    pub options: OpenOptions,
}

impl Setup {
    /// Read the model's folder.
    ///
    /// # Errors
    ///
    /// As [`ModelFolder::open`].
    pub fn open_folder(&self) -> Result<ModelFolder, OpenFolderError> {
        ModelFolder::open(&self.path, self.variant.as_deref())
    }
}
