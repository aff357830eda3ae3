//! LAMBADA: the last word of a passage.

use lapwing_report::statistics::{Block, ratio_standard_error};
use serde::{Deserialize, Serialize};

use super::items::LastWord;
use super::likelihood::{LikelihoodScorer, encode_pair};
use super::{ItemRecord, Run, TaskError, TaskReport, TaskScore, share};
use crate::failure::Failure;
use crate::journal::{Journal, infinity};
use crate::progress::OnProgress;

/// What came of one passage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastWordRecord {
    /// The word.
    pub word: String,
    /// Sum of `ln p` over its tokens; nats.
    pub log_likelihood: f64,
    /// Whether greedy decoding gives it.
    pub is_greedy: bool,
    /// Whether the passage was cut on the left.
    pub is_truncated: bool,
}

/// What is kept of one passage.
#[derive(Serialize, Deserialize)]
struct Scored {
    #[serde(deserialize_with = "infinity::minus")]
    log_likelihood: f64,
    is_greedy: bool,
    is_truncated: bool,
}

pub(super) fn run(
    run: &Run<'_>,
    items: &[LastWord],
    journal: &mut Option<&mut Journal>,
    on_progress: OnProgress<'_>,
) -> Result<TaskReport, TaskError> {
    let options = run.options;
    let mut scorer =
        LikelihoodScorer::new(&**run.model, options.level, options.correction.as_ref());
    let evaluate = |item_idx: usize| score(run, &mut scorer, &items[item_idx]);
    let is_right = |_, scored: &Scored| scored.is_greedy;
    let scored = run.items(items.len(), journal, on_progress, is_right, evaluate)?;
    Ok(report(run, items, scored))
}

fn score(
    run: &Run<'_>,
    scorer: &mut LikelihoodScorer<'_>,
    item: &LastWord,
) -> Result<Scored, Failure> {
    let word = format!(" {}", item.word);
    let pair = encode_pair(run.tokenizer, run.options.begin, &item.context, &word)?;
    let likelihood = scorer.score(std::slice::from_ref(&pair))?[0];
    Ok(Scored {
        log_likelihood: likelihood.log_likelihood,
        is_greedy: likelihood.is_greedy,
        is_truncated: likelihood.is_truncated,
    })
}

fn report(run: &Run<'_>, items: &[LastWord], scored: Vec<Scored>) -> TaskReport {
    let n = scored.len();
    let n_right = scored.iter().filter(|scored| scored.is_greedy).count();
    let blocks: Vec<Block> =
        scored.iter().map(|scored| Block { sum: -scored.log_likelihood, n: 1 }).collect();
    let value = (blocks.iter().map(|block| block.sum).sum::<f64>() / n as f64).exp();
    // The delta method, as for a perplexity over windows.
    let standard_error = ratio_standard_error(&blocks).map(|error| value * error);
    let standard_error = standard_error.filter(|error| error.is_finite());
    let n_truncated = scored.iter().filter(|scored| scored.is_truncated).count();
    let record = |(item, scored): (&LastWord, Scored)| {
        let Scored { log_likelihood, is_greedy, is_truncated } = scored;
        let word = item.word.clone();
        ItemRecord::LastWord(LastWordRecord { word, log_likelihood, is_greedy, is_truncated })
    };
    TaskReport {
        task: run.task,
        n_items: n,
        n_truncated,
        scores: vec![
            share("acc", n_right, n),
            TaskScore { name: "perplexity", value, standard_error },
        ],
        examples: None,
        items: items.iter().zip(scored).map(record).collect(),
    }
}
