//! Whether the series look at all as the model says.

use super::series::TokenMoments;

/// What the moments say about the model, and what the gains came to.
///
/// Numbers are NaN where too little was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diagnostics {
    /// Tokens that were seen.
    pub n_tokens: usize,
    /// Logits that were seen.
    pub n: usize,
    /// Autocovariances of the increments at lags 1 and 2; the model says `-R` and 0.
    pub increment_autocovariances: [f64; 2],
    /// The same divided by the variance of the increments; the first is `-1/(Q/R + 2)`.
    pub increment_autocorrelations: [f64; 2],
    /// Lag 2 in standard errors; beyond about 3 either way the model is refuted.
    ///
    /// Bartlett: `r2 sqrt(n / (1 + 2 r1^2))`, with `n` the increments of one token. Tokens
    /// of a row move together, so they do not count as more data.
    pub lag_two_score: f64,
    /// The coefficient `a` of the state, autocovariance of the logits at lag 2 over lag 1;
    /// the filter takes it to be 1. NaN where lag 1 is not above 0.
    pub coefficient: f64,
    /// Share of gains that are 0: filters that never move.
    pub share_frozen: f64,
}

/// Diagnostics of one token, a band or a vocabulary.
///
/// `series` are its moments, pooled; `gains` what an estimator made of it.
#[must_use]
pub fn diagnose(series: &TokenMoments, gains: &[f32]) -> Diagnostics {
    let [variance, lag_one, lag_two] = series.increments;
    let [_, level_one, level_two] = series.autocovariances;
    let [one, two] = [lag_one / variance, lag_two / variance];
    let n_each = series.n_increments as f64 / series.n_tokens as f64;
    Diagnostics {
        n_tokens: series.n_tokens,
        n: series.n,
        increment_autocovariances: [lag_one, lag_two],
        increment_autocorrelations: [one, two],
        lag_two_score: two * (n_each / (1.0 + 2.0 * one * one)).sqrt(),
        coefficient: if 0.0 < level_one { level_two / level_one } else { f64::NAN },
        share_frozen: share_frozen(gains),
    }
}

/// Share of gains that are 0; NaN without gains.
#[must_use]
pub fn share_frozen(gains: &[f32]) -> f64 {
    let n_frozen = gains.iter().filter(|&&gain| gain == 0.0).count();
    n_frozen as f64 / gains.len() as f64
}
