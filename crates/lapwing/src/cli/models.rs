//! Arguments of the commands about models and the installation.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::Shell;

/// Arguments of `lapwing devices`.
#[derive(Debug, Clone, Args)]
pub struct DevicesArgs {
    /// Forget which devices came to harm, so that they are tried again
    #[arg(long)]
    pub forget: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lapwing doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Try every device with a small model, each in a process of its own
    #[arg(long)]
    pub deep: bool,
    /// The model for --deep: stories260k, or a made-up one without it
    #[arg(short, long, requires = "deep")]
    pub model: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lapwing inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A model folder, a checkpoint, a file, or a name from `lapwing list`
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub model: String,
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
    /// Print the chat template
    #[arg(long)]
    pub template: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lapwing pull`.
#[derive(Debug, Clone, Args)]
pub struct PullArgs {
    /// Names from `lapwing list --all`, Hugging Face ids (org/repo[@revision], also with hf: in
    /// front), paths (file: in front where in doubt), or `onnxruntime`, `openvino` and
    /// `onnxruntime-ep-openvino`, by which ONNX models run on Intel GPUs
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// Keep the model under this name
    #[arg(long, value_name = "NAME")]
    pub r#as: Option<String>,
    /// Which of several files to take, such as q4 or fp16 [env: LAPWING_VARIANT]
    #[arg(long)]
    pub variant: Option<String>,
    /// For paths: put a link into the store instead of a copy
    #[arg(long)]
    pub link: bool,
    /// Get it again even if it is there
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lapwing list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Also what the catalogue has and the store has not
    #[arg(short, long)]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lapwing rm`.
#[derive(Debug, Clone, Args)]
pub struct RmArgs {
    /// Names from `lapwing list`, or `onnxruntime`, `openvino`, `onnxruntime-ep-openvino`
    #[arg(value_name = "NAME", required_unless_present = "cache")]
    pub names: Vec<String>,
    /// Also what OpenVINO compiled and keeps for a faster start; it is made again when needed
    #[arg(long)]
    pub cache: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Arguments of `lapwing completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Arguments of `lapwing man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Write one page per command into this folder instead
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
