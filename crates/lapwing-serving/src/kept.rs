//! Sequences that are kept after their answers, because the next prompt may begin alike.

use std::time::Instant;

use lapwing_model::TokenId;
use lapwing_runtime::Session;

/// A sequence that knows so much of a prompt is taken for it, though the rest of it is lost.
const SHARE_TO_LOSE: usize = 2;

/// So much of a prompt is read in a round. The borders of parts are multiples of it, so that a prompt
/// gives the same numbers whoever else is answered.
pub(crate) const N_PART_TOKENS: usize = 256;

/// How many of the first positions are in whole parts.
pub(crate) fn whole_parts(n_positions: usize) -> usize {
    n_positions / N_PART_TOKENS * N_PART_TOKENS
}

/// Kept sequences, within a number and a size.
pub(crate) struct Kept {
    sequences: Vec<Sequence>,
    n_bytes_max: u64,
    bytes_per_position: Option<u64>,
}

struct Sequence {
    kept: KeptSession,
    used: Instant,
}

/// A session that is kept, and how much of it any prompt would give again.
pub(crate) struct KeptSession {
    pub(crate) session: Session,
    /// So many positions from the start were read in parts with the borders of a prompt that is read
    /// anew, so that their numbers are those that it would give.
    pub(crate) n_exact: usize,
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
        let n_positions: usize =
            self.sequences.iter().map(|one| one.kept.session.seen().len()).sum();
        self.bytes_per_position.map(|per_position| per_position * n_positions as u64)
    }

    /// Keep a sequence. Those that were not used for longest go, until what is kept fits.
    pub(crate) fn keep(&mut self, kept: KeptSession) {
        self.sequences.push(Sequence { kept, used: Instant::now() });
        while self.n_bytes().is_some_and(|n_bytes| self.n_bytes_max < n_bytes)
            && 1 < self.sequences.len()
        {
            self.drop_oldest();
        }
    }

    /// The sequence that a prompt goes on from with least loss; `None` if a new one is better. Where
    /// there `is_room` for no more sequences, one that knows nothing of it must do. With `exactly` only
    /// what counts that gives the numbers of a prompt that is read anew.
    pub(crate) fn take(
        &mut self,
        prompt: &[TokenId],
        exactly: bool,
        can_rewind: bool,
        is_room: bool,
    ) -> Option<KeptSession> {
        let n_common = |one: &Sequence| {
            let KeptSession { session, n_exact } = &one.kept;
            let pairs = session.seen().iter().zip(prompt);
            let n_common = pairs.take_while(|(seen, wanted)| seen == wanted).count();
            // A whole prompt is never known: its last token has to be stepped.
            match exactly {
                true => whole_parts(n_common.min(*n_exact).min(prompt.len() - 1)),
                false => n_common,
            }
        };
        let can_go_on =
            |one: &Sequence| can_rewind || n_common(one) == one.kept.session.seen().len();
        // One that knows more of the prompt, but cannot go back to it, hides no other.
        let able = (0..self.sequences.len()).filter(|&idx| can_go_on(&self.sequences[idx]));
        if let Some(idx) = able.max_by_key(|&idx| n_common(&self.sequences[idx])) {
            let one = &self.sequences[idx];
            let (n_common, n_seen) = (n_common(one), one.kept.session.seen().len());
            let loses_little = n_seen <= n_common.saturating_mul(SHARE_TO_LOSE);
            if n_common != 0 && (loses_little || !is_room) {
                let mut kept = self.sequences.swap_remove(idx).kept;
                if exactly && kept.session.forget_behind(n_common).is_err() {
                    return None;
                }
                return Some(kept);
            }
        }
        // What it knows of the prompt is not to be used.
        let oldest = if is_room { None } else { self.drop_oldest() };
        oldest.filter(|_| !exactly)
    }

    /// Let go of the one that was not used for longest.
    pub(crate) fn drop_oldest(&mut self) -> Option<KeptSession> {
        let oldest = (0..self.sequences.len()).min_by_key(|&idx| self.sequences[idx].used)?;
        Some(self.sequences.swap_remove(oldest).kept)
    }
}
