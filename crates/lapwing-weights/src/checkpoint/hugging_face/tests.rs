use lapwing_model::RopeScaling;

use tempfile::TempDir;

use super::super::config::Config;
use super::*;

const OLD: &str = r#"{"model_type":"llama","vocab_size":128256,"hidden_size":2048,
    "intermediate_size":8192,"num_hidden_layers":16,"num_attention_heads":32,
    "num_key_value_heads":8,"rms_norm_eps":1e-05,"max_position_embeddings":131072,
    "rope_theta":500000.0,"rope_scaling":{"factor":32.0,"high_freq_factor":4.0,
    "low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"},
    "bos_token_id":128000,"eos_token_id":[128001,128008],"pad_token_id":-1,
    "hidden_act":"silu","tie_word_embeddings":true,"torch_dtype":"bfloat16"}"#;

pub(in crate::checkpoint) fn resolve(
    json: &Value,
    generation: Option<Value>,
) -> Result<Config, OpenCheckpointError> {
    let config = ConfigJson::new(Path::new("config.json"), json)?;
    config.resolve(generation.as_ref(), &|_| false)
}

fn old() -> Value {
    serde_json::from_str(OLD).unwrap()
}

#[test]
fn old_and_new_forms_of_rope_mean_the_same() {
    let config = resolve(&old(), None).unwrap();
    let architecture = &config.architecture;
    let family = &architecture.family;
    assert_eq!((architecture.head_size, family.rope.theta), (64, 500_000.0));
    assert!(matches!(family.rope.scaling, Some(RopeScaling::Llama3 { factor: 32.0, .. })));
    assert_eq!((config.tokens.bos, config.tokens.pad), (Some(128_000), None));
    assert_eq!(config.tokens.eos, [128_001, 128_008]);

    let mut new = old();
    let mut rope = new.as_object_mut().unwrap().shift_remove("rope_scaling").unwrap();
    rope["rope_theta"] = new.as_object_mut().unwrap().shift_remove("rope_theta").unwrap();
    new["rope_parameters"] = rope;
    assert_eq!(resolve(&new, None).unwrap(), config);

    let mut linear = old();
    linear["rope_scaling"] = serde_json::json!({ "type": "linear", "factor": 2.0 });
    let scaling = resolve(&linear, None).unwrap().architecture.family.rope.scaling;
    assert_eq!(scaling, Some(RopeScaling::Linear { factor: 2.0 }));
}

#[test]
fn both_names_of_the_rope_type_may_stand_side_by_side() {
    let mut both = old();
    let rope = r#"{"type":"default","rope_type":"linear","factor":2.0}"#;
    both["rope_scaling"] = serde_json::from_str(rope).unwrap();
    let scaling = resolve(&both, None).unwrap().architecture.family.rope.scaling;
    assert_eq!(scaling, Some(RopeScaling::Linear { factor: 2.0 }));
}

#[test]
fn generation_ids_win_over_those_of_the_config() {
    let generation = serde_json::json!({ "eos_token_id": 7, "bos_token_id": null });
    let tokens = resolve(&old(), Some(generation)).unwrap().tokens;
    assert_eq!((tokens.eos.as_slice(), tokens.bos), (&[7][..], Some(128_000)));
}

#[test]
fn another_family_is_named_before_the_fields_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join(CONFIG_FILE);
    std::fs::write(config, r#"{"model_type":"mamba","state_size":16}"#).unwrap();
    let message = open(folder.path()).map(drop).unwrap_err().to_string();
    let expected = "model_type: expected llama, mistral, mixtral, qwen2, qwen3, qwen3_moe, gpt_oss, gemma3_text";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn windows_are_those_that_the_model_type_uses() {
    let check = |changes: Value, expected: Option<usize>| {
        let mut json = old();
        for (key, value) in changes.as_object().unwrap() {
            json[key] = value.clone();
        }
        let found = resolve(&json, None).unwrap().architecture.sliding_window;
        assert_eq!(found, expected, "{changes}");
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    check(json(r#"{"model_type":"mistral","sliding_window":4096}"#), Some(4096));
    check(json(r#"{"model_type":"mistral","sliding_window":131072}"#), None);
    check(json(r#"{"model_type":"mistral","sliding_window":null}"#), None);
    check(json(r#"{"model_type":"qwen2","sliding_window":4096}"#), None);
    let all = r#"{"model_type":"qwen2","sliding_window":4096,"use_sliding_window":true,"#;
    check(json(&format!("{all}\"max_window_layers\":0}}")), Some(4096));
    check(json(&format!("{all}\"max_window_layers\":16}}")), None);
}

/// `changes` over the configuration of 16 layers, or its refusal.
fn changed(changes: &str) -> Result<Config, String> {
    let mut json = old();
    for (key, value) in serde_json::from_str::<Value>(changes).unwrap().as_object().unwrap() {
        json[key] = value.clone();
    }
    resolve(&json, None).map_err(|error| error.to_string())
}

#[test]
fn layers_have_the_windows_that_their_types_tell() {
    let check = |changes: &str, expected: Option<usize>, full: &[usize]| {
        let found = changed(changes).unwrap().architecture;
        assert_eq!(found.sliding_window, expected, "{changes}");
        let is_full = |layer_idx: &usize| found.family.full_layers.contains(*layer_idx);
        let found: Vec<usize> = (0..found.n_layers).filter(is_full).collect();
        assert_eq!(found, full, "{changes}");
    };
    let four = |types: &str, more: &str| {
        let types: Vec<&str> = types.split(' ').collect();
        let types = serde_json::to_string(&types).unwrap();
        let types = types.replace("\"f\"", "\"full_attention\"");
        let types = types.replace("\"s\"", "\"sliding_attention\"");
        format!(r#"{{"num_hidden_layers":4,"layer_types":{types},{more}}}"#)
    };
    let on = r#""model_type":"qwen3","sliding_window":8,"use_sliding_window":true"#;
    check(&four("s f s f", on), Some(8), &[1, 3]);
    check(&four("s s s s", on), Some(8), &[]);
    check(&four("f f f f", on), None, &[]);
    // As transformers, which reads no other key where this one is.
    check(&four("f s s s", &format!("{on},\"max_window_layers\":4")), Some(8), &[0]);
    let off = r#""model_type":"qwen3","sliding_window":8,"use_sliding_window":false"#;
    check(&four("f f f f", off), None, &[]);
    let mistral = r#""model_type":"mistral","sliding_window":8"#;
    check(&four("s s s s", mistral), Some(8), &[]);
    check(&four("f f f f", r#""model_type":"mistral","sliding_window":null"#), None, &[]);
    check(&four("f f f f", r#""model_type":"llama""#), None, &[]);
    let refused = |changes: &str, expected: &str| {
        let message = changed(changes).map(drop).expect_err(expected);
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    refused(&four("s f", on), "layer_types: expected full_attention or sliding_attention for");
    refused(&four("s f s chunked_attention", on), "layer_types: expected full_attention or");
    refused(&four("s f s f", off), "layer_types: expected full_attention in a qwen3 without");
    refused(&four("s f s f", mistral), "layer_types: expected sliding_attention in a mistral");
    refused(&four("s f s f", r#""model_type":"llama""#), "full_attention in a llama without");
}

#[test]
fn windows_without_their_keys_are_those_of_transformers() {
    let check = |changes: &str, expected: Option<usize>, n_full: usize| {
        let found = changed(changes).unwrap().architecture;
        assert_eq!(found.sliding_window, expected, "{changes}");
        let is_full = |layer_idx: &usize| found.family.full_layers.contains(*layer_idx);
        let full: Vec<usize> = (0..found.n_layers).filter(is_full).collect();
        assert_eq!(full, (0..n_full).collect::<Vec<usize>>(), "{changes}");
    };
    let qwen = r#"{"model_type":"qwen2","use_sliding_window":true"#;
    // 28 layers without a window, and this model has 16.
    check(&format!(r#"{qwen},"sliding_window":8}}"#), None, 0);
    check(&format!(r#"{qwen},"sliding_window":8,"num_hidden_layers":30}}"#), Some(8), 28);
    check(&format!(r#"{qwen},"sliding_window":8,"max_window_layers":12}}"#), Some(8), 12);
    check(&format!(r#"{qwen},"max_window_layers":0}}"#), Some(4096), 0);
    check(&format!(r#"{qwen},"max_window_layers":0,"sliding_window":null}}"#), None, 0);
    check(r#"{"model_type":"mistral"}"#, Some(4096), 0);
    check(r#"{"model_type":"mistral","max_position_embeddings":4096}"#, None, 0);
    check(r#"{"model_type":"llama","sliding_window":8,"use_sliding_window":false}"#, None, 0);
    for (changes, expected) in [
        (r#"{"model_type":"llama","sliding_window":8}"#, "sliding_window: expected none in a"),
        (
            r#"{"model_type":"mistral","sliding_window":8,"use_sliding_window":false}"#,
            "use_sliding_window: expected true in a mistral",
        ),
    ] {
        let message = changed(changes).map(drop).expect_err(expected);
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
}

#[test]
fn what_rope_parameters_say_is_used_or_refused() {
    let check = |changes: &str, theta: f32, factor: Option<f32>| {
        let found = changed(changes).unwrap().architecture.family;
        let expected = factor.map(|factor| RopeScaling::Linear { factor });
        assert_eq!((found.rope.theta, found.rope.scaling), (theta, expected), "{changes}");
    };
    let new = |rope: &str| format!(r#"{{"rope_scaling":null,"rope_theta":null,{rope}}}"#);
    check(&new(r#""rope_parameters":{"rope_theta":7.0}"#), 7.0, None);
    check(&new(r#""rope_parameters":null"#), 1e4, None);
    check(r#"{"rope_scaling":null,"rope_parameters":{"rope_type":"default"}}"#, 5e5, None);
    let nested = r#""rope_parameters":{"full_attention":{"rope_type":"default","rope_theta":7.0},
        "sliding_attention":{"rope_type":"linear","factor":2.0,"rope_theta":9.0}}"#;
    check(&new(nested), 7.0, None);
    let mistral = r#","model_type":"mistral","sliding_window":8"#;
    check(&new(&format!("{nested}{mistral}")), 9.0, Some(2.0));
    let linear = r#""rope_scaling":{"type":"linear","factor":2.0}"#;
    check(
        &format!(r#"{{{linear},"rope_parameters":{{"rope_type":"linear","factor":2.0}}}}"#),
        5e5,
        Some(2.0),
    );
    check(r#"{"rope_scaling":{"rope_type":"default","factor":1.0}}"#, 5e5, None);

    let refused = |changes: &str, expected: &str| {
        let message = changed(changes).map(drop).expect_err(expected);
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    refused(
        r#"{"rope_scaling":{"factor":4.0}}"#,
        "longrope or dynamic, found none, and a factor of",
    );
    let inside = |keys: &str| format!(r#"{{"rope_scaling":{{{keys}}}}}"#);
    refused(&inside(r#""type":"axial","factor":2.0"#), "or dynamic, found axial");
    // Beyond the context that the configuration names it stretches, and only there.
    check(&format!("{{{}}}", r#""rope_scaling":{"type":"dynamic","factor":2.0}"#), 5e5, None);
    refused(
        &inside(r#""type":"dynamic","factor":2.0,"original_max_position_embeddings":64"#),
        "original_max_position_embeddings: expected 131072, as max_position_embeddings, found 64",
    );
    refused(&inside(r#""type":"yarn","beta_fast":32"#), "rope_scaling.factor: expected a number");
    refused(&inside(r#""type":"yarn","factor":2.0,"extrapolation_factor":1"#), "unknown key rope");
    refused(
        &inside(r#""type":"longrope","short_factor":[1.0],"long_factor":"x""#),
        "rope_scaling.long_factor: expected a list of numbers, found \"x\"",
    );
    refused(&inside(r#""type":"default","factor":2.0"#), "rope_scaling.factor: expected 1");
    refused(
        &inside(r#""type":"default","attention_factor":1.3"#),
        "rope_scaling.attention_factor: expected 1, found 1.3",
    );
    refused(
        &inside(r#""type":"linear","factor":2.0,"mrope_section":[2]"#),
        "unknown key rope_scaling.mrope_section",
    );
    refused(&inside(r#""type":"linear""#), "rope_scaling.factor: expected a number, found none");
    refused(&inside(r#""type":"linear","factor":"4""#), "rope_scaling.factor: expected a number");
    refused(
        &inside(r#""type":"linear","factor":2.0,"partial_rotary_factor":0.5"#),
        "rope_scaling.partial_rotary_factor: expected 1",
    );
    refused(
        &format!(r#"{{{linear},"rope_parameters":{{"rope_type":"linear","factor":4.0}}}}"#),
        "rope_parameters: expected one scaling",
    );
    refused(
        r#"{"rope_scaling":null,"rope_parameters":{"rope_theta":7.0}}"#,
        "rope_theta: expected one number, found [7.0, 500000.0]",
    );
    let mixed = r#","model_type":"qwen2","use_sliding_window":true,"sliding_window":8,
        "max_window_layers":3"#;
    refused(
        &new(&format!("{nested}{mixed}")),
        "rope_parameters: expected the same for layers with and without a window",
    );
}

/// `config.json` of gemma-3-4b-it as it was published: the text part says little.
const WITH_VISION: &str = r#"{"architectures":["Gemma3ForConditionalGeneration"],
    "boi_token_index":255999,"eoi_token_index":256000,"eos_token_id":[1,106],
    "image_token_index":262144,"initializer_range":0.02,"mm_tokens_per_image":256,
    "model_type":"gemma3","text_config":{"hidden_size":2560,"intermediate_size":10240,
    "model_type":"gemma3_text","num_hidden_layers":34,"rope_scaling":{"factor":8.0,
    "rope_type":"linear"},"sliding_window":1024},"torch_dtype":"bfloat16",
    "transformers_version":"4.50.0.dev0","vision_config":{"hidden_size":1152,"image_size":896,
    "intermediate_size":4304,"model_type":"siglip_vision_model"}}"#;

#[test]
fn the_text_part_of_a_model_with_vision_is_a_model() {
    let json: Value = serde_json::from_str(WITH_VISION).unwrap();
    let config = resolve(&json, None).unwrap();
    let found = &config.architecture;
    assert_eq!(
        (found.n_vocab, found.n_heads, found.n_kv_heads, found.head_size),
        (262_208, 8, 4, 256)
    );
    assert_eq!((found.n_positions_max, found.sliding_window), (131_072, Some(1024)));
    let full: Vec<usize> = (0..34).filter(|&layer_idx| found.window(layer_idx).is_none()).collect();
    assert_eq!(full, [5, 11, 17, 23, 29]);
    let (rope, window_rope) = (&found.family.rope, found.family.window_rope.as_ref().unwrap());
    assert_eq!((rope.theta, window_rope.theta), (1e6, 1e4));
    assert_eq!(rope.scaling, Some(RopeScaling::Linear { factor: 8.0 }));
    assert_eq!((&window_rope.scaling, found.family.attention_scale), (&None, 0.0625));
    assert!(found.family.tied_head);
    assert_eq!(config.tokens.eos, [1, 106]);
    let mut unknown = json.clone();
    unknown["audio_config"] = serde_json::json!({});
    let message = resolve(&unknown, None).map(drop).unwrap_err().to_string();
    assert!(message.contains("unknown key audio_config"), "{message}");
    let mut unknown = json;
    unknown["text_config"]["altup_num_inputs"] = 4.into();
    let message = resolve(&unknown, None).map(drop).unwrap_err().to_string();
    assert!(message.contains("unknown key text_config.altup_num_inputs"), "{message}");
}

#[test]
fn phi_rotates_a_part_by_what_stands_beside_its_rope() {
    // As Phi-4-mini-instruct has it, but for the lists' lengths.
    let json = serde_json::json!({"model_type": "phi3", "vocab_size": 200_064, "hidden_size": 96,
        "intermediate_size": 8192, "num_hidden_layers": 2, "num_attention_heads": 6,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "max_position_embeddings": 131_072,
        "original_max_position_embeddings": 4096, "partial_rotary_factor": 0.75, "rope_theta": 1e4,
        "rope_scaling": {"type": "longrope", "long_factor": [1, 2.5, 3, 4, 5, 6],
        "short_factor": [1, 1, 1, 1, 1, 1]}, "sliding_window": 262_144, "tie_word_embeddings": true,
        "attention_bias": false, "mlp_bias": false, "lm_head_bias": false, "full_attn_mod": 1,
        "interpolate_factor": 1, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "hidden_act": "silu"});
    let found = resolve(&json, None).unwrap().architecture;
    let Some(RopeScaling::LongRope { long, n_positions_original, magnitude, .. }) =
        &found.family.rope.scaling
    else {
        panic!("{:?}", found.family.rope);
    };
    assert_eq!((found.family.rope.n_rotated, long[1], *n_positions_original), (12, 2.5, 4096));
    assert!((magnitude - 1.190_238).abs() < 1e-6 && found.sliding_window.is_none());
    let refused = |key: &str, value: Value, expected: &str| {
        let mut json = json.clone();
        json[key] = value;
        let config = resolve(&json, None).unwrap();
        let message = config.check(Path::new("x")).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    refused("partial_rotary_factor", 0.5.into(), "factors of rope: expected 4 numbers");
    refused("partial_rotary_factor", 0.2.into(), "rotated part of a head: expected an even number");
}

/// A tiny qwen2 with these tensors beside those of its body, and more files.
fn tiny_folder(config: &Value, more: &[(&str, &[f32])], files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut json = serde_json::json!({"model_type": "qwen2", "vocab_size": 4, "hidden_size": 4,
        "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "tie_word_embeddings": true});
    for (key, value) in config.as_object().unwrap() {
        json[key] = value.clone();
    }
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write(CONFIG_FILE, json.to_string().as_bytes());
    write("tokenizer.json", br#"{"model":{"vocab":{"a":0,"</s>":3}}}"#);
    files.iter().for_each(|(name, text)| write(name, text.as_bytes()));
    let architecture = resolve(&json, None).unwrap().architecture;
    let tensors = architecture.expected_tensors().map(|(name, shape)| {
        let n_elements = shape.iter().product::<usize>();
        (name, shape, (0..n_elements).map(|index| index as f32).collect::<Vec<f32>>())
    });
    let more = more
        .iter()
        .map(|(name, values)| ((*name).to_owned(), vec![4, values.len() / 4], values.to_vec()));
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors.chain(more) {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({"dtype": "F32", "shape": shape,
            "data_offsets": [start, data.len()]});
        header.insert(name, entry);
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    write("model.safetensors", &[&length[..], header.as_bytes(), &data].concat());
    folder
}

const NO_KEYS: &str = "{}";

#[test]
fn an_own_head_beside_the_flag_of_a_tied_one_is_the_head() {
    let check = |config: Value, head: &[f32], is_tied: bool| {
        let folder = tiny_folder(&config, &[(Transformer::HEAD, head)], &[]);
        let checkpoint = open(folder.path()).unwrap();
        assert_eq!(checkpoint.architecture.family.tied_head, is_tied);
        assert_eq!(checkpoint.head().unwrap().to_f32(), head);
    };
    let embedding: Vec<f32> = (0..16).map(|index| index as f32).collect();
    check(serde_json::json!({}), &embedding, true);
    let mut own = embedding;
    own[15] += 1.0;
    check(serde_json::json!({}), &own, false);
    let folder = tiny_folder(&serde_json::json!({}), &[], &[]);
    assert!(open(folder.path()).unwrap().architecture.family.tied_head);
    // A head of another size is none that was tied.
    let folder = tiny_folder(&serde_json::json!({}), &[(Transformer::HEAD, &[0.0; 20])], &[]);
    let message = open(folder.path()).map(drop).unwrap_err().to_string();
    assert!(
        message.contains("shape of lm_head.weight: expected [4, 4], found [4, 5]"),
        "{message}"
    );
}

#[test]
fn an_end_that_only_the_tokenizer_names_ends_answers() {
    let check = |config: &str, files: &[(&str, &str)], expected: &[u32]| {
        let config: Value = serde_json::from_str(config).unwrap();
        let folder = tiny_folder(&config, &[], files);
        assert_eq!(open(folder.path()).unwrap().tokens.eos, expected, "{files:?}");
    };
    let named = ("tokenizer_config.json", r#"{"eos_token":"</s>"}"#);
    check(NO_KEYS, &[named], &[3]);
    check(NO_KEYS, &[("special_tokens_map.json", r#"{"eos_token":"</s>"}"#)], &[3]);
    check(r#"{"eos_token_id":1}"#, &[named], &[1]);
    check(NO_KEYS, &[named, (GENERATION_FILE, r#"{"eos_token_id":[2]}"#)], &[2]);
    check(NO_KEYS, &[], &[]);
}

#[test]
fn prompts_with_tools_keep_a_template_of_their_own() {
    let check = |files: &[(&str, &str)], default: Option<&str>, tools: Option<&str>| {
        let folder = tiny_folder(&serde_json::json!({}), &[], files);
        let text = open(folder.path()).unwrap().text;
        assert_eq!(text.chat_template.as_deref(), default, "{files:?}");
        assert_eq!(text.tool_template.as_deref(), tools, "{files:?}");
    };
    let named = r#"{"chat_template":[{"name":"tool_use","template":"b"},
        {"name":"default","template":"a"}]}"#;
    let file = ("chat_template.jinja", "c");
    check(&[("tokenizer_config.json", named)], Some("a"), Some("b"));
    check(&[("tokenizer_config.json", named), file], Some("c"), None);
    check(&[file, ("additional_chat_templates/tool_use.jinja", "d")], Some("c"), Some("d"));
    check(&[("tokenizer_config.json", r#"{"chat_template":"a"}"#)], Some("a"), None);
}

#[test]
fn text_files_of_another_form_are_refused() {
    let check = |file: (&str, &str), expected: &str| {
        let folder = tiny_folder(&serde_json::json!({}), &[], &[file]);
        let message = open(folder.path()).map(drop).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    let config = "tokenizer_config.json";
    check((config, "[]"), "tokenizer_config.json: contents: expected an object, found []");
    check(
        (GENERATION_FILE, "[1]"),
        "generation_config.json: contents: expected an object, found [1]",
    );
    let template = "chat_template: expected a text, or a list of named ones, found ";
    check((config, r#"{"chat_template":5}"#), &format!("{template}5"));
    check(
        (config, r#"{"chat_template":[{"name":"a"}]}"#),
        &format!("{template}[{{\"name\":\"a\"}}]"),
    );
    let folder = tiny_folder(&serde_json::json!({}), &[], &[(config, r#"{"chat_template":null}"#)]);
    assert_eq!(open(folder.path()).unwrap().text.chat_template, None);
}

#[test]
fn a_padding_id_outside_of_the_vocabulary_is_left_out() {
    let ids = serde_json::json!({"pad_token_id": 4, "unk_token_id": 9, "eos_token_id": 3});
    let checkpoint = open(tiny_folder(&ids, &[], &[]).path()).unwrap();
    assert_eq!((checkpoint.tokens.pad, checkpoint.unk), (None, None));
    assert_eq!(checkpoint.tokens.eos, [3]);
    // An end that no token can be would leave answers without one.
    let ids = serde_json::json!({"eos_token_id": 4});
    let message = open(tiny_folder(&ids, &[], &[]).path()).map(drop).unwrap_err().to_string();
    assert!(message.contains("eos_token_id: expected an id below"), "{message}");
}

#[test]
fn weights_that_something_beside_them_changes_or_doubles_are_refused() {
    let check = |files: &[(&str, &str)], expected: &str| {
        let folder = tiny_folder(&serde_json::json!({}), &[], files);
        let message = open(folder.path()).map(drop).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for name in ["model.safetensors", "tokenizer.json"] {
        let folder = tiny_folder(&serde_json::json!({}), &[], &[]);
        std::fs::write(folder.path().join(name), pointer).unwrap();
        let error = open(folder.path()).map(drop).unwrap_err();
        let mut causes =
            std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        assert!(causes.any(|cause| cause.to_string().contains("`git lfs pull`")), "{error:?}");
    }
    check(
        &[(ADAPTER_FILE, "{}")],
        "adapter: expected none beside the weights that it changes, found adapter_config.json",
    );
    let index = r#"{"weight_map":{"a":"model-00001-of-00001.safetensors"}}"#;
    check(
        &[("model.safetensors.index.json", index)],
        "both model.safetensors and model.safetensors.index.json",
    );
}

#[test]
fn biases_are_where_configuration_and_tensors_agree() {
    let check = |changes: &str, is_stored: bool| {
        let mut json = old();
        json["attention_bias"] = serde_json::from_str(changes).unwrap();
        let config = ConfigJson::new(Path::new("config.json"), &json).unwrap();
        let config = config.resolve(None, &|name| is_stored && name.ends_with(".bias"));
        config.map(|config| config.architecture.family.biases.qkv)
    };
    assert!(check("null", true).unwrap() && !check("null", false).unwrap());
    assert!(check("true", true).unwrap() && check("true", false).unwrap());
    assert!(!check("false", false).unwrap());
    let message = check("false", true).unwrap_err().to_string();
    assert!(message.contains("attention_bias: expected true, or no bias, found"), "{message}");
}

#[test]
fn configs_that_cannot_be_exported_are_refused_with_the_cause() {
    let check = |key: &str, value: Value, expected: &str| {
        let mut json = old();
        json[key] = value;
        let message = resolve(&json, None).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    check("model_type", "gemma3".into(), "text_config: expected an object, found none");
    check(
        "model_type",
        "falcon".into(),
        "expected llama, mistral, mixtral, qwen2, qwen3, qwen3_moe",
    );
    check("hidden_act", "gelu".into(), "hidden_act: expected silu, found gelu");
    check("partial_rotary_factor", 0.5.into(), "expected 1, found 0.5");
    check("quantization_config", serde_json::json!({}), "found quantised weights");
    let gptq = serde_json::json!({ "quant_method": "gptq", "bits": 4 });
    check("quantization_config", gptq, "expected f32, f16 or bf16 weights, found weights in gptq");
    check("hidden_size", "64".into(), "expected a whole number from 0 on, found \"64\"");
    check("eos_token_id", "</s>".into(), "eos_token_id: expected a token id");
    let other = serde_json::json!({ "rope_type": "axial", "factor": 4.0 });
    let types =
        "rope_type: expected default, linear, llama3, yarn, longrope or dynamic, found axial";
    check("rope_scaling", other, types);
}
