//! GSM8K: a number at the end of a generated answer.
//!
//! ```text
//! prompt = for each example "Question: {question}\nAnswer: {answer}\n\n", then
//!          "Question: {question}\nAnswer:"
//! answer = greedy, until a stop token, "Question:", "</s>", "<|im_end|>", or enough tokens
//! strict = the first number after "#### "; flexible = the last number
//! right  = both without ",", "$", what comes before "#### " and a full stop at the end are equal
//! ```
//!
//! The harness draws its examples at random from the training split; here they are given. An
//! answer goes on from what the decoder still knows of the question before, so on devices where
//! that moves the last bits, a run that was broken off can differ from one that was not.

use std::ops::ControlFlow;

use lapwing_logits::{Details, SamplerOptions};
use lapwing_model::TokenId;
use lapwing_runtime::{FinishReason, Request, Session, generate};
use lapwing_text::SpecialPieces;
use serde::{Deserialize, Serialize};

use super::items::{Question, Questions, question_context};
use super::likelihood::{NO_SEQUENCE, NO_TOKENS};
use super::{Examples, ItemRecord, Run, TaskError, TaskReport, share};
use crate::failure::Failure;
use crate::journal::Journal;
use crate::progress::OnProgress;

/// Strings that end an answer.
const STOPS: [&str; 3] = ["Question:", "</s>", "<|im_end|>"];

/// What stands for the number of an answer that has none.
const INVALID: &str = "[invalid]";

/// How answers are generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationOptions {
    /// Most tokens of an answer; the harness allows 256.
    pub n_tokens_max: usize,
    /// Each of these tokens ends an answer.
    pub stop_ids: Vec<TokenId>,
}

/// What came of one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuestionRecord {
    /// The generated text.
    pub text: String,
    /// The right number, as compared.
    pub expected: String,
    /// The first number after `####`, as compared.
    pub strict: String,
    /// The last number, as compared.
    pub flexible: String,
    /// Whether the answer ended by itself, not at the limit.
    pub is_complete: bool,
    /// Whether the prompt was cut on the left.
    pub is_truncated: bool,
}

pub(super) fn run(
    run: &Run<'_>,
    items: &Questions,
    journal: &mut Option<&mut Journal>,
    on_progress: OnProgress<'_>,
) -> Result<TaskReport, TaskError> {
    let mut session: Option<Session> = None;
    let evaluate = |item_idx: usize| {
        let session = match &mut session {
            Some(session) => session,
            None => {
                let begun = Session::new(run.model.clone(), run.options.level);
                let session = session.insert(begun.map_err(Failure::by(NO_SEQUENCE))?);
                session.set_correction(run.options.correction.clone());
                session
            }
        };
        answer(run, session, &items.examples, &items.questions[item_idx])
    };
    let is_right = |_, record: &QuestionRecord| record.strict == record.expected;
    let records = run.items(items.questions.len(), journal, on_progress, is_right, evaluate)?;
    Ok(report(run, items, records))
}

fn answer(
    run: &Run<'_>,
    session: &mut Session,
    examples: &[Question],
    question: &Question,
) -> Result<QuestionRecord, Failure> {
    let GenerationOptions { n_tokens_max, stop_ids } = &run.options.generation;
    let n_positions_max = run.model.limits().n_positions_max;
    let room = n_positions_max.checked_sub(*n_tokens_max).filter(|&room| room != 0);
    let n_tokens_max = *n_tokens_max;
    let room = room.ok_or_else(|| {
        Failure::new(format!(
            "an answer of {n_tokens_max} tokens leaves no room for its question: the context \
             holds {n_positions_max}"
        ))
    })?;
    let prompt = prompt(examples, &question.question);
    let mut tokens = run.tokenizer.encode(&prompt, false).map_err(Failure::by(NO_TOKENS))?;
    tokens.splice(0..0, run.options.begin);
    let n_cut = tokens.len().saturating_sub(room);
    let request = Request {
        prompt: &tokens[n_cut..],
        tokenizer: Some(run.tokenizer),
        special: SpecialPieces::Show,
        reply: None,
        sampler: &SamplerOptions::greedy(),
        details: Details { log_probability: false, n_top: 0 },
        n_tokens_max,
        stop_ids,
        ignore_stop_ids: false,
        stop_texts: &STOPS.map(str::to_owned),
        n_first_step_top: 0,
    };
    let generated = generate(session, &request, &mut |_| ControlFlow::Continue(()));
    let generated = generated.map_err(Failure::by("cannot generate an answer"))?;
    Ok(QuestionRecord {
        expected: comparable(&question.answer),
        strict: comparable(strict_number(&generated.text).unwrap_or(INVALID)),
        flexible: comparable(last_number(&generated.text).unwrap_or(INVALID)),
        is_complete: generated.finish.reason() == FinishReason::Stop,
        is_truncated: n_cut != 0,
        text: generated.text,
    })
}

fn report(run: &Run<'_>, items: &Questions, records: Vec<QuestionRecord>) -> TaskReport {
    let n = records.len();
    let count = |found: fn(&QuestionRecord) -> &String| {
        records.iter().filter(|record| *found(record) == record.expected).count()
    };
    TaskReport {
        task: run.task,
        n_items: n,
        n_truncated: records.iter().filter(|record| record.is_truncated).count(),
        scores: vec![
            share("exact_match,strict-match", count(|record| &record.strict), n),
            share("exact_match,flexible-extract", count(|record| &record.flexible), n),
        ],
        examples: Some(Examples { n: items.examples.len(), from: items.examples_from }),
        items: records.into_iter().map(ItemRecord::Question).collect(),
    }
}

fn prompt(examples: &[Question], question: &str) -> String {
    let mut prompt = String::new();
    for example in examples {
        let context = question_context(&example.question);
        prompt.push_str(&format!("{context} {}\n\n", example.answer));
    }
    prompt + &question_context(question)
}

/// The first match of `#### (-?[0-9.,]+)`: the number.
fn strict_number(text: &str) -> Option<&str> {
    text.match_indices("#### ").find_map(|(at, mark)| {
        let rest = &text[at + mark.len()..];
        let n_sign = usize::from(rest.starts_with('-'));
        let n_digits = run_length(&rest[n_sign..], "0123456789.,");
        (n_digits != 0).then(|| &rest[..n_sign + n_digits])
    })
}

/// The last match of `(-?[$0-9.,]{2,})|(-?[0-9]+)`, searched from the left without overlap.
fn last_number(text: &str) -> Option<&str> {
    let (mut last, mut at) = (None, 0);
    while at < text.len() {
        let rest = &text[at..];
        let n_sign = usize::from(rest.starts_with('-'));
        let n_long = run_length(&rest[n_sign..], "$0123456789.,");
        let n_digits = run_length(&rest[n_sign..], "0123456789");
        let n_found = if 2 <= n_long { n_long } else { n_digits };
        if n_found != 0 {
            last = Some(&rest[..n_sign + n_found]);
            at += n_sign + n_found;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    last
}

/// How many bytes at the start of `text` are of `set`, which is ASCII.
fn run_length(text: &str, set: &str) -> usize {
    text.find(|letter| !set.contains(letter)).unwrap_or(text.len())
}

/// A number or a whole answer in the form in which the harness compares them.
fn comparable(text: &str) -> String {
    let text = text.replace([',', '$'], "");
    let text = text.rsplit_once("#### ").map_or(text.as_str(), |(_, number)| number);
    text.strip_suffix('.').unwrap_or(text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_as_the_patterns_find_them() {
        let check = |text: &str, strict: Option<&str>, flexible: Option<&str>| {
            assert_eq!((strict_number(text), last_number(text)), (strict, flexible), "{text}");
        };
        check("so it is\n#### 18", Some("18"), Some("18"));
        check("#### -1,234.5. or #### 7", Some("-1,234.5."), Some("7"));
        check("#### $5 then 6", None, Some("6"));
        check("She has 3 apples and $12.50", None, Some("$12.50"));
        check("a 5.", None, Some("5."));
        check("a 5 ... no", None, Some("..."));
        check("x-7y", None, Some("-7"));
        check("1-23", None, Some("-23"));
        check("- none ¥ 終", None, None);
        check("#### #### 4", Some("4"), Some("4"));
    }

    #[test]
    fn answers_are_compared_without_ornament() {
        let check = |text: &str, expected: &str| assert_eq!(comparable(text), expected, "{text}");
        check("Half of 2,000 is <<1=1>>1.\n#### 1,000", "1000");
        check("$12.50", "12.50");
        check("18.", "18");
        check(INVALID, "[invalid]");
    }

    #[test]
    fn the_prompt_is_the_harnesss() {
        let example = Question { question: "1+1?".to_owned(), answer: "2\n#### 2".to_owned() };
        assert_eq!(
            prompt(&[example], "2+2?"),
            "Question: 1+1?\nAnswer: 2\n#### 2\n\nQuestion: 2+2?\nAnswer:"
        );
    }
}
