//! The changing set of tokens that [`Scope::TopK`](crate::Scope::TopK) follows.
//!
//! ```text
//! step(y):
//!     top     = top_k(y)                          ids ascending
//!     tracked = top + top of the step before      a sorted merge, at most 2 k
//!     states  = those of the tracked before; none for who enters; who left is forgotten
//!     y[tracked], states = smooth(y[tracked], states)
//! ```
//! All lists are sorted by id, so that merging needs no map and no allocation.

use std::cmp::Ordering;

use lapwing_kernels::{
    Level, Reversion, TopKIdsBuffer, gather, kls_update, kls_update_each, kls_update_reverting,
    scatter, top_k_ids,
};

use super::Update;
use super::rescale::Rescaler;

/// The followed tokens of one sequence, and the room to find the next ones.
#[derive(Clone, Debug)]
pub(super) struct Tracker {
    k: usize,
    set: TrackedSet,
    next: TrackedSet,
    /// Of the tracked tokens: logits, gains, long-term levels. Shapes: `[2 k]` each.
    logits: Box<[f32]>,
    gains: Box<[f32]>,
    reverting_to: Box<[f32]>,
    buffer: TopKIdsBuffer,
}

/// Tokens and their states. The slices keep their length, so that a copy never allocates later.
#[derive(Debug)]
pub(crate) struct TrackedSet {
    /// The tracked tokens, ascending, in front. Shapes: `[2 k]`.
    ids: Box<[u32]>,
    /// Their states. Shapes: `[2 k]`.
    states: Box<[f32]>,
    n_tracked: usize,
    /// The `k` largest of the last row, ascending, in front. Shapes: `[k]`.
    top: Box<[u32]>,
    n_top: usize,
}

impl Tracker {
    /// Nothing is followed yet; `n_tracked_max / 2` tokens are taken from each row.
    pub(super) fn new(n_vocab: usize, n_tracked_max: usize) -> Tracker {
        let k = (n_tracked_max / 2).min(n_vocab);
        let room = || vec![0.0; 2 * k].into_boxed_slice();
        Tracker {
            k,
            set: TrackedSet::new(k),
            next: TrackedSet::new(k),
            logits: room(),
            gains: room(),
            reverting_to: room(),
            buffer: TopKIdsBuffer::new(n_vocab, k),
        }
    }

    /// At most so many tokens are followed at once.
    pub(super) fn n_tracked_max(&self) -> usize {
        2 * self.k
    }

    pub(super) fn set(&self) -> &TrackedSet {
        &self.set
    }

    pub(super) fn set_mut(&mut self) -> &mut TrackedSet {
        &mut self.set
    }

    /// Choose whom to follow, smooth these and leave the others.
    pub(super) fn step(
        &mut self,
        level: Level,
        update: &Update,
        gauge: f32,
        rescaler: &mut Rescaler,
        row: &mut [f32],
    ) {
        let top = top_k_ids(level, row, self.k, &mut self.buffer);
        self.next.follow(top, &self.set);
        std::mem::swap(&mut self.set, &mut self.next);

        let n_tracked = self.set.n_tracked;
        let ids = &self.set.ids[..n_tracked];
        let states = &mut self.set.states[..n_tracked];
        let logits = &mut self.logits[..n_tracked];
        let own_gains = &mut self.gains[..n_tracked];
        gather(level, row, ids, logits);
        let before = rescaler.measure(level, logits);
        match update {
            Update::One(gain) => kls_update(level, logits, states, gauge, *gain),
            Update::Each(gains) => {
                gather(level, gains, ids, own_gains);
                kls_update_each(level, logits, states, gauge, own_gains);
            }
            Update::Reverting { gains, reversion } => {
                let reverting_to = &mut self.reverting_to[..n_tracked];
                gather(level, gains, ids, own_gains);
                gather(level, &reversion.levels, ids, reverting_to);
                let coefficient = reversion.coefficient;
                let reversion = Reversion { coefficient, levels: reverting_to };
                kls_update_reverting(level, logits, states, gauge, own_gains, reversion);
            }
        }
        rescaler.restore(level, before, logits);
        scatter(level, logits, ids, row);
    }
}

impl TrackedSet {
    fn new(k: usize) -> TrackedSet {
        TrackedSet {
            ids: vec![0; 2 * k].into(),
            states: vec![f32::NAN; 2 * k].into(),
            n_tracked: 0,
            top: vec![0; k].into(),
            n_top: 0,
        }
    }

    /// Follow nothing.
    pub(super) fn clear(&mut self) {
        self.n_tracked = 0;
        self.n_top = 0;
    }

    /// Become another set of the same size.
    ///
    /// # Panics
    ///
    /// When it is of another size.
    pub(super) fn copy_from(&mut self, other: &TrackedSet) {
        self.ids.copy_from_slice(&other.ids);
        self.states.copy_from_slice(&other.states);
        self.top.copy_from_slice(&other.top);
        self.n_tracked = other.n_tracked;
        self.n_top = other.n_top;
    }

    /// Become the set of the next step: `top` and the top of `last`, with the states of `last`.
    fn follow(&mut self, top: &[u32], last: &TrackedSet) {
        let last_states = last.ids[..last.n_tracked].iter().zip(&last.states);
        let mut last_states = last_states.peekable();
        self.n_tracked = 0;
        for_each_of_union(top, &last.top[..last.n_top], |id| {
            while last_states.next_if(|&(&last_id, _)| last_id < id).is_some() {}
            let stays = last_states.next_if(|&(&last_id, _)| last_id == id);
            self.ids[self.n_tracked] = id;
            self.states[self.n_tracked] = stays.map_or(f32::NAN, |(_, &state)| state);
            self.n_tracked += 1;
        });
        self.top[..top.len()].copy_from_slice(top);
        self.n_top = top.len();
    }
}

impl Clone for TrackedSet {
    fn clone(&self) -> TrackedSet {
        TrackedSet {
            ids: self.ids.clone(),
            states: self.states.clone(),
            n_tracked: self.n_tracked,
            top: self.top.clone(),
            n_top: self.n_top,
        }
    }

    fn clone_from(&mut self, other: &TrackedSet) {
        self.ids.clone_from(&other.ids);
        self.states.clone_from(&other.states);
        self.top.clone_from(&other.top);
        self.n_tracked = other.n_tracked;
        self.n_top = other.n_top;
    }
}

/// Visit what is in either of two ascending lists, once each, ascending.
fn for_each_of_union(mut left: &[u32], mut right: &[u32], mut visit: impl FnMut(u32)) {
    while let ([first_left, rest_left @ ..], [first_right, rest_right @ ..]) = (left, right) {
        let order = first_left.cmp(first_right);
        if order != Ordering::Greater {
            left = rest_left;
        }
        if order != Ordering::Less {
            right = rest_right;
        }
        visit(*first_left.min(first_right));
    }
    left.iter().chain(right).copied().for_each(visit);
}

#[cfg(test)]
mod tests {
    use super::TrackedSet;

    #[test]
    fn tokens_enter_stay_leave_and_return_as_new() {
        let mut sets = [TrackedSet::new(2), TrackedSet::new(2)];
        let mut check = |top: &[u32], expected: &[(u32, Option<f32>)]| {
            let [set, next] = &mut sets;
            next.follow(top, set);
            std::mem::swap(set, next);
            let states = set.states.iter().map(|state| (!state.is_nan()).then_some(*state));
            let found: Vec<_> = set.ids.iter().copied().zip(states).take(set.n_tracked).collect();
            assert_eq!(found, expected);
            // The filter gives everyone a state; here it is the id.
            for slot in 0..set.n_tracked {
                set.states[slot] = set.ids[slot] as f32;
            }
        };
        check(&[3, 5], &[(3, None), (5, None)]);
        check(&[1, 5], &[(1, None), (3, Some(3.0)), (5, Some(5.0))]);
        check(&[0, 9], &[(0, None), (1, Some(1.0)), (5, Some(5.0)), (9, None)]);
        check(&[3, 9], &[(0, Some(0.0)), (3, None), (9, Some(9.0))]);
        check(&[], &[(3, Some(3.0)), (9, Some(9.0))]);
        check(&[3], &[(3, Some(3.0))]);
    }
}
