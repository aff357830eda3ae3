//! `lapwing report --parquet`: the records of many machines as one file for databases.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Seek as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use lapwing_files::new_file::NewFile;
use lapwing_measure::bench::host;
use lapwing_measure::record::Record;
use lapwing_measure::record_file::{SelectRecordsError, visit_all};
use lapwing_parquet::{RecordWriter, WriteRecordError};

use super::{N_BAD_LINES_TOLD, WriteReportError};
use crate::exit::UsageError;
use crate::printer::Printer;
use crate::settings::Settings;

/// What is copied to a pipe at once, in bytes.
const N_BYTES_COPIED: usize = 1 << 16;

/// Write the records that `wanted` stands for, this machine's where it is empty, as rows to `path`.
///
/// # Errors
///
/// When there are no records, or the file cannot be written; it is not there then.
pub(super) fn write(
    settings: &Settings,
    printer: &Printer,
    wanted: &[String],
    path: &Path,
) -> anyhow::Result<()> {
    write_with(printer, path, &mut |file| fill(settings, printer, wanted, path, file))
}

/// The same of records that are here already.
///
/// # Errors
///
/// When the file cannot be written; it is not there then.
pub(super) fn write_records(
    printer: &Printer,
    records: &[Record],
    path: &Path,
) -> anyhow::Result<()> {
    let told = |error| not_told(path, error);
    write_with(printer, path, &mut |file| {
        let mut writer = RecordWriter::new(file, env!("CARGO_PKG_VERSION")).map_err(told)?;
        for record in records {
            writer.write(record).map_err(told)?;
        }
        writer.finish().map_err(told)
    })
}

/// Let `fill` write the rows and tell their number.
fn write_with(
    printer: &Printer,
    path: &Path,
    fill: &mut dyn FnMut(&mut File) -> anyhow::Result<usize>,
) -> anyhow::Result<()> {
    let is_piped = path == Path::new("-");
    if is_piped && io::stdout().is_terminal() {
        let advice = Some("--parquet FILE writes it".into());
        return Err(
            UsageError { problem: "a Parquet file is not for a terminal".into(), advice }.into()
        );
    }
    let failed = |source| not_written(path, source);
    if is_piped {
        // A pipe, too, gets the whole file or nothing.
        let mut whole = tempfile::tempfile().map_err(failed)?;
        fill(&mut whole)?;
        return copy(whole, printer, path);
    }
    let mut new = NewFile::create(path).map_err(failed)?;
    let n_rows = fill(new.file())?;
    new.finish().map_err(failed)?;
    printer.note(format!("wrote {} ({n_rows} records)", path.display()));
    Ok(())
}

/// Write the rows; returns their number.
fn fill(
    settings: &Settings,
    printer: &Printer,
    wanted: &[String],
    path: &Path,
    file: &mut File,
) -> anyhow::Result<usize> {
    let told = |error| not_told(path, error);
    let profiles = settings.home.profiles();
    let own = profiles.join(host());
    if wanted.is_empty() && !own.is_dir() {
        return Err(SelectRecordsError::Nothing { path: own }.into());
    }
    // The whole path: something in the working folder may have the machine's name.
    let own = [own.to_string_lossy().into_owned()];
    let wanted = if wanted.is_empty() { &own[..] } else { wanted };
    let mut writer = RecordWriter::new(file, env!("CARGO_PKG_VERSION")).map_err(told)?;
    let mut written = Ok(());
    let (mut n_records, mut n_bad_lines) = (0_usize, 0_usize);
    visit_all(wanted, &profiles, &mut |result| match result {
        Ok(record) => {
            n_records += 1;
            written = writer.write(&record);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
        Err(bad_line) => {
            n_bad_lines += 1;
            if n_bad_lines <= N_BAD_LINES_TOLD {
                printer.warning(format!("{:#}", anyhow::Error::from(bad_line)));
            }
            ControlFlow::Continue(())
        }
    })?;
    written.map_err(told)?;
    if N_BAD_LINES_TOLD < n_bad_lines {
        printer.warning(format!("{} more lines are no records", n_bad_lines - N_BAD_LINES_TOLD));
    }
    if n_records == 0 {
        return Err(SelectRecordsError::Nothing { path: PathBuf::from(&wanted[0]) }.into());
    }
    writer.finish().map_err(told)
}

fn copy(mut from: File, printer: &Printer, path: &Path) -> anyhow::Result<()> {
    let failed = |source| not_written(path, source);
    from.rewind().map_err(failed)?;
    let mut bytes = vec![0; N_BYTES_COPIED];
    loop {
        match from.read(&mut bytes).map_err(failed)? {
            0 => return Ok(()),
            n_bytes => printer.bytes(&bytes[..n_bytes])?,
        }
    }
}

fn not_told(path: &Path, error: WriteRecordError) -> anyhow::Error {
    match error {
        // The record is at fault, and not the disk.
        WriteRecordError::TooLarge { .. } => error.into(),
        WriteRecordError::Rows(_) => not_written(path, io::Error::other(error)).into(),
    }
}

fn not_written(path: &Path, source: io::Error) -> WriteReportError {
    WriteReportError { option: "--parquet", path: path.to_owned(), source }
}
