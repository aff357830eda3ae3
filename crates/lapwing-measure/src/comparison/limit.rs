//! Whether one side became worse than it may.

use super::{Change, Comparison, Pair, shortened};

/// Why a comparison does not pass.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WorseError {
    /// Something became worse by more than it may.
    #[error("{n_metrics} worse by more than {:.1} %: {worst}", share * 100.0)]
    Regression { n_metrics: usize, share: f64, worst: String },
    /// The second side does not have all that the first has: what is missing could be what became
    /// worse.
    #[error("B lacks {n_missing} of what A has: {missing}")]
    Missing { n_missing: usize, missing: String },
}

impl Comparison {
    /// Refuse a second side that is worse than the first by more than `share`, or lacks something.
    ///
    /// # Errors
    ///
    /// When it is, with the worst, or does, with some of what it lacks.
    pub fn require(&self, share: f64) -> Result<(), WorseError> {
        let regressions: Vec<(&Pair, &Change)> = self.regressions(share).collect();
        let worst = regressions.iter().max_by(|a, b| a.1.worsening().total_cmp(&b.1.worsening()));
        let Some((pair, change)) = worst else { return self.require_whole() };
        let percent = change.worsening() * 100.0;
        let worst = format!("{} of {} by {percent:.1} %", change.metric.name(), pair.test);
        Err(WorseError::Regression { n_metrics: regressions.len(), share, worst })
    }

    fn require_whole(&self) -> Result<(), WorseError> {
        let missing: Vec<String> = self.missing().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(WorseError::Missing { n_missing: missing.len(), missing: shortened(&missing, "; ") })
    }
}
