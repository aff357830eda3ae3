//! Records one after the other, of more machines than fit into memory.

use std::ops::ControlFlow;
use std::path::Path;

use super::folder::{Seen, record_files_at};
use super::read::{Take, visit_file};
use super::select::{SelectRecordsError, located, select};
use super::{ReadFolderError, RecordLineError};
use crate::record::Record;

/// Hand all records that `wanted` stands for to `take`, as [`super::select_all`] finds them, each
/// once, until it breaks; and the lines that are none.
///
/// Of files, folders and hosts one line is in memory, and 16 bytes of each record before it; of
/// what is chosen by `rev:` or `#RUN_ID`, all.
///
/// # Errors
///
/// As [`super::select_all`]; what was taken by then was read.
pub fn visit_all(
    wanted: &[String],
    profiles: &Path,
    take: &mut Take<'_>,
) -> Result<(), SelectRecordsError> {
    let mut seen = Seen::default();
    let mut take_new = |result: Result<Record, RecordLineError>| match &result {
        Ok(record) if !seen.is_new(record) => ControlFlow::Continue(()),
        _ => take(result),
    };
    for wanted in wanted {
        let flow = match is_chosen(wanted) {
            true => {
                let selected = select(wanted, profiles)?;
                let bad_lines = selected.bad_lines.into_iter().map(Err);
                let mut results = bad_lines.chain(selected.records.into_iter().map(Ok));
                results.try_for_each(&mut take_new)
            }
            false => visit_path(&located(wanted, profiles)?.0, &mut take_new)?,
        };
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

/// Whether only some of the records of the files are meant.
fn is_chosen(wanted: &str) -> bool {
    wanted.starts_with("rev:") || (wanted.contains('#') && !Path::new(wanted).exists())
}

fn visit_path(path: &Path, take: &mut Take<'_>) -> Result<ControlFlow<()>, SelectRecordsError> {
    let mut n_lines = 0;
    let mut counted = |result| {
        n_lines += 1;
        take(result)
    };
    for file in record_files_at(path)? {
        let flow = visit_file(&file, &mut counted).map_err(ReadFolderError::from)?;
        if flow.is_break() {
            return Ok(flow);
        }
    }
    match n_lines {
        0 => Err(SelectRecordsError::Nothing { path: path.to_owned() }),
        _ => Ok(ControlFlow::Continue(())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples;
    use crate::record_file::select_all;

    #[test]
    fn the_same_records_come_one_by_one_as_all_at_once() {
        let home = tempfile::tempdir().unwrap();
        let line = |host: &str| {
            let record = Record { host: host.to_owned(), ..samples::decode() };
            record.to_line().unwrap() + "\n"
        };
        for (name, text) in [
            ("a/1.jsonl", line("a")),
            ("a/2.jsonl", line("b") + "bad\n" + &line("a")),
            ("b/1.jsonl", line("c")),
            ("c#d.jsonl", line("d")),
            ("e/1.jsonl", String::new()),
        ] {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        let run = samples::decode().run_id;
        let check = |wanted: &[String], n_records: usize| {
            let mut hosts = Vec::new();
            let mut n_bad_lines = 0;
            let visited = visit_all(wanted, home.path(), &mut |result| {
                match result {
                    Ok(record) => hosts.push(record.host),
                    Err(_) => n_bad_lines += 1,
                }
                ControlFlow::Continue(())
            });
            match (visited, select_all(wanted, home.path())) {
                (Ok(()), Ok(all)) => {
                    let expected: Vec<String> = all.records.into_iter().map(|r| r.host).collect();
                    assert_eq!(hosts, expected, "{wanted:?}");
                    assert_eq!(n_bad_lines, all.bad_lines.len(), "{wanted:?}");
                }
                (Err(one), Err(all)) => assert_eq!(one.to_string(), all.to_string()),
                (one, all) => panic!("{wanted:?}: {one:?}, {all:?}"),
            }
            assert_eq!(hosts.len(), n_records, "{wanted:?}");
        };
        check(&[path("a"), "b".into(), path("a/1.jsonl"), path("c#d.jsonl")], 4);
        check(&[path("")], 4);
        check(&[format!("a#{run}"), "b".into()], 3);
        check(&["a#none".into()], 0);
        check(&["e".into()], 0);
        check(&["none".into()], 0);
        check(&["rev:none".into()], 0);
        let mut n_taken = 0;
        visit_all(&["a".into(), "b".into()], home.path(), &mut |_| {
            n_taken += 1;
            ControlFlow::Break(())
        })
        .unwrap();
        assert_eq!(n_taken, 1);
    }
}
