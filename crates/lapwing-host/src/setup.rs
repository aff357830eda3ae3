//! Which model is opened, by what and how, settled: what travels to other processes.

use std::path::{Path, PathBuf};

use lapwing_backend::OpenOptions;
use lapwing_model::{ModelFolder, OpenFolderError};
use lapwing_store::Variant;
use lapwing_store::natives::Runtime;
use serde::{Deserialize, Serialize};

/// What opens a model.
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

/// Whether what a library compiles is kept.
pub fn keeps_compiled(runtime: Runtime) -> bool {
    match runtime {
        Runtime::OpenVino => true,
        Runtime::OnnxRuntime => false,
    }
}

/// What a library is asked for.
pub fn options_for(runtime: Runtime, asked: &OpenOptions) -> OpenOptions {
    let cache_folder = asked.cache_folder.clone().filter(|_| keeps_compiled(runtime));
    OpenOptions { cache_folder, ..asked.clone() }
}

/// Read a model folder. A variant that nobody asked for this very model is left out where there is
/// nothing to choose from.
///
/// # Errors
///
/// As [`ModelFolder::open`].
pub fn open_folder(path: &Path, variant: Option<&Variant>) -> Result<ModelFolder, OpenFolderError> {
    match (ModelFolder::open(path, variant.map(|v| v.name.as_str())), variant) {
        (Err(OpenFolderError::OneGraph { .. }), Some(Variant { is_default: true, .. })) => {
            ModelFolder::open(path, None)
        }
        (opened, _) => opened,
    }
}
