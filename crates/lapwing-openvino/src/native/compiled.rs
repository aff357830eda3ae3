//! A compiled model and the requests that run it.

use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::Arc;

use lapwing_formats::Map;
use openvino_sys::{ov_compiled_model_t, ov_infer_request_t, ov_tensor_t};

use super::{NativeError, Tensor, c_string, check, take_string};

/// A graph compiled for a device. Weights are shared by its requests.
#[derive(Clone, Debug)]
pub(crate) struct CompiledModel(Arc<Compiled>);

/// The library's object, then the weights that it may still read: dropped in this order.
#[derive(Debug)]
struct Compiled {
    pointer: *mut ov_compiled_model_t,
    _weights: Map,
}

/// One execution of a compiled model, with variables of its own: a sequence.
#[derive(Debug)]
pub(crate) struct InferRequest {
    pointer: *mut ov_infer_request_t,
    _model: Arc<Compiled>,
}

// SAFETY: OpenVINO documents `ov::CompiledModel` as thread-safe for making requests.
unsafe impl Send for Compiled {}
// SAFETY: as above.
unsafe impl Sync for Compiled {}
// SAFETY: a request may be used from any thread, one at a time; `&mut self` ensures the latter.
unsafe impl Send for InferRequest {}

impl CompiledModel {
    pub(super) fn own(pointer: *mut ov_compiled_model_t, weights: Map) -> CompiledModel {
        CompiledModel(Arc::new(Compiled { pointer, _weights: weights }))
    }

    /// A property of the compiled model, such as `EXECUTION_DEVICES`.
    pub(crate) fn property(&self, key: &str) -> Result<String, NativeError> {
        const CALL: &str = "asking the compiled model for a property";
        let key = c_string(CALL, key)?;
        let mut value: *mut c_char = ptr::null_mut();
        // SAFETY: the model lives, `key` is a C string, `value` is writable.
        let status = unsafe {
            openvino_sys::ov_compiled_model_get_property(self.0.pointer, key.as_ptr(), &mut value)
        };
        check(CALL, status)?;
        Ok(take_string(value))
    }

    /// A request with fresh variables.
    pub(crate) fn request(&self) -> Result<InferRequest, NativeError> {
        let mut pointer: *mut ov_infer_request_t = ptr::null_mut();
        // SAFETY: the model lives; `pointer` is writable.
        let status = unsafe {
            openvino_sys::ov_compiled_model_create_infer_request(self.0.pointer, &mut pointer)
        };
        check("making a request", status)?;
        Ok(InferRequest { pointer, _model: Arc::clone(&self.0) })
    }
}

impl InferRequest {
    /// Use `tensor` for the input `name`. The library shares the tensor's memory.
    pub(crate) fn set_input(&mut self, name: &CStr, tensor: &Tensor) -> Result<(), NativeError> {
        // SAFETY: request and tensor live; the request shares ownership of the tensor's memory.
        let status = unsafe {
            openvino_sys::ov_infer_request_set_tensor(self.pointer, name.as_ptr(), tensor.pointer())
        };
        check("setting an input", status)
    }

    /// Run once and wait.
    pub(crate) fn infer(&mut self) -> Result<(), NativeError> {
        // SAFETY: the request lives and is used by this thread only.
        let status = unsafe { openvino_sys::ov_infer_request_infer(self.pointer) };
        check("inferring", status)
    }

    /// The output `name` of the last run. Its contents change with the next run.
    pub(crate) fn output(&mut self, name: &CStr) -> Result<Tensor, NativeError> {
        let mut tensor: *mut ov_tensor_t = ptr::null_mut();
        // SAFETY: the request lives; `tensor` is writable.
        let status = unsafe {
            openvino_sys::ov_infer_request_get_tensor(self.pointer, name.as_ptr(), &mut tensor)
        };
        check("reading an output", status)?;
        Ok(Tensor::own(tensor))
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        // SAFETY: made by the library and freed once.
        unsafe { openvino_sys::ov_compiled_model_free(self.pointer) };
    }
}

impl Drop for InferRequest {
    fn drop(&mut self) {
        // SAFETY: made by the library and freed once.
        unsafe { openvino_sys::ov_infer_request_free(self.pointer) };
    }
}
