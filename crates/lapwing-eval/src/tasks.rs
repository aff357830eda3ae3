//! Tasks with right answers, scored as lm-evaluation-harness defines them.
//!
//! - ARC-Challenge, HellaSwag, PIQA: the likeliest of several continuations, by the sum of its
//!   log-likelihood (`acc`), by that divided by its length in characters (`acc_norm`, which is what
//!   the harness computes under this name) and in bytes (`acc_bytes`). Equal ones: the first.
//! - LAMBADA: whether the last word is what greedy decoding gives (`acc`), and its perplexity.
//! - GSM8K: whether the number in a generated answer is right (`exact_match`), found strictly after
//!   `####` or flexibly as the last number.
//!
//! No examples are shown but in GSM8K. Standard errors of shares are `sqrt(p (1 - p) / (n - 1))`.
//! The harness puts no begin token before a text unless it is told to; here the caller decides.
//!
//! This module must not read files: the caller brings their text.

mod choices;
mod items;
mod last_words;
mod likelihood;
mod questions;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use lapwing_backend::Model;
use lapwing_logits::{Correction, Level};
use lapwing_model::TokenId;
use lapwing_text::Tokenizer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::failure::Failure;
use crate::journal::{Journal, JournalKey, JournalUnitError, key_of, resume};
use crate::progress::{OnProgress, Progress, Stopped};

pub use choices::ChoiceRecord;
pub use items::{
    Choice, ExamplesFrom, Items, LastWord, NamedText, Question, Questions, ReadItemsError,
};
pub use last_words::LastWordRecord;
pub use questions::{GenerationOptions, QuestionRecord};

/// A task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Science questions with three to five options.
    ArcChallenge,
    /// The most sensible ending of four.
    #[serde(rename = "hellaswag")]
    HellaSwag,
    /// The better of two ways to do a thing.
    Piqa,
    /// The last word of a passage.
    #[serde(rename = "lambada_openai")]
    Lambada,
    /// Arithmetic in words.
    Gsm8k,
}

/// How to run a task.
#[derive(Clone, Debug)]
pub struct TaskOptions {
    /// The SIMD level.
    pub level: Level,
    /// What to put before every text; see [`begin_token`](crate::begin_token).
    pub begin: Option<TokenId>,
    /// What is done to the rows that score a continuation or choose an answer's tokens, beginning
    /// anew with each context.
    pub correction: Option<Arc<Correction>>,
    /// How answers are generated; only [`Task::Gsm8k`] needs it.
    pub generation: GenerationOptions,
}

impl TaskOptions {
    /// What decides an item's result, for the key of a [`Journal`], but for the correction.
    #[must_use]
    pub fn settings(&self, task: Task, items: &Items) -> JournalKey {
        let mut key = key_of(json!({"measurement": task, "begin": self.begin}));
        if let Items::Questions(Questions { examples, examples_from, .. }) = items {
            key.insert("n_examples".to_owned(), examples.len().into());
            key.insert("examples_from".to_owned(), json!(examples_from));
            key.insert("n_tokens_max".to_owned(), self.generation.n_tokens_max.into());
            key.insert("stop_ids".to_owned(), json!(self.generation.stop_ids));
        }
        key
    }
}

/// What came of a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskReport {
    /// The task.
    pub task: Task,
    /// Items evaluated.
    pub n_items: usize,
    /// Items whose context was cut on the left because the model holds no more.
    pub n_truncated: usize,
    /// The shares and other scores, the one to quote first.
    pub scores: Vec<TaskScore>,
    /// Examples shown before every question, where there are any.
    pub examples: Option<Examples>,
    /// Every item, in order.
    pub items: Vec<ItemRecord>,
}

/// One score of a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TaskScore {
    /// The harness's name of it.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Its standard error; `None` for one item.
    pub standard_error: Option<f64>,
}

/// The examples shown before every question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Examples {
    /// How many.
    pub n: usize,
    /// Where they come from.
    pub from: ExamplesFrom,
}

/// What came of one item.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ItemRecord {
    /// Of several continuations.
    Choice(ChoiceRecord),
    /// Of a last word.
    LastWord(LastWordRecord),
    /// Of a question.
    Question(QuestionRecord),
}

/// Why a task could not be run to its end.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum TaskError {
    /// The caller broke off.
    #[error("broken off")]
    Stopped(#[from] Stopped),
    /// The items are of another task.
    #[error("the items are not of {task}: expected {expected}")]
    OtherItems { task: Task, expected: &'static str },
    /// There is nothing to evaluate.
    #[error("no items of {task} to evaluate: expected at least one")]
    NoItems { task: Task },
    /// One item failed: its place among those that are evaluated, from 0.
    #[error("cannot evaluate item {item_idx}")]
    Item { item_idx: usize, source: Failure },
    /// The journal failed.
    #[error("cannot keep what is finished")]
    Journal(#[from] JournalUnitError),
}

/// Run `task` over `items`, which [`Items::read`] gave for it.
///
/// Items that `journal` holds are not computed again. `on_progress` hears of every item.
///
/// # Errors
///
/// Before any work when the items are of another task; later when an item or the journal fails, or
/// the caller breaks off.
pub fn run_task(
    task: Task,
    model: &Arc<dyn Model>,
    tokenizer: &Tokenizer,
    items: &Items,
    options: &TaskOptions,
    mut journal: Option<&mut Journal>,
    on_progress: OnProgress<'_>,
) -> Result<TaskReport, TaskError> {
    if items.is_empty() {
        return Err(TaskError::NoItems { task });
    }
    let run = Run { task, model, tokenizer, options };
    match (task, items) {
        (Task::ArcChallenge | Task::HellaSwag | Task::Piqa, Items::Choices(items)) => {
            choices::run(&run, items, &mut journal, on_progress)
        }
        (Task::Lambada, Items::LastWords(items)) => {
            last_words::run(&run, items, &mut journal, on_progress)
        }
        (Task::Gsm8k, Items::Questions(items)) => {
            questions::run(&run, items, &mut journal, on_progress)
        }
        _ => Err(TaskError::OtherItems { task, expected: task.kind_of_items() }),
    }
}

/// What every kind of task needs.
#[derive(Clone, Copy)]
struct Run<'a> {
    task: Task,
    model: &'a Arc<dyn Model>,
    tokenizer: &'a Tokenizer,
    options: &'a TaskOptions,
}

impl Run<'_> {
    /// Evaluate `n_total` items one after the other; `is_right` makes the accuracy so far.
    fn items<T: serde::Serialize + DeserializeOwned>(
        &self,
        n_total: usize,
        journal: &mut Option<&mut Journal>,
        on_progress: OnProgress<'_>,
        is_right: impl Fn(usize, &T) -> bool,
        mut evaluate: impl FnMut(usize) -> Result<T, Failure>,
    ) -> Result<Vec<T>, TaskError> {
        let (mut results, mut n_right, mut n_resumed) = (Vec::with_capacity(n_total), 0, 0);
        loop {
            let n_done = results.len();
            let so_far = (n_done != 0).then(|| n_right as f64 / n_done as f64);
            Progress { n_done, n_total, n_resumed, so_far }.report(on_progress)?;
            if n_done == n_total {
                return Ok(results);
            }
            let failed = |source| TaskError::Item { item_idx: n_done, source };
            let unit = format!("item {n_done}");
            let evaluate = || evaluate(n_done).map_err(failed);
            let (result, was_there) = resume(journal, &unit, evaluate)?;
            n_resumed += usize::from(was_there);
            n_right += usize::from(is_right(n_done, &result));
            results.push(result);
        }
    }
}

/// A share of `n` items with its standard error.
fn share(name: &'static str, n_right: usize, n: usize) -> TaskScore {
    let value = n_right as f64 / n as f64;
    let standard_error = (2 <= n).then(|| (value * (1.0 - value) / (n - 1) as f64).sqrt());
    TaskScore { name, value, standard_error }
}

impl Task {
    /// Every task.
    pub const ALL: [Task; 5] =
        [Task::ArcChallenge, Task::HellaSwag, Task::Piqa, Task::Lambada, Task::Gsm8k];

    /// The harness's name: `arc_challenge`, `hellaswag`, `piqa`, `lambada_openai`, `gsm8k`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Task::ArcChallenge => "arc_challenge",
            Task::HellaSwag => "hellaswag",
            Task::Piqa => "piqa",
            Task::Lambada => "lambada_openai",
            Task::Gsm8k => "gsm8k",
        }
    }

    fn kind_of_items(self) -> &'static str {
        match self {
            Task::ArcChallenge | Task::HellaSwag | Task::Piqa => "contexts with continuations",
            Task::Lambada => "passages with last words",
            Task::Gsm8k => "questions with answers",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that is no task's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no task `{found}`: expected arc_challenge, hellaswag, piqa, lambada_openai or gsm8k")]
pub struct ParseTaskError {
    /// The name.
    pub found: String,
}

impl FromStr for Task {
    type Err = ParseTaskError;

    fn from_str(name: &str) -> Result<Task, ParseTaskError> {
        let found = Task::ALL.into_iter().find(|task| task.name() == name);
        found.ok_or_else(|| ParseTaskError { found: name.to_owned() })
    }
}
