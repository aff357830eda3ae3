//! Which corrections may be used: those that held-out text says help, and nothing else.
//!
//! ```text
//! for every candidate, in each domain: differences to the raw model, window by window
//!     with a reference:     KL falls surely by enough in every domain (so many nats; on average
//!                           such a share of the raw KL), NLL rises surely in none
//!     without a reference:  NLL falls surely by enough at home, rises surely nowhere
//!     where the next token is rare: its NLL surely does not rise and its probability surely does
//!                           not fall, in any domain, or they are as good as the reference's
//!     and free generation does not surely repeat itself more than the raw model's does (and,
//!     with a reference, more than the reference's: to come nearer to it is no fault)
//! of those that pass, per place: the one whose worst domain gains most, at its lower bound
//! ```
//!
//! *Surely* is a percentile interval over whole windows that leaves out 0. What helps is asked for
//! more than what harms: with `m` candidates the best of them looks better than it is, so an
//! improvement must hold at the confidence `1 - (1 - c) / m` (Bonferroni), whereas plain `c` is
//! enough to call a change of KL or NLL for the worse. With few windows percentile intervals are
//! too narrow: where nothing is true, one of 30 candidates passes one side of one test in 9 % of
//! calibrations with 24 windows and in 6 % with 48, instead of 2.5 %; that both domains must agree,
//! and the share that is asked for, stand against it. Repetition is judged at the corrected
//! confidence too: answers are few and wander, so that at plain `c` one of a dozen candidates would
//! be refused by chance.
//!
//! Why rare tokens count on their own: half of a text is a few dozen tokens, and a correction can
//! lower KL and NLL by betting on them. An offset that lowered KL by a fifth in two domains cost a
//! third of the last words of LAMBADA (`docs/kls-study.md`). Here a rise need not be sure to count:
//! the whole interval must lie on the good side.
//!
//! This module must not know how a candidate was fitted or how it is applied.

use lapwing_report::statistics::{
    Block, BootstrapError, BootstrapOptions, Interval, block_bootstrap, block_mean,
};
use serde::{Deserialize, Serialize};

use crate::judge::TreatmentScore;
use crate::repetition::Repetition;

mod measure;
mod reason;

pub use measure::Measure;

use measure::blocks_of;

/// Windows at least. With fewer, not even a candidate that is better in every window is surely
/// better than chance, once there are a few dozen candidates; and the bootstrap's intervals get too
/// narrow.
pub(crate) const N_WINDOWS_MIN: usize = 16;

/// Resampled means that lie beyond each end of an interval, at least: fewer would be noise.
const N_TAIL_RESAMPLES: f64 = 20.0;

/// Share by which two numbers must differ to be called different.
const ABOUT_THE_SAME: f64 = 0.01;

/// Nats by which the NLL of rare tokens may be above the reference's and still be as good.
const AS_GOOD_NATS: f64 = 0.01;

/// Share of the reference's probability of rare tokens that may be missing, and it is as good.
const AS_GOOD_SHARE: f64 = 0.02;

/// How sure the gate wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GateOptions {
    /// The confidence `c`, before it is corrected for the number of candidates.
    pub confidence: f64,
    /// Resamples for an interval; more are drawn when the corrected confidence needs them.
    pub n_resamples: usize,
    /// Where the random numbers start.
    pub seed: u64,
    /// KL must fall by this share of the raw model's KL at least; 0 is any sure change.
    ///
    /// A gain a hair below 1 averages away a hair of almost any noise, surely but to no avail.
    pub min_divergence_share: f64,
    /// KL, or without a reference NLL, must fall by so many nats at least; 0 is any sure change.
    ///
    /// Where the quantised model is nearer to the reference than this, there is nothing to mend.
    pub min_gain_nats: f64,
    /// Open without text of another domain, which is a judgement on less.
    pub allow_one_domain: bool,
}

/// Where a text comes from, seen from the calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// The domain of the calibration text.
    Home,
    /// Another one.
    Other,
}

/// Where a correction acts, and so what using it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the logits, step by step.
    RunTime,
    /// In the weights of the output head: a new export.
    Export,
}

/// One measure in one domain, raw against corrected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Whose text.
    pub domain: Domain,
    /// What was measured.
    pub measure: Measure,
    /// Mean of the raw model, a token.
    pub raw: f64,
    /// Mean with the correction, a token.
    pub corrected: f64,
    /// Mean of the reference, a token; `None` without one, and where it is not asked for.
    pub reference: Option<f64>,
    /// Raw less corrected, at the confidence that is corrected for the number of candidates.
    pub improvement: Interval,
    /// The same at the plain confidence.
    pub improvement_plain: Interval,
}

/// How much answers repeat themselves, paired by prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RepetitionComparison {
    /// Of 4-grams that occurred before in the same answer.
    pub grams: ShareComparison,
    /// Of tokens equal to the one before.
    pub immediate: ShareComparison,
}

/// A mean share of repetitions, with and without a correction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShareComparison {
    /// Of the raw model.
    pub raw: f64,
    /// With the correction.
    pub corrected: f64,
    /// Of the reference; `None` without one.
    pub reference: Option<f64>,
    /// Corrected less raw, at the confidence that is corrected for the number of candidates.
    pub increase: Interval,
    /// Corrected less reference, at the same confidence.
    pub excess: Option<Interval>,
}

/// Answers to the same prompts.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    /// Of the raw model.
    pub raw: &'a [Repetition],
    /// Of the reference.
    pub reference: Option<&'a [Repetition]>,
    /// With the correction.
    pub corrected: &'a [Repetition],
}

/// What the gate says about one candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The candidate's name.
    pub name: String,
    /// Where it acts.
    pub place: Place,
    /// Whether it may be used.
    pub passes: bool,
    /// Why or why not, for a reader.
    pub reason: String,
    /// Every measure in every domain.
    pub comparisons: Vec<Comparison>,
    /// Free generation; `None` where it was not looked at.
    pub repetition: Option<RepetitionComparison>,
}

/// What a candidate and the raw model scored on the same windows of one domain.
#[derive(Clone, Copy, Debug)]
pub struct ScorePair<'a> {
    /// The raw model's.
    pub raw: &'a TreatmentScore,
    /// The candidate's.
    pub corrected: &'a TreatmentScore,
}

/// The rules, for a known number of candidates.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    options: GateOptions,
    n_candidates: usize,
}

impl Gate {
    /// A gate that `n_candidates` candidates will be shown to.
    #[must_use]
    pub fn new(options: GateOptions, n_candidates: usize) -> Gate {
        Gate { options, n_candidates: n_candidates.max(1) }
    }

    /// The confidence at which an improvement must hold.
    #[must_use]
    pub fn simultaneous_confidence(&self) -> f64 {
        1.0 - (1.0 - self.options.confidence) / self.n_candidates as f64
    }

    /// Judge a candidate by its scores; its free generation comes later.
    ///
    /// # Errors
    ///
    /// When an interval cannot be formed: too few windows, sums that are not finite.
    ///
    /// # Panics
    ///
    /// When the two scores of a pair are of different windows.
    pub fn judge(
        &self,
        name: &str,
        place: Place,
        home: ScorePair<'_>,
        other: Option<ScorePair<'_>>,
    ) -> Result<Verdict, BootstrapError> {
        let (mut comparisons, mut sparse) = (Vec::new(), Vec::new());
        let domains = [(Domain::Home, Some(home)), (Domain::Other, other)];
        for (domain, pair) in domains {
            let Some(pair) = pair else { continue };
            for measure in Measure::ALL {
                comparisons.extend(self.compare(domain, measure, pair)?);
            }
            let n_windows = measure::n_windows_with_rare(pair.raw);
            sparse.extend(n_windows.filter(|&n| n < N_WINDOWS_MIN).map(|n| (domain, n)));
        }
        let found = reason::of_scores(&comparisons, &sparse, &self.options);
        Ok(Verdict {
            name: name.to_owned(),
            place,
            passes: found.passes,
            reason: found.text,
            comparisons,
            repetition: None,
        })
    }

    /// Take free generation into account.
    ///
    /// # Errors
    ///
    /// When an interval cannot be formed: fewer than two prompts.
    ///
    /// # Panics
    ///
    /// When the answers are to different numbers of prompts.
    pub fn weigh_repetition(
        &self,
        verdict: &mut Verdict,
        answers: Answers<'_>,
    ) -> Result<(), BootstrapError> {
        let comparison = RepetitionComparison {
            grams: self.compare_shares(answers, Repetition::gram_share)?,
            immediate: self.compare_shares(answers, Repetition::immediate_share)?,
        };
        if verdict.passes {
            let found = reason::of_repetition(&comparison, &verdict.reason);
            verdict.passes = found.passes;
            verdict.reason = found.text;
        }
        verdict.repetition = Some(comparison);
        Ok(())
    }

    fn compare_shares(
        &self,
        answers: Answers<'_>,
        share: fn(&Repetition) -> f64,
    ) -> Result<ShareComparison, BootstrapError> {
        let Answers { raw, reference, corrected } = answers;
        let mean = |answers: &[Repetition]| {
            answers.iter().map(share).sum::<f64>() / answers.len().max(1) as f64
        };
        let increase_over = |base: &[Repetition]| {
            assert_eq!(base.len(), corrected.len(), "answers to the same prompts");
            let pairs = base.iter().zip(corrected);
            let difference =
                |(base, corrected)| Block { sum: share(corrected) - share(base), n: 1 };
            let blocks: Vec<Block> = pairs.map(difference).collect();
            block_bootstrap(&blocks, &self.bootstrap(self.simultaneous_confidence()))
        };
        Ok(ShareComparison {
            raw: mean(raw),
            corrected: mean(corrected),
            reference: reference.map(mean),
            increase: increase_over(raw)?,
            excess: reference.map(increase_over).transpose()?,
        })
    }

    /// `None` where the measure was not taken.
    fn compare(
        &self,
        domain: Domain,
        measure: Measure,
        pair: ScorePair<'_>,
    ) -> Result<Option<Comparison>, BootstrapError> {
        let Some(raw) = blocks_of(pair.raw, measure) else { return Ok(None) };
        let Some(corrected) = blocks_of(pair.corrected, measure) else { return Ok(None) };
        assert_eq!(raw.len(), corrected.len(), "scores of the same windows");
        let differences: Vec<Block> = raw
            .iter()
            .zip(&corrected)
            .map(|(raw, corrected)| {
                assert_eq!(raw.n, corrected.n, "scores of the same window");
                Block { sum: raw.sum - corrected.sum, n: raw.n }
            })
            .collect();
        // A window may hold no rare token; too few that do are refused, interval or not.
        let is_filled = |block: &Block| block.n != 0;
        let differences: Vec<Block> = differences.into_iter().filter(is_filled).collect();
        if differences.len() < 2 && measure.is_of_rare() {
            return Ok(None);
        }
        let interval = |confidence: f64| block_bootstrap(&differences, &self.bootstrap(confidence));
        Ok(Some(Comparison {
            domain,
            measure,
            raw: block_mean(&raw),
            corrected: block_mean(&corrected),
            reference: measure::of_reference(pair.raw, measure),
            improvement: interval(self.simultaneous_confidence())?,
            improvement_plain: interval(self.options.confidence)?,
        }))
    }

    fn bootstrap(&self, confidence: f64) -> BootstrapOptions {
        let tail = (1.0 - confidence) / 2.0;
        let n_needed = (N_TAIL_RESAMPLES / tail).ceil();
        // A confidence out of range is the bootstrap's to refuse.
        let n_needed = if n_needed.is_finite() && 0.0 < tail { n_needed as usize } else { 0 };
        let n_resamples = self.options.n_resamples.max(n_needed);
        BootstrapOptions { n_resamples, confidence, seed: self.options.seed }
    }
}

impl Verdict {
    /// How good the candidate is at worst: the least lower bound over the domains, in nats, of KL
    /// where there is a reference and of NLL where there is none.
    #[must_use]
    pub fn pessimistic_improvement(&self) -> f64 {
        let measure = deciding_measure(&self.comparisons);
        let deciding = self.comparisons.iter().filter(|found| found.measure == measure);
        deciding.map(|found| found.improvement.low).fold(f64::INFINITY, f64::min)
    }
}

/// The best of the verdicts that pass in one place; of such as are about the same the first, so
/// that what is added to a correction must add something.
#[must_use]
pub fn choose(verdicts: &[Verdict], place: Place) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (idx, verdict) in verdicts.iter().enumerate() {
        let bound = verdict.pessimistic_improvement();
        let is_better = best.is_none_or(|best| {
            let so_far = verdicts[best].pessimistic_improvement();
            so_far + ABOUT_THE_SAME * so_far.abs() < bound
        });
        if verdict.passes && verdict.place == place && is_better {
            best = Some(idx);
        }
    }
    best
}

/// KL where it was measured.
fn deciding_measure(comparisons: &[Comparison]) -> Measure {
    let has_divergence = comparisons.iter().any(|found| found.measure == Measure::Divergence);
    if has_divergence { Measure::Divergence } else { Measure::NegativeLogLikelihood }
}

#[cfg(test)]
mod tests;
