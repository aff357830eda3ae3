//! Loading the library, and choosing among the devices that it finds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapwing_backend::{
    Backend, Device, DeviceError, DeviceKind, DeviceRequest, Encoder, Model, OpenError,
    OpenOptions, require_encoder_options,
};
use lapwing_model::{FolderKind, ModelFolder};

use crate::NAME;
use crate::device;
use crate::encoder::OpenVinoEncoder;
use crate::model::OpenVinoModel;
use crate::native::{Core, NativeError};
use crate::npu;

/// The oldest release whose C API passes properties to a compilation: year and minor number.
pub const VERSION_MIN: (u32, u32) = (2026, 4);

/// OpenVINO, loaded into this process.
#[derive(Clone, Debug)]
pub struct OpenVinoBackend {
    core: Arc<Core>,
    version: String,
}

/// Why the library could not be loaded.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum LoadError {
    /// The file is no library, or one that it needs is missing.
    #[error("cannot load OpenVINO from {}", library.display())]
    Library { library: PathBuf, source: NativeError },
    /// The library is too old.
    #[error(
        "OpenVINO {found} in {} is too old: at least {}.{} is needed",
        library.display(), VERSION_MIN.0, VERSION_MIN.1
    )]
    TooOld { library: PathBuf, found: String },
}

impl OpenVinoBackend {
    /// Load `libopenvino_c` from the file `library`. A process loads one OpenVINO; later calls
    /// use the first one, whatever their path.
    ///
    /// # Errors
    ///
    /// When the file cannot be loaded or is too old.
    pub fn load(library: &Path) -> Result<OpenVinoBackend, LoadError> {
        let failed = |source| LoadError::Library { library: library.to_owned(), source };
        let build = Core::load(library).map_err(failed)?;
        let version = build.split('-').next().unwrap_or_default().to_owned();
        if year_and_minor(&version).is_none_or(|found| found < VERSION_MIN) {
            return Err(LoadError::TooOld { library: library.to_owned(), found: version });
        }
        let core = Arc::new(Core::new().map_err(failed)?);
        Ok(OpenVinoBackend { core, version })
    }

    /// The device that a request means. `auto` is the CPU: who tries one device after the other asks
    /// for each by its name.
    fn choose(&self, requested: DeviceRequest) -> Result<Device, OpenError> {
        let (kind, number) = match requested {
            DeviceRequest::Auto => return Ok(device::cpu(&self.core)),
            // A plugin of another device that fails must not stand in the way of these.
            DeviceRequest::One(DeviceKind::Cpu, None | Some(0)) => {
                return Ok(device::cpu(&self.core));
            }
            DeviceRequest::One(DeviceKind::NpuOnCpu, _) => return Ok(npu::on_cpu()),
            DeviceRequest::One(kind, number) => (kind, number),
        };
        let devices = self.devices().map_err(|error| OpenError::NoDevice {
            backend: NAME,
            requested,
            offered: format!("nothing that it can list ({})", with_causes(&error)),
        })?;
        let is_meant = |device: &&Device| {
            let found = device.id.split_once('.').map_or(0, |(_, n)| n.parse().unwrap_or(0));
            device.kind == kind && number.is_none_or(|number| number == found)
        };
        devices.iter().find(is_meant).cloned().ok_or_else(|| {
            let ids: Vec<&str> = devices.iter().map(|device| device.id.as_str()).collect();
            OpenError::NoDevice { backend: NAME, requested, offered: ids.join(", ") }
        })
    }
}

impl Backend for OpenVinoBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn devices(&self) -> Result<Vec<Device>, DeviceError> {
        device::list(&self.core)
            .map_err(|source| DeviceError { backend: NAME, source: source.into() })
    }

    fn driver(&self, device: &Device) -> Option<String> {
        device::driver(&self.core, device)
    }

    fn open(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
    ) -> Result<Box<dyn Model>, OpenError> {
        self.open_telling(folder, options, &mut || {})
    }

    fn open_telling(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
        on_inference: &mut dyn FnMut(),
    ) -> Result<Box<dyn Model>, OpenError> {
        require_ir(folder)?;
        let device = self.choose(options.device)?;
        let core = match device.kind {
            DeviceKind::NpuOnCpu => npu::core_on_cpu().map_err(|error| OpenError::Refused {
                backend: NAME,
                version: self.version.clone(),
                model: folder.root.clone(),
                device: device.id.clone(),
                source: error.into(),
            })?,
            _ => Arc::clone(&self.core),
        };
        let library = (&core, self.version.as_str());
        let model = OpenVinoModel::open(library, folder, options, device, on_inference)?;
        Ok(Box::new(model))
    }

    fn open_encoder(
        &self,
        folder: &ModelFolder,
        options: &OpenOptions,
    ) -> Result<Box<dyn Encoder>, OpenError> {
        require_ir(folder)?;
        require_encoder_options(NAME, folder, options)?;
        let library = (&*self.core, self.version.as_str());
        let device = device::cpu(&self.core);
        Ok(Box::new(OpenVinoEncoder::open(library, folder, options, device)?))
    }
}

fn require_ir(folder: &ModelFolder) -> Result<(), OpenError> {
    match folder.kind {
        FolderKind::OpenVinoIr => Ok(()),
        FolderKind::OnnxGenai | FolderKind::TransformersJs => Err(OpenError::WrongKind {
            backend: NAME,
            kind: folder.kind.name(),
            folder: folder.root.clone(),
        }),
    }
}

fn with_causes(error: &DeviceError) -> String {
    format!("{error}: {}", error.source)
}

fn year_and_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{OpenVinoBackend, VERSION_MIN, year_and_minor};

    #[test]
    fn versions_compare_by_year_then_minor() {
        assert!(year_and_minor("2026.4.1").is_some_and(|found| VERSION_MIN <= found));
        assert!(year_and_minor("2026.3.0").is_some_and(|found| found < VERSION_MIN));
        assert_eq!(year_and_minor("unknown"), None);
    }

    #[test]
    fn a_missing_library_is_an_error_that_names_it() {
        let error = OpenVinoBackend::load("/no/such/libopenvino_c.so".as_ref()).unwrap_err();
        assert_eq!(error.to_string(), "cannot load OpenVINO from /no/such/libopenvino_c.so");
    }
}
