//! The entry object of the library: devices, reading and compiling.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr;
use std::time::{Duration, Instant};

use lapwing_formats::Map;
use openvino_sys::{
    ov_available_devices_t, ov_compiled_model_t, ov_core_t, ov_model_t, ov_property_t, ov_tensor_t,
    ov_version_t,
};

use super::{CompiledModel, NativeError, Tensor, c_string, check, take_string};

/// Devices and compilation.
#[derive(Debug)]
pub(crate) struct Core {
    pointer: *mut ov_core_t,
}

// SAFETY: OpenVINO documents `ov::Core` as thread-safe; the pointer is only read.
unsafe impl Send for Core {}
// SAFETY: as above.
unsafe impl Sync for Core {}

type Texts = Vec<(CString, CString)>;

fn properties_as_c(
    call: &'static str,
    properties: &[(&str, String)],
) -> Result<Texts, NativeError> {
    let text = |(key, value): &(&str, String)| Ok((c_string(call, key)?, c_string(call, value)?));
    properties.iter().map(text).collect()
}

/// The same as the library takes them, as long as the texts live.
fn as_pointers(texts: &Texts) -> Vec<ov_property_t> {
    let pointers = |(key, value): &(CString, CString)| ov_property_t {
        key: key.as_ptr(),
        value: value.as_ptr().cast::<c_void>(),
    };
    texts.iter().map(pointers).collect()
}

impl Core {
    /// Load the library at `path` and read its build number, such as `2026.4.1-22982-…`.
    pub(crate) fn load(path: &Path) -> Result<String, NativeError> {
        openvino_sys::library::load_from(path)
            .map_err(|message| NativeError { call: "loading the library", message })?;
        let mut version = ov_version_t { buildNumber: ptr::null(), description: ptr::null() };
        // SAFETY: the library is loaded; `version` is writable.
        let status = unsafe { openvino_sys::ov_get_openvino_version(&mut version) };
        check("asking for the version", status)?;
        // SAFETY: on success the field is a C string.
        let text = unsafe { CStr::from_ptr(version.buildNumber) }.to_string_lossy().into_owned();
        // SAFETY: filled by the library and freed once.
        unsafe { openvino_sys::ov_version_free(&mut version) };
        Ok(text)
    }

    /// The entry object; the library must be loaded.
    pub(crate) fn new() -> Result<Core, NativeError> {
        let mut pointer: *mut ov_core_t = ptr::null_mut();
        // SAFETY: `pointer` is writable.
        let status = unsafe { openvino_sys::ov_core_create(&mut pointer) };
        check("starting OpenVINO", status)?;
        Ok(Core { pointer })
    }

    /// Ids of the devices that are there, such as `CPU`, `GPU.0`, `NPU`.
    pub(crate) fn device_ids(&self) -> Result<Vec<String>, NativeError> {
        let mut list = ov_available_devices_t { devices: ptr::null_mut(), size: 0 };
        // SAFETY: the core lives; `list` is writable.
        let status =
            unsafe { openvino_sys::ov_core_get_available_devices(self.pointer, &mut list) };
        check("listing devices", status)?;
        let mut ids = Vec::with_capacity(list.size);
        for device_idx in 0..list.size {
            // SAFETY: the library says that the array has `size` entries.
            let entry = unsafe { list.devices.add(device_idx) };
            // SAFETY: the entry is inside the array.
            let text = unsafe { *entry };
            // SAFETY: each entry is a C string that lives as long as the list.
            ids.push(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned());
        }
        // SAFETY: filled by the library, freed once, the texts were copied.
        unsafe { openvino_sys::ov_available_devices_free(&mut list) };
        Ok(ids)
    }

    /// A property of a device, such as `FULL_DEVICE_NAME`.
    pub(crate) fn property(&self, device: &str, key: &str) -> Result<String, NativeError> {
        const CALL: &str = "asking a device for a property";
        let (device, key) = (c_string(CALL, device)?, c_string(CALL, key)?);
        let mut value: *mut c_char = ptr::null_mut();
        // SAFETY: the core lives, both texts are C strings, `value` is writable.
        let status = unsafe {
            openvino_sys::ov_core_get_property(
                self.pointer,
                device.as_ptr(),
                key.as_ptr(),
                &mut value,
            )
        };
        check(CALL, status)?;
        Ok(take_string(value))
    }

    /// Set properties of a device, for all that is compiled for it or comes out of a cache.
    pub(crate) fn set(
        &self,
        device: &str,
        properties: &[(&str, String)],
    ) -> Result<(), NativeError> {
        const CALL: &str = "setting properties of a device";
        let device = c_string(CALL, device)?;
        let texts = properties_as_c(CALL, properties)?;
        let properties = as_pointers(&texts);
        // SAFETY: the core lives; the properties are C strings that outlive the call.
        let status = unsafe {
            openvino_sys::ov_core_set_properties(
                self.pointer,
                device.as_ptr(),
                properties.len(),
                properties.as_ptr(),
            )
        };
        check(CALL, status)
    }

    /// Read a graph given as XML text over mapped weights, and compile it for a device. The
    /// compiled model keeps the map alive.
    pub(crate) fn compile(
        &self,
        xml: &str,
        weights: &Map,
        device: &str,
        properties: &[(&str, String)],
    ) -> Result<(CompiledModel, Duration), NativeError> {
        let started = Instant::now();
        let model = self.read(xml, &Tensor::over_weights(weights)?)?;
        let read = started.elapsed();
        const CALL: &str = "compiling";
        let device = c_string(CALL, device)?;
        let texts = properties_as_c(CALL, properties)?;
        let properties = as_pointers(&texts);
        let mut compiled: *mut ov_compiled_model_t = ptr::null_mut();
        // SAFETY: core and model live; the properties are C strings that outlive the call.
        let status = unsafe {
            openvino_sys::ov_core_compile_model_props(
                self.pointer,
                model.0,
                device.as_ptr(),
                properties.len(),
                properties.as_ptr(),
                &mut compiled,
            )
        };
        check(CALL, status)?;
        Ok((CompiledModel::own(compiled, weights.clone()), read))
    }

    fn read(&self, xml: &str, weights: &Tensor) -> Result<Model, NativeError> {
        const CALL: &str = "reading the graph";
        let text = c_string(CALL, xml)?;
        let weights: *const ov_tensor_t = weights.pointer();
        let mut model: *mut ov_model_t = ptr::null_mut();
        // SAFETY: the core and the weights live; `text` has `xml.len()` bytes before its NUL.
        let status = unsafe {
            openvino_sys::ov_core_read_model_from_memory_buffer(
                self.pointer,
                text.as_ptr(),
                xml.len(),
                weights,
                &mut model,
            )
        };
        check(CALL, status)?;
        Ok(Model(model))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // SAFETY: made by the library and freed once.
        unsafe { openvino_sys::ov_core_free(self.pointer) };
    }
}

/// A graph before compilation.
struct Model(*mut ov_model_t);

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: made by the library and freed once.
        unsafe { openvino_sys::ov_model_free(self.0) };
    }
}
