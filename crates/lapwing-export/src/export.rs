//! One export from start to end: a folder appears whole or not at all.

use std::cell::Cell;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;

use lapwing_files::FileError;
use lapwing_files::checksum::HashError;
use lapwing_files::new_folder::{self, NewFolder};
use lapwing_formats::require_unchanged;
use lapwing_model::Transformer;
use lapwing_weights::{Checkpoint, OpenCheckpointError};

use crate::error::ExportError;
use crate::head_map::HeadMap;
use crate::plan::{ExportOptions, Weights};
use crate::progress::{OnProgress, Progress};
use crate::recipe::{RECIPE_FILE, Recipe};
use crate::report::ExportReport;
use crate::target::Target;
use crate::{onnx_folder, openvino_folder, sidecar};

/// Files that only a model folder has: what tells an earlier export from a folder of the user's.
const EXPORT_FILES: &[&str] = &["openvino_model.xml", "genai_config.json"];

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
    new_folder::sweep(out);
    refuse_existing(source, out, options.overwrite)?;
    let checkpoint = Checkpoint::open(source)?;
    let recipe = recipe(&checkpoint, target, options, on_progress)?;
    let mut weights = Weights::new(&checkpoint, options, target == Target::OpenVino);
    let folder = NewFolder::create(out)?;
    match target {
        Target::OpenVino => {
            openvino_folder::write(&checkpoint, &mut weights, folder.path(), on_progress)?;
        }
        Target::Onnx => onnx_folder::write(&checkpoint, &mut weights, folder.path(), on_progress)?,
    }
    sidecar::write_json(&folder.path().join(RECIPE_FILE), &recipe.to_json())?;
    require_unchanged(source)?;
    folder.finish()?;
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
        map.check(checkpoint.architecture.hidden_size)?;
    }
    let n_tensors = checkpoint.architecture.expected_tensors().count();
    let is_stopped = Cell::new(false);
    let mut on_bytes = |path: &Path, _| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let flow = on_progress(Progress { name: &name, n_tensors_done: 0, n_tensors });
        is_stopped.set(is_stopped.get() || flow.is_break());
    };
    let hash = checkpoint.sha256(&mut on_bytes, &|| is_stopped.get());
    let hash = hash.map_err(|error| match error {
        HashError::Io(FileError { path, source, .. }) => {
            OpenCheckpointError::Read { path, source: source.into() }.into()
        }
        HashError::Interrupted => ExportError::Stopped,
    })?;
    let is_head_tied = checkpoint.architecture.family.tied_head && map.is_none();
    let head = if is_head_tied { Transformer::EMBEDDING } else { Transformer::HEAD };
    let recipe = Recipe {
        lapwing_version: env!("CARGO_PKG_VERSION").to_owned(),
        checkpoint_sha256: hash,
        target,
        weights: options.weights.to_string(),
        embedding: options.precision(Transformer::EMBEDDING, 2).to_string(),
        head: match is_head_tied && options.n_fine_head_rows != 0 {
            true => format!(
                "{}, its first {} rows {}",
                options.precision(head, 2),
                options.n_fine_head_rows,
                options.fine_head()
            ),
            false => options.precision(head, 2).to_string(),
        },
        per_tensor: options
            .per_tensor
            .iter()
            .map(|(pattern, precision)| (pattern.clone(), precision.to_string()))
            .collect(),
        head_map_sha256: map.map(HeadMap::sha256),
    };
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
    match (is_export, holds_source) {
        (true, false) => Ok(()),
        (_, true) => Err(ExportError::NotAnExport { path, found: "the checkpoint in it" }),
        (false, false) => Err(ExportError::NotAnExport { path, found: "other files" }),
    }
}

#[cfg(test)]
mod tests;
