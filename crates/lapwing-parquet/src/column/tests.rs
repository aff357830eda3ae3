use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn profiles(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// What the schema of records says of every field that holds no other fields.
fn fields(schema: &Value, path: &str, is_within_null: bool, into: &mut BTreeMap<String, Kind>) {
    for (key, property) in schema["properties"].as_object().unwrap() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let has = |name: &str| {
            let said = &property["type"];
            *said == json!(name) || said.as_array().is_some_and(|all| all.contains(&json!(name)))
        };
        let or_null = property["enum"].as_array().is_some_and(|all| all.contains(&Value::Null));
        let required = schema["required"].as_array().unwrap();
        let may_be_null =
            is_within_null || has("null") || or_null || !required.contains(&json!(key));
        let item = property["items"]["type"].as_str();
        let kind = match item {
            _ if property["properties"].is_object() => {
                fields(property, &path, may_be_null, into);
                continue;
            }
            Some("string") => Texts,
            Some("integer") => Integers,
            Some("number") => Numbers,
            _ if has("object") => Map,
            _ if has("integer") || property["const"].is_u64() => Integer,
            _ if has("number") => Number,
            _ if has("boolean") => Flag,
            _ => Text,
        };
        let column = COLUMNS.iter().find(|column| column.path == path);
        let column = column.unwrap_or_else(|| panic!("no column for {path}"));
        assert_eq!(column.may_be_null, may_be_null, "{path}");
        into.insert(path, kind);
    }
}

#[test]
fn there_is_a_column_for_every_field_of_a_record() {
    let schema: Value = serde_json::from_str(&profiles("record.schema.json")).unwrap();
    let mut fields_of_records = BTreeMap::new();
    fields(&schema, "", false, &mut fields_of_records);
    let columns: BTreeMap<String, Kind> = COLUMNS
        .iter()
        .map(|column| {
            // JSON has one kind of text, and one of integers.
            let kind = match column.kind {
                Time => Text,
                Unsigned => Integer,
                kind => kind,
            };
            (column.path.to_owned(), kind)
        })
        .collect();
    assert_eq!(columns, fields_of_records);
    assert_eq!(columns.len(), COLUMNS.len(), "a field is there twice");
}

#[test]
fn the_page_has_the_schema_of_a_file() {
    let rows = COLUMNS.iter().map(|column| {
        let kind = match column.kind {
            Text => "`STRING`",
            Integer => "`INT64`",
            Unsigned => "`UINT64`",
            Number => "`DOUBLE`",
            Flag => "`BOOLEAN`",
            Time => "`TIMESTAMP(MICROS, UTC)`",
            Texts => "`LIST<STRING>`",
            Integers => "`LIST<INT64>`",
            Numbers => "`LIST<DOUBLE>`",
            Map => "`MAP<STRING, STRING>`",
        };
        let null = if column.may_be_null { "yes" } else { "no" };
        format!("| `{}` | {kind} | {null} |", column.name())
    });
    let page = profiles("parquet.md");
    let documented: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(documented, rows.collect::<Vec<String>>());
}

#[test]
fn names_are_paths_and_no_two_are_the_same() {
    let names: std::collections::BTreeSet<String> = COLUMNS.iter().map(Column::name).collect();
    assert_eq!(names.len(), COLUMNS.len());
    assert!(names.contains("latency_tokens_per_s_median"), "{names:?}");
    assert_eq!(schema().unwrap().get_fields().len(), COLUMNS.len());
}
