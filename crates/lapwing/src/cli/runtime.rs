//! Options that flags, environment and settings file share.
//!
//! Its variable is `LAPWING_` and its name in capitals, its key in the settings file its name, and all
//! three are read by the parser of the flag. To add one: the field with its value parser, a line in
//! [`RuntimeArgs::or`] and one in [`crate::env::ALL`]; where a library is told of it, a field of
//! [`OpenOptions`], which the compiler then asks for wherever one is made or compared, and `bench`'s
//! own list in `cli/bench.rs` where it is worth measuring side by side.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::str::FromStr;

use clap::Args;
use lapwing_backend::{DeviceRequest, OpenOptions, Precision};
use lapwing_host::{BackendChoice, CorrectionChoice, ParseChoiceError};

use super::choice::{backend, count, precision, threads};

/// The device when nobody says.
pub const DEVICE: DeviceRequest = DeviceRequest::Auto;
/// The precision when nobody says.
pub const PRECISION: Precision = Precision::Fast;

/// Which backend and device run the model, and how. Defaults: [`crate::settings`].
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Backend and device")]
pub struct RuntimeArgs {
    /// The library that runs the model [env: LAPWING_BACKEND]
    #[arg(long, value_parser = backend(), ignore_case = true)]
    pub backend: Option<BackendChoice>,
    /// auto, cpu, gpu, npu, one of several such as gpu.1, or npu:cpu: the NPU path on the CPU, for
    /// tests [env: LAPWING_DEVICE]
    #[arg(long)]
    pub device: Option<DeviceRequest>,
    /// CPU threads; without it the library's own choice, or a container's share of the processors
    /// [env: LAPWING_THREADS]
    #[arg(long, value_name = "N", value_parser = threads, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
    /// fast, or exact: f32 arithmetic and f32 KV cache [env: LAPWING_PRECISION]
    #[arg(long, value_parser = precision(), ignore_case = true)]
    pub precision: Option<Precision>,
    /// Positions to make room for; without it the model's own limit, on an NPU at most 2048
    /// [env: LAPWING_CONTEXT]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub context: Option<NonZeroUsize>,
    /// Logit correction: off, auto or a profile [env: LAPWING_CORRECTION]
    #[arg(long, value_name = "PROFILE")]
    pub correction: Option<CorrectionChoice>,
    /// Which file of a folder with several, such as q4 or fp16 [env: LAPWING_VARIANT]
    #[arg(long)]
    pub variant: Option<String>,
    /// NPU: longest prompt to compile for; half of the context without it
    /// [env: LAPWING_NPU_PROMPT]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub npu_prompt: Option<NonZeroUsize>,
    /// A property of OpenVINO for the compilation, such as NPUW_LLM_GENERATE_HINT=BEST_PERF;
    /// repeatable. The library refuses what it does not know [env: LAPWING_PROPERTY]
    #[arg(long, value_name = "KEY=VALUE")]
    pub property: Vec<Property>,
}

impl RuntimeArgs {
    /// These, with what they leave open taken from `below`.
    #[must_use]
    pub fn or(self, below: Self) -> Self {
        Self {
            backend: self.backend.or(below.backend),
            device: self.device.or(below.device),
            threads: self.threads.or(below.threads),
            precision: self.precision.or(below.precision),
            context: self.context.or(below.context),
            correction: self.correction.or(below.correction),
            variant: self.variant.or(below.variant),
            npu_prompt: self.npu_prompt.or(below.npu_prompt),
            // Of two for one key the last counts.
            property: [below.property, self.property].concat(),
        }
    }

    /// What a backend is asked for; compiled models are kept nowhere.
    pub fn open_options(&self) -> OpenOptions {
        let properties = self.property.iter().cloned();
        let properties = properties.map(|Property { key, value }| (key, value));
        OpenOptions {
            device: self.device.unwrap_or(DEVICE),
            n_threads: self.threads.map(usize::from),
            precision: self.precision.unwrap_or(PRECISION),
            n_positions_max: self.context.map(usize::from),
            n_chunk_tokens: None,
            hidden_states: false,
            cache_folder: None,
            n_prompt_tokens_max: self.npu_prompt.map(usize::from),
            whole_prompts: false,
            properties: properties.collect::<BTreeMap<_, _>>(),
        }
    }
}

/// What the first opening of a model on a GPU or an NPU may take. No command has these as flags.
#[derive(Debug, Clone, Args)]
pub struct TrialLimitArgs {
    /// Seconds
    #[arg(long, value_parser = count)]
    pub trial_seconds: Option<NonZeroUsize>,
    /// Megabytes
    #[arg(long, value_parser = count)]
    pub trial_mb: Option<NonZeroUsize>,
}

/// How properties end that make threads: `INFERENCE_NUM_THREADS`, `COMPILATION_NUM_THREADS`,
/// `NUM_STREAMS`, whatever device they are written for.
const OF_THREADS: [&str; 2] = ["NUM_THREADS", "NUM_STREAMS"];

/// `--property KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// As the library spells it.
    pub key: String,
    /// Likewise.
    pub value: String,
}

impl FromStr for Property {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        let Some((key, value)) = pair.filter(|(key, _)| !key.is_empty()) else {
            let expected = "KEY=VALUE such as NPU_TURBO=YES";
            return Err(ParseChoiceError { expected, found: text.to_owned() }.to_string());
        };
        // Words, and -1 for the library's own choice, are the library's to read.
        let is_number = value.bytes().all(|byte| byte.is_ascii_digit()) && value != "0";
        if is_number && !value.is_empty() && OF_THREADS.iter().any(|part| key.ends_with(part)) {
            threads(value)?;
        }
        Ok(Self { key: key.into(), value: value.into() })
    }
}
