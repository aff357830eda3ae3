use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("models"));
    (folder, store)
}

fn staged(store: &Store, name: &str, file: &str, text: &str) -> Record {
    let staging = store.staging(name).unwrap();
    std::fs::create_dir_all(&staging).unwrap();
    std::fs::write(staging.join(file), text).unwrap();
    let size_bytes = text.len() as u64;
    Record {
        name: name.into(),
        source: "file:/x".into(),
        requested: None,
        variant: None,
        kind: ModelKind::Gguf,
        licence: None,
        files: vec![FileRecord { path: file.into(), size_bytes, sha256: "00".into() }],
    }
}

fn install(store: &Store, name: &str, file: &str, text: &str) {
    let record = staged(store, name, file, text);
    store.install(&store.staging(name).unwrap(), &record).unwrap();
}

#[test]
fn names_stay_inside() {
    let check = |name: &str, expected: Option<&str>| {
        assert_eq!(folder_name(name).ok().as_deref(), expected, "{name}");
    };
    check("qwen3-8b", Some("qwen3-8b"));
    check("OpenVINO/Qwen3-8B@main", Some("OpenVINO--Qwen3-8B@main"));
    check("a/b/c", None);
    check("..", None);
    check("../x", None);
    check("a/..", None);
    check("/etc", None);
    check(".locks", None);
    check("-rf", None);
    check("", None);
    check("a b", None);
    // Else it would share the folder of a/b.
    check("a--b", None);
    check("a\\b", None);
    check(&"a".repeat(201), None);
}

#[test]
fn install_list_remove() {
    let (_folder, store) = store();
    assert!(store.list().unwrap().is_empty());
    install(&store, "org/one", "one.gguf", "12345");
    install(&store, "org/one", "one.gguf", "123456");
    let models = store.list().unwrap();
    assert_eq!(models.len(), 1);
    assert_eq!((models[0].name.as_str(), models[0].size_bytes), ("org/one", 6));
    assert_eq!(models[0].path.file_name().unwrap(), "one.gguf");
    assert!(store.is_whole(&store.record("org/one").unwrap()));

    store.remove("org/one").unwrap();
    assert!(store.list().unwrap().is_empty());
    assert!(matches!(store.remove("org/one"), Err(StoreError::NotFound { .. })));
}

#[test]
fn a_damaged_model_is_not_whole() {
    let (_folder, store) = store();
    install(&store, "m", "m.gguf", "12345");
    std::fs::write(store.folder("m").unwrap().join("m.gguf"), "123").unwrap();
    assert!(!store.is_whole(&store.record("m").unwrap()));
}

#[test]
fn what_a_killed_removal_left_is_swept_by_the_next_install_or_removal() {
    let (_folder, store) = store();
    let staging = store.root().join(STAGING_FOLDER);
    let leave = |name: &str| {
        let left = staging.join(format!(".removed-1-{name}"));
        std::fs::create_dir_all(&left).unwrap();
        std::fs::write(left.join("weights"), "old").unwrap();
        left
    };
    let (own, other, held) = (leave("org--m"), leave("other"), leave("held"));
    let lock = Lock::try_acquire(&store.lock_file("held").unwrap()).unwrap();
    install(&store, "org/m", "m.gguf", "12345");
    assert!(!own.exists() && !other.exists() && held.exists());
    drop(lock);
    store.remove("org/m").unwrap();
    assert!(!held.exists());
}

#[test]
fn a_replacement_that_fails_leaves_the_old_model() {
    let (_folder, store) = store();
    install(&store, "m", "m.gguf", "12345");
    let record = staged(&store, "m", "m.gguf", "new");
    let staging = store.staging("m").unwrap();
    // A folder cannot be renamed into itself: the record is written, and the last step fails.
    let inside = store.folder("m").unwrap().join("staged");
    std::fs::rename(staging, &inside).unwrap();
    assert!(matches!(store.install(&inside, &record), Err(StoreError::Io { .. })));
    let old = store.folder("m").unwrap().join("m.gguf");
    assert_eq!(std::fs::read_to_string(old).unwrap(), "12345");
}

#[test]
fn a_folder_without_a_record_is_listed_under_the_name_that_opens_it() {
    let (_folder, store) = store();
    std::fs::create_dir_all(store.folder("org/by-hand").unwrap()).unwrap();
    assert_eq!(store.list().unwrap()[0].name, "org/by-hand");
}

#[test]
fn an_unfinished_pull_can_be_removed() {
    let (_folder, store) = store();
    staged(&store, "m", "m.gguf", "12345");
    store.remove("m").unwrap();
    assert!(!store.staging("m").unwrap().exists());
}

#[cfg(unix)]
#[test]
fn removing_follows_no_links() {
    let (folder, store) = store();
    let outside = folder.path().join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("keep.gguf"), "keep").unwrap();
    install(&store, "m", "m.gguf", "12345");
    let inside = store.folder("m").unwrap().join("link");
    std::os::unix::fs::symlink(&outside, inside).unwrap();
    std::os::unix::fs::symlink(&outside, store.folder("whole").unwrap()).unwrap();
    store.remove("m").unwrap();
    store.remove("whole").unwrap();
    assert!(outside.join("keep.gguf").is_file());
    assert!(!store.folder("whole").unwrap().exists());
}
