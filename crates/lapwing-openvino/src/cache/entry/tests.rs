use std::path::PathBuf;

use lapwing_backend::{Device, DeviceKind};
use lapwing_formats::Map;

use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// An entry with two blobs.
struct Case {
    root: tempfile::TempDir,
    device: Device,
    weights: Map,
    properties: Vec<(&'static str, String)>,
}

impl Case {
    fn new() -> Case {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("model.bin"), "weights").unwrap();
        let weights = Map::open(&root.path().join("model.bin")).unwrap();
        let device =
            Device { kind: DeviceKind::Cpu, id: "CPU".to_owned(), name: "Xeon ".to_owned() };
        let properties = vec![("PERFORMANCE_HINT", "LATENCY".to_owned())];
        let case = Case { root, device, weights, properties };
        std::fs::create_dir(case.folder()).unwrap();
        std::fs::write(case.folder().join("1.blob"), "compiled").unwrap();
        std::fs::write(case.folder().join("2.blob"), "").unwrap();
        // A kernel of a GPU.
        std::fs::write(case.folder().join("3.cl_cache"), "kernel").unwrap();
        case.record().write(&case.folder()).unwrap();
        case
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join(KEY)
    }

    fn facts(&self) -> KeyFacts<'_> {
        KeyFacts {
            library_version: "2026.4.1",
            device: &self.device,
            driver_version: None,
            graph_file: Path::new("/models/a.xml"),
            graph_xml: "<net/>",
            weights: &self.weights,
            feeding: &[],
            properties: &self.properties,
        }
    }

    fn record(&self) -> EntryRecord {
        let compile = Duration::from_millis(1500);
        let (folder, facts) = (self.folder(), self.facts());
        EntryRecord::of_folder(&folder, KEY, &facts, compile, &[0.5]).unwrap().unwrap()
    }

    /// What is wrong with the entry.
    fn wrong(&self) -> Option<String> {
        let record = EntryRecord::read(&self.folder());
        record.and_then(|record| record.check(&self.folder(), KEY, &self.facts())).err()
    }

    fn edit_record(&self, from: &str, to: &str) {
        let path = self.folder().join(RECORD_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    }
}

#[test]
fn what_was_written_is_right() {
    let case = Case::new();
    assert_eq!(case.wrong(), None);
    let record = EntryRecord::read(&case.folder()).unwrap();
    assert_eq!(record.n_bytes(), 8);
    assert_eq!(record.graph, Path::new("/models/a.xml"));
    assert_eq!((record.compile_ms, record.by.device_name.as_str()), (1500.0, "Xeon"));
    assert!(1_700_000_000 < record.created_unix_s);
    // Kernels come and go.
    std::fs::write(case.folder().join("4.cl_cache"), "kernel").unwrap();
    assert_eq!(case.wrong(), None);
}

#[test]
fn a_folder_without_blobs_is_no_entry() {
    let case = Case::new();
    for name in ["1.blob", "2.blob"] {
        std::fs::remove_file(case.folder().join(name)).unwrap();
    }
    let record = EntryRecord::of_folder(&case.folder(), KEY, &case.facts(), Duration::ZERO, &[]);
    assert_eq!(record.unwrap(), None);
}

#[test]
fn damage_is_found_and_named() {
    let check = |damage: &dyn Fn(&Case), expected: &str| {
        let case = Case::new();
        damage(&case);
        let found = case.wrong().unwrap();
        assert!(found.contains(expected), "{found} instead of {expected}");
    };
    let write = |case: &Case, name: &str, text: &str| {
        std::fs::write(case.folder().join(name), text).unwrap();
    };
    let remove = |case: &Case, name: &str| {
        std::fs::remove_file(case.folder().join(name)).unwrap();
    };
    check(&|case| write(case, "1.blob", "compilex"), "1.blob is damaged");
    check(&|case| write(case, "1.blob", "compile"), "1.blob has 7 bytes instead of 8");
    check(&|case| write(case, "2.blob", "x"), "2.blob has 1 bytes instead of 0");
    check(&|case| remove(case, "2.blob"), "2.blob is missing");
    check(&|case| write(case, "9.blob", "foreign"), "9.blob is none of its files");
    check(&|case| remove(case, RECORD_FILE), RECORD_FILE);
    for text in ["", "{", "null", "[]", "{\"schema_version\": 2}"] {
        check(&|case| write(case, RECORD_FILE, text), "entry.json is damaged");
    }
    check(&|case| case.edit_record("\"schema_version\": 2", "\"schema_version\": 1"), "version 1");
    check(&|case| write(case, RECORD_FILE, "{\"schema_version\": 1}"), "version 1, not 2");
    check(&|case| case.edit_record(KEY, "f"), "another model");
    check(&|case| case.edit_record("2026.4.1", "2026.4.0"), "OpenVINO 2026.4.0, not 2026.4.1");
    check(&|case| case.edit_record("\"CPU\"", "\"NPU\""), "device NPU, not CPU");
    check(&|case| case.edit_record("Xeon", "Atom"), "processor Atom, not Xeon");
    check(&|case| case.edit_record("LATENCY", "THROUGHPUT"), "other properties");
    check(
        &|case| case.edit_record("\"driver_version\": null", "\"driver_version\": \"1\""),
        "driver",
    );
}

#[cfg(unix)]
#[test]
fn a_link_is_none_of_the_librarys_files() {
    let case = Case::new();
    let blob = case.folder().join("1.blob");
    std::fs::rename(&blob, case.root.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(case.root.path().join("elsewhere"), &blob).unwrap();
    assert!(case.wrong().unwrap().contains("1.blob is no file"));
}
