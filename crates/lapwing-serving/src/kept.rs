//! Sequences that are kept after their answers, because the next prompt may begin alike.

use std::time::Instant;

use lapwing_model::TokenId;
use lapwing_runtime::Session;

/// A sequence that knows so much of a prompt is taken for it, though the rest of it is lost.
const SHARE_TO_LOSE: usize = 2;

/// Kept sequences, within a number and a size.
pub(crate) struct Kept {
    sequences: Vec<Sequence>,
    n_bytes_max: u64,
    bytes_per_position: Option<u64>,
}

struct Sequence {
    session: Session,
    used: Instant,
}

impl Kept {
    pub(crate) fn new(n_bytes_max: u64, bytes_per_position: Option<u64>) -> Kept {
        Kept { sequences: Vec::new(), n_bytes_max, bytes_per_position }
    }

    pub(crate) fn len(&self) -> usize {
        self.sequences.len()
    }

    /// What they take, where the library tells.
    pub(crate) fn n_bytes(&self) -> Option<u64> {
        let n_positions: usize = self.sequences.iter().map(|kept| kept.session.seen().len()).sum();
        self.bytes_per_position.map(|per_position| per_position * n_positions as u64)
    }

    /// Keep a sequence. Those that were not used for longest go, until what is kept fits.
    pub(crate) fn keep(&mut self, session: Session) {
        self.sequences.push(Sequence { session, used: Instant::now() });
        while self.n_bytes().is_some_and(|n_bytes| self.n_bytes_max < n_bytes)
            && 1 < self.sequences.len()
        {
            self.drop_oldest();
        }
    }

    /// The sequence that a prompt goes on from with least loss; `None` if a new one is better. Where
    /// there `is_room` for no more sequences, one that knows nothing of it must do.
    pub(crate) fn take(
        &mut self,
        prompt: &[TokenId],
        can_rewind: bool,
        is_room: bool,
    ) -> Option<Session> {
        let n_common = |kept: &Sequence| {
            let pairs = kept.session.seen().iter().zip(prompt);
            pairs.take_while(|(seen, wanted)| seen == wanted).count()
        };
        let best = (0..self.sequences.len()).max_by_key(|&idx| n_common(&self.sequences[idx]));
        if let Some(idx) = best {
            let kept = &self.sequences[idx];
            let (n_common, n_seen) = (n_common(kept), kept.session.seen().len());
            let loses_little = n_seen <= n_common.saturating_mul(SHARE_TO_LOSE);
            let can_go_on = n_common == n_seen || can_rewind;
            if n_common != 0 && can_go_on && (loses_little || !is_room) {
                return Some(self.sequences.swap_remove(idx).session);
            }
        }
        if !is_room { self.drop_oldest() } else { None }
    }

    /// Let go of the one that was not used for longest.
    pub(crate) fn drop_oldest(&mut self) -> Option<Session> {
        let oldest = (0..self.sequences.len()).min_by_key(|&idx| self.sequences[idx].used)?;
        Some(self.sequences.swap_remove(oldest).session)
    }
}
