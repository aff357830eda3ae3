//! One sequence of a model after another: a decoder is used again where it can forget.

use lapwing_backend::{Decoder, Model, OpenError, Row, StepError};
use lapwing_model::TokenId;
use lapwing_runtime::score_rows;

/// A model with at most one decoder.
pub(crate) struct Sequence<'a> {
    model: &'a dyn Model,
    decoder: Option<Box<dyn Decoder>>,
}

impl<'a> Sequence<'a> {
    pub(crate) fn new(model: &'a dyn Model) -> Sequence<'a> {
        Sequence { model, decoder: None }
    }

    pub(crate) fn model(&self) -> &'a dyn Model {
        self.model
    }

    /// Start with nothing seen.
    pub(crate) fn begin(&mut self) -> Result<(), OpenError> {
        if !self.go_back(0) {
            self.decoder = Some(self.model.decoder()?);
        }
        Ok(())
    }

    /// Forget every position from `n_positions` on; where the decoder cannot, it is dropped and
    /// this is `false`.
    pub(crate) fn go_back(&mut self, n_positions: usize) -> bool {
        let went = self.decoder.as_mut().is_some_and(|d| d.rewind(n_positions).is_ok());
        if !went {
            self.decoder = None;
        }
        went
    }

    /// Append `tokens` and give every row to `on_row`.
    ///
    /// # Panics
    ///
    /// When nothing was begun since the start or the last error.
    pub(crate) fn score(
        &mut self,
        tokens: &[TokenId],
        on_row: &mut dyn FnMut(Row<'_>),
    ) -> Result<(), StepError> {
        // Put back only when it is whole: after an error a decoder has seen an unknown part.
        let mut decoder = self.decoder.take().expect("the caller begins first");
        score_rows(self.model, &mut *decoder, tokens, on_row)?;
        self.decoder = Some(decoder);
        Ok(())
    }

    /// Append `tokens` and write the row of the last one to `logits`.
    ///
    /// # Panics
    ///
    /// When nothing was begun since the start or the last error.
    pub(crate) fn step(&mut self, tokens: &[TokenId], logits: &mut [f32]) -> Result<(), StepError> {
        let mut decoder = self.decoder.take().expect("the caller begins first");
        decoder.step(tokens, logits)?;
        self.decoder = Some(decoder);
        Ok(())
    }
}
