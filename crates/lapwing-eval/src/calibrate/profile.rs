//! A calibration as a correction profile and the arrays of its sidecar.

use std::sync::Arc;

use lapwing_logits::profile::{
    Array, Arrays, BandFinding, ChangeInterval, CorrectionProfile, CorrectionRecipe, Diagnostics,
    GainsRecipe, Gate as GateFinding, GateRules, HeadMap, HeadMapRecipe, ProfiledModel,
    ProfiledText, RepetitionFinding, ReversionRecipe, SCHEMA_VERSION, SmoothingRecipe, TextFinding,
    TextRole, Verdict as VerdictFinding,
};
use lapwing_logits::{Gains, Smoothing};
use lapwing_report::statistics::Interval;

use crate::calibrate::{Calibration, Candidate};
use crate::estimators::Estimator;
use crate::gate::{Comparison, Domain, GateOptions, Measure, Verdict};
use crate::judge::TreatmentScore;
use crate::treatment::TreatmentKind;

const OFFSET: &str = "offset";
const GAINS: &str = "gains";
const LEVELS: &str = "levels";
const MATRIX: &str = "head_map.matrix";
const BIAS: &str = "head_map.bias";

/// What a profile says that a calibration does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileLabels {
    /// The model that was calibrated.
    pub model: ProfiledModel,
    /// Its reference.
    pub reference: Option<ProfiledModel>,
    /// What was read.
    pub texts: Vec<ProfiledText>,
    /// How all but the output head was exported, an object, when the model's folder tells.
    pub body_recipe: Option<serde_json::Value>,
}

impl Calibration {
    /// The profile, and the arrays that belong into its sidecar; there are none when the gate is
    /// closed.
    ///
    /// The caller writes the arrays' bytes and then fills in [`CorrectionProfile::sidecar`].
    /// Changes are at the gate's confidence, corrected for the number of candidates; those of rare
    /// tokens, which decide on harm, at the plain one.
    #[must_use]
    pub fn profile(&self, labels: ProfileLabels) -> (CorrectionProfile, Arrays) {
        let mut arrays = Arrays::default();
        let run_time = self.run_time.map(|idx| &self.candidates[idx]);
        let export = self.export.map(|idx| &self.candidates[idx]);
        let correction = run_time.map_or(NOTHING, |found| recipe_of(found, &mut arrays));
        let head_map = export
            .and_then(|found| head_map_recipe_of(found, labels.body_recipe.clone(), &mut arrays));
        let chosen = run_time.or(export);
        // What the bands' gains come from is told when nothing was chosen.
        let default = Estimator::MaximumLikelihood.name();
        let estimator = chosen
            .map_or(default, |found| found.estimator.as_ref().map_or("none", Estimator::name));
        let profile = CorrectionProfile {
            schema_version: SCHEMA_VERSION,
            candidates: self.findings(&labels.texts),
            model: labels.model,
            reference: labels.reference,
            texts: labels.texts,
            seed: self.rules.seed,
            estimator: estimator.to_owned(),
            diagnostics: self.diagnostics_finding(),
            gate: GateFinding {
                open: chosen.is_some(),
                chosen: chosen.map(|found| found.name.clone()),
                reason: self.reason.clone(),
                rules: rules_of(&self.rules),
            },
            correction,
            head_map,
            sidecar: None,
        };
        (profile, arrays)
    }

    fn findings(&self, texts: &[ProfiledText]) -> Vec<VerdictFinding> {
        let name_of = |role: TextRole| {
            let text = texts.iter().find(|text| text.role == role);
            text.map(|text| text.name.clone()).unwrap_or_default()
        };
        let finding = |verdict: &Verdict| VerdictFinding {
            name: verdict.name.clone(),
            texts: [
                (Domain::Home, TextRole::HeldOut, Some(&self.home)),
                (Domain::Other, TextRole::OtherDomain, self.other.as_ref()),
            ]
            .into_iter()
            .filter_map(|(domain, role, scores)| {
                text_finding(verdict, domain, role, name_of(role), scores?)
            })
            .collect(),
            repetition: verdict.repetition.as_ref().map(|found| RepetitionFinding {
                share_off: found.grams.raw,
                share_on: found.grams.corrected,
            }),
            helps: verdict.passes,
            reason: verdict.reason.clone(),
        };
        self.verdicts.iter().map(finding).collect()
    }

    fn diagnostics_finding(&self) -> Diagnostics {
        // A profile holds finite numbers only; what was never seen has none.
        let finite = |number: f64| if number.is_finite() { number } else { 0.0 };
        let some = |number: f64| number.is_finite().then_some(number);
        let band = |found: &super::BandDiagnostics| {
            let [lag_one, lag_two] = found.pooled.increment_autocovariances;
            BandFinding {
                n_tokens: found.pooled.n_tokens as u64,
                mean_logit: finite(found.mean_logit),
                increment_autocovariances: [found.increment_variance, lag_one, lag_two].map(finite),
                coefficient: some(found.pooled.coefficient),
                state_variance: some(found.gain.q),
                noise_variance: some(found.gain.r),
                gain: found.gain.gain,
            }
        };
        Diagnostics {
            n_positions: self.n_fit_rows as u64,
            n_windows: self.n_fit_windows as u64,
            frozen_share: finite(self.diagnostics.pooled.share_frozen),
            bands: self.diagnostics.bands.iter().map(band).collect(),
        }
    }
}

const NOTHING: CorrectionRecipe = CorrectionRecipe { offset: None, smoothing: None };

fn recipe_of(candidate: &Candidate, arrays: &mut Arrays) -> CorrectionRecipe {
    let Some(correction) = candidate.treatment.correction() else { return NOTHING };
    let mut keep = |name: &str, values: Arc<[f32]>| {
        arrays.insert(name, Array::vector(values));
        name.to_owned()
    };
    let offset = correction.offset().map(|offset| keep(OFFSET, offset.into()));
    let smoothing = correction.smoothing().map(|smoothing| {
        let Smoothing { gains, scope, gauge, reversion, rescale } = smoothing.clone();
        SmoothingRecipe {
            gains: match gains {
                Gains::One(gain) => GainsRecipe::One(gain),
                Gains::Each(gains) => GainsRecipe::Each(keep(GAINS, gains)),
            },
            scope,
            gauge,
            reversion: reversion.map(|reversion| ReversionRecipe {
                coefficient: reversion.coefficient,
                levels: keep(LEVELS, reversion.levels),
            }),
            rescale,
        }
    });
    CorrectionRecipe { offset, smoothing }
}

fn head_map_recipe_of(
    candidate: &Candidate,
    body_recipe: Option<serde_json::Value>,
    arrays: &mut Arrays,
) -> Option<HeadMapRecipe> {
    let TreatmentKind::HeadMapped { map, .. } = &candidate.treatment.kind else { return None };
    let HeadMap { n_hidden, matrix, bias } = map.as_ref();
    let shape = vec![*n_hidden, *n_hidden];
    arrays.insert(MATRIX, Array { shape, values: Arc::clone(matrix) });
    arrays.insert(BIAS, Array::vector(Arc::clone(bias)));
    Some(HeadMapRecipe {
        n_hidden: *n_hidden,
        matrix: MATRIX.to_owned(),
        bias: BIAS.to_owned(),
        ridge: candidate.ridge?,
        body_recipe,
    })
}

fn text_finding(
    verdict: &Verdict,
    domain: Domain,
    role: TextRole,
    text: String,
    scores: &[TreatmentScore],
) -> Option<TextFinding> {
    let find = |measure: Measure| {
        let is_it = |found: &&Comparison| found.domain == domain && found.measure == measure;
        verdict.comparisons.iter().find(is_it)
    };
    let change = |measure: Measure| find(measure).map(|found| change_of(&found.improvement));
    let of_rare = |measure: Measure| find(measure).map(|found| &found.improvement_plain);
    Some(TextFinding {
        text,
        role,
        n_positions: scores.first()?.n() as u64,
        nll_change: change(Measure::NegativeLogLikelihood)?,
        kl_change: change(Measure::Divergence),
        rare_nll_change: of_rare(Measure::RareNegativeLogLikelihood).map(change_of),
        // What is less missed is more probability.
        rare_probability_change: of_rare(Measure::RareMisses).map(interval_of),
    })
}

/// An improvement is raw less corrected, a change the other way round.
fn change_of(improvement: &Interval) -> ChangeInterval {
    // Subtracted from 0, so that no change is 0 and not -0.
    let Interval { estimate, low, high, .. } = *improvement;
    ChangeInterval { mean: 0.0 - estimate, low: 0.0 - high, high: 0.0 - low }
}

fn interval_of(interval: &Interval) -> ChangeInterval {
    let Interval { estimate, low, high, .. } = *interval;
    ChangeInterval { mean: estimate, low, high }
}

fn rules_of(options: &GateOptions) -> GateRules {
    let GateOptions { confidence, min_gain_nats, min_divergence_share, .. } = *options;
    let allow_one_domain = options.allow_one_domain;
    GateRules { confidence, min_gain_nats, min_divergence_share, allow_one_domain }
}
