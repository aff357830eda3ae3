//! The logit correction stage: what is done to a raw row before bias and penalties.
//!
//! ```text
//! raw logits ── + offset of each token ── smoothing (KLS) ── rescaling ── sampler
//! ```
//! A [`Correction`] is what was calibrated, shared by all sequences of a model; a [`Corrector`] is
//! the state of one sequence. A vocabulary may be shorter than the rows, which some exports pad:
//! what lies behind it is never looked at.

use std::sync::Arc;

use lapwing_kernels::{Level, add_offset};

use crate::kls::{Filter, SavedFilter, Update};
use crate::{Gains, Rescale, Scope, Smoothing};

/// No vocabulary is longer; it bounds what a profile can make a sequence allocate.
const N_VOCAB_MAX: usize = 1 << 24;

/// What is done to the logits of a model: the same for all of its sequences.
#[derive(Clone, Debug)]
pub struct Correction {
    n_vocab: usize,
    offset: Option<Arc<[f32]>>,
    smoothing: Option<Smoothing>,
    /// `None` when the smoothing changes nothing.
    update: Option<Update>,
}

/// A correction that cannot be applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CorrectionError {
    /// Rows of this length do not exist.
    #[error("cannot correct a vocabulary of {found} tokens: expected 1 to {expected}")]
    Vocabulary { expected: usize, found: usize },
    /// An array is not one of this vocabulary.
    #[error("the correction's {array} are for {found} tokens: expected {expected}")]
    Length { array: &'static str, expected: usize, found: usize },
    /// A number is outside its range, or not finite.
    #[error("the correction's {array} hold {found} at token {token}: expected {expected}")]
    Value { array: &'static str, token: usize, expected: &'static str, found: f32 },
    /// A setting is outside its range.
    #[error("the correction's {setting} is {found}: expected {expected}")]
    Setting { setting: &'static str, expected: &'static str, found: f64 },
}

/// The correction of one sequence. A clone goes on as the original would.
#[derive(Clone, Debug)]
pub struct Corrector {
    level: Level,
    correction: Arc<Correction>,
    filter: Option<Filter>,
}

/// What a [`Corrector`] remembered at one step, to come back to; empty until it is saved into.
#[derive(Clone, Debug, Default)]
pub struct SavedState(Option<SavedFilter>);

/// A row that could not be corrected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CorrectRowError {
    /// The row is shorter than the vocabulary.
    #[error("cannot correct a row of {found} logits: the correction is for {expected}")]
    RowLength { expected: usize, found: usize },
    /// The model computed nothing that is a number.
    #[error("cannot correct a row without a finite logit among its {n_vocab}")]
    NothingFinite { n_vocab: usize },
}

impl Correction {
    /// A correction of rows with `n_vocab` tokens.
    ///
    /// Shapes: `offset [n_vocab]`.
    ///
    /// # Errors
    ///
    /// When an array has another length, or a number is not finite or outside its range.
    pub fn new(
        n_vocab: usize,
        offset: Option<Arc<[f32]>>,
        smoothing: Option<Smoothing>,
    ) -> Result<Correction, CorrectionError> {
        if n_vocab == 0 || N_VOCAB_MAX < n_vocab {
            return Err(CorrectionError::Vocabulary { expected: N_VOCAB_MAX, found: n_vocab });
        }
        if let Some(offset) = &offset {
            check_array("offsets", offset, n_vocab, "a finite number", f32::is_finite)?;
        }
        if let Some(smoothing) = &smoothing {
            check_smoothing(smoothing, n_vocab)?;
        }
        let update = smoothing.as_ref().and_then(|smoothing| smoothing.update(n_vocab));
        Ok(Correction { n_vocab, offset, smoothing, update })
    }

    /// How many logits of a row it looks at.
    #[must_use]
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// What is added to each logit.
    #[must_use]
    pub fn offset(&self) -> Option<&[f32]> {
        self.offset.as_deref()
    }

    /// How logits are smoothed.
    #[must_use]
    pub fn smoothing(&self) -> Option<&Smoothing> {
        self.smoothing.as_ref()
    }
}

impl Corrector {
    /// The correction of a sequence that has not begun.
    #[must_use]
    pub fn new(correction: Arc<Correction>, level: Level) -> Corrector {
        let smoothing = correction.smoothing.as_ref().filter(|_| correction.update.is_some());
        let filter = smoothing.map(|smoothing| Filter::new(smoothing, correction.n_vocab));
        Corrector { level, correction, filter }
    }

    /// What it does.
    #[must_use]
    pub fn correction(&self) -> &Arc<Correction> {
        &self.correction
    }

    /// Forget the rows that were seen: for a new prompt, a shifted context, a reused prefix.
    pub fn reset(&mut self) {
        if let Some(filter) = &mut self.filter {
            filter.reset();
        }
    }

    /// Correct the next row of the sequence in place; the first one is that of the last prompt
    /// position, and the rows of the prompt before it are not to be shown.
    ///
    /// Shapes: `row [>= n_vocab]`. NaN and infinities stay what they are and leave no trace.
    /// Where every gain is 1, a row without offset keeps its bits. Allocates nothing.
    ///
    /// # Errors
    ///
    /// When the row is shorter than the vocabulary or nothing in it is finite; the sequence is
    /// then where it was.
    pub fn apply(&mut self, row: &mut [f32]) -> Result<(), CorrectRowError> {
        let Correction { n_vocab, offset, smoothing, update } = self.correction.as_ref();
        let (n_vocab, found) = (*n_vocab, row.len());
        let row = row
            .get_mut(..n_vocab)
            .ok_or(CorrectRowError::RowLength { expected: n_vocab, found })?;
        if !row.iter().any(|logit| logit.is_finite()) {
            return Err(CorrectRowError::NothingFinite { n_vocab });
        }
        if let Some(offset) = offset {
            add_offset(self.level, row, offset);
        }
        if let (Some(filter), Some(smoothing), Some(update)) = (&mut self.filter, smoothing, update)
        {
            let stepped = filter.step(self.level, smoothing, update, row);
            // An offset can carry the largest of numbers to infinity.
            stepped.ok_or(CorrectRowError::NothingFinite { n_vocab })?;
        }
        Ok(())
    }

    /// Keep what is remembered now, so that the steps to come can be taken back.
    ///
    /// Allocates only when `into` is empty or of a correction of another size.
    pub fn save(&self, into: &mut SavedState) {
        match &self.filter {
            Some(filter) => filter.save(&mut into.0),
            None => into.0 = None,
        }
    }

    /// Take back the steps since `saved`; an empty one is a sequence that has not begun.
    ///
    /// # Panics
    ///
    /// When `saved` is of a correction of another scope or vocabulary.
    pub fn restore(&mut self, saved: &SavedState) {
        match (&mut self.filter, &saved.0) {
            (Some(filter), Some(saved)) => filter.restore(saved),
            (Some(filter), None) => filter.reset(),
            (None, None) => {}
            (None, Some(_)) => panic!("states restored into a correction that smooths nothing"),
        }
    }
}

fn check_smoothing(smoothing: &Smoothing, n_vocab: usize) -> Result<(), CorrectionError> {
    let in_unit = |number: f32| (0.0..=1.0).contains(&number);
    match &smoothing.gains {
        Gains::One(gain) => check_setting("gain", f64::from(*gain), in_unit(*gain), UNIT)?,
        Gains::Each(gains) => check_array("gains", gains, n_vocab, UNIT, in_unit)?,
    }
    if let Some(reversion) = &smoothing.reversion {
        let coefficient = reversion.coefficient;
        let fits = in_unit(coefficient);
        check_setting("reversion coefficient", f64::from(coefficient), fits, UNIT)?;
        check_array("levels", &reversion.levels, n_vocab, "a finite number", f32::is_finite)?;
    }
    if let Scope::TopK { n_tracked_max } = smoothing.scope {
        let fits = 2 <= n_tracked_max;
        check_setting("number of tracked tokens", n_tracked_max as f64, fits, "at least 2")?;
    }
    if let Rescale::TopVariance { n_top } = smoothing.rescale {
        check_setting("number of rescaled tokens", n_top as f64, 2 <= n_top, "at least 2")?;
    }
    Ok(())
}

const UNIT: &str = "0 to 1";

fn check_setting(
    setting: &'static str,
    found: f64,
    fits: bool,
    expected: &'static str,
) -> Result<(), CorrectionError> {
    if fits { Ok(()) } else { Err(CorrectionError::Setting { setting, expected, found }) }
}

fn check_array(
    array: &'static str,
    values: &[f32],
    n_vocab: usize,
    expected: &'static str,
    fits: impl Fn(f32) -> bool,
) -> Result<(), CorrectionError> {
    if values.len() != n_vocab {
        return Err(CorrectionError::Length { array, expected: n_vocab, found: values.len() });
    }
    match values.iter().position(|&value| !fits(value)) {
        None => Ok(()),
        Some(token) => Err(CorrectionError::Value { array, token, expected, found: values[token] }),
    }
}
