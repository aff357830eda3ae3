//! Arguments of `lapwing export`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum, ValueHint};
use lapwing_export::WHOLE_ROW;

/// Arguments of `lapwing export`.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("destination").required(true)))]
pub struct ExportArgs {
    /// A GGUF file, a Hugging Face safetensors folder, or a name from `lapwing list`
    #[arg(value_name = "SRC", value_hint = ValueHint::AnyPath)]
    pub source: String,
    /// The kind of model folder to write
    #[arg(long, value_enum)]
    pub to: ExportTarget,
    /// Write the weights that this device takes. npu, with --to openvino: symmetric int4 with f16
    /// scales, in groups of 128 where these divide every matrix, else by rows (always by rows with
    /// --group-size row); embedding and head as symmetric int8. Options that ask for other weights
    /// are refused then
    #[arg(long = "for", value_name = "DEVICE", value_enum)]
    pub for_device: Option<ExportDevice>,
    /// int4, int8, f16, f32, or a precision plan (a JSON file). int4 and int8 are asymmetric, int4
    /// in groups of 32 and int8 by rows, unless the options below say otherwise; asymmetric int4 in
    /// groups of 32 keeps the values of Q4_1 exactly on OpenVINO
    #[arg(long, value_name = "PRECISION", default_value = "int4")]
    pub weights: String,
    /// Weights that share a scale in int4 (32 without it) and int8 (a row without it); `row` for a
    /// whole row
    #[arg(long, value_name = "N", value_parser = group_size)]
    pub group_size: Option<NonZeroUsize>,
    /// Quantise around zero, without zero points
    #[arg(long, conflicts_with = "asymmetric")]
    pub symmetric: bool,
    /// Quantise with zero points (the default)
    #[arg(long)]
    pub asymmetric: bool,
    /// Precision of the output head: int8 (with int4 and int8 weights), int4, f16 or f32. Without it
    /// int4 weights have int8 where that matters and is small: keys and values that four heads
    /// share, and of a head that is the embedding of 65536 tokens or more the first 8192, which are
    /// the commonest; the rest of that head has int4
    #[arg(long, value_name = "PRECISION")]
    pub head: Option<String>,
    /// Fold the head map of this correction profile, a file or its name, into the output head, at
    /// no cost when the model runs; the export must be that of the profile's model in all but the
    /// head
    #[arg(long, value_name = "PROFILE")]
    pub correct_head: Option<String>,
    /// The folder to write
    #[arg(short, long, value_name = "DIR", group = "destination")]
    pub out: Option<PathBuf>,
    /// Put the model into the store under this name instead
    #[arg(long, value_name = "NAME", group = "destination")]
    pub name: Option<String>,
    /// Write over an earlier export that is there
    #[arg(long)]
    pub overwrite: bool,
    /// Print the error that quantisation made in each tensor
    #[arg(long)]
    pub report: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `--to` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportTarget {
    /// OpenVINO IR, as optimum-intel lays it out.
    #[value(name = "openvino")]
    OpenVino,
    /// ONNX, as the onnxruntime-genai builder lays it out.
    Onnx,
}

/// What `--for` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportDevice {
    /// An Intel NPU.
    Npu,
}

fn group_size(text: &str) -> Result<NonZeroUsize, String> {
    match text {
        "row" => Ok(NonZeroUsize::new(WHOLE_ROW).expect("it is the largest number")),
        _ => text.parse().map_err(|_| "expected a number of columns above 0, or `row`".to_owned()),
    }
}
