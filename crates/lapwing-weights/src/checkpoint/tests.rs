use lapwing_model::{Biases, Family, RopeScaling};

use super::*;
use crate::gguf_file::{GgufFile, small};
use crate::shared::shared;

fn open(file: &GgufFile) -> Result<Checkpoint, OpenCheckpointError> {
    let folder = tempfile::tempdir().unwrap();
    Checkpoint::open(&file.write(folder.path()))
}

/// The first element of each row, divided by the row's length: which stored row it is.
fn stored_rows(checkpoint: &Checkpoint, name: &str) -> Vec<usize> {
    let tensor = checkpoint.tensor(name).unwrap();
    let n_columns = tensor.shape[1];
    tensor.to_f32().chunks(n_columns).map(|row| row[0] as usize / n_columns).collect()
}

#[test]
fn only_llama_files_interleave_the_rows_of_q_and_k() {
    let llama = open(&small("llama")).unwrap();
    let (q, k, v) = ("q_proj.weight", "k_proj.weight", "v_proj.weight");
    fn rows(checkpoint: &Checkpoint, name: &str) -> Vec<usize> {
        stored_rows(checkpoint, &format!("model.layers.0.self_attn.{name}"))
    }
    assert_eq!(rows(&llama, q), [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15]);
    assert_eq!(rows(&llama, k), [0, 2, 1, 3, 4, 6, 5, 7]);
    assert_eq!(rows(&llama, v), (0..8).collect::<Vec<_>>());
    for architecture in ["qwen2", "qwen3"] {
        let qwen = open(&small(architecture)).unwrap();
        assert_eq!(rows(&qwen, q), (0..16).collect::<Vec<_>>());
    }
}

#[test]
fn a_gguf_says_what_its_model_is() {
    let checkpoint = open(&small("qwen2")).unwrap();
    let family = Transformer {
        intermediate_size: 24,
        rms_epsilon: 1e-6,
        biases: Biases { qkv: true, ..Biases::default() },
        ..Transformer::plain(4)
    };
    let expected = Architecture {
        model_type: "qwen2".to_owned(),
        n_vocab: 6,
        n_layers: 1,
        n_heads: 4,
        n_kv_heads: 2,
        head_size: 4,
        hidden_size: 16,
        n_positions_max: 64,
        sliding_window: None,
        conv_cache_size: None,
        family,
    };
    assert_eq!(checkpoint.architecture, expected);
    // The second by its text.
    let tokens = SpecialTokens { bos: None, eos: vec![4, 5], pad: None };
    assert_eq!((checkpoint.tokens, checkpoint.unk), (tokens, None));

    let mut file = small("llama");
    file.f32("llama.rope.freq_base", 5e5)
        .u32("llama.attention.sliding_window", 32)
        .u32("tokenizer.ggml.bos_token_id", 3)
        .tensor("rope_freqs.weight", &[2], &[1.0, 7.0])
        .tensor("output.weight", &[6, 16], &[0.5; 96]);
    for (projection, n_rows) in [("q", 16), ("k", 8), ("v", 8)] {
        file.tensor(&format!("blk.0.attn_{projection}.bias"), &[n_rows], &vec![0.0; n_rows]);
    }
    let checkpoint = open(&file).unwrap();
    let family = &checkpoint.architecture.family;
    assert_eq!((family.rope.theta, checkpoint.tokens.bos), (5e5, Some(3)));
    // As in llama.cpp, where no layer of these architectures has a window.
    assert_eq!(checkpoint.architecture.sliding_window, None);
    assert_eq!(family.rope.scaling, Some(RopeScaling::Divisors(vec![1.0, 7.0])));
    assert!(family.biases.qkv && !family.tied_head);
    assert!(checkpoint.has("lm_head.weight") && !checkpoint.has("output.weight"));
    assert_eq!(checkpoint.tensor("lm_head.weight").unwrap().to_f32(), [0.5; 96]);
    for name in checkpoint.tensor_names() {
        checkpoint.tensor(&name).unwrap();
    }
}

#[test]
fn ggufs_that_cannot_be_exported_are_refused_with_the_cause() {
    let check = |change: &dyn Fn(&mut GgufFile) -> &mut GgufFile, expected: &str| {
        let mut file = small("llama");
        let message = open(change(&mut file)).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    check(
        &|f| f.string("general.architecture", "mamba"),
        "general.architecture: expected llama, qwen2, qwen3, qwen3moe, gpt-oss, gemma3",
    );
    check(&|f| f.without_tensor("blk.0.ffn_up.weight"), "has no tensor blk.0.ffn_up.weight");
    let norm = ("blk.0.attn_q_norm.weight", [4], [1.0; 4]);
    check(&|f| f.tensor(norm.0, &norm.1, &norm.2), "uses: blk.0.attn_q_norm.weight");
    check(
        &|f| f.tensor("blk.0.ffn_up.weight", &[16, 24], &[0.0; 384]),
        "shape of blk.0.ffn_up.weight: expected [24, 16], found [16, 24]",
    );
    check(&|f| f.u32("llama.block_count", 2), "has no tensor blk.1.");
    check(
        &|f| f.tensor("blk.0.attn_gate.bias", &[16], &[0.0; 16]),
        "no graph of a llama uses: blk.0.attn_gate.bias",
    );
    check(&|f| f.u32("llama.expert_count", 8), "llama.expert_used_count: expected a number");
    check(
        &|f| f.u32("llama.expert_count", 2).u32("llama.expert_used_count", 3),
        "experts: expected up to 65536, of which a token uses at least one, found 2, of which it uses 3",
    );
    check(
        &|f| f.u32("llama.expert_count", 2).u32("llama.expert_used_count", 1),
        "has no tensor blk.0.ffn_gate_inp.weight",
    );
    check(&|f| f.u32("llama.rope.dimension_count", 2), "expected 4, found 2");
    check(&|f| f.string("llama.rope.scaling.type", "dynamic"), "found \"dynamic\"");
    let yarn = |f: &mut GgufFile| {
        f.string("llama.rope.scaling.type", "yarn")
            .f32("llama.rope.scaling.factor", 4.0)
            .f32("llama.rope.scaling.yarn_attn_factor", 1.5)
            .clone()
    };
    let message = open(&yarn(&mut small("llama"))).unwrap_err().to_string();
    assert!(message.contains("yarn_attn_factor: expected 1.138629"), "{message}");
    check(
        &|f| {
            f.tensor("rope_factors_short.weight", &[2], &[1.0; 2]).tensor(
                "rope_factors_long.weight",
                &[2],
                &[0.0; 2],
            )
        },
        "factors of rope: expected 2 numbers other than 0",
    );
    check(&|f| f.f32("llama.rope.scaling.factor", -2.0), "rope factor: expected a positive");
    check(
        &|f| f.i32s("tokenizer.ggml.tokens", &[1; 100]),
        "tokenizer.ggml.tokens: expected a list of strings, found I32 x 100",
    );
    check(
        &|f| f.i32s("tokenizer.ggml.merges", &[1; 100]),
        "tokenizer.ggml.merges: expected a list of strings, found I32 x 100",
    );
    check(
        &|f| f.u32("tokenizer.ggml.eos_token_id", 6),
        "eos_token_id: expected an id below the vocabulary of 6, found 6",
    );
    check(
        &|f| f.u32("llama.context_length", 0),
        "number of positions: expected 1 to 2^31, found 0",
    );
    check(&|f| f.without_tensor("token_embd.weight"), "has no tensor token_embd.weight");
    check(&|f| f.u32("general.architecture", 5), "gemma2, found 5");
    check(&|f| f.u32("tokenizer.ggml.model", 5), "expected gpt2 or llama, found 5");
    check(&|f| f.u32("tokenizer.ggml.tokens", 5), "expected a list of strings, found 5");
    check(
        &|f| f.u32("tokenizer.chat_template", 5),
        "tokenizer.chat_template: expected text in UTF-8, found 5",
    );
    check(&|f| f.i32s("llama.attention.head_count_kv", &[2]), "one number, found a list of 1");
    check(&|f| f.string("tokenizer.ggml.pre", "viking"), "tokenizer.ggml.pre: expected smollm");
    check(&|f| f.string("tokenizer.ggml.model", "t5"), "expected gpt2 or llama, found t5");
    check(
        &|f| f.i32s("tokenizer.ggml.token_type", &[1]),
        "expected a list of 6, one for each token, found a list of 1",
    );
    check(&|f| f.tensor("rope_freqs.weight", &[3], &[1.0; 3]), "expected [2], found [3]");
    let tokens = |tokens: &[&str]| tokens.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
    check(
        &|f| f.strings("tokenizer.ggml.tokens", &tokens(&["a", "a"])),
        "each token once, found \"a\" twice",
    );
    check(
        &|f| {
            f.strings("tokenizer.ggml.tokens", &tokens(&["a", "b", "c", "d", "e", "f", "g"]))
                .i32s("tokenizer.ggml.token_type", &[1; 7])
        },
        "expected at most 6, the rows of the embedding, found 7",
    );
    check(
        &|f| f.u32("tokenizer.ggml.add_bos_token", 1),
        "tokenizer.ggml.add_bos_token: expected true or false, found 1",
    );
    check(
        &|f| f.strings("tokenizer.ggml.merges", &tokens(&["b a"])),
        "expected two tokens that make a third, found \"b a\"",
    );
}

/// A sentence-piece file whose tokens 1 and 2 are control tokens, without a key that names them.
fn sentence_piece() -> GgufFile {
    let mut file = small("llama");
    let tokens = ["<unk>", "<s>", "</s>", "a", "b", "<|eom_id|>"].map(str::to_owned);
    file.string("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &[2, 3, 3, 1, 1, 3])
        .f32s("tokenizer.ggml.scores", &[0.0; 6])
        .without("tokenizer.ggml.eos_token_id");
    file
}

#[test]
fn special_ids_that_no_key_names_are_those_that_llama_cpp_takes() {
    let check = |file: &GgufFile, bos: Option<u32>, eos: &[u32]| {
        let found = open(file).unwrap().tokens;
        assert_eq!((found.bos, found.eos.as_slice()), (bos, eos));
    };
    check(&sentence_piece(), Some(1), &[2, 5]);
    let start = open(&sentence_piece()).unwrap().text.tokenizer_json;
    let start: serde_json::Value = serde_json::from_slice(&start).unwrap();
    assert_eq!(start["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");
    let spaced = open(sentence_piece().u32("tokenizer.ggml.add_space_prefix", 1)).unwrap_err();
    assert!(spaced.to_string().contains("add_space_prefix: expected true or false"), "{spaced}");
    // What is named, and that there is none, is believed.
    check(sentence_piece().u32("tokenizer.ggml.eos_token_id", 5), Some(1), &[5]);
    check(sentence_piece().u32("tokenizer.ggml.bos_token_id", u32::MAX), None, &[2, 5]);
    check(sentence_piece().u32("tokenizer.ggml.eom_token_id", 5), Some(1), &[2, 5]);
    // A token that is an ordinary one is no start and no end.
    check(sentence_piece().i32s("tokenizer.ggml.token_type", &[2, 1, 1, 1, 1, 3]), None, &[5]);
    // Byte-level files: by the texts that llama.cpp knows.
    check(small("llama").without("tokenizer.ggml.eos_token_id"), None, &[4, 5]);
}

#[test]
fn an_answer_ends_where_its_turn_does_though_the_file_names_the_end_of_the_document_alone() {
    let check = |tokens: [&str; 3], expected: &[u32]| {
        let mut texts = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
        texts.extend(tokens.map(str::to_owned));
        let mut file = sentence_piece();
        file.strings("tokenizer.ggml.tokens", &texts)
            .i32s("tokenizer.ggml.token_type", &[2, 3, 3, 3, 3, 3])
            .u32("tokenizer.ggml.eos_token_id", 3);
        assert_eq!(open(&file).unwrap().tokens.eos, expected, "{tokens:?}");
    };
    // Phi-3 and Gemma 3 as they are converted; a chat model's end of a document ends answers, too.
    check(["<|endoftext|>", "<|end|>", "<|user|>"], &[3, 4]);
    check(["<eos>", "<start_of_turn>", "<end_of_turn>"], &[3, 5]);
    check(["<|im_end|>", "<|im_start|>", "<|endoftext|>"], &[3, 5]);
    // In an answer of gpt-oss a message ends, and another one follows.
    check(["<|return|>", "<|call|>", "<|end|>"], &[3, 4]);
    check(["<|return|>", "<|user|>", "<|end|>"], &[3, 5]);
}

#[test]
fn an_embedding_and_a_head_that_differ_by_rounding_alone_are_one_matrix() {
    // Scale 1, minimum -8: the codes 0 to 15.
    let halves = [0x00, 0x3c, 0x00, 0xc8];
    let codes: Vec<u8> = (0..16).map(|code| code | code << 4).collect();
    let block: [u8; 20] = [&halves[..], &codes].concat().try_into().unwrap();
    let row: Vec<f32> = (0..32).map(|column| (column % 16) as f32 - 8.0).collect();
    let open_with = |noise: f32, of_row: usize| {
        let mut file = small("llama");
        file.u32("llama.embedding_length", 32).q4_1("token_embd.weight", &[6, 32], block);
        let head = (0..6).flat_map(|row_idx| {
            let noise = if row_idx == of_row { noise } else { 0.4 };
            row.iter()
                .enumerate()
                .map(move |(idx, w)| w + if idx % 2 == 0 { noise } else { -noise })
        });
        file.tensor("output.weight", &[6, 32], &head.collect::<Vec<f32>>());
        file.tensor("output_norm.weight", &[32], &[1.0; 32]);
        for (name, shape) in [("attn_norm", vec![32]), ("ffn_norm", vec![32])]
            .into_iter()
            .chain(
                [("attn_q", 32), ("attn_k", 16), ("attn_v", 16), ("attn_output", 32)]
                    .map(|(name, n_rows)| (name, vec![n_rows, 32])),
            )
            .chain([
                ("ffn_gate", vec![24, 32]),
                ("ffn_up", vec![24, 32]),
                ("ffn_down", vec![32, 24]),
            ])
        {
            let n = shape.iter().product();
            file.tensor(&format!("blk.0.{name}.weight"), &shape, &vec![0.5; n]);
        }
        open(&file).unwrap()
    };
    let tied = open_with(0.4, 0);
    assert!(tied.architecture.family.tied_head && !tied.has("lm_head.weight"));
    // The finer one is the head's.
    let embedding = tied.tensor("model.embed_tokens.weight").unwrap();
    assert_eq!((embedding.dtype_name(), embedding.to_f32()[0]), ("F32".to_owned(), -7.6));
    let own = open_with(2.0, 5);
    assert!(!own.architecture.family.tied_head && own.has("lm_head.weight"));
    assert_eq!(own.tensor("model.embed_tokens.weight").unwrap().dtype_name(), "Q4_1");
}

#[test]
fn a_padding_id_outside_of_the_vocabulary_is_left_out() {
    let mut file = small("llama");
    file.u32("tokenizer.ggml.padding_token_id", 6).u32("tokenizer.ggml.unknown_token_id", 9);
    let checkpoint = open(&file).unwrap();
    assert_eq!((checkpoint.tokens.pad, checkpoint.unk), (None, None));
}

#[test]
fn a_file_without_a_pre_tokenizer_has_the_rule_of_its_family_or_none() {
    let words = |file: &GgufFile| -> serde_json::Value {
        let json = open(file).unwrap().text.tokenizer_json;
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        json["pre_tokenizer"].clone()
    };
    let pre = "tokenizer.ggml.pre";
    for architecture in ["qwen2", "qwen3"] {
        let found = words(small(architecture).without(pre));
        assert_eq!(found, words(small(architecture).string(pre, "qwen2")));
        assert_ne!(found, words(&small(architecture)));
    }
    let llama3 = || {
        let mut file = small("llama");
        let tokens = ["a", "b", "ab", "<s>", "</s>", "<|begin_of_text|>"].map(str::to_owned);
        file.strings("tokenizer.ggml.tokens", &tokens);
        file
    };
    assert_eq!(words(llama3().without(pre)), words(llama3().string(pre, "llama-bpe")));
    let message = open(small("llama").without(pre)).unwrap_err().to_string();
    assert!(message.contains("tokenizer.ggml.pre: expected smollm"), "{message}");
    assert!(message.ends_with("found none"), "{message}");
    // Names that mean the rule of another.
    for (name, same) in [("deepseek-r1-qwen", "qwen2"), ("smaug-bpe", "llama3"), ("mpt", "gpt-2")] {
        assert_eq!(
            words(small("qwen2").string(pre, name)),
            words(small("qwen2").string(pre, same))
        );
    }
}

#[test]
fn a_claim_of_two_billion_layers_is_refused_at_the_first_that_is_missing() {
    let mut file = small("llama");
    let error = open(file.u32("llama.block_count", 2_000_000_000)).unwrap_err();
    assert!(error.to_string().contains("has no tensor blk.1."), "{error}");
}

#[test]
fn linear_rope_needs_no_type_and_may_stand_under_its_old_key() {
    let check = |change: &dyn Fn(&mut GgufFile) -> &mut GgufFile, expected: Option<f32>| {
        let mut file = small("llama");
        let found = open(change(&mut file)).unwrap().architecture.family.rope.scaling;
        assert_eq!(found, expected.map(|factor| RopeScaling::Linear { factor }));
    };
    let (factor, old_factor) = ("llama.rope.scaling.factor", "llama.rope.scale_linear");
    check(&|f| f.f32(factor, 4.0), Some(4.0));
    check(&|f| f.f32(old_factor, 2.0), Some(2.0));
    check(&|f| f.f32(factor, 4.0).f32(old_factor, 2.0), Some(4.0));
    check(&|f| f.string("llama.rope.scaling.type", "linear").f32(old_factor, 2.0), Some(2.0));
    check(&|f| f.string("llama.rope.scaling.type", "none").f32(factor, 4.0), None);
    check(&|f| f.string("llama.rope.scaling.type", "linear"), None);
    check(&|f| f.f32(factor, 0.0), None);
    // The tensor of divisors does not hide the factor.
    let mut file = small("llama");
    file.f32(factor, 2.0).tensor("rope_freqs.weight", &[2], &[1.0, 7.0]);
    let found = open(&file).unwrap().architecture.family.rope.scaling;
    assert_eq!(found, Some(RopeScaling::Divisors(vec![2.0, 14.0])));
}

#[test]
fn pieces_that_can_be_cut_in_too_many_ways_are_refused() {
    let pieces: Vec<String> = (1..=60).map(|n| "a".repeat(n)).collect();
    let mut file = small("llama");
    file.string("tokenizer.ggml.model", "llama")
        .u32("tokenizer.ggml.eos_token_id", 0)
        .tensor("token_embd.weight", &[60, 16], &[0.0; 960])
        .strings("tokenizer.ggml.tokens", &pieces)
        .i32s("tokenizer.ggml.token_type", &[1; 60])
        .f32s("tokenizer.ggml.scores", &[0.0; 60]);
    let message = open(&file).unwrap_err().to_string();
    assert!(message.contains("at most 480 ways to cut pieces"), "{message}");
}

#[test]
fn texts_of_a_gguf_that_are_no_utf_8_are_shown_by_their_bytes() {
    let check = |change: &dyn Fn(&mut GgufFile, &str), expected: &str| {
        const TEXT: &str = "<a text that is none>";
        let mut file = small("llama");
        change(&mut file, TEXT);
        let folder = tempfile::tempdir().unwrap();
        let path = file.write(folder.path());
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(TEXT.len()).position(|part| part == TEXT.as_bytes()).unwrap();
        bytes[at] = 0xff;
        std::fs::write(&path, bytes).unwrap();
        let message = Checkpoint::open(&path).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    let found = r#"found "\xffa text that is none>""#;
    let of_key = |key: &'static str| {
        move |f: &mut GgufFile, text: &str| {
            f.string(key, text);
        }
    };
    check(&of_key("general.architecture"), &format!("gemma2, {found}"));
    check(&of_key("tokenizer.ggml.model"), &format!("expected gpt2 or llama, {found}"));
    check(&of_key("tokenizer.chat_template"), &format!("expected text in UTF-8, {found}"));
    let as_token = |f: &mut GgufFile, text: &str| {
        let tokens = ["a", text, "c", "d", "e", "f"].map(str::to_owned);
        f.strings("tokenizer.ggml.tokens", &tokens);
    };
    check(&as_token, &format!("expected UTF-8 text, {found} as token 1"));
}

#[test]
fn a_folder_that_is_no_checkpoint_is_told_by_its_files() {
    let check = |names: &[&str], expected: &str| {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), r#"{"model_type":"llama"}"#).unwrap();
        }
        let message = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(message.ends_with(expected), "{message:?} does not say {expected:?}");
    };
    check(&[], "found an empty folder");
    check(
        &["config.json", "other.safetensors"],
        "config.json and model.safetensors or model.safetensors.index.json, found config.json \
         beside other.safetensors",
    );
    check(&["config.json"], "found config.json alone");
    check(&["a", "b", "c", "d", "e"], "found a folder without config.json: a, b, c, d, …");
    let pytorch = "weights: expected safetensors or GGUF, found pytorch_model.bin";
    check(&["config.json", "pytorch_model.bin", "training_args.bin"], pytorch);
    check(
        &["params.json", "consolidated.00.pth"],
        "safetensors or GGUF, found consolidated.00.pth",
    );
    // Other files beside safetensors are nobody's.
    check(&["model.safetensors", "old.pth"], "without config.json: model.safetensors, old.pth");
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none");
    for path in [folder.path(), &missing] {
        let error = Checkpoint::open(path).unwrap_err();
        assert!(matches!(error, OpenCheckpointError::Unrecognised { .. }), "{error}");
    }
}

#[test]
fn a_file_that_is_no_gguf_is_told_by_its_readable_first_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let check = |bytes: &[u8], found: &str| {
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, bytes).unwrap();
        let message = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(message.contains("expected a GGUF file"), "{message}");
        assert!(message.ends_with(&format!("found {found}")), "{message}");
    };
    check(b"no model", "a file that begins with \"no model\"");
    check(
        b"PK\x03\x04 and more than is told",
        "a file that begins with \"PK\\x03\\x04 and more th\"",
    );
    check(b"", "an empty file");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    check(pointer, "a pointer of git lfs in its place: `git lfs pull` fetches the file");
}

#[test]
fn an_export_is_not_told_that_safetensors_are_missing() {
    for export in ["stories260k-ov-int8", "stories260k-ort-int4", "stories260k-transformersjs"] {
        let Some(folder) = shared(&format!("exports/{export}")) else { return };
        let error = Checkpoint::open(&folder).unwrap_err();
        assert!(matches!(error, OpenCheckpointError::AlreadyExported { .. }), "{error}");
        assert!(error.to_string().contains("is an export already"), "{error}");
    }
}

#[test]
fn a_hugging_face_folder_is_read() {
    let Some(folder) = shared("exports/stories260k-hf") else { return };
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let (found, family) = (&checkpoint.architecture, &checkpoint.architecture.family);
    assert_eq!((found.n_vocab, found.n_layers, found.head_size), (512, 5, 8));
    assert_eq!((found.n_heads, found.n_kv_heads, found.hidden_size), (8, 4, 64));
    let tokens = SpecialTokens { bos: Some(1), eos: vec![2], pad: Some(0) };
    assert_eq!(checkpoint.tokens, tokens);
    assert_eq!((family.rope.theta, family.rms_epsilon), (10_000.0, 1e-5));
    assert!(family.tied_head && !family.biases.qkv && !family.qk_norm);
    assert_eq!(checkpoint.tensor_names().len(), 2 + 5 * 9);
    for name in checkpoint.tensor_names() {
        let tensor = checkpoint.tensor(&name).unwrap();
        assert!(tensor.to_f32().iter().all(|element| element.is_finite()), "{name}");
        assert_eq!(tensor.dtype_name(), "F32");
    }
    assert!(!checkpoint.has("lm_head.weight"));
    assert_eq!(checkpoint.text.chat_template, None);
    assert_eq!(checkpoint.text.tokenizer_config["bos_token"], "<s>");
}

#[test]
fn a_real_model_is_the_same_from_gguf_and_from_safetensors() {
    let Some(folder) = shared("exports/stories260k-hf") else { return };
    let expected = Checkpoint::open(&folder).unwrap();
    let architecture = &expected.architecture;
    let mut file = GgufFile::default();
    file.string("general.architecture", "llama")
        .u32("llama.block_count", architecture.n_layers as u32)
        .u32("llama.context_length", architecture.n_positions_max as u32)
        .u32("llama.embedding_length", architecture.hidden_size as u32)
        .u32("llama.feed_forward_length", architecture.family.intermediate_size as u32)
        .u32("llama.attention.head_count", architecture.n_heads as u32)
        .u32("llama.attention.head_count_kv", architecture.n_kv_heads as u32)
        .f32("llama.attention.layer_norm_rms_epsilon", architecture.family.rms_epsilon)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2)
        .u32("tokenizer.ggml.padding_token_id", 0);
    gguf_text::tests::add_stories_tokenizer(&mut file, &expected.text.tokenizer_json);
    let family = Family::of_gguf("llama", false).unwrap();
    for (name, shape) in architecture.expected_tensors() {
        let mut values = expected.tensor(&name).unwrap().to_f32();
        if name.contains(".q_proj.") || name.contains(".k_proj.") {
            values = interleaved(&values, architecture.head_size, architecture.hidden_size);
        }
        file.tensor(&gguf::name_in_file(family, &name), &shape, &values);
    }
    let found = open(&file).unwrap();
    assert_eq!(found.architecture, *architecture);
    assert_eq!((&found.tokens, found.unk), (&expected.tokens, expected.unk));
    for name in architecture.expected_tensors().map(|(name, _)| name) {
        let (found, expected) = (found.tensor(&name).unwrap(), expected.tensor(&name).unwrap());
        assert_eq!(found.shape, expected.shape, "{name}");
        assert!(found.to_f32() == expected.to_f32(), "{name} differs");
    }
}

/// What the converter to GGUF does to q and k: each head's rows seen as [2, size / 2], transposed.
fn interleaved(values: &[f32], head_size: usize, n_columns: usize) -> Vec<f32> {
    let heads = values.chunks(head_size * n_columns);
    let rows = heads.flat_map(|head| {
        let (first, second) = head.split_at(head.len() / 2);
        first.chunks(n_columns).zip(second.chunks(n_columns)).flat_map(|(a, b)| [a, b])
    });
    rows.flatten().copied().collect()
}

#[test]
fn a_model_in_parts_is_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let file = small("qwen2");
    let whole = Checkpoint::open(&file.write(folder.path())).unwrap();
    let parts = file.write_parts(folder.path(), 3);
    for part in &parts {
        let found = Checkpoint::open(part).unwrap();
        assert_eq!(found.architecture, whole.architecture);
        assert_eq!(found.text, whole.text);
        for name in whole.tensor_names() {
            let [found, expected] = [&found, &whole].map(|one| one.tensor(&name).unwrap().to_f32());
            assert_eq!(found, expected, "{name}");
        }
        // Of all files, so that what was calibrated with them knows them again.
        let mut hashed = Vec::new();
        let on_bytes = &mut |path: &Path, _| hashed.push(path.to_owned());
        found.sha256(on_bytes, &|| false).unwrap();
        hashed.dedup();
        assert_eq!(hashed, parts);
    }
    std::fs::remove_file(&parts[1]).unwrap();
    let error = Checkpoint::open(&parts[0]).unwrap_err().to_string();
    assert!(error.contains("missing beside it: model-00002-of-00003.gguf"), "{error}");
}

#[test]
fn biases_of_experts_that_lie_in_blocks_are_refused() {
    let mut file = small("gpt-oss");
    let open = |file: &GgufFile| open(file).map(drop).map_err(|error| error.to_string());
    open(&file).unwrap();
    let blocks = [127; 17].repeat(2);
    file.mxfp4("blk.0.ffn_up_exps.bias", &[2, 32], blocks);
    let message = open(&file).unwrap_err();
    assert!(message.contains("type of blk.0.ffn_up_exps.bias: expected floats"), "{message}");
}
