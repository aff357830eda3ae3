//! Journals that are whole, cut off, of other settings, and no journals.

use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit {
    sum: f64,
    values: Vec<f32>,
}

fn key(n_window: usize) -> JournalKey {
    let key = json!({"measurement": "perplexity", "n_window": n_window, "text": "ab\"c\nd"});
    key.as_object().expect("an object").clone()
}

fn unit(sum: f64) -> Unit {
    Unit { sum, values: vec![0.1, f32::MIN_POSITIVE, -0.0, 1e30] }
}

fn write_two(path: &Path) -> (Unit, Unit) {
    let (first, second) = (unit(0.1 + 0.2), unit(f64::MIN_POSITIVE));
    let mut journal = Journal::open(path, &key(512)).expect("a new journal");
    journal.finish("window 0", &first).expect("it is written");
    journal.finish("window 1", &second).expect("it is written");
    (first, second)
}

#[test]
fn results_come_back_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let (first, second) = write_two(&path);
    let journal = Journal::open(&path, &key(512)).expect("it opens again");
    assert_eq!(journal.n_finished(), 2);
    assert_eq!(journal.result("window 0").expect("a unit"), Some(first));
    assert_eq!(journal.result("window 1").expect("a unit"), Some(second));
    assert_eq!(journal.result::<Unit>("window 2").expect("no unit"), None);
    let error = journal.result::<usize>("window 0").expect_err("another shape");
    assert!(error.to_string().starts_with("the result of window 0 in"), "{error}");
}

#[test]
fn a_journal_cut_off_anywhere_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    write_two(&path);
    let whole = fs::read(&path).expect("the file");
    for n_bytes in 0..=whole.len() {
        fs::write(&path, &whole[..n_bytes]).expect("it is cut");
        let n_lines = whole[..n_bytes].iter().filter(|&&byte| byte == b'\n').count();
        let mut journal = Journal::open(&path, &key(512)).expect("it opens");
        assert_eq!(journal.n_finished(), n_lines.saturating_sub(1), "{n_bytes} bytes");
        journal.finish("window 7", &unit(7.0)).expect("it is written");
        drop(journal);
        let journal = Journal::open(&path, &key(512)).expect("it opens again");
        assert_eq!(journal.n_finished(), n_lines.saturating_sub(1) + 1, "{n_bytes} bytes");
    }
}

#[test]
fn other_journals_and_other_files_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let check = |bytes: &[u8], expected: &str| {
        fs::write(&path, bytes).expect("a file");
        let error = Journal::open(&path, &key(512)).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error} without {expected}");
        assert_eq!(fs::read(&path).expect("the file"), bytes, "left as it was");
    };
    check(b"precious notes", "is not a journal: expected");
    check(b"precious\nnotes", "is not a journal: expected");
    let other = header_line(&key(2048));
    check(other.as_bytes(), "of another measurement: n_window is 2048, expected 512");
    let mut less = key(512);
    less.remove("text");
    check(header_line(&less).as_bytes(), "text is nothing, expected \"ab\\\"c\\nd\"");
    let newer = other.replace("2048", "512").replace("journal\":2", "journal\":9");
    check(newer.as_bytes(), "format 9, expected 2");
    let broken = header_line(&key(512)) + "{\"unit\":\n{\"unit\":\"a\",\"result\":1}\n";
    check(broken.as_bytes(), "line 2 of the journal");
}

#[test]
fn a_changed_byte_anywhere_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    write_two(&path);
    let whole = fs::read(&path).expect("the file");
    for changed_idx in 0..whole.len() - 1 {
        for change in [1, 4] {
            let mut bytes = whole.clone();
            bytes[changed_idx] ^= change;
            fs::write(&path, &bytes).expect("it is changed");
            let opened = Journal::open(&path, &key(512));
            assert!(opened.is_err(), "byte {changed_idx} of {}", whole.len());
        }
    }
}

#[test]
fn lines_that_were_edited_moved_doubled_or_taken_out_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    write_two(&path);
    let whole = fs::read_to_string(&path).expect("the file");
    let [header, first, second] = whole.split_inclusive('\n').collect::<Vec<_>>()[..] else {
        panic!("three lines: {whole}")
    };
    let check = |text: String, line: usize| {
        fs::write(&path, text).expect("a file");
        let error = Journal::open(&path, &key(512)).expect_err("it was changed");
        let expected = format!("was changed at or before line {line}: expected the checksum ");
        assert!(error.to_string().contains(&expected), "{error}");
    };
    check(format!("{header}{}{second}", first.replace("0.30", "0.31")), 2);
    check(format!("{header}{second}{first}"), 2);
    check(format!("{header}{second}"), 2);
    check(format!("{header}{first}{first}{second}"), 3);
    check(format!("{}{first}", header.replace(r#""key":{"#, r#""key":{ "#)), 2);
}

#[test]
fn a_journal_is_written_by_one_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let first = Journal::open(&path, &key(512)).expect("a new journal");
    let error = Journal::open(&path, &key(512)).expect_err("it is in use");
    assert!(matches!(error, OpenJournalError::InUse { .. }), "{error}");
    drop(first);
    Journal::open(&path, &key(512)).expect("free again");
}

#[test]
fn units_are_computed_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal =
        Journal::open(&folder.path().join("journal.jsonl"), &key(512)).expect("a journal");
    let mut journal = Some(&mut journal);
    let mut n_computed = 0;
    for expected in [false, true] {
        let (result, was_there) = resume(&mut journal, "a", || {
            n_computed += 1;
            Ok::<_, JournalUnitError>(unit(2.0))
        })
        .expect("a result");
        assert_eq!((result, was_there), (unit(2.0), expected));
    }
    assert_eq!(n_computed, 1);
}
