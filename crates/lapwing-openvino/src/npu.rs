//! What an NPU asks of a model, and its fixed sizes.
//!
//! OpenVINO runs language models on an NPU by a layer of its own, NPUW: it makes one graph of fixed
//! shapes for prompts and one for single tokens, and keeps the state between them itself. The same
//! layer runs with the CPU in the NPU's place: [`DeviceKind::NpuOnCpu`].

use std::sync::Arc;

use lapwing_backend::{Device, DeviceKind, Limits, OpenError, OpenOptions};
use lapwing_formats::ir::{Constant, ElementType, IrModel, WeightCompression};
use lapwing_model::ModelFolder;

use crate::NAME;
use crate::graph::{Graph, TokenInput};
use crate::native::{Core, NativeError};
use crate::states::StateKind;

/// Positions when nobody says: every one of them takes memory from the start.
const N_POSITIONS: usize = 2048;

/// Families whose windows NPUW makes right itself, when optimum-intel exported them (OpenVINO
/// 2026.4.1, found by comparing with the CPU; `tests/it/npu.rs`).
const WINDOWS_MADE_RIGHT: [&str; 3] = ["gemma3", "gemma3_text", "gpt_oss"];

/// What an NPU takes, as OpenVINO documents it for language models.
const WEIGHTS: &str = "symmetric int4 in groups of 128 or per channel";

/// What NPUW unpacks on a CPU.
const WEIGHTS_ON_CPU: &str =
    "int4 of matrices, not of experts, in rows or in groups of a multiple of 64, or int8";

/// The test device: no library lists it.
pub(crate) fn on_cpu() -> Device {
    Device {
        kind: DeviceKind::NpuOnCpu,
        id: "NPU:CPU".to_owned(),
        name: "the NPU path on the CPU (test device)".to_owned(),
    }
}

/// Whether the device runs models by NPUW.
pub(crate) fn is_npu(device: &Device) -> bool {
    matches!(device.kind, DeviceKind::Npu | DeviceKind::NpuOnCpu)
}

/// The sizes that a compilation for an NPU fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Most tokens that start a sequence.
    pub(crate) n_prompt_tokens_max: usize,
    /// Most positions of a sequence.
    pub(crate) n_positions_max: usize,
}

impl Sizes {
    /// The sizes that `options` mean for a model with room for `n_model` positions. Where only one
    /// is given, half of the positions are for the prompt.
    pub(crate) fn of(options: &OpenOptions, n_model: usize) -> Sizes {
        let asked = options.n_prompt_tokens_max;
        // A long prompt that was asked for makes room for an answer as long.
        let roomy = N_POSITIONS.max(asked.unwrap_or(0).saturating_mul(2));
        let n_positions_max = options.n_positions_max.unwrap_or(roomy).min(n_model).max(1);
        let n_prompt_tokens_max = asked.unwrap_or(n_positions_max.div_ceil(2));
        Sizes {
            n_prompt_tokens_max: n_prompt_tokens_max.clamp(1, n_positions_max),
            n_positions_max,
        }
    }

    /// What a sequence can do: its prompt goes in at once, and behind it every token alone.
    pub(crate) fn limits(self) -> Limits {
        Limits {
            n_positions_max: self.n_positions_max,
            n_chunk_tokens_max: self.n_prompt_tokens_max,
            n_prompt_tokens_max: Some(self.n_prompt_tokens_max),
            n_follow_tokens_max: 1,
            n_scored_tokens_max: 1,
            n_positions_switch: None,
            can_rewind: false,
            can_score: true,
        }
    }

    /// Answer tokens that NPUW must make room for: it holds one position less than both together.
    fn n_response_tokens(self) -> usize {
        self.n_positions_max + 1 - self.n_prompt_tokens_max
    }
}

/// The properties of a compilation for an NPU, or for the CPU in its place. They must go with the
/// compilation: set on the library's core they are accepted and have no effect.
pub(crate) fn properties(kind: DeviceKind, sizes: Sizes) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("NPU_USE_NPUW", "YES".to_owned()),
        ("NPUW_LLM", "YES".to_owned()),
        ("NPUW_LLM_BATCH_DIM", "0".to_owned()),
        ("NPUW_LLM_SEQ_LEN_DIM", "2".to_owned()),
        ("NPUW_LLM_MAX_PROMPT_LEN", sizes.n_prompt_tokens_max.to_string()),
        ("NPUW_LLM_MIN_RESPONSE_LEN", sizes.n_response_tokens().to_string()),
        // One device only: with a second one the library would change over without a word.
        ("NPUW_DEVICES", if kind == DeviceKind::NpuOnCpu { "CPU" } else { "NPU" }.to_owned()),
        ("NPUW_FALLBACK_EXEC", "NO".to_owned()),
    ];
    if kind == DeviceKind::NpuOnCpu {
        // NPUW's search for repeated blocks is made for an NPU; on the CPU it refuses models whose
        // blocks are small.
        properties.push(("NPUW_ONLINE_PIPELINE", "NONE".to_owned()));
        properties.extend(in_f32());
    }
    properties
}

/// What the CPU is told in an NPU's place: what differs from an NPU's f16 shall be NPUW's work. The CPU
/// itself would compute in bf16, with activations in 8 bits: a logit is then off by up to a tenth of
/// the largest.
fn in_f32() -> [(&'static str, String); 2] {
    [
        ("INFERENCE_PRECISION_HINT", "f32".to_owned()),
        ("DYNAMIC_QUANTIZATION_GROUP_SIZE", "0".to_owned()),
    ]
}

/// An entry object for the CPU in an NPU's place. What comes out of a cache for it computes as the CPU of
/// its entry object is told, whatever went with the compilation.
pub(crate) fn core_on_cpu() -> Result<Arc<Core>, NativeError> {
    let core = Core::new()?;
    core.set("CPU", &in_f32())?;
    Ok(Arc::new(core))
}

/// Refuse before the compilation, which may take minutes, what is known to fail after it.
///
/// # Errors
///
/// When the graph lacks an input that NPUW feeds, keeps states other than keys and values, or has
/// weights that an NPU cannot take, or when hidden states were asked for.
pub(crate) fn require_fit(
    folder: &ModelFolder,
    graph: &Graph,
    ir: &IrModel,
    options: &OpenOptions,
    device: &Device,
) -> Result<(), OpenError> {
    let long_context = |reason: String, n_positions_max: usize, found: usize| {
        let (backend, folder) = (NAME, folder.root.clone());
        OpenError::LongContext { backend, folder, reason, n_positions_max, found }
    };
    let unsupported = |reason: &str| OpenError::Unsupported {
        backend: NAME,
        folder: folder.root.clone(),
        reason: reason.to_owned(),
    };
    // LFM2's convolutions NPUW feeds and clears itself; Qwen3.5 it refuses, and Mamba, too.
    if !matches!(graph.states.kind, StateKind::Kv | StateKind::KvAndConvolutions) {
        return Err(unsupported(
            "an NPU runs models whose only state are keys and values, or convolutions beside them",
        ));
    }
    // NPUW takes such graphs, and gives wrong logits for Gemma 4's: up to a third of the largest.
    let TokenInput::Ids(input_ids) = &graph.tokens else {
        return Err(unsupported(
            "an NPU runs models that take token ids, and this one takes what another graph makes of \
             them (`inputs_embeds`)",
        ));
    };
    if let (Some(context), Some(prompt)) = (options.n_positions_max, options.n_prompt_tokens_max)
        && context < prompt
    {
        let reason = format!("prompts of {prompt} tokens do not fit a context of {context}");
        return Err(unsupported(&reason));
    }
    if options.hidden_states {
        return Err(unsupported("hidden states are not given on an NPU"));
    }
    let n_positions_max = Sizes::of(options, folder.architecture.n_positions_max).n_positions_max;
    if let Some(window) = wrong_window(folder, graph).filter(|&n| n < n_positions_max) {
        let reason = format!(
            "an NPU would mask its sliding window of {window} positions wrongly: expected a context \
             within the window, or an export whose mask counts positions"
        );
        return Err(long_context(reason, window, n_positions_max));
    }
    if let Some(n_switch) = graph.n_positions_switch.filter(|&n| n < n_positions_max) {
        let reason = format!(
            "it computes otherwise behind {n_switch} positions, and an NPU does not read a sequence \
             anew: expected a context of at most as many"
        );
        return Err(long_context(reason, n_switch, n_positions_max));
    }
    let position_ids = graph.position_ids.as_ref().map(|positions| &positions.input);
    // Where LFM2 counts positions itself, NPUW counts them for it.
    let needs_positions = graph.states.kind == StateKind::Kv || position_ids.is_some();
    let needed = [
        ("input_ids", Some(input_ids)),
        ("attention_mask", graph.attention_mask.as_ref()),
        ("position_ids", position_ids),
    ];
    for (name, input) in needed.into_iter().take(if needs_positions { 3 } else { 2 }) {
        if input.is_none_or(|input| input.is_i32) {
            let reason = format!("an NPU needs an input `{name}` of 64-bit integers");
            return Err(unsupported(&reason));
        }
    }
    let (found, expected) = match device.kind {
        DeviceKind::Npu => (ir.weight_compression().as_ref().and_then(unfit), WEIGHTS),
        _ => (unfit_on_cpu(ir.constants()), WEIGHTS_ON_CPU),
    };
    match found {
        Some(found) => Err(OpenError::UnfitWeights {
            backend: NAME,
            folder: folder.root.clone(),
            device: device.kind,
            found,
            expected,
        }),
        None => Ok(()),
    }
}

/// A sliding window that would be wrong in a longer context. NPUW keeps the past at one end of its cache and the new token
/// at the other: a mask that counts slots between them hides all of the past.
fn wrong_window(folder: &ModelFolder, graph: &Graph) -> Option<usize> {
    let shape = &folder.architecture;
    let is_right =
        graph.window_counts_positions || WINDOWS_MADE_RIGHT.contains(&shape.model_type.as_str());
    shape.sliding_window.filter(|_| !is_right)
}

/// How weights are quantised, when an NPU cannot take them so. Only codes of 4 bits are known to be
/// refused.
fn unfit(weights: &WeightCompression) -> Option<String> {
    let is_int4 = weights.mode.starts_with("int4") || weights.mode == "mxfp4";
    let fits = weights.mode == "int4_sym" && matches!(weights.group_size, Some(-1 | 128));
    (is_int4 && !fits).then(|| match weights.group_size {
        Some(-1) => format!("{} per channel", weights.mode),
        Some(group_size) => format!("{} in groups of {group_size}", weights.mode),
        None => format!("{} in groups of unknown size", weights.mode),
    })
}

/// The first codes of 4 bits that NPUW does not unpack on a CPU (OpenVINO 2026.4.1, which says so in
/// assertions, some of them in the first run only).
fn unfit_on_cpu<'a>(constants: impl IntoIterator<Item = Constant<'a>>) -> Option<String> {
    let is_int4 = |kind| matches!(kind, ElementType::I4 | ElementType::U4);
    constants.into_iter().filter(|constant| is_int4(constant.element_type)).find_map(|constant| {
        match *constant.dims {
            // One zero point for a group.
            [.., 1] => None,
            [_, _, _, _, ..] => Some("int4 of experts".to_owned()),
            [_, _, group_size] if group_size % 64 != 0 => {
                Some(format!("int4 in groups of {group_size}"))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lapwing_backend::{DeviceRequest, Precision};

    use super::*;

    fn options(n_positions_max: Option<usize>, n_prompt: Option<usize>) -> OpenOptions {
        OpenOptions {
            device: DeviceRequest::One(DeviceKind::Npu, None),
            n_threads: None,
            precision: Precision::Fast,
            n_positions_max,
            n_chunk_tokens: None,
            hidden_states: false,
            cache_folder: None,
            n_prompt_tokens_max: n_prompt,
            whole_prompts: false,
            properties: BTreeMap::new(),
        }
    }

    #[test]
    fn sizes_follow_what_was_asked_and_stay_within_the_model() {
        let check = |context, prompt, n_model, expected: (usize, usize)| {
            let sizes = Sizes::of(&options(context, prompt), n_model);
            assert_eq!((sizes.n_prompt_tokens_max, sizes.n_positions_max), expected);
            assert_eq!(
                sizes.n_prompt_tokens_max + sizes.n_response_tokens() - 1,
                sizes.n_positions_max
            );
        };
        check(None, None, 8192, (1024, 2048));
        check(None, None, 512, (256, 512));
        check(Some(100), None, 8192, (50, 100));
        check(Some(100), Some(90), 8192, (90, 100));
        check(Some(100), Some(200), 8192, (100, 100));
        check(None, Some(3000), 8192, (3000, 6000));
        check(None, Some(3000), 4000, (3000, 4000));
        check(Some(1), None, 8192, (1, 1));
    }

    #[test]
    fn an_npu_is_alone_and_what_is_asked_reaches_the_library() {
        let mut asked = options(None, Some(64));
        let mut told = |properties: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            asked.properties = properties.iter().map(owned).collect();
            let ours = properties_of(&asked);
            asked.with_properties(&ours, &[]).map(|told| {
                let owned = told.into_iter().map(|(name, value)| (name.to_owned(), value));
                owned.collect::<BTreeMap<String, String>>()
            })
        };
        let found = told(&[("NPUW_LLM_GENERATE_HINT", "BEST_PERF"), ("X", "1")]).unwrap();
        for (name, value) in [
            ("NPUW_DEVICES", "NPU"),
            ("NPUW_LLM_MAX_PROMPT_LEN", "64"),
            ("NPUW_LLM_MIN_RESPONSE_LEN", "1985"),
            ("NPUW_LLM_GENERATE_HINT", "BEST_PERF"),
            ("X", "1"),
        ] {
            assert_eq!(found[name], value, "{name}");
        }
        let refused = told(&[("NPUW_DEVICES", "NPU,CPU")]).unwrap_err();
        assert!(refused.starts_with("property NPUW_DEVICES is not free"), "{refused}");
    }

    fn properties_of(asked: &OpenOptions) -> Vec<(&'static str, String)> {
        properties(DeviceKind::Npu, Sizes::of(asked, 4096))
    }

    #[test]
    fn a_cpu_unpacks_matrices_in_whole_words() {
        let check = |element_type, dims: &[u64], expected: Option<&str>| {
            let constant =
                Constant { name: "w".into(), element_type, dims: dims.to_vec(), range: 0..0 };
            assert_eq!(unfit_on_cpu([constant]).as_deref(), expected, "{dims:?}");
        };
        check(ElementType::I4, &[8, 2, 128], None);
        check(ElementType::U4, &[8, 2, 64], None);
        check(ElementType::I4, &[8, 192], None);
        check(ElementType::U4, &[8, 2, 32], Some("int4 in groups of 32"));
        // Rows of such a length run in small models, and in others NPUW says what is wrong.
        check(ElementType::I4, &[8, 100], None);
        check(ElementType::I4, &[4, 8, 2, 128], Some("int4 of experts"));
        check(ElementType::U4, &[8, 2, 1], None);
        check(ElementType::I8, &[4, 8, 2, 32], None);
    }

    #[test]
    fn int4_weights_fit_only_as_openvino_documents_it() {
        let check = |mode: &str, group_size, expected: Option<&str>| {
            let weights = WeightCompression {
                mode: mode.to_owned(),
                group_size,
                ratio: None,
                backup_mode: None,
            };
            assert_eq!(unfit(&weights).as_deref(), expected, "{mode} {group_size:?}");
        };
        check("int4_sym", Some(128), None);
        check("int4_sym", Some(-1), None);
        check("int4_sym", Some(64), Some("int4_sym in groups of 64"));
        check("int4_sym", None, Some("int4_sym in groups of unknown size"));
        check("int4_asym", Some(128), Some("int4_asym in groups of 128"));
        check("int4_asym", Some(-1), Some("int4_asym per channel"));
        check("int8_asym", Some(-1), None);
        check("int8_sym", None, None);
    }
}
