//! The treatments that vary one thing of the default KLS: pooled maximum likelihood in bands.

use std::sync::Arc;

use lapwing_eval::estimators::{Estimator, steady_state_gain};
use lapwing_eval::{Calibration, Treatment};
use lapwing_logits::{Correction, Gains, Gauge, Rescale, Scope, Smoothing};

use super::Group;

/// The gains of the sweep.
const GAINS: [f32; 15] =
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99, 0.995, 1.0];
/// What the noise is multiplied with.
const NOISE_FACTORS: [f64; 3] = [0.25, 1.0, 4.0];
/// Most tokens of a tracked set.
pub(super) const N_TRACKED: [usize; 5] = [128, 256, 512, 1024, 2048];

/// A treatment with its place in the study.
pub(super) struct Ablation {
    pub(super) group: Group,
    pub(super) parameter: Option<f64>,
    pub(super) treatment: Treatment,
}

/// The default KLS of a calibration: the banded gains of maximum likelihood.
pub(super) fn default_smoothing(calibration: &Calibration) -> Option<(usize, &Smoothing)> {
    let candidates = calibration.candidates.iter().enumerate();
    candidates.into_iter().find_map(|(idx, candidate)| {
        let correction = candidate.treatment.correction()?;
        let smoothing = correction.smoothing()?;
        let is_banded = matches!(smoothing.gains, Gains::Each(_));
        let is_default = candidate.estimator == Some(Estimator::MaximumLikelihood)
            && is_banded
            && correction.offset().is_none()
            && smoothing.rescale == Rescale::Off;
        is_default.then_some((idx, smoothing))
    })
}

/// Every ablation; those of `M` only as far as the vocabulary is longer.
pub(super) fn ablations(default: &Smoothing, n_tokens: usize) -> Vec<Ablation> {
    let mut made = Vec::new();
    let mut add = |group, parameter: Option<f64>, name: String, smoothing: Smoothing| {
        let correction = Correction::new(n_tokens, None, Some(smoothing))
            .expect("gains from 0 to 1 of a correction that was made before");
        let treatment = Treatment::corrected(name, correction);
        made.push(Ablation { group, parameter, treatment });
    };
    for gain in GAINS {
        let smoothing = Smoothing { gains: Gains::One(gain), ..default.clone() };
        add(Group::GainSweep, Some(f64::from(gain)), format!("one gain {gain}"), smoothing);
    }
    for factor in NOISE_FACTORS {
        let gains = each(&default.gains, |gain| with_noise(gain, factor));
        let smoothing = Smoothing { gains, ..default.clone() };
        add(Group::NoiseScaled, Some(factor), format!("default, R x {factor}"), smoothing);
    }
    let inverted = Smoothing { gains: each(&default.gains, |gain| 1.0 - gain), ..default.clone() };
    add(Group::Inverted, None, "default, inverted gains".to_owned(), inverted);
    for n_tracked_max in N_TRACKED.into_iter().filter(|&n_tracked| n_tracked <= n_tokens) {
        let scope = Scope::TopK { n_tracked_max };
        let name = format!("default, M = {n_tracked_max}");
        let smoothing = Smoothing { scope, ..default.clone() };
        add(Group::Tracked, Some(n_tracked_max as f64), name, smoothing);
    }
    let gauge = match default.gauge {
        Gauge::Mean => Gauge::LogSumExp,
        Gauge::LogSumExp => Gauge::Mean,
    };
    let other_gauge = Smoothing { gauge, ..default.clone() };
    add(Group::Gauge, None, "default, the other gauge".to_owned(), other_gauge);
    made
}

/// The gain when the noise is `factor` times what was estimated: `Q / R = K^2 / (1 - K)`.
fn with_noise(gain: f32, factor: f64) -> f32 {
    let gain = f64::from(gain);
    if gain <= 0.0 || 1.0 <= gain {
        return gain as f32;
    }
    steady_state_gain(gain * gain / (1.0 - gain), factor) as f32
}

fn each(gains: &Gains, change: impl Fn(f32) -> f32) -> Gains {
    let changed = |gain: f32| change(gain).clamp(0.0, 1.0);
    match gains {
        Gains::One(gain) => Gains::One(changed(*gain)),
        Gains::Each(gains) => {
            Gains::Each(gains.iter().map(|&gain| changed(gain)).collect::<Arc<[f32]>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_changes_gains_as_the_closed_form_says() {
        let check = |gain: f32, factor: f64, expected: f32| {
            let found = with_noise(gain, factor);
            assert!((found - expected).abs() < 1e-6, "{gain} {factor}: {found}");
        };
        // Q / R = 1 gives the golden ratio, 1/4 and 4 the next two of the closed form.
        check(0.618_034, 1.0, 0.618_034);
        check(0.618_034, 4.0, 0.390_388_2);
        check(0.618_034, 0.25, 0.828_427_1);
        check(0.0, 4.0, 0.0);
        check(1.0, 4.0, 1.0);
    }

    #[test]
    fn every_part_of_the_plan_is_there() {
        let smoothing = Smoothing {
            gains: Gains::Each(vec![0.25; 300].into()),
            scope: Scope::Full,
            gauge: Gauge::Mean,
            reversion: None,
            rescale: Rescale::Off,
        };
        let made = ablations(&smoothing, 300);
        let count = |group| made.iter().filter(|ablation| ablation.group == group).count();
        assert_eq!(count(Group::GainSweep), GAINS.len());
        assert_eq!(count(Group::NoiseScaled), 3);
        // Sets of 512 and more do not fit 300 tokens.
        assert_eq!(count(Group::Tracked), 2);
        assert_eq!((count(Group::Inverted), count(Group::Gauge)), (1, 1));
        let inverted = made.iter().find(|ablation| ablation.group == Group::Inverted).unwrap();
        let correction = inverted.treatment.correction().unwrap();
        let Gains::Each(gains) = &correction.smoothing().unwrap().gains else { panic!() };
        assert!(gains.iter().all(|&gain| gain == 0.75));
    }
}
