//! What commands say beside their results where that names a flag.

use lapwing_backend::DeviceKind;

use crate::cli::choice::{BackendChoice, Precision};
use crate::printer::human_bytes;
use crate::settings::{self, Settings};

/// Options of sampling that were given to a greedy answer.
pub fn no_effect_when_greedy(option: &str) -> String {
    format!("{option} has no effect: at temperature 0 the answer is greedy")
}

/// A system message for a model that has no place for one.
pub fn no_effect_without_template() -> &'static str {
    "--system has no effect: the model has no chat template"
}

/// Options of quantisers that were given to an export without one.
pub fn no_effect_on_export(option: &str, weights: &str) -> String {
    format!("{option} has no effect: only int4 and int8 by name take it, found `{weights}`")
}

/// Matrices that the target cannot hold as they were asked for.
pub fn other_precision(n_other: usize, n_tensors: usize) -> String {
    format!(
        "{n_other} of {n_tensors} matrices are stored at another precision than asked, because the \
         groups do not fit (--report shows which)"
    )
}

/// Matrices whose own codes were quantised a second time.
pub fn lost_grids(n_lost: usize, n_tensors: usize) -> String {
    format!(
        "{n_lost} of {n_tensors} matrices lost the checkpoint's own codes, because the target \
         cannot hold their zero points (--report shows which)"
    )
}

/// The end of an answer that reached its limit.
pub fn stopped_at_limit(n_tokens: usize) -> String {
    format!("stopped after {n_tokens} tokens: --max-tokens allows more")
}

/// `--correction auto` that comes to none.
pub fn correction_off(reason: &str) -> String {
    format!("no logit correction: {reason}")
}

/// What `--weights` takes.
pub fn weights_values() -> String {
    "--weights takes int4, int8, f16, f32, or a JSON file".to_owned()
}

/// An option of `export` that asks for something else than `--for npu`.
pub fn against_npu(option: &str) -> String {
    format!("{option} is not what --for npu writes")
}

/// What `--for npu` takes beside it.
pub const FOR_NPU: &str = "--for npu takes --to openvino, and of the weights' options only \
    --group-size row; without --for npu all of them are free";

/// What `--head` takes.
pub fn head_values() -> String {
    "--head takes int4, int8, f16 or f32".to_owned()
}

/// Where a prompt that is empty came from.
pub const EMPTY_PROMPT_FLAG: &str = "nothing in --prompt";
/// Who takes a stride.
pub const STRIDE: &str = "leave out --stride, or choose --convention hugging-face";
/// Who takes labels.
pub const LABELS: &str = "--labels is the file of answers of piqa";
/// Who takes examples.
pub const EXAMPLES: &str = "--examples is the file of worked answers of gsm8k";
/// A model folder that does not say how it was exported, where a head map is fitted.
pub const NO_RECIPE_FOR_HEAD_MAP: &str = "the model's folder does not say how it was exported: a \
    head map can be judged, and `lapwing export --correct-head` will refuse it";
/// What the other text is for.
pub const OTHER_TEXT: &str = "--other-text takes a text of another domain than --text";

/// A reference that is not less quantised than the model.
pub fn coarse_reference([of_model, of_reference]: [u64; 2]) -> String {
    let [of_model, of_reference] = [of_model, of_reference].map(human_bytes);
    format!(
        "the reference's weights take {of_reference}, the model's {of_model}: --reference takes a \
         less quantised export of the same checkpoint, such as its f32 export"
    )
}

/// Two models between which no head map can be fitted.
pub fn no_head_maps(n_model: Option<usize>, n_reference: Option<usize>) -> String {
    let [n_model, n_reference] = [n_model, n_reference]
        .map(|n_hidden| n_hidden.map_or("none".to_owned(), |n_hidden| n_hidden.to_string()));
    format!(
        "--checkpoint has no effect: the model's hidden states have {n_model} entries and those of \
         the reference {n_reference}, so no head map is fitted"
    )
}

/// A model with the options that a profile made under these settings is used with.
pub fn with_options(model: &str, settings: &Settings) -> String {
    let mut line = model.to_owned();
    let mut add = |option: &str, value: &str| line.push_str(&format!(" {option} {value}"));
    match settings.backend {
        BackendChoice::Auto => {}
        BackendChoice::Native => add("--backend", "native"),
        BackendChoice::Ort => add("--backend", "ort"),
        BackendChoice::OpenVino => add("--backend", "openvino"),
    }
    if settings.device != settings::DEVICE {
        add("--device", &settings.device.to_string());
    }
    if settings.precision == Precision::Exact {
        add("--precision", "exact");
    }
    if let Some(variant) = settings.variant.as_ref().filter(|variant| !variant.is_default) {
        add("--variant", &variant.name);
    }
    line
}

/// How to use a profile that is where `auto` looks for it.
pub fn use_by_default(model: &str) -> String {
    format!("use it: `lapwing run --model {model} --correction auto`")
}

/// How to use a profile that is elsewhere.
pub fn use_by_path(model: &str, profile: &std::path::Path) -> String {
    format!("use it: `lapwing run --model {model} --correction {}`", profile.display())
}

/// How to use a head map.
pub fn use_at_export(profile: &std::path::Path) -> String {
    format!(
        "fold its head map into a new export: `lapwing export … --correct-head {}`",
        profile.display()
    )
}

/// What `bench` needs at least.
pub const NO_TESTS: &str = "give a length above 0 with --prompt-tokens or --generated-tokens, or \
    leave out --skip-start";
/// A measurement that does not fit the context.
pub const FEWER_TOKENS: &str = "ask for less with --prompt-tokens, --depth or --generated-tokens, \
    or for more room with --context";

/// A run of `bench` that was broken off before.
pub fn goes_on(run_id: &str, n_done: usize, n_measurements: usize) -> String {
    format!(
        "going on with run {run_id}: {n_done} of {n_measurements} measurements are there (--fresh \
         starts anew)"
    )
}

/// A run of `bench` that is broken off now.
pub fn broken_off(n_done: usize, n_measurements: usize) -> String {
    format!(
        "{n_done} of {n_measurements} measurements are kept; the same command goes on with the rest"
    )
}

/// `--device auto` that was measured.
pub fn auto_device(why: &str) -> String {
    format!("device {why}; --device chooses another")
}

/// `--precision exact` where f32 is not to be had throughout.
pub fn exact_elsewhere(device: DeviceKind) -> String {
    let what = match device {
        DeviceKind::Gpu => "a GPU keeps its KV cache in f16",
        DeviceKind::Npu | DeviceKind::NpuOnCpu => "an NPU computes in f16",
        DeviceKind::Cpu => "a CPU computes in f32",
    };
    format!("{what}: --precision exact is exact on the CPU only")
}

/// A device is tried for the first time.
pub fn trying(device: &impl std::fmt::Display) -> String {
    format!("{device} is tried in a process of its own first; this may take minutes, once")
}

/// `--device auto` that was measured for something else.
pub fn auto_device_skipped(why: &str) -> String {
    format!("{why}; `lapwing bench --all-devices --recommend …` measures again")
}

/// Others seem to use the machine: `load` tasks were runnable over the last minute.
#[must_use]
pub fn busy(load: f64, n_cores: Option<usize>) -> Option<String> {
    // A measurement that has just ended is up to one task for each core.
    const BUSY: f64 = 1.25;
    let n_cores = n_cores?;
    (BUSY * n_cores as f64 <= load).then(|| {
        format!(
            "the machine is busy, with a load of {load:.1} on {n_cores} cores: figures are those of \
             a busy machine"
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn a_profile_is_used_with_the_options_that_it_was_made_with() {
        let check = |options: &str, expected: &str| {
            let line = format!("lapwing calibrate --model m --text t {options}");
            let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
            let settings = Settings::resolve(&cli).unwrap();
            assert_eq!(with_options("m", &settings), expected);
        };
        check("--backend auto --device auto --precision fast", "m");
        check(
            "--backend openvino --device cpu --precision exact --variant q4",
            "m --backend openvino --device cpu --precision exact --variant q4",
        );
    }
}
