//! Arguments of `lapwing embed`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::runtime::RuntimeArgs;

/// Arguments of `lapwing embed`.
#[derive(Debug, Clone, Args)]
pub struct EmbedArgs {
    /// A folder of an embedding model, or a name from `lapwing list`
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// The texts; without any, each line of stdin is one
    #[arg(value_name = "TEXT", conflicts_with = "file")]
    pub texts: Vec<String>,
    /// Take each line of this file as a text; - is stdin
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Leave vectors as long as the model makes them, instead of length 1
    #[arg(long)]
    pub raw: bool,
    /// Cut texts off that are too long for the model
    #[arg(long)]
    pub truncate: bool,
    /// Print one JSON object at the end, instead of a vector a line as they come
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}
