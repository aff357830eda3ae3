//! Tasks where one of several continuations is right.

use serde::{Deserialize, Serialize};

use super::items::Choice;
use super::likelihood::{LikelihoodScorer, encode_pair};
use super::{ItemRecord, Run, TaskError, TaskReport, share};
use crate::failure::Failure;
use crate::journal::{Journal, infinity};
use crate::progress::OnProgress;

/// What came of an item with several continuations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChoiceRecord {
    /// What the file calls it.
    pub id: Option<String>,
    /// The right continuation.
    pub gold: usize,
    /// Sum of `ln p` over each continuation's tokens; nats.
    pub log_likelihoods: Vec<f64>,
    /// The likeliest continuation.
    pub chosen: usize,
    /// The likeliest a character.
    pub chosen_norm: usize,
    /// The likeliest a byte.
    pub chosen_bytes: usize,
    /// Whether the context was cut on the left for a continuation.
    pub is_truncated: bool,
}

/// What is kept of one item.
#[derive(Serialize, Deserialize)]
struct Scored {
    #[serde(deserialize_with = "infinity::each_minus")]
    log_likelihoods: Vec<f64>,
    is_truncated: bool,
}

pub(super) fn run(
    run: &Run<'_>,
    items: &[Choice],
    journal: &mut Option<&mut Journal>,
    on_progress: OnProgress<'_>,
) -> Result<TaskReport, TaskError> {
    let options = run.options;
    let mut scorer =
        LikelihoodScorer::new(&**run.model, options.level, options.correction.as_ref());
    let evaluate = |item_idx: usize| score(run, &mut scorer, &items[item_idx]);
    let is_right = |item_idx: usize, scored: &Scored| {
        likeliest(&scored.log_likelihoods, |_| 1) == items[item_idx].gold
    };
    let scored = run.items(items.len(), journal, on_progress, is_right, evaluate)?;
    let records = items.iter().zip(scored).map(|(item, scored)| record(item, scored));
    Ok(report(run, records.collect()))
}

fn score(
    run: &Run<'_>,
    scorer: &mut LikelihoodScorer<'_>,
    item: &Choice,
) -> Result<Scored, Failure> {
    let encode = |continuation: &String| {
        let continuation = format!(" {continuation}");
        encode_pair(run.tokenizer, run.options.begin, &item.context, &continuation)
    };
    let pairs = item.continuations.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    let likelihoods = scorer.score(&pairs)?;
    Ok(Scored {
        log_likelihoods: likelihoods.iter().map(|one| one.log_likelihood).collect(),
        is_truncated: likelihoods.iter().any(|one| one.is_truncated),
    })
}

fn record(item: &Choice, scored: Scored) -> ChoiceRecord {
    let Scored { log_likelihoods, is_truncated } = scored;
    let n_chars = |idx: usize| item.continuations[idx].chars().count();
    let n_bytes = |idx: usize| item.continuations[idx].len();
    ChoiceRecord {
        id: item.id.clone(),
        gold: item.gold,
        chosen: likeliest(&log_likelihoods, |_| 1),
        chosen_norm: likeliest(&log_likelihoods, n_chars),
        chosen_bytes: likeliest(&log_likelihoods, n_bytes),
        log_likelihoods,
        is_truncated,
    }
}

fn report(run: &Run<'_>, records: Vec<ChoiceRecord>) -> TaskReport {
    let n = records.len();
    let count = |chosen: fn(&ChoiceRecord) -> usize| {
        records.iter().filter(|record| chosen(record) == record.gold).count()
    };
    let scores = vec![
        share("acc", count(|record| record.chosen), n),
        share("acc_norm", count(|record| record.chosen_norm), n),
        share("acc_bytes", count(|record| record.chosen_bytes), n),
    ];
    TaskReport {
        task: run.task,
        n_items: n,
        n_truncated: records.iter().filter(|record| record.is_truncated).count(),
        scores,
        examples: None,
        items: records.into_iter().map(ItemRecord::Choice).collect(),
    }
}

/// The place of the largest log-likelihood divided by its length; the first of equal ones.
fn likeliest(log_likelihoods: &[f64], length: impl Fn(usize) -> usize) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (idx, log_likelihood) in log_likelihoods.iter().enumerate() {
        let score = log_likelihood / length(idx) as f64;
        if best.1 < score {
            best = (idx, score);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::likeliest;

    #[test]
    fn the_first_of_equal_ones_is_chosen() {
        let check = |log_likelihoods: &[f64], lengths: &[usize], expected: usize| {
            let found = likeliest(log_likelihoods, |idx| lengths[idx]);
            assert_eq!(found, expected, "{log_likelihoods:?} {lengths:?}");
        };
        check(&[-3.0, -2.0, -2.0], &[1, 1, 1], 1);
        check(&[-3.0, -2.0], &[6, 2], 0);
        check(&[f64::NEG_INFINITY, -9.0], &[1, 1], 1);
        check(&[f64::NEG_INFINITY; 2], &[1, 1], 0);
    }
}
