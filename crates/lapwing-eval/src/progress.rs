//! How far a long measurement is, and how it ends early.

use std::error::Error;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

/// How far a measurement is; reported before the first unit and after every one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Units (windows, items) that are finished, those of an earlier run included.
    pub n_done: usize,
    /// Units in all.
    pub n_total: usize,
    /// Units that a journal held from an earlier run, as far as the measurement has come.
    pub n_resumed: usize,
    /// The result so far (perplexity, mean divergence, accuracy); `None` before there is one.
    pub so_far: Option<f64>,
}

/// Hears of the progress and may break off.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// The caller broke off; what was done is in the journal, if there is one.
///
/// The errors of this crate have it as a variant, and always as a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{n_done} of {n_total} were done")]
pub struct Stopped {
    /// Units that are finished.
    pub n_done: usize,
    /// Units in all.
    pub n_total: usize,
}

impl Stopped {
    /// The stop among the causes of an error, when that is what ended the work.
    #[must_use]
    pub fn cause_of(error: &(dyn Error + 'static)) -> Option<Stopped> {
        let mut causes = std::iter::successors(Some(error), |&cause| cause.source());
        causes.find_map(|cause| cause.downcast_ref().copied())
    }
}

impl Progress {
    /// Report this to `on_progress`.
    ///
    /// # Errors
    ///
    /// When it breaks off before the last unit; after that nothing is left to break off.
    pub fn report(self, on_progress: OnProgress<'_>) -> Result<(), Stopped> {
        let Progress { n_done, n_total, .. } = self;
        let is_stopped = on_progress(self).is_break() && n_done < n_total;
        if is_stopped { Err(Stopped { n_done, n_total }) } else { Ok(()) }
    }
}
