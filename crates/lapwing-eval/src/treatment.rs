//! What is done to a model's rows before they are judged: a correction, and how to apply it.
//!
//! A [`Treatment`] is plain data and shared; an `Applier` is one treatment at work on one
//! sequence.

use std::sync::Arc;

use lapwing_kernels::{Level, add_offset};
use lapwing_logits::profile::HeadMap;
use lapwing_logits::{CorrectRowError, Correction, Corrector};
use ndarray::ArrayView2;

use crate::row_block::RowBlock;

mod head_shift;

use head_shift::HeadShift;

/// A named way to treat a model's rows.
#[derive(Clone, Debug)]
pub struct Treatment {
    /// Its name in records and messages.
    pub name: String,
    /// What is done.
    pub kind: TreatmentKind,
}

/// What is done to a row.
#[derive(Clone, Debug)]
pub enum TreatmentKind {
    /// Nothing.
    Raw,
    /// The correction stage, begun anew with every window.
    Corrected(Arc<Correction>),
    /// The output head sees a mapped hidden state: `z = y + W (D h + b)` with `D = A - I`.
    HeadMapped {
        /// `A` and `b`.
        map: Arc<HeadMap>,
        /// Added to the logits afterwards. Shapes: `[n_tokens]`.
        offset: Option<Arc<[f32]>>,
    },
}

/// The weights of an output head, `W`.
#[derive(Clone, Copy, Debug)]
pub struct HeadMatrix<'a> {
    n_tokens: usize,
    n_hidden: usize,
    rows: &'a [f32],
}

/// Weights that are not those of an output head.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an output head for {n_tokens} tokens and hidden states of {n_hidden} needs {expected} \
     weights or more, found {found}"
)]
#[expect(missing_docs, reason = "the message says what the fields are")]
pub struct HeadMatrixError {
    pub n_tokens: usize,
    pub n_hidden: usize,
    pub expected: usize,
    pub found: usize,
}

/// Why a treatment could not be applied to a row.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ApplyError {
    /// A head map needs the weights of the head.
    #[error("condition {treatment} maps the hidden state, but the output head was not given")]
    NoHead { treatment: String },
    /// A head map needs the hidden states.
    #[error("condition {treatment} maps the hidden state, but the model gives none")]
    NoHiddenState { treatment: String },
    /// An array of the treatment is of another model.
    #[error("condition {treatment} is for {what} of length {found}, expected {expected}")]
    Length { treatment: String, what: &'static str, expected: usize, found: usize },
    /// The correction stage refused a row.
    #[error("condition {treatment} cannot correct the row after position {position}")]
    Correct { treatment: String, position: usize, source: CorrectRowError },
}

impl Treatment {
    /// The treatment that every other one is compared with.
    #[must_use]
    pub fn raw() -> Treatment {
        Treatment { name: "raw".to_owned(), kind: TreatmentKind::Raw }
    }

    /// The correction stage under a name.
    #[must_use]
    pub fn corrected(name: impl Into<String>, correction: Correction) -> Treatment {
        Treatment { name: name.into(), kind: TreatmentKind::Corrected(Arc::new(correction)) }
    }

    /// The correction, where that is what is done.
    #[must_use]
    pub fn correction(&self) -> Option<&Arc<Correction>> {
        match &self.kind {
            TreatmentKind::Corrected(correction) => Some(correction),
            _ => None,
        }
    }

    /// Whether it needs hidden states and the output head.
    #[must_use]
    pub fn needs_hidden_states(&self) -> bool {
        matches!(self.kind, TreatmentKind::HeadMapped { .. })
    }
}

impl<'a> HeadMatrix<'a> {
    /// The first `n_tokens` rows of a head's weights.
    ///
    /// Shapes: `rows [>= n_tokens, n_hidden]`, row-major.
    ///
    /// # Errors
    ///
    /// When there are fewer weights.
    pub fn new(
        rows: &'a [f32],
        n_tokens: usize,
        n_hidden: usize,
    ) -> Result<HeadMatrix<'a>, HeadMatrixError> {
        let expected = n_tokens.saturating_mul(n_hidden);
        match rows.get(..expected) {
            Some(rows) if expected != 0 => Ok(HeadMatrix { n_tokens, n_hidden, rows }),
            _ => Err(HeadMatrixError { n_tokens, n_hidden, expected, found: rows.len() }),
        }
    }

    /// Shapes: `[n_tokens, n_hidden]`.
    fn view(&self) -> ArrayView2<'a, f32> {
        let shape = (self.n_tokens, self.n_hidden);
        ArrayView2::from_shape(shape, self.rows).expect("as many weights as `new` saw")
    }
}

/// One treatment at work on one sequence.
pub(crate) struct Applier<'a> {
    /// `None` where a model has only this one.
    name: Option<&'a str>,
    level: Level,
    work: Work<'a>,
}

enum Work<'a> {
    Nothing,
    Correct { corrector: Box<Corrector>, row: Vec<f32> },
    Map { shift: HeadShift<'a>, offset: Option<&'a [f32]> },
}

impl<'a> Applier<'a> {
    /// An applier at the start of a sequence, for rows of `n_tokens`.
    pub(crate) fn new(
        treatment: &'a Treatment,
        head: Option<HeadMatrix<'a>>,
        n_tokens: usize,
        level: Level,
    ) -> Result<Applier<'a>, ApplyError> {
        let name = || treatment.name.clone();
        let check = |what, expected: usize, found: usize| {
            let error = ApplyError::Length { treatment: name(), what, expected, found };
            if expected == found { Ok(()) } else { Err(error) }
        };
        let work = match &treatment.kind {
            TreatmentKind::Raw => Work::Nothing,
            TreatmentKind::Corrected(correction) => {
                check("a vocabulary", n_tokens, correction.n_vocab())?;
                Work::correct(correction, level)
            }
            TreatmentKind::HeadMapped { map, offset } => {
                let head = head.ok_or_else(|| ApplyError::NoHead { treatment: name() })?;
                check("hidden states", head.n_hidden, map.n_hidden)?;
                check("a vocabulary", n_tokens, head.n_tokens)?;
                if let Some(offset) = offset {
                    check("offsets", n_tokens, offset.len())?;
                }
                Work::Map { shift: HeadShift::new(head, map), offset: offset.as_deref() }
            }
        };
        Ok(Applier { name: Some(&treatment.name), level, work })
    }

    /// The only treatment of a model: what is done in use. Rows may be longer than the vocabulary.
    pub(crate) fn only(correction: Option<&Arc<Correction>>, level: Level) -> Applier<'a> {
        let work = correction.map_or(Work::Nothing, |found| Work::correct(found, level));
        Applier { name: None, level, work }
    }

    /// The treatment's name; `None` for the only one.
    pub(crate) fn name(&self) -> Option<&'a str> {
        self.name
    }

    /// Start a new sequence.
    pub(crate) fn begin_window(&mut self) {
        if let Work::Correct { corrector, .. } = &mut self.work {
            corrector.reset();
        }
    }

    /// Treat the next rows of the sequence, and give each to `on_row` with its place in the block.
    pub(crate) fn apply<E>(
        &mut self,
        block: &RowBlock<'_>,
        on_error: impl Fn(ApplyError) -> E,
        mut on_row: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        let treatment = || self.name.unwrap_or("correction").to_owned();
        match &mut self.work {
            Work::Nothing => {
                for row_idx in 0..block.n_rows() {
                    on_row(row_idx, block.model(row_idx))?;
                }
            }
            Work::Correct { corrector, row } => {
                for row_idx in 0..block.n_rows() {
                    row.clear();
                    row.extend_from_slice(block.model(row_idx));
                    corrector.apply(row).map_err(|source| {
                        let position = block.first_position + row_idx;
                        on_error(ApplyError::Correct { treatment: treatment(), position, source })
                    })?;
                    on_row(row_idx, row)?;
                }
            }
            Work::Map { shift, offset } => {
                let no_state = || on_error(ApplyError::NoHiddenState { treatment: treatment() });
                let mut shifts = shift.of_rows(block.hidden().ok_or_else(no_state)?);
                for (row_idx, mut row) in shifts.outer_iter_mut().enumerate() {
                    let row = row.as_slice_mut().expect("rows of a new matrix are contiguous");
                    add_offset(self.level, row, block.model(row_idx));
                    if let Some(offset) = offset {
                        add_offset(self.level, row, offset);
                    }
                    on_row(row_idx, row)?;
                }
            }
        }
        Ok(())
    }
}

impl Work<'_> {
    fn correct(correction: &Arc<Correction>, level: Level) -> Self {
        let corrector = Box::new(Corrector::new(Arc::clone(correction), level));
        Work::Correct { corrector, row: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use lapwing_backend::Row;

    use super::*;
    use crate::row_block::RowBuffer;
    use crate::test_numbers::Numbers;

    const N_TOKENS: usize = 40;
    const N_HIDDEN: usize = 19;

    fn numbers(seed: u64, n: usize) -> Vec<f32> {
        let mut numbers = Numbers::new(seed);
        (0..n).map(|_| numbers.normal() as f32).collect()
    }

    /// `W (A h + b)`, by the definition.
    fn mapped_head(head: &[f32], map: &HeadMap, hidden: &[f32]) -> Vec<f32> {
        let product = |matrix: &[f32], vector: &[f32]| -> Vec<f32> {
            let rows = matrix.chunks_exact(vector.len());
            rows.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum()).collect()
        };
        let mapped = product(&map.matrix, hidden);
        let mapped: Vec<f32> = mapped.iter().zip(map.bias.iter()).map(|(a, b)| a + b).collect();
        product(head, &mapped)
    }

    #[test]
    fn a_head_map_gives_what_a_folded_head_would() {
        let head = numbers(1, N_TOKENS * N_HIDDEN);
        let matrix = numbers(2, N_HIDDEN * N_HIDDEN);
        let bias = numbers(3, N_HIDDEN).into();
        let map = HeadMap { n_hidden: N_HIDDEN, matrix: matrix.into(), bias };
        let identity: Vec<f32> = (0..N_HIDDEN * N_HIDDEN)
            .map(|idx| if idx % (N_HIDDEN + 1) == 0 { 1.0 } else { 0.0 })
            .collect();
        let plain = HeadMap {
            n_hidden: N_HIDDEN,
            matrix: identity.into(),
            bias: vec![0.0; N_HIDDEN].into(),
        };
        let offset = numbers(9, N_TOKENS);
        let kind = TreatmentKind::HeadMapped {
            map: Arc::new(map.clone()),
            offset: Some(offset.clone().into()),
        };
        let treatment = Treatment { name: "mapped".into(), kind };
        let view = HeadMatrix::new(&head, N_TOKENS, N_HIDDEN).expect("fits");
        let mut applier =
            Applier::new(&treatment, Some(view), N_TOKENS, Level::detect()).expect("fits");
        // One row is multiplied by other code than many.
        for n_rows in [1, 11] {
            let mut rows = RowBuffer::default();
            let states: Vec<Vec<f32>> =
                (0..n_rows).map(|idx| numbers(20 + idx as u64, N_HIDDEN)).collect();
            for state in &states {
                let logits = mapped_head(&head, &plain, state);
                rows.push(Row { token_idx: 0, logits: &logits, hidden: Some(state) }, N_TOKENS);
            }
            let mut n_seen = 0;
            let on_row = |row_idx: usize, row: &[f32]| {
                let expected = mapped_head(&head, &map, &states[row_idx]);
                for ((found, expected), offset) in row.iter().zip(expected).zip(&offset) {
                    assert!((found - expected - offset).abs() < 1e-3, "{found} {expected}");
                }
                n_seen += 1;
                Ok(())
            };
            let block = RowBlock::of_model(rows.rows(N_TOKENS));
            applier.apply(&block, |error| error, on_row).expect("applies");
            assert_eq!(n_seen, n_rows);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let head = numbers(1, N_TOKENS * N_HIDDEN);
        let view = HeadMatrix::new(&head, N_TOKENS, N_HIDDEN).expect("fits");
        assert!(HeadMatrix::new(&head, N_TOKENS + 1, N_HIDDEN).is_err());
        let treatment = |n_hidden: usize| {
            let matrix = vec![0.0; n_hidden * n_hidden].into();
            let bias = vec![0.0; n_hidden].into();
            let map = Arc::new(HeadMap { n_hidden, matrix, bias });
            Treatment { name: "c".into(), kind: TreatmentKind::HeadMapped { map, offset: None } }
        };
        let check = |n_hidden: usize, head: Option<HeadMatrix<'_>>, expected: &str| {
            let treatment = treatment(n_hidden);
            let made = Applier::new(&treatment, head, N_TOKENS, Level::SCALAR);
            let error = made.err().expect(expected);
            assert_eq!(error.to_string(), expected);
        };
        check(19, None, "condition c maps the hidden state, but the output head was not given");
        check(6, Some(view), "condition c is for hidden states of length 6, expected 19");
        let short = HeadMatrix::new(&head, N_TOKENS - 1, N_HIDDEN).expect("fits");
        check(19, Some(short), "condition c is for a vocabulary of length 39, expected 40");
        let treatment = treatment(19);
        let made = Applier::new(&treatment, Some(view), N_TOKENS, Level::SCALAR);
        let mut rows = RowBuffer::default();
        rows.push(Row { token_idx: 0, logits: &numbers(4, N_TOKENS), hidden: None }, N_TOKENS);
        let block = RowBlock::of_model(rows.rows(N_TOKENS));
        let applied = made.expect("fits").apply(&block, |error| error, |_, _| Ok(()));
        assert_eq!(applied, Err(ApplyError::NoHiddenState { treatment: "c".into() }));
    }
}
