//! One export from start to end: a folder appears whole or not at all.

mod unfinished_folder;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use lapwing_quant::QuantizeError;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, OpenCheckpointError, ReadTensorError};
use crate::plan::{ExportOptions, Weights};
use crate::recipe::{RECIPE_FILE, Recipe};
use crate::report::ExportReport;
use crate::{onnx_folder, openvino_folder, sidecar};
use unfinished_folder::UnfinishedFolder;

/// Files that only a model folder has: what tells an earlier export from a folder of the user's.
const EXPORT_FILES: &[&str] = &["openvino_model.xml", "genai_config.json"];

/// Which kind of model folder to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A stateful OpenVINO IR folder, as optimum-intel writes.
    OpenVino,
    /// An onnxruntime-genai folder.
    Onnx,
}

impl Target {
    /// As recipes name it.
    pub fn name(self) -> &'static str {
        match self {
            Target::OpenVino => "openvino",
            Target::Onnx => "onnx",
        }
    }
}

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

/// Why an export failed. Nothing is left behind then.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The source could not be opened.
    #[error("cannot open the checkpoint")]
    Open(#[from] OpenCheckpointError),
    /// A tensor could not be read.
    #[error("cannot read a weight")]
    Read(#[from] ReadTensorError),
    /// A tensor could not be quantised.
    #[error("cannot quantise {name}")]
    Quantize {
        /// The Hugging Face name.
        name: String,
        /// Why.
        source: QuantizeError,
    },
    /// The target has no way to say what the checkpoint or the plan asks.
    #[error("the {target} folder cannot hold this: expected {expected}, found {found}")]
    Unsupported {
        /// `OpenVINO` or `ONNX`.
        target: &'static str,
        /// What it can hold.
        expected: String,
        /// What was asked.
        found: String,
    },
    /// A folder with files in it is already there.
    #[error("{} already exists and is not empty", path.display())]
    OutputExists {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The graph could not be encoded.
    #[error("cannot write the graph {}", path.display())]
    Graph {
        /// The graph's file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is at the output is no earlier export, or holds the source: it is not replaced.
    #[error("{} is no earlier export, or holds the checkpoint", path.display())]
    NotAnExport {
        /// The folder.
        path: PathBuf,
    },
    /// A weight does not fit 16 bits.
    #[error("{name}: expected weights within the range of f16, found {found}")]
    Range {
        /// The Hugging Face name.
        name: String,
        /// The weight.
        found: f32,
    },
    /// The head map does not fit the checkpoint.
    #[error("the head map does not fit: expected {expected}, found {found}")]
    HeadMap {
        /// What fits.
        expected: String,
        /// What the map is.
        found: String,
    },
    /// The head map was fitted to hidden states that this export does not have.
    #[error(
        "the head map was fitted to another body: {what}: expected {expected}, found {found} \
         in this export"
    )]
    OtherBody {
        /// Which part of the recipes differs.
        what: &'static str,
        /// The part that the map was fitted to.
        expected: String,
        /// The part of this export.
        found: String,
    },
    /// The caller's progress hook broke.
    #[error("the export was stopped")]
    Stopped,
}

/// Export the checkpoint at `source` as a folder at `out`.
///
/// The folder is written under a temporary name beside `out` and renamed when it is whole; an error
/// or a stop removes it, and the next export to `out` what a killed one left.
///
/// # Errors
///
/// See [`ExportError`].
pub fn export(
    source: &Path,
    target: Target,
    options: &ExportOptions,
    out: &Path,
    on_progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<ExportReport, ExportError> {
    unfinished_folder::sweep(out);
    refuse_existing(source, out, options.overwrite)?;
    let checkpoint = Checkpoint::open(source)?;
    let recipe = recipe(&checkpoint, target, options, on_progress)?;
    let mut weights = Weights::new(&checkpoint, options);
    let mut folder = UnfinishedFolder::create(out)?;
    match target {
        Target::OpenVino => {
            openvino_folder::write(&checkpoint, &mut weights, &folder.path, on_progress)?;
        }
        Target::Onnx => onnx_folder::write(&checkpoint, &mut weights, &folder.path, on_progress)?,
    }
    sidecar::write_json(&folder.path.join(RECIPE_FILE), &recipe.to_json())?;
    folder.finish(out)?;
    tracing::debug!(out = %out.display(), "exported");
    Ok(ExportReport { folder: out.to_owned(), tensors: weights.into_reports() })
}

/// How this export is made; refused where its head map fits another one.
fn recipe(
    checkpoint: &Checkpoint,
    target: Target,
    options: &ExportOptions,
    on_progress: OnProgress<'_>,
) -> Result<Recipe, ExportError> {
    let map = options.head_map.as_ref();
    if let Some(map) = map {
        map.check(checkpoint.config.hidden_size)?;
    }
    let n_tensors = checkpoint.config.expected_tensors().count();
    let mut is_stopped = false;
    let hash = checkpoint.sha256(&mut |path, _| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let flow = on_progress(Progress { name: &name, n_tensors_done: 0, n_tensors });
        is_stopped |= flow.is_break();
        flow
    });
    if is_stopped {
        return Err(ExportError::Stopped);
    }
    let is_head_tied = checkpoint.config.tied_head && map.is_none();
    let recipe = Recipe::new(hash?, target, options, is_head_tied);
    if let Some(body) = map.and_then(|map| map.body.as_ref()) {
        body.check(&recipe.body())?;
    }
    Ok(recipe)
}

/// Refuse to touch what is there, unless it is an earlier export that the user gives up.
fn refuse_existing(source: &Path, out: &Path, overwrite: bool) -> Result<(), ExportError> {
    let path = out.to_owned();
    let mut entries = match std::fs::read_dir(out) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ExportError::Write { path, source }),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    if !overwrite {
        return Err(ExportError::OutputExists { path });
    }
    let holds_source = match (source.canonicalize(), out.canonicalize()) {
        (Ok(source), Ok(out)) => source.starts_with(out),
        _ => false,
    };
    let is_export = EXPORT_FILES.iter().any(|name| out.join(name).is_file());
    if is_export && !holds_source { Ok(()) } else { Err(ExportError::NotAnExport { path }) }
}

#[cfg(test)]
mod tests;
