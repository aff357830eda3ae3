//! Tensors and the functions over them.
#![allow(unsafe_code, reason = "the C side of the fake")]

use std::ffi::c_void;
use std::slice;
use std::sync::{Arc, Mutex};

use crate::handle::{free, get, hand_out, put};
use crate::{OK, Status, lock};

const F32: u32 = 4;
const I32: u32 = 9;
const I64: u32 = 10;

#[repr(C)]
struct Shape {
    rank: i64,
    dims: *mut i64,
}

/// Memory with a type and a shape. Requests share the tensors that they are given.
pub(crate) type Tensor = Arc<Mutex<TensorParts>>;

pub(crate) struct TensorParts {
    element: u32,
    dims: Vec<usize>,
    memory: Memory,
}

enum Memory {
    /// Of words, so that every type is aligned.
    Own(Vec<u64>),
    Host(*mut u8),
}

// SAFETY: host memory is the caller's, who keeps it alive and lets no two threads write.
unsafe impl Send for TensorParts {}

impl TensorParts {
    /// As an IR writes it.
    pub(crate) fn element_name(&self) -> &'static str {
        match self.element {
            I32 => "i32",
            I64 => "i64",
            F32 => "f32",
            _ => "another",
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    pub(crate) fn data(&mut self) -> *mut u8 {
        match &mut self.memory {
            Memory::Own(words) => words.as_mut_ptr().cast(),
            Memory::Host(pointer) => *pointer,
        }
    }

    fn fit(&mut self) {
        let n_bytes = self.len() * element_size(self.element);
        if let Memory::Own(words) = &mut self.memory {
            words.resize(n_bytes.div_ceil(8), 0);
        }
    }

    pub(crate) fn integers(&mut self) -> Vec<i64> {
        let (n, data) = (self.len(), self.data());
        match self.element {
            I64 if 0 < n => {
                // SAFETY: the tensor holds `n` elements of this type, aligned for any.
                unsafe { slice::from_raw_parts(data.cast::<i64>(), n) }.to_vec()
            }
            I32 if 0 < n => {
                // SAFETY: as above.
                let values = unsafe { slice::from_raw_parts(data.cast::<i32>(), n) };
                values.iter().map(|&value| i64::from(value)).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn element_size(element: u32) -> usize {
    match element {
        2 | 3 => 2,
        F32 | I32 => 4,
        I64 => 8,
        16 => 1,
        other => panic!("the fake knows no element type {other}"),
    }
}

/// A tensor of the library's own, with these elements.
pub(crate) fn of_floats(dims: Vec<usize>, values: &[f32]) -> Tensor {
    let bits = |value: Option<&f32>| u64::from(value.map_or(0, |value| value.to_bits()));
    let pairs = values.chunks(2);
    let words = pairs.map(|pair| bits(pair.first()) | bits(pair.get(1)) << 32).collect();
    Arc::new(Mutex::new(TensorParts { element: F32, dims, memory: Memory::Own(words) }))
}

fn dims(shape: &Shape) -> Vec<usize> {
    if shape.rank == 0 {
        return Vec::new();
    }
    // SAFETY: a shape holds `rank` sizes.
    let dims = unsafe { slice::from_raw_parts(shape.dims, shape.rank as usize) };
    dims.iter().map(|&dim| dim as usize).collect()
}

#[unsafe(no_mangle)]
extern "C" fn ov_tensor_create(element: u32, shape: Shape, tensor: *mut *mut Tensor) -> Status {
    let memory = Memory::Own(Vec::new());
    let mut parts = TensorParts { element, dims: dims(&shape), memory };
    parts.fit();
    hand_out(Arc::new(Mutex::new(parts)), tensor);
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_tensor_create_from_host_ptr(
    element: u32,
    shape: Shape,
    host: *mut c_void,
    tensor: *mut *mut Tensor,
) -> Status {
    let parts = TensorParts { element, dims: dims(&shape), memory: Memory::Host(host.cast()) };
    hand_out(Arc::new(Mutex::new(parts)), tensor);
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_tensor_set_shape(tensor: *mut Tensor, shape: Shape) -> Status {
    let mut parts = lock(get::<Tensor>(tensor));
    parts.dims = dims(&shape);
    parts.fit();
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_tensor_get_shape(tensor: *const Tensor, shape: *mut Shape) -> Status {
    let dims: Box<[i64]> =
        lock(get::<Tensor>(tensor)).dims.iter().map(|&dim| dim as i64).collect();
    let rank = dims.len() as i64;
    put(shape, Shape { rank, dims: Box::into_raw(dims).cast() });
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_shape_free(shape: *mut Shape) -> Status {
    // SAFETY: the caller's, filled by the function above and freed once.
    let shape = unsafe { &mut *shape };
    let dims = std::ptr::slice_from_raw_parts_mut(shape.dims, shape.rank as usize);
    // SAFETY: as above.
    drop(unsafe { Box::from_raw(dims) });
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_tensor_get_element_type(tensor: *const Tensor, element: *mut u32) -> Status {
    put(element, lock(get::<Tensor>(tensor)).element);
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_tensor_get_size(tensor: *const Tensor, n_elements: *mut usize) -> Status {
    put(n_elements, lock(get::<Tensor>(tensor)).len());
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_tensor_data(tensor: *const Tensor, data: *mut *mut c_void) -> Status {
    put(data, lock(get::<Tensor>(tensor)).data().cast());
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_tensor_free(tensor: *mut Tensor) {
    free(tensor);
}
