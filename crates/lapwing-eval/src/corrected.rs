//! Rows as the sampler would see them: after the logit correction, when there is one.

use std::sync::Arc;

use lapwing_logits::{CorrectRowError, Correction, Corrector, Level, SavedState};

/// The correction of a sequence and the room for its rows.
pub(crate) struct CorrectedRows {
    corrector: Option<Corrector>,
    saved: SavedState,
    row: Vec<f32>,
}

impl CorrectedRows {
    pub(crate) fn new(correction: Option<&Arc<Correction>>, level: Level) -> CorrectedRows {
        let corrector = correction.map(|correction| Corrector::new(correction.clone(), level));
        CorrectedRows { corrector, saved: SavedState::default(), row: Vec::new() }
    }

    /// Whether every row has to be shown in order, or only those that count.
    pub(crate) fn corrects(&self) -> bool {
        self.corrector.is_some()
    }

    /// Forget the rows before.
    pub(crate) fn reset(&mut self) {
        if let Some(corrector) = &mut self.corrector {
            corrector.reset();
        }
    }

    /// Keep the state for [`CorrectedRows::restore`].
    pub(crate) fn save(&mut self) {
        if let Some(corrector) = &self.corrector {
            corrector.save(&mut self.saved);
        }
    }

    /// Go back to the state that was kept last.
    pub(crate) fn restore(&mut self) {
        if let Some(corrector) = &mut self.corrector {
            corrector.restore(&self.saved);
        }
    }

    /// The next row, corrected.
    pub(crate) fn next<'a>(&'a mut self, raw: &'a [f32]) -> Result<&'a [f32], CorrectRowError> {
        let Some(corrector) = &mut self.corrector else { return Ok(raw) };
        self.row.clear();
        self.row.extend_from_slice(raw);
        corrector.apply(&mut self.row)?;
        Ok(&self.row)
    }
}
