//! What is done to a model's rows before they are judged: a correction, and how to apply it.
//!
//! A [`Treatment`] is plain data and shared; an `Applier` is one treatment at work on one
//! sequence. Rows come in blocks, because a head map costs a matrix product that is only fast for
//! many rows at once.

use std::sync::Arc;

use lapwing_kernels::{Level, add_offset};
use lapwing_logits::profile::HeadMap;
use lapwing_logits::{CorrectRowError, Correction, Corrector};

mod head_shift;
mod row_block;

pub(crate) use row_block::RowBlock;

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
pub struct HeadMatrixError {
    /// The vocabulary.
    pub n_tokens: usize,
    /// Length of a hidden state.
    pub n_hidden: usize,
    /// Their product.
    pub expected: usize,
    /// Weights given.
    pub found: usize,
}

/// Why a treatment could not be applied to a row.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// A head map needs the weights of the head.
    #[error("condition {treatment} maps the hidden state, but the output head was not given")]
    NoHead {
        /// The treatment.
        treatment: String,
    },
    /// A head map needs the hidden states.
    #[error("condition {treatment} maps the hidden state, but the model gives none")]
    NoHiddenState {
        /// The treatment.
        treatment: String,
    },
    /// An array of the treatment is of another model.
    #[error("condition {treatment} is for {what} of length {found}, expected {expected}")]
    Length {
        /// The treatment.
        treatment: String,
        /// Which length.
        what: &'static str,
        /// The model's.
        expected: usize,
        /// The treatment's.
        found: usize,
    },
    /// The correction stage refused a row.
    #[error("condition {treatment} cannot correct a row")]
    Correct {
        /// The treatment.
        treatment: String,
        /// What is wrong with the row.
        #[source]
        source: CorrectRowError,
    },
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
}

/// One treatment at work on one sequence.
pub(crate) struct Applier<'a> {
    treatment: &'a Treatment,
    level: Level,
    work: Work<'a>,
}

enum Work<'a> {
    Nothing,
    Correct(Box<Corrector>),
    Map { shift: HeadShift<'a>, offset: Option<&'a [f32]> },
}

/// Room that appliers of one thread share, so that none of them allocates for a row.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `[n_tokens]`.
    row: Vec<f32>,
    /// `[n_rows, n_tokens]`.
    shifts: Vec<f32>,
    /// `[n_rows, n_hidden]`.
    hidden: Vec<f32>,
}

impl<'a> Applier<'a> {
    /// An applier at the start of a sequence, for rows of `n_tokens`.
    pub(crate) fn new(
        treatment: &'a Treatment,
        head: Option<HeadMatrix<'a>>,
        n_tokens: usize,
        level: Level,
    ) -> Result<Applier<'a>, ApplyError> {
        let check = |what, expected: usize, found: usize| {
            let treatment = treatment.name.clone();
            let error = ApplyError::Length { treatment, what, expected, found };
            if expected == found { Ok(()) } else { Err(error) }
        };
        let work = match &treatment.kind {
            TreatmentKind::Raw => Work::Nothing,
            TreatmentKind::Corrected(correction) => {
                check("a vocabulary", n_tokens, correction.n_vocab())?;
                Work::Correct(Box::new(Corrector::new(Arc::clone(correction), level)))
            }
            TreatmentKind::HeadMapped { map, offset } => {
                let no_head = || ApplyError::NoHead { treatment: treatment.name.clone() };
                let head = head.ok_or_else(no_head)?;
                check("hidden states", head.n_hidden, map.n_hidden)?;
                check("a vocabulary", n_tokens, head.n_tokens)?;
                if let Some(offset) = offset {
                    check("offsets", n_tokens, offset.len())?;
                }
                Work::Map { shift: HeadShift::new(head, map), offset: offset.as_deref() }
            }
        };
        Ok(Applier { treatment, level, work })
    }

    /// Start a new sequence.
    pub(crate) fn begin_window(&mut self) {
        if let Work::Correct(corrector) = &mut self.work {
            corrector.reset();
        }
    }

    /// Treat the next rows of the sequence, and give each to `on_row` with its place in the block.
    pub(crate) fn apply(
        &mut self,
        block: &RowBlock,
        scratch: &mut Scratch,
        on_row: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ApplyError> {
        let treatment = || self.treatment.name.clone();
        match &mut self.work {
            Work::Nothing => {
                (0..block.n_rows()).for_each(|row_idx| on_row(row_idx, block.model(row_idx)));
            }
            Work::Correct(corrector) => {
                for row_idx in 0..block.n_rows() {
                    scratch.row.clear();
                    scratch.row.extend_from_slice(block.model(row_idx));
                    let corrected = corrector.apply(&mut scratch.row);
                    corrected
                        .map_err(|source| ApplyError::Correct { treatment: treatment(), source })?;
                    on_row(row_idx, &scratch.row);
                }
            }
            Work::Map { shift, offset } => {
                let no_state = || ApplyError::NoHiddenState { treatment: treatment() };
                let hidden = block.hidden().ok_or_else(no_state)?;
                shift.of_rows(hidden, &mut scratch.hidden, &mut scratch.shifts);
                let rows = scratch.shifts.chunks_exact_mut(shift.n_tokens());
                for (row_idx, row) in rows.enumerate().take(block.n_rows()) {
                    add_offset(self.level, row, block.model(row_idx));
                    if let Some(offset) = offset {
                        add_offset(self.level, row, offset);
                    }
                    on_row(row_idx, row);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lapwing_backend::Row;

    use super::*;
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
            let mut block = RowBlock::new(N_TOKENS, n_rows);
            let states: Vec<Vec<f32>> =
                (0..n_rows).map(|idx| numbers(20 + idx as u64, N_HIDDEN)).collect();
            for state in &states {
                let logits = mapped_head(&head, &plain, state);
                block.push(None, Row { token_idx: 0, logits: &logits, hidden: Some(state) }, 0);
            }
            let mut n_seen = 0;
            let on_row = &mut |row_idx: usize, row: &[f32]| {
                let expected = mapped_head(&head, &map, &states[row_idx]);
                for ((found, expected), offset) in row.iter().zip(expected).zip(&offset) {
                    assert!((found - expected - offset).abs() < 1e-3, "{found} {expected}");
                }
                n_seen += 1;
            };
            applier.apply(&block, &mut Scratch::default(), on_row).expect("applies");
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
        let mut block = RowBlock::new(N_TOKENS, 1);
        block.push(None, Row { token_idx: 0, logits: &numbers(4, N_TOKENS), hidden: None }, 0);
        let applied = made.expect("fits").apply(&block, &mut Scratch::default(), &mut |_, _| {});
        assert_eq!(applied, Err(ApplyError::NoHiddenState { treatment: "c".into() }));
    }
}
