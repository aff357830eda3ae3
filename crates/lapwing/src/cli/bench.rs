//! Arguments of `lapwing bench`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lapwing_backend::{DeviceRequest, Precision};
use lapwing_measure::bench::Merit;

use super::choice::{backend, count, count_or_zero, merit, precision, seed, threads};
use lapwing_host::{BackendChoice, CorrectionChoice};

/// Arguments of `lapwing bench`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Every list makes one more dimension: all models on all devices with all \
    numbers of threads, and so on. Several configurations take turns, so that a machine that \
    grows warm slows all of them down; the models of those that wait stay loaded.")]
pub struct BenchArgs {
    /// A model folder, or a name from `lapwing list`; repeatable
    #[arg(short, long, required = true)]
    pub model: Vec<String>,
    #[command(flatten)]
    pub tests: TestArgs,
    #[command(flatten)]
    pub configurations: ConfigurationArgs,
    #[command(flatten)]
    pub protocol: ProtocolArgs,
    /// Append the records to this file; without it to profiles/HOST/DATE.jsonl below the data
    /// folder
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print the records, one a line, instead of a table
    #[arg(long)]
    pub json: bool,
    /// Keep the device that is best at this in recommendations.json of the data folder, where
    /// `--device auto` of other commands finds it. Judged by the first decode and, for latency, the longest prompt; of one
    /// device alone only where there is no recommendation yet
    #[arg(long, value_parser = merit(), value_name = "METRIC")]
    pub recommend: Option<Merit>,
    /// Go on with this run; without it with the last one of the same measurements that was broken
    /// off less than a day ago
    #[arg(long, value_name = "RUN_ID", conflicts_with = "fresh")]
    pub resume: Option<String>,
    /// Start over even if the same command was broken off before
    #[arg(long)]
    pub fresh: bool,
}

/// What is measured.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tests")]
pub struct TestArgs {
    /// Lengths of prompts to read; 0 for none
    #[arg(short, long, value_name = "N,…", value_delimiter = ',', value_parser = count_or_zero)]
    #[arg(default_values_t = [128, 512], allow_negative_numbers = true)]
    pub prompt_tokens: Vec<usize>,
    /// Numbers of tokens to generate; 0 for none
    #[arg(short = 'n', long, value_name = "N,…", value_delimiter = ',')]
    #[arg(default_values_t = [64], value_parser = count_or_zero, allow_negative_numbers = true)]
    pub generated_tokens: Vec<usize>,
    /// Positions that are filled before tokens are generated
    #[arg(short, long, value_name = "N,…", value_delimiter = ',', value_parser = count_or_zero)]
    #[arg(default_values_t = [0], allow_negative_numbers = true)]
    pub depth: Vec<usize>,
    /// Do not measure how long a start takes
    #[arg(long)]
    pub skip_start: bool,
}

/// What it is measured on. What is not given comes from the environment or the settings file.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Configurations")]
pub struct ConfigurationArgs {
    /// Libraries that run the model
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    #[arg(value_parser = backend(), ignore_case = true)]
    pub backend: Vec<BackendChoice>,
    /// Devices: auto, cpu, gpu, npu, npu:cpu, or one of several such as gpu.1.
    /// `auto` is the first that opens of NPU, GPU and CPU, whatever was recommended
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub device: Vec<DeviceRequest>,
    /// All devices that the backends have for the model
    #[arg(long, conflicts_with = "device")]
    pub all_devices: bool,
    /// fast, or exact: f32 arithmetic and f32 KV cache
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    #[arg(value_parser = precision(), ignore_case = true)]
    pub precision: Vec<Precision>,
    /// Numbers of CPU threads; the library's own choice without it
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = threads)]
    #[arg(allow_negative_numbers = true)]
    pub threads: Vec<NonZeroUsize>,
    /// Logit corrections: off, auto or a profile
    #[arg(long, value_name = "PROFILE,…", value_delimiter = ',')]
    pub correction: Vec<CorrectionChoice>,
    /// Positions to make room for; without it the model's own limit, on an NPU at most 2048
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub context: Option<NonZeroUsize>,
    /// Which file of a folder with several, such as q4 or fp16
    #[arg(long)]
    pub variant: Option<String>,
}

/// How often and how a test is repeated.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Repetitions")]
pub struct ProtocolArgs {
    /// Exactly so many; without it until the interval of the median is within 2 % of it to both
    /// sides, or the time is over
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub repetitions: Option<NonZeroUsize>,
    /// At most about this long for each measurement, such as 60s, 2m or 500ms; three repetitions
    /// are made in any case
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "15s")]
    pub time: Duration,
    /// Runs before the first that counts, at least one
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    #[arg(default_value = "1")]
    pub warmup: NonZeroUsize,
    /// Of the prompts
    #[arg(long, value_name = "N", value_parser = seed, default_value_t = 1)]
    #[arg(allow_negative_numbers = true)]
    pub seed: u64,
}

/// `60s`, `2m`, `500ms`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 60s, 2m or 500ms".to_owned();
    let text = text.trim();
    let digits_end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let seconds = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let duration = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    if duration.is_zero() { Err(wrong()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let check = |text: &str, expected: Option<u64>| {
            let found = duration(text).ok().map(|time| time.as_millis() as u64);
            assert_eq!(found, expected, "{text}");
        };
        check("60s", Some(60_000));
        check("90", Some(90_000));
        check("1.5m", Some(90_000));
        check("500ms", Some(500));
        check("1h", Some(3_600_000));
        check("0", None);
        check("-1s", None);
        check("s", None);
        check("1 day", None);
        check("1e9", None);
        check("999999999999999999999999h", None);
    }
}
