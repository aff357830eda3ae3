//! `lapwing report` and `lapwing compare`: which records they take, what they print, exit codes.

use std::path::Path;

use serde_json::{Value, json};

use crate::Lapwing;

/// Records as this version writes them.
fn samples() -> Vec<Value> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = manifest.join("../lapwing-measure/testdata/records_version_1.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Write the samples, each changed, to a file below the home.
fn write(lapwing: &Lapwing, name: &str, change: impl Fn(&mut Value)) -> String {
    let lines = samples().into_iter().map(|mut record| {
        change(&mut record);
        record.to_string() + "\n"
    });
    let path = lapwing.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Every time becomes `factor` times as long.
fn slow_down(record: &mut Value, factor: f64) {
    let scale = |value: &mut Value, factor: f64| {
        if let Some(number) = value.as_f64() {
            *value = json!(number * factor);
        }
    };
    let latency = &mut record["latency"];
    if latency.is_null() {
        return;
    }
    latency["samples_ms"].as_array_mut().unwrap().iter_mut().for_each(|ms| scale(ms, factor));
    for figure in ["median", "low", "high", "mean"] {
        scale(&mut latency["tokens_per_s"][figure], 1.0 / factor);
    }
    scale(&mut latency["ms_median"], factor);
}

#[test]
fn a_report_is_printed_or_written_in_the_form_asked_for() {
    let lapwing = Lapwing::new();
    let file = write(&lapwing, "a.jsonl", |_| {});
    let page = lapwing.run(&["report", &file]).expect_code(0).stdout;
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("tiny-model-int8"), "{page}");
    let csv = lapwing.run(&["report", &file, "--format", "csv"]).expect_code(0).stdout;
    assert!(csv.starts_with("build_commit,build_number,cpu_info,"), "{csv}");
    let out = lapwing.path("report.md");
    let out = out.to_str().unwrap();
    let outcome = lapwing.run(&["report", &file, "-o", out, "--title", "Mine"]);
    outcome.expect_code(0).expect_says(&["wrote", "4 records"]);
    let text = std::fs::read_to_string(out).unwrap();
    assert!(text.starts_with("## Mine\n") && text.contains("| tg128@d1024 |"), "{text}");
    let page = lapwing.run(&["report", &file, "--out", "-"]).expect_code(0).stdout;
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    let unknown = lapwing.path("report.pdf");
    let outcome = lapwing.run(&["report", &file, "--out", unknown.to_str().unwrap()]);
    outcome.expect_code(2).expect_says(&["form of the report", "report.pdf", "hint: ", "--format"]);
    assert!(!unknown.exists());
    let nowhere = lapwing.path("gone/report.html");
    let outcome = lapwing.run(&["report", &file, "--out", nowhere.to_str().unwrap()]);
    outcome.expect_code(1).expect_says(&["cannot write the report", "report.html", "--out"]);
}

#[test]
fn records_are_chosen_by_path_host_revision_and_run() {
    let lapwing = Lapwing::new();
    let check = |arguments: &[&str], n_lines: usize| {
        let arguments = [&["report", "--format", "csv"], arguments].concat();
        let csv = lapwing.run(&arguments).expect_code(0).stdout;
        assert_eq!(csv.lines().count(), 1 + n_lines, "{arguments:?}: {csv}");
    };
    let refused = |arguments: &[&str], says: &[&str]| {
        lapwing.run(&[&["report"], arguments].concat()).expect_code(1).expect_says(says);
    };
    refused(&[], &["no records in", "hint: `lapwing bench`"]);
    let n_timed = samples().iter().filter(|record| record["test"]["kind"] != "start").count();
    let host = "profiles/example-laptop";
    let one = write(&lapwing, &format!("{host}/2026-11-21.jsonl"), |_| {});
    write(&lapwing, &format!("{host}/2026-11-22.jsonl"), |record| {
        record["run_id"] = json!("ffff000000000000");
        record["measured_at"] = json!("2026-11-22T12:00:00Z");
        record["program"]["git_revision"] = json!("1234567890");
    });
    check(&["example-laptop"], 2 * n_timed);
    check(&[lapwing.path("profiles").to_str().unwrap()], 2 * n_timed);
    check(&[&one], n_timed);
    check(&[&one, &one], n_timed);
    check(&[&one, "example-laptop"], 2 * n_timed);
    check(&["rev:12345"], n_timed);
    check(&["example-laptop#ffff"], n_timed);
    check(&["example-laptop", "--run", "latest"], n_timed);
    check(&["example-laptop", "--run", "ffff00"], n_timed);
    refused(&["elsewhere"], &["no records `elsewhere`", "hint: name a file"]);
    refused(&["../profiles"], &["no records `../profiles`"]);
    refused(&["rev:ffff"], &["no records of revision ffff"]);
    refused(&["rev:"], &["no records of revision"]);
    refused(&["example-laptop#abc"], &["no run abc in 8 records"]);
}

#[test]
fn a_bad_line_is_told_by_a_report_and_refused_by_a_comparison() {
    let lapwing = Lapwing::new();
    let good = write(&lapwing, "good.jsonl", |_| {});
    let bad = write(&lapwing, "bad.jsonl", |_| {});
    let text = std::fs::read_to_string(&bad).unwrap();
    std::fs::write(&bad, text.replacen('\n', "\n{\"torn\":\n", 1)).unwrap();
    let outcome = lapwing.run(&["report", &bad]).expect_code(0);
    assert!(outcome.stdout.contains("Lines that are no records and were left out: 1."));
    outcome.expect_says(&["warning:", "bad.jsonl line 2"]);
    let outcome = lapwing.run(&["compare", &good, &bad]).expect_code(1);
    outcome.expect_says(&["bad.jsonl line 2", "hint: remove the line"]);
    let newer = write(&lapwing, "newer.jsonl", |record| record["schema_version"] = json!(99));
    let outcome = lapwing.run(&["compare", &good, &newer]).expect_code(1);
    outcome.expect_says(&["newer.jsonl line 1", "found 99", "hint: a newer Lapwing"]);
    // Nothing but bad lines is no report.
    let outcome = lapwing.run(&["report", &newer]).expect_code(1);
    assert_eq!(outcome.stdout, "");
    outcome.expect_says(&["newer.jsonl line 1", "no records in", "hint: "]);
    let run = format!("{newer}#latest");
    for arguments in [&[&newer[..], "--run", "latest"][..], &[&newer, "--run", "abc"], &[&run]] {
        let outcome = lapwing.run(&[&["report"], arguments].concat()).expect_code(1);
        let outcome = outcome.expect_says(&["newer.jsonl line 1", "no records in", "newer.jsonl"]);
        assert!(!outcome.stderr.contains("no run"), "{arguments:?}: {}", outcome.stderr);
    }
    let outcome = lapwing.run(&["compare", &good, &run]).expect_code(1);
    outcome.expect_says(&["newer.jsonl line 1", "found 99", "hint: a newer Lapwing"]);
    // Of other runs there are records, and the bad lines may be those that were meant.
    let outcome = lapwing.run(&["report", &bad, "--run", "abc"]).expect_code(1);
    outcome.expect_says(&["bad.jsonl line 2", "no run abc in 4 records"]);
    let garbage: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
    std::fs::write(&bad, [garbage, text.into_bytes()].concat()).unwrap();
    let outcome = lapwing.run(&["report", &bad, "--format", "csv"]).expect_code(0);
    assert_eq!(outcome.stderr.matches("cannot read").count(), 10, "{}", outcome.stderr);
    outcome.expect_says(&["more lines are no records"]);
    std::fs::write(&bad, "x\n".repeat(1001)).unwrap();
    let outcome = lapwing.run(&["report", &good, &bad]).expect_code(1);
    outcome.expect_says(&["bad.jsonl is not a file of records", "hint: name other files"]);
}

#[test]
fn a_comparison_says_what_is_slower_and_fails_when_asked_to() {
    let lapwing = Lapwing::new();
    let file = write(&lapwing, "a.jsonl", |_| {});
    let slower = write(&lapwing, "b.jsonl", |record| slow_down(record, 1.5));
    let table = lapwing.run(&["compare", &file, &file, "--fail-over", "0"]).expect_code(0).stdout;
    assert!(table.contains("no difference shown") && !table.contains("slower"), "{table}");
    let table = lapwing.run(&["compare", &file, &slower]).expect_code(0).stdout;
    assert!(table.contains("slower"), "{table}");
    let outcome = lapwing.run(&["compare", &file, &slower, "--fail-over", "5%"]).expect_code(1);
    outcome.expect_says(&["worse by more than 5.0 %", "by 33.3 %"]);
    lapwing.run(&["compare", &file, &slower, "--fail-over", "40%"]).expect_code(0);
    lapwing.run(&["compare", &slower, &file, "--fail-over", "5%"]).expect_code(0);
    let found = lapwing.json(&["compare", &file, &slower, "--json"]);
    let mut decode = found["pairs"].as_array().unwrap().iter();
    let decode = decode.rfind(|pair| pair["test"] == "tg128@d1024").unwrap();
    let change = &decode["changes"][0];
    assert_eq!(change["metric"], "decode_tokens_per_s");
    assert_eq!(change["verdict"], "slower");
    assert!((change["ratio"].as_f64().unwrap() - 1.0 / 1.5).abs() < 1e-9, "{change}");
    assert_eq!(found["n_regressions"], Value::Null);
}

#[test]
fn what_b_lacks_is_no_success() {
    let lapwing = Lapwing::new();
    let file = write(&lapwing, "a.jsonl", |_| {});
    let text = std::fs::read_to_string(&file).unwrap();
    let shorter = lapwing.path("shorter.jsonl");
    let all_but_one: String = text.split_inclusive('\n').take(3).collect();
    std::fs::write(&shorter, all_but_one).unwrap();
    let shorter = shorter.to_str().unwrap();
    let null = write(&lapwing, "null.jsonl", |record| {
        record["memory"]["peak_rss_bytes"] = Value::Null;
    });
    for (lacking, says) in [(shorter, "llama.cpp"), (&*null, "peak resident")] {
        let outcome = lapwing.run(&["compare", &file, lacking, "--fail-over", "5%"]);
        let outcome = outcome.expect_code(1);
        outcome.expect_says(&["B lacks", "of what A has", says, "hint: measure B"]);
        lapwing.run(&["compare", &file, lacking]).expect_code(0).expect_says(&["only ", says]);
        lapwing.run(&["compare", lacking, &file, "--fail-over", "5%"]).expect_code(0);
    }
}

#[test]
fn a_verdict_without_an_interval_is_marked_and_fails_only_of_memory() {
    let lapwing = Lapwing::new();
    let file = write(&lapwing, "a.jsonl", |_| {});
    let start = write(&lapwing, "b.jsonl", |record| {
        if let Some(ms) = record["start"]["compile_cold_ms"].as_f64() {
            record["start"]["compile_cold_ms"] = json!(ms * 2.0);
        }
    });
    let outcome = lapwing.run(&["compare", &file, &start, "--fail-over", "5%"]).expect_code(0);
    assert!(outcome.stdout.contains("slower, without interval"), "{}", outcome.stdout);
    let memory = write(&lapwing, "c.jsonl", |record| {
        if let Some(n_bytes) = record["memory"]["peak_rss_bytes"].as_u64() {
            record["memory"]["peak_rss_bytes"] = json!(n_bytes * 2);
        }
    });
    let outcome = lapwing.run(&["compare", &file, &memory, "--fail-over", "5%"]).expect_code(1);
    outcome.expect_says(&["worse by more than 5.0 %", "peak resident"]);
}

#[test]
fn what_is_not_comparable_needs_force_and_hosts_may_be_named() {
    let lapwing = Lapwing::new();
    let file = write(&lapwing, "profiles/one/a.jsonl", |_| {});
    let other = write(&lapwing, "profiles/two/a.jsonl", |record| record["host"] = json!("two"));
    let outcome = lapwing.run(&["compare", &file, &other]).expect_code(1);
    outcome.expect_says(&["not comparable: host example-laptop against two", "hint: --force"]);
    lapwing.run(&["compare", &file, &other, "--force"]).expect_code(0);
    let outcome = lapwing.run(&["compare", "one", "two"]).expect_code(0);
    outcome.expect_says(&["host: example-laptop in A, two in B"]);
    let model = write(&lapwing, "c.jsonl", |record| {
        record["configuration"]["model_sha256"] = json!("ab".repeat(32));
    });
    lapwing.run(&["compare", &file, &model]).expect_code(1).expect_says(&["model hash"]);
}

#[cfg(feature = "parquet")]
#[test]
fn records_become_rows_of_a_whole_file_or_of_none() {
    let lapwing = Lapwing::new();
    let file = write(&lapwing, "a.jsonl", |_| {});
    let out = lapwing.path("fleet.parquet");
    let out_text = out.to_str().unwrap();
    let outcome = lapwing.run(&["report", &file, &file, "--parquet", out_text]);
    outcome.expect_code(0).expect_says(&["wrote", "4 records"]);
    let bytes = std::fs::read(&out).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    let piped = lapwing.command(&["report", &file, "--parquet", "-"]).output().unwrap();
    assert!(piped.status.success() && piped.stdout == bytes, "{piped:?}");
    assert_eq!(String::from_utf8_lossy(&piped.stderr), "");
    // What cannot be written leaves what was there.
    let huge = write(&lapwing, "huge.jsonl", |record| {
        record["memory"]["kv_bytes"] = json!(u64::MAX);
        record["nulls"].as_object_mut().unwrap().remove("memory.kv_bytes");
    });
    let outcome = lapwing.run(&["report", &file, &huge, "--parquet", out_text]);
    outcome.expect_code(1).expect_says(&["cannot write record", "memory.kv_bytes"]);
    assert_eq!(std::fs::read(&out).unwrap(), bytes);
    let empty = lapwing.path("empty.jsonl");
    std::fs::write(&empty, "bad\n").unwrap();
    let none = lapwing.path("none.parquet");
    let none = none.to_str().unwrap();
    let outcome = lapwing.run(&["report", empty.to_str().unwrap(), "--parquet", none]);
    outcome.expect_code(1).expect_says(&["line 1", "no records in"]);
    assert!(!Path::new(none).exists());
    let nowhere = lapwing.path("gone/fleet.parquet");
    let outcome = lapwing.run(&["report", &file, "--parquet", nowhere.to_str().unwrap()]);
    outcome.expect_code(1).expect_says(&["cannot write the report", "fleet.parquet", "--parquet"]);
    for option in [["--format", "csv"], ["--out", "a.html"], ["--run", "latest"], ["--title", "T"]]
    {
        let outcome = lapwing.run(&["report", &file, "--parquet", none, option[0], option[1]]);
        outcome.expect_code(2).expect_says(&["cannot be used with", option[0]]);
    }
}
