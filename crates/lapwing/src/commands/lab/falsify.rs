//! `lapwing lab falsify`: the paper's claims for KLS, put to the test on quantised models.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use lapwing_eval::{
    CalibrationFiles, CalibrationTexts, GenerationOptions, Items, JournalKey, NamedText, Progress,
    Task, TaskOptions, TextFile, key_of, require_other,
};
use lapwing_files::{checksum, new_file};
use lapwing_host::model_files::ModelFiles;
use lapwing_host::offers::processor_name;
use lapwing_host::{Engine, open_folder};
use lapwing_lab::falsify::{
    FalsifyError, FalsifyInputs, FalsifyOptions, STUDY_SCHEMA_VERSION, Studied, Study,
    StudyProgress, TaskInputs, falsify, page,
};
use lapwing_logits::Level;
use lapwing_store::resolve_model;
use serde_json::json;

use crate::cli::FalsifyArgs;
use crate::commands::calibrate::{self, Models};
use crate::commands::eval::measured::{engine_report, kept};
use crate::exit::UsageError;
use crate::interrupt::{self, Interrupted};
use crate::printer::{Printer, Steps};
use crate::reference;
use crate::settings::Settings;

const FAILED: &str = "cannot study";
const MODEL_TWICE: &str = "name every model with one --model";
/// Rounds of free generation, and the tokens of each.
const N_SPEED_ROUNDS: usize = 7;
const N_SPEED_TOKENS: usize = 64;
/// The record and the page in the folder.
const RECORD: &str = "study.json";
const PAGE: &str = "study.html";

pub(in crate::commands) fn run(
    settings: &Settings,
    printer: &Printer,
    args: &FalsifyArgs,
) -> anyhow::Result<()> {
    let started = Instant::now();
    require_distinct(&args.model, settings)?;
    let files = calibrate::read_files(&args.fit.text, Some(&args.other_text)).context(FAILED)?;
    let passages = args.lambada.as_deref().map(TextFile::read).transpose().context(FAILED)?;
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))?;
    let key = key(settings, args, &files, passages.as_ref());
    let mut kept = kept(settings, &key, args.fresh, printer)?;
    let mut study =
        Study { schema_version: STUDY_SCHEMA_VERSION, seed: args.fit.seed, subjects: Vec::new() };
    let mut reports = Vec::new();
    for (place, name) in args.model.iter().enumerate() {
        let one = One { settings, printer, args, files: &files, passages: passages.as_ref() };
        let unit = one.unit(name)?;
        let (studied, report) = match kept.journal.result(&unit)? {
            Some(found) => found,
            None => {
                printer.note(format!("{name} ({} of {})", place + 1, args.model.len()));
                let found = one.study(name)?;
                kept.journal.finish(&unit, &found)?;
                found
            }
        };
        study.subjects.push(studied);
        reports.push(report);
    }
    let record = json!({
        "command": "eval falsify",
        "lapwing_version": env!("CARGO_PKG_VERSION"),
        "machine": machine(),
        "models": reports,
        "texts": files.as_json(),
        "passages": passages.as_ref().map(|passages| passages.sha256.as_str()),
        "settings": settings_of(args),
        "wall_s": (started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        "study": study,
    });
    let text = format!("{record:#}\n");
    new_file::write(&args.out.join(RECORD), text.as_bytes()).context(FAILED)?;
    let html = page::html(&study, "Kalman-Logit Smoothing, put to the test", &facts(args, &record));
    new_file::write(&args.out.join(PAGE), html.as_bytes()).context(FAILED)?;
    match args.json {
        true => printer.json(&record)?,
        false => printer.table(
            &["MODEL", "CLAIM", "FINDING", "NATS A TOKEN", "BECAUSE"],
            &page::verdicts(&study),
        )?,
    }
    printer.note(format!("wrote {RECORD} and {PAGE} to {}", args.out.display()));
    Ok(kept.remove()?)
}

/// Refuse a folder that is named twice; what cannot be found is told when its turn comes.
fn require_distinct(names: &[String], settings: &Settings) -> Result<(), UsageError> {
    let mut seen: Vec<(PathBuf, &str)> = Vec::new();
    for name in names {
        let Ok(path) = resolve_model(name, &settings.host.store) else { continue };
        let path = path.canonicalize().unwrap_or(path);
        if let Some((_, first)) = seen.iter().find(|(of_first, _)| *of_first == path) {
            let problem = format!("{name} is the same model as {first}");
            return Err(UsageError { problem, advice: Some(MODEL_TWICE.to_owned()) });
        }
        seen.push((path, name));
    }
    Ok(())
}

/// Everything that decides the result.
fn key(
    settings: &Settings,
    args: &FalsifyArgs,
    files: &CalibrationFiles,
    passages: Option<&TextFile>,
) -> JournalKey {
    let options = &settings.options;
    key_of(json!({
        "command": "falsify",
        "schema_version": STUDY_SCHEMA_VERSION,
        "lapwing_version": env!("CARGO_PKG_VERSION"),
        "texts": files.as_json(),
        "passages": passages.map(|passages| &passages.sha256),
        "context": options.n_positions_max,
        "settings": settings_of(args),
        // The same for every model.
        "gate": calibrate::gate(&args.calibration_of("")),
        "reference": args.reference,
        "backend": settings.backend,
        "device": options.device.to_string(),
        "precision": options.precision,
        "properties": options.properties,
        "threads": options.n_threads,
    }))
}

fn settings_of(args: &FalsifyArgs) -> serde_json::Value {
    json!({
        "windows": args.fit.windows,
        "window": args.fit.window,
        "held_out": args.fit.held_out,
        "seed": args.fit.seed,
        "checkpoint": args.fit.checkpoint,
        "passages": args.lambada.as_ref().map(|_| args.passages),
    })
}

/// What one study needs.
struct One<'a> {
    settings: &'a Settings,
    printer: &'a Printer,
    args: &'a FalsifyArgs,
    files: &'a CalibrationFiles,
    passages: Option<&'a TextFile>,
}

impl One<'_> {
    /// What a finished study is kept under: other files of the same name are another one.
    fn unit(&self, name: &str) -> anyhow::Result<String> {
        let of_reference = reference::settings(self.settings, &self.args.fit.more);
        let stamp = |name: &str, settings: &Settings| {
            let path = resolve_model(name, &settings.host.store).context(FAILED)?;
            let folder = open_folder(&path, settings.variant.as_ref()).context(FAILED)?;
            anyhow::Ok(ModelFiles::of(&folder)?.stamp())
        };
        let stamps = json!({
            "model": stamp(name, self.settings)?,
            "reference": stamp(&self.args.reference, &of_reference)?,
        });
        Ok(format!("{name} {}", checksum::sha256_bytes(stamps.to_string().as_bytes())))
    }

    /// What was found, and what a report tells of the two models.
    fn study(&self, name: &str) -> anyhow::Result<(Studied, serde_json::Value)> {
        let args = self.args.calibration_of(name);
        let head = calibrate::open_head(&args, self.settings).context(FAILED)?;
        let models = Models::open(&args, self.settings)?;
        let engine = &models.engine;
        let (reference, of_reference) = models.reference.as_ref().expect("it is demanded");
        let tokenizer = engine.tokenizer().context(FAILED)?;
        models.require_same_tokenizer(&self.files.texts[0].text)?;
        // Of the files as they were opened.
        let report = self.report(engine, reference, of_reference)?;
        models.warn(&args, self.printer)?;
        let n_window = models.n_window(&args).context(FAILED)?;
        let texts = CalibrationTexts::split(self.files, tokenizer, n_window, args.fit.held_out)
            .context(FAILED)?;
        let n_tokens = tokenizer.n_vocab();
        let rows = head.as_ref().map(|head| calibrate::head_rows(head, engine, n_tokens));
        let rows = rows.transpose().context(FAILED)?;
        let fitted = texts.calibration();
        let head = rows.as_ref().map(calibrate::matrix).transpose().context(FAILED)?;
        let inputs = models.inputs(tokenizer, &texts, &fitted, head).context(FAILED)?;
        let options = FalsifyOptions {
            calibrate: calibrate::options(&args, self.settings, engine, n_window),
            n_speed_rounds: N_SPEED_ROUNDS,
            n_speed_tokens: N_SPEED_TOKENS,
        };
        let task_options = TaskOptions {
            level: Level::detect(),
            begin: inputs.begin,
            correction: None,
            generation: GenerationOptions { n_tokens_max: 1, stop_ids: Vec::new() },
        };
        let items = self.passages.map(|file| items(file, self.args.passages.into()));
        let items = items.transpose().context(FAILED)?;
        let task = items.as_ref().map(|items| TaskInputs {
            task: Task::Lambada,
            items,
            tokenizer,
            options: &task_options,
        });
        let name = engine.name();
        let inputs = FalsifyInputs {
            name: &name,
            calibrate: inputs,
            model: &engine.model,
            reference: &reference.model,
            task,
        };
        let steps = self.printer.steps("studying");
        let outcome = falsify(&inputs, &options, &mut watch(&steps));
        drop(steps);
        if let Err(FalsifyError::Stopped(_)) = outcome {
            self.printer.note("models that are finished are kept for the same command");
            return Err(Interrupted.into());
        }
        models.require_unchanged().context(FAILED)?;
        Ok((outcome.context(FAILED)?, report))
    }

    /// What the record tells of a model and its reference, which must be another one.
    fn report(
        &self,
        engine: &Engine,
        reference: &Engine,
        of_reference: &Settings,
    ) -> anyhow::Result<serde_json::Value> {
        let report = json!({
            "model": engine_report(engine, self.settings)?,
            "files": ModelFiles::of(&engine.folder)?.stamp(),
            "reference": engine_report(reference, of_reference)?,
        });
        let sha256 = |name: &str| report[name]["sha256"].as_str().unwrap_or_default();
        require_other(sha256("model"), sha256("reference")).context(FAILED)?;
        Ok(report)
    }
}

/// The first passages of LAMBADA's file.
fn items(file: &TextFile, n_max: usize) -> anyhow::Result<Items> {
    let name = file.name();
    let text = NamedText { name: &name, text: &file.text };
    let mut items = Items::read(Task::Lambada, text, None, None, 0)?;
    items.truncate(n_max);
    Ok(items)
}

fn watch(steps: &Steps) -> impl FnMut(StudyProgress) -> ControlFlow<()> {
    |progress| {
        let show = |Progress { n_done, n_total, .. }: Progress, doing: &str| {
            steps.set(n_done, n_total, doing);
        };
        match progress {
            StudyProgress::Calibrate(progress) => {
                let doing = calibrate::doing(progress.stage);
                steps.set(progress.n_done, progress.n_total, doing);
            }
            StudyProgress::FullPrecision(progress) => show(progress, "judging full precision"),
            StudyProgress::Ablations(progress) => show(progress, "judging ablations"),
            StudyProgress::Speed(progress) => show(progress, "timing"),
            StudyProgress::Task(progress) => show(progress, "reading passages"),
        }
        interrupt::flow(false)
    }
}

fn machine() -> serde_json::Value {
    json!({
        "cpu": processor_name(),
        "n_cpus": std::thread::available_parallelism().map_or(1, usize::from),
        "level": Level::detect().name(),
        "system": std::env::consts::OS,
    })
}

/// The lines on top of the page.
fn facts(args: &FalsifyArgs, record: &serde_json::Value) -> Vec<(String, String)> {
    let names = |paths: &[std::path::PathBuf]| {
        let names: Vec<String> = paths
            .iter()
            .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        names.join(", ")
    };
    let machine = &record["machine"];
    let cpu = machine["cpu"].as_str().unwrap_or("unknown processor");
    vec![
        ("lapwing".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("machine".to_owned(), format!("{cpu}, {} CPUs", machine["n_cpus"])),
        ("full precision".to_owned(), names(&[args.reference.clone().into()])),
        ("text".to_owned(), names(&args.fit.text)),
        ("other domain".to_owned(), names(std::slice::from_ref(&args.other_text))),
        ("record".to_owned(), format!("{RECORD}, sha256 {}", short_hash(record))),
    ]
}

fn short_hash(record: &serde_json::Value) -> String {
    checksum::sha256_bytes(format!("{record:#}\n").as_bytes())[..16].to_owned()
}
