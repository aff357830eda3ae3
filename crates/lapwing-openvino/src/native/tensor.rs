//! Memory that is shared with the library.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::{ptr, slice};

use lapwing_formats::Map;
use openvino_sys::{ov_element_type_e, ov_shape_t, ov_tensor_t};

use super::{NativeError, check};

/// A typed, shaped block of memory.
#[derive(Debug)]
pub(crate) struct Tensor {
    pointer: *mut ov_tensor_t,
}

// SAFETY: a tensor is a reference to memory that no thread is tied to; it is not `Sync`.
unsafe impl Send for Tensor {}

/// A Rust type that stands for an element type of the library.
pub(crate) trait Element: Copy {
    /// The library's name of it.
    const TYPE: ov_element_type_e;
}

impl Element for f32 {
    const TYPE: ov_element_type_e = ov_element_type_e::F32;
}
impl Element for half::bf16 {
    const TYPE: ov_element_type_e = ov_element_type_e::BF16;
}
impl Element for half::f16 {
    const TYPE: ov_element_type_e = ov_element_type_e::F16;
}
impl Element for i64 {
    const TYPE: ov_element_type_e = ov_element_type_e::I64;
}
impl Element for i32 {
    const TYPE: ov_element_type_e = ov_element_type_e::I32;
}
impl Element for u8 {
    const TYPE: ov_element_type_e = ov_element_type_e::U8;
}

impl Tensor {
    pub(super) fn own(pointer: *mut ov_tensor_t) -> Tensor {
        Tensor { pointer }
    }

    pub(super) fn pointer(&self) -> *const ov_tensor_t {
        self.pointer
    }

    /// Memory of the library's own, not initialised.
    pub(crate) fn new<T: Element>(dims: &[usize]) -> Result<Tensor, NativeError> {
        let mut dims = signed(dims);
        let mut pointer: *mut ov_tensor_t = ptr::null_mut();
        // SAFETY: the shape's dims outlive the call, which copies them; `pointer` is writable.
        let status =
            unsafe { openvino_sys::ov_tensor_create(T::TYPE, shape(&mut dims), &mut pointer) };
        check("making a tensor", status)?;
        Ok(Tensor { pointer })
    }

    /// A tensor over a mapped file. Neither it nor what is compiled from it copies the bytes, so
    /// the map must outlive both; [`super::Core::compile`] sees to that.
    pub(super) fn over_weights(weights: &Map) -> Result<Tensor, NativeError> {
        if weights.is_empty() {
            return Tensor::new::<u8>(&[0]);
        }
        let mut dims = signed(&[weights.len()]);
        let mut pointer: *mut ov_tensor_t = ptr::null_mut();
        let data = weights.as_ptr().cast_mut().cast::<c_void>();
        // SAFETY: `weights` is readable for its length; weights are constants and never written.
        let status = unsafe {
            openvino_sys::ov_tensor_create_from_host_ptr(
                u8::TYPE,
                shape(&mut dims),
                data,
                &mut pointer,
            )
        };
        check("making a tensor over the weights", status)?;
        Ok(Tensor { pointer })
    }

    /// Change the shape; what was written before is lost when memory grows.
    pub(crate) fn set_shape(&mut self, dims: &[usize]) -> Result<(), NativeError> {
        let mut dims = signed(dims);
        // SAFETY: the tensor lives; the shape's dims outlive the call, which copies them.
        let status = unsafe { openvino_sys::ov_tensor_set_shape(self.pointer, shape(&mut dims)) };
        check("reshaping a tensor", status)
    }

    /// Write every element, in order, as far as `values` go.
    ///
    /// # Errors
    ///
    /// When the tensor's element type is another.
    pub(crate) fn write<T: Element>(
        &mut self,
        values: impl Iterator<Item = T>,
    ) -> Result<(), NativeError> {
        let (data, n_elements) = self.parts(T::TYPE)?;
        let data = data.cast::<MaybeUninit<T>>();
        // SAFETY: the library says that the memory holds so many elements of this type, aligned for
        // it; they need not be initialised, and `&mut self` keeps other accesses away.
        let elements = unsafe { slice::from_raw_parts_mut(data, n_elements) };
        for (element, value) in elements.iter_mut().zip(values) {
            element.write(value);
        }
        Ok(())
    }

    /// The elements, for reading.
    ///
    /// # Errors
    ///
    /// When the tensor's element type is another.
    pub(crate) fn read<T: Element>(&self) -> Result<&[T], NativeError> {
        let (data, n_elements) = self.parts(T::TYPE)?;
        // SAFETY: the library says that the memory holds so many elements of this type, and an
        // output is wholly written by the run before; the request that fills it is not running, for
        // running one needs `&mut` on the decoder that holds both.
        Ok(unsafe { slice::from_raw_parts(data.cast::<T>(), n_elements) })
    }

    /// The size of the last axis; 1 for a number without axes.
    pub(crate) fn last_dim(&self) -> Result<usize, NativeError> {
        const CALL: &str = "asking a tensor for its shape";
        let mut shape = ov_shape_t { rank: 0, dims: ptr::null_mut() };
        // SAFETY: the tensor lives; `shape` is writable.
        let status = unsafe { openvino_sys::ov_tensor_get_shape(self.pointer, &mut shape) };
        check(CALL, status)?;
        let n_axes = usize::try_from(shape.rank).unwrap_or(0);
        let last = match n_axes.checked_sub(1).filter(|_| !shape.dims.is_null()) {
            None => 1,
            Some(axis_idx) => {
                // SAFETY: the library says that there are so many sizes.
                let place = unsafe { shape.dims.add(axis_idx) };
                // SAFETY: the place is inside the array.
                unsafe { place.read() }
            }
        };
        // SAFETY: filled by the library and freed once.
        unsafe { openvino_sys::ov_shape_free(&mut shape) };
        usize::try_from(last).map_err(|_| NativeError {
            call: CALL,
            message: format!("expected the size of an axis, found {last}"),
        })
    }

    fn parts(&self, expected: ov_element_type_e) -> Result<(*mut c_void, usize), NativeError> {
        const CALL: &str = "reading a tensor";
        let mut found = ov_element_type_e::DYNAMIC;
        // SAFETY: the tensor lives; `found` is writable.
        let status = unsafe { openvino_sys::ov_tensor_get_element_type(self.pointer, &mut found) };
        check(CALL, status)?;
        if found != expected {
            let message = format!("expected elements of {expected:?}, found {found:?}");
            return Err(NativeError { call: CALL, message });
        }
        let mut n_elements = 0;
        // SAFETY: the tensor lives; `n_elements` is writable.
        let status = unsafe { openvino_sys::ov_tensor_get_size(self.pointer, &mut n_elements) };
        check(CALL, status)?;
        let mut data: *mut c_void = ptr::null_mut();
        // SAFETY: the tensor lives; `data` is writable.
        let status = unsafe { openvino_sys::ov_tensor_data(self.pointer, &mut data) };
        check(CALL, status)?;
        if data.is_null() || n_elements == 0 {
            return Ok((ptr::NonNull::<u64>::dangling().as_ptr().cast(), 0));
        }
        Ok((data, n_elements))
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: made by the library and freed once.
        unsafe { openvino_sys::ov_tensor_free(self.pointer) };
    }
}

fn signed(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|&dim| i64::try_from(dim).expect("a length in memory fits an i64")).collect()
}

fn shape(dims: &mut [i64]) -> ov_shape_t {
    ov_shape_t { rank: dims.len() as i64, dims: dims.as_mut_ptr() }
}
