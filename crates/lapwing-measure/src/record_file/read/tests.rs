use super::*;
use crate::record::samples;

/// The messages for the bad lines, and the number of good ones.
fn check(content: &[u8], n_records: usize, expected: &[&str]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let (good, bad): (Vec<_>, Vec<_>) =
        read(file.path()).unwrap().into_iter().partition(Result::is_ok);
    assert_eq!(good.len(), n_records);
    let messages: Vec<String> = bad
        .into_iter()
        .map(|result| {
            let error = result.unwrap_err();
            assert_eq!(error.path, file.path());
            format!("{}: {}", error.line_number, error.source)
        })
        .collect();
    assert_eq!(messages, expected);
}

#[test]
fn bad_lines_are_named_and_good_ones_kept() {
    let line = samples::decode().to_line().unwrap();
    let good = line.as_bytes();
    check(b"", 0, &[]);
    check(&[good, b"\n"].concat(), 1, &[]);
    check(&[good, b"\r\n\n  \n", good].concat(), 2, &[]);
    check(&[good, b"\nbad\n", good, b"\n"].concat(), 2, &["2: not a record"]);
    // Torn at the end, as a program that does not write whole files leaves it.
    check(&[good, b"\n", &good[..100]].concat(), 1, &["2: not a record"]);
    let newer = line.replacen("\"schema_version\":1", "\"schema_version\":7", 1);
    let message = "1: expected schema version 1, found 7";
    check(&[newer.as_bytes(), b"\n", good].concat(), 1, &[message]);
    check(include_bytes!("../../../testdata/records_version_1.jsonl"), 4, &[]);
}

#[test]
fn a_line_that_is_too_long_is_passed_over() {
    let line = samples::decode().to_line().unwrap();
    let good = line.as_bytes();
    let padding = |n_bytes: usize| vec![b' '; n_bytes - good.len()];
    // A line as long as it may be, and one byte more; the line feed does not count.
    check(&[good, &padding(LINE_BYTES_MAX), b"\n", good, b"\n"].concat(), 2, &[]);
    let message = "1: expected at most 4194304 bytes, found 4194306";
    let too_long = [good, &padding(LINE_BYTES_MAX + 1), b"\n", good, b"\n"].concat();
    check(&too_long, 1, &[message]);
    let message = "1: expected at most 4194304 bytes, found 9000001";
    check(&[&vec![b'x'; 9_000_000], b"\n".as_slice(), good].concat(), 1, &[message]);
    let message = "1: expected at most 4194304 bytes, found 9000000";
    check(&vec![b'x'; 9_000_000], 0, &[message]);
}

#[test]
fn what_is_no_record_file_is_refused_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, expected: &str| {
        let error = read(&folder.path().join(name)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check("missing.jsonl", "cannot read");
    std::fs::create_dir(folder.path().join("folder.jsonl")).unwrap();
    check("folder.jsonl", "folder.jsonl: it is not a file, but a folder");
    #[cfg(unix)]
    {
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        check("pipe", "it is not a file, but a pipe");
    }
    // A sparse file: it takes no room.
    let large = std::fs::File::create(folder.path().join("large.jsonl")).unwrap();
    large.set_len(FILE_BYTES_MAX + 1).unwrap();
    check("large.jsonl", "expected at most 1073741824 bytes");
    std::fs::write(folder.path().join("text.jsonl"), "x\n".repeat(BAD_LINES_MAX + 1)).unwrap();
    check("text.jsonl", "is not a file of records: more than 1000 lines are none");
    std::fs::write(folder.path().join("poor.jsonl"), "x\n".repeat(BAD_LINES_MAX)).unwrap();
    assert_eq!(read(&folder.path().join("poor.jsonl")).unwrap().len(), BAD_LINES_MAX);
}
