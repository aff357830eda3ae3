//! The corrections that stand on their own, from what was fitted.

use std::sync::Arc;

use lapwing_logits::{Correction, Gains, Gauge, Levels, Rescale, Scope, Smoothing};

use crate::calibrate::fit::Fit;
use crate::calibrate::{CalibrateError, CalibrateOptions};
use crate::estimators::{
    Bands, EmaReading, Estimator, GainEstimate, PUBLISHED_ALPHA, TokenMoments, moments, published,
    reference, reverting, reverting_gain,
};
use crate::gate::Place;
use crate::treatment::{Treatment, TreatmentKind};

/// One correction to judge.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Where it acts.
    pub place: Place,
    /// Where its gains come from; `None` where it has none.
    pub estimator: Option<Estimator>,
    /// The ridge it was fitted with, where it is a head map.
    pub ridge: Option<f64>,
    /// What it does.
    pub treatment: Treatment,
}

/// What could be fitted and what could not.
pub(super) struct Single {
    pub(super) candidates: Vec<Candidate>,
    pub(super) unfitted: Vec<(String, String)>,
}

/// How tokens are put together for a gain.
#[derive(Clone, Copy)]
enum Grouping<'a> {
    All,
    Bands(&'a Bands),
    Tokens,
}

const PUBLISHED: Estimator =
    Estimator::Published { alpha: PUBLISHED_ALPHA, reading: EmaReading::Current };

/// Every correction that does not build on another one.
///
/// `offsets` come with their names.
pub(super) fn single(
    fit: &mut Fit,
    offsets: Vec<(String, Vec<f32>)>,
    options: &CalibrateOptions,
) -> Result<Single, CalibrateError> {
    let mut maker = Maker { gauge: options.gauge, n_tokens: fit.n_tokens(), made: Vec::new() };
    for (name, offset) in offsets {
        maker.offset(name, offset)?;
    }
    for &gain in &options.given_gains {
        let name = format!("kls, gain {gain}");
        maker.smoothing(name, Estimator::Given, Gains::One(gain), None)?;
    }
    let (bands, fits) = fit.bands();
    maximum_likelihood(&mut maker, fit, &bands, fits.iter().map(|fit| fit.gain).collect())?;
    let groupings = [Grouping::All, Grouping::Bands(&bands), Grouping::Tokens];
    for grouping in groupings {
        for estimator in [PUBLISHED, Estimator::Moments, Estimator::Reference] {
            if let Some(gains) = estimated(fit, estimator, grouping) {
                let name = name_of(estimator, grouping);
                maker.smoothing(name, estimator, gains, None)?;
            }
        }
    }
    reverting_ones(&mut maker, fit)?;
    let unfitted = maker.head_maps(fit, &options.ridges);
    Ok(Single { candidates: maker.made, unfitted })
}

impl Candidate {
    /// Whether it smooths, does nothing else and changes something.
    pub(super) fn is_plain_smoothing(&self) -> bool {
        let Some(correction) = self.treatment.correction() else { return false };
        let changes = |smoothing: &Smoothing| match &smoothing.gains {
            Gains::One(gain) => *gain != 1.0,
            Gains::Each(gains) => gains.iter().any(|&gain| gain != 1.0),
        };
        correction.offset().is_none() && correction.smoothing().is_some_and(changes)
    }

    /// Whether it adds an offset and does nothing else.
    pub(super) fn is_plain_offset(&self) -> bool {
        let Some(correction) = self.treatment.correction() else { return false };
        correction.offset().is_some() && correction.smoothing().is_none()
    }
}

/// Makes candidates of gains, offsets and maps.
struct Maker {
    gauge: Gauge,
    n_tokens: usize,
    made: Vec<Candidate>,
}

impl Maker {
    fn offset(&mut self, name: String, offset: Vec<f32>) -> Result<(), CalibrateError> {
        let correction = correction(&name, self.n_tokens, Some(offset.into()), None)?;
        self.push(name, None, correction);
        Ok(())
    }

    fn smoothing(
        &mut self,
        name: String,
        estimator: Estimator,
        gains: Gains,
        reversion: Option<Levels>,
    ) -> Result<(), CalibrateError> {
        let (scope, gauge, rescale) = (Scope::Full, self.gauge, Rescale::Off);
        let smoothing = Smoothing { gains, scope, gauge, reversion, rescale };
        let correction = correction(&name, self.n_tokens, None, Some(smoothing))?;
        self.push(name, Some(estimator), correction);
        Ok(())
    }

    fn push(&mut self, name: String, estimator: Option<Estimator>, correction: Correction) {
        let treatment = Treatment::corrected(name.clone(), correction);
        let place = Place::RunTime;
        self.made.push(Candidate { name, place, estimator, ridge: None, treatment });
    }

    /// Head maps, one for each ridge; what cannot be solved is returned with the reason.
    fn head_maps(&mut self, fit: &mut Fit, ridges: &[f64]) -> Vec<(String, String)> {
        let Some(equations) = &mut fit.equations else { return Vec::new() };
        let mut unfitted = Vec::new();
        for &ridge in ridges {
            let name = format!("head map, ridge {ridge}");
            let map = match equations.solve(ridge) {
                Ok(map) => Arc::new(map),
                Err(error) => {
                    unfitted.push((name, error.to_string()));
                    continue;
                }
            };
            let kind = TreatmentKind::HeadMapped { map, offset: None };
            let treatment = Treatment { name: name.clone(), kind };
            let (place, ridge) = (Place::Export, Some(ridge));
            self.made.push(Candidate { name, place, estimator: None, ridge, treatment });
        }
        unfitted
    }
}

/// A correction, or an error that names the candidate.
pub(super) fn correction(
    candidate: &str,
    n_tokens: usize,
    offset: Option<Arc<[f32]>>,
    smoothing: Option<Smoothing>,
) -> Result<Correction, CalibrateError> {
    let doing = format!("make a correction of what was fitted for {candidate}");
    Correction::new(n_tokens, offset, smoothing).map_err(CalibrateError::step(doing))
}

/// The gains that pooled likelihood found; there is no such thing for single tokens.
fn maximum_likelihood(
    maker: &mut Maker,
    fit: &mut Fit,
    bands: &Bands,
    of_bands: Vec<f64>,
) -> Result<(), CalibrateError> {
    let estimator = Estimator::MaximumLikelihood;
    let scalar = Gains::One(fit.scalar_gain().gain as f32);
    maker.smoothing(name_of(estimator, Grouping::All), estimator, scalar, None)?;
    let banded = Gains::Each(bands.spread(&of_bands).into());
    maker.smoothing(name_of(estimator, Grouping::Bands(bands)), estimator, banded, None)
}

/// `None` where the estimator needs a reference and there is none.
fn estimated(fit: &mut Fit, estimator: Estimator, grouping: Grouping<'_>) -> Option<Gains> {
    if estimator == Estimator::Reference && fit.paired.is_none() {
        return None;
    }
    let n_tokens = fit.n_tokens();
    Some(match grouping {
        Grouping::All => Gains::One(gain_of(fit, estimator, 0..n_tokens)),
        Grouping::Bands(bands) => {
            let of_band = |band| f64::from(gain_of(fit, estimator, bands.tokens(band)));
            let gains: Vec<f64> = (0..bands.n_bands()).map(of_band).collect();
            Gains::Each(bands.spread(&gains).into())
        }
        Grouping::Tokens => {
            let of_token = |token| gain_of(fit, estimator, token..token + 1);
            Gains::Each((0..n_tokens).map(of_token).collect())
        }
    })
}

/// The gain of some tokens together; 1 where nothing is known.
fn gain_of(fit: &mut Fit, estimator: Estimator, tokens: impl Iterator<Item = usize>) -> f32 {
    let GainEstimate { gain, .. } = match estimator {
        Estimator::Published { reading, .. } => published(&fit.series.pooled(tokens), reading),
        Estimator::Reference => measured(fit, tokens),
        _ => moments(&fit.series.pooled(tokens)),
    };
    if gain.is_nan() { 1.0 } else { (gain as f32).clamp(0.0, 1.0) }
}

/// Noise and signal of some tokens, measured against the reference.
fn measured(fit: &mut Fit, tokens: impl Iterator<Item = usize>) -> GainEstimate {
    let paired = fit.paired.as_mut().expect("asked for with a reference only");
    let (mut noise, mut signal, mut n_seen) = (0.0, 0.0, 0usize);
    for token in tokens {
        let of_token = (paired.noise_variance(token), paired.reference_increment_variance(token));
        if of_token.0.is_finite() && of_token.1.is_finite() {
            noise += of_token.0;
            signal += of_token.1;
            n_seen += 1;
        }
    }
    let n_seen = n_seen as f64;
    reference(noise / n_seen, signal / n_seen)
}

/// A state that reverts to the token's mean: one coefficient, with one gain and with a gain each.
fn reverting_ones(maker: &mut Maker, fit: &mut Fit) -> Result<(), CalibrateError> {
    let n_tokens = fit.n_tokens();
    let pooled = reverting(&fit.series.pooled(0..n_tokens));
    if !pooled.gain.is_finite() {
        return Ok(());
    }
    let means = fit.series.means();
    let level = |mean: f64| if mean.is_finite() { mean as f32 } else { 0.0 };
    let levels: Arc<[f32]> = means.into_iter().map(level).collect();
    let reversion = || Some(Levels { coefficient: pooled.a as f32, levels: Arc::clone(&levels) });
    let estimator = Estimator::Moments;
    let one = Gains::One(pooled.gain as f32);
    maker.smoothing("kls reverting, moments, one gain".into(), estimator, one, reversion())?;
    let of_token = |token| reverting_gain_of(&fit.series.token(token), pooled.a);
    let each = Gains::Each((0..n_tokens).map(of_token).collect());
    maker.smoothing("kls reverting, moments, each token".into(), estimator, each, reversion())
}

/// The gain of one token under the coefficient of all: `c1 / a` is the state's variance.
fn reverting_gain_of(moments: &TokenMoments, a: f64) -> f32 {
    let [variance, lag_one, _] = moments.autocovariances;
    let state_variance = (lag_one / a).clamp(0.0, variance.max(0.0));
    let q = state_variance * (1.0 - a * a);
    let gain = reverting_gain(a, q, variance - state_variance);
    // NaN where nothing was seen of the token.
    if gain.is_finite() { gain.clamp(0.0, 1.0) as f32 } else { 1.0 }
}

fn name_of(estimator: Estimator, grouping: Grouping<'_>) -> String {
    let estimator = estimator.name().replace('_', " ");
    match grouping {
        Grouping::All => format!("kls, {estimator}, one gain"),
        Grouping::Bands(bands) => format!("kls, {estimator}, {} bands", bands.n_bands()),
        Grouping::Tokens => format!("kls, {estimator}, each token"),
    }
}
