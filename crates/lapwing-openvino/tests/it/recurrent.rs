//! Models with states that do not grow: Mamba, and convolutions and linear attention beside a KV
//! cache.

use std::path::Path;

use lapwing_backend::conformance::{
    PROMPT, Tolerance, agrees_with_golden, close, exact_options, golden_case,
    hidden_states_make_the_logits,
};
use lapwing_backend::{Backend as _, OpenOptions, Precision, RewindError};
use lapwing_formats::safetensors::SafeTensors;

use crate::{export_conforms, open, setup};

const MAMBAS: [&str; 3] = ["storymamba-ov-fp32", "storymamba-ov-int8", "storymamba-ov-int4"];
const HYBRIDS: [&str; 5] = [
    "tiny/tiny-lfm2-ov_int4",
    "tiny/tiny-lfm2-ov_int8",
    "../exports-next/tiny-qwen3_5-ov_int4",
    "../exports-next/tiny-qwen3_5-ov_int8",
    "../exports-next/tiny-qwen3_5_vlm-ov_int8",
];

#[test]
fn a_mamba_in_fp32_conforms() {
    export_conforms(MAMBAS[0]);
}

#[test]
fn a_mamba_in_int4_conforms() {
    export_conforms(MAMBAS[2]);
}

#[test]
fn lfm2_in_int4_conforms() {
    export_conforms(HYBRIDS[0]);
}

#[test]
fn lfm2_in_int8_conforms() {
    export_conforms(HYBRIDS[1]);
}

#[test]
fn qwen3_5_in_int4_conforms() {
    export_conforms(HYBRIDS[2]);
}

#[test]
fn a_recurrent_model_goes_back_to_its_start_and_nowhere_else() {
    let Some((exports, backend)) = setup() else { return };
    // Of Mamba four layers of 256 channels, each with a window of 4 and 16 states; of LFM2 the
    // keys and values of one layer, two heads of 16 each, of Qwen3.5 two heads of 64.
    for (name, n_follow_tokens_max, per_position, per_decoder) in [
        (MAMBAS[0], 1, 0, Some(4 * 256 * (4 + 16) * 4)),
        (HYBRIDS[0], 4096, 2 * 2 * 16 * 4, None),
        (HYBRIDS[2], 4096, 2 * 2 * 64 * 4, None),
    ] {
        let model = backend.open(&open(&exports.join(name)), &exact_options()).expect(name);
        assert!(!model.limits().can_rewind);
        assert_eq!(model.limits().n_follow_tokens_max, n_follow_tokens_max);
        assert_eq!(model.memory().state_bytes_per_position, Some(per_position));
        assert_eq!(model.memory().state_bytes_per_decoder, per_decoder);
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
}

/// `scripts/make_mamba_fixture.py` makes the reference, in f64. The export's way to compute a prompt at
/// once would make the surprise 1.28 instead of 1.22.
#[test]
fn a_long_text_is_scored_as_the_checkpoint_scores_it() {
    let Some((exports, backend)) = setup() else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/storymamba.json");
    let text = std::fs::read(file).expect("the reference");
    let reference: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let case = golden_case(&reference["prompt_ids"], &reference);
    let folder = open(&exports.join(MAMBAS[0]));
    let model = backend.open(&folder, &exact_options()).expect("it opens");
    agrees_with_golden(&*model, &case, Tolerance::Absolute(1e-3));
    let (ids, mut sum) = (&case.prompt_ids, 0.0);
    let mut add = |row: lapwing_backend::Row<'_>| {
        let Some(&next) = ids.get(row.token_idx + 1) else { return };
        let logits = row.logits.iter().map(|&logit| f64::from(logit));
        sum += logits.map(f64::exp).sum::<f64>().ln() - f64::from(row.logits[next as usize]);
    };
    model.decoder().expect("a decoder").score(ids, &mut add).expect("a score");
    let (found, expected) = (sum / (ids.len() - 1) as f64, &reference["mean_surprise_nats"]);
    let expected = expected.as_f64().expect("a number");
    assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
}

#[test]
fn a_long_prompt_is_the_same_in_any_pieces() {
    let Some((exports, backend)) = setup() else { return };
    let prompt: Vec<u32> = (0..300).map(|n| 3 + n * 7 % 440).collect();
    // What is computed in bf16 by default is right in 8 bits of a logit of about 30.
    for (name, precision, allowed) in [
        (MAMBAS[0], Precision::Exact, 2e-3),
        (MAMBAS[1], Precision::Fast, 2e-3),
        (HYBRIDS[0], Precision::Exact, 2e-3),
        (HYBRIDS[1], Precision::Fast, 0.2),
        (HYBRIDS[2], Precision::Exact, 1e-4),
        (HYBRIDS[3], Precision::Exact, 1e-4),
        (HYBRIDS[4], Precision::Exact, 1e-4),
    ] {
        let options = OpenOptions { precision, ..exact_options() };
        let model = backend.open(&open(&exports.join(name)), &options).expect(name);
        let mut expected = vec![0.0; model.n_vocab()];
        model.decoder().expect("a decoder").step(&prompt, &mut expected).expect("a step");
        for n_tokens in [1, 97] {
            let mut decoder = model.decoder().expect("a decoder");
            let mut found = vec![0.0; model.n_vocab()];
            for piece in prompt.chunks(n_tokens) {
                decoder.step(piece, &mut found).expect("a step");
            }
            close(&found, &expected, allowed, &format!("{name}, pieces of {n_tokens}"));
        }
    }
}

#[test]
fn the_logits_of_a_state_space_are_the_head_times_the_hidden_states() {
    let Some((exports, backend)) = setup() else { return };
    let checkpoint = SafeTensors::open(&exports.join("storymamba-hf")).expect("the checkpoint");
    let embedding = checkpoint.tensor("backbone.embeddings.weight").expect("it is tied");
    let (entries, _) = embedding.bytes.as_chunks::<4>();
    let head: Vec<f32> = entries.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let options = OpenOptions { hidden_states: true, ..exact_options() };
    let model = backend.open(&open(&exports.join(MAMBAS[0])), &options).expect("it opens");
    hidden_states_make_the_logits(&*model, &PROMPT, &head, 1e-3);
}

#[test]
fn states_that_are_not_understood_are_refused_by_name() {
    let Some((exports, backend)) = setup() else { return };
    let copy = std::env::temp_dir().join(format!("lapwing-states-{}", std::process::id()));
    std::fs::create_dir_all(&copy).expect("a folder");
    for (name, from, to, expected) in [
        (MAMBAS[0], "cache_params.past.ssm.2", "cache_params.past.wkv.2", "past.wkv.2"),
        (HYBRIDS[0], "cache_params.past.conv.", "cache_params.past.ssm.", "past.ssm."),
        (HYBRIDS[2], "cache_params.past.ssm.1", "cache_params.past.wkv.1", "past.wkv.1"),
    ] {
        let real = exports.join(name);
        for name in ["config.json", "openvino_model.bin"] {
            std::fs::write(copy.join(name), std::fs::read(real.join(name)).expect("a file"))
                .expect("a copy");
        }
        let xml = std::fs::read_to_string(real.join("openvino_model.xml")).expect("the graph");
        std::fs::write(copy.join("openvino_model.xml"), xml.replace(from, to)).expect("the graph");
        let error = backend.open(&open(&copy), &exact_options()).map(drop);
        let error = error.expect_err("it is refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    std::fs::remove_dir_all(&copy).expect("the folder goes");
}
