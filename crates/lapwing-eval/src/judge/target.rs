//! What the reference says about rows.

use lapwing_kernels::{Distribution, Level, row_find_equal};

use crate::judge::JudgeError;
use crate::pairs::Side;
use crate::treatment::RowBlock;

/// What the reference says about one row.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) reference: Distribution<'a>,
    /// Its likeliest token.
    pub(super) best: Option<usize>,
}

/// The reference's side of a block; empty without a reference.
///
/// A reference that excludes the text is refused where rows are scored: any candidate would be as
/// good as that.
pub(super) fn targets(
    level: Level,
    window_idx: usize,
    n_unscored_rows: usize,
    block: &RowBlock,
) -> Result<Vec<Target<'_>>, JudgeError> {
    let mut targets = Vec::new();
    for row_idx in 0..block.n_rows() {
        let Some(row) = block.reference(row_idx) else { break };
        let position = block.position(row_idx);
        let name = || Side::Reference.to_string();
        let reference = Distribution::new(level, row)
            .ok_or_else(|| JudgeError::NoDistribution { window_idx, position, name: name() })?;
        let of_next = reference.log_probability(block.next(row_idx) as usize);
        if n_unscored_rows <= position && !of_next.is_finite() {
            return Err(JudgeError::Excluded { window_idx, position, name: name() });
        }
        let best = row_find_equal(level, row, reference.max());
        targets.push(Target { reference, best });
    }
    Ok(targets)
}
