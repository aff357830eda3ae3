//! What somebody asks for when a model is to be opened.

use std::collections::BTreeMap;

use lapwing_backend::{DeviceRequest, OpenOptions, Precision};
use lapwing_model::ModelFolder;
use lapwing_store::{Variant, resolve_model};

use crate::choice::BackendChoice;
use crate::host::Host;
use crate::open_error::{OpenModelError, cannot_open};
use crate::setup::{Setup, open_folder, options_for};

/// Which model to open, and how.
#[derive(Debug, Clone)]
pub struct OpenRequest {
    /// A path, or a name in the store.
    pub model: String,
    /// Which of several graphs of its folder.
    pub variant: Option<Variant>,
    /// Which library runs it.
    pub backend: BackendChoice,
    /// What the library is asked for.
    pub options: OpenOptions,
}

impl OpenRequest {
    /// A model on the device `auto` (NPU, GPU, CPU: see [`Trials::worker`](crate::Trials::worker)), with
    /// the library of its kind; what is compiled for it is kept.
    pub fn of(model: &str, host: &Host) -> OpenRequest {
        let options = OpenOptions {
            device: DeviceRequest::Auto,
            n_threads: None,
            precision: Precision::Fast,
            n_positions_max: None,
            n_chunk_tokens: None,
            hidden_states: false,
            cache_folder: Some(host.compiled_models()),
            n_prompt_tokens_max: None,
            whole_prompts: false,
            properties: BTreeMap::new(),
        };
        let model = model.to_owned();
        OpenRequest { model, variant: None, backend: BackendChoice::Auto, options }
    }

    /// Find the model and what runs it; gives what its folder says, too.
    ///
    /// # Errors
    ///
    /// When the model is not there, is no model, or there is no such backend.
    pub fn settle(&self, host: &Host) -> Result<(Setup, ModelFolder), OpenModelError> {
        let path = resolve_model(&self.model, &host.store).map_err(OpenModelError::Find)?;
        let folder = open_folder(&path, self.variant.as_ref()).map_err(cannot_open)?;
        let runtime = self.backend.runtime_for(folder.kind)?;
        let options = options_for(runtime, &self.options);
        let setup = Setup { path, variant: folder.variant.clone(), runtime, options };
        Ok((setup, folder))
    }
}
