//! `lapwing report`: records as a page, as Markdown or as CSV.

use std::path::{Path, PathBuf};

use lapwing_files::new_file;
use lapwing_measure::bench::host;
use lapwing_measure::record_file::{
    RecordLineError, SelectRecordsError, Selected, keep_run, select, select_all,
};
use lapwing_measure::report::{self, ReportOptions};

use crate::cli::{ReportArgs, ReportFormat};
use crate::printer::Printer;
use crate::settings::Settings;

/// More bad lines than this are counted and not told one by one.
const N_BAD_LINES_TOLD: usize = 10;

/// The report is not there.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report {}", path.display())]
pub struct WriteReportError {
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
    let Selected { mut records, bad_lines, .. } = read(settings, args)?;
    if args.run != "all" {
        keep_run(&mut records, &args.run)?;
    }
    let notes = match bad_lines.len() {
        0 => Vec::new(),
        n => vec![format!("Lines that are no records and were left out: {n}.")],
    };
    tell(bad_lines, printer);
    if records.is_empty() {
        let path = args.records.first().map_or_else(|| settings.home.profiles(), PathBuf::from);
        return Err(SelectRecordsError::Nothing { path }.into());
    }
    let title = args.title.clone().unwrap_or_else(|| "Lapwing profiles".to_owned());
    let options = ReportOptions { title, notes };
    let text = match format_of(args) {
        ReportFormat::Html => report::html(&records, &options),
        ReportFormat::Markdown => report::markdown(&records, &options),
        ReportFormat::Csv => report::csv(&records),
    };
    match &args.out {
        Some(path) => {
            new_file::write(path, text.as_bytes())
                .map_err(|error| WriteReportError { path: error.path, source: error.source })?;
            printer.note(format!("wrote {} ({} records)", path.display(), records.len()));
        }
        None => printer.write(text)?,
    }
    Ok(())
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

fn format_of(args: &ReportArgs) -> ReportFormat {
    let extension = args.out.as_deref().and_then(Path::extension);
    let by_name = match extension.and_then(|extension| extension.to_str()) {
        Some("md" | "markdown") => ReportFormat::Markdown,
        Some("csv") => ReportFormat::Csv,
        _ => ReportFormat::Html,
    };
    args.format.unwrap_or(by_name)
}
