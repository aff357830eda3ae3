//! One quantised model, from its calibration to the verdicts.

use std::sync::Arc;

use lapwing_backend::Model;
use lapwing_eval::{
    CalibrateError, Calibration, CalibrationWindows, Comparison, Domain, Gate, JudgeInputs,
    JudgeOptions, Measure, OnProgress, Outcome, Place, Progress, ScorePair, TaskOptions,
    TaskReport, Treatment, TreatmentKind, TreatmentScore, calibrate, judge, run_task,
};
use lapwing_logits::Correction;
use lapwing_model::TokenId;

use super::ablations::{Ablation, ablations, default_smoothing};
use super::hypotheses::{Evidence, decide};
use super::speed::{Generating, costs, speeds};
use super::{
    Accuracy, Diagnosis, DomainScore, FalsifyError, FalsifyInputs, FalsifyOptions, FullPrecision,
    Group, OnStudyProgress, Step, Studied, StudyProgress, TaskInputs, TreatmentResult, stopped_or,
};

/// Study one quantised model.
///
/// # Errors
///
/// Before any work without a reference, when a text is too short or an option makes no sense; later
/// when a model fails.
pub fn falsify(
    inputs: &FalsifyInputs<'_>,
    options: &FalsifyOptions,
    on_progress: OnStudyProgress<'_>,
) -> Result<Outcome<Studied>, FalsifyError> {
    let Some(reference) = inputs.calibrate.reference else {
        return Err(FalsifyError::NoReference { name: inputs.name.to_owned() });
    };
    let windows = CalibrationWindows::cut(&inputs.calibrate, &options.calibrate)
        .map_err(|source| calibration_failed(inputs.name, source))?;
    let run = Run { inputs, options, reference, windows };
    match run.all(on_progress)? {
        Ok(studied) => Ok(Outcome::Finished(studied)),
        Err(stopped) => Ok(Outcome::Stopped(stopped)),
    }
}

macro_rules! go_on {
    ($step:expr) => {
        match $step? {
            Ok(value) => value,
            Err(stopped) => return Ok(Err(stopped)),
        }
    };
}

struct Run<'a> {
    inputs: &'a FalsifyInputs<'a>,
    options: &'a FalsifyOptions,
    reference: &'a dyn Model,
    windows: CalibrationWindows,
}

impl Run<'_> {
    fn all(&self, on_progress: OnStudyProgress<'_>) -> Step<Studied> {
        let calibration = go_on!(self.calibrate(on_progress));
        let full_precision = go_on!(self.full_precision(on_progress));
        let (default_idx, default) =
            default_smoothing(&calibration).expect("a calibration always fits the default KLS");
        let made = ablations(default, calibration.n_tokens);
        let scores = go_on!(self.ablations(&made, on_progress));

        let best_idx = calibration.best_smoothing.unwrap_or(default_idx);
        let generating = generating(&calibration, best_idx);
        let speeds = go_on!(self.speeds(&generating, on_progress));
        let tokens = &self.windows.home[0];
        let (model, n_tokens) = (self.inputs.calibrate.model, calibration.n_tokens);
        let costs = costs(model, self.options.level(), tokens, default, n_tokens)
            .map_err(|source| self.speed_failed(source))?;
        let accuracies = go_on!(self.accuracies(&generating, on_progress));

        let inverted = made.iter().position(|ablation| ablation.group == Group::Inverted);
        let evidence = Evidence {
            options: self.options,
            raw: &calibration.home[0],
            best: &calibration.home[best_idx + 1],
            fitted: &calibration.home[default_idx + 1],
            inverted: &scores[inverted.expect("it is always made")],
            speeds: &speeds,
            accuracies: &accuracies,
            full_precision: full_precision[0].negative_log_likelihood,
        };
        let hypotheses = decide(self.inputs.name, &evidence)?;
        let conditions = self.conditions(&calibration, &made, &scores)?;
        Ok(Ok(Studied {
            name: self.inputs.name.to_owned(),
            n_window_tokens: self.options.calibrate.n_window_tokens,
            n_fit_rows: calibration.n_fit_rows,
            full_precision,
            diagnostics: diagnosis(&calibration),
            conditions,
            costs,
            speeds,
            accuracies,
            hypotheses,
            gate: calibration.reason.clone(),
            unfitted: calibration.unfitted,
        }))
    }

    fn calibrate(&self, on_progress: OnStudyProgress<'_>) -> Step<Calibration> {
        let on_progress = &mut |progress| on_progress(StudyProgress::Calibrate(progress));
        calibrate(&self.inputs.calibrate, &self.options.calibrate, on_progress)
            .map(stopped_or)
            .map_err(|source| calibration_failed(self.inputs.name, source))
    }

    /// The reference as a model without one: its perplexity on the same windows.
    fn full_precision(&self, on_progress: OnStudyProgress<'_>) -> Step<Vec<FullPrecision>> {
        let mut found = Vec::new();
        let other = self.windows.other.as_deref().map(|windows| (Domain::Other, windows));
        for (domain, windows) in
            std::iter::once((Domain::Home, self.windows.home.as_slice())).chain(other)
        {
            let on_progress = &mut |progress| on_progress(StudyProgress::FullPrecision(progress));
            let scored = self.judge(
                "the reference",
                (self.reference, None),
                &[Treatment::raw()],
                windows,
                on_progress,
            );
            let scores = go_on!(scored);
            let negative_log_likelihood = scores[0].mean_negative_log_likelihood();
            let perplexity = negative_log_likelihood.exp();
            found.push(FullPrecision { domain, perplexity, negative_log_likelihood });
        }
        Ok(Ok(found))
    }

    fn ablations(
        &self,
        made: &[Ablation],
        on_progress: OnStudyProgress<'_>,
    ) -> Step<Vec<TreatmentScore>> {
        let treatments: Vec<Treatment> =
            made.iter().map(|ablation| ablation.treatment.clone()).collect();
        let on_progress = &mut |progress| on_progress(StudyProgress::Ablations(progress));
        let models = (self.inputs.calibrate.model, Some(self.reference));
        self.judge("the ablations", models, &treatments, &self.windows.home, on_progress)
    }

    fn judge(
        &self,
        what: &'static str,
        (model, reference): (&dyn Model, Option<&dyn Model>),
        treatments: &[Treatment],
        windows: &[Vec<TokenId>],
        on_progress: OnProgress<'_>,
    ) -> Step<Vec<TreatmentScore>> {
        let inputs = JudgeInputs {
            model,
            reference,
            head: None,
            n_tokens: self.inputs.calibrate.n_tokens,
            windows,
            n_unscored_rows: 0,
            common: None,
        };
        let (level, n_threads) = (self.options.level(), self.options.calibrate.n_threads);
        let judged = judge(&inputs, treatments, JudgeOptions { level, n_threads }, on_progress);
        judged.map(stopped_or).map_err(|source| {
            let (name, source) = (self.inputs.name.to_owned(), Box::new(source));
            FalsifyError::Judge { name, what, source }
        })
    }

    fn speeds(
        &self,
        conditions: &[Generating],
        on_progress: OnStudyProgress<'_>,
    ) -> Step<Vec<super::Speed>> {
        let on_progress = &mut |progress| on_progress(StudyProgress::Speed(progress));
        let size = (self.options.n_speed_rounds, self.options.n_speed_tokens);
        let (model, prompt) = (self.inputs.model, &self.windows.home[0]);
        speeds(model, self.options.level(), prompt, conditions, size, on_progress)
            .map(stopped_or)
            .map_err(|source| self.speed_failed(source))
    }

    /// The task with the reference, and with every treatment that generates.
    fn accuracies(
        &self,
        conditions: &[Generating],
        on_progress: OnStudyProgress<'_>,
    ) -> Step<Vec<Accuracy>> {
        let mut found = Vec::new();
        let Some(task) = self.inputs.task else { return Ok(Ok(found)) };
        let full_precision = ("full precision".to_owned(), None);
        let of_reference = std::iter::once((self.inputs.reference, &full_precision));
        let of_model = conditions.iter().map(|condition| (self.inputs.model, condition));
        for (model, (name, correction)) in of_reference.chain(of_model) {
            let on_progress = &mut |progress| on_progress(StudyProgress::Task(progress));
            let report = go_on!(self.run_task(&task, model, correction.clone(), on_progress));
            let score = report.scores.first().expect("every task has a score");
            found.push(Accuracy {
                name: name.clone(),
                score: format!("{} {}", task.task, score.name),
                value: score.value,
                standard_error: score.standard_error,
                n_items: report.n_items,
            });
        }
        Ok(Ok(found))
    }

    fn run_task(
        &self,
        task: &TaskInputs<'_>,
        model: &Arc<dyn Model>,
        correction: Option<Arc<Correction>>,
        on_progress: &mut dyn FnMut(Progress) -> std::ops::ControlFlow<()>,
    ) -> Step<TaskReport> {
        let options = TaskOptions { correction, ..task.options.clone() };
        let TaskInputs { task, items, tokenizer, .. } = *task;
        run_task(task, model, tokenizer, items, &options, None, on_progress)
            .map(stopped_or)
            .map_err(|source| {
                let (name, source) = (self.inputs.name.to_owned(), Box::new(source));
                FalsifyError::Task { name, source }
            })
    }

    /// Every condition with its scores, the raw model first.
    fn conditions(
        &self,
        calibration: &Calibration,
        made: &[Ablation],
        scores: &[TreatmentScore],
    ) -> Result<Vec<TreatmentResult>, FalsifyError> {
        let home = &calibration.home;
        let other = calibration.other.as_deref();
        let mut results = Vec::new();
        for idx in 0..home.len() {
            let candidate = idx.checked_sub(1).map(|idx| &calibration.verdicts[idx]);
            let pairs = ScorePair { raw: &home[0], corrected: &home[idx] };
            let others = other.map(|other| ScorePair { raw: &other[0], corrected: &other[idx] });
            let repetition = candidate.and_then(|verdict| verdict.repetition.as_ref());
            results.push(TreatmentResult {
                name: home[idx].name.clone(),
                group: if idx == 0 { Group::Raw } else { Group::Candidate },
                parameter: None,
                scores: self.scores(pairs, others)?,
                divergence_by_position: home[idx].divergence_by_position.clone(),
                gram_shares: repetition.map(|found| [found.grams.raw, found.grams.corrected]),
                passes: candidate.map(|verdict| verdict.passes),
                reason: candidate.map(|verdict| verdict.reason.clone()),
            });
        }
        for (ablation, score) in made.iter().zip(scores) {
            results.push(TreatmentResult {
                name: score.name.clone(),
                group: ablation.group,
                parameter: ablation.parameter,
                scores: self.scores(ScorePair { raw: &home[0], corrected: score }, None)?,
                divergence_by_position: Vec::new(),
                gram_shares: None,
                passes: None,
                reason: None,
            });
        }
        Ok(results)
    }

    fn scores(
        &self,
        home: ScorePair<'_>,
        other: Option<ScorePair<'_>>,
    ) -> Result<Vec<DomainScore>, FalsifyError> {
        let gate = Gate::new(self.options.calibrate.gate, 1);
        let judged = gate.judge(&home.corrected.name, Place::RunTime, home, other);
        let verdict = judged.map_err(|source| {
            calibration_failed(self.inputs.name, CalibrateError::Intervals(source))
        })?;
        let pairs = [(Domain::Home, Some(home)), (Domain::Other, other)];
        let of_pair = |(domain, pair): (Domain, Option<ScorePair<'_>>)| {
            let score = pair?.corrected;
            let of_measure = |measure| {
                let is_it =
                    |found: &&Comparison| (found.domain, found.measure) == (domain, measure);
                verdict.comparisons.iter().find(is_it).map(|found| found.improvement_plain)
            };
            Some(DomainScore {
                domain,
                perplexity: score.mean_negative_log_likelihood().exp(),
                divergence: score.mean_divergence()?,
                agreement: score.agreement()?,
                likelihood_improvement: of_measure(Measure::NegativeLogLikelihood)?,
                divergence_improvement: of_measure(Measure::Divergence)?,
            })
        };
        Ok(pairs.into_iter().filter_map(of_pair).collect())
    }

    fn speed_failed(&self, source: super::SpeedError) -> FalsifyError {
        FalsifyError::Speed { name: self.inputs.name.to_owned(), source: Box::new(source) }
    }
}

/// The raw model, the bias, the best KLS, and what the gate chose where that is something else.
fn generating(calibration: &Calibration, best_idx: usize) -> Vec<Generating> {
    let mut conditions = vec![(calibration.home[0].name.clone(), None)];
    let offset_idx = calibration.candidates.iter().position(|candidate| {
        let TreatmentKind::Corrected(correction) = &candidate.treatment.kind else { return false };
        correction.offset().is_some() && correction.smoothing().is_none()
    });
    for (idx, candidate) in calibration.candidates.iter().enumerate() {
        let TreatmentKind::Corrected(correction) = &candidate.treatment.kind else { continue };
        if idx == best_idx || offset_idx == Some(idx) || calibration.run_time == Some(idx) {
            conditions.push((candidate.name.clone(), Some(Arc::clone(correction))));
        }
    }
    conditions
}

fn diagnosis(calibration: &Calibration) -> Diagnosis {
    let pooled = &calibration.diagnostics.pooled;
    let [lag_1, lag_2] = pooled.increment_autocorrelations;
    Diagnosis {
        increment_autocorrelation_lag_1: lag_1,
        increment_autocorrelation_lag_2: lag_2,
        lag_two_score: pooled.lag_two_score,
        coefficient: finite(pooled.coefficient),
        coefficient_median: finite(calibration.diagnostics.coefficient_median),
        share_frozen: pooled.share_frozen,
        gain_of_maximum_likelihood: calibration.diagnostics.scalar.gain,
    }
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn calibration_failed(name: &str, source: CalibrateError) -> FalsifyError {
    FalsifyError::Calibrate { name: name.to_owned(), source: Box::new(source) }
}
