//! The model that is measured, and what a report tells of it.

use std::time::Instant;

use anyhow::Context as _;
use lapwing_eval::{Journal, JournalKey, KeepError, Kept, OnProgress, key_of};
use lapwing_host::Engine;
use lapwing_host::correction::Resolved;
use serde_json::{Value, json};

use super::{BOOTSTRAP, finished, watch};
use crate::cli::MeasureArgs;
use crate::opening;
use crate::printer::Printer;
use crate::settings::Settings;

/// A model with its correction.
pub(super) struct Measured<'a> {
    pub(super) engine: Engine,
    pub(super) correction: Resolved,
    args: &'a MeasureArgs,
    settings: &'a Settings,
    started: Instant,
}

/// A measurement in words.
pub(super) struct Naming<'a> {
    /// What fails when it fails.
    pub(super) failed: &'a str,
    /// What it goes through.
    pub(super) steps: &'static str,
    /// The value that is shown meanwhile.
    pub(super) value: &'static str,
}

impl Measured<'_> {
    /// Open the model and find its correction.
    pub(super) fn open<'a>(
        args: &'a MeasureArgs,
        settings: &'a Settings,
    ) -> anyhow::Result<Measured<'a>> {
        let started = Instant::now();
        let engine = opening::open(&args.model, settings)?;
        let correction = opening::correction(&engine, settings)?;
        Ok(Measured { engine, correction, args, settings, started })
    }

    /// Do what is not kept yet of what `command` measures; what is kept is told to go when the
    /// result was shown. The result depends on the model, its correction and `more`, an object.
    pub(super) fn measure<T, E: std::error::Error + Send + Sync + 'static>(
        &self,
        command: &str,
        more: Value,
        naming: &Naming<'_>,
        printer: &Printer,
        run: impl FnOnce(&mut Journal, OnProgress<'_>) -> Result<T, E>,
    ) -> anyhow::Result<(T, Kept)> {
        // What the key tells of the files is of those that were opened.
        self.engine.require_unchanged().with_context(|| naming.failed.to_owned())?;
        let mut key = key_of(json!({
            "command": command,
            "lapwing_version": env!("CARGO_PKG_VERSION"),
            "model": self.engine.key(&self.settings.options)?,
            "correction": self.correction.profile_sha256,
        }));
        key.extend(key_of(more));
        let mut kept = kept(self.settings, &key, self.args.fresh, printer)?;
        let steps = printer.steps(naming.steps);
        let outcome = run(&mut kept.journal, &mut watch(&steps, naming.value));
        drop(steps);
        self.engine.require_unchanged().with_context(|| naming.failed.to_owned())?;
        Ok((finished(outcome, naming.failed, printer)?, kept))
    }

    /// The report of a measurement, with what only that tells: `more`, an object.
    pub(super) fn report(&self, command: &str, more: Value) -> anyhow::Result<Value> {
        let mut report = key_of(json!({
            "command": command,
            "lapwing_version": env!("CARGO_PKG_VERSION"),
            "model": engine_report(&self.engine, self.settings)?,
            "correction": self.correction.as_json(),
            "bootstrap": BOOTSTRAP,
        }));
        report.extend(key_of(more));
        report.insert("wall_s".to_owned(), self.wall_s().into());
        Ok(Value::Object(report))
    }

    /// Seconds since the command began to open the model.
    pub(super) fn wall_s(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 1e3).round() / 1e3
    }

    /// The first lines of a report for people.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("model", describe(&self.engine, self.settings))];
        if let (Some(path), Some(candidate)) =
            (&self.correction.profile, &self.correction.candidate)
        {
            facts.push(("correction", format!("{candidate} of {}", path.display())));
        }
        facts
    }
}

/// What was kept of a measurement, in the folder of them; says when there is something to go on
/// from.
pub(in crate::commands) fn kept(
    settings: &Settings,
    key: &JournalKey,
    fresh: bool,
    printer: &Printer,
) -> Result<Kept, KeepError> {
    let kept = Kept::open(&settings.home.cache().join("eval"), key, fresh)?;
    match kept.journal.n_finished() {
        0 => {}
        n => printer.note(format!("going on: {n} were finished by an earlier run")),
    }
    Ok(kept)
}

/// `NAME with openvino 2026.4.1 on CPU, precision fast`.
pub(super) fn describe(engine: &Engine, settings: &Settings) -> String {
    let (backend, version) = (engine.backend, &engine.backend_version);
    let device = &engine.model.device_used().id;
    let precision = settings.options.precision;
    let name = engine.name();
    format!("{name} with {backend} {version} on {device}, precision {precision}")
}

/// An engine in a report, with the hash of its files.
pub(in crate::commands) fn engine_report(
    engine: &Engine,
    settings: &Settings,
) -> anyhow::Result<Value> {
    let mut report = json!(opening::profiled_model(engine)?);
    report["kind"] = engine.folder.kind.name().into();
    report["backend_version"] = engine.backend_version.as_str().into();
    report["device_used"] = engine.model.device_used().id.as_str().into();
    report["threads"] = json!(settings.options.n_threads);
    Ok(report)
}
