//! A compiled model and the requests that run it.

use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::Arc;

use lapwing_formats::Map;
use openvino_sys::{ov_compiled_model_t, ov_infer_request_t, ov_status_e, ov_tensor_t};

use super::{NativeError, Tensor, c_string, check, take_string};

/// How often a run that may be broken off is looked after, in milliseconds.
const POLL_MS: i64 = 10;

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

    /// Run once as long as it is wanted, which is asked every [`POLL_MS`]; a run that is not is
    /// broken off between two operations of the graph, where the device can do that, and is an
    /// error. The variables are of no use then.
    pub(crate) fn infer_while(
        &mut self,
        is_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<(), NativeError> {
        const CALL: &str = "inferring";
        // SAFETY: the request lives and is used by this thread only, but for the library's own run.
        let status = unsafe { openvino_sys::ov_infer_request_start_async(self.pointer) };
        check(CALL, status)?;
        loop {
            // SAFETY: as above; a request that runs may be waited for.
            let status = unsafe { openvino_sys::ov_infer_request_wait_for(self.pointer, POLL_MS) };
            match status {
                ov_status_e::RESULT_NOT_READY => {}
                ov_status_e::OK => return Ok(()),
                failed => {
                    // SAFETY: as above. It may be the waiting that failed, and the run goes on.
                    unsafe { openvino_sys::ov_infer_request_wait(self.pointer) };
                    return check(CALL, failed);
                }
            }
            if !is_wanted() {
                break;
            }
        }
        // SAFETY: as above; a request that runs may be cancelled.
        let cancelled = unsafe { openvino_sys::ov_infer_request_cancel(self.pointer) };
        // SAFETY: as above. Whatever came of cancelling, nothing of the request is touched before
        // the library's run is over.
        let status = unsafe { openvino_sys::ov_infer_request_wait(self.pointer) };
        check(CALL, status)?;
        check("cancelling", cancelled)
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
