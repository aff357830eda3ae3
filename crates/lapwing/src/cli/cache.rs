//! Arguments of `lapwing cache`.

use clap::{Args, Subcommand};

use super::runtime::RuntimeArgs;

/// Arguments of `lapwing cache`.
#[derive(Debug, Clone, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// What to do with the cache.
#[derive(Debug, Clone, Subcommand)]
pub enum CacheCommand {
    /// List the compiled models
    List(CacheListArgs),
    /// Remove compiled models; they are made again when needed
    Clear(CacheClearArgs),
    /// Compile models ahead, so that their next start is quick
    Warm(Box<CacheWarmArgs>),
}

impl CacheCommand {
    /// The options about backend and device, where the command has them.
    pub fn runtime(&self) -> Option<&RuntimeArgs> {
        match self {
            Self::Warm(args) => Some(&args.runtime),
            Self::List(_) | Self::Clear(_) => None,
        }
    }
}

/// Arguments of `lapwing cache list`.
#[derive(Debug, Clone, Args)]
pub struct CacheListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lapwing cache clear`.
#[derive(Debug, Clone, Args)]
pub struct CacheClearArgs {
    /// Only what was compiled from this model: a folder, or a name from `lapwing cache list`
    #[arg(short, long)]
    pub model: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lapwing cache warm`.
#[derive(Debug, Clone, Args)]
pub struct CacheWarmArgs {
    /// Model folders, or names from `lapwing list`
    #[arg(value_name = "MODEL", required = true)]
    pub models: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}
