//! What is measured: a program, a model on a device, and a task for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What ran the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// `lapwing`, or that of a peer: `llama.cpp`, `openvino-genai`, `onnxruntime-genai`.
    pub name: String,
    /// As the program tells it.
    pub version: Option<String>,
    /// The commit it was built from.
    pub git_revision: Option<String>,
}

/// Which model, on what, with which settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The name of the model's folder or file.
    pub model: String,
    /// SHA-256 of the model's files, in lower-case hexadecimal.
    pub model_sha256: String,
    /// The form of the model: `openvino-ir`, `onnx-genai`, `onnx-transformersjs`, `gguf`.
    pub model_kind: String,
    /// Which of the graphs in the folder, where it holds several.
    pub variant: Option<String>,
    /// The size of the weights' files in bytes.
    pub model_bytes: Option<u64>,
    /// The number of weights.
    pub n_parameters: Option<u64>,
    /// The library that runs it: `openvino`, `onnxruntime`, `llama.cpp`.
    pub backend: String,
    /// As the library tells it.
    pub backend_version: Option<String>,
    /// What was asked for: `auto`, `cpu`, `gpu`, `npu`.
    pub device_requested: String,
    /// What the library says that it runs on.
    pub device_used: Option<String>,
    /// The device's full name, as the library tells it.
    pub device_name: Option<String>,
    /// That of the device, as the library or the system tells it.
    pub driver_version: Option<String>,
    /// How the library computes: `fast` (as it thinks best), `exact` (f32 throughout), or of a peer
    /// a type such as `q8_0`.
    pub precision: String,
    /// The threads asked for.
    pub n_threads: Option<usize>,
    /// The most positions that a decoder can hold.
    pub n_positions_max: Option<usize>,
    /// The logit correction: `off` or its name.
    pub correction: String,
    /// SHA-256 of the correction's profile, in lower-case hexadecimal.
    pub correction_sha256: Option<String>,
    /// Every other setting that differs from what the program does by itself: sampling, sizes of
    /// chunks, options of the library.
    pub settings: BTreeMap<String, String>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    /// Which of the three tasks.
    pub kind: TestKind,
    /// In the manner of `llama-bench`: `start`, `pp512`, `tg128`, `tg128@d1024`.
    pub name: String,
    /// The tokens of the prompt that is timed; 0 where none is.
    pub n_prompt_tokens: usize,
    /// The positions already filled when the clock starts.
    pub n_depth_tokens: usize,
    /// The tokens produced while the clock runs.
    pub n_generated_tokens: usize,
}

/// The three tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestKind {
    /// From nothing to the first token.
    Start,
    /// Reading a prompt.
    Prefill,
    /// Producing tokens one by one.
    Decode,
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
    }
}
