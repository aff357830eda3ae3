//! Arguments of the commands about records of measurements.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `lapwing report`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "RECORDS are files, folders, names of hosts below the profiles folder, \
    rev:REVISION for all records of a git revision, each also with #RUN_ID behind it. The newest \
    record of each configuration and test is shown, and all of them in the history.")]
pub struct ReportArgs {
    /// What to report; this machine's records without it
    #[arg(value_name = "RECORDS")]
    pub records: Vec<String>,
    /// What answers of the daemon that runs took in use, instead of records in files
    #[arg(long, conflicts_with_all = ["records", "run"])]
    pub from_daemon: bool,
    /// Write to this file instead of printing; - prints
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The form; without it what the ending of --out says (.html, .md, .csv, .jsonl), else html
    #[arg(long, value_enum)]
    pub format: Option<ReportFormat>,
    /// The records themselves: --format jsonl
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Only the records of one run of `bench`: latest, or the beginning of its id; or all
    #[arg(long, value_name = "RUN", default_value = "all")]
    pub run: String,
    /// The title
    #[arg(long)]
    pub title: Option<String>,
    /// Instead of a report, write all records as a Parquet file, a row each, for DuckDB, Spark and
    /// pandas; - writes it to a pipe
    #[cfg(feature = "parquet")]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "format", "json", "run", "title"])]
    pub parquet: Option<PathBuf>,
}

/// Forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One page that loads nothing
    Html,
    /// Tables for pasting
    Markdown,
    /// The columns of llama-bench
    Csv,
    /// The records themselves, a line of JSON each
    Jsonl,
}

/// Arguments of `lapwing compare`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "A and B are files, folders, names of hosts below the profiles folder, or \
    rev:REVISION for all records of a git revision, each also with #RUN_ID behind it. A verdict \
    needs a 95 % interval that does not hold 1, and a change beyond what the same thing measured \
    again differs by: 5 % of times between two single runs (3 % of memory, 10 % of energy, 20 % \
    of the stages of a start), 1 % with two or more runs on each side. Of the stages of a start, \
    the median between tokens, peaks of memory and energy a single run has one number and no \
    interval: the verdict is then marked, rests on that limit alone, and counts for --fail-over \
    only where it is of memory. Configurations with other settings are put beside each other only \
    where a model has no test with the same settings on both sides.")]
pub struct CompareArgs {
    /// What to compare with
    #[arg(value_name = "A")]
    pub before: String,
    /// What is new
    #[arg(value_name = "B")]
    pub after: String,
    /// Fail when a metric of B is slower or more by more than this with an interval that shows it
    /// (peaks of memory without), or when B lacks something that A has
    #[arg(long, value_name = "PERCENT", value_parser = percent, allow_negative_numbers = true)]
    pub fail_over: Option<f64>,
    /// Compare what is not comparable: another model, device, precision or machine
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `5%` or `5` as 0.05.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent = number.parse().ok().filter(|percent: &f64| (0.0..=1000.0).contains(percent));
    let percent = percent.ok_or("expected a percentage from 0% to 1000%, such as 5%")?;
    Ok(percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_with_and_without_their_sign() {
        let check = |text: &str, expected: Option<f64>| {
            assert_eq!(percent(text).ok(), expected, "{text}");
        };
        check("5%", Some(0.05));
        check("5", Some(0.05));
        check("2.5 %", Some(0.025));
        check("0", Some(0.0));
        check("-1%", None);
        check("nan", None);
        check("5%%", None);
        check("", None);
    }
}
