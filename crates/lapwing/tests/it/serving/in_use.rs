//! What answers took in use, as records: asked of the daemon, and shown by `lapwing report`.

use lapwing_measure::identity::Identity;
use lapwing_measure::record::{Record, TestKind};
use serde_json::Value;

use super::{Daemon, chat};
use crate::real::{library, shared_folder};

impl Daemon {
    /// Records of use, as the daemon tells them.
    fn used(&self) -> (Vec<Record>, Value) {
        let told = self.get("/v1/lapwing/use");
        assert_eq!(told.status, 200, "{}", told.body);
        let told = told.json();
        let records = told["records"].as_array().unwrap().iter();
        let records =
            records.map(|record| Record::parse(record.to_string().as_bytes()).unwrap()).collect();
        (records, told["left_out"].clone())
    }

    /// What `report --from-daemon` says when there is nothing to report.
    fn report_fails(&self) -> String {
        let output = self.program(&["report", "--from-daemon", "--json"], "");
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn answers_are_told_as_records_without_a_word_of_them() {
    let daemon = Daemon::start(&[]);
    let errors = daemon.report_fails();
    assert!(errors.contains("no answer of two tokens or more"), "{errors}");
    assert!(errors.contains("hint: let it answer"), "{errors}");
    // A token alone tells no speed.
    assert_eq!(daemon.chat("fake", "abc", 1).status, 200);
    assert_eq!(daemon.used(), (Vec::new(), Value::Array(Vec::new())));
    for (text, n_tokens) in [("secret words", 8), ("secret words", 8), ("other", 4)] {
        assert_eq!(daemon.chat("fake-2000", text, n_tokens).status, 200);
    }
    let streamed = daemon.post(
        "/api/generate",
        &serde_json::json!({"model": "fake", "prompt": "abcdef", "options": {"num_predict": 5}}),
    );
    assert_eq!(streamed.status, 200);
    let (records, left_out) = daemon.used();
    assert_eq!(left_out, Value::Array(Vec::new()));
    let models: Vec<&str> =
        records.iter().map(|record| record.configuration.model.as_str()).collect();
    assert_eq!(records.len(), 2, "one for each configuration: {models:?}");
    for record in &records {
        assert_eq!(record.test.kind, TestKind::Use);
        assert_eq!(record.missing_reasons(), [""; 0]);
        assert_eq!(record.needless_reasons(), [""; 0]);
        assert_eq!(record.run_id, records[0].run_id);
        assert_eq!(record.program.name, "lapwing");
        assert!(!serde_json::to_string(record).unwrap().contains("secret"));
    }
    let slow = &records[0];
    assert_eq!(slow.protocol.n_repetitions, 3);
    assert_eq!(slow.test.n_generated_tokens, 8);
    let latency = slow.latency.as_ref().unwrap();
    // A step takes 2 ms.
    assert!(latency.samples_ms[0] >= 14.0, "{:?}", latency.samples_ms);
    let rate = latency.tokens_per_s.median;
    assert!((50.0..=500.0).contains(&rate), "{rate}");
    assert_eq!(records[1].protocol.n_repetitions, 1);
    assert_eq!(records[1].test.n_generated_tokens, 5);
}

#[test]
fn the_program_reports_what_the_daemon_tells() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.chat("fake", "abcdef", 6).status, 200);
    let lines = daemon.says(&["report", "--from-daemon", "--json"]);
    let records: Vec<Record> =
        lines.lines().map(|line| Record::parse(line.as_bytes()).unwrap()).collect();
    assert_eq!(records.len(), 1);
    let table = daemon.says(&["report", "--from-daemon", "--format", "markdown"]);
    assert!(table.contains("| Last answer | Answers |"), "{table}");
    let page = daemon.home.path().join("page.html");
    let page = page.to_str().unwrap();
    daemon.says(&["report", "--from-daemon", "--out", page]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("In use") && !page.contains("The best configuration"), "{page}");
    #[cfg(feature = "parquet")]
    {
        let rows = daemon.home.path().join("use.parquet");
        let output =
            daemon.program(&["report", "--from-daemon", "--parquet", rows.to_str().unwrap()], "");
        assert!(String::from_utf8_lossy(&output.stderr).contains("(1 records)"));
        assert!(std::fs::read(&rows).unwrap().starts_with(b"PAR1"));
    }
    // They are no measurement to compare with.
    let kept = daemon.home.path().join("use.jsonl");
    std::fs::write(&kept, &lines).unwrap();
    let kept = kept.to_str().unwrap();
    let output = daemon.program(&["compare", kept, kept], "");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("only records of use") && errors.contains("lapwing bench"), "{errors}");
    let mixed = daemon.program(&["report", "--from-daemon", kept], "");
    assert_eq!(mixed.status.code(), Some(2), "files or the daemon");
}

#[test]
fn without_a_daemon_there_is_nothing_to_report() {
    let mut daemon = Daemon::start(&[]);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.child.wait().unwrap();
    let errors = daemon.report_fails();
    assert!(errors.contains("no daemon runs") && errors.contains("lapwing serve"), "{errors}");
}

#[test]
fn use_and_measurement_of_a_model_are_of_one_configuration() {
    let Some(shared) = shared_folder() else { return };
    let Some(openvino) = library("LAPWING_TEST_OPENVINO") else { return };
    let home = tempfile::tempdir().unwrap();
    let model = home.path().join("models/stories260k");
    std::fs::create_dir_all(&model).unwrap();
    for file in std::fs::read_dir(shared.join("exports/stories260k-ov-int8")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), model.join(file.file_name())).unwrap();
    }
    let arguments = ["--listen", "127.0.0.1:0", "--threads", "2"];
    let variables = [("OPENVINO_INSTALL_DIR", &*openvino), ("LAPWING_THREADS", "2")];
    let daemon = Daemon::start_in(home, &arguments, &variables);
    let told = daemon.post("/v1/chat/completions", &chat("stories260k", "Once upon a time", 20));
    let told = if told.status == 200 {
        told
    } else {
        let prompt = serde_json::json!({
            "model": "stories260k", "prompt": "Once upon a time", "max_tokens": 20});
        daemon.post("/v1/completions", &prompt)
    };
    assert_eq!(told.status, 200, "{}", told.body);
    let (records, left_out) = daemon.used();
    assert_eq!(records.len(), 1, "{left_out}");
    let out = daemon.home.path().join("bench.jsonl");
    let bench = ["bench", "--model", "stories260k", "-p", "16", "-n", "8", "--time", "300ms"];
    let bench = [&bench[..], &["--skip-start", "--out", out.to_str().unwrap()]].concat();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lapwing"));
    command.args(bench).envs(variables).env("LAPWING_HOME", daemon.home.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let measured = lapwing_measure::record_file::read(&out).unwrap().remove(0).unwrap();
    let (used, measured) = (Identity::of(&records[0]), Identity::of(&measured));
    assert_eq!(used.differences(&measured), []);
    assert!(records[0].configuration.model_bytes.is_some_and(|n| n > 100_000));
    // Whoever changed the files since cannot be told from the file that answered.
    let file = daemon.home.path().join("models/stories260k/generation_config.json");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|_| "{}".to_owned());
    std::fs::write(&file, text + "\n").unwrap();
    assert_eq!(daemon.used().0.len(), 1, "it was read before");
    assert_eq!(
        daemon
            .post("/v1/lapwing/models/unload", &serde_json::json!({"model": "stories260k"}))
            .status,
        200
    );
}
