//! Loading the library.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lapwing_backend::{
    Backend, Device, DeviceError, DeviceKind, DeviceRequest, Model, OpenError, OpenOptions,
};
use lapwing_model::{FolderKind, ModelFolder};
use ort::environment::Environment;

use crate::model::OrtModel;

/// The oldest release that works: the minor number of 1.x. The first with 8-bit MatMulNBits.
pub const VERSION_MIN: u32 = 22;

/// The name of this backend in settings, records and errors.
pub(crate) const NAME: &str = "ort";

/// The one environment that ONNX Runtime allows a process.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// ONNX Runtime, loaded into this process.
#[derive(Clone)]
pub struct OrtBackend {
    environment: Environment,
    version: String,
}

/// Why the library could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is no ONNX Runtime, or one that it needs is missing.
    #[error("cannot load ONNX Runtime from {}: no such library, or not ONNX Runtime 1.x", library.display())]
    NotARuntime {
        /// The library's file.
        library: PathBuf,
    },
    /// The library is too old.
    #[error(
        "ONNX Runtime 1.{found} in {} is too old: at least 1.{VERSION_MIN} is needed",
        library.display()
    )]
    TooOld {
        /// The library's file.
        library: PathBuf,
        /// Its minor version.
        found: u32,
    },
    /// The library was loaded and did not start.
    #[error("cannot start ONNX Runtime from {}", library.display())]
    Start {
        /// The library's file.
        library: PathBuf,
        /// What the library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OrtBackend {
    /// Load ONNX Runtime from the file `library`. A process loads one; later calls use the first
    /// one, whatever their path.
    ///
    /// # Errors
    ///
    /// When the file cannot be loaded or is too old.
    pub fn load(library: &Path) -> Result<OrtBackend, LoadError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| LoadError::Start {
            library: library.to_owned(),
            source,
        };
        let mut shared = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_none() {
            let Some(minor) = ort::util::probe(library) else {
                return Err(LoadError::NotARuntime { library: library.to_owned() });
            };
            if minor < VERSION_MIN {
                return Err(LoadError::TooOld { library: library.to_owned(), found: minor });
            }
            let builder = ort::init_from(library).map_err(|error| failed(error.into()))?;
            let environment = builder.with_name("lapwing").with_telemetry(false).build();
            *shared = Some(environment.map_err(|error| failed(error.into()))?);
        }
        let environment = shared.clone().expect("set above");
        Ok(OrtBackend { environment, version: version() })
    }
}

/// The library's version, out of its build information.
fn version() -> String {
    let info = ort::info();
    let number = info.split(|c: char| !c.is_ascii_digit() && c != '.').find(|part| {
        part.split('.').count() == 3 && part.split('.').all(|number| !number.is_empty())
    });
    number.unwrap_or(info).to_owned()
}

impl Backend for OrtBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn devices(&self) -> Result<Vec<Device>, DeviceError> {
        Ok(vec![cpu()])
    }

    fn open(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
    ) -> Result<Box<dyn Model>, OpenError> {
        if folder.kind == FolderKind::OpenVinoIr {
            return Err(OpenError::WrongKind {
                backend: NAME,
                kind: folder.kind.name(),
                folder: folder.root.clone(),
            });
        }
        match options.device {
            DeviceRequest::Auto | DeviceRequest::One(DeviceKind::Cpu, None | Some(0)) => {}
            requested @ DeviceRequest::One(..) => {
                let offered = cpu().id;
                return Err(OpenError::NoDevice { backend: NAME, requested, offered });
            }
        }
        let model = OrtModel::open(&self.environment, &self.version, folder, options, cpu())?;
        Ok(Box::new(model))
    }
}

fn cpu() -> Device {
    Device { kind: DeviceKind::Cpu, id: "CPU".to_owned(), name: String::new() }
}
