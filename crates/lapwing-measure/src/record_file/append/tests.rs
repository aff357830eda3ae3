use std::collections::BTreeSet;
use std::process::Command;

use super::*;
use crate::record::samples;
use crate::record_file::read as read_records;

fn named(record_id: &str) -> Record {
    Record { record_id: record_id.to_owned(), ..samples::decode() }
}

fn file_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_line_is_added_to_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/2026-11-21.jsonl");
    let line = |record_id: &str| named(record_id).to_line().unwrap();
    append(&path, &named("one")).unwrap();
    append(&path, &named("two")).unwrap();
    let expected = format!("{}\n{}\n", line("one"), line("two"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    let names = ["2026-11-21.jsonl", "2026-11-21.jsonl.lock"];
    assert_eq!(file_names(path.parent().unwrap()), names);
    // Bytes that are no records stay, and a torn line does not swallow the new one.
    std::fs::write(&path, b"\xff\x00torn").unwrap();
    append(&path, &named("three")).unwrap();
    let expected = [b"\xff\x00torn\n", line("three").as_bytes(), b"\n"].concat();
    assert_eq!(std::fs::read(&path).unwrap(), expected);
}

#[test]
fn a_record_that_is_not_fit_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let mut record = named("one");
    record.energy = None;
    let error = append(&path, &record).unwrap_err();
    assert!(matches!(error, AppendError::Record { .. }), "{error:?}");
    assert_eq!(file_names(folder.path()), [""; 0]);
}

#[test]
fn leftovers_of_the_dead_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    for name in [".a.jsonl.x1Y2z3.partial", ".b.jsonl.x1Y2z3.partial", "a.jsonl.partial"] {
        std::fs::write(folder.path().join(name), "half a rec").unwrap();
    }
    append(&folder.path().join("a.jsonl"), &named("one")).unwrap();
    let names = [".b.jsonl.x1Y2z3.partial", "a.jsonl", "a.jsonl.lock", "a.jsonl.partial"];
    assert_eq!(file_names(folder.path()), names);
}

#[test]
fn a_full_file_and_a_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    File::create(&path).unwrap().set_len(FILE_BYTES_MAX).unwrap();
    let error = append(&path, &named("one")).unwrap_err();
    assert!(matches!(error, AppendError::FileFull { .. }), "{error:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES_MAX);
    let taken = folder.path().join("b.jsonl");
    std::fs::create_dir(&taken).unwrap();
    let error = append(&taken, &named("one")).unwrap_err();
    assert!(matches!(error, AppendError::NotAFile { .. }), "{error:?}");
    // Where a folder should be is a file.
    let error = append(&path.join("c.jsonl"), &named("one")).unwrap_err();
    assert!(matches!(error, AppendError::Create { .. }), "{error:?}");
}

#[test]
fn a_file_that_cannot_be_locked_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a.jsonl.lock")).unwrap();
    let error = append(&folder.path().join("a.jsonl"), &named("one")).unwrap_err();
    assert!(matches!(error, AppendError::Lock { .. }), "{error:?}");
    assert!(error.to_string().ends_with("a.jsonl.lock"), "{error}");
}

#[test]
fn nobody_waits_longer_than_he_wants_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    append(&path, &named("one")).unwrap();
    let before = std::fs::read(&path).unwrap();
    let held = File::open(lock_path(&path)).unwrap();
    held.lock().unwrap();
    let n_asked = std::cell::Cell::new(0);
    let may_wait = || {
        n_asked.set(n_asked.get() + 1);
        n_asked.get() < 3
    };
    let error = append_while(&path, &named("two"), &may_wait).unwrap_err();
    assert!(matches!(error, AppendError::Busy { .. }), "{error:?}");
    assert_eq!(n_asked.get(), 3);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    drop(held);
    append_while(&path, &named("two"), &|| false).unwrap();
    assert_eq!(read_records(&path).unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_file_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    append(&path, &named("one")).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    append(&link, &named("two")).unwrap();
    assert!(link.is_symlink());
    assert_eq!(read_records(&path).unwrap().len(), 2);
    assert_eq!(file_names(folder.path()), ["a.jsonl", "a.jsonl.lock", "b.jsonl"]);
    // By way of a link to the folder, and by one whose file is not there yet.
    let aside = folder.path().join("aside");
    std::os::unix::fs::symlink(folder.path(), &aside).unwrap();
    append(&aside.join("b.jsonl"), &named("three")).unwrap();
    assert_eq!(read_records(&path).unwrap().len(), 3);
    let (later, early) = (folder.path().join("sub/c.jsonl"), folder.path().join("d.jsonl"));
    std::os::unix::fs::symlink("sub/c.jsonl", &early).unwrap();
    append(&early, &named("four")).unwrap();
    append(&early, &named("five")).unwrap();
    assert!(early.is_symlink() && !later.is_symlink());
    assert_eq!(read_records(&later).unwrap().len(), 2);
    let expected = ["a.jsonl", "a.jsonl.lock", "aside", "b.jsonl", "d.jsonl", "sub"];
    assert_eq!(file_names(folder.path()), expected);
    assert_eq!(file_names(&folder.path().join("sub")), ["c.jsonl", "c.jsonl.lock"]);
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    std::os::unix::fs::symlink(&one, &other).unwrap();
    std::os::unix::fs::symlink(&other, &one).unwrap();
    let error = append(&one, &named("one")).unwrap_err();
    assert!(matches!(error, AppendError::Read { .. }), "{error:?}");
    assert_eq!(file_names(folder.path()), ["a.jsonl", "b.jsonl"]);
}

#[cfg(unix)]
#[test]
fn permissions_are_kept_and_respected() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    append(&path, &named("one")).unwrap();
    // What the umask leaves of a new file.
    std::fs::write(folder.path().join("new"), "").unwrap();
    assert_eq!(mode(&path), mode(&folder.path().join("new")));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    append(&path, &named("two")).unwrap();
    assert_eq!(mode(&path), 0o640);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o440)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = append(&path, &named("three")).unwrap_err();
    assert!(matches!(error, AppendError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().ends_with("a.jsonl: it is read-only"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(file_names(folder.path()), ["a.jsonl", "a.jsonl.lock", "new"]);
}

#[test]
fn what_users_meet_has_an_error_of_its_own() {
    let check = |kind: ErrorKind, expected: &str| {
        let error = failed(Path::new("a.jsonl"), cannot_lock)(kind.into());
        assert_eq!(error.to_string(), expected);
    };
    check(ErrorKind::PermissionDenied, "cannot write to a.jsonl: it is read-only");
    check(ErrorKind::ReadOnlyFilesystem, "cannot write to a.jsonl: it is read-only");
    check(ErrorKind::StorageFull, "cannot write a.jsonl: the disk is full");
    check(ErrorKind::QuotaExceeded, "cannot write a.jsonl: the disk is full");
    check(ErrorKind::Unsupported, "cannot lock a.jsonl.lock");
}

#[test]
fn threads_lose_no_line() {
    const N_THREADS: usize = 4;
    const N_RECORDS: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    std::thread::scope(|scope| {
        for thread_idx in 0..N_THREADS {
            let path = &path;
            scope.spawn(move || {
                for record_idx in 0..N_RECORDS {
                    append(path, &named(&format!("{thread_idx}-{record_idx}"))).unwrap();
                }
            });
        }
    });
    let ids: BTreeSet<String> =
        read_records(&path).unwrap().into_iter().map(|result| result.unwrap().record_id).collect();
    assert_eq!(ids.len(), N_THREADS * N_RECORDS);
}

/// The folder that a process started by [`in_process`] works in.
const FOLDER: &str = "LAPWING_TEST_RECORD_FOLDER";

/// This test program again, for one of the ignored tests below.
fn in_process(test: &str, folder: &Path, wrapper: &[&str]) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut words: Vec<&std::ffi::OsStr> = wrapper.iter().map(AsRef::as_ref).collect();
    let name = format!("record_file::append::tests::{test}");
    let arguments = ["--exact", name.as_str(), "--ignored"];
    words.push(program.as_os_str());
    words.extend(arguments.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(FOLDER, folder);
    command
}

#[test]
fn processes_lose_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut processes: Vec<_> = (0..3)
        .map(|_| in_process("append_ten_records", folder.path(), &[]).spawn().unwrap())
        .collect();
    for process in &mut processes {
        assert!(process.wait().unwrap().success());
    }
    let results = read_records(&folder.path().join("a.jsonl")).unwrap();
    let ids: BTreeSet<String> =
        results.into_iter().map(|result| result.unwrap().record_id).collect();
    assert_eq!(ids.len(), 30);
}

#[test]
#[ignore = "processes_lose_no_line runs it"]
fn append_ten_records() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    for record_idx in 0..10 {
        let record_id = format!("{}-{record_idx}", std::process::id());
        append(&Path::new(&folder).join("a.jsonl"), &named(&record_id)).unwrap();
    }
}

/// Whoever is killed anywhere leaves a file of whole lines, and the next one goes on.
#[cfg(unix)]
#[test]
fn a_killed_process_leaves_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let mut n_records = 0;
    for round in 0..12_u64 {
        let mut process = in_process("append_for_ever", folder.path(), &[]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20 + 7 * round));
        // SIGKILL.
        process.kill().unwrap();
        process.wait().unwrap();
        append(&path, &named("after")).unwrap();
        let records: Vec<Record> =
            read_records(&path).unwrap().into_iter().map(Result::unwrap).collect();
        assert!(n_records < records.len());
        assert_eq!(records.last().unwrap().record_id, "after");
        n_records = records.len();
    }
    assert!(12 < n_records, "no process came to append anything");
    assert_eq!(file_names(folder.path()), ["a.jsonl", "a.jsonl.lock"]);
}

#[test]
#[ignore = "a_killed_process_leaves_whole_lines runs it"]
fn append_for_ever() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    // Should nobody be left to kill it, it ends by itself.
    let begin = std::time::Instant::now();
    while begin.elapsed().as_secs() < 10 {
        append(&Path::new(&folder).join("a.jsonl"), &named("before")).unwrap();
    }
}

/// On a file system of 64 KiB of its own, where the user may make one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=64k tmpfs \"$LAPWING_TEST_RECORD_FOLDER\" || exit 77; \
                  \"$@\"";
    let wrapper = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"];
    let mut command = in_process("append_until_full", folder.path(), &wrapper);
    let Ok(output) = command.output() else {
        eprintln!("skipped: no unshare");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || error.contains("unshare:") {
        eprintln!("skipped: {error}");
        return;
    }
    assert!(output.status.success() && text.contains("1 passed"), "{text}{error}");
}

#[test]
#[ignore = "a_full_disk_loses_nothing runs it"]
fn append_until_full() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let path = Path::new(&folder).join("a.jsonl");
    for n_records in 0..100 {
        let error = match append(&path, &named("one")) {
            Ok(()) => continue,
            Err(error) => error,
        };
        assert!(matches!(error, AppendError::DiskFull { .. }), "{error:?}");
        assert!(0 < n_records);
        let results = read_records(&path).unwrap();
        assert_eq!(results.into_iter().filter(Result::is_ok).count(), n_records);
        assert_eq!(file_names(Path::new(&folder)), ["a.jsonl", "a.jsonl.lock"]);
        return;
    }
    panic!("64 KiB hold a hundred records");
}
