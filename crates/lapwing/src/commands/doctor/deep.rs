//! `lapwing doctor --deep`: a small model on every device, each in a process of its own.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lapwing_export::Target;
use lapwing_export::made_up_model::{self, NAME as MADE_UP};
use lapwing_host::every_device::{EveryDevice, Outcome, Tried};
use lapwing_host::trial::Failure;
use lapwing_host::{BackendChoice, OpenModelError, open_folder};
use lapwing_store::{
    natives::{Runtime, locate},
    resolve_model,
};
use serde_json::{Value, json};

use crate::cli::WorkerKind;
use crate::interrupt;
use crate::opening;
use crate::printer::Printer;
use crate::settings::Settings;

/// The model that is tried where it is in the store.
const SMALL_MODEL: &str = "stories260k";
/// Try every device of every library.
///
/// # Errors
///
/// When no model can be made, or after Ctrl-C. What a device does is an outcome.
pub(super) fn run(
    settings: &Settings,
    printer: &Printer,
    model: Option<&str>,
) -> anyhow::Result<Vec<Tried>> {
    interrupt::install();
    let folder = tempfile::tempdir().context("cannot make a folder for a small model")?;
    let trial = EveryDevice {
        host: &settings.host,
        worker: &settings.worker(WorkerKind::Trial),
        options: &settings.options,
        variant: settings.variant.as_ref(),
        scratch: folder.path(),
        is_stopped: &interrupt::requested,
    };
    let mut all = Vec::new();
    for runtime in Runtime::ALL {
        if locate(runtime, &settings.host.store).is_err() {
            continue;
        }
        let Some(model) = model_for(runtime, settings, model, folder.path())? else {
            continue;
        };
        let name = model.strip_prefix(folder.path()).map_or(&*model, |_| MADE_UP.as_ref());
        let tried = trial.of(runtime, &model, &mut |device| {
            let backend = runtime.backend();
            printer.note(format!("trying {device} with {backend} and {}", name.display()));
        });
        all.extend(tried.map_err(|error| match error {
            OpenModelError::Worker(error) => error.into(),
            error => opening::failed(error),
        })?);
    }
    all.extend(trial.absent(&all));
    Ok(all)
}

/// The model to try, in the form that a library takes; `None` when the one that was asked for has
/// another form.
fn model_for(
    runtime: Runtime,
    settings: &Settings,
    asked: Option<&str>,
    folder: &Path,
) -> anyhow::Result<Option<PathBuf>> {
    let named = asked.unwrap_or(SMALL_MODEL);
    let found =
        resolve_model(named, &settings.host.store).map_err(anyhow::Error::from).and_then(|path| {
            let folder = open_folder(&path, settings.variant.as_ref())?;
            Ok((BackendChoice::Auto.runtime_for(folder.kind)?, path))
        });
    match found {
        Ok((of, path)) if of == runtime => return Ok(Some(path)),
        Ok(_) if asked.is_some() => return Ok(None),
        Err(error) if asked.is_some() => return Err(error.context("cannot open the model")),
        Ok(_) | Err(_) => {}
    }
    let target = match runtime {
        Runtime::OnnxRuntime => Target::Onnx,
        Runtime::OpenVino => Target::OpenVino,
    };
    let made = made_up_model::make(folder, target).context("cannot make a small model")?;
    Ok(Some(made))
}

/// One line a device.
pub(super) fn table(all: &[Tried]) -> Vec<Vec<String>> {
    let ms = |value: f64| format!("{value:.0} ms");
    let row = |tried: &Tried| {
        let (verdict, open, first, difference, remark) = match &tried.outcome {
            Outcome::Passed(passed) | Outcome::Wrong(passed) => {
                let is_wrong = matches!(tried.outcome, Outcome::Wrong(_));
                let difference = passed.difference.map(|share| format!("{:.2} %", share * 100.0));
                let verdict = if is_wrong { "wrong logits" } else { "ok" };
                let used = format!("ran on {}", passed.device_used);
                let first = format!("{:.1} ms", passed.first_inference_ms);
                let difference = difference.unwrap_or_else(|| "-".to_owned());
                (verdict, ms(passed.open_ms), first, difference, used)
            }
            Outcome::Failed(failure) => ("broken", dash(), dash(), dash(), one_line(failure)),
            Outcome::Absent(reason) => ("absent", dash(), dash(), dash(), reason.clone()),
        };
        let cells = [&tried.device, tried.backend, verdict, &open, &first, &difference, &remark];
        cells.map(str::to_owned).to_vec()
    };
    all.iter().map(row).collect()
}

/// The header of [`table`].
pub(super) const HEADER: [&str; 7] =
    ["DEVICE", "BACKEND", "VERDICT", "OPENED IN", "FIRST STEP", "FROM THE CPU", "REMARK"];

/// The same as JSON.
pub(super) fn as_json(all: &[Tried]) -> Value {
    let entry = |tried: &Tried| {
        let (verdict, passed, failure, reason) = match &tried.outcome {
            Outcome::Passed(passed) => ("ok", Some(passed), None, None),
            Outcome::Wrong(passed) => ("wrong logits", Some(passed), None, None),
            Outcome::Failed(failure) => ("broken", None, Some(failure), None),
            Outcome::Absent(reason) => ("absent", None, None, Some(reason)),
        };
        json!({
            "device": tried.device,
            "backend": tried.backend,
            "verdict": verdict,
            "passed": passed,
            "failure": failure,
            "reason": reason,
        })
    };
    all.iter().map(entry).collect()
}

fn dash() -> String {
    "-".to_owned()
}

fn one_line(failure: &Failure) -> String {
    let last = failure.last_lines.last().map(|line| format!("; it printed: {line}"));
    format!("{failure}{}", last.unwrap_or_default())
}
