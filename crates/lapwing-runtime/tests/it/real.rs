//! Answers in turn over one loaded export.

use std::path::Path;
use std::sync::Arc;

use lapwing_backend::conformance::{exact_options, library_file, shared_folder};
use lapwing_backend::{Backend, Model};
use lapwing_logits::{Level, SamplerOptions};
use lapwing_model::ModelFolder;
use lapwing_openvino::OpenVinoBackend;
use lapwing_ort::OrtBackend;
use lapwing_runtime::{Generation, Request, Session};
use lapwing_text::Tokenizer;

use crate::generations::{alone, assert_same, in_turn};
use crate::request;

/// Two stories, one greedy and one drawn, in turn and each alone.
fn check(backend: &dyn Backend, path: &Path, variant: Option<&str>) {
    let folder = ModelFolder::open(path, variant).expect("the folder opens");
    let model = backend.open(&folder, &exact_options()).expect("the model opens");
    let model: Arc<dyn Model> = Arc::from(model);
    let tokenizer = Tokenizer::open(&path.join("tokenizer.json")).expect("it has a tokenizer");
    let drawn = SamplerOptions { temperature: 1.0, seed: 7, ..SamplerOptions::greedy() };
    let greedy = Request {
        tokenizer: Some(&tokenizer),
        n_tokens_max: 24,
        ..request(&[1, 403, 407, 261, 378])
    };
    let requests = [greedy, Request { sampler: &drawn, prompt: &[1, 291], ..greedy }];
    let session = || Session::new(Arc::clone(&model), Level::detect()).expect("it starts");
    let begin = |request| Generation::new(session(), request).expect("the request is fine");
    let generations = requests.iter().map(begin).collect();
    for (request, (mut session_in_turn, found, heard)) in
        requests.iter().zip(in_turn(generations, 2))
    {
        let mut session_alone = session();
        let (expected, expected_heard) = alone(&mut session_alone, request);
        assert_same(&found, &expected, &path.display().to_string());
        assert_eq!(heard, expected_heard);
        assert_eq!(session_in_turn.seen(), session_alone.seen());
        // A turn later they still agree.
        let prompt = [session_alone.seen(), &[261]].concat();
        let follow_up = Request { prompt: &prompt, n_tokens_max: 4, ..*request };
        let (expected, _) = alone(&mut session_alone, &follow_up);
        assert_same(&alone(&mut session_in_turn, &follow_up).0, &expected, "the follow-up");
        assert_eq!(expected.usage.n_reused_tokens, prompt.len() - 1);
    }
}

#[test]
fn answers_in_turn_over_openvino_are_those_that_each_gives_alone() {
    let Some(shared) = shared_folder() else { return };
    let Some(library) = library_file("LAPWING_TEST_OPENVINO") else { return };
    let backend = OpenVinoBackend::load(&library).expect("OpenVINO loads");
    check(&backend, &shared.join("exports/stories260k-ov-fp32"), None);
}

#[test]
fn answers_in_turn_over_onnx_runtime_are_those_that_each_gives_alone() {
    let Some(shared) = shared_folder() else { return };
    let Some(library) = library_file("LAPWING_TEST_ORT") else { return };
    let backend = OrtBackend::load(&library).expect("ONNX Runtime loads");
    check(&backend, &shared.join("exports/stories260k-transformersjs"), Some("fp32"));
}
