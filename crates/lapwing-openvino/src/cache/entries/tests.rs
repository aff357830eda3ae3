use std::collections::BTreeMap;
use std::fs::File;

use super::super::entry::Blob;
use super::super::first_logits::FirstLogits;
use super::super::key::CompiledBy;
use super::super::paths::partial_folder;
use super::*;

fn key(digit: char) -> String {
    std::iter::repeat_n(digit, 32).collect()
}

/// An entry of 1000 bytes beside its record, last used `age_s` seconds ago.
fn put(cache: &Path, digit: char, age_s: u64) -> Entry {
    let key = key(digit);
    let folder = cache.join(&key);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("1.blob"), [0; 1000]).unwrap();
    let record = EntryRecord {
        schema_version: 2,
        key: key.clone(),
        graph: PathBuf::from("/models/a/openvino_model.xml"),
        by: CompiledBy {
            library_version: "2026.4.1".to_owned(),
            device: "CPU".to_owned(),
            device_name: "Xeon".to_owned(),
            driver_version: None,
            properties: BTreeMap::new(),
        },
        compile_ms: 1500.0,
        created_unix_s: 1_700_000_000,
        first_logits: FirstLogits::of(&[0.5]),
        is_confirmed: false,
        refused: None,
        blobs: BTreeMap::from([("1.blob".to_owned(), Blob { n_bytes: 1000, crc32: 0 })]),
    };
    record.write(&folder).unwrap();
    let file = File::options().append(true).open(folder.join(RECORD_FILE)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
    entry(cache, key)
}

fn left(cache: &Path) -> String {
    entries(cache).iter().map(|entry| entry.key.chars().next().unwrap()).collect()
}

#[test]
fn entries_come_with_their_state_oldest_first() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path();
    for (digit, age_s) in [('a', 100), ('b', 300), ('c', 200), ('d', 400)] {
        put(cache, digit, age_s);
    }
    // What is no entry.
    std::fs::create_dir(cache.join("weights")).unwrap();
    std::fs::create_dir(partial_folder(cache, &key('e'))).unwrap();
    std::fs::write(cache.join(key('f')), "a file").unwrap();
    let _lease = Lease::take(&cache.join(key('a')).join(RECORD_FILE));
    let _lock = Lock::try_acquire(&lock_path(cache, &key('b'))).unwrap();
    std::fs::write(cache.join(key('c')).join("1.blob"), "short").unwrap();
    let found = entries(cache);
    let states: Vec<_> = found.iter().map(|entry| (&entry.key[..1], &entry.state)).collect();
    let damaged = EntryState::Damaged { why: "1.blob has 5 bytes instead of 1000".to_owned() };
    // A lease is a use.
    assert_eq!(
        states,
        [
            ("d", &EntryState::Ready),
            ("b", &EntryState::InUse),
            ("c", &damaged),
            ("a", &EntryState::InUse),
        ]
    );
    assert_eq!(found[0].record.as_ref().unwrap().by.library_version, "2026.4.1");
    assert!(1000 < found[0].n_bytes);
}

#[test]
fn an_entry_in_use_is_not_removed() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path();
    let entry = put(cache, 'a', 100);
    let refused = |what: &str| match remove(cache, &entry) {
        Err(RemoveEntryError::InUse { .. }) => assert!(entry.folder.exists()),
        other => panic!("{what}: {other:?}"),
    };
    let lease = Lease::take(&entry.folder.join(RECORD_FILE)).unwrap();
    refused("a model is open");
    drop(lease);
    let lock = Lock::try_acquire(&lock_path(cache, &entry.key)).unwrap();
    refused("a model is being opened");
    drop(lock);
    remove(cache, &entry).unwrap();
    assert!(!entry.folder.exists());
    remove(cache, &entry).unwrap();
}

#[test]
fn the_longest_unused_go_first_and_those_in_use_never() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path();
    let n_bytes = put(cache, 'a', 400).n_bytes;
    for (digit, age_s) in [('b', 100), ('c', 300), ('d', 200)] {
        assert_eq!(put(cache, digit, age_s).n_bytes, n_bytes);
    }
    let lease = Lease::take(&cache.join(key('a')).join(RECORD_FILE)).unwrap();
    // Used now, so it is the last in the list.
    assert_eq!(left(cache), "cdba");
    assert!(trim(cache, 4 * n_bytes).is_empty());
    let removed = trim(cache, 4 * n_bytes - 1);
    assert_eq!(removed.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>(), [key('c')]);
    assert_eq!(left(cache), "dba");
    trim(cache, 0);
    assert_eq!(left(cache), "a");
    drop(lease);
    trim(cache, 0);
    assert_eq!(left(cache), "");
}

#[test]
fn leftovers_are_swept_and_what_is_used_or_foreign_stays() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path();
    put(cache, 'a', 100);
    let partial = |digit: char, pid: u32| {
        let folder = cache.join(format!(".{}.{pid}.partial", key(digit)));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("1.blob"), "half").unwrap();
        folder
    };
    let (dead, written) = (partial('b', 1), partial('c', 2));
    let _lock = Lock::try_acquire(&lock_path(cache, &key('c'))).unwrap();
    let touch = |name: &str, age: Duration| {
        let file = File::create(cache.join(name)).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        cache.join(name)
    };
    let day = LOCK_AGE_MIN + Duration::from_secs(60);
    let gone = touch("17.blob", Duration::ZERO);
    let kernel = touch("18.cl_cache", Duration::ZERO);
    let foreign = touch("notes.txt", day);
    let old_lock = touch(&format!("{}.lock", key('d')), day);
    let new_lock = touch(&format!("{}.lock", key('e')), Duration::ZERO);
    let lock_of_entry = touch(&format!("{}.lock", key('a')), day);
    sweep(cache);
    for path in [dead, gone, kernel, old_lock] {
        assert!(!path.exists(), "{}", path.display());
    }
    for path in [written, foreign, new_lock, lock_of_entry] {
        assert!(path.exists(), "{}", path.display());
    }
    assert_eq!(left(cache), "a");
}
