//! What trying a device in a process of its own may take.

use std::time::Duration;

/// What a trial may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialLimits {
    /// From the child's start to its end.
    pub time: Duration,
    /// Resident bytes of the child.
    pub n_bytes: u64,
}
