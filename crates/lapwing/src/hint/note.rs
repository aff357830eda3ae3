//! What commands say beside their results where that names a flag.

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
/// A correction for a command that looks at raw logits.
pub const NO_CORRECTION_IN_CALIBRATION: &str =
    "--correction has no effect: a calibration looks at raw logits";
/// What the other text is for.
pub const OTHER_TEXT: &str = "--other-text takes a text of another domain than --text";

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
