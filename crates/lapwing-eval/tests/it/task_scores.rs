//! Tasks on made-up models against plain loops.

use std::path::Path;
use std::sync::Arc;

use lapwing_backend::{FakeModel, Model};
use lapwing_eval::{
    ExamplesFrom, GenerationOptions, ItemRecord, Items, Journal, JournalKey, NamedText, OnProgress,
    Stopped, Task, TaskError, TaskOptions, TaskReport, run_task,
};
use lapwing_logits::{Correction, Level};
use lapwing_text::Tokenizer;

use crate::models::{HashModel, go_on, nll, smooth, smoothing, stop_after};

/// A token for a line feed and each printable ASCII character, then ` b`, `:`, `#### `, `18`, `end`.
fn tokenizer() -> Tokenizer {
    let letters = (' '..='~').filter(|&letter| letter != ':');
    let pieces = ['\n'].into_iter().chain(letters).map(String::from);
    let pieces = pieces.chain([" b", ":", "#### ", "18", "end"].map(String::from));
    let mut vocabulary = serde_json::Map::new();
    for (id, piece) in pieces.enumerate() {
        vocabulary.insert(piece, id.into());
    }
    let added = ["#### ", "18", "end"].map(|piece| {
        serde_json::json!({"id": vocabulary[piece], "content": piece, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false, "special": false})
    });
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": added,
        "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [[" ", "b"]]},
    });
    let bytes = serde_json::to_vec(&json).expect("JSON");
    Tokenizer::from_bytes(&bytes, Path::new("made")).expect("a tokenizer")
}

fn options(stop_ids: Vec<u32>) -> TaskOptions {
    TaskOptions {
        level: Level::detect(),
        begin: None,
        correction: None,
        generation: GenerationOptions { n_tokens_max: 20, stop_ids },
    }
}

fn read(task: Task, text: &str, labels: Option<&str>, n_examples: usize) -> Items {
    let labels = labels.map(|text| NamedText { name: "labels", text });
    let file = NamedText { name: "items", text };
    Items::read(task, file, labels, None, n_examples).expect("items")
}

fn run(task: Task, model: HashModel, items: &Items, options: &TaskOptions) -> TaskReport {
    let model: Arc<dyn Model> = Arc::new(model);
    let outcome = run_task(task, &model, &tokenizer(), items, options, None, &mut go_on);
    outcome.expect("it runs")
}

const PIQA: &str = r#"{"goal": "ab?", "sol1": "so", "sol2": "b "}
{"goal": "which one", "sol1": "b", "sol2": "bb"}
{"goal": "x", "sol1": "cb", "sol2": "q"}"#;

fn piqa() -> Items {
    read(Task::Piqa, PIQA, Some("0\n1\n1\n"), 0)
}

/// The harness's rule on one whole sequence: the sum of `ln p` and whether all were likeliest.
fn naive(model: &HashModel, begin: Option<u32>, context: &str, continuation: &str) -> (f64, bool) {
    let tokenizer = tokenizer();
    let encode = |text: &str| tokenizer.encode(text, false).expect("tokens");
    let trimmed = context.trim_end();
    let moved = format!("{}{continuation}", &context[trimmed.len()..]);
    let n_context = encode(trimmed).len();
    let whole = encode(&format!("{trimmed}{moved}"));
    let mut tokens: Vec<u32> = begin.into_iter().chain(whole).collect();
    let mut first = n_context + usize::from(begin.is_some());
    let n_cut = (tokens.len() - 1).saturating_sub(model.n_positions_max);
    tokens.drain(..n_cut);
    first -= n_cut;
    let mut sum = 0.0;
    let mut is_greedy = true;
    for idx in first..tokens.len() {
        let row = model.row(&tokens[..idx]);
        sum -= nll(&row, tokens[idx]);
        is_greedy &= row.iter().all(|&logit| logit <= row[tokens[idx] as usize]);
    }
    (sum, is_greedy)
}

#[test]
fn choices_agree_with_whole_sequences() {
    let Items::Choices(choices) = piqa() else { panic!("choices") };
    let n_vocab = tokenizer().n_vocab();
    for (can_rewind, can_score, begin, n_positions_max) in [
        (true, true, None, 1000),
        (false, true, Some(7), 1000),
        (true, false, None, 1000),
        (true, true, Some(7), 12),
        (false, false, None, 9),
    ] {
        let model =
            || HashModel { can_rewind, can_score, n_positions_max, ..HashModel::new(3, n_vocab) };
        let options = TaskOptions { begin, ..options(Vec::new()) };
        let report = run(Task::Piqa, model(), &piqa(), &options);
        let mut n_right = [0; 2];
        for (choice, record) in choices.iter().zip(&report.items) {
            let ItemRecord::Choice(record) = record else { panic!("a choice") };
            let mut expected = Vec::new();
            for (continuation, found) in choice.continuations.iter().zip(&record.log_likelihoods) {
                let continuation = format!(" {continuation}");
                let (sum, _) = naive(&model(), begin, &choice.context, &continuation);
                assert!((found - sum).abs() < 1e-5, "{found} {sum} {continuation:?}");
                expected.push(sum);
            }
            let lengths: Vec<f64> =
                choice.continuations.iter().map(|text| text.len() as f64).collect();
            let chosen = usize::from(expected[0] < expected[1]);
            let norm = usize::from(expected[0] / lengths[0] < expected[1] / lengths[1]);
            assert_eq!((record.chosen, record.chosen_norm), (chosen, norm));
            n_right[0] += usize::from(chosen == choice.gold);
            n_right[1] += usize::from(norm == choice.gold);
        }
        for (score, n_right) in report.scores.iter().zip(n_right) {
            let p = n_right as f64 / 3.0;
            let error = (p * (1.0 - p) / 2.0).sqrt();
            assert_eq!((score.value, score.standard_error), (p, Some(error)), "{}", score.name);
        }
        let n_truncated = if n_positions_max < 1000 { 3 } else { 0 };
        assert_eq!((report.n_items, report.n_truncated), (3, n_truncated));
    }
}

#[test]
fn a_correction_starts_anew_with_the_last_row_of_each_context() {
    const GAIN: f32 = 0.5;
    let n_vocab = tokenizer().n_vocab();
    let correction = Correction::new(n_vocab, None, Some(smoothing(GAIN))).expect("a correction");
    let options = TaskOptions { correction: Some(Arc::new(correction)), ..options(Vec::new()) };
    let Items::Choices(choices) = piqa() else { panic!("choices") };
    for can_rewind in [true, false] {
        let model = || HashModel { can_rewind, ..HashModel::new(3, n_vocab) };
        let report = run(Task::Piqa, model(), &piqa(), &options);
        for (choice, record) in choices.iter().zip(&report.items) {
            let ItemRecord::Choice(record) = record else { panic!("a choice") };
            for (continuation, found) in choice.continuations.iter().zip(&record.log_likelihoods) {
                let encode = |text: &str| tokenizer().encode(text, false).expect("tokens");
                let first = encode(&choice.context).len();
                let tokens = encode(&format!("{} {continuation}", choice.context));
                let (mut state, mut sum) = (None, 0.0);
                for idx in first..tokens.len() {
                    let row = smooth(&mut state, GAIN, &model().row(&tokens[..idx]));
                    sum -= nll(&row, tokens[idx]);
                }
                assert!((found - sum).abs() < 1e-4, "{found} {sum} {continuation:?}");
            }
        }
    }
}

#[test]
fn spaces_at_the_end_of_a_context_go_to_the_last_word() {
    // " b" is one token: with the space in the context, `b` would be another one.
    let items = read(Task::Lambada, r#"{"text": "one two  b"}"#, None, 0);
    let n_vocab = tokenizer().n_vocab();
    for seed in 0..40 {
        let model = HashModel::new(seed, n_vocab);
        let (sum, is_greedy) = naive(&model, None, "one two ", " b");
        let report = run(Task::Lambada, model, &items, &options(Vec::new()));
        let ItemRecord::LastWord(record) = &report.items[0] else { panic!("a word") };
        assert!((record.log_likelihood - sum).abs() < 1e-5, "{seed}");
        assert_eq!(record.is_greedy, is_greedy, "{seed}");
        let value = report.scores[1].value;
        assert!((value / (-sum).exp() - 1.0).abs() < 1e-5, "{value}");
    }
}

#[test]
fn the_last_word_is_right_when_it_is_the_greedy_one() {
    // The fake model counts up: after `~` comes ` b`.
    let model: Arc<dyn Model> = Arc::new(FakeModel::new(tokenizer().n_vocab(), 100, true));
    let items = read(Task::Lambada, "{\"text\": \"it~ b\"}\n{\"text\": \"it~ c\"}", None, 0);
    let options = options(Vec::new());
    let outcome = run_task(Task::Lambada, &model, &tokenizer(), &items, &options, None, &mut go_on);
    let report = outcome.expect("it runs");
    let greedy = |record: &ItemRecord| match record {
        ItemRecord::LastWord(record) => record.is_greedy,
        _ => panic!("a word"),
    };
    assert_eq!(report.items.iter().map(greedy).collect::<Vec<bool>>(), [true, false]);
    assert_eq!((report.scores[0].name, report.scores[0].value), ("acc", 0.5));
}

const GSM8K: &str = r#"{"question": "how?", "answer": "so #### 3"}
{"question": "a", "answer": "it is #### 18"}
{"question": "b", "answer": "it is #### 1,8"}
{"question": "c", "answer": "it is #### 19"}"#;

fn gsm8k(stop_ids: Vec<u32>, n_tokens_max: usize) -> TaskReport {
    corrected_gsm8k(stop_ids, n_tokens_max, None)
}

fn corrected_gsm8k(
    stop_ids: Vec<u32>,
    n_tokens_max: usize,
    correction: Option<Arc<Correction>>,
) -> TaskReport {
    let tokenizer = tokenizer();
    let model: Arc<dyn Model> = Arc::new(FakeModel::new(tokenizer.n_vocab(), 500, true));
    let items = read(Task::Gsm8k, GSM8K, None, 1);
    let mut options = options(stop_ids);
    options.correction = correction;
    options.generation.n_tokens_max = n_tokens_max;
    let outcome = run_task(Task::Gsm8k, &model, &tokenizer, &items, &options, None, &mut go_on);
    outcome.expect("it runs")
}

#[test]
fn numbers_are_generated_and_compared() {
    // After `Answer:` the fake model counts up: `#### `, `18`, `end`.
    let end = tokenizer().token_id("end").expect("a token");
    let report = gsm8k(vec![end], 20);
    let shares: Vec<f64> = report.scores.iter().map(|score| score.value).collect();
    assert_eq!(shares, [2.0 / 3.0; 2]);
    let examples = report.examples.expect("examples");
    assert_eq!((examples.n, examples.from), (1, ExamplesFrom::FirstItemsNotEvaluated));
    let ItemRecord::Question(record) = &report.items[1] else { panic!("a question") };
    assert_eq!((&record.text[..], &record.expected[..]), ("#### 18", "18"));
    assert!(record.is_complete && !record.is_truncated);
    let report = gsm8k(Vec::new(), 1);
    let ItemRecord::Question(record) = &report.items[0] else { panic!("a question") };
    assert_eq!((&record.text[..], &record.strict[..]), ("#### ", "[invalid]"));
    assert!(!record.is_complete);
    // 490 tokens of answer leave ten for the prompt.
    let report = gsm8k(vec![end], 490);
    assert_eq!((report.n_truncated, report.scores[0].value), (3, 2.0 / 3.0));
}

#[test]
fn a_correction_reaches_generated_answers() {
    let tokenizer = tokenizer();
    let end = tokenizer.token_id("end").expect("a token");
    // The fake model's likeliest token has a logit of 10: `end` comes first with more than that.
    let mut offset = vec![0.0; tokenizer.n_vocab()];
    offset[end as usize] = 20.0;
    let correction = Correction::new(offset.len(), Some(offset.into()), None).expect("it fits");
    let report = corrected_gsm8k(vec![end], 20, Some(Arc::new(correction)));
    let ItemRecord::Question(record) = &report.items[1] else { panic!("a question") };
    assert_eq!((&record.text[..], &record.strict[..]), ("", "[invalid]"));
}

#[test]
fn a_run_that_was_broken_off_goes_on_with_the_same_result() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let n_vocab = tokenizer().n_vocab();
    let model: Arc<dyn Model> = Arc::new(HashModel::new(3, n_vocab));
    let resumable = |on_progress: OnProgress<'_>| {
        let (items, options) = (piqa(), options(Vec::new()));
        let key = options.settings(Task::Piqa, &items);
        let mut journal = Journal::open(&path, &key).expect("a journal");
        let journal = Some(&mut journal);
        run_task(Task::Piqa, &model, &tokenizer(), &items, &options, journal, on_progress)
    };
    let expected = Stopped { n_done: 2, n_total: 3 };
    let stopped = resumable(&mut stop_after(2));
    assert!(matches!(stopped, Err(TaskError::Stopped(found)) if found == expected));
    let expected = run(Task::Piqa, HashModel::new(3, n_vocab), &piqa(), &options(Vec::new()));
    assert_eq!(resumable(&mut go_on).expect("it runs"), expected);
}

#[test]
fn a_journal_of_other_settings_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let settings = |task, items: &Items, n_tokens_max| {
        let mut options = options(vec![2]);
        options.generation.n_tokens_max = n_tokens_max;
        options.settings(task, items)
    };
    let questions = |n_examples| read(Task::Gsm8k, GSM8K, None, n_examples);
    drop(Journal::open(&path, &settings(Task::Gsm8k, &questions(2), 256)).expect("a journal"));
    let check = |key: &JournalKey, expected: &str| {
        let error = Journal::open(&path, key).expect_err(expected).to_string();
        assert!(error.ends_with(expected), "{error}");
    };
    let fewer = settings(Task::Gsm8k, &questions(1), 128);
    check(&fewer, ": n_examples is 2, expected 1; n_tokens_max is 256, expected 128");
    let key = settings(Task::Piqa, &piqa(), 256);
    check(
        &key,
        ": measurement is \"gsm8k\", expected \"piqa\"; n_examples is 2, expected nothing; \
         examples_from is \"first_items_not_evaluated\", expected nothing; n_tokens_max is 256, \
         expected nothing; stop_ids is [2], expected nothing",
    );
}

#[test]
fn items_of_another_task_and_those_that_do_not_fit_are_refused() {
    let check = |task, items: &Items, n_positions_max, expected: &str| {
        let n_vocab = tokenizer().n_vocab();
        let model = HashModel { n_positions_max, ..HashModel::new(3, n_vocab) };
        let model: Arc<dyn Model> = Arc::new(model);
        let options = options(Vec::new());
        let error = run_task(task, &model, &tokenizer(), items, &options, None, &mut go_on);
        let error = error.expect_err(expected);
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        assert_eq!(format!("{error}{}", source.unwrap_or_default()), expected);
    };
    let other = "the items are not of lambada_openai: expected passages with last words";
    check(Task::Lambada, &piqa(), 100, other);
    let mut none = piqa();
    none.truncate(0);
    check(Task::Piqa, &none, 100, "no items of piqa to evaluate: expected at least one");
    check(
        Task::Piqa,
        &piqa(),
        2,
        "cannot evaluate item 0: a continuation of 3 tokens is too long: the context holds 2",
    );
    check(
        Task::Gsm8k,
        &read(Task::Gsm8k, GSM8K, None, 1),
        20,
        "cannot evaluate item 0: an answer of 20 tokens leaves no room for its question: the \
         context holds 20",
    );
}
