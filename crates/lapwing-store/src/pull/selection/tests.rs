use lapwing_formats::gguf::SplitName;

use super::*;

fn check(paths: &[&str], variant: Option<&str>, expected: Result<&[&str], &str>) {
    let variant = variant.map(Variant::asked);
    match (select("org/repo", paths, None, variant.as_ref(), &[]), expected) {
        (Ok(found), Ok(expected)) => {
            let mut found: Vec<_> = found.files.iter().map(|file| file.local).collect();
            found.sort_unstable();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
        (Err(error), Err(expected)) => {
            assert!(error.to_string().contains(expected), "{error} does not say {expected}");
        }
        (found, expected) => panic!("{paths:?}: found {found:?}, expected {expected:?}"),
    }
}

const OPENVINO: [&str; 11] = [
    ".gitattributes",
    "README.md",
    "config.json",
    "configuration_phi3.py",
    "openvino_model.bin",
    "openvino_model.xml",
    "pytorch_model.bin",
    "tokenizer.json",
    "chat_template.jinja",
    "additional_chat_templates/rag.jinja",
    "additional_chat_templates/tool_use.jinja",
];

#[test]
fn openvino_folder() {
    check(&OPENVINO, None, {
        Ok(&[
            "config.json",
            "openvino_model.bin",
            "openvino_model.xml",
            "tokenizer.json",
            "chat_template.jinja",
            "additional_chat_templates/tool_use.jinja",
        ])
    });
}

#[test]
fn how_rows_are_pooled_comes_with_a_model() {
    let files = ["1_Pooling/config.json", "2_Dense/config.json", "config.json", "modules.json"];
    let graph = ["openvino_model.xml", "openvino_model.bin"];
    let wanted = ["1_Pooling/config.json", "config.json", "modules.json"];
    check(&[&files[..], &graph].concat(), None, Ok(&[&wanted[..], &graph].concat()));
}

const TRANSFORMERS_JS: [&str; 9] = [
    "config.json",
    "tokenizer.json",
    "onnx/model.onnx",
    "onnx/model.onnx_data",
    "onnx/model_q4.onnx",
    "onnx/model_q4.onnx_data",
    "onnx/model_q4f16.onnx",
    "onnx/model_quantized.onnx",
    "README.md",
];

#[test]
fn one_precision_of_transformers_js() {
    let all = &TRANSFORMERS_JS;
    let side = ["config.json", "tokenizer.json"];
    let with = |files: &[&'static str]| [&side[..], files].concat();
    check(all, None, Ok(&with(&["onnx/model_q4.onnx", "onnx/model_q4.onnx_data"])));
    check(all, Some("quantized"), Ok(&with(&["onnx/model_quantized.onnx"])));
    check(all, Some("q4f16"), Ok(&with(&["onnx/model_q4f16.onnx"])));
    check(all, Some("fp32"), Ok(&with(&["onnx/model.onnx", "onnx/model.onnx_data"])));
    check(all, Some("q2"), Err("no variant \"q2\" in org/repo; it has fp32, q4, q4f16, quantized"));
}

#[test]
fn the_text_part_of_a_model_that_also_sees() {
    let paths = [
        "config.json",
        "onnx/decoder_model_merged.onnx",
        "onnx/decoder_model_merged_q4.onnx",
        "onnx/decoder_model_merged_q4.onnx_data",
        "onnx/decoder_model_merged_q4f16.onnx",
        "onnx/embed_tokens.onnx",
        "onnx/embed_tokens_q4.onnx",
        "onnx/embed_tokens_q4.onnx_data",
        "onnx/vision_encoder_q4.onnx",
    ];
    let q4 = ["onnx/decoder_model_merged_q4.onnx", "onnx/decoder_model_merged_q4.onnx_data"];
    let embedding = ["onnx/embed_tokens_q4.onnx", "onnx/embed_tokens_q4.onnx_data"];
    let with = |files: &[&'static str]| [&["config.json"], files].concat();
    check(&paths, None, Ok(&with(&[q4, embedding].concat())));
    // An embedding of the same kind, or the one that is wanted most.
    let full = ["onnx/decoder_model_merged.onnx", "onnx/embed_tokens.onnx"];
    check(&paths, Some("fp32"), Ok(&with(&full)));
    let q4f16 = [&["onnx/decoder_model_merged_q4f16.onnx"], &embedding[..]].concat();
    check(&paths, Some("q4f16"), Ok(&with(&q4f16)));
    let merged = ["config.json", "onnx/decoder_model_merged.onnx"];
    check(&merged, None, Ok(&merged));
}

#[test]
fn models_in_several_graphs_are_refused_before_the_download() {
    let old = ["config.json", "decoder_model.onnx", "decoder_with_past_model.onnx"];
    check(&old, None, Err("in several graphs, such as decoder_model.onnx"));
    let translates =
        ["config.json", "onnx/decoder_model_merged_q4.onnx", "onnx/encoder_model_q4.onnx"];
    check(&translates, None, Err("in several graphs, such as onnx/decoder_model_merged_q4.onnx"));
    check(&["config.json", "onnx/encoder.onnx"], None, Err("no model in org/repo"));
    // One that is also there as a whole is taken.
    let both = ["config.json", "onnx/decoder_model_merged.onnx", "onnx/model.onnx"];
    check(&both, None, Ok(&["config.json", "onnx/model.onnx"]));
}

#[test]
fn a_graph_in_the_root_as_optimum_writes_it() {
    let paths = ["config.json", "model.onnx", "model.onnx_data", "tokenizer.json"];
    check(&paths, None, Ok(&paths));
}

#[test]
fn what_no_command_could_open_is_refused_before_the_download() {
    check(&["onnx/model.onnx"], None, Err("config.json is missing"));
    check(&["adapter_model.safetensors"], None, Err("config.json is missing"));
    let without_weights = ["config.json", "openvino_model.xml"];
    check(&without_weights, None, Err("openvino_model.bin is missing"));
    let sees = ["config.json", "openvino_language_model.xml", "openvino_language_model.bin"];
    check(&sees, None, Err("openvino_text_embeddings_model.xml is missing"));
}

#[test]
fn a_model_that_also_sees_is_taken_with_what_feeds_it() {
    let paths = [
        "config.json",
        "openvino_language_model.bin",
        "openvino_language_model.xml",
        "openvino_text_embeddings_model.bin",
        "openvino_text_embeddings_model.xml",
        "openvino_text_embeddings_per_layer_model.bin",
        "openvino_text_embeddings_per_layer_model.xml",
    ];
    check(&paths, None, Ok(&paths));
}

#[test]
fn one_build_of_onnxruntime_genai() {
    let paths = [
        "README.md",
        "config.json",
        "cpu/cpu-int4-block-32/genai_config.json",
        "cpu/cpu-int4-block-32/model.onnx",
        "cpu/cpu-int4-block-32/model.onnx.data",
        "cpu/cpu-int4-block-32-acc-4/genai_config.json",
        "cpu/cpu-int4-block-32-acc-4/model.onnx",
        "cuda/int4/genai_config.json",
        "cuda/int4/model.onnx",
    ];
    check(&paths, None, Ok(&["genai_config.json", "model.onnx", "model.onnx.data"]));
    check(&paths, Some("acc-4"), Ok(&["genai_config.json", "model.onnx"]));
    check(&paths, Some("npu"), Err("it has cpu/cpu-int4-block-32, "));
}

#[test]
fn one_gguf_of_several() {
    let paths = ["a.Q8_0.gguf", "a.Q4_K_M.gguf", "a-f16.gguf", "config.json", "mmproj-a.gguf"];
    check(&paths, None, Ok(&["a.Q4_K_M.gguf"]));
    check(&paths, Some("q8_0"), Ok(&["a.Q8_0.gguf"]));
    check(&paths, Some("q2_k"), Err("it has Q8_0, Q4_K_M, f16"));
    check(&["only.gguf"], None, Ok(&["only.gguf"]));
    check(&["only.gguf", "mmproj-only.gguf"], None, Ok(&["only.gguf"]));
}

const SPLIT: [&str; 6] = [
    "tiny-fp16-00001-of-00003.gguf",
    "tiny-q4_k_m-00001-of-00002.gguf",
    "tiny-q4_k_m-00002-of-00002.gguf",
    "tiny-q5_k_m-00001-of-00002.gguf",
    "tiny-q5_k_m-00002-of-00002.gguf",
    "README.md",
];

#[test]
fn all_parts_of_one_precision_and_none_of_another() {
    check(&SPLIT, None, Ok(&SPLIT[1..3]));
    check(&SPLIT, Some("Q4_K_M"), Ok(&SPLIT[1..3]));
    check(&SPLIT, Some("q5_k_m"), Ok(&SPLIT[3..5]));
    check(&SPLIT, Some("00002"), Err("no variant \"00002\" in org/repo; it has fp16, q4_k_m, q5"));
    check(&SPLIT, Some("fp16"), Err("tiny-fp16-00002-of-00003.gguf is missing, one of 3 parts"));
    check(&SPLIT[3..4], None, Err("tiny-q5_k_m-00002-of-00002.gguf is missing"));
    // As it was published at first, and later in another number of parts.
    let again = ["m-q8_0.gguf", "m-q8_0-00001-of-00002.gguf", "m-q8_0-00002-of-00002.gguf"];
    check(&again, None, Ok(&["m-q8_0.gguf"]));
}

#[test]
fn a_hundred_thousand_files_are_gone_through_at_once() {
    let many: Vec<String> = (0..50_000_u32).map(|n| format!("m{n}-Q2_K.gguf")).collect();
    let parts = SplitName { stem: "m-Q8_0", number: 1, n_parts: 50_000 };
    let parts: Vec<String> = (1..=50_000).map(|number| parts.of_part(number)).collect();
    let paths: Vec<&str> = many.iter().chain(&parts).map(String::as_str).collect();
    let started = std::time::Instant::now();
    let variant = Variant::asked("q8_0");
    let selection = select("org/repo", &paths, None, Some(&variant), &[]).unwrap();
    assert_eq!(selection.files.len(), 50_000);
    let error = select("org/repo", &paths, None, None, &[]).err();
    assert!(error.is_none(), "{error:?}");
    let q2 = Variant::asked("q2_k");
    let error = select("org/repo", &paths, None, Some(&q2), &[]).unwrap_err().to_string();
    assert!(error.ends_with("m19-Q2_K and 49980 more"), "{error}");
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn precisions_in_folders_of_their_own() {
    let paths = ["Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf"];
    let found = ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"];
    check(&[&paths[..], &["m-Q6_K.gguf", "BF16/m-BF16.gguf"]].concat(), Some("q8_0"), Ok(&found));
    check(&[&paths[..], &["m-Q6_K.gguf", "BF16/m-BF16.gguf"]].concat(), None, Ok(&["m-Q6_K.gguf"]));
    // What is in the root wins.
    check(&["old/m-Q8_0.gguf", "m-Q8_0.gguf"], None, Ok(&["m-Q8_0.gguf"]));
}

#[test]
fn a_default_is_a_model_of_a_known_precision() {
    let check = |paths: &[&str], expected: &str| check(paths, None, Ok(&[expected]));
    check(&["a-imatrix.gguf", "m.IQ2_XXS.gguf"], "m.IQ2_XXS.gguf");
    check(&["imatrix.gguf", "m-Q3_K_L.gguf", "m-IQ3_M.gguf"], "m-Q3_K_L.gguf");
    check(&["draft.gguf", "m-Q2_K.gguf"], "m-Q2_K.gguf");
    check(&["m-imatrix-Q4_K_S.gguf", "m-imatrix-Q6_K.gguf"], "m-imatrix-Q4_K_S.gguf");
    check(&["MMPROJ-m-f16.gguf", "m-bf16.gguf", "m-f32.gguf"], "m-bf16.gguf");
    check(&["b.gguf", "a.gguf"], "b.gguf");
}

#[test]
fn models_of_one_precision_are_told_apart_by_their_names() {
    let paths = ["small-Q4_0.gguf", "large-Q4_0.gguf"];
    check(&paths, None, Err("several models in org/repo are Q4_0: small-Q4_0, large-Q4_0"));
    check(&paths, Some("q4_0"), Err("several models"));
    check(&paths, Some("large-q4_0"), Ok(&["large-Q4_0.gguf"]));
}

#[test]
fn a_default_variant_is_left_out_where_there_is_one_file() {
    let q4 = Variant { name: "q4".into(), is_default: true };
    let check = |paths: &[&str], expected: Option<&str>| {
        let selection = select("org/repo", paths, None, Some(&q4), &[]);
        let found = selection.ok().map(|selection| selection.variant);
        assert_eq!(found, expected.map(|name| Some(name.to_owned())), "{paths:?}");
    };
    check(&["a.Q8_0.gguf"], Some("Q8_0"));
    check(&["config.json", "onnx/model.onnx"], Some("fp32"));
    check(&["config.json", "onnx/model_q4.onnx", "onnx/model_fp16.onnx"], Some("q4"));
    check(&["config.json", "onnx/model_q8.onnx", "onnx/model_fp16.onnx"], None);
}

#[test]
fn checkpoints_and_nothing() {
    check(&["model.safetensors", "config.json"], None, Ok(&["model.safetensors", "config.json"]));
    check(&["README.md", "config.json"], None, Err("no model in org/repo"));
    check(&[], None, Err("no model in org/repo"));
}

#[test]
fn names_that_would_leave_the_folder() {
    check(&["openvino_model.xml", "a\\..\\evil.json"], None, Err("unsafe name"));
    let files = vec!["../evil.json".to_owned()];
    let result = select("org/repo", &["../evil.json"], None, None, &files);
    assert!(matches!(result, Err(SelectError::UnsafeName { .. })), "{result:?}");
}
