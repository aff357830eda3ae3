//! One quantised model, from its calibration to the verdicts.

use std::sync::Arc;

use lapwing_backend::Model;
use lapwing_eval::{
    Calibration, CalibrationWindows, Comparison, Domain, Gate, JudgeInputs, JudgeOptions, Measure,
    OnProgress, Place, ScorePair, TaskOptions, TextWindow, Treatment, TreatmentScore, calibrate,
    judge, run_task,
};
use lapwing_logits::Correction;

use super::ablations::{Ablation, ablations, default_smoothing};
use super::hypotheses::{Evidence, INTERVALS, decide};
use super::speed::{Generating, Timed, costs, speeds};
use super::{
    Accuracy, Diagnosis, DomainScore, FalsifyError, FalsifyInputs, FalsifyOptions, FullPrecision,
    Group, OnStudyProgress, Speed, Studied, StudyProgress, TaskInputs, TreatmentResult,
};

const CALIBRATE: &str = "calibrate";

/// Study one quantised model.
///
/// # Errors
///
/// Before any work without a reference, when a text is too short or an option makes no sense; later
/// when a model fails or the caller breaks off.
pub fn falsify(
    inputs: &FalsifyInputs<'_>,
    options: &FalsifyOptions,
    on_progress: OnStudyProgress<'_>,
) -> Result<Studied, FalsifyError> {
    let Some(reference) = inputs.calibrate.reference else {
        return Err(FalsifyError::NoReference { name: inputs.name.to_owned() });
    };
    let windows = CalibrationWindows::cut(&inputs.calibrate, &options.calibrate)
        .map_err(FalsifyError::part(CALIBRATE, inputs.name))?;
    Run { inputs, options, reference, windows }.all(on_progress)
}

struct Run<'a> {
    inputs: &'a FalsifyInputs<'a>,
    options: &'a FalsifyOptions,
    reference: &'a dyn Model,
    windows: CalibrationWindows,
}

impl Run<'_> {
    fn all(&self, on_progress: OnStudyProgress<'_>) -> Result<Studied, FalsifyError> {
        let calibration = self.calibrate(on_progress)?;
        let full_precision = self.full_precision(on_progress)?;
        let (default_idx, default) =
            default_smoothing(&calibration).expect("a calibration always fits the default KLS");
        let made = ablations(default, calibration.n_tokens);
        let scores = self.ablations(&made, on_progress)?;

        let best_idx = calibration.best_smoothing.unwrap_or(default_idx);
        let generating = generating(&calibration, best_idx);
        let speeds = self.speeds(&generating, on_progress)?;
        let costs = costs(&self.timed(), default, calibration.n_tokens)?;
        let accuracies = self.accuracies(&generating, on_progress)?;

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
        Ok(Studied {
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
        })
    }

    fn calibrate(&self, on_progress: OnStudyProgress<'_>) -> Result<Calibration, FalsifyError> {
        let on_progress = &mut |progress| on_progress(StudyProgress::Calibrate(progress));
        calibrate(&self.inputs.calibrate, &self.options.calibrate, on_progress)
            .map_err(FalsifyError::part(CALIBRATE, self.inputs.name))
    }

    /// The reference as a model without one: its perplexity on the same windows.
    fn full_precision(
        &self,
        on_progress: OnStudyProgress<'_>,
    ) -> Result<Vec<FullPrecision>, FalsifyError> {
        let mut found = Vec::new();
        let other = self.windows.other.as_deref().map(|windows| (Domain::Other, windows));
        for (domain, windows) in
            std::iter::once((Domain::Home, self.windows.home.as_slice())).chain(other)
        {
            let on_progress = &mut |progress| on_progress(StudyProgress::FullPrecision(progress));
            let models = (self.reference, None);
            let raw = [Treatment::raw()];
            let scores = self.judge("the reference", models, &raw, windows, on_progress)?;
            let negative_log_likelihood = scores[0].mean_negative_log_likelihood();
            let perplexity = negative_log_likelihood.exp();
            found.push(FullPrecision { domain, perplexity, negative_log_likelihood });
        }
        Ok(found)
    }

    fn ablations(
        &self,
        made: &[Ablation],
        on_progress: OnStudyProgress<'_>,
    ) -> Result<Vec<TreatmentScore>, FalsifyError> {
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
        windows: &[TextWindow],
        on_progress: OnProgress<'_>,
    ) -> Result<Vec<TreatmentScore>, FalsifyError> {
        let n_tokens = self.inputs.calibrate.n_tokens;
        let (head, common) = (None, None);
        let inputs = JudgeInputs { model, reference, head, n_tokens, windows, common };
        let (level, n_threads) = (self.options.level(), self.options.calibrate.n_threads);
        judge(&inputs, treatments, JudgeOptions { level, n_threads }, on_progress)
            .map_err(FalsifyError::part(&format!("judge {what} of"), self.inputs.name))
    }

    /// What is timed.
    fn timed(&self) -> Timed<'_> {
        Timed {
            name: self.inputs.name,
            model: self.inputs.model,
            level: self.options.level(),
            tokens: &self.windows.home[0].tokens,
        }
    }

    fn speeds(
        &self,
        treatments: &[Generating],
        on_progress: OnStudyProgress<'_>,
    ) -> Result<Vec<Speed>, FalsifyError> {
        let on_progress = &mut |progress| on_progress(StudyProgress::Speed(progress));
        let size = (self.options.n_speed_rounds, self.options.n_speed_tokens);
        speeds(&self.timed(), treatments, size, on_progress)
    }

    /// The task with the reference, and with every treatment that generates.
    fn accuracies(
        &self,
        treatments: &[Generating],
        on_progress: OnStudyProgress<'_>,
    ) -> Result<Vec<Accuracy>, FalsifyError> {
        let mut found = Vec::new();
        let Some(task) = self.inputs.task else { return Ok(found) };
        let full_precision = ("full precision".to_owned(), None);
        let of_reference = std::iter::once((self.inputs.reference, &full_precision));
        let of_model = treatments.iter().map(|treatment| (self.inputs.model, treatment));
        for (model, (name, correction)) in of_reference.chain(of_model) {
            let on_progress = &mut |progress| on_progress(StudyProgress::Task(progress));
            let TaskInputs { task, items, tokenizer, options } = task;
            let options = TaskOptions { correction: correction.clone(), ..options.clone() };
            let report = run_task(task, model, tokenizer, items, &options, None, on_progress)
                .map_err(FalsifyError::part("run the task on", self.inputs.name))?;
            let score = report.scores.first().expect("every task has a score");
            found.push(Accuracy {
                name: name.clone(),
                score: format!("{task} {}", score.name),
                value: score.value,
                standard_error: score.standard_error,
                n_items: report.n_items,
            });
        }
        Ok(found)
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
        let verdict = gate
            .judge(&home.corrected.name, Place::RunTime, home, other)
            .map_err(FalsifyError::part(INTERVALS, self.inputs.name))?;
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
}

/// The raw model, the bias, the best KLS, and what the gate chose where that is something else.
fn generating(calibration: &Calibration, best_idx: usize) -> Vec<Generating> {
    let mut treatments = vec![(calibration.home[0].name.clone(), None)];
    let corrections = calibration.candidates.iter().map(|one| one.treatment.correction());
    let is_offset =
        |found: &Arc<Correction>| found.offset().is_some() && found.smoothing().is_none();
    let offset_idx = corrections.clone().position(|found| found.is_some_and(is_offset));
    for (idx, correction) in corrections.enumerate() {
        let is_due = idx == best_idx || [offset_idx, calibration.run_time].contains(&Some(idx));
        if let (true, Some(correction)) = (is_due, correction) {
            let name = calibration.candidates[idx].name.clone();
            treatments.push((name, Some(Arc::clone(correction))));
        }
    }
    treatments
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
