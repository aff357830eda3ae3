//! Ten thousand damaged GGUF checkpoints and as many damaged configurations: each is opened or
//! refused, quickly and within its memory.

use std::hint::black_box;
use std::path::Path;

use lapwing_weights::Checkpoint;

use crate::{gguf_file, hostile};

const N_MUTATIONS: usize = 10_000;
/// What opening a checkpoint may hold beside four times the mutated file: the fixed parts of a
/// `tokenizer.json` made of JSON values, or the other files of the folder.
const ALLOWANCE: usize = 32 * 1024;

/// Everything that an open checkpoint offers.
fn read(path: &Path) {
    let Ok(checkpoint) = Checkpoint::open(path) else { return };
    for name in checkpoint.tensor_names() {
        let tensor = checkpoint.tensor(&name).expect("every expected tensor was found");
        black_box((tensor.dtype_name(), tensor.shape));
    }
    black_box(checkpoint.head_rows(0..1).expect("there is a head"));
    // Its length is that of a head, which a stored matrix bounds.
    let family = &checkpoint.architecture.family;
    let ropes = std::iter::once(&family.rope).chain(&family.window_rope);
    ropes.for_each(|rope| drop(black_box((rope.inverse_frequencies(), rope.long_frequencies()))));
}

#[test]
fn mutated_ggufs_neither_panic_nor_hang_nor_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    for (architecture, model) in
        [("llama", "gpt2"), ("llama", "llama"), ("qwen2", "gpt2"), ("qwen3", "gpt2")]
    {
        let mut file = gguf_file::small(architecture);
        file.string("tokenizer.ggml.model", model)
            .f32s("tokenizer.ggml.scores", &[0.0, -1.0, -2.0, 0.0, 0.0, 0.0])
            .f32(&format!("{architecture}.rope.scaling.factor"), 2.0)
            .tensor("rope_freqs.weight", &[2], &[1.0, 7.0]);
        let seed_file = std::fs::read(file.write(folder.path())).unwrap();
        let n = N_MUTATIONS / 4;
        let name = "mutated.gguf";
        hostile::check_mutations_within(ALLOWANCE, folder.path(), name, &seed_file, n, read);
        assert!(Checkpoint::open(&file.write(folder.path())).is_ok(), "{architecture} {model}");
    }
}

const CONFIG: &str = r#"{"model_type":"qwen2","vocab_size":6,"hidden_size":4,"intermediate_size":6,
    "num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":2,
    "hidden_act":"silu","max_position_embeddings":64,"rms_norm_eps":1e-06,"rope_theta":10000.0,
    "rope_scaling":{"type":"llama3","rope_type":"llama3","factor":2.0,"low_freq_factor":1.0,
    "high_freq_factor":4.0,"original_max_position_embeddings":32},"sliding_window":16,
    "use_sliding_window":true,"max_window_layers":0,"tie_word_embeddings":true,
    "partial_rotary_factor":1.0,"bos_token_id":1,"eos_token_id":[2,3],"pad_token_id":null}"#;

/// The tensors of [`CONFIG`], all zeros.
fn weights() -> Vec<u8> {
    let layer = "model.layers.0.";
    let tensors = [
        ("model.embed_tokens.weight".to_owned(), vec![6, 4]),
        ("model.norm.weight".to_owned(), vec![4]),
        (format!("{layer}input_layernorm.weight"), vec![4]),
        (format!("{layer}post_attention_layernorm.weight"), vec![4]),
        (format!("{layer}self_attn.q_proj.weight"), vec![4, 4]),
        (format!("{layer}self_attn.q_proj.bias"), vec![4]),
        (format!("{layer}self_attn.k_proj.weight"), vec![2, 4]),
        (format!("{layer}self_attn.k_proj.bias"), vec![2]),
        (format!("{layer}self_attn.v_proj.weight"), vec![2, 4]),
        (format!("{layer}self_attn.v_proj.bias"), vec![2]),
        (format!("{layer}self_attn.o_proj.weight"), vec![4, 4]),
        (format!("{layer}mlp.gate_proj.weight"), vec![6, 4]),
        (format!("{layer}mlp.up_proj.weight"), vec![6, 4]),
        (format!("{layer}mlp.down_proj.weight"), vec![4, 6]),
    ];
    let mut n_bytes = 0;
    let entries = tensors.iter().map(|(name, shape): &(String, Vec<usize>)| {
        let start = n_bytes;
        n_bytes += 4 * shape.iter().product::<usize>();
        let rest = format!("\"shape\":{shape:?},\"data_offsets\":[{start},{n_bytes}]");
        format!("\"{name}\":{{\"dtype\":\"F32\",{rest}}}")
    });
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let mut bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    bytes.resize(bytes.len() + n_bytes, 0);
    bytes
}

/// A folder with [`CONFIG`] and all that belongs to it.
fn hugging_face_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let vocabulary = br#"{"model":{"type":"BPE","vocab":{"a":0,"b":5},"merges":[]}}"#;
    for (name, bytes) in [
        ("config.json", CONFIG.as_bytes()),
        ("model.safetensors", &weights()),
        ("tokenizer.json", vocabulary),
        ("tokenizer_config.json", b"{}"),
    ] {
        std::fs::write(folder.path().join(name), bytes).expect("the folder is writable");
    }
    folder
}

#[test]
fn mutated_configurations_neither_panic_nor_hang_nor_fill_the_memory() {
    let folder = hugging_face_folder();
    Checkpoint::open(folder.path()).unwrap();
    let (path, name) = (folder.path(), "config.json");
    let config = CONFIG.as_bytes();
    hostile::check_mutations_within(ALLOWANCE, path, name, config, N_MUTATIONS, |_| read(path));
}

#[test]
fn a_claim_of_two_billion_layers_allocates_nothing_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = gguf_file::small("llama");
    let gguf = file.u32("llama.block_count", 2_000_000_000).write(folder.path());
    let hugging_face = hugging_face_folder();
    let claim = CONFIG.replace("_layers\":1,", "_layers\":2000000000,");
    assert_ne!(claim, CONFIG);
    std::fs::write(hugging_face.path().join("config.json"), claim).unwrap();
    for path in [gguf.as_path(), hugging_face.path()] {
        let mut message = String::new();
        let peak = hostile::peak_allocation(|| {
            message = Checkpoint::open(path).unwrap_err().to_string();
        });
        assert!(message.contains("has no tensor"), "{message}");
        assert!(peak < ALLOWANCE, "{peak}");
    }
}

#[test]
fn a_list_of_numbers_in_place_of_tokens_reserves_no_table() {
    // A table for as many texts would be four times the file, a map from them far more.
    let folder = tempfile::tempdir().unwrap();
    let mut file = gguf_file::small("llama");
    file.i32s("tokenizer.ggml.tokens", &[7; 1_000_000]);
    let path = file.write(folder.path());
    let n_bytes = std::fs::metadata(&path).unwrap().len() as usize;
    let peak = hostile::peak_allocation(|| assert!(Checkpoint::open(&path).is_err()));
    assert!(peak < n_bytes, "{peak} for {n_bytes}");
}
