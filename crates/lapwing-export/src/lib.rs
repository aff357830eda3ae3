//! A checkpoint (GGUF file, Hugging Face folder) and a precision plan into a model folder
//! (onnxruntime-genai or OpenVINO IR).
//!
//! Offline work: nothing that serves a model depends on this crate, and it loads no runtime.
//! Weights stream from the checkpoint's memory map to disk one tensor at a time. Who needs a model
//! and has none makes one up: [`made_up_model`].
//!
//! To add a target: a module with a `write` like `onnx_folder`'s, a variant of [`Target`], and
//! an arm in [`export()`].

mod export;

mod error;
mod progress;
mod target;

mod head_map;
mod head_rows;
mod plan;
mod recipe;
mod report;
mod sidecar;
mod source;

mod onnx_folder;
mod openvino_folder;

pub mod made_up_model;

pub use error::ExportError;
pub use export::export;
pub use head_map::HeadMap;
pub use head_rows::{HeadRows, HeadRowsError};
pub use plan::{
    ExportOptions, GROUP_SIZE_DEFAULT, N_FINE_HEAD_ROWS, N_VOCAB_LARGE_MIN, NPU_GROUP_SIZE,
    Precision, ReadPlanError, WHOLE_ROW,
};
pub use progress::Progress;
pub use recipe::{BodyRecipe, RECIPE_FILE, ReadRecipeError, Recipe, read_recipe};
pub use report::{ExportReport, TensorReport};
pub use target::Target;

#[cfg(test)]
#[path = "../../lapwing-weights/tests/support/gguf_file.rs"]
mod gguf_file;
#[cfg(test)]
#[path = "../../lapwing-weights/tests/support/shared.rs"]
mod shared;
