//! `lapwing export`: a checkpoint into a model folder.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lapwing_export::{ExportOptions, ExportReport, Precision, Target, export};
use serde_json::{Value, json};

use crate::cli::{ExportArgs, ExportTarget};
use crate::hint::UsageError;
use crate::interrupt;
use crate::printer::Printer;
use crate::settings::Settings;
use crate::store::resolve_model;

/// Export a checkpoint.
///
/// # Errors
///
/// When the checkpoint cannot be read or the folder cannot be written; nothing is left behind.
pub fn run(settings: &Settings, printer: &Printer, args: &ExportArgs) -> anyhow::Result<()> {
    interrupt::install();
    let source = checkpoint(resolve_model(&args.source, settings).context("cannot export")?);
    let options = options(args)?;
    let target = match args.to {
        ExportTarget::OpenVino => Target::OpenVino,
        ExportTarget::Onnx => Target::Onnx,
    };
    let steps = printer.steps("exporting");
    let report = export(&source, target, &options, &args.out, &mut |step| {
        steps.set(step.n_tensors_done, step.n_tensors, step.name);
        match interrupt::requested() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })
    .context("cannot export")?;
    drop(steps);
    if args.json {
        printer.json(&as_json(&report))?;
        return Ok(());
    }
    if args.report {
        print_report(&report, printer)?;
    }
    printer.note(format!("wrote {}", report.folder.display()));
    Ok(())
}

/// A store folder that holds one GGUF means that file.
fn checkpoint(path: PathBuf) -> PathBuf {
    let Ok(entries) = std::fs::read_dir(&path) else { return path };
    let is_gguf = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "gguf");
    let mut ggufs = entries.flatten().map(|entry| entry.path()).filter(is_gguf);
    match (ggufs.next(), ggufs.next()) {
        (Some(only), None) => only,
        _ => path,
    }
}

/// The flags as the exporter wants them; anything but a precision's name is a plan file.
fn options(args: &ExportArgs) -> anyhow::Result<ExportOptions> {
    let mut options = match precision(&args.weights, args) {
        Some(weights) => ExportOptions::new(weights),
        None => {
            let plan = Path::new(&args.weights);
            if !plan.is_file() {
                let problem = format!("no precision and no plan file: `{}`", args.weights);
                let advice = "--weights takes int4, int8, f16, f32, or a JSON file".to_owned();
                return Err(UsageError { problem, advice: Some(advice) }.into());
            }
            ExportOptions::from_plan(plan).context("cannot export")?
        }
    };
    if let Some(name) = &args.head {
        options.head = precision(name, args).ok_or_else(|| UsageError {
            problem: format!("no precision: `{name}`"),
            advice: Some("--head takes int4, int8, f16 or f32".to_owned()),
        })?;
    }
    options.overwrite = args.overwrite;
    Ok(options)
}

fn precision(name: &str, args: &ExportArgs) -> Option<Precision> {
    Precision::named(name, args.group_size.map(usize::from), args.symmetric)
}

fn print_report(report: &ExportReport, printer: &Printer) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = report
        .tensors
        .iter()
        .map(|tensor| {
            let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
            vec![
                tensor.name.clone(),
                shape.join("x"),
                tensor.source_dtype.clone(),
                tensor.precision.clone(),
                if tensor.kept_grid { "kept".to_owned() } else { String::new() },
                format!("{:.2e}", tensor.relative_rms),
            ]
        })
        .collect();
    printer.table(&["TENSOR", "SHAPE", "FROM", "TO", "GRID", "RELATIVE RMS"], &rows)?;
    Ok(())
}

fn as_json(report: &ExportReport) -> Value {
    let tensors = report.tensors.iter().map(|tensor| {
        json!({
            "name": tensor.name,
            "shape": tensor.shape,
            "source_dtype": tensor.source_dtype,
            "precision": tensor.precision,
            "kept_grid": tensor.kept_grid,
            "relative_rms": tensor.relative_rms,
        })
    });
    json!({"folder": report.folder, "tensors": tensors.collect::<Vec<_>>()})
}
