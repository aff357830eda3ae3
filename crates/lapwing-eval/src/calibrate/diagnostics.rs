//! Whether logits move over a text as KLS assumes.

use lapwing_report::statistics::quantile;

use crate::calibrate::fit::Fit;
use crate::estimators::{Diagnostics, EmaReading, GainFit, diagnose as diagnose_tokens, published};

/// What the calibration text says about the filter's model.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationDiagnostics {
    /// Of all tokens, pooled; `share_frozen` is of the published estimator's gains, token by token.
    pub pooled: Diagnostics,
    /// The coefficient `a` of the token in the middle; NaN where no token shows one.
    pub coefficient_median: f64,
    /// Share of tokens whose autocovariance at lag 1 is not above 0, so that they show none.
    pub share_without_coefficient: f64,
    /// The one gain of maximum likelihood.
    pub scalar: GainFit,
    /// Bands of tokens by their mean logit, lowest first.
    pub bands: Vec<BandDiagnostics>,
}

/// One band of tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BandDiagnostics {
    /// Mean logit with the gauge taken out.
    pub mean_logit: f64,
    /// Variance of the increments.
    pub increment_variance: f64,
    /// Of the band's tokens, pooled.
    pub pooled: Diagnostics,
    /// Its gain of maximum likelihood.
    pub gain: GainFit,
}

pub(super) fn diagnose(fit: &mut Fit) -> CalibrationDiagnostics {
    let n_tokens = fit.n_tokens();
    let (bands, gains) = fit.bands();
    let mut frozen = Vec::with_capacity(n_tokens);
    let mut coefficients = Vec::with_capacity(n_tokens);
    for token in 0..n_tokens {
        let series = fit.series.token(token);
        let gain = published(&series, EmaReading::Current).gain as f32;
        frozen.push(gain);
        let [_, lag_one, lag_two] = series.autocovariances;
        if 0.0 < lag_one {
            coefficients.push(lag_two / lag_one);
        }
    }
    let of_band = |(band, &gain): (usize, &GainFit)| {
        let series = fit.series.pooled(bands.tokens(band));
        let published: Vec<f32> = bands.tokens(band).map(|token| frozen[token]).collect();
        BandDiagnostics {
            mean_logit: series.mean,
            increment_variance: series.increments[0],
            pooled: diagnose_tokens(&series, &published),
            gain,
        }
    };
    let bands = gains.iter().enumerate().map(of_band).collect();
    let share_without_coefficient = 1.0 - coefficients.len() as f64 / n_tokens as f64;
    let pooled = diagnose_tokens(&fit.series.pooled(0..n_tokens), &frozen);
    CalibrationDiagnostics {
        pooled,
        coefficient_median: median(coefficients),
        share_without_coefficient,
        scalar: fit.scalar_gain(),
        bands,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    if values.is_empty() { f64::NAN } else { quantile(&values, 0.5) }
}
