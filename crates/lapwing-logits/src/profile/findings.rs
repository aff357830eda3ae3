//! What a calibration measured and decided: written for people and the study, not used at run time.

use serde::{Deserialize, Serialize};

use super::TextRole;

/// What tells whether logits behave as the filter assumes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diagnostics {
    /// Positions that were read.
    pub n_positions: u64,
    /// Windows they came in; no increment crosses a border between two.
    pub n_windows: u64,
    /// Share of the tokens whose gain is 0, so that their state never moves; 0 to 1.
    pub frozen_share: f64,
    /// Bands of tokens by their mean logit, lowest first.
    pub bands: Vec<BandFinding>,
}

/// The pooled moments of a band of tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandFinding {
    /// How many tokens.
    pub n_tokens: u64,
    /// Their mean logit, with the gauge taken out.
    pub mean_logit: f64,
    /// Autocovariance of the increments at lag 0, 1 and 2. White noise on a random walk has a
    /// lag 1 that is not positive, and none at lag 2.
    pub increment_autocovariances: [f64; 3],
    /// The state coefficient `a` that fits; `None` when it cannot be told.
    pub coefficient: Option<f64>,
    /// `Q`, variance of the state's steps; `None` where the estimator has none.
    pub state_variance: Option<f64>,
    /// `R`, variance of the noise; `None` where the estimator has none.
    pub noise_variance: Option<f64>,
    /// The gain `K`.
    pub gain: f64,
}

/// What became of one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Its name, which the gate chooses by.
    pub name: String,
    /// What it did on each text that judged it.
    pub texts: Vec<TextFinding>,
    /// What it did in free generation, when that was tried.
    pub repetition: Option<RepetitionFinding>,
    /// Whether it is kept.
    pub helps: bool,
    /// Why, or why not.
    pub reason: String,
}

/// The change against no correction on one text; below 0 is better, but for a probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFinding {
    /// The text's name in the profile.
    pub text: String,
    /// What the text is for.
    pub role: TextRole,
    /// Positions that were judged.
    pub n_positions: u64,
    /// Change of the negative log-likelihood, in nats per token.
    pub nll_change: ChangeInterval,
    /// Change of the KL divergence from the reference, in nats per token; `None` without one.
    pub kl_change: Option<ChangeInterval>,
    /// Change of the negative log-likelihood of rare tokens, in nats per token, at the plain
    /// confidence, which decides on harm; `None` where too few were met.
    pub rare_nll_change: Option<ChangeInterval>,
    /// Change of the probability of rare tokens, -1 to 1, above 0 is better; the rest as before.
    pub rare_probability_change: Option<ChangeInterval>,
}

/// A mean with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeInterval {
    /// The mean.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Share of tokens, in free generation, that repeat what was just said; 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepetitionFinding {
    /// Without the correction.
    pub share_off: f64,
    /// With it.
    pub share_on: f64,
}

/// Whether a profile may be used, and for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Whether something helped.
    pub open: bool,
    /// The candidate that the profile's correction or head map is; never `None` when open.
    pub chosen: Option<String>,
    /// Why.
    pub reason: String,
    /// What was asked for.
    pub rules: GateRules,
}

/// What a gate asks for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRules {
    /// Confidence of the intervals, before it is corrected for the number of candidates.
    pub confidence: f64,
    /// How much the KL divergence, or without a reference the negative log-likelihood, must fall,
    /// in nats per token.
    pub min_gain_nats: f64,
    /// Share of the KL divergence that must be taken away, 0 to 1.
    pub min_divergence_share: f64,
    /// Whether it opens without text of another domain.
    pub allow_one_domain: bool,
}
