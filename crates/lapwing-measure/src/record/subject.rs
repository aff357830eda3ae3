//! What is measured and how: a program, a model on a device, a task for it, and how often it is
//! done.
#![expect(missing_docs, reason = "`profiles/schema.md` says what the fields are")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What ran the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub version: Option<String>,
    pub git_revision: Option<String>,
}

/// Which model, on what, with which settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    pub model: String,
    pub model_sha256: String,
    pub model_kind: String,
    pub variant: Option<String>,
    pub model_bytes: Option<u64>,
    pub n_parameters: Option<u64>,
    pub backend: String,
    pub backend_version: Option<String>,
    pub device_requested: String,
    pub device_used: Option<String>,
    pub device_name: Option<String>,
    pub driver_version: Option<String>,
    pub precision: String,
    pub n_threads: Option<usize>,
    pub n_positions_max: Option<usize>,
    pub correction: String,
    pub correction_sha256: Option<String>,
    pub settings: BTreeMap<String, String>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    pub kind: TestKind,
    pub name: String,
    pub n_prompt_tokens: usize,
    pub n_depth_tokens: usize,
    pub n_generated_tokens: usize,
}

/// The three tasks of a measurement, and use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    /// From nothing to the first token.
    Start,
    /// Reading a prompt.
    Prefill,
    /// Producing tokens one by one.
    Decode,
    /// Answers to whatever was asked: nothing of it was chosen, so that it is not compared with what
    /// was.
    Use,
}

impl TestKind {
    /// Whether what was done had been chosen, as in a measurement.
    #[must_use]
    pub fn is_controlled(self) -> bool {
        self != TestKind::Use
    }
}

/// How often and in which order a test was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    pub n_warmups: usize,
    pub n_repetitions: usize,
    pub stopped_because: StoppedBecause,
    pub relative_interval_target: Option<f64>,
    pub time_budget_s: Option<f64>,
    pub is_isolated: bool,
    pub order_idx: usize,
    pub seed: Option<u64>,
    pub prompts_permuted: bool,
}

/// What ended the repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoppedBecause {
    /// [`Protocol::relative_interval_target`] was reached.
    #[serde(rename = "interval narrow")]
    IntervalNarrow,
    /// [`Protocol::time_budget_s`] was used up.
    #[serde(rename = "time budget")]
    TimeBudget,
    /// Their number was reached.
    #[serde(rename = "repetitions")]
    Repetitions,
    /// Nothing: somebody asked what was known by then.
    #[serde(rename = "asked")]
    Asked,
}

impl Test {
    /// From nothing to the first token after a prompt of `n_prompt_tokens`.
    pub fn start(n_prompt_tokens: usize) -> Test {
        let name = "start".to_owned();
        let kind = TestKind::Start;
        Test { kind, name, n_prompt_tokens, n_depth_tokens: 0, n_generated_tokens: 1 }
    }

    /// Reading a prompt behind `n_depth_tokens`.
    pub fn prefill(n_prompt_tokens: usize, n_depth_tokens: usize) -> Test {
        let name = with_depth(format!("pp{n_prompt_tokens}"), n_depth_tokens);
        let kind = TestKind::Prefill;
        Test { kind, name, n_prompt_tokens, n_depth_tokens, n_generated_tokens: 0 }
    }

    /// Producing tokens behind `n_depth_tokens`.
    pub fn decode(n_generated_tokens: usize, n_depth_tokens: usize) -> Test {
        let name = with_depth(format!("tg{n_generated_tokens}"), n_depth_tokens);
        let kind = TestKind::Decode;
        Test { kind, name, n_prompt_tokens: 0, n_depth_tokens, n_generated_tokens }
    }

    /// Answers in use, with what is in the middle of them: tokens of prompts that were read, those that
    /// were known, and those of answers.
    pub fn in_use(
        n_prompt_tokens: usize,
        n_depth_tokens: usize,
        n_generated_tokens: usize,
    ) -> Test {
        let name = "use".to_owned();
        Test { kind: TestKind::Use, name, n_prompt_tokens, n_depth_tokens, n_generated_tokens }
    }
}

fn with_depth(name: String, n_depth_tokens: usize) -> String {
    match n_depth_tokens {
        0 => name,
        n => format!("{name}@d{n}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_as_llama_bench_names_them() {
        let check = |test: Test, expected: &str| assert_eq!(test.name, expected);
        check(Test::start(16), "start");
        check(Test::prefill(512, 0), "pp512");
        check(Test::prefill(512, 4096), "pp512@d4096");
        check(Test::decode(128, 0), "tg128");
        check(Test::decode(128, 1024), "tg128@d1024");
        check(Test::in_use(512, 1024, 128), "use");
    }
}
