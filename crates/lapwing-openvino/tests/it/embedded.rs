//! Models that also see, of which the text alone runs: their token ids go through graphs of their
//! own first.

use std::path::Path;

use lapwing_backend::conformance::{
    OTHER, PROMPT, chunks_do_not_matter, decoders_are_independent, exact_options,
    rewind_equals_fresh,
};
use lapwing_backend::{Backend as _, OpenError, OpenOptions};

use super::{open, setup};

const GEMMA_4: &str = "../exports-next/tiny-gemma4_vlm-ov_int8";
const QWEN_3_5: &str = "../exports-next/tiny-qwen3_5_vlm-ov_int8";

#[test]
fn what_feeds_the_language_model_belongs_to_a_sequence() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join(GEMMA_4));
    let model = backend.open(&folder, &exact_options()).expect("it opens");
    decoders_are_independent(&*model, &PROMPT, &OTHER);
    rewind_equals_fresh(&*model, &PROMPT, &OTHER, 1e-4);
    chunks_do_not_matter(&backend, &folder, &*model, &PROMPT, 1e-4, 1e-4);
    let n_bytes = |name: &str| {
        let weights = folder.root.join(format!("openvino_{name}_model.bin"));
        weights.metadata().expect("weights").len()
    };
    let graphs = ["language", "text_embeddings", "text_embeddings_per_layer"];
    assert_eq!(model.memory().weights_mapped_bytes, graphs.map(n_bytes).iter().sum::<u64>());
}

/// A copy of an export with the text of one of its files changed.
fn changed(export: &Path, file: &str, change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(export).expect("the export") {
        let path = entry.expect("an entry").path();
        let to = copy.path().join(path.file_name().expect("a name"));
        let bytes = std::fs::read(&path).expect("a file");
        let bytes = match path.ends_with(file) {
            true => change(&String::from_utf8(bytes).expect("a text")).into_bytes(),
            false => bytes,
        };
        std::fs::write(to, bytes).expect("a copy");
    }
    copy
}

#[test]
fn a_graph_that_feeds_otherwise_is_refused_by_name() {
    let Some((exports, backend)) = setup() else { return };
    let check = |export: &str, file: &str, from: &str, to: &str, expected: &str| {
        let copy = changed(&exports.join(export), file, |text| {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{file}");
            changed
        });
        let error = backend.open(&open(copy.path()), &exact_options()).map(drop);
        let error = error.expect_err(expected);
        assert!(matches!(error, OpenError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    let embeddings = "openvino_text_embeddings_model.xml";
    check(
        QWEN_3_5,
        embeddings,
        "names=\"inputs_embeds\"",
        "names=\"pooled\"",
        "openvino_text_embeddings_model.xml is not understood: expected an output \
         `inputs_embeds`, found `pooled`",
    );
    check(
        QWEN_3_5,
        embeddings,
        "shape=\"?,?\" element_type=\"i64\"",
        "shape=\"?,?\" element_type=\"f32\"",
        "expected token ids, found an input of f32",
    );
    let language = "openvino_language_model.xml";
    check(
        QWEN_3_5,
        language,
        "names=\"inputs_embeds\"",
        "names=\"per_layer_inputs\"",
        "its input `per_layer_inputs` is made by no graph: expected \
         openvino_text_embeddings_per_layer_model.xml beside it",
    );
    check(
        QWEN_3_5,
        language,
        "names=\"inputs_embeds\"",
        "names=\"pixel_values\"",
        "its input `pixel_values` has elements of f32",
    );
    check(
        QWEN_3_5,
        language,
        "shape=\"4,?,?\"",
        "shape=\"5,?,?\"",
        "its input `position_ids` has the shape [5, ?, ?]",
    );
}

/// As Gemma 3 has it: 0 for text, 1 for what was seen.
#[test]
fn types_of_tokens_are_those_of_text() {
    let Some((exports, backend)) = setup() else { return };
    // A graph that adds the types to the positions, and so is right with zeros only.
    let copy = changed(&exports.join(GEMMA_4), "openvino_language_model.xml", |text| {
        let layer = "<layer id=\"90000\" name=\"token_type_ids\" type=\"Parameter\" \
                     version=\"opset1\"><data shape=\"?,?\" element_type=\"i64\" /><output>\
                     <port id=\"0\" precision=\"I64\" names=\"token_type_ids\"><dim>-1</dim>\
                     <dim>-1</dim></port></output></layer>";
        let ports = "<port id=\"0\" precision=\"I64\"><dim>-1</dim><dim>-1</dim></port>\
                     <port id=\"1\" precision=\"I64\"><dim>-1</dim><dim>-1</dim></port>";
        let sum = format!(
            "<layer id=\"90001\" name=\"sum\" type=\"Add\" version=\"opset1\"><data \
             auto_broadcast=\"numpy\" /><input>{ports}</input><output><port id=\"2\" \
             precision=\"I64\"><dim>-1</dim><dim>-1</dim></port></output></layer>"
        );
        let edge = |from: &str, to: &str| {
            format!("<edge from-layer={from} to-layer=\"90001\" to-port=\"{to}\" />")
        };
        let positions = text.find("name=\"position_ids\"").expect("the positions");
        let id = text[..positions].rfind("id=\"").expect("their layer's id");
        let id = text[id + 4..].split('"').next().expect("a number");
        let through = text.replace(
            &format!("<edge from-layer=\"{id}\" from-port=\"0\""),
            "<edge from-layer=\"90001\" from-port=\"2\"",
        );
        assert_ne!(through, text);
        let edges = edge(&format!("\"{id}\" from-port=\"0\""), "0")
            + &edge("\"90000\" from-port=\"0\"", "1");
        let (layers, rest) = through.split_once("</layers>").expect("layers");
        let (old_edges, rest) = rest.split_once("</edges>").expect("edges");
        format!("{layers}{layer}{sum}</layers>{old_edges}{edges}</edges>{rest}")
    });
    let row = |path: &Path| {
        let model = backend.open(&open(path), &exact_options()).expect("it opens");
        let mut row = vec![0.0; model.n_vocab()];
        let mut decoder = model.decoder().expect("a decoder");
        decoder.step(&PROMPT, &mut row).expect("a step");
        decoder.step(&OTHER, &mut row).expect("a step");
        row
    };
    assert_eq!(row(copy.path()), row(&exports.join(GEMMA_4)));
}

#[test]
fn the_path_of_an_npu_takes_token_ids_only() {
    let Some((exports, backend)) = setup() else { return };
    let options = OpenOptions { device: "npu:cpu".parse().expect("a device"), ..exact_options() };
    let error = backend.open(&open(&exports.join(GEMMA_4)), &options).map(drop);
    let error = error.expect_err("it is refused").to_string();
    assert!(error.contains("an NPU runs models that take token ids"), "{error}");
}
