//! Which tokens were seen, and what that does to their logits.

use std::collections::{HashMap, VecDeque};

use crate::SamplerOptions;

/// The tokens in the penalty window, counted. The repeat penalty is for all of them, the presence
/// and the frequency penalty for those that were generated, as OpenAI defines them.
///
/// The order in which the map yields them does not matter: each token's logit
/// is changed once, on its own.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// Oldest first, each with whether it was generated; kept only when the window is limited.
    window: VecDeque<(u32, bool)>,
    occurrences: HashMap<u32, Occurrences>,
}

/// How often a token was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Occurrences {
    n_all: u32,
    n_generated: u32,
}

impl History {
    pub(crate) fn new() -> History {
        History { window: VecDeque::new(), occurrences: HashMap::new() }
    }

    /// Remember one token, of the prompt or generated, in constant time; nothing to do when no
    /// penalty is on.
    pub(crate) fn observe(&mut self, options: &SamplerOptions, token: u32, is_generated: bool) {
        if !has_penalty(options) {
            return;
        }
        let seen = self.occurrences.entry(token).or_default();
        seen.n_all += 1;
        seen.n_generated += u32::from(is_generated);
        let Some(n_window) = options.repeat_window else { return };
        self.window.push_back((token, is_generated));
        if n_window < self.window.len() {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((token, is_generated)) = self.window.pop_front() else { return };
        if let Some(seen) = self.occurrences.get_mut(&token) {
            seen.n_all -= 1;
            seen.n_generated -= u32::from(is_generated);
            if seen.n_all == 0 {
                self.occurrences.remove(&token);
            }
        }
    }

    /// Call `change` with every token seen and what its logit becomes.
    pub(crate) fn penalise(
        &self,
        options: &SamplerOptions,
        mut change: impl FnMut(u32, &dyn Fn(f32) -> f32),
    ) {
        for (&token, &seen) in &self.occurrences {
            change(token, &|logit| penalised(options, logit, seen));
        }
    }
}

fn has_penalty(options: &SamplerOptions) -> bool {
    options.repeat_penalty != 1.0
        || options.presence_penalty != 0.0
        || options.frequency_penalty != 0.0
}

/// One logit after the penalties of a token that was seen so often.
fn penalised(options: &SamplerOptions, logit: f32, seen: Occurrences) -> f32 {
    let repeated =
        if 0.0 < logit { logit / options.repeat_penalty } else { logit * options.repeat_penalty };
    let is_present = if seen.n_generated > 0 { 1.0 } else { 0.0 };
    repeated
        - seen.n_generated as f32 * options.frequency_penalty
        - is_present * options.presence_penalty
}
