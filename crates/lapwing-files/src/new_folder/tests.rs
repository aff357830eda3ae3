use std::fs;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A folder of that name with a file that says what it is.
fn add(folder: &Path, name: &str) {
    fs::create_dir(folder.join(name)).unwrap();
    fs::write(folder.join(name).join("what"), name).unwrap();
}

#[test]
fn leftovers_of_killed_exports_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    for name in [".out.tmp-41", ".out.tmp-42-0", ".out.old-42-0", "out", ".out.tmp-mine", "other"] {
        add(folder.path(), name);
    }
    fs::write(folder.path().join(".out.lock-42-0"), "").unwrap();
    fs::write(folder.path().join(".out.lock-43-1"), "").unwrap();
    sweep(&folder.path().join("out"));
    assert_eq!(names(folder.path()), [".out.tmp-mine", "other", "out"]);
    assert_eq!(fs::read_to_string(folder.path().join("out/what")).unwrap(), "out");
}

#[test]
fn an_earlier_export_that_a_killed_one_moved_away_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), ".out.old-42");
    sweep(&folder.path().join("out"));
    assert_eq!(names(folder.path()), ["out"]);
    assert_eq!(fs::read_to_string(folder.path().join("out/what")).unwrap(), ".out.old-42");
}

#[test]
fn the_folder_of_a_living_export_stays() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let living = NewFolder::create(&out).unwrap();
    fs::write(living.path.join("what"), "new").unwrap();
    sweep(&out);
    let other = NewFolder::create(&out).unwrap();
    assert_ne!(living.path, other.path);
    living.finish().unwrap();
    assert_eq!(fs::read_to_string(out.join("what")).unwrap(), "new");
    other.finish().unwrap();
    assert_eq!(names(folder.path()), ["out"]);
    assert!(!out.join("what").exists());
}

#[test]
fn a_process_number_that_comes_again_fails_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for kind in [LOCK, TEMPORARY, OLD] {
        let attempt = [LOCK, TEMPORARY, OLD].iter().position(|other| *other == kind).unwrap();
        add(folder.path(), &format!(".out.{kind}-{}-{attempt}", std::process::id()));
    }
    let new = NewFolder::create(&out).unwrap();
    new.finish().unwrap();
    assert!(out.is_dir());
}

#[test]
fn what_was_there_may_be_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::write(&out, "a file").unwrap();
    let new = NewFolder::create(&out).unwrap();
    new.finish().unwrap();
    assert!(out.is_dir());
}

#[test]
fn a_folder_that_cannot_be_replaced_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    add(root.path(), "runtime");
    replace(&path("absent"), &path("runtime"), &path("aside")).unwrap_err();
    assert_eq!(fs::read_to_string(path("runtime/what")).unwrap(), "runtime");

    fs::create_dir(path("new")).unwrap();
    assert!(replace(&path("new"), &path("runtime"), &path("aside")).unwrap());
    assert!(path("aside/what").is_file() && !path("runtime/what").exists());
    fs::create_dir(path("another")).unwrap();
    assert!(!replace(&path("another"), &path("place"), &path("elsewhere")).unwrap());
    assert!(path("place").is_dir() && !path("elsewhere").exists());
}

#[cfg(unix)]
#[test]
fn links_are_removed_and_not_what_they_lead_to() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    add(root.path(), "kept");
    add(root.path(), "gone");
    std::os::unix::fs::symlink(path("kept"), path("link")).unwrap();
    std::os::unix::fs::symlink(path("kept"), path("gone/link")).unwrap();
    remove(&path("link")).unwrap();
    remove(&path("gone")).unwrap();
    remove(&path("gone")).unwrap_err();
    assert_eq!(names(root.path()), ["kept"]);
    assert!(path("kept/what").is_file());
}
