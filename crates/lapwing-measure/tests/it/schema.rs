//! The types, the JSON Schema and the page about them say the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use lapwing_measure::record::{Record, SCHEMA_VERSION};
use serde_json::{Value, json};

fn profiles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles")
}

fn schema() -> Value {
    let text = std::fs::read(profiles().join("record.schema.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn validator() -> Validator {
    let schema = schema();
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

fn sample_lines() -> Vec<&'static str> {
    include_str!("../../testdata/records_version_1.jsonl").lines().collect()
}

fn samples() -> Vec<Value> {
    sample_lines().into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the validator complains of, with the place in the record.
fn complaints(validator: &Validator, record: &Value) -> Vec<String> {
    validator
        .iter_errors(record)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[test]
fn samples_fit_the_schema() {
    let validator = validator();
    for sample in samples() {
        assert_eq!(complaints(&validator, &sample), [""; 0]);
    }
}

#[test]
fn committed_records_fit_the_schema_and_tell_every_null() {
    let validator = validator();
    let mut n_records = 0;
    for file in std::fs::read_dir(profiles().join("sample")).unwrap() {
        let path = file.unwrap().path();
        // The identity of a record by the peers' script is of that script's own making.
        let is_of_peers = path.to_string_lossy().ends_with("-peers.jsonl");
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let record = Record::parse(line.as_bytes()).unwrap();
            if !is_of_peers {
                assert_eq!(record.record_id, record.content_id(), "edited by hand: {line}");
            }
            assert_eq!(record.missing_reasons(), [""; 0]);
            assert_eq!(record.needless_reasons(), [""; 0]);
            let record = serde_json::from_str(line).unwrap();
            assert_eq!(complaints(&validator, &record), [""; 0]);
            n_records += 1;
        }
    }
    assert!(16 <= n_records, "both exports with and without correction: {n_records} records");
}

#[test]
fn what_the_program_writes_fits_the_schema() {
    let validator = validator();
    for line in sample_lines() {
        let record = Record::parse(line.as_bytes()).unwrap();
        let written: Value = serde_json::from_str(&record.to_line().unwrap()).unwrap();
        assert_eq!(complaints(&validator, &written), [""; 0]);
    }
}

#[test]
fn the_schema_refuses_what_is_no_record() {
    let validator = validator();
    let check = |pointer: &str, value: Option<Value>, expected: &str| {
        let mut record = samples().swap_remove(0);
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = record.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert(key.to_owned(), value),
            None => parent.remove(key),
        };
        let found = complaints(&validator, &record);
        assert!(found.iter().any(|complaint| complaint.contains(expected)), "{found:?}");
    };
    check("/schema_version", Some(json!(2)), "/schema_version: 1 was expected");
    check("/schema_version", None, "\"schema_version\" is a required property");
    check("/start", None, "\"start\" is a required property");
    check("/memory/kv_bytes", None, "/memory: \"kv_bytes\" is a required property");
    check("/memory/kv_bytes", Some(json!(-1)), "/memory/kv_bytes: -1");
    check("/memory/kv_bytes", Some(json!(0.5)), "/memory/kv_bytes: 0.5");
    check("/latency/ms_median", Some(Value::Null), "/latency/ms_median: null");
    check("/latency/samples_ms", Some(json!([])), "/latency/samples_ms: []");
    check("/test/kind", Some(json!("guess")), "/test/kind: \"guess\"");
    check("/energy/source", Some(Value::Null), "/energy/source: null");
    check("/measured_at", Some(json!("today")), "/measured_at: \"today\"");
    check("/tokens_sha256", Some(json!("ab")), "/tokens_sha256: \"ab\"");
    check("/nulls/start", Some(json!("")), "/nulls/start: \"\"");
    check("/conditions/library_versions", Some(json!({"a": 1})), "library_versions/a: 1");
}

/// Objects whose keys are data.
const MAPS: &[&str] = &[
    "configuration.settings",
    "conditions.library_versions",
    "conditions.driver_versions",
    "nulls",
];

/// What is absent where there is nothing to say: records were written before it was known.
const SOMETIMES: &[&str] = &["conditions.cpu_quota", "conditions.memory_limit_bytes"];

/// The paths, with dots, of everything that the samples hold somewhere, by way of the types.
fn fields_of_the_types() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for line in sample_lines() {
        let record = Record::parse(line.as_bytes()).unwrap();
        collect(&serde_json::to_value(record).unwrap(), "", &mut paths);
    }
    paths
}

fn collect(value: &Value, path: &str, paths: &mut BTreeSet<String>) {
    let Value::Object(fields) = value else { return };
    if MAPS.contains(&path) {
        return;
    }
    for (key, value) in fields {
        let path = joined(path, key);
        collect(value, &path, paths);
        paths.insert(path);
    }
}

/// The paths of the schema; those that may be null go to `nullable` too.
fn fields_of_the_schema(nullable: &mut BTreeSet<String>) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    collect_properties(&schema(), "", &mut paths, nullable);
    paths
}

fn collect_properties(
    schema: &Value,
    path: &str,
    paths: &mut BTreeSet<String>,
    nullable: &mut BTreeSet<String>,
) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let keys: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    let required = schema["required"].as_array().unwrap();
    let required: BTreeSet<&str> = required.iter().map(|key| key.as_str().unwrap()).collect();
    let is_always_there = |key: &&str| !SOMETIMES.contains(&&*joined(path, key));
    let keys: BTreeSet<&str> = keys.into_iter().filter(is_always_there).collect();
    assert_eq!(keys, required, "every field of {path:?} is always there");
    for (key, property) in properties {
        let path = joined(path, key);
        assert!(property["description"].is_string(), "{path}");
        collect_properties(property, &path, paths, nullable);
        let may_be = |name: &str, null: Value| {
            property[name].as_array().is_some_and(|values| values.contains(&null))
        };
        if may_be("type", json!("null")) || may_be("enum", Value::Null) {
            nullable.insert(path.clone());
        }
        paths.insert(path);
    }
}

fn joined(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

#[test]
fn types_and_schema_have_the_same_fields() {
    assert_eq!(fields_of_the_types(), fields_of_the_schema(&mut BTreeSet::new()));
    assert_eq!(schema()["properties"]["schema_version"]["const"], json!(SCHEMA_VERSION));
}

/// Without any one nullable field a record still reads; without any other it does not.
#[test]
fn types_and_schema_agree_on_what_may_be_null() {
    let mut nullable = BTreeSet::new();
    let paths = fields_of_the_schema(&mut nullable);
    for path in paths {
        let pointer = format!("/{}", path.replace('.', "/"));
        let mut n_samples = 0;
        for mut sample in samples() {
            let Some(value) = sample.pointer_mut(&pointer) else { continue };
            *value = Value::Null;
            n_samples += 1;
            let reads = Record::parse(sample.to_string().as_bytes()).is_ok();
            assert_eq!(reads, nullable.contains(&path), "{path}");
        }
        assert!(0 < n_samples, "no sample holds {path}");
    }
}

/// The fields in the tables of `schema.md`, and whether they can be null.
fn fields_of_the_page() -> Vec<(String, bool)> {
    let text = std::fs::read_to_string(profiles().join("schema.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let [field, _, _, _, null] = cells[..] else { panic!("{row}") };
        (field.trim_end_matches('`').to_owned(), null != "never |")
    })
    .collect()
}

#[test]
fn page_and_schema_have_the_same_fields() {
    let mut nullable = BTreeSet::new();
    let paths = fields_of_the_schema(&mut nullable);
    let page = fields_of_the_page();
    let described: BTreeSet<String> = page.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(described, paths);
    assert_eq!(described.len(), page.len(), "a field is described twice");
    let described_nullable: BTreeSet<String> =
        page.into_iter().filter(|(_, may_be_null)| *may_be_null).map(|(path, _)| path).collect();
    assert_eq!(described_nullable, nullable);
}

#[test]
fn the_first_sample_leaves_nothing_out_that_its_test_can_tell() {
    let record = Record::parse(sample_lines()[0].as_bytes()).unwrap();
    let nulls: Vec<&String> = record.nulls.keys().collect();
    assert_eq!(nulls, ["latency.ttft_ms", "start"]);
}
