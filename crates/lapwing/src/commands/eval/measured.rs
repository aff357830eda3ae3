//! The model that is measured, and what a report tells of it.

use std::time::Instant;

use anyhow::Context as _;
use lapwing_eval::JournalKey;
use lapwing_files::checksum;
use lapwing_host::Engine;
use lapwing_host::correction::Resolved;
use lapwing_host::model_files::ModelFiles;
use serde_json::{Value, json};

use crate::cli::MeasureArgs;
use crate::interrupt;
use crate::opening;
use crate::settings::Settings;

/// A model with its correction.
pub(in crate::commands) struct Measured {
    pub(in crate::commands) engine: Engine,
    pub(in crate::commands) correction: Resolved,
    settings: Settings,
    started: Instant,
}

impl Measured {
    /// Open the model and find its correction.
    pub(in crate::commands) fn open(
        args: &MeasureArgs,
        settings: &Settings,
    ) -> anyhow::Result<Measured> {
        let started = Instant::now();
        let engine = opening::open(&args.model, settings)?;
        interrupt::check()?;
        let correction = opening::correction(&engine, settings)?;
        Ok(Measured { engine, correction, settings: settings.clone(), started })
    }

    /// What the results of `command` depend on, as far as the model goes.
    pub(in crate::commands) fn key(&self, command: &str) -> anyhow::Result<JournalKey> {
        let mut key = JournalKey::new();
        key.insert("command".to_owned(), command.into());
        key.insert("lapwing_version".to_owned(), env!("CARGO_PKG_VERSION").into());
        key.insert("model".to_owned(), engine_key(&self.engine, &self.settings)?);
        key.insert("correction".to_owned(), json!(self.correction.profile_sha256));
        Ok(key)
    }

    /// What every report of a measurement tells.
    pub(in crate::commands) fn report(&self, command: &str) -> anyhow::Result<Value> {
        Ok(json!({
            "command": command,
            "lapwing_version": env!("CARGO_PKG_VERSION"),
            "model": engine_report(&self.engine, &self.settings)?,
            "correction": self.correction.as_json(),
            "bootstrap": super::BOOTSTRAP,
        }))
    }

    /// Seconds since the command began to open the model.
    pub(in crate::commands) fn wall_s(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 1e3).round() / 1e3
    }

    /// The first lines of a report for people.
    pub(in crate::commands) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("model", describe(&self.engine, &self.settings))];
        if let (Some(path), Some(candidate)) =
            (&self.correction.profile, &self.correction.candidate)
        {
            facts.push(("correction", format!("{candidate} of {}", path.display())));
        }
        facts
    }
}

/// `NAME with openvino 2026.4.1 on CPU, precision fast`.
pub(in crate::commands) fn describe(engine: &Engine, settings: &Settings) -> String {
    let (backend, version) = (engine.backend, &engine.backend_version);
    let device = &engine.model.device_used().id;
    let precision = settings.options.precision;
    let name = engine.name();
    format!("{name} with {backend} {version} on {device}, precision {precision}")
}

/// What the rows of an engine depend on, told without reading its weights.
pub(in crate::commands) fn engine_key(
    engine: &Engine,
    settings: &Settings,
) -> anyhow::Result<Value> {
    Ok(json!({
        "path": std::path::absolute(&engine.path).unwrap_or_else(|_| engine.path.clone()),
        "files": ModelFiles::of(&engine.folder)?.stamp(),
        "tokenizer": tokenizer_sha256(engine)?,
        "backend": [engine.backend, engine.backend_version],
        "device": engine.model.device_used().id,
        "precision": settings.options.precision,
        "properties": settings.options.properties,
        "threads": settings.options.n_threads,
        "n_positions_max": engine.model.limits().n_positions_max,
    }))
}

fn tokenizer_sha256(engine: &Engine) -> anyhow::Result<Option<String>> {
    let Some(file) = &engine.folder.text.tokenizer else { return Ok(None) };
    let bytes = std::fs::read(file)
        .with_context(|| format!("cannot read the tokenizer {}", file.display()))?;
    Ok(Some(checksum::sha256_bytes(&bytes)))
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
