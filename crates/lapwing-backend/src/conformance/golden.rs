//! Reference outputs of real exports, and the check against them.

use std::path::Path;

use lapwing_model::TokenId;
use serde_json::Value;

use crate::Model;

/// One prompt and what the reference loop made of it.
#[derive(Clone, Debug)]
pub struct GoldenCase {
    /// The prompt.
    pub prompt_ids: Vec<TokenId>,
    /// The likeliest token, again and again.
    pub greedy_ids: Vec<TokenId>,
    /// The largest logits of the first generated position, largest first.
    pub first_step_top: Vec<(TokenId, f32)>,
}

/// How far logits may be from the reference.
#[derive(Clone, Copy, Debug)]
pub enum Tolerance {
    /// In units of the largest logit's magnitude.
    Relative(f32),
    /// In logits.
    Absolute(f32),
}

/// The cases of a `golden.json`. `section` picks the part of one graph, where there are several.
///
/// # Panics
///
/// When the file is not such a file.
pub fn golden_cases(file: &Path, section: Option<&str>) -> Vec<GoldenCase> {
    let text = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let json: Value = serde_json::from_slice(&text).expect("golden files are JSON");
    let part = section.map_or(&json, |name| &json[name]);
    let cases = part["cases"].as_array().expect("golden files have cases");
    assert!(!cases.is_empty(), "{} has no cases", file.display());
    cases.iter().map(|case| golden_case(&case["prompt_ids"], case)).collect()
}

/// One case from its prompt and its outputs.
///
/// # Panics
///
/// When a field is missing.
pub fn golden_case(prompt_ids: &Value, outputs: &Value) -> GoldenCase {
    let ids = |value: &Value| -> Vec<TokenId> {
        let ids = value.as_array().expect("ids are a list").iter();
        ids.map(|id| id.as_u64().expect("ids are numbers") as TokenId).collect()
    };
    let top = outputs["first_step_top16"].as_array().expect("top logits are a list");
    let pair = |pair: &Value| {
        let id = pair[0].as_u64().expect("an id") as TokenId;
        (id, pair[1].as_f64().expect("a logit") as f32)
    };
    GoldenCase {
        prompt_ids: ids(prompt_ids),
        greedy_ids: ids(&outputs["greedy_ids"]),
        first_step_top: top.iter().map(pair).collect(),
    }
}

/// First-step logits are within the tolerance, and greedy ids are equal for as long as the two
/// largest logits differ by more than it.
///
/// # Panics
///
/// When they are not.
pub fn agrees_with_golden(model: &dyn Model, case: &GoldenCase, tolerance: Tolerance) {
    let mut logits = vec![0.0; model.n_vocab()];
    let mut decoder = model.decoder().expect("a decoder");
    decoder.step(&case.prompt_ids, &mut logits).expect("a step");
    let largest = case.first_step_top[0].1.abs();
    let allowed = match tolerance {
        Tolerance::Relative(share) => share * largest,
        Tolerance::Absolute(logits) => logits,
    };
    for &(id, expected) in &case.first_step_top {
        let found = logits[id as usize];
        assert!((found - expected).abs() <= allowed, "logit {id}: {found} is not {expected}");
    }
    for (token_idx, &expected) in case.greedy_ids.iter().enumerate() {
        let found = argmax(&logits);
        if found != expected {
            // A fork is right only where the reference's choice is as good as ours.
            let margin = logits[found as usize] - logits[expected as usize];
            assert!(margin <= allowed, "token {token_idx}: {found} by {margin}, not {expected}");
            return;
        }
        if token_idx + 1 < case.greedy_ids.len() {
            decoder.step(&[found], &mut logits).expect("a step");
        }
    }
}

fn argmax(logits: &[f32]) -> TokenId {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.expect("a vocabulary has tokens").0 as TokenId
}
