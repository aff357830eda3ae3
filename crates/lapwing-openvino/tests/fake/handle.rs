//! What crosses the C boundary: strings, handles, places for results.
#![allow(unsafe_code, reason = "the C side of the fake")]

use std::ffi::{CStr, CString, c_char};

pub(crate) fn text(pointer: *const c_char) -> String {
    // SAFETY: the C API takes NUL-terminated strings.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// A string that [`ov_free`] takes back.
pub(crate) fn give(text: &str) -> *mut c_char {
    CString::new(text).expect("scripts and messages hold no NUL").into_raw()
}

/// Take back a string that was given.
pub(crate) fn take_back(pointer: *mut c_char) {
    if !pointer.is_null() {
        // SAFETY: made by `give` and not used again.
        drop(unsafe { CString::from_raw(pointer) });
    }
}

/// The object behind a handle.
pub(crate) fn get<'a, T>(handle: *const T) -> &'a T {
    // SAFETY: handles are made by `hand_out` and live until they are freed.
    unsafe { &*handle }
}

/// Write to a place that the caller provides.
pub(crate) fn put<T>(place: *mut T, value: T) {
    // SAFETY: the C API takes places for results that are writable.
    unsafe { place.write(value) };
}

pub(crate) fn hand_out<T>(value: T, place: *mut *mut T) {
    put(place, Box::into_raw(Box::new(value)));
}

pub(crate) fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: made by `hand_out` and freed once.
        drop(unsafe { Box::from_raw(handle) });
    }
}
