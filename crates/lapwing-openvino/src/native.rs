//! The part of OpenVINO's C API that Lapwing uses, made safe.
//!
//! The crate `openvino` cannot pass properties to a compilation and zeroes outputs that are not
//! there yet on an NPU, so this layer stands on `openvino-sys`. Every object frees itself; a call
//! that fails gives a [`NativeError`] with the library's own words.
#![allow(unsafe_code, reason = "calls into a C library; each states what makes it sound")]

mod compiled;
mod core;
mod tensor;

use std::ffi::{CStr, CString, c_char};

use openvino_sys::ov_status_e;

pub(crate) use compiled::{CompiledModel, InferRequest};
pub(crate) use core::Core;
pub(crate) use tensor::{Element, Tensor};

/// What OpenVINO said when a call failed.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {message}")]
pub struct NativeError {
    /// What was being done.
    pub call: &'static str,
    /// The library's message, or its status code when it left none.
    pub message: String,
}

/// Turn a status into a result.
fn check(call: &'static str, status: ov_status_e) -> Result<(), NativeError> {
    if status == ov_status_e::OK {
        return Ok(());
    }
    // SAFETY: the library is loaded, for it just returned a status.
    let text = unsafe { openvino_sys::ov_get_last_err_msg() };
    // The library gives a copy of its last message, which the caller owns.
    let said = take_string(text.cast_mut());
    // A status that sets no message leaves that of an earlier failure, so the status is told too.
    let message = match tidy(&said) {
        empty if empty.is_empty() => format!("{status:?}"),
        message => format!("{message} ({status:?})"),
    };
    Err(NativeError { call, message })
}

/// The library's messages carry its source paths, line by line; the reasons are what remains.
fn tidy(said: &str) -> String {
    let is_location = |line: &str| {
        line.starts_with("Exception from src/") || (line.contains(".cpp:") && line.ends_with(':'))
    };
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !is_location(line));
    lines.collect::<Vec<_>>().join("; ")
}

/// A Rust string as a C string; a NUL inside becomes an error instead of a cut.
fn c_string(call: &'static str, text: &str) -> Result<CString, NativeError> {
    CString::new(text).map_err(|_| NativeError { call, message: format!("a NUL byte in {text:?}") })
}

/// Take over a string that the library allocated.
fn take_string(text: *mut c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the library returned a NUL-terminated string that is ours until freed.
    let copy = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: allocated by the library and not used again.
    unsafe { openvino_sys::ov_free(text) };
    copy
}

#[cfg(test)]
mod tests {
    use super::tidy;

    #[test]
    fn messages_lose_source_locations_and_keep_reasons() {
        let said = "Exception from src/inference/src/cpp/core.cpp:90:\n\
                    Check 'x' failed at src/plugins/a.cpp:12:\nDevice with \"TPU\" name is unknown\n";
        assert_eq!(tidy(said), "Device with \"TPU\" name is unknown");
        assert_eq!(tidy("plain"), "plain");
    }
}
