//! Real exports against plain loops over the same libraries, in Python with NumPy.
//!
//! The expected numbers are those loops': one pass over each whole window or sequence, softmax and
//! sums in double precision.

use std::path::Path;
use std::sync::Arc;

use lapwing_backend::conformance::{exact_options, library_file, shared_folder};
use lapwing_backend::{Backend, Model};
use lapwing_eval::{
    Convention, DivergenceOptions, GenerationOptions, ItemRecord, Items, NamedText, Perplexity,
    PerplexityOptions, Task, TaskOptions, TaskReport, Text, begin_token, divergence, perplexity,
    require_same_tokenizer, run_task,
};
use lapwing_logits::Level;
use lapwing_model::ModelFolder;
use lapwing_openvino::OpenVinoBackend;
use lapwing_ort::OrtBackend;
use lapwing_text::Tokenizer;

use crate::models::go_on;
use crate::perplexities::BOOTSTRAP;

fn open(backend: &dyn Backend, folder: &Path) -> (Arc<dyn Model>, Tokenizer) {
    let opened = ModelFolder::open(folder, None).expect("the folder opens");
    let model = backend.open(&opened, &exact_options()).expect("the model opens");
    let tokenizer = Tokenizer::open(&folder.join("tokenizer.json")).expect("a tokenizer");
    (Arc::from(model), tokenizer)
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).expect("the file")
}

fn measure(
    model: &dyn Model,
    tokenizer: &Tokenizer,
    tokens: &[u32],
    convention: Convention,
    n_windows_max: Option<usize>,
) -> Perplexity {
    let begin = begin_token(tokenizer).expect("a letter");
    let text = Text { tokens, begin, n_bytes: 1000 };
    let options = PerplexityOptions {
        convention,
        n_windows_max,
        bootstrap: BOOTSTRAP,
        level: Level::detect(),
        correction: None,
    };
    let outcome = perplexity(model, &text, &options, None, &mut go_on);
    outcome.expect("it can be measured")
}

fn run(
    task: Task,
    file: &Path,
    n_items: usize,
    model: &Arc<dyn Model>,
    tokenizer: &Tokenizer,
) -> TaskReport {
    let text = read(file);
    let file = NamedText { name: "items", text: &text };
    let mut items = Items::read(task, file, None, None, 0).expect("items");
    items.truncate(n_items);
    let options = TaskOptions {
        level: Level::detect(),
        begin: None,
        correction: None,
        generation: GenerationOptions { n_tokens_max: 1, stop_ids: Vec::new() },
    };
    let outcome = run_task(task, model, tokenizer, &items, &options, None, &mut go_on);
    outcome.expect("it runs")
}

/// `found` is within the share `allowed` of `expected`.
fn close(found: f64, expected: f64, allowed: f64, what: &str) {
    let error = (found / expected - 1.0).abs();
    assert!(error < allowed, "{what}: {found} instead of {expected}, {error:e} off");
}

fn log_likelihoods(report: &TaskReport) -> Vec<f64> {
    let of = |record: &ItemRecord| match record {
        ItemRecord::Choice(record) => record.log_likelihoods.clone(),
        ItemRecord::LastWord(record) => vec![record.log_likelihood],
        ItemRecord::Question(_) => Vec::new(),
    };
    report.items.iter().flat_map(of).collect()
}

#[test]
fn real_files_of_items_can_be_read() {
    let Some(shared) = shared_folder() else { return };
    let check = |task, file: &str, labels: Option<&str>, n_items: usize| {
        let read = |name: &str| read(&shared.join("data").join(name));
        let (text, labels) = (read(file), labels.map(read));
        let labels = labels.as_deref().map(|text| NamedText { name: "labels", text });
        let items = Items::read(task, NamedText { name: file, text: &text }, labels, None, 8);
        assert_eq!(items.map(|items| items.len()), Ok(n_items), "{file}");
    };
    check(Task::ArcChallenge, "arc-challenge-600.jsonl", None, 600);
    check(Task::HellaSwag, "hellaswag-1000.txt", None, 1000);
    check(Task::Piqa, "piqa-900.jsonl", Some("piqa-900-labels.lst"), 900);
    check(Task::Lambada, "lambada-1000.jsonl", None, 1000);
    check(Task::Gsm8k, "gsm8k-200.jsonl", None, 192);
}

#[test]
fn a_small_model_agrees_with_plain_loops() {
    let Some(shared) = shared_folder() else { return };
    let Some(library) = library_file("LAPWING_TEST_OPENVINO") else { return };
    let backend = OpenVinoBackend::load(&library).expect("OpenVINO loads");
    let (model, tokenizer) = open(&backend, &shared.join("exports/stories260k-ov-fp32"));
    let text = read(&shared.join("data/war-and-peace-head.txt"));
    let start: String = text.chars().take(20_000).collect();
    let mut tokens = tokenizer.encode(&start, true).expect("tokens");
    tokens.truncate(700);

    let llama = Convention::LlamaCpp { n_window: 128 };
    let found = measure(&*model, &tokenizer, &tokens, llama, None);
    close(found.perplexity, 62.68382441447236, 1e-4, "llama.cpp");
    assert_eq!((found.n_tokens, found.n_windows, found.n_dropped_tokens), (315, 5, 60));
    let sliding = Convention::HuggingFace { n_window: 128, stride: 64 };
    let found = measure(&*model, &tokenizer, &tokens, sliding, None);
    close(found.perplexity, 61.72680877118849, 1e-4, "hugging-face");
    assert_eq!(found.n_tokens, 699);

    let (quantised, other) = open(&backend, &shared.join("exports/stories260k-ov-int4"));
    require_same_tokenizer(&tokenizer, &other, &start).expect("the same tokenizer");
    let options = DivergenceOptions {
        convention: llama,
        n_windows_max: None,
        n_vocab: tokenizer.n_vocab(),
        bootstrap: BOOTSTRAP,
        level: Level::detect(),
        correction: None,
    };
    let begin = begin_token(&tokenizer).expect("a letter");
    let text = Text { tokens: &tokens, begin, n_bytes: 1000 };
    let found = divergence(&*model, &*quantised, &text, &options, None, &mut go_on);
    let found = found.expect("it can be measured");
    close(found.mean_kl, 0.07111273753003487, 1e-3, "mean");
    close(found.median_kl, 0.03486951947864341, 1e-3, "median");
    close(found.kl_p90, 0.15895208085120363, 1e-3, "90th percentile");
    close(found.kl_p99, 0.42996475257266686, 1e-3, "99th percentile");
    close(found.max_kl, 1.8834101463543313, 1e-3, "largest");
    close(found.mean_reverse_kl, 0.07029004769006425, 1e-3, "reverse");
    close(found.top1_agreement, 0.8, 1e-9, "agreement");

    let arc = shared.join("data/arc-challenge-600.jsonl");
    let report = run(Task::ArcChallenge, &arc, 5, &model, &tokenizer);
    #[rustfmt::skip]
    let expected = [
        -90.25102259718746, -68.21402163599275, -68.80510709161723, -88.57092564610156,
        -40.1052754965409, -43.19283076765433, -47.50009055460549, -46.993657306436965,
        -97.7819168476088, -105.11738438436973, -104.12109554181686, -114.78450701934422,
        -18.207462183538887, -74.45036275346249, -99.15114421993457, -99.70976098457501,
        -88.94945058852355, -97.4073271329252, -96.41548300174384, -159.30719561544754,
    ];
    for (found, expected) in log_likelihoods(&report).into_iter().zip(expected) {
        close(found, expected, 1e-5, "ARC");
    }
    assert_eq!(log_likelihoods(&report).len(), expected.len());
    assert_eq!((report.scores[0].value, report.scores[1].value), (0.0, 0.0));

    let lambada = shared.join("data/lambada-1000.jsonl");
    let report = run(Task::Lambada, &lambada, 5, &model, &tokenizer);
    let expected = [
        -11.455736332417313,
        -23.879547268883748,
        -27.083612843014134,
        -35.448658787930974,
        -11.07150093092874,
    ];
    for (found, expected) in log_likelihoods(&report).into_iter().zip(expected) {
        close(found, expected, 1e-5, "LAMBADA");
    }
}

#[test]
fn smollm2_agrees_with_plain_loops() {
    let Some(shared) = shared_folder() else { return };
    let Some(library) = library_file("LAPWING_TEST_ORT") else { return };
    let backend = OrtBackend::load(&library).expect("ONNX Runtime loads");
    let (model, tokenizer) = open(&backend, &shared.join("exports/smollm2-135m-instruct-ort-int4"));
    let text = read(&shared.join("data/wikitext2-test.raw"));
    let tokens = tokenizer.encode(&text, true).expect("tokens");
    assert_eq!(tokens.len(), 303_415);

    let llama = Convention::LlamaCpp { n_window: 512 };
    let found = measure(&*model, &tokenizer, &tokens, llama, Some(2));
    close(found.perplexity, 29.168600924464805, 1e-3, "llama.cpp");
    assert_eq!(found.n_tokens, 510);
    let sliding = Convention::HuggingFace { n_window: 256, stride: 128 };
    let found = measure(&*model, &tokenizer, &tokens[..600], sliding, None);
    close(found.perplexity, 30.766277726677135, 5e-3, "hugging-face");
    assert_eq!(found.n_tokens, 599);

    let arc = shared.join("data/arc-challenge-600.jsonl");
    let report = run(Task::ArcChallenge, &arc, 5, &model, &tokenizer);
    #[rustfmt::skip]
    let expected = [
        -30.462623153708495, -34.539619111907435, -32.62023288858444, -30.255811434180284,
        -31.556243193052698, -34.12282681978134, -30.610883920364238, -31.98764541862741,
        -30.839948671928664, -22.12663772877435, -28.338855670875994, -24.53619115178363,
        -22.076810096875874, -23.986334750548068, -38.47370989108492, -38.84142227729146,
        -35.61705896316968, -33.43634340692452, -30.605024229652393, -49.10362242522637,
    ];
    for (found, expected) in log_likelihoods(&report).into_iter().zip(expected) {
        close(found, expected, 5e-3, "ARC");
    }
    assert_eq!(report.scores[0].value, 0.0);
}
