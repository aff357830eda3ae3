//! The libraries that run models: the place that loads concrete backends.

use lapwing_backend::Backend;
use lapwing_openvino::OpenVinoBackend;
use lapwing_ort::OrtBackend;
use lapwing_store::natives::{LocateError, Runtime, locate};

use crate::host::Host;
use crate::ort_plugin;

/// Why the library of a backend is not there.
#[derive(Debug, thiserror::Error)]
pub enum LoadBackendError {
    /// It is not installed.
    #[error("cannot load the backend")]
    Locate(#[source] LocateError),
    /// ONNX Runtime cannot be loaded, or is too old.
    #[error("cannot load the backend")]
    Ort(#[source] lapwing_ort::LoadError),
    /// OpenVINO cannot be loaded, or is too old.
    #[error("cannot load the backend")]
    OpenVino(#[source] lapwing_openvino::LoadError),
}

/// Load the library of `runtime` into this process.
///
/// # Errors
///
/// When it is not installed, cannot be loaded or is too old.
pub fn load(runtime: Runtime, host: &Host) -> Result<Box<dyn Backend>, LoadBackendError> {
    let located = locate(runtime, &host.store).map_err(LoadBackendError::Locate)?;
    tracing::debug!(library = %located.path.display(), source = ?located.source, "loading");
    Ok(match runtime {
        Runtime::OnnxRuntime => {
            let backend = OrtBackend::load(&located.path).map_err(LoadBackendError::Ort)?;
            Box::new(ort_plugin::with_plugin(backend, host))
        }
        Runtime::OpenVino => {
            let backend = OpenVinoBackend::load(&located.path);
            Box::new(backend.map_err(LoadBackendError::OpenVino)?)
        }
    })
}
