use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{FolderKind, ModelFolder, OpenFolderError};
use crate::N_POSITIONS_UNTOLD;

const CONFIG: &str = r#"{"model_type":"llama","vocab_size":512,"num_hidden_layers":5,
    "num_attention_heads":8,"num_key_value_heads":4,"hidden_size":64,
    "max_position_embeddings":512,"eos_token_id":7}"#;
const GENAI: &str = r#"{"model":{"type":"qwen2","vocab_size":99,"context_length":256,
    "eos_token_id":[3,4],"bos_token_id":1,"decoder":{"filename":"model.onnx","head_size":16,
    "hidden_size":64,"num_attention_heads":4,"num_hidden_layers":2,"num_key_value_heads":2}},
    "search":{"do_sample":true,"top_k":50,"temperature":0.7,"repetition_penalty":1.1}}"#;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

/// The message of the refusal, with the folder's own path taken out.
fn refusal(files: &[(&str, &str)], variant: Option<&str>) -> String {
    let root = folder(files);
    let error = ModelFolder::open(root.path(), variant).unwrap_err();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
        .replace(&root.path().display().to_string(), "ROOT")
}

#[test]
fn openvino_folders_take_eos_from_the_generation_config_first() {
    let generation = r#"{"eos_token_id":[2,9],"temperature":0.5,"do_sample":true}"#;
    let root = folder(&[
        ("openvino_model.xml", ""),
        ("openvino_model.bin", ""),
        ("config.json", CONFIG),
        ("generation_config.json", generation),
    ]);
    let model = ModelFolder::open(root.path(), None).unwrap();
    assert_eq!(model.kind, FolderKind::OpenVinoIr);
    assert_eq!(model.tokens.eos, [2, 9]);
    assert_eq!(model.architecture.head_size, 8);
    assert_eq!(model.generation.temperature, Some(0.5));
}

#[test]
fn models_that_also_see_are_known_by_their_language_part() {
    let config = format!(r#"{{"model_type":"gemma4","text_config":{CONFIG}}}"#);
    let language = [
        ("config.json", &*config),
        ("openvino_language_model.xml", ""),
        ("openvino_language_model.bin", ""),
    ];
    let text = "openvino_text_embeddings_model";
    let missing = refusal(&language, None);
    let expected = format!("ROOT/{text}.xml is missing: ROOT/openvino_language_model.xml names it");
    assert_eq!(missing, expected);
    let (xml, bin) = (format!("{text}.xml"), format!("{text}.bin"));
    let mut files = [&language[..], &[(&*xml, "")]].concat();
    let missing = refusal(&files, None);
    assert!(missing.contains(&format!("ROOT/{bin} is missing")), "{missing}");
    files.extend([(&*bin, ""), ("openvino_vision_embeddings_model.xml", "")]);
    let root = folder(&files);
    let model = ModelFolder::open(root.path(), None).unwrap();
    assert_eq!(model.kind, FolderKind::OpenVinoIr);
    assert_eq!(model.graph, root.path().join("openvino_language_model.xml"));
    assert_eq!(model.embeddings, [root.path().join(&xml)]);
    assert_eq!(model.unused_parts, ["vision"]);
    assert_eq!((&*model.architecture.model_type, model.architecture.n_vocab), ("gemma4", 512));
    let per_layer = "openvino_text_embeddings_per_layer_model";
    let (xml, bin) = (format!("{per_layer}.xml"), format!("{per_layer}.bin"));
    files.push((&xml, ""));
    let missing = refusal(&files, None);
    assert!(missing.contains(&format!("ROOT/{bin} is missing")), "{missing}");
    files.push((&bin, ""));
    let root = folder(&files);
    let model = ModelFolder::open(root.path(), None).unwrap();
    assert_eq!(model.embeddings.len(), 2);
    assert_eq!(model.embeddings[1], root.path().join(&xml));
    // Whoever has one graph for all needs no others.
    files.extend([("openvino_model.xml", ""), ("openvino_model.bin", "")]);
    let root = folder(&files);
    let model = ModelFolder::open(root.path(), None).unwrap();
    assert_eq!((model.embeddings.len(), model.unused_parts.len()), (0, 0));
}

#[test]
fn an_end_that_only_the_tokenizer_names_is_one() {
    let config = CONFIG.replace(",\"eos_token_id\":7", "");
    let tokenizer = r#"{"added_tokens":[{"id":2,"content":"</s>"}]}"#;
    let check = |config: &str, named: &str, expected: &[u32]| {
        let folder = folder(&[
            ("openvino_model.xml", ""),
            ("openvino_model.bin", ""),
            ("config.json", config),
            ("tokenizer.json", tokenizer),
            ("tokenizer_config.json", named),
        ]);
        let model = ModelFolder::open(folder.path(), None).unwrap();
        assert_eq!(model.tokens.eos, expected, "{named}");
    };
    let named = r#"{"eos_token":"</s>"}"#;
    check(&config, named, &[2]);
    check(CONFIG, named, &[7]);
    check(&config, "{}", &[]);
}

#[test]
fn keys_that_nobody_asks_for_may_hold_what_only_python_writes() {
    let config = CONFIG.replacen('{', "{\"time_step_limit\": [0.0, Infinity], \"x\": NaN,", 1);
    let files = [("openvino_model.xml", ""), ("openvino_model.bin", ""), ("config.json", &*config)];
    let model = ModelFolder::open(folder(&files).path(), None).unwrap();
    assert_eq!(model.tokens.eos, [7]);
    let config =
        CONFIG.replace("\"max_position_embeddings\":512", "\"max_position_embeddings\":NaN");
    let message = refusal(&[files[0], files[1], ("config.json", &config)], None);
    assert!(message.contains("`max_position_embeddings`, found \"NaN\""), "{message}");
}

#[test]
fn a_window_that_no_layer_has_is_none() {
    let check = |more: &str, expected: Option<usize>| {
        let config = CONFIG.replacen('{', &format!("{{\"sliding_window\": 8, {more}"), 1);
        let files =
            [("openvino_model.xml", ""), ("openvino_model.bin", ""), ("config.json", &*config)];
        let model = ModelFolder::open(folder(&files).path(), None).unwrap();
        assert_eq!(model.architecture.sliding_window, expected, "{more}");
    };
    check("", Some(8));
    check("\"use_sliding_window\": false,", None);
    check("\"layer_types\": [\"full_attention\", \"full_attention\"],", None);
    check("\"layer_types\": [\"full_attention\", \"sliding_attention\"],", Some(8));
}

/// Sizes as each family's own `config.json` on the hub has them.
#[test]
fn older_families_have_other_names_for_the_same() {
    let check = |config: &str, expected: [usize; 7]| {
        let config = format!("{{\"vocab_size\": 100, {config}}}");
        let files =
            [("openvino_model.xml", ""), ("openvino_model.bin", ""), ("config.json", &*config)];
        let shape = ModelFolder::open(folder(&files).path(), None).unwrap().architecture;
        let found = [shape.hidden_size, shape.n_layers, shape.n_heads, shape.n_kv_heads];
        let window = shape.sliding_window.unwrap_or(0);
        let rest = [shape.head_size, shape.n_positions_max, window];
        assert_eq!([&found[..], &rest].concat(), expected, "{config}");
    };
    let gpt = r#""n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128, "n_ctx": 64"#;
    check(gpt, [64, 3, 4, 4, 16, 128, 0]);
    check(&format!(r#"{gpt}, "multi_query": true"#), [64, 3, 4, 1, 16, 128, 0]);
    check(&format!(r#"{gpt}, "multi_query": false"#), [64, 3, 4, 4, 16, 128, 0]);
    // What others call it goes first, also where both are there.
    check(&format!(r#"{gpt}, "hidden_size": 32"#), [32, 3, 4, 4, 8, 128, 0]);
    // A null is no value.
    check(&format!(r#"{gpt}, "hidden_size": null"#), [64, 3, 4, 4, 16, 128, 0]);
    let bloom = r#""n_embed": 64, "n_layer": 3, "num_attention_heads": 8, "seq_length": 256"#;
    check(bloom, [64, 3, 8, 8, 8, 256, 0]);
    let mpt = r#""d_model": 64, "n_layers": 3, "n_heads": 8, "max_seq_len": 256"#;
    check(mpt, [64, 3, 8, 8, 8, 256, 0]);
    check(&format!(r#"{mpt}, "attn_config": {{"kv_n_heads": 2}}"#), [64, 3, 8, 2, 8, 256, 0]);
    let neo = r#""hidden_size": 64, "num_layers": 3, "num_heads": 4, "window_size": 16,
        "max_position_embeddings": 256"#;
    check(neo, [64, 3, 4, 4, 16, 256, 16]);
    let falcon = r#""hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 8,
        "num_kv_heads": 2, "multi_query": true"#;
    check(falcon, [64, 3, 8, 1, 8, N_POSITIONS_UNTOLD, 0]);
    let later = format!(r#"{falcon}, "new_decoder_architecture": true"#);
    check(&later, [64, 3, 8, 2, 8, N_POSITIONS_UNTOLD, 0]);
    let chatglm = r#""hidden_size": 64, "num_layers": 3, "num_attention_heads": 8,
        "multi_query_group_num": 2, "kv_channels": 16, "seq_length": 256"#;
    check(chatglm, [64, 3, 8, 2, 16, 256, 0]);
    // Inside `text_config` too.
    let nested = format!(r#""text_config": {{"vocab_size": 9, {gpt}}}"#);
    check(&nested, [64, 3, 4, 4, 16, 128, 0]);
}

#[test]
fn genai_folders_are_read_from_their_one_manifest() {
    let root = folder(&[("genai_config.json", GENAI), ("model.onnx", "")]);
    let model = ModelFolder::open(root.path(), None).unwrap();
    assert_eq!(model.kind, FolderKind::OnnxGenai);
    assert_eq!(model.tokens.eos, [3, 4]);
    assert_eq!(model.architecture.n_positions_max, 256);
    assert_eq!(model.generation.repeat_penalty, Some(1.1));
}

#[test]
fn transformers_js_folders_prefer_four_bits() {
    let files = [
        ("config.json", CONFIG),
        ("onnx/model.onnx", ""),
        ("onnx/model_q4.onnx", ""),
        ("onnx/model_quantized.onnx", ""),
        ("onnx/model_q4.onnx_data", ""),
    ];
    let root = folder(&files);
    let variant = |asked| ModelFolder::open(root.path(), asked).map(|model| model.graph);
    assert!(variant(None).unwrap().ends_with("onnx/model_q4.onnx"));
    assert!(variant(Some("fp32")).unwrap().ends_with("onnx/model.onnx"));
    assert!(variant(Some("quantized")).unwrap().ends_with("onnx/model_quantized.onnx"));
    let error = refusal(&files, Some("int3"));
    assert_eq!(error, "no variant `int3` in ROOT: it has fp32, q4, quantized");
}

#[test]
fn graphs_beside_the_configuration_are_found_where_onnx_holds_none() {
    let files = [("config.json", CONFIG), ("model.onnx", ""), ("model_quantized.onnx", "")];
    let root = folder(&files);
    let graph = |asked| {
        let model = ModelFolder::open(root.path(), asked).unwrap();
        assert_eq!(model.kind, FolderKind::TransformersJs);
        assert_eq!(model.variants, ["fp32", "quantized"]);
        model.graph
    };
    assert_eq!(graph(None), root.path().join("model_quantized.onnx"));
    assert_eq!(graph(Some("fp32")), root.path().join("model.onnx"));
    let one = folder(&files[..2]);
    let model = ModelFolder::open(one.path(), None).unwrap();
    assert_eq!(model.graph, one.path().join("model.onnx"));
    let both = folder(&[files[0], files[1], ("onnx/model_q4.onnx", "")]);
    assert!(ModelFolder::open(both.path(), None).unwrap().graph.ends_with("onnx/model_q4.onnx"));
    let none = [files[0], ("onnx/decoder_model.onnx", "")];
    assert!(refusal(&none, None).contains("or model*.onnx with config.json, found config.json"));
}

#[test]
fn onnx_models_that_also_see_have_their_embedding_before_the_decoder() {
    let files = [
        ("config.json", CONFIG),
        ("onnx/decoder_model_merged.onnx", ""),
        ("onnx/decoder_model_merged_q4.onnx", ""),
        ("onnx/decoder_model_merged_q4f16.onnx", ""),
        ("onnx/embed_tokens.onnx", ""),
        ("onnx/embed_tokens_q4.onnx", ""),
        ("onnx/vision_encoder_q4.onnx", ""),
    ];
    let root = folder(&files);
    let check = |variant: Option<&str>, expected: [&str; 2]| {
        let model = ModelFolder::open(root.path(), variant).unwrap();
        assert_eq!(model.variants, ["fp32", "q4", "q4f16"]);
        assert_eq!(model.unused_parts, ["vision"]);
        let graphs = [&[model.graph], &model.embeddings[..]].concat();
        assert_eq!(graphs, expected.map(|name| root.path().join("onnx").join(name)));
    };
    check(None, ["decoder_model_merged_q4.onnx", "embed_tokens_q4.onnx"]);
    check(Some("fp32"), ["decoder_model_merged.onnx", "embed_tokens.onnx"]);
    check(Some("q4f16"), ["decoder_model_merged_q4f16.onnx", "embed_tokens_q4.onnx"]);
    // Older decoders take ids, and what takes them in one graph goes first.
    let old = folder(&files[..3]);
    let model = ModelFolder::open(old.path(), None).unwrap();
    assert_eq!((model.embeddings.len(), model.unused_parts.len()), (0, 0));
    let whole = folder(&[files[0], files[1], files[4], ("model.onnx", "")]);
    let model = ModelFolder::open(whole.path(), None).unwrap();
    assert_eq!((model.graph, model.embeddings), (whole.path().join("model.onnx"), vec![]));
}

#[test]
fn a_graph_that_is_called_fp32_is_found() {
    let root = folder(&[("config.json", CONFIG), ("onnx/model_fp32.onnx", "")]);
    let model = ModelFolder::open(root.path(), None).unwrap();
    assert!(model.graph.ends_with("onnx/model_fp32.onnx"), "{}", model.graph.display());
}

#[test]
fn a_variant_of_the_only_graph_is_refused_in_its_own_way() {
    let genai = [("genai_config.json", GENAI), ("model.onnx", "")];
    let one = [("config.json", CONFIG), ("onnx/model_fp16.onnx", "")];
    for files in [genai, one] {
        let root = folder(&files);
        let error = ModelFolder::open(root.path(), Some("q4")).unwrap_err();
        assert!(matches!(error, OpenFolderError::OneGraph { .. }), "{error}");
        assert!(error.to_string().contains("no variant `q4` in"), "{error}");
    }
}

#[test]
fn a_refusal_says_what_was_expected_and_found() {
    let check = |files: &[(&str, &str)], expected: &str| {
        let found = refusal(files, None);
        assert!(found.contains(expected), "{found}\ndoes not contain\n{expected}");
    };
    check(&[], "found an empty folder");
    check(&[("a.txt", ""), ("b.txt", "")], "found a.txt, b.txt");
    check(&[("genai_config.json", "{")], "cannot read ROOT/genai_config.json: EOF");
    check(&[("genai_config.json", "[1]")], "expected `model.decoder`, found nothing");
    check(&[("genai_config.json", GENAI)], "ROOT/model.onnx is missing");
    let outside = GENAI.replace("model.onnx", "../model.onnx");
    check(&[("genai_config.json", &outside)], "leaves the folder");
    check(&[("openvino_model.xml", "")], "ROOT/openvino_model.bin is missing");
    let ir = [("openvino_model.xml", ""), ("openvino_model.bin", "")];
    check(&ir, "ROOT/config.json is missing");
    let no_vocab = CONFIG.replace("\"vocab_size\":512,", "");
    check(&[ir[0], ir[1], ("config.json", &no_vocab)], "expected `vocab_size`, found nothing");
    let zero = CONFIG.replace("512,\"num_h", "0,\"num_h");
    check(&[ir[0], ir[1], ("config.json", &zero)], "a number above 0 in `vocab_size`, found 0");
    let text = CONFIG.replace("512,\"num_h", "\"many\",\"num_h");
    check(
        &[ir[0], ir[1], ("config.json", &text)],
        "a whole number in `vocab_size`, found \"many\"",
    );
}

#[test]
fn a_file_is_no_folder() {
    let root = folder(&[("x", "")]);
    let error = ModelFolder::open(&root.path().join("x"), None).unwrap_err();
    assert!(matches!(error, OpenFolderError::NotAFolder { .. }), "{error}");
    let error = ModelFolder::open(&root.path().join("y"), None).unwrap_err();
    assert!(matches!(error, OpenFolderError::NoFolder { .. }), "{error}");
}

#[test]
fn the_real_exports_open() {
    let Some(exports) = exports() else { return };
    for (name, kind, n_vocab) in [
        ("smollm2-135m-instruct-ov-int4", FolderKind::OpenVinoIr, 49152),
        ("smollm2-135m-instruct-ort-int4", FolderKind::OnnxGenai, 49152),
        ("stories260k-transformersjs", FolderKind::TransformersJs, 512),
        ("storymamba-ov-int4", FolderKind::OpenVinoIr, 512),
        ("tiny/tiny-gemma3-ov_int4", FolderKind::OpenVinoIr, 1024),
        ("tiny/tiny-lfm2-ort_int4", FolderKind::OnnxGenai, 1024),
    ] {
        let model = ModelFolder::open(&exports.join(name), None).unwrap();
        assert_eq!((model.kind, model.architecture.n_vocab), (kind, n_vocab), "{name}");
        assert!(model.text.tokenizer.is_some(), "{name}");
    }
}

#[test]
fn models_with_other_layers_than_attention_say_so() {
    let Some(exports) = exports() else { return };
    let check = |name: &str, heads: [usize; 3], n_positions_max, conv_cache_size| {
        let shape = ModelFolder::open(&exports.join(name), None).unwrap().architecture;
        assert_eq!([shape.n_heads, shape.n_kv_heads, shape.head_size], heads, "{name}");
        assert_eq!(shape.n_positions_max, n_positions_max, "{name}");
        assert_eq!(shape.conv_cache_size, conv_cache_size, "{name}");
    };
    check("storymamba-ov-int4", [0, 0, 0], N_POSITIONS_UNTOLD, None);
    check("tiny/tiny-lfm2-ov_int4", [4, 2, 16], 512, Some(3));
    check("tiny/tiny-lfm2-ort_int4", [4, 2, 16], 512, Some(2));
    check("tiny/tiny-llama-ov_int4", [4, 2, 16], 512, None);
}

fn exports() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("LAPWING_SHARED").map_or(beside, PathBuf::from);
    if shared.is_dir() {
        return Some(shared.join("exports"));
    }
    assert!(std::env::var_os("CI").is_none(), "CI needs {}", shared.display());
    eprintln!("skipped: no ../shared");
    None
}
