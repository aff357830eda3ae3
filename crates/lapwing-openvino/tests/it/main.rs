//! OpenVINO against the conformance suite and the reference outputs of real exports.

mod cache;
mod embedded;
mod encoder;
mod npu;
mod recurrent;

use std::path::{Path, PathBuf};

use lapwing_backend::conformance::{
    PROMPT, ReadmeColumn, Tolerance, a_prompt_can_be_stopped, agrees_with_golden, close, conforms,
    exact_options, golden_case, golden_cases, hidden_states_make_the_logits, library_file,
    shared_folder,
};
use lapwing_backend::{Backend as _, Model, OpenError, OpenOptions, Precision};
use lapwing_formats::safetensors::SafeTensors;
use lapwing_model::ModelFolder;
use lapwing_openvino::OpenVinoBackend;

/// The folder of exports and the backend; `None` when either is absent on a user's machine.
fn setup() -> Option<(PathBuf, OpenVinoBackend)> {
    let exports = shared_folder()?.join("exports");
    let library = library_file("LAPWING_TEST_OPENVINO")?;
    Some((exports, OpenVinoBackend::load(&library).expect("OpenVINO loads")))
}

fn open(folder: &Path) -> ModelFolder {
    ModelFolder::open(folder, None).expect("the folder opens")
}

/// Every export for OpenVINO that has a `golden.json`, of both folders of exports, by its path below
/// the first.
fn golden_exports(exports: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for below in ["", "tiny/", "../exports-next/"] {
        for entry in std::fs::read_dir(exports.join(below)).expect("a folder of exports") {
            let entry = entry.expect("an entry").path();
            let has = |name: &str| entry.join(name).is_file();
            let is_ir = has("openvino_model.xml") || has("openvino_language_model.xml");
            if is_ir && has("golden.json") {
                let name = entry.file_name().expect("a name").to_str().expect("UTF-8");
                names.push(format!("{below}{name}"));
            }
        }
    }
    assert!(30 <= names.len(), "{names:?}");
    names.sort();
    names
}

#[test]
fn every_export_agrees_with_its_golden_file() {
    let Some((exports, backend)) = setup() else { return };
    let mut column = ReadmeColumn::new("OpenVINO, CPU");
    for name in golden_exports(&exports) {
        let path = exports.join(&name);
        let folder = open(&path);
        let model = backend.open(&folder, &exact_options());
        let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
        for case in golden_cases(&path.join("golden.json"), None) {
            agrees_with_golden(&*model, &case, Tolerance::Relative(2e-3));
        }
        column.add(&folder, true);
    }
    column.check();
}

#[test]
fn smollm2_agrees_with_its_golden_file() {
    let Some((exports, backend)) = setup() else { return };
    let path = exports.join("smollm2-135m-instruct-ov-int4");
    let model = backend.open(&open(&path), &exact_options()).expect("it opens");
    let golden = exports.join("../golden/smollm2-135m.json");
    let text = std::fs::read(golden).expect("the golden file");
    let cases: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    for case in cases.as_array().expect("a list") {
        let case = golden_case(&case["prompt_ids"], &case["openvino_int4"]);
        agrees_with_golden(&*model, &case, Tolerance::Absolute(0.05));
    }
}

/// The conformance suite over the export `name`; a test for each, as they run beside each other.
fn export_conforms(name: &str) {
    let Some((exports, backend)) = setup() else { return };
    conforms(&backend, &open(&exports.join(name)), 2e-3);
}

#[test]
fn stories_in_fp32_conform() {
    export_conforms("stories260k-ov-fp32");
}

#[test]
fn stories_in_int4_conform() {
    export_conforms("stories260k-ov-int4");
}

#[test]
fn qwen2_in_int8_conforms() {
    export_conforms("tiny/tiny-qwen2-ov_int8");
}

#[test]
fn gemma3_in_int4_conforms() {
    export_conforms("tiny/tiny-gemma3-ov_int4");
}

#[test]
fn smollm2_in_int4_conforms() {
    export_conforms("smollm2-135m-instruct-ov-int4");
}

/// The ids are those of a plain loop in Python, which puts the whole sequence in for every token.
#[test]
fn a_sequence_may_become_longer_than_the_graphs_first_rotary_factors_are_for() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join("tiny/tiny-phi4long-ov_int4"));
    let greedy = |model: &dyn Model, n_prompt: u32| {
        let prompt: Vec<u32> = (0..n_prompt).map(|n| 3 + n * 37 % 1000).collect();
        let mut logits = vec![0.0; model.n_vocab()];
        let mut decoder = model.decoder().expect("a decoder");
        decoder.step(&prompt, &mut logits).expect("a step");
        let ids = (0..16).map(|_| {
            let best = logits.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
            let id = best.expect("a row").0 as u32;
            decoder.step(&[id], &mut logits).expect("a step");
            id
        });
        ids.collect::<Vec<_>>()
    };
    for n_chunk_tokens in [None, Some(64)] {
        let options = OpenOptions { n_chunk_tokens, ..exact_options() };
        let model = backend.open(&folder, &options).expect("it opens");
        assert_eq!(model.limits().n_positions_switch, Some(256));
        for (n_prompt, expected) in [
            (400, [294, 293, 653, 314, 213, 818, 821, 445, 617, 911, 450, 666, 97, 612, 163, 780]),
            (250, [646, 362, 664, 111, 868, 62, 947, 234, 27, 128, 412, 438, 1019, 320, 208, 321]),
            (255, [50, 948, 845, 293, 474, 783, 678, 931, 669, 93, 64, 768, 778, 148, 437, 523]),
            (256, [401, 206, 67, 951, 807, 78, 904, 279, 124, 1000, 323, 310, 437, 523, 164, 37]),
            (257, [768, 530, 475, 768, 530, 1006, 101, 531, 333, 279, 437, 523, 476, 281, 989, 40]),
        ] {
            assert_eq!(greedy(&*model, n_prompt), expected, "{n_prompt}, {n_chunk_tokens:?}");
        }
    }
}

#[test]
fn a_long_prompt_can_be_stopped_within_it() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join("smollm2-135m-instruct-ov-int4"));
    let model = backend.open(&folder, &exact_options()).expect("it opens");
    let prompt: Vec<u32> = (0..1000).map(|idx| 100 + idx * 37 % 4000).collect();
    a_prompt_can_be_stopped(&*model, &prompt, 0.0);
}

#[test]
fn the_logits_are_the_head_times_the_hidden_states() {
    let Some((exports, backend)) = setup() else { return };
    let checkpoint = SafeTensors::open(&exports.join("stories260k-hf")).expect("the checkpoint");
    let embedding = checkpoint.tensor("model.embed_tokens.weight").expect("it is tied");
    let (entries, _) = embedding.bytes.as_chunks::<4>();
    let head: Vec<f32> = entries.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let folder = open(&exports.join("stories260k-ov-fp32"));
    for precision in [Precision::Exact, Precision::Fast] {
        let options = OpenOptions { precision, hidden_states: true, ..exact_options() };
        let model = backend.open(&folder, &options).expect("it opens");
        // The default arithmetic may be bf16, which keeps 8 bits of a logit of about 10.
        let allowed = if precision == Precision::Exact { 1e-3 } else { 0.2 };
        hidden_states_make_the_logits(&*model, &PROMPT, &head, allowed);
    }
}

#[test]
fn a_model_whose_head_is_hidden_is_refused_only_when_asked_for_hidden_states() {
    let Some((exports, backend)) = setup() else { return };
    let copy = std::env::temp_dir().join(format!("lapwing-no-head-{}", std::process::id()));
    std::fs::create_dir_all(&copy).expect("a folder");
    let real = exports.join("stories260k-ov-fp32");
    for name in ["config.json", "openvino_model.bin"] {
        std::fs::copy(real.join(name), copy.join(name)).expect("a copy");
    }
    // The graph without its last layer's product: the logits come out of an unknown operation.
    let xml = std::fs::read_to_string(real.join("openvino_model.xml")).expect("the graph");
    let head = xml.rfind("type=\"MatMul\"").expect("the head");
    let xml = format!("{}type=\"NoSuch\"{}", &xml[..head], &xml[head + 13..]);
    std::fs::write(copy.join("openvino_model.xml"), xml).expect("the graph");
    let asked = OpenOptions { hidden_states: true, ..exact_options() };
    let asked = backend.open(&open(&copy), &asked).map(drop).expect_err("it is refused");
    let plain = backend.open(&open(&copy), &exact_options()).map(drop).expect_err("no such layer");
    std::fs::remove_dir_all(&copy).expect("the folder goes");
    assert!(matches!(asked, OpenError::Unsupported { .. }), "{asked}");
    assert!(asked.to_string().contains("hidden states cannot be given"), "{asked}");
    assert!(asked.to_string().contains("NoSuch"), "{asked}");
    assert!(matches!(plain, OpenError::Refused { .. }), "{plain}");
}

#[test]
fn rewinding_again_and_again_stays_right_until_it_is_refused() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join("stories260k-ov-fp32"));
    let model = backend.open(&folder, &exact_options()).expect("it opens");
    let mut expected = vec![0.0; model.n_vocab()];
    model.decoder().expect("a decoder").step(&PROMPT, &mut expected).expect("a step");
    let mut decoder = model.decoder().expect("a decoder");
    let mut found = vec![0.0; model.n_vocab()];
    decoder.step(&PROMPT, &mut found).expect("a step");
    let mut n_rewinds = 0;
    while decoder.rewind(4).is_ok() {
        decoder.step(&PROMPT[4..], &mut found).expect("a step");
        close(&found, &expected, 2e-3, &format!("after {n_rewinds} rewinds"));
        n_rewinds += 1;
        assert!(n_rewinds < 1000, "forgotten positions pile up without bound");
    }
    assert!(10 < n_rewinds, "refused after {n_rewinds}");
    decoder.rewind(0).expect("starting anew always works");
    assert_eq!(decoder.n_positions(), 0);
}

#[test]
fn folders_and_devices_of_others_are_refused() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join("tiny/tiny-llama-ort_fp32"));
    let error = backend.open(&folder, &exact_options()).map(drop).expect_err("it is refused");
    assert!(matches!(error, OpenError::WrongKind { .. }), "{error}");
    let folder = open(&exports.join("stories260k-ov-fp32"));
    let options = OpenOptions { device: "gpu.7".parse().expect("a device"), ..exact_options() };
    let error = backend.open(&folder, &options).map(drop).expect_err("it is refused");
    assert!(matches!(error, OpenError::NoDevice { .. }), "{error}");
}

#[test]
fn a_broken_graph_is_refused_with_the_librarys_words() {
    let Some((exports, backend)) = setup() else { return };
    let copy = std::env::temp_dir().join(format!("lapwing-broken-{}", std::process::id()));
    std::fs::create_dir_all(&copy).expect("a folder");
    let real = exports.join("stories260k-ov-fp32");
    for name in ["config.json", "openvino_model.bin"] {
        std::fs::copy(real.join(name), copy.join(name)).expect("a copy");
    }
    let xml = std::fs::read_to_string(real.join("openvino_model.xml")).expect("the graph");
    // Well-formed, and of an operation that does not exist.
    let xml = xml.replacen("type=\"ScaledDotProductAttention\"", "type=\"NoSuchOperation\"", 1);
    std::fs::write(copy.join("openvino_model.xml"), xml).expect("the graph");
    let error = backend.open(&open(&copy), &exact_options()).map(drop).expect_err("refused");
    std::fs::remove_dir_all(&copy).expect("the folder goes");
    assert!(matches!(error, OpenError::Refused { .. }), "{error}");
    let words = std::error::Error::source(&error).expect("the library's words").to_string();
    assert!(words.contains("NoSuchOperation"), "{words}");
}

/// The small f32 export with its XML changed; the folder is gone with the first.
fn with_xml(change: impl Fn(&str) -> String) -> Option<(tempfile::TempDir, OpenVinoBackend)> {
    let (exports, backend) = setup()?;
    let folder = tempfile::tempdir().expect("a folder");
    let source = exports.join("stories260k-ov-fp32");
    for name in ["config.json", "openvino_model.bin"] {
        std::fs::copy(source.join(name), folder.path().join(name)).expect("a copy");
    }
    let xml = std::fs::read_to_string(source.join("openvino_model.xml")).expect("the XML");
    let changed = change(&xml);
    assert_ne!(changed, xml);
    std::fs::write(folder.path().join("openvino_model.xml"), changed).expect("a file");
    Some((folder, backend))
}

#[test]
fn logits_of_half_precision_are_read() {
    let result = "<layer id=\"736\" name=\"Result_5864\"";
    let edge =
        |from: &str, to: &str| format!("<edge from-layer={from} to-layer={to} to-port=\"0\" />");
    let direct = edge("\"725\" from-port=\"2\"", "\"736\"");
    for (precision, name) in [("FP16", "f16"), ("BF16", "bf16")] {
        let dims = "<dim>-1</dim><dim>-1</dim><dim>512</dim>";
        let convert = format!(
            "<layer id=\"9000\" name=\"half\" type=\"Convert\" version=\"opset1\">
            <data destination_type=\"{name}\" />
            <input><port id=\"0\" precision=\"FP32\">{dims}</port></input>
            <output><port id=\"1\" precision=\"{precision}\" names=\"logits\">{dims}</port></output>
            </layer>{result}"
        );
        let through = edge("\"725\" from-port=\"2\"", "\"9000\"")
            + &edge("\"9000\" from-port=\"1\"", "\"736\"");
        let changed = with_xml(|xml| {
            let (head, tail) = xml.split_once(result).expect("a result");
            let tail =
                tail.replacen("precision=\"FP32\"", &format!("precision=\"{precision}\""), 1);
            let head = head.replace(" names=\"logits\"", "");
            format!("{head}{convert}{}", tail.replace(&direct, &through))
        });
        let Some((folder, backend)) = changed else { return };
        let model = backend.open(&open(folder.path()), &exact_options()).expect(name);
        let exports = shared_folder().expect("it was there").join("exports");
        let plain = open(&exports.join("stories260k-ov-fp32"));
        let plain = backend.open(&plain, &exact_options()).expect("it opens");
        let row = |model: &dyn Model| {
            let mut row = vec![0.0; model.n_vocab()];
            model.decoder().expect("a decoder").step(&PROMPT, &mut row).expect("a step");
            row
        };
        let (found, expected) = (row(&*model), row(&*plain));
        assert!(found != expected, "{name}: nothing was rounded");
        close(&found, &expected, if name == "f16" { 0.02 } else { 0.15 }, name);
    }
}

#[test]
fn inputs_of_other_shapes_are_refused_at_open() {
    let check = |name: &str, shape: &str, dims: &str, expected: &str| {
        let changed = with_xml(|xml| {
            let at = xml.find(&format!("name=\"{name}\" type=\"Parameter\"")).expect("an input");
            let (head, tail) = xml.split_at(at);
            let tail = tail.replacen("shape=\"?,?\"", &format!("shape=\"{shape}\""), 1);
            let (start, rest) = tail.split_once("<dim>").expect("its sizes");
            let (_, end) = rest.split_once("</port>").expect("the end of a port");
            format!("{head}{start}{dims}</port>{end}")
        });
        let Some((folder, backend)) = changed else { return };
        let error = backend.open(&open(folder.path()), &exact_options()).map(drop);
        let message = error.expect_err("it is refused").to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    let three = "<dim>3</dim><dim>-1</dim><dim>-1</dim>";
    check(
        "position_ids",
        "3,?,?",
        three,
        "input `position_ids` has the shape [3, ?, ?]: expected one",
    );
    let fixed = "<dim>1</dim><dim>1</dim>";
    check(
        "input_ids",
        "1,1",
        fixed,
        "input `input_ids` has the shape [1, 1]: expected one sequence",
    );
    let four = "<dim>4</dim><dim>-1</dim>";
    check("attention_mask", "4,?", four, "input `attention_mask` has the shape [4, ?]: expected");
}

#[test]
fn a_byte_order_mark_before_the_xml_harms_nobody() {
    let Some((folder, backend)) = with_xml(|xml| format!("\u{feff}{xml}")) else { return };
    backend.open(&open(folder.path()), &exact_options()).expect("it opens");
}
