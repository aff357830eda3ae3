//! `lapwing report`: records as a page, as Markdown, as CSV, as they are, or as rows of a Parquet file.

#[cfg(feature = "parquet")]
mod rows;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use lapwing_daemon::{LeftOut, Used};
use lapwing_files::new_file;
use lapwing_measure::bench::host;
use lapwing_measure::record::{Record, WriteRecordError};
use lapwing_measure::record_file::{
    RecordLineError, SelectRecordsError, Selected, keep_run, select, select_all,
};
use lapwing_measure::report::{self, ReportOptions};

use crate::cli::{ReportArgs, ReportFormat};
use crate::daemon;
use crate::exit::UsageError;
use crate::printer::Printer;
use crate::settings::Settings;

/// More bad lines than this are counted and not told one by one.
const N_BAD_LINES_TOLD: usize = 10;

/// The report is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report {}", path.display())]
pub struct WriteReportError {
    /// What the file was named with.
    pub option: &'static str,
    pub path: PathBuf,
    pub source: std::io::Error,
}

/// Read records and write the report.
///
/// # Errors
///
/// When there are no records, or the report cannot be written. Lines that are no records are told
/// on stderr and in the report, and left out.
pub fn run(settings: &Settings, printer: &Printer, args: &ReportArgs) -> anyhow::Result<()> {
    #[cfg(feature = "parquet")]
    if let Some(path) = &args.parquet {
        return match args.from_daemon {
            true => rows::write_records(printer, &from_daemon(settings, printer)?, path),
            false => rows::write(settings, printer, &args.records, path),
        };
    }
    let format = format_of(args, std::io::stdout().is_terminal())?;
    let Selected { mut records, bad_lines, .. } = match args.from_daemon {
        true => {
            let records = from_daemon(settings, printer)?;
            Selected { records, bad_lines: Vec::new(), is_host: true }
        }
        false => read(settings, args)?,
    };
    let notes = match bad_lines.len() {
        0 => Vec::new(),
        n => vec![format!("Lines that are no records and were left out: {n}.")],
    };
    tell(bad_lines, printer);
    if records.is_empty() {
        let path = args.records.first().map_or_else(|| settings.home.profiles(), PathBuf::from);
        return Err(SelectRecordsError::Nothing { path }.into());
    }
    if args.run != "all" {
        keep_run(&mut records, &args.run)?;
    }
    let title = args.title.clone().unwrap_or_else(|| "Lapwing profiles".to_owned());
    let options = ReportOptions { title, notes };
    let text = match format {
        ReportFormat::Html => report::html(&records, &options),
        ReportFormat::Markdown => report::markdown(&records, &options),
        ReportFormat::Csv => report::csv(&records),
        ReportFormat::Jsonl => lines(&records)?,
    };
    match args.out.as_deref().filter(|path| *path != Path::new("-")) {
        Some(path) => {
            new_file::write(path, text.as_bytes()).map_err(|error| WriteReportError {
                option: "--out",
                path: error.path,
                source: error.source,
            })?;
            printer.note(format!("wrote {} ({} records)", path.display(), records.len()));
        }
        None => printer.write(text)?,
    }
    Ok(())
}

/// Why the daemon has nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum NothingUsedError {
    /// It is of another version, whose records may be others.
    #[error("the daemon is of version {found}, and this program of {}", env!("CARGO_PKG_VERSION"))]
    Version { found: String },
    /// Nobody asked it yet.
    #[error("the daemon has made no answer of two tokens or more since it began")]
    NoAnswers,
    /// What it knows is of models that are not what they were.
    #[error("the daemon can tell of no answers: {}", reasons(left_out))]
    LeftOut { left_out: Vec<LeftOut> },
}

fn reasons(left_out: &[LeftOut]) -> String {
    let reason = |of: &LeftOut| format!("{}: {}", of.model, of.reason);
    left_out.iter().map(reason).collect::<Vec<_>>().join("; ")
}

/// What answers of the daemon took; models of which it cannot tell are named on stderr.
fn from_daemon(settings: &Settings, printer: &Printer) -> anyhow::Result<Vec<Record>> {
    let daemon = daemon::demand(settings)?;
    let found = daemon.about()?.version;
    if found != env!("CARGO_PKG_VERSION") {
        return Err(NothingUsedError::Version { found }.into());
    }
    let Used { records, left_out } = daemon.used()?;
    if records.is_empty() {
        return Err(match left_out.is_empty() {
            true => NothingUsedError::NoAnswers,
            false => NothingUsedError::LeftOut { left_out },
        }
        .into());
    }
    for of in &left_out {
        printer.warning(format!("answers of {} are left out: {}", of.model, of.reason));
    }
    Ok(records)
}

/// Records as their files have them.
fn lines(records: &[Record]) -> Result<String, WriteRecordError> {
    records.iter().map(|record| Ok(record.to_line()? + "\n")).collect()
}

fn tell(bad_lines: Vec<RecordLineError>, printer: &Printer) {
    let n_more = bad_lines.len().saturating_sub(N_BAD_LINES_TOLD);
    for bad_line in bad_lines.into_iter().take(N_BAD_LINES_TOLD) {
        printer.warning(format!("{:#}", anyhow::Error::from(bad_line)));
    }
    if n_more > 0 {
        printer.warning(format!("{n_more} more lines are no records"));
    }
}

fn read(settings: &Settings, args: &ReportArgs) -> Result<Selected, SelectRecordsError> {
    let profiles = settings.home.profiles();
    if args.records.is_empty() {
        let host = host();
        let path = profiles.join(&host);
        return match path.is_dir() {
            true => select(&host, &profiles),
            false => Err(SelectRecordsError::Nothing { path }),
        };
    }
    select_all(&args.records, &profiles)
}

/// What was asked for, else what the ending of the file says. A page is not for a terminal.
fn format_of(args: &ReportArgs, is_terminal: bool) -> Result<ReportFormat, UsageError> {
    let wrong = |problem: String, advice: &str| UsageError { problem, advice: Some(advice.into()) };
    if let Some(format) = args.format.or(args.json.then_some(ReportFormat::Jsonl)) {
        return Ok(format);
    }
    let Some(path) = &args.out else {
        return match is_terminal {
            true => Err(wrong(
                "a page of HTML is not for a terminal".into(),
                "--out FILE.html writes it, --format markdown prints tables",
            )),
            false => Ok(ReportFormat::Html),
        };
    };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => Ok(ReportFormat::Html),
        Some("md" | "markdown") => Ok(ReportFormat::Markdown),
        Some("csv") => Ok(ReportFormat::Csv),
        Some("jsonl") => Ok(ReportFormat::Jsonl),
        None if path == Path::new("-") => Ok(ReportFormat::Html),
        // A pipe or a device, whose names have no endings.
        None if path.exists() && !path.is_file() => Ok(ReportFormat::Html),
        _ => Err(wrong(
            format!("cannot tell the form of the report from --out {}", path.display()),
            "end it with .html, .md, .csv or .jsonl, or say which with --format",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_was_asked_for_or_what_the_file_is_called() {
        let check = |out: Option<&str>, is_terminal: bool, expected: Result<ReportFormat, &str>| {
            let args = ReportArgs {
                records: Vec::new(),
                out: out.map(PathBuf::from),
                format: None,
                json: false,
                from_daemon: false,
                run: "all".into(),
                title: None,
                #[cfg(feature = "parquet")]
                parquet: None,
            };
            let found = format_of(&args, is_terminal);
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{out:?}"),
                (Err(error), Err(says)) => assert!(error.problem.contains(says), "{error}"),
                _ => panic!("{out:?}: {found:?}"),
            }
            let markdown = ReportArgs { format: Some(ReportFormat::Markdown), ..args };
            assert_eq!(format_of(&markdown, is_terminal).unwrap(), ReportFormat::Markdown);
        };
        check(None, false, Ok(ReportFormat::Html));
        check(None, true, Err("not for a terminal"));
        check(Some("-"), true, Ok(ReportFormat::Html));
        check(Some("a/page.html"), true, Ok(ReportFormat::Html));
        check(Some("a.markdown"), false, Ok(ReportFormat::Markdown));
        check(Some("a.csv"), false, Ok(ReportFormat::Csv));
        check(Some("a.jsonl"), false, Ok(ReportFormat::Jsonl));
        check(Some("/dev/null"), false, Ok(ReportFormat::Html));
        check(Some("a.pdf"), false, Err("from --out a.pdf"));
        check(Some("page"), false, Err("from --out page"));
    }
}
