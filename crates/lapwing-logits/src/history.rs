//! Which tokens were seen, and what that does to their logits.

use std::collections::{HashMap, VecDeque};

use crate::SamplerOptions;

/// The tokens in the penalty window, counted.
///
/// The order in which the map yields them does not matter: each token's logit
/// is changed once, on its own.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// Oldest first; kept only when the window is limited.
    window: VecDeque<u32>,
    n_occurrences: HashMap<u32, u32>,
}

impl History {
    pub(crate) fn new() -> History {
        History { window: VecDeque::new(), n_occurrences: HashMap::new() }
    }

    /// Remember one token, in constant time; nothing to do when no penalty is on.
    pub(crate) fn observe(&mut self, options: &SamplerOptions, token: u32) {
        if !has_penalty(options) {
            return;
        }
        *self.n_occurrences.entry(token).or_insert(0) += 1;
        let Some(n_window) = options.repeat_window else { return };
        self.window.push_back(token);
        if n_window < self.window.len() {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(token) = self.window.pop_front() else { return };
        if let Some(n_occurrences) = self.n_occurrences.get_mut(&token) {
            *n_occurrences -= 1;
            if *n_occurrences == 0 {
                self.n_occurrences.remove(&token);
            }
        }
    }

    /// Call `change` with every token seen and what its logit becomes.
    pub(crate) fn penalise(
        &self,
        options: &SamplerOptions,
        mut change: impl FnMut(u32, &dyn Fn(f32) -> f32),
    ) {
        for (&token, &n_occurrences) in &self.n_occurrences {
            change(token, &|logit| penalised(options, logit, n_occurrences));
        }
    }
}

fn has_penalty(options: &SamplerOptions) -> bool {
    options.repeat_penalty != 1.0
        || options.presence_penalty != 0.0
        || options.frequency_penalty != 0.0
}

/// One logit after the penalties of a token that occurred `n_occurrences` times.
fn penalised(options: &SamplerOptions, logit: f32, n_occurrences: u32) -> f32 {
    let repeated =
        if 0.0 < logit { logit / options.repeat_penalty } else { logit * options.repeat_penalty };
    repeated - n_occurrences as f32 * options.frequency_penalty - options.presence_penalty
}
