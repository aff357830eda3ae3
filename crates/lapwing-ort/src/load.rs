//! Loading the library.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lapwing_backend::{
    Backend, Device, DeviceError, DeviceKind, DeviceRequest, Encoder, Model, OpenError,
    OpenOptions, require_encoder_options,
};
use lapwing_model::{FolderKind, ModelFolder};
use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::NAME;
use crate::encoder::OrtEncoder;
use crate::model::OrtModel;
use crate::plugin::{self, Plugin, PluginModel};

/// The oldest release that works: the minor number of 1.x. The first with 8-bit MatMulNBits.
pub const VERSION_MIN: u32 = 22;

/// The one environment that ONNX Runtime allows a process.
static LOADED: Mutex<Option<OrtBackend>> = Mutex::new(None);

/// ONNX Runtime, loaded into this process.
#[derive(Clone)]
pub struct OrtBackend {
    environment: Environment,
    version: String,
    plugin: Option<PathBuf>,
}

/// Why the library could not be loaded.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum LoadError {
    /// The file is no ONNX Runtime, or one that it needs is missing.
    #[error("cannot load ONNX Runtime from {}: no such library, or not ONNX Runtime 1.x", library.display())]
    NotARuntime { library: PathBuf },
    /// The library is too old.
    #[error(
        "ONNX Runtime 1.{found} in {} is too old: at least 1.{VERSION_MIN} is needed",
        library.display()
    )]
    TooOld { library: PathBuf, found: u32 },
    /// The library was loaded and did not start.
    #[error("cannot start ONNX Runtime from {}", library.display())]
    Start { library: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
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
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backend) = &*loaded {
            return Ok(backend.clone());
        }
        let Some(minor) = ort::util::probe(library) else {
            return Err(LoadError::NotARuntime { library: library.to_owned() });
        };
        if minor < VERSION_MIN {
            return Err(LoadError::TooOld { library: library.to_owned(), found: minor });
        }
        let builder = ort::init_from(library).map_err(|error| failed(error.into()))?;
        // What goes wrong comes back as an error; the library's own log is for debugging.
        let log = |level: LogLevel, category: &str, _: &str, place: &str, message: &str| {
            tracing::debug!(?level, category, place, "{message}");
        };
        let builder = builder.with_name("lapwing").with_telemetry(false);
        let environment = builder.with_logger(std::sync::Arc::new(log)).build();
        let environment = environment.map_err(|error| failed(error.into()))?;
        let backend = OrtBackend { environment, version: version(library, minor), plugin: None };
        *loaded = Some(backend.clone());
        Ok(backend)
    }

    /// The same with the OpenVINO plugin in the file `library`, which brings Intel GPUs. It is
    /// loaded when a device is first asked for; one that cannot be loaded brings none.
    #[must_use]
    pub fn with_plugin(self, library: &Path) -> OrtBackend {
        OrtBackend { plugin: Some(library.to_owned()), ..self }
    }

    /// What comes of the plugin; it is loaded now, if it was not.
    pub fn plugin(&self) -> Plugin {
        match &self.plugin {
            Some(library) => Plugin::load(&self.environment, library),
            None => Plugin::Absent,
        }
    }

    #[cfg(test)]
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The plugin's GPUs; none without a plugin.
    fn gpus(&self) -> Vec<plugin::PluginDevice> {
        match self.plugin() {
            Plugin::Loaded { .. } => plugin::gpus(&self.environment),
            Plugin::Absent | Plugin::Refused { .. } => Vec::new(),
        }
    }

    fn open_on_plugin(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
    ) -> Result<Box<dyn Model>, OpenError> {
        let requested = options.device;
        if let (
            DeviceRequest::One(DeviceKind::Npu, _),
            Plugin::Loaded { offers_npu: true, version, .. },
        ) = (requested, self.plugin())
        {
            let version = version.unwrap_or_default();
            let reason = format!("the OpenVINO plugin {version} gives wrong logits on an NPU");
            return Err(OpenError::Unsupported {
                backend: NAME,
                folder: folder.root.clone(),
                reason,
            });
        }
        let gpus = self.gpus();
        let chosen = match requested {
            DeviceRequest::One(DeviceKind::Gpu, number) => {
                gpus.get(number.map_or(0, |number| number as usize))
            }
            _ => None,
        };
        let Some(gpu) = chosen else {
            let ids: Vec<String> = std::iter::once(cpu())
                .chain(gpus.into_iter().map(|gpu| gpu.device))
                .map(|device| device.id)
                .collect();
            return Err(OpenError::NoDevice { backend: NAME, requested, offered: ids.join(", ") });
        };
        let model =
            PluginModel::open(&self.environment, &self.version, folder, options, gpu.clone())?;
        Ok(Box::new(model))
    }
}

/// The library's version. It tells the minor number; the patch is in the file's name, or unknown.
fn version(library: &Path, minor: u32) -> String {
    let real = library.canonicalize().unwrap_or_else(|_| library.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let known = format!("1.{minor}");
    match name.find(&format!("{known}.")) {
        Some(start) => {
            let end = name[start..].find(|c: char| !c.is_ascii_digit() && c != '.');
            name[start..end.map_or(name.len(), |n| start + n)].trim_end_matches('.').to_owned()
        }
        None => known,
    }
}

impl Backend for OrtBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn devices(&self) -> Result<Vec<Device>, DeviceError> {
        Ok(std::iter::once(cpu()).chain(self.gpus().into_iter().map(|gpu| gpu.device)).collect())
    }

    fn open(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
    ) -> Result<Box<dyn Model>, OpenError> {
        require_onnx(folder)?;
        match options.device {
            DeviceRequest::Auto | DeviceRequest::One(DeviceKind::Cpu, None | Some(0)) => {}
            DeviceRequest::One(..) => return self.open_on_plugin(folder, options),
        }
        // ONNX Runtime takes whatever a session is told and does not say what it knows.
        if let Some(name) = options.properties.keys().next() {
            return Err(OpenError::Unsupported {
                backend: NAME,
                folder: folder.root.clone(),
                reason: format!("property {name} is of OpenVINO, which does not run it here"),
            });
        }
        let model = OrtModel::open(&self.environment, &self.version, folder, options, cpu())?;
        Ok(Box::new(model))
    }

    fn open_encoder(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
    ) -> Result<Box<dyn Encoder>, OpenError> {
        require_onnx(folder)?;
        require_encoder_options(NAME, folder, options)?;
        let encoder = OrtEncoder::open(&self.environment, &self.version, folder, options, cpu())?;
        Ok(Box::new(encoder))
    }
}

fn require_onnx(folder: &ModelFolder) -> Result<(), OpenError> {
    match folder.kind {
        FolderKind::OnnxGenai | FolderKind::TransformersJs => Ok(()),
        FolderKind::OpenVinoIr => Err(OpenError::WrongKind {
            backend: NAME,
            kind: folder.kind.name(),
            folder: folder.root.clone(),
        }),
    }
}

fn cpu() -> Device {
    Device { kind: DeviceKind::Cpu, id: "CPU".to_owned(), name: String::new() }
}

#[cfg(test)]
mod tests {
    use super::{OrtBackend, version};

    #[test]
    fn the_patch_number_comes_from_the_files_name() {
        let check = |name: &str, expected| assert_eq!(version(name.as_ref(), 31), expected);
        check("/x/libonnxruntime.so.1.31.1", "1.31.1");
        check("/x/onnxruntime-1.31.2.dll", "1.31.2");
        check("/x/libonnxruntime.so", "1.31");
        check("/x/libonnxruntime.so.1.9.0", "1.31");
    }

    #[test]
    fn a_missing_library_is_an_error_that_names_it() {
        let Err(error) = OrtBackend::load("/no/such/libonnxruntime.so".as_ref()) else {
            panic!("there is no such library")
        };
        assert!(error.to_string().contains("/no/such/libonnxruntime.so"), "{error}");
    }
}
