//! What a caller hears while an export is made.

use std::ops::ControlFlow;

/// How far an export is; told before each tensor is written, and while the checkpoint's hash is
/// taken before the first one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// The tensor that comes next, or the file that is hashed.
    pub name: &'a str,
    /// Tensors written before it.
    pub n_tensors_done: usize,
    /// Tensors in all.
    pub n_tensors: usize,
}

/// Hears of progress and may stop the export by breaking.
pub(crate) type OnProgress<'a> = &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>;
