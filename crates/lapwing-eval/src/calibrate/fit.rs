//! The pass over the calibration text: everything that is fitted, accumulated from the same rows.

use lapwing_logits::{Gauge, Level, centre};

use crate::calibrate::windows::CalibrationWindows;
use crate::calibrate::{CalibrateInputs, CalibrateOptions};
use crate::estimators::{Bands, GainFit, GainSearch, PairedMoments, SeriesMoments};
use crate::head_map::HeadMapEquations;
use crate::row_block::RowBlock;
use crate::rows::RowSource;
use crate::score_error::ScoreError;
use crate::windows::TextWindow;

/// Bands are drawn after this share of the windows, by the mean logits until then; the search for
/// their gains reads the rest.
const BANDS_AFTER: f64 = 0.25;

/// Sums over the windows that were read.
pub(super) struct Fit {
    level: Level,
    gauge: Gauge,
    n_threads: usize,
    n_bands: usize,
    n_grid: usize,
    n_tokens: usize,
    n_rows: usize,
    pub(super) series: SeriesMoments,
    /// With a reference.
    pub(super) paired: Option<PairedMoments>,
    scalar_search: GainSearch,
    banded: Option<Banded>,
    /// Where both models give hidden states.
    pub(super) equations: Option<HeadMapEquations>,
    centred: Vec<f32>,
    reference_centred: Vec<f32>,
}

struct Banded {
    bands: Bands,
    search: GainSearch,
}

impl Fit {
    pub(super) fn new(inputs: &CalibrateInputs<'_>, options: &CalibrateOptions) -> Fit {
        let n_tokens = inputs.n_tokens;
        let n_hidden = inputs.model.n_hidden();
        let is_same = |n_hidden: &usize| {
            inputs.head.is_some()
                && inputs.reference.and_then(|reference| reference.n_hidden()) == Some(*n_hidden)
        };
        Fit {
            level: options.level,
            gauge: options.gauge,
            n_threads: options.n_threads,
            n_bands: options.n_bands,
            n_grid: options.n_grid,
            n_tokens,
            n_rows: 0,
            series: SeriesMoments::new(n_tokens),
            paired: inputs.reference.map(|_| PairedMoments::new(n_tokens)),
            scalar_search: GainSearch::new(n_tokens, &Bands::one(n_tokens), options.n_grid),
            banded: None,
            equations: n_hidden.filter(is_same).map(HeadMapEquations::new),
            centred: Vec::new(),
            reference_centred: Vec::new(),
        }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub(super) fn n_tokens(&self) -> usize {
        self.n_tokens
    }

    /// The one gain of maximum likelihood.
    pub(super) fn scalar_gain(&mut self) -> GainFit {
        self.scalar_search.best().into_iter().next().expect("one band")
    }

    /// The bands, and their gains of maximum likelihood.
    pub(super) fn bands(&mut self) -> (Bands, Vec<GainFit>) {
        let banded = self.banded.as_mut().expect("drawn before the last window");
        (banded.bands.clone(), banded.search.best())
    }

    /// Read the next window of `n_windows`.
    pub(super) fn take_window(
        &mut self,
        window_idx: usize,
        n_windows: usize,
        window: &TextWindow,
        source: &mut RowSource<'_>,
    ) -> Result<(), ScoreError> {
        // At least one window before, at least one after.
        let n_before = (n_windows as f64 * BANDS_AFTER).ceil().max(1.0) as usize;
        if self.banded.is_none() && n_before.min(n_windows - 1) <= window_idx {
            let bands = Bands::by_mean(&self.series.means(), self.n_bands);
            let search = GainSearch::new(self.n_tokens, &bands, self.n_grid);
            self.banded = Some(Banded { bands, search });
        }
        self.series.begin_window();
        self.scalar_search.begin_window();
        if let Some(paired) = &mut self.paired {
            paired.begin_window();
        }
        if let Some(banded) = &mut self.banded {
            banded.search.begin_window();
        }
        let place = CalibrationWindows::place_of_fitted(window_idx);
        source.stream(place, &window.tokens, &mut |block| {
            self.take(block);
            Ok(())
        })
    }

    fn take(&mut self, block: &RowBlock<'_>) {
        self.n_rows += block.n_rows();
        let (level, gauge, n_tokens) = (self.level, self.gauge, self.n_tokens);
        let rows = 0..block.n_rows();
        let model = rows.clone().map(|row_idx| block.model(row_idx));
        centre_rows(level, gauge, n_tokens, &mut self.centred, model);
        let reference = rows.filter_map(|row_idx| block.reference(row_idx));
        centre_rows(level, gauge, n_tokens, &mut self.reference_centred, reference);
        let Fit { series, paired, scalar_search, banded, equations, .. } = self;
        let rows = || self.centred.chunks_exact(n_tokens);
        let reference_rows = || self.reference_centred.chunks_exact(n_tokens);
        let mut search = || {
            rows().for_each(|row| scalar_search.push(row));
            if let Some(banded) = banded {
                rows().for_each(|row| banded.search.push(row));
            }
        };
        let moments = || {
            rows().for_each(|row| series.push(row));
            if let Some(paired) = paired {
                reference_rows().zip(rows()).for_each(|(one, other)| paired.push(one, other));
            }
            let states = block.reference_hidden().zip(block.hidden());
            if let (Some(equations), Some((reference, model))) = (equations, states) {
                for (reference, model) in reference.outer_iter().zip(model.outer_iter()) {
                    equations.push(reference, model);
                }
            }
        };
        if self.n_threads < 2 {
            search();
            moments();
            return;
        }
        // Each accumulator is one thread's, so the sums do not depend on timing.
        std::thread::scope(|scope| {
            scope.spawn(search);
            moments();
        });
    }
}

/// Rows without their gauge, one after the other; a row without a finite entry becomes NaN.
fn centre_rows<'a>(
    level: Level,
    gauge: Gauge,
    n_tokens: usize,
    out: &mut Vec<f32>,
    rows: impl Iterator<Item = &'a [f32]>,
) {
    out.clear();
    for row in rows {
        let start = out.len();
        out.resize(start + n_tokens, f32::NAN);
        // What cannot be centred stays NaN and breaks every token's chain.
        let _ = centre(level, gauge, row, &mut out[start..]);
    }
}
