//! Times an answer, for those who want to know what answers take.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use lapwing_measure::in_use::AnswerTook;
use lapwing_measure::reading::Reason;
use lapwing_serving::message::{Ended, Spent};

use crate::in_use::Uses;
use crate::models::Loaded;
#[cfg(feature = "otlp")]
use crate::otlp::{Answered, Exports};

/// Who wants to know.
#[derive(Clone)]
pub(crate) struct Counts {
    pub(crate) uses: Arc<Uses>,
    #[cfg(feature = "otlp")]
    pub(crate) exports: Arc<Exports>,
}

/// Times one answer.
pub(crate) struct Recorder {
    counts: Counts,
    loaded: Arc<Loaded>,
    /// `chat` or `text_completion`.
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "only metrics tell"))]
    operation: &'static str,
    /// When its request came.
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "only metrics tell"))]
    arrived: Instant,
    /// When its request came, as if the model had been loaded.
    due: Instant,
    tokens: Option<[Instant; 2]>,
}

impl Recorder {
    /// For an answer of `loaded` to a request that `arrived`, and is as if it had been `due` with the
    /// model loaded.
    pub(crate) fn new(
        counts: &Counts,
        loaded: Arc<Loaded>,
        (arrived, due): (Instant, Instant),
        operation: &'static str,
    ) -> Recorder {
        Recorder { counts: counts.clone(), loaded, operation, arrived, due, tokens: None }
    }

    /// A token came.
    pub(crate) fn token(&mut self, at: Instant) {
        let [first, _] = self.tokens.unwrap_or([at; 2]);
        self.tokens = Some([first, at]);
    }

    /// That was all.
    pub(crate) fn ended(&self, ended: &Ended, spent: &Spent) {
        #[cfg(feature = "otlp")]
        self.counts.exports.note(&self.answered(ended, spent));
        let Some([first, last]) = self.tokens else { return };
        let ms = |at: Instant| at.saturating_duration_since(self.due).as_secs_f64() * 1e3;
        let unknown = || Reason::new(spent.energy_null.clone().unwrap_or_default());
        let took = AnswerTook {
            ended_at: SystemTime::now(),
            n_read: ended.n_prompt - ended.n_reused,
            n_known: ended.n_reused,
            n_tokens: ended.n_tokens,
            ttft_ms: ms(first),
            total_ms: ms(last),
            energy_j: spent.energy_j.ok_or_else(unknown),
        };
        if took.tells_speed() {
            self.counts.uses.note(&self.loaded.answerer, took, self.loaded.crowd.resident_bytes());
        }
    }
}

#[cfg(feature = "otlp")]
impl Recorder {
    fn answered(&self, ended: &Ended, spent: &Spent) -> Answered<'_> {
        let first = self.tokens.map(|[first, _]| first.saturating_duration_since(self.due));
        let between = self.tokens.map(|[first, last]| last - first);
        let per_token = between.filter(|_| 2 <= ended.n_tokens);
        Answered {
            of: &self.loaded.answerer.configuration,
            operation: self.operation,
            n_prompt: ended.n_prompt,
            n_known: ended.n_reused,
            n_tokens: ended.n_tokens,
            duration_s: self.arrived.elapsed().as_secs_f64(),
            first_token_s: first.map(|first| first.as_secs_f64()),
            per_token_s: per_token.map(|all| all.as_secs_f64() / (ended.n_tokens - 1) as f64),
            energy_j: spent.energy_j,
            was_given_up: ended.why == lapwing_serving::message::Why::Cancelled,
        }
    }
}
