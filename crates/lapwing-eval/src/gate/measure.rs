//! What is compared, and where a score has it.

use lapwing_report::statistics::Block;
use serde::Serialize;

use crate::judge::TreatmentScore;

/// What is compared; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// `-ln p` of the text's next token, in nats.
    NegativeLogLikelihood,
    /// `KL(reference || model)`, in nats.
    Divergence,
    /// `-ln p` of the next token where that is rare, in nats.
    RareNegativeLogLikelihood,
    /// Probability that is not on the next token where that is rare, 0 to 1.
    RareMisses,
}

impl Measure {
    /// All of them.
    pub const ALL: [Measure; 4] = [
        Measure::Divergence,
        Measure::NegativeLogLikelihood,
        Measure::RareNegativeLogLikelihood,
        Measure::RareMisses,
    ];

    pub(super) fn is_of_rare(self) -> bool {
        matches!(self, Measure::RareNegativeLogLikelihood | Measure::RareMisses)
    }
}

/// The measure window by window; `None` where it was not taken.
pub(super) fn blocks_of(score: &TreatmentScore, measure: Measure) -> Option<Vec<Block>> {
    let blocks = score.windows.iter().map(|window| {
        let of_all = |sum: f64| Block { sum, n: window.n };
        match measure {
            Measure::NegativeLogLikelihood => Some(of_all(window.negative_log_likelihood)),
            Measure::Divergence => window.divergence.map(of_all),
            Measure::RareNegativeLogLikelihood => {
                window.rare.map(|rare| Block { sum: rare.negative_log_likelihood, n: rare.n })
            }
            Measure::RareMisses => {
                window.rare.map(|rare| Block { sum: rare.n as f64 - rare.probability, n: rare.n })
            }
        }
    });
    blocks.collect()
}

/// Windows with a rare token; `None` where these were not looked at.
pub(super) fn n_windows_with_rare(score: &TreatmentScore) -> Option<usize> {
    let mut n_windows = 0;
    for window in &score.windows {
        n_windows += usize::from(window.rare?.n != 0);
    }
    Some(n_windows)
}

/// The reference's mean of a measure of rare tokens; `None` where it was not taken.
pub(super) fn of_reference(score: &TreatmentScore, measure: Measure) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0);
    for rare in score.windows.iter().filter_map(|window| window.rare) {
        if rare.n == 0 {
            continue;
        }
        let of_reference = rare.of_reference?;
        n += rare.n;
        sum += match measure {
            Measure::RareNegativeLogLikelihood => of_reference.negative_log_likelihood,
            Measure::RareMisses => rare.n as f64 - of_reference.probability,
            Measure::NegativeLogLikelihood | Measure::Divergence => return None,
        };
    }
    (n != 0).then(|| sum / n as f64)
}
