//! One pass over windows of text: rows, what is done to them, what is added up.
//!
//! ```text
//! for each window, with nothing remembered from the one before:
//!     rows of the model, and of a reference if there is one, gathered in blocks
//!     for each block, threads take treatments: treat the rows, add up those that count
//!     what was added up is kept in the journal, if there is one
//! ```
//!
//! Windows are independent: models and treatments begin anew with each. A treatment is worked on
//! by one thread at a time and in the order of the rows, so that results do not depend on timing.
//!
//! To add a measurement: a [`Tally`] with what it adds up, and a function that makes something of
//! the windows. This module must not know what is measured or where treatments come from.

use std::sync::{Mutex, PoisonError};

use lapwing_backend::Model;
use lapwing_kernels::{Distribution, Level, row_find_equal};
use lapwing_model::TokenId;
use lapwing_report::statistics::{Block, block_mean};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::journal::{Journal, resume};
use crate::progress::{OnProgress, Progress};
use crate::row_block::RowBlock;
use crate::rows::RowSource;
use crate::score_error::{ScoreError, Side, Whose};
use crate::treatment::Applier;
use crate::windows::{Convention, Text, TextWindow, Window};

/// What a measurement adds up.
pub(crate) trait Tally: Sync {
    /// Of one window under one treatment.
    type Window: Default + Send + Serialize + DeserializeOwned;

    /// Take a row in that counts.
    fn add(&self, window: &mut Self::Window, row: &ScoredRow<'_>) -> Result<(), Excluded>;

    /// What the progress tells the mean of.
    fn value(window: &Self::Window) -> Block;

    /// What the progress tells, from the mean so far.
    fn so_far(mean: f64) -> f64 {
        mean
    }
}

/// A treated row that counts.
pub(crate) struct ScoredRow<'a> {
    pub(crate) level: Level,
    /// The token that follows in the text.
    pub(crate) next: usize,
    /// The treated row.
    pub(crate) found: Distribution<'a>,
    /// The reference's row, where there is a reference.
    pub(crate) reference: Option<Target<'a>>,
}

/// What the reference says about one row.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) distribution: Distribution<'a>,
    /// Its likeliest token.
    pub(crate) best: Option<usize>,
}

/// Who leaves no probability to what must have some.
pub(crate) enum Excluded {
    ByReference,
    ByTreatment,
}

/// What to pass over, and how.
pub(crate) struct Pass<'a> {
    pub(crate) model: &'a dyn Model,
    pub(crate) reference: Option<&'a dyn Model>,
    /// Logits of a row that are looked at.
    pub(crate) n_logits: usize,
    pub(crate) windows: &'a [TextWindow],
    pub(crate) treatments: Vec<Applier<'a>>,
    pub(crate) level: Level,
    /// Threads for what is done to rows; the models have their own.
    pub(crate) n_threads: usize,
}

impl Pass<'_> {
    /// What was added up: window by window, one for each treatment. Windows that `journal` holds
    /// are not computed again; `on_progress` hears of every window.
    pub(crate) fn run<T: Tally>(
        self,
        tally: &T,
        mut journal: Option<&mut Journal>,
        on_progress: OnProgress<'_>,
    ) -> Result<Vec<Vec<T::Window>>, ScoreError> {
        let Pass { model, reference, n_logits, windows, treatments, level, n_threads } = self;
        let mut source = RowSource::new(reference, model, n_logits)?;
        let worker = |applier| Worker { applier, window: T::Window::default(), failure: None };
        let workers = treatments.into_iter().map(worker).collect();
        let mut crew =
            Crew { tally, level, n_threads, has_reference: reference.is_some(), workers };
        let (n_total, mut n_resumed) = (windows.len(), 0);
        let mut finished: Vec<Vec<T::Window>> = Vec::with_capacity(n_total);
        loop {
            let n_done = finished.len();
            let so_far = mean_of_first::<T>(&finished).map(T::so_far);
            Progress { n_done, n_total, n_resumed, so_far }.report(on_progress)?;
            let Some(window) = windows.get(n_done) else { return Ok(finished) };
            let score = || crew.window(&mut source, n_done, window);
            let (found, was_there) = resume(&mut journal, &format!("window {n_done}"), score)?;
            n_resumed += usize::from(was_there);
            finished.push(found);
        }
    }
}

/// The first `n_windows_max` windows of a text, when all windows fit the models and every token is
/// below `n_vocab`.
pub(crate) fn windows_of(
    text: &Text<'_>,
    convention: Convention,
    n_windows_max: Option<usize>,
    n_vocab: usize,
    models: &[&dyn Model],
) -> Result<Vec<Window>, ScoreError> {
    let mut windows = convention.windows(text.tokens.len()).map_err(ScoreError::Windows)?;
    let n_window = convention.n_window();
    let rooms = models.iter().map(|model| model.limits().n_positions_max);
    // The last token of a window is only a target.
    if let Some(n_positions_max) = rooms.min().filter(|&room| room < n_window - 1) {
        return Err(ScoreError::WindowTooLong { n_window, n_positions_max });
    }
    let is_outside = |token: TokenId| n_vocab <= token as usize;
    let begin = text.begin.filter(|&token| is_outside(token)).map(|token| (0, token));
    let first = || text.tokens.iter().copied().enumerate().find(|one| is_outside(one.1));
    if let Some((position, token)) = begin.or_else(first) {
        return Err(ScoreError::NoSuchToken { window_idx: None, token, position, n_vocab });
    }
    windows.truncate(n_windows_max.unwrap_or(usize::MAX).max(1));
    Ok(windows)
}

/// Of the first treatment; `None` before anything counted.
fn mean_of_first<T: Tally>(finished: &[Vec<T::Window>]) -> Option<f64> {
    let blocks: Vec<Block> = finished.iter().filter_map(|of| of.first().map(T::value)).collect();
    blocks.iter().any(|block| block.n != 0).then(|| block_mean(&blocks))
}

/// All treatments at work.
struct Crew<'a, T: Tally> {
    tally: &'a T,
    level: Level,
    n_threads: usize,
    has_reference: bool,
    workers: Vec<Worker<'a, T::Window>>,
}

/// One treatment at work on one window.
struct Worker<'a, W> {
    applier: Applier<'a>,
    window: W,
    failure: Option<ScoreError>,
}

/// Where a block is in the text, and what the reference says of its rows that count.
struct Place<'a> {
    window_idx: usize,
    /// Rows of the block that do not count, at its start.
    n_unscored: usize,
    /// Empty without a reference.
    targets: Vec<Target<'a>>,
}

impl<T: Tally> Crew<'_, T> {
    fn window(
        &mut self,
        source: &mut RowSource<'_>,
        window_idx: usize,
        window: &TextWindow,
    ) -> Result<Vec<T::Window>, ScoreError> {
        for worker in &mut self.workers {
            worker.window = T::Window::default();
            worker.applier.begin_window();
        }
        source.stream(window_idx, &window.tokens, &mut |block| {
            let n_unscored = window.n_unscored_rows.saturating_sub(block.first_position);
            let n_unscored = n_unscored.min(block.n_rows());
            let targets = self.targets(window_idx, n_unscored, block)?;
            self.take(block, &Place { window_idx, n_unscored, targets })
        })?;
        Ok(self.workers.iter_mut().map(|worker| std::mem::take(&mut worker.window)).collect())
    }

    fn targets<'b>(
        &self,
        window_idx: usize,
        n_unscored: usize,
        block: &RowBlock<'b>,
    ) -> Result<Vec<Target<'b>>, ScoreError> {
        let target = |row_idx: usize| {
            let row = block.reference(row_idx)?;
            Some(Distribution::new(self.level, row).map_or_else(
                || {
                    let (whose, position) =
                        (Whose::Side(Side::Reference), block.first_position + row_idx);
                    Err(ScoreError::NoDistribution { whose, window_idx, position })
                },
                |distribution| {
                    let best = row_find_equal(self.level, row, distribution.max());
                    Ok(Target { distribution, best })
                },
            ))
        };
        (n_unscored..block.n_rows()).filter_map(target).collect()
    }

    /// Let every treatment work on the next rows.
    fn take(&mut self, block: &RowBlock<'_>, place: &Place<'_>) -> Result<(), ScoreError> {
        let Crew { tally, level, has_reference, workers, .. } = self;
        let n_others = self.n_threads.min(workers.len()).saturating_sub(1);
        let queue = Mutex::new(workers.iter_mut());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            while let Some(worker) = next() {
                worker.failure = worker.take(*tally, *level, *has_reference, block, place).err();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..n_others {
                scope.spawn(work);
            }
            work();
        });
        workers.iter_mut().find_map(|worker| worker.failure.take()).map_or(Ok(()), Err)
    }
}

impl<W> Worker<'_, W> {
    fn take<T: Tally<Window = W>>(
        &mut self,
        tally: &T,
        level: Level,
        has_reference: bool,
        block: &RowBlock<'_>,
        place: &Place<'_>,
    ) -> Result<(), ScoreError> {
        let Place { window_idx, n_unscored, ref targets } = *place;
        let (window, name) = (&mut self.window, self.applier.name());
        let on_error = |error| ScoreError::of_treatment(window_idx, error);
        self.applier.apply(block, on_error, |row_idx, row| {
            let Some(scored_idx) = row_idx.checked_sub(n_unscored) else { return Ok(()) };
            let position = block.first_position + row_idx;
            let found = Distribution::new(level, row).ok_or_else(|| {
                let only = if has_reference { Whose::Side(Side::Model) } else { Whose::Only };
                let whose = name.map_or(only, |name| Whose::Treatment(name.to_owned()));
                ScoreError::NoDistribution { whose, window_idx, position }
            })?;
            let (next, reference) =
                (block.next[row_idx] as usize, targets.get(scored_idx).copied());
            let row = ScoredRow { level, next, found, reference };
            tally.add(window, &row).map_err(|excluded| {
                let name = match excluded {
                    Excluded::ByReference => Side::Reference.to_string(),
                    Excluded::ByTreatment => name.unwrap_or("model").to_owned(),
                };
                ScoreError::Excluded { name, window_idx, position }
            })
        })
    }
}
