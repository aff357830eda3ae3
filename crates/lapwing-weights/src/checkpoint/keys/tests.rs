use lapwing_model::{Architecture, FAMILIES, Layers, RopeScaling, Transformer};
use serde_json::{Value, json};

use super::super::hugging_face::tests::resolve;
use super::*;
use crate::gguf_file::small;

/// A configuration as it was published, by its file's name.
fn published(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/configs");
    let bytes = std::fs::read(folder.join(format!("{name}.json"))).expect(name);
    serde_json::from_slice(&bytes).expect(name)
}

fn architecture(json: &Value) -> Architecture<Transformer> {
    resolve(json, None).unwrap_or_else(|error| panic!("{error}: {json}")).architecture
}

#[test]
fn published_configurations_are_read_as_they_are_meant() {
    let check =
        |name: &str, theta: f32, window: Option<usize>, factor: Option<f32>, n_kv: usize| {
            let found = architecture(&published(name));
            assert_eq!(found.family.rope.theta, theta, "{name}");
            assert_eq!((found.sliding_window, found.n_kv_heads), (window, n_kv), "{name}");
            assert_eq!(found.family.full_layers, Layers::NONE, "{name}");
            let found = match found.family.rope.scaling {
                Some(RopeScaling::Linear { factor } | RopeScaling::Llama3 { factor, .. }) => {
                    Some(factor)
                }
                _ => None,
            };
            assert_eq!(found, factor, "{name}");
        };
    check("llama-1-7b", 1e4, None, None, 32);
    check("llama-2-7b-hf", 1e4, None, None, 32);
    check("llama-2-7b-32k", 1e4, None, Some(8.0), 32);
    check("codellama-7b", 1e6, None, None, 32);
    check("llama-3.1-8b-instruct", 5e5, None, Some(8.0), 8);
    check("llama-3.2-1b-instruct", 5e5, None, Some(32.0), 8);
    check("llama-3.2-1b-transformers-5", 5e5, None, Some(32.0), 8);
    check("smollm2-135m-instruct", 1e5, None, None, 3);
    check("mistral-7b-v0.1", 1e4, Some(4096), None, 8);
    check("mistral-nemo-instruct-2407", 1e6, None, None, 8);
    check("qwen2.5-0.5b-instruct", 1e6, None, None, 2);
    check("qwen2.5-transformers-5", 1e6, None, None, 2);
    check("deepseek-r1-distill-qwen-1.5b", 1e4, None, None, 2);
    check("qwen3-0.6b", 1e6, None, None, 8);
    let (old, new) = ("llama-3.2-1b-instruct", "llama-3.2-1b-transformers-5");
    assert_eq!(architecture(&published(old)), architecture(&published(new)));
}

#[test]
fn every_published_configuration_is_in_the_test_above() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/configs");
    let files = std::fs::read_dir(folder).unwrap();
    for file in files {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(include_str!("tests.rs").contains(&format!("check(\"{name}\"")), "{name}");
        architecture(&published(name));
    }
}

#[test]
fn a_key_that_may_change_the_numbers_is_an_error_that_names_it() {
    let check = |key: &str, value: Value, expected: &str| {
        let mut json = published("llama-3.2-1b-instruct");
        json[key] = value;
        let message = resolve(&json, None).map(drop).expect_err(key).to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    // Keys of relatives whose arithmetic differs.
    for key in ["scale_emb", "clip_qkv", "attn_logit_softcapping", "no_rope_layers", "mup_width"] {
        let expected = "only keys that are used or change no number, found 0.5";
        check(key, json!(0.5), &format!("config.json: unknown key {key}: expected {expected}"));
    }
    check("logit_scale", json!(0.0625), "logit_scale: expected 1, found 0.0625");
    check("bias", json!(true), "bias: expected false, found true");
    check("rope_interleaved", json!(true), "rope_interleaved: expected false, found true");
    check("num_local_experts", json!(8), "num_local_experts: expected 0, found 8");
    check("pruned_heads", json!({"1": [0]}), "pruned_heads: expected {}, found {\"1\":[0]}");
    check("quantization", json!({"bits": 4}), "found quantised weights");
    check("hidden_act", json!("gelu_pytorch_tanh"), "hidden_act: expected silu, found gelu");
    check("head_dim", json!("64"), "head_dim: expected a whole number from 0 on, found \"64\"");
    check("tie_word_embeddings", json!(1), "tie_word_embeddings: expected true or false");
    check("rms_norm_eps", json!("NaN"), "rms_norm_eps: expected a number, found NaN");
    check("rope_theta", json!("Infinity"), "rope_theta: expected a number, found Infinity");
}

#[test]
fn keys_that_change_no_number_are_no_error() {
    let plain = architecture(&published("qwen3-0.6b"));
    let check = |key: &str, value: Value| {
        let mut json = published("qwen3-0.6b");
        json[key] = value;
        assert_eq!(architecture(&json), plain, "{key}");
    };
    check("final_logit_softcapping", Value::Null);
    check("_anything_of_transformers", json!({ "a": 1 }));
    check("partial_rotary_factor", json!(1));
    check("logits_scaling", json!(1.0));
    check("time_step_limit", json!([0.0, "Infinity"]));
    check("pretraining_tp", json!(2));
    check("num_hidden_layers", json!(28.0));
}

#[test]
fn no_key_has_two_rules() {
    let types = [ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_LONG, ROPE_DYNAMIC];
    let of_types = types.map(|of_type| vec![ROPE, of_type, ROPE_WHOLE]);
    let of_families = FAMILIES
        .iter()
        .flat_map(|family| [vec![of_family(family.model_type)], vec![of_gguf(family.model_type)]]);
    let others = [vec![CONFIG], vec![GGUF], vec![GGUF_ARCHITECTURE]];
    for tables in of_types.into_iter().chain(of_families).chain(others) {
        let rows = tables.iter().copied().flatten();
        let mut keys: Vec<&str> = rows.flat_map(|(_, keys)| *keys).copied().collect();
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None);
    }
}

#[test]
fn metadata_of_a_gguf_is_known_or_refused() {
    use crate::gguf_file::GgufFile;
    use crate::{Checkpoint, OpenCheckpointError};
    type Change = dyn Fn(&mut GgufFile) -> &mut GgufFile;
    let open = |change: &Change| -> Result<Checkpoint, OpenCheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        let mut file = small("llama");
        Checkpoint::open(&change(&mut file).write(folder.path()))
    };
    let refused = |change: &Change, expected: &str| {
        let message = open(change).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    // What llama.cpp computes with.
    refused(
        &|f| f.f32("llama.attention.scale", 0.05),
        "llama.attention.scale: expected 0, found 0",
    );
    refused(&|f| f.f32("llama.logit_scale", 0.5), "llama.logit_scale: expected 0 or 1, found 0.5");
    refused(
        &|f| f.f32("llama.rope.scaling.attn_factor", 1.5),
        "attn_factor: expected 1, found 1.5",
    );
    refused(&|f| f.f32("llama.rope.freq_base_swa", 1e4), "unknown key llama.rope.freq_base_swa");
    refused(&|f| f.bool("llama.attention.causal", false), "expected true, found false");
    refused(&|f| f.u32("llama.expert_used_count", 2), "llama.expert_used_count: expected 0");
    refused(&|f| f.i32s("llama.rope.dimension_sections", &[1]), "found a list of 1");
    refused(
        &|f| f.string("general.type", "adapter"),
        "general.type: expected \"model\", found ada",
    );
    refused(
        &|f| f.bool("tokenizer.ggml.remove_extra_whitespaces", true),
        "remove_extra_whitespaces: expected false, found true",
    );
    refused(&|f| f.i32s("tokenizer.ggml.precompiled_charsmap", &[1]), "unknown key tokenizer.ggml");
    refused(&|f| f.u32("qwen2.block_count", 1), "unknown key qwen2.block_count");
    // What converters write beside it.
    open(&|f| {
        f.string("general.name", "x")
            .u32("general.file_type", 1)
            .u32("general.quantization_version", 2)
            .string("general.type", "model")
            .strings("general.tags", &["a".to_owned()])
            .string("quantize.imatrix.file", "x")
            .u32("split.count", 0)
            .u32("llama.vocab_size", 6)
            .u32("llama.expert_used_count", 0)
            .u32("llama.rope.scaling.original_context_length", 32)
            .f32("llama.rope.scaling.attn_factor", 1.0)
            .u32("tokenizer.ggml.fim_pre_token_id", 3)
            .string("tokenizer.chat_template.tool_use", "x")
            .bool("tokenizer.ggml.add_bos_token", false)
    })
    .unwrap();
}

/// As gpt-oss-20b was published.
fn gpt_oss() -> Value {
    let types = ["sliding_attention", "full_attention"].repeat(12);
    json!({
        "architectures": ["GptOssForCausalLM"], "attention_bias": true, "attention_dropout": 0.0,
        "eos_token_id": 200_002, "experts_per_token": 4, "head_dim": 64, "hidden_act": "silu",
        "hidden_size": 2880, "initial_context_length": 4096, "initializer_range": 0.02,
        "intermediate_size": 2880, "layer_types": types, "max_position_embeddings": 131_072,
        "model_type": "gpt_oss", "num_attention_heads": 64, "num_experts_per_tok": 4,
        "num_hidden_layers": 24, "num_key_value_heads": 8, "num_local_experts": 32,
        "output_router_logits": false, "pad_token_id": 199_999,
        "quantization_config": {
            "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"],
            "quant_method": "mxfp4",
        },
        "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0,
            "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate": false,
        },
        "rope_theta": 150_000, "router_aux_loss_coef": 0.9, "sliding_window": 128,
        "swiglu_limit": 7.0, "tie_word_embeddings": false, "use_cache": true, "vocab_size": 201_088,
    })
}

#[test]
fn gpt_oss_is_read_as_it_is_meant() {
    let found = architecture(&gpt_oss());
    let experts = found.family.experts.unwrap();
    assert_eq!((experts.n_experts, experts.n_used, experts.has_bias), (32, 4, true));
    assert_eq!([0, 1, 2, 23].map(|idx| found.window(idx)), [Some(128), None, Some(128), None]);
    assert!(found.family.has_sinks && !found.family.tied_head);
    let Some(RopeScaling::Yarn { truncate, magnitude, n_positions_original, .. }) =
        found.family.rope.scaling
    else {
        panic!("{:?}", found.family.rope);
    };
    assert!((magnitude - 1.346_573_6).abs() < 1e-6, "{magnitude}");
    assert_eq!((truncate, n_positions_original), (false, 4096));
    // What its class takes where the file does not say.
    let mut short = gpt_oss();
    for key in ["layer_types", "sliding_window", "head_dim", "num_key_value_heads", "swiglu_limit"]
    {
        short.as_object_mut().unwrap().shift_remove(key).unwrap();
    }
    let mut expected = architecture(&gpt_oss());
    expected.family.full_layers = Layers::LastOfEvery(2);
    assert_eq!(architecture(&short), expected);
}

#[test]
fn what_gpt_oss_does_not_compute_is_refused_by_name() {
    let check = |key: &str, value: Value, expected: &str| {
        let mut json = gpt_oss();
        json[key] = value;
        let message = resolve(&json, None).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    check("swiglu_limit", json!(5.0), "swiglu_limit: expected 7, found 5");
    check("experts_per_token", json!(2), "experts_per_token: expected 4, as num_experts_per_tok");
    check("rope_scaling", Value::Null, "rope_scaling: expected how the frequencies are stretched");
    let method = json!({ "quant_method": "gptq", "bits": 4 });
    check("quantization_config", method, "quantization_config.");
    check("quantization_config", json!({}), "quantization_config: expected mxfp4");
    check("quantization_config", json!([1]), "quantization_config: expected mxfp4");
}
