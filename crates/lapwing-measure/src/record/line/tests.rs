use serde_json::{Value, json};

use super::*;
use crate::record::samples;

#[test]
fn a_line_reads_back_as_the_record_it_was() {
    let check = |record: Record| {
        let line = record.to_line().unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(Record::parse(line.as_bytes()).unwrap(), record);
    };
    check(samples::decode());
    check(samples::prefill());
    check(samples::start());
    check(samples::peer());
    let mut odd = samples::decode();
    odd.host = "a \"host\"\nwith a line feed \u{2028}".to_owned();
    odd.latency.as_mut().unwrap().ms_median = 0.1 + 0.2;
    odd.protocol.seed = Some(u64::MAX);
    check(odd);
}

#[test]
fn optional_fields_are_written_as_null() {
    let value: Value = serde_json::from_str(&samples::peer().to_line().unwrap()).unwrap();
    assert_eq!(value["memory"]["kv_bytes"], Value::Null);
    assert!(value["memory"].as_object().unwrap().contains_key("kv_bytes"));
    assert!(value.as_object().unwrap().contains_key("energy"));
}

#[test]
fn fields_of_later_programs_are_ignored_and_missing_options_are_null() {
    let mut value = serde_json::to_value(samples::decode()).unwrap();
    value["moon"] = json!({"phase": ["full", null]});
    value["memory"]["swapped_bytes"] = json!(12);
    value["memory"].as_object_mut().unwrap().remove("kv_bytes");
    let record = Record::parse(value.to_string().as_bytes()).unwrap();
    let mut expected = samples::decode();
    expected.memory.kv_bytes = None;
    assert_eq!(record, expected);
}

/// Change the sample's JSON; the reader must complain with all of `expected`.
fn check_refused(change: impl FnOnce(&mut Value), expected: &str) {
    let mut value = serde_json::to_value(samples::decode()).unwrap();
    change(&mut value);
    check_line_refused(value.to_string().as_bytes(), expected);
}

fn check_line_refused(line: &[u8], expected: &str) {
    let error = Record::parse(line).unwrap_err();
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    let message = format!("{error}{}", cause.unwrap_or_default());
    assert!(message.contains(expected), "{message}");
}

#[test]
fn lines_that_are_no_records_are_refused() {
    check_line_refused(b"", "EOF");
    check_line_refused(b"{\"schema_version\":1", "EOF");
    check_line_refused(b"[1]", "not a record");
    check_line_refused(b"{}", "missing field `schema_version`");
    check_line_refused(b"{\"schema_version\":1}", "missing field `record_id`");
    check_line_refused(b"{\"schema_version\":1,\"record_id\":\"\xff\"}", "not a record");
    let deep = [b"{\"schema_version\":1,\"a\":".as_slice(), &[b'['; 100_000]].concat();
    // What is ignored is not recursed into.
    check_line_refused(&deep, "EOF while parsing a list");
    check_line_refused(&vec![b' '; LINE_BYTES_MAX + 1], "expected at most 4194304 bytes");
    check_refused(|value| value["schema_version"] = json!(-1), "not a record");
    check_refused(|value| value["schema_version"] = json!(2), "expected schema version 1, found 2");
    check_refused(|value| value["test"]["kind"] = json!("guess"), "unknown variant `guess`");
    check_refused(|value| value["memory"]["kv_bytes"] = json!(-5), "invalid value");
    check_refused(|value| value["latency"]["ms_median"] = json!(null), "invalid type: null");
    check_refused(|value| value["measured_at"] = json!("yesterday"), "found \"yesterday\"");
    check_refused(|value| value["latency"]["samples_ms"] = json!([]), "found none");
    check_refused(
        |value| value["latency"]["samples_ms"] = json!([1, 0, -1]),
        "expected a positive sample in latency.samples_ms[1], found 0",
    );
    let histogram = |change: fn(&mut Value)| {
        move |value: &mut Value| change(&mut value["latency"]["inter_token_ms"]["histogram"])
    };
    check_refused(histogram(|it| it["counts"] = json!([635])), "5 edges and 1 counts");
    check_refused(
        histogram(|it| it["edges_ms"] = json!([14.0, 15.0, 1.0, 18.0, 24.0])),
        "ascending edges in latency.inter_token_ms.histogram, found edges_ms[2] = 1 after 15",
    );
    check_refused(histogram(|it| it["counts"] = json!([1, 2, 3, 4])), "a sum of 10 and n = 635");
    let too_many = json!([u64::MAX, 2, 3, 4]);
    check_refused(
        |value| value["latency"]["inter_token_ms"]["histogram"]["counts"] = too_many,
        "a sum of more than can be counted and n = 635",
    );
}

#[test]
fn messages_are_short_and_do_not_steer_a_terminal() {
    let check = |change: &dyn Fn(&mut Value), expected: &str| {
        let mut value = serde_json::to_value(samples::decode()).unwrap();
        change(&mut value);
        let error = Record::parse(value.to_string().as_bytes()).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let message = format!("{error}: {}", cause.unwrap_or_default());
        assert!(message.chars().count() < 400, "{} characters", message.chars().count());
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(message.contains(expected), "{message}");
    };
    let evil = format!("\u{1b}[2J{}", "x".repeat(1_000_000));
    check(&|value| value["test"]["kind"] = json!(evil), "unknown variant `\u{fffd}[2Jxxx");
    check(&|value| value["test"]["kind"] = json!(evil), "at line 1 column");
    check(&|value| value["measured_at"] = json!(evil), "found \"\u{fffd}[2Jxxx");
    check(&|value| value["host"] = json!({ evil.as_str(): 1 }), "not a record: invalid type: map");
    let mut samples_ms = vec![json!(1.5); 100_000];
    samples_ms[70_000] = json!(-2.5);
    let samples_ms = Value::from(samples_ms);
    check(&|value| value["latency"]["samples_ms"] = samples_ms.clone(), "[70000], found -2.5");
    let histogram = json!({
        "edges_ms": (0..100_001).collect::<Vec<_>>(),
        "counts": vec![1; 100_000],
    });
    check(
        &|value| value["latency"]["inter_token_ms"]["histogram"] = histogram.clone(),
        "a sum of 100000 and n = 635",
    );
}

#[test]
fn a_record_that_nobody_could_read_is_not_written() {
    let check = |change: fn(&mut Record), expected: &str| {
        let mut record = samples::decode();
        change(&mut record);
        let error = record.to_line().unwrap_err();
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let message = format!("{error}{}", cause.unwrap_or_default());
        assert!(message.contains(expected), "{message}");
    };
    check(|record| record.energy = None, "nulls without a reason: [energy]");
    check(
        |record| {
            record.nulls.insert("host".into(), "shy".into());
        },
        "reasons without a null: [host]",
    );
    check(
        |record| record.latency.as_mut().unwrap().ms_mad = f64::NAN,
        "nulls without a reason: [latency.ms_mad]",
    );
    // A reason does not make it readable.
    check(
        |record| {
            record.latency.as_mut().unwrap().ms_mad = f64::NAN;
            record.nulls.insert("latency.ms_mad".into(), "not a number".into());
        },
        "could not be read back",
    );
    check(|record| record.measured_at.clear(), "could not be read back");
    check(|record| record.schema_version = 2, "could not be read back");
    check(|record| record.schema_version = 0, "could not be read back");
    check(|record| record.host = "h".repeat(LINE_BYTES_MAX), "could not be read back");
}
