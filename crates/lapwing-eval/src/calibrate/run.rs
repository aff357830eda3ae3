//! A calibration's steps, each of which the caller may break off.

use lapwing_backend::Model;

use super::candidates::{self, Candidate};
use super::combine::{self, Selected};
use super::fit::Fit;
use super::rare_offset::CommonKeeper;
use super::windows::CalibrationWindows;
use super::{
    CalibrateError, CalibrateInputs, CalibrateOptions, CalibrateProgress, Calibration,
    OnCalibrateProgress, Stage, diagnostics,
};
use crate::common_tokens::CommonTokens;
use crate::gate::{Answers, Gate, Place, ScorePair, Verdict, choose};
use crate::judge::{JudgeInputs, JudgeOptions, TreatmentScore, judge};
use crate::progress::{Progress, Stopped};
use crate::repetition::{Generator, Repetition, cut_prompts};
use crate::rows::RowSource;
use crate::treatment::Treatment;
use crate::windows::TextWindow;

const INTERVALS: &str = "form the intervals of the gate";
const FIT: &str = "fit on the calibration text";

/// A calibration while it runs.
pub(super) struct Run<'a, 'b> {
    pub(super) inputs: &'a CalibrateInputs<'a>,
    pub(super) options: &'a CalibrateOptions,
    pub(super) on_progress: OnCalibrateProgress<'b>,
}

impl Run<'_, '_> {
    /// Everything, in order.
    pub(super) fn all(
        &mut self,
        windows: &CalibrationWindows,
    ) -> Result<Calibration, CalibrateError> {
        let mut fit = self.fit(&windows.fit)?;
        let offsets = self.offsets(&mut fit, windows)?;
        let single = candidates::single(&mut fit, offsets, self.options)?;
        let selected = self.select(&single.candidates, windows)?;
        let best = selected.smoothing;
        let mut candidates = single.candidates;
        candidates.extend(combine::with_best(&candidates, selected, self.inputs.n_tokens)?);

        let common = Some(&windows.common);
        let home = self.judge(Stage::JudgeHome, &candidates, &windows.home, common)?;
        let other = windows.other.as_ref();
        let other = other
            .map(|other| self.judge(Stage::JudgeOther, &candidates, other, common))
            .transpose()?;
        let gate = Gate::new(self.options.gate, candidates.len());
        let mut verdicts = verdicts(&gate, &candidates, &home, other.as_deref())?;
        self.generate(&gate, &candidates, best, &mut verdicts)?;
        let run_time = choose(&verdicts, Place::RunTime);
        let export = choose(&verdicts, Place::Export);
        Ok(Calibration {
            n_fit_rows: fit.n_rows(),
            n_fit_windows: windows.fit.len(),
            n_selection_windows: windows.selection.len(),
            diagnostics: diagnostics::diagnose(&mut fit),
            candidates,
            unfitted: single.unfitted,
            home,
            other,
            reason: self.reason(&verdicts, run_time, export),
            verdicts,
            best_smoothing: best,
            run_time,
            export,
            n_tokens: self.inputs.n_tokens,
            rules: self.options.gate,
        })
    }

    fn fit(&mut self, windows: &[TextWindow]) -> Result<Fit, CalibrateError> {
        let CalibrateInputs { model, reference, n_tokens, .. } = *self.inputs;
        let mut fit = Fit::new(self.inputs, self.options);
        let mut source =
            RowSource::new(reference, model, n_tokens).map_err(CalibrateError::step(FIT))?;
        for (window_idx, window) in windows.iter().enumerate() {
            self.report(Stage::Fit, window_idx, windows.len())?;
            fit.take_window(window_idx, windows.len(), window, &mut source)
                .map_err(CalibrateError::step(FIT))?;
        }
        Ok(fit)
    }

    /// What a reference says is to be added to the logits, with names: in full and by half, for all
    /// tokens and for the rare ones. Half because a mean over all contexts is too much in many.
    fn offsets(
        &mut self,
        fit: &mut Fit,
        windows: &CalibrationWindows,
    ) -> Result<Vec<(String, Vec<f32>)>, CalibrateError> {
        let Some(paired) = &mut fit.paired else { return Ok(Vec::new()) };
        let full = paired.shrunk_offsets();
        let half = full.iter().map(|offset| 0.5 * offset).collect();
        let plain = vec![full, half];
        let CalibrateInputs { model, n_tokens, .. } = *self.inputs;
        let mut source =
            RowSource::new(None, model, n_tokens).map_err(CalibrateError::step(FIT))?;
        let mut keeper = CommonKeeper::new(&plain, &windows.common);
        for (window_idx, window) in windows.selection.iter().enumerate() {
            self.report(Stage::Offsets, window_idx, windows.selection.len())?;
            let place = CalibrationWindows::place_of_selecting(window_idx);
            let streamed = source.stream(place, &window.tokens, &mut |block| {
                (0..block.n_rows()).for_each(|row_idx| keeper.take(block.model(row_idx)));
                Ok(())
            });
            streamed.map_err(CalibrateError::step(FIT))?;
        }
        let names = ["bias", "bias, half", "bias of rare tokens", "bias of rare tokens, half"];
        let rare = keeper.offsets(&plain);
        Ok(names.map(str::to_owned).into_iter().zip(plain.into_iter().chain(rare)).collect())
    }

    /// What does best on windows it was not fitted on; nothing when no KLS changes anything.
    fn select(
        &mut self,
        candidates: &[Candidate],
        windows: &CalibrationWindows,
    ) -> Result<Selected, CalibrateError> {
        if !candidates.iter().any(Candidate::is_plain_smoothing) {
            return Ok(Selected::default());
        }
        let is_asked = |one: &Candidate| one.is_plain_smoothing() || one.is_plain_offset();
        let places: Vec<usize> =
            (0..candidates.len()).filter(|&idx| is_asked(&candidates[idx])).collect();
        let asked: Vec<Candidate> = places.iter().map(|&idx| candidates[idx].clone()).collect();
        let scores = self.judge(Stage::Select, &asked, &windows.selection, None)?;
        let value = |score: &TreatmentScore| {
            score.mean_divergence().unwrap_or_else(|| score.mean_negative_log_likelihood())
        };
        // The first score is the raw model's.
        let values: Vec<(f64, usize)> = scores[1..].iter().map(value).zip(places).collect();
        let best = |is_one: fn(&Candidate) -> bool| {
            let found = values.iter().filter(|(_, idx)| is_one(&candidates[*idx]));
            found.min_by(|one, other| one.0.total_cmp(&other.0)).map(|&(_, idx)| idx)
        };
        let smoothing = best(Candidate::is_plain_smoothing);
        Ok(Selected { smoothing, offset: best(Candidate::is_plain_offset) })
    }

    /// The raw model's score and those of `candidates`.
    fn judge(
        &mut self,
        stage: Stage,
        candidates: &[Candidate],
        windows: &[TextWindow],
        common: Option<&CommonTokens>,
    ) -> Result<Vec<TreatmentScore>, CalibrateError> {
        let of_candidates = candidates.iter().map(|candidate| candidate.treatment.clone());
        let treatments: Vec<Treatment> =
            std::iter::once(Treatment::raw()).chain(of_candidates).collect();
        let CalibrateInputs { model, reference, head, n_tokens, .. } = *self.inputs;
        let inputs = JudgeInputs { model, reference, head, n_tokens, windows, common };
        let options = JudgeOptions { level: self.options.level, n_threads: self.options.n_threads };
        let on_progress = &mut |progress: Progress| {
            let Progress { n_done, n_total, .. } = progress;
            (self.on_progress)(CalibrateProgress { stage, n_done, n_total })
        };
        judge(&inputs, &treatments, options, on_progress)
            .map_err(CalibrateError::step(format!("judge the candidates, at stage {stage:?}")))
    }

    /// Generate freely with what passed so far and with the best KLS.
    fn generate(
        &mut self,
        gate: &Gate,
        candidates: &[Candidate],
        best: Option<usize>,
        verdicts: &mut [Verdict],
    ) -> Result<(), CalibrateError> {
        let is_due = |idx: &usize| verdicts[*idx].passes || Some(*idx) == best;
        let due: Vec<usize> = (0..candidates.len()).filter(is_due).collect();
        if due.is_empty() {
            return Ok(());
        }
        let raw = Treatment::raw();
        let n_total = due.len() + 1 + usize::from(self.inputs.reference.is_some());
        let mut report = Answering { n_done: 0, n_total };
        let of_model = self.answers(self.inputs.model, &raw, &mut report)?;
        let reference = self.inputs.reference;
        let of_reference =
            reference.map(|reference| self.answers(reference, &raw, &mut report)).transpose()?;
        for idx in due {
            let treatment = &candidates[idx].treatment;
            let corrected = self.answers(self.inputs.model, treatment, &mut report)?;
            let answers = Answers {
                raw: &of_model,
                reference: of_reference.as_deref(),
                corrected: &corrected,
            };
            gate.weigh_repetition(&mut verdicts[idx], answers)
                .map_err(CalibrateError::step(INTERVALS))?;
        }
        Ok(())
    }

    /// Answers to the prompts of the held-out text.
    fn answers(
        &mut self,
        model: &dyn Model,
        treatment: &Treatment,
        report: &mut Answering,
    ) -> Result<Vec<Repetition>, CalibrateError> {
        let CalibrateInputs { head, n_tokens, .. } = *self.inputs;
        let options = &self.options.repetition;
        let doing = || format!("generate freely under {}", treatment.name);
        let mut generator = Generator::new(model, treatment, head, n_tokens, self.options.level)
            .map_err(CalibrateError::step(doing()))?;
        let mut answers = Vec::new();
        for prompt in cut_prompts(self.inputs.held_out, self.inputs.begin, options) {
            self.report(Stage::Generate, report.n_done, report.n_total)?;
            let answer = generator.repetition(&prompt, options);
            answers.push(answer.map_err(CalibrateError::step(doing()))?);
        }
        report.n_done += 1;
        Ok(answers)
    }

    /// The decision in words, with what was missing to open the gate.
    fn reason(
        &self,
        verdicts: &[Verdict],
        run_time: Option<usize>,
        export: Option<usize>,
    ) -> String {
        let describe = |idx: usize| format!("{}: {}", verdicts[idx].name, verdicts[idx].reason);
        match (run_time, export) {
            (Some(run_time), None) => describe(run_time),
            (None, Some(export)) => format!("only for a new export, {}", describe(export)),
            (Some(run_time), Some(export)) => {
                format!("{}; for a new export, {}", describe(run_time), describe(export))
            }
            (None, None) => {
                let mut reason = format!("none of {} candidates helps for sure", verdicts.len());
                if self.inputs.reference.is_none() {
                    reason += "; without a reference only smoothing could be tried";
                }
                if self.inputs.other_domain.is_none() && !self.options.gate.allow_one_domain {
                    reason += "; nothing passes without text of another domain";
                }
                reason
            }
        }
    }

    /// An error when the caller breaks off.
    fn report(&mut self, stage: Stage, n_done: usize, n_total: usize) -> Result<(), Stopped> {
        let flow = (self.on_progress)(CalibrateProgress { stage, n_done, n_total });
        if flow.is_break() { Err(Stopped { n_done, n_total }) } else { Ok(()) }
    }
}

/// Treatments that have answered all prompts.
struct Answering {
    n_done: usize,
    n_total: usize,
}

fn verdicts(
    gate: &Gate,
    candidates: &[Candidate],
    home: &[TreatmentScore],
    other: Option<&[TreatmentScore]>,
) -> Result<Vec<Verdict>, CalibrateError> {
    let verdict = |(idx, candidate): (usize, &Candidate)| {
        // The first score is the raw model's.
        let home = ScorePair { raw: &home[0], corrected: &home[idx + 1] };
        let other = other.map(|other| ScorePair { raw: &other[0], corrected: &other[idx + 1] });
        gate.judge(&candidate.name, candidate.place, home, other)
    };
    let verdicts = candidates.iter().enumerate().map(verdict).collect::<Result<_, _>>();
    verdicts.map_err(CalibrateError::step(INTERVALS))
}
