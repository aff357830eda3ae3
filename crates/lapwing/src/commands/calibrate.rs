//! `lapwing calibrate`: fit corrections, judge them on text that was held out, write a profile.
//!
//! Of each text the last windows are held out, and nothing is fitted on them; a text of another
//! domain is only judged on. A gate that stays closed is a result as good as any.

mod report;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use lapwing_eval::{
    CalibrateError, CalibrateInputs, CalibrateOptions, CalibrateProgress, Calibration,
    CalibrationFiles, CalibrationFilesError, CalibrationTexts, GateOptions, HeadMatrix,
    HeadMatrixError, ProfileLabels, RepetitionOptions, Stage, begin_token, calibrate, n_held_out,
    require_other, require_same_tokenizer,
};
use lapwing_export::{HeadRows, read_recipe};
use lapwing_host::correction;
use lapwing_host::guard::doing;
use lapwing_host::{Engine, FileChanged};
use lapwing_logits::profile::ProfiledModel;
use lapwing_logits::{Gauge, Level};
use lapwing_model::TokenId;
use lapwing_store::{checkpoint_at, resolve_model};
use lapwing_text::Tokenizer;
use lapwing_weights::Checkpoint;

use crate::cli::CalibrateArgs;
use crate::exit::UsageError;
use crate::interrupt::{self, Interrupted};
use crate::opening;
use crate::printer::{Printer, Steps, human_bytes};
use crate::reference;
use crate::settings::Settings;

/// Tokens in a window when nobody says and the models have room.
const N_WINDOW: usize = 512;
/// Windows of the texts when nobody says: with a third of them held out, enough to be sure of small
/// changes.
const N_WINDOWS: usize = 160;
/// Bands of tokens that share a gain.
const N_BANDS: usize = 16;
/// Gains of the grid that maximum likelihood searches.
const N_GRID: usize = 33;
/// Ridges of the head maps, relative to the mean variance of the hidden state.
const RIDGES: [f64; 3] = [0.3, 1.0, 3.0];
/// How sure the gate wants to be, before the number of candidates counts.
const CONFIDENCE: f64 = 0.95;
/// Resamples for an interval, at least.
const N_RESAMPLES: usize = 2000;
/// Share of the raw model's KL that a correction must take away to be worth anything.
const MIN_DIVERGENCE_SHARE: f64 = 0.01;
/// Answers that are generated with and without a correction, their prompts and their length.
const N_PROMPTS: usize = 16;
const N_PROMPT_TOKENS: usize = 32;
const N_NEW_TOKENS: usize = 64;

/// Calibrate a model.
///
/// # Errors
///
/// When a model or a text cannot be used, the profile cannot be written, or after Ctrl-C; nothing
/// is written then.
pub fn run(settings: &Settings, printer: &Printer, args: &CalibrateArgs) -> anyhow::Result<()> {
    const FAILED: &str = "cannot calibrate";
    let started = Instant::now();
    interrupt::install();
    // Before the models, which may take minutes.
    if let Some(out) = &args.out {
        correction::require_place(out, true).context(FAILED)?;
    }
    let files = read_files(&args.fit.text, args.other_text.as_deref()).context(FAILED)?;
    let head = open_head(args, settings).context(FAILED)?;
    let models = Models::open(args, settings)?;
    let engine = &models.engine;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => correction::default_profile(engine, &settings.host.profiles),
    };
    if args.out.is_none() {
        correction::require_place(&out, false).context(FAILED)?;
    }
    let tokenizer = engine.tokenizer().context(FAILED)?;
    models.require_same_tokenizer(&files.texts[0].text)?;
    // Of the files as they were opened.
    let profiled = Profiled::of(&models).context(FAILED)?;
    if !args.force {
        correction::require_same_model(&out, &profiled.model).context(FAILED)?;
    }
    models.warn(args, printer)?;
    let body_recipe = body_recipe(engine).context("cannot describe the model in a profile")?;
    if head.is_some() && body_recipe.is_none() {
        printer.warning(
            "the model's folder does not say how it was exported: a head map can be judged, and \
             `lapwing export --correct-head` will refuse it",
        );
    }
    let n_window = models.n_window(args).context(FAILED)?;
    let texts = CalibrationTexts::split(&files, tokenizer, n_window, args.fit.held_out);
    let texts = texts.context(FAILED)?;
    let rows = head.as_ref().map(|head| head_rows(head, engine, tokenizer.n_vocab()));
    let rows = rows.transpose().context(FAILED)?;
    let fitted = texts.calibration();
    let head_matrix = rows.as_ref().map(matrix).transpose().context(FAILED)?;
    let inputs = models.inputs(tokenizer, &texts, &fitted, head_matrix).context(FAILED)?;
    let options = options(args, settings, engine, n_window);
    let Profiled { model, reference } = profiled;
    let labels = ProfileLabels { model, reference, texts: texts.labels(&files), body_recipe };
    doing::runs();
    let steps = printer.steps("calibrating");
    let outcome = calibrate(&inputs, &options, &mut watch(&steps, printer));
    drop(steps);
    if let Err(CalibrateError::Stopped(_)) = outcome {
        printer.note("nothing was written");
        return Err(Interrupted.into());
    }
    models.require_unchanged().context(FAILED)?;
    let calibration = outcome.with_context(|| format!("{FAILED} {}", args.model))?;
    let (mut profile, arrays) = calibration.profile(labels);
    correction::write_profile(&out, &mut profile, &arrays).context(FAILED)?;
    let model = report::with_options(&args.model, settings);
    let args = &CalibrateArgs { model, ..args.clone() };
    let done = Done { args, out: &out, profile: &profile, calibration: &calibration };
    report::tell(&done, &options, started.elapsed(), printer)
}

/// Read the texts; a file that is named twice is wrong usage.
pub(super) fn read_files(
    texts: &[PathBuf],
    other: Option<&Path>,
) -> anyhow::Result<CalibrationFiles> {
    let wrong = |error: CalibrationFilesError, advice: &str| {
        UsageError { problem: error.to_string(), advice: Some(advice.to_owned()) }.into()
    };
    CalibrationFiles::read(texts, other).map_err(|error| match error {
        CalibrationFilesError::Text(error) => error.into(),
        CalibrationFilesError::Twice { .. } => wrong(error, "name every text with one --text"),
        CalibrationFilesError::OtherToo { .. } => {
            wrong(error, "--other-text takes a text of another domain than --text")
        }
    })
}

/// Open the checkpoint that was named, if one was, for its output head.
pub(super) fn open_head(
    args: &CalibrateArgs,
    settings: &Settings,
) -> anyhow::Result<Option<Checkpoint>> {
    let Some(name) = &args.fit.checkpoint else { return Ok(None) };
    let path = checkpoint_at(resolve_model(name, &settings.host.store)?);
    doing::reads(&path);
    Checkpoint::open(&path).context("cannot open the checkpoint").map(Some)
}

/// The rows of its output head, when the model was exported from it.
pub(super) fn head_rows(
    checkpoint: &Checkpoint,
    engine: &Engine,
    n_tokens: usize,
) -> anyhow::Result<HeadRows> {
    let (model, n_hidden) = (&engine.path, engine.model.n_hidden());
    let rows = HeadRows::of(checkpoint, model, n_hidden, n_tokens, &interrupt::requested);
    interrupt::check()?;
    Ok(rows?)
}

pub(super) fn matrix(rows: &HeadRows) -> Result<HeadMatrix<'_>, HeadMatrixError> {
    HeadMatrix::new(&rows.weights, rows.n_tokens, rows.n_hidden)
}

/// What is reported.
struct Done<'a> {
    /// The model is told with the options that the profile is used with.
    args: &'a CalibrateArgs,
    out: &'a Path,
    profile: &'a lapwing_logits::profile::CorrectionProfile,
    calibration: &'a Calibration,
}

/// A window that no model holds.
#[derive(Debug, thiserror::Error)]
#[error("a window of {n_window} tokens is too long: there is room for {n_positions_max}")]
pub struct WindowTooLong {
    pub n_window: usize,
    pub n_positions_max: usize,
}

/// The model and its reference, with the settings that this one runs with.
pub(super) struct Models {
    pub(super) engine: Engine,
    pub(super) reference: Option<(Engine, Settings)>,
}

impl Models {
    pub(super) fn open(args: &CalibrateArgs, settings: &Settings) -> anyhow::Result<Models> {
        let mut settings = settings.clone();
        // A map of the head is fitted to what goes into it.
        settings.options.hidden_states = args.fit.checkpoint.is_some();
        let engine = opening::open(&args.model, &settings)?;
        let reference = match &args.reference {
            None => None,
            Some(name) => {
                let settings = reference::settings(&settings, &args.fit.more);
                Some((reference::open(name, &settings)?, settings))
            }
        };
        Ok(Models { engine, reference })
    }

    /// What to calibrate on.
    pub(super) fn inputs<'a>(
        &'a self,
        tokenizer: &Tokenizer,
        texts: &'a CalibrationTexts,
        fitted: &'a [&'a [TokenId]],
        head: Option<HeadMatrix<'a>>,
    ) -> anyhow::Result<CalibrateInputs<'a>> {
        Ok(CalibrateInputs {
            model: self.engine.model.as_ref(),
            reference: self.reference.as_ref().map(|(reference, _)| reference.model.as_ref()),
            head,
            n_tokens: tokenizer.n_vocab(),
            begin: begin_token(tokenizer)?,
            calibration: fitted,
            held_out: &texts.held_out,
            other_domain: texts.other.as_deref(),
        })
    }

    /// Tokens in a window, as asked or as both models have room.
    pub(super) fn n_window(&self, args: &CalibrateArgs) -> Result<usize, WindowTooLong> {
        let n_positions_max = self.n_positions_max();
        let n_window = args.fit.window.map_or(N_WINDOW.min(n_positions_max), usize::from);
        match n_window <= n_positions_max {
            true => Ok(n_window),
            false => Err(WindowTooLong { n_window, n_positions_max }),
        }
    }

    /// Say what will come to less than was asked for.
    pub(super) fn warn(&self, args: &CalibrateArgs, printer: &Printer) -> anyhow::Result<()> {
        let Some((reference, _)) = &self.reference else { return Ok(()) };
        let sizes = reference::coarser(&self.engine, reference);
        if let Some(sizes) = sizes.context("cannot compare the model with the reference")? {
            let [of_model, of_reference] = sizes.map(human_bytes);
            printer.warning(format!(
                "the reference's weights take {of_reference}, the model's {of_model}: --reference \
                 takes a less quantised export of the same checkpoint, such as its f32 export"
            ));
        }
        let n_hidden = [&self.engine, reference].map(|engine| engine.model.n_hidden());
        if args.fit.checkpoint.is_some() && n_hidden[0] != n_hidden[1] {
            let [n_model, n_reference] =
                n_hidden.map(|n| n.map_or_else(|| "none".to_owned(), |n| n.to_string()));
            printer.warning(format!(
                "--checkpoint has no effect: the model's hidden states have {n_model} entries and \
                 those of the reference {n_reference}, so no head map is fitted"
            ));
        }
        Ok(())
    }

    /// Demand that nobody wrote to the files of either meanwhile.
    pub(super) fn require_unchanged(&self) -> Result<(), FileChanged> {
        self.engine.require_unchanged()?;
        self.reference.as_ref().map_or(Ok(()), |(reference, _)| reference.require_unchanged())
    }

    fn n_positions_max(&self) -> usize {
        let of_model = self.engine.model.limits().n_positions_max;
        let reference = self.reference.as_ref();
        let of_reference = reference.map(|(engine, _)| engine.model.limits().n_positions_max);
        of_reference.map_or(of_model, |n_positions_max| n_positions_max.min(of_model))
    }

    pub(super) fn require_same_tokenizer(&self, probe: &str) -> anyhow::Result<()> {
        const FAILED: &str = "cannot use the reference";
        let Some((reference, _)) = &self.reference else { return Ok(()) };
        let (theirs, ours) = (reference.tokenizer().context(FAILED)?, self.engine.tokenizer()?);
        require_same_tokenizer(theirs, ours, probe).context(FAILED)
    }
}

pub(super) fn options(
    args: &CalibrateArgs,
    settings: &Settings,
    engine: &Engine,
    n_window: usize,
) -> CalibrateOptions {
    let n_windows = args.fit.windows.map_or(N_WINDOWS, usize::from);
    let n_judged = n_held_out(n_windows, args.fit.held_out);
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    CalibrateOptions {
        n_window_tokens: n_window,
        n_calibration_windows_max: n_windows - n_judged,
        n_judged_windows_max: n_judged,
        n_bands: N_BANDS,
        n_grid: N_GRID,
        given_gains: distinct(&args.gain),
        ridges: RIDGES.to_vec(),
        gauge: Gauge::Mean,
        gate: gate(args),
        repetition: RepetitionOptions {
            n_prompts: N_PROMPTS,
            n_prompt_tokens: N_PROMPT_TOKENS,
            n_new_tokens: N_NEW_TOKENS,
            stop_ids: engine.folder.tokens.eos.clone(),
        },
        level: Level::detect(),
        n_threads: settings.options.n_threads.map_or(available, usize::from),
    }
}

/// What the gate asks for.
pub(super) fn gate(args: &CalibrateArgs) -> GateOptions {
    GateOptions {
        confidence: CONFIDENCE,
        n_resamples: N_RESAMPLES,
        seed: args.fit.seed,
        allow_one_domain: false,
        min_divergence_share: MIN_DIVERGENCE_SHARE,
        min_gain_nats: args.min_gain,
    }
}

/// Each once: candidates are told apart by their gains.
fn distinct(gains: &[f32]) -> Vec<f32> {
    let mut kept: Vec<f32> = Vec::new();
    for &gain in gains {
        if !kept.contains(&gain) {
            kept.push(gain);
        }
    }
    kept
}

/// Shows the progress, stage by stage where there is no bar, and hears of Ctrl-C.
fn watch<'a>(
    steps: &'a Steps,
    printer: &'a Printer,
) -> impl FnMut(CalibrateProgress) -> ControlFlow<()> + 'a {
    let mut told = None;
    move |CalibrateProgress { stage, n_done, n_total }| {
        steps.set(n_done, n_total, doing(stage));
        if !steps.is_shown() && told.replace(stage) != Some(stage) {
            printer.note(format!("{}: {n_total} to do", doing(stage)));
        }
        interrupt::flow(false)
    }
}

/// A stage in words.
pub(super) fn doing(stage: Stage) -> &'static str {
    match stage {
        Stage::Fit => "fitting",
        Stage::Offsets => "weighing offsets",
        Stage::Select => "choosing a filter",
        Stage::JudgeHome => "judging on held-out text",
        Stage::JudgeOther => "judging on the other text",
        Stage::Generate => "generating freely",
    }
}

/// What profiles and reports tell of the models: with the hashes of their files.
struct Profiled {
    model: ProfiledModel,
    reference: Option<ProfiledModel>,
}

impl Profiled {
    fn of(models: &Models) -> anyhow::Result<Profiled> {
        let model = opening::profiled_model(&models.engine)?;
        let reference = match &models.reference {
            None => None,
            Some((engine, _)) => Some(opening::profiled_model(engine)?),
        };
        if let Some(reference) = &reference {
            require_other(&model.sha256, &reference.sha256)?;
        }
        Ok(Profiled { model, reference })
    }
}

/// How all but the output head of the model was exported, when its folder tells.
fn body_recipe(engine: &Engine) -> anyhow::Result<Option<serde_json::Value>> {
    let recipe = read_recipe(&engine.path)?;
    Ok(recipe.map(|recipe| serde_json::to_value(recipe.body())).transpose()?)
}
