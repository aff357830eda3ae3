//! Processes of models that were lost, after which they are started again later each time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::refusal::Refusal;

/// What a lost worker costs before it is started again, at first and at most.
const BACK_OFF: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(60)];

/// By model: losses in a row, and when the last one was.
#[derive(Default)]
pub(super) struct Losses(HashMap<String, (u32, Instant)>);

impl Losses {
    /// Refuse a model whose process was lost again and again, until some time has passed.
    pub(super) fn back_off(&self, name: &str) -> Result<(), Refusal> {
        let Some((n_losses, at)) = self.0.get(name) else { return Ok(()) };
        let [first, most] = BACK_OFF;
        let wait = first.saturating_mul(1 << n_losses.saturating_sub(1).min(16)).min(most);
        match wait.checked_sub(at.elapsed()) {
            Some(left) if 1 < *n_losses => Err(Refusal::busy(
                format!("the model's process was lost {n_losses} times in a row"),
                left.as_secs() + 1,
            )),
            _ => Ok(()),
        }
    }

    /// One more.
    pub(super) fn count(&mut self, name: &str) {
        let (n_losses, at) = self.0.entry(name.to_owned()).or_insert((0, Instant::now()));
        (*n_losses, *at) = (n_losses.saturating_add(1), Instant::now());
    }

    /// They do not count any more.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_longer_each_time_up_to_a_minute() {
        let mut losses = Losses::default();
        let mut waits = Vec::new();
        for _ in 0..10 {
            losses.count("m");
            waits
                .push(losses.back_off("m").err().map_or(0, |refusal| refusal.retry_after.unwrap()));
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(losses.back_off("other").is_ok());
        losses.forget("m");
        losses.count("m");
        assert!(losses.back_off("m").is_ok(), "it begins anew");
    }
}
