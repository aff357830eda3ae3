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

const OPENVINO: [&str; 9] = [
    ".gitattributes",
    "README.md",
    "config.json",
    "configuration_phi3.py",
    "openvino_model.bin",
    "openvino_model.xml",
    "pytorch_model.bin",
    "tokenizer.json",
    "chat_template.jinja",
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
        ])
    });
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
fn decoder_and_embedding_in_two_graphs() {
    let paths = [
        "onnx/decoder_model_merged_q4.onnx",
        "onnx/embed_tokens_q4.onnx",
        "onnx/vision_encoder_q4.onnx",
    ];
    check(&paths, None, Ok(&["onnx/decoder_model_merged_q4.onnx", "onnx/embed_tokens_q4.onnx"]));
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
    check(&["onnx/model.onnx"], Some("fp32"));
    check(&["onnx/model_q4.onnx", "onnx/model_fp16.onnx"], Some("q4"));
    check(&["onnx/model_q8.onnx", "onnx/model_fp16.onnx"], None);
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
