//! Models with states that do not grow: convolutions beside a KV cache, and recurrences.

use std::path::Path;

use lapwing_backend::conformance::{PROMPT, close, exact_options};
use lapwing_backend::{Backend as _, OpenOptions, RewindError};
use lapwing_formats::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
};
use lapwing_formats::onnx::{Dim, ElementType, OnnxWriter, Value};

use crate::{export_conforms, open, setup};

const EXPORTS: [&str; 2] = ["tiny/tiny-lfm2-ort_fp32", "tiny/tiny-lfm2-ort_int4"];

#[test]
fn lfm2_in_fp32_conforms() {
    export_conforms(EXPORTS[0], None, 2e-3);
}

#[test]
fn lfm2_in_int4_conforms() {
    export_conforms(EXPORTS[1], None, 2e-3);
}

#[test]
fn a_hybrid_goes_back_to_its_start_and_nowhere_else() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join(EXPORTS[0]), None);
    let model = backend.open(&folder, &exact_options()).expect("it opens");
    assert!(!model.limits().can_rewind);
    assert!(1 < model.limits().n_follow_tokens_max, "its convolutions take chunks");
    // Keys and values of one layer, two heads of 16 each; the convolutions do not grow.
    assert_eq!(model.memory().state_bytes_per_position, Some(2 * 2 * 16 * 4));
    assert_eq!(model.memory().state_bytes_per_decoder, None);
    let mut decoder = model.decoder().expect("a decoder");
    let mut first = vec![0.0; model.n_vocab()];
    decoder.step(&PROMPT, &mut first).expect("a step");
    decoder.rewind(PROMPT.len()).expect("the present is no way back");
    for n_positions in [1, PROMPT.len() - 1] {
        let error = decoder.rewind(n_positions).expect_err("it is refused");
        assert!(matches!(error, RewindError::Unsupported { .. }), "{error}");
        assert_eq!(decoder.n_positions(), PROMPT.len(), "nothing changed");
    }
    let mut again = vec![0.0; model.n_vocab()];
    decoder.rewind(0).expect("the start");
    decoder.step(&PROMPT, &mut again).expect("a step");
    assert_eq!(again, first, "the second conversation is the first");
}

#[test]
fn a_long_prompt_is_the_same_in_any_pieces() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join(EXPORTS[0]), None);
    let options = OpenOptions { n_chunk_tokens: Some(400), ..exact_options() };
    let model = backend.open(&folder, &options).expect("it opens");
    let prompt: Vec<u32> = (0..400).map(|n| 3 + n * 7 % 900).collect();
    let mut expected = vec![0.0; model.n_vocab()];
    model.decoder().expect("a decoder").step(&prompt, &mut expected).expect("a step");
    for n_tokens in [1, 97, 256] {
        let mut decoder = model.decoder().expect("a decoder");
        let mut found = vec![0.0; model.n_vocab()];
        for piece in prompt.chunks(n_tokens) {
            decoder.step(piece, &mut found).expect("a step");
        }
        close(&found, &expected, 2e-3, &format!("pieces of {n_tokens}"));
    }
}

/// The size of the made model's hidden states, and its vocabulary.
const N_HIDDEN: usize = 4;
const N_VOCAB: usize = 6;

/// The vectors of a token and of a column of the head.
fn entry(row_idx: usize, column_idx: usize) -> f32 {
    ((row_idx * 5 + column_idx * 3) % 7) as f32 - 3.0
}

/// A recurrence with the names of transformers.js: the hidden state is the sum of all tokens'
/// vectors. As graphs do that were traced with an empty state, it looks at the state only where
/// one token comes alone.
///
/// Shapes: the ids are `ids`, the logits of this element `logits`.
fn write_recurrence(folder: &Path, ids: &[Dim], (element, logits): (ElementType, &[Dim])) {
    let graph_file = folder.join("onnx/model.onnx");
    std::fs::create_dir_all(folder.join("onnx")).expect("a folder");
    let config = format!(
        r#"{{"model_type": "made", "vocab_size": {N_VOCAB}, "hidden_size": {N_HIDDEN},
            "num_hidden_layers": 1, "max_position_embeddings": 64}}"#
    );
    std::fs::write(folder.join("config.json"), config).expect("a manifest");
    let mut writer = OnnxWriter::create(&graph_file).expect("a graph");
    let mut matrix = |name: &str, n_rows: usize, n_columns: usize, of: fn(usize, usize) -> f32| {
        let places = (0..n_rows).flat_map(|row| (0..n_columns).map(move |column| (row, column)));
        let bytes: Vec<u8> = places.flat_map(|(r, c)| of(r, c).to_le_bytes()).collect();
        writer.tensor(name, ElementType::F32, &[n_rows, n_columns], &bytes).expect("a matrix")
    };
    let mut weights = vec![
        matrix("embedding", N_VOCAB, N_HIDDEN, entry),
        matrix("head", N_HIDDEN, N_VOCAB, |row, column| entry(column, row)),
    ];
    for (name, value) in [("one", 1_i64), ("minus_one", -1)] {
        let weight = writer.tensor(name, ElementType::I64, &[1], &value.to_le_bytes());
        weights.push(weight.expect("a number"));
    }
    let node = |op: &str, input: &[&str], output: &str| NodeProto::new("", op, input, &[output]);
    let axis = |axis| AttributeProto::int("axis", axis);
    let float = i64::from(ElementType::F32.number());
    let nodes = [
        node("Gather", &["embedding", "input_ids"], "x"),
        node("CumSum", &["x", "one"], "sums"),
        node("Shape", &["input_ids"], "n_new").with(AttributeProto::int("start", 1)),
        node("Equal", &["n_new", "one"], "is_alone"),
        node("Cast", &["is_alone"], "gate").with(AttributeProto::int("to", float)),
        node("Unsqueeze", &["past_recurrent.0", "one"], "past"),
        node("Mul", &["past", "gate"], "gated"),
        node("Add", &["sums", "gated"], "hidden"),
        node("Gather", &["hidden", "minus_one"], "last").with(axis(1)),
        node("Squeeze", &["last", "one"], "present_recurrent.0"),
        node("MatMul", &["hidden", "head"], "logits"),
    ];
    let state = [Dim::symbol("batch"), Dim::Fixed(N_HIDDEN)];
    let value = |name: &str, element, dims: &[Dim]| Value::to_proto(name, element, dims);
    let graph = GraphProto {
        name: Some("made".to_owned()),
        node: nodes.iter().map(NodeProto::encoded).collect(),
        initializer: weights,
        input: vec![
            value("input_ids", ElementType::I64, ids),
            value("past_recurrent.0", ElementType::F32, &state),
        ],
        output: vec![
            value("logits", element, logits),
            value("present_recurrent.0", ElementType::F32, &state),
        ],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { domain: None, version: Some(17) };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset],
        graph: Some(graph),
        ..ModelProto::default()
    };
    writer.finish(&model).expect("the graph");
}

#[test]
fn a_graph_that_may_forget_its_state_gets_tokens_one_by_one_behind_a_prompt() {
    let Some((_, backend)) = setup() else { return };
    let path = std::env::temp_dir().join(format!("lapwing-recurrence-{}", std::process::id()));
    let (ids, logits) = open_shapes();
    write_recurrence(&path, &ids, (ElementType::F32, &logits));
    let folder = open(&path, None);
    let tokens = [1, 5, 2, 2, 0, 4, 3, 1];
    let expected = |n_seen: usize| -> Vec<f32> {
        let sum = |column_idx| -> f32 {
            tokens[..n_seen].iter().map(|&token| entry(token as usize, column_idx)).sum()
        };
        let logit = |token| (0..N_HIDDEN).map(|c| sum(c) * entry(token, c)).sum();
        (0..N_VOCAB).map(logit).collect()
    };
    for n_chunk_tokens in [None, Some(1), Some(3)] {
        let options = OpenOptions { n_chunk_tokens, ..exact_options() };
        let model = backend.open(&folder, &options).expect("it opens");
        assert_eq!(model.limits().n_follow_tokens_max, 1);
        assert_eq!(model.memory().state_bytes_per_position, Some(0));
        assert_eq!(model.memory().state_bytes_per_decoder, Some(4 * N_HIDDEN as u64));
        let mut logits = vec![0.0; N_VOCAB];
        let mut decoder = model.decoder().expect("a decoder");
        for (n_seen, piece) in [(5, &tokens[..5]), (8, &tokens[5..])] {
            decoder.step(piece, &mut logits).expect("a step");
            close(&logits, &expected(n_seen), 1e-3, &format!("{n_seen} of {n_chunk_tokens:?}"));
        }
        decoder.rewind(0).expect("the start");
        let mut check = |row: lapwing_backend::Row<'_>| {
            close(row.logits, &expected(row.token_idx + 1), 1e-3, "a row");
        };
        decoder.score(&tokens, &mut check).expect("a score");
    }
    std::fs::remove_dir_all(&path).expect("the folder goes");
}

/// The shapes of ids and logits as exports have them.
fn open_shapes() -> ([Dim; 2], [Dim; 3]) {
    let (batch, n_new) = (Dim::symbol("batch"), Dim::symbol("n_new"));
    ([batch.clone(), n_new.clone()], [batch, n_new, Dim::Fixed(N_VOCAB)])
}

#[test]
fn inputs_and_logits_of_other_shapes_are_refused_at_open() {
    let Some((_, backend)) = setup() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (ids, logits) = open_shapes();
    let check = |ids: &[Dim], logits: (ElementType, &[Dim]), expected: &str| {
        write_recurrence(folder.path(), ids, logits);
        let opened = backend.open(&open(folder.path(), None), &exact_options()).map(drop);
        let message = opened.expect_err("it is refused").to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    let plain = (ElementType::F32, &logits[..]);
    let one_token = [Dim::symbol("batch"), Dim::Fixed(1)];
    check(&one_token, plain, "input `input_ids` (i64 [batch, 1]) is not understood: expected one");
    let four = [Dim::Fixed(4), Dim::symbol("n_new")];
    check(&four, plain, "input `input_ids` (i64 [4, n_new]) is not understood: expected one");
    let three = [Dim::Fixed(3), ids[0].clone(), ids[1].clone()];
    check(&three, plain, "is not understood: expected two axes: batch, tokens");
    let two = [logits[0].clone(), logits[2].clone()];
    check(&ids, (ElementType::F32, &two), "the graph's logits are f32 [batch,");
    check(&ids, (ElementType::I64, &logits), "expected f32 or f16 [batch, tokens, vocabulary]");
}
