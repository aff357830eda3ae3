//! `lapwing pull` from a path, and the store: list, rm, locks.

use lapwing_files::Lock;

use crate::{Lapwing, files_below, leftovers, sha256};

/// A GGUF of one tensor of four numbers, which are its last 16 bytes.
pub(crate) fn gguf() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    // One tensor, no metadata.
    bytes.extend([1_u64, 0].map(u64::to_le_bytes).as_flattened());
    bytes.extend(1_u64.to_le_bytes());
    bytes.push(b'w');
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(4_u64.to_le_bytes());
    // Of type f32, at the start of the data.
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend([0; 16]);
    bytes
}

fn checkpoint(lapwing: &Lapwing) -> String {
    let path = lapwing.path("My Model.gguf");
    std::fs::write(&path, gguf()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_file_there_and_back() {
    let lapwing = Lapwing::new();
    let original = checkpoint(&lapwing);
    let pulled = lapwing.json(&["pull", &original, "--json"]);
    assert_eq!(pulled[0]["name"], "My-Model");
    assert_eq!(pulled[0]["was_there"], false);
    assert_eq!(pulled[0]["size_bytes"], gguf().len());
    assert_eq!(pulled[0]["linked_bytes"], 0);

    let record = std::fs::read_to_string(lapwing.path("models/My-Model/.lapwing.json")).unwrap();
    assert!(record.contains(&sha256(&gguf())), "{record}");
    let listed = lapwing.json(&["list", "--json"]);
    assert_eq!(listed[0]["path"], lapwing.path("models/My-Model/My Model.gguf").to_str().unwrap());
    assert_eq!(listed[0]["kind"], "gguf");
    let table = lapwing.run(&["list"]).expect_code(0).stdout;
    assert!(table.starts_with("NAME") && table.contains("My-Model"), "{table}");
    assert!(table.contains("gguf checkpoint"), "it does not run as it is: {table}");
    let asked = lapwing.run(&["rm", "My-Model", "gone"]).expect_code(1);
    asked.expect_says(&["cannot remove gone: no model gone"]);
    lapwing.run(&["rm", "My-Model"]).expect_code(2).expect_says(&["cannot ask", "My-Model"]);

    let again = lapwing.json(&["pull", &format!("file:{original}"), "--json"]);
    assert_eq!(again[0]["was_there"], true);
    lapwing.run(&["rm", "My-Model", "--yes"]).expect_code(0);
    assert_eq!(lapwing.json(&["list", "--json"]), serde_json::json!([]));
    assert!(std::fs::exists(&original).unwrap());
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());
}

/// A graph of nothing.
const IR: &str =
    r#"<?xml version="1.0"?><net name="m" version="11"><layers></layers><edges></edges></net>"#;

#[test]
fn a_folder_under_another_name() {
    let lapwing = Lapwing::new();
    let folder = lapwing.path("export");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    for file in ["openvino_model.bin", "sub/extra.json", ".hidden"] {
        std::fs::write(folder.join(file), file).unwrap();
    }
    std::fs::write(folder.join("openvino_model.xml"), IR).unwrap();
    let pull = ["pull", folder.to_str().unwrap(), "--as", "team/model"];
    let outcome = lapwing.run(&pull).expect_code(1);
    outcome
        .expect_says(&["could not be opened once it was in the store", "config.json is missing"]);
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());
    let graph = folder.join("openvino_model.xml");
    let outcome = lapwing.run(&["pull", graph.to_str().unwrap()]).expect_code(1);
    outcome.expect_says(&["one file of a model", "hint: `lapwing pull ", "/export`"]);

    let config = r#"{"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1}"#;
    std::fs::write(folder.join("config.json"), config).unwrap();
    lapwing.run(&pull).expect_code(0);
    let files = files_below(&lapwing.path("models/team--model"));
    let expected = [
        ".lapwing.json",
        "config.json",
        "openvino_model.bin",
        "openvino_model.xml",
        "sub/extra.json",
    ];
    assert_eq!(files, expected);
    assert_eq!(lapwing.json(&["list", "--json"])[0]["name"], "team/model");
}

#[cfg(unix)]
#[test]
fn a_link_and_its_removal() {
    let lapwing = Lapwing::new();
    let original = checkpoint(&lapwing);
    let said = lapwing.run(&["pull", &original, "--link"]).expect_code(0);
    said.expect_says(&["(a link to 80 B)"]);
    assert!(lapwing.path("models/My-Model/My Model.gguf").is_symlink());
    let listed = lapwing.json(&["list", "--json"]);
    assert_eq!(listed[0]["size_bytes"], gguf().len());
    assert_eq!(listed[0]["linked_bytes"], gguf().len());
    let removed = lapwing.run(&["rm", "My-Model", "--yes"]).expect_code(0);
    removed.expect_says(&["removed My-Model (a link to 80 B)"]);
    assert_eq!(std::fs::read(&original).unwrap(), gguf());
}

/// Pull what was cut off, as a copy and as a link: both fail, and the store stays as it was.
#[track_caller]
fn refuses_the_rest(path: &std::path::Path, says: &[&str]) {
    let lapwing = Lapwing::new();
    for more in [&[][..], &["--link"]] {
        let outcome = lapwing.run(&[&["pull", path.to_str().unwrap()], more].concat());
        outcome.expect_code(1).expect_says(says).expect_says(&["not whole", "hint: nothing was"]);
        assert_eq!(leftovers(&lapwing), Vec::<String>::new());
        assert_eq!(lapwing.json(&["list", "--json"]), serde_json::json!([]));
    }
}

#[test]
fn a_gguf_that_is_cut_off_is_not_pulled() {
    let lapwing = Lapwing::new();
    let path = lapwing.path("m.gguf");
    let whole = gguf();
    for (n_left, says) in [
        (0, "m.gguf"),
        (30, "found 6 until the end"),
        (whole.len() - 1, "80 bytes, found 79 bytes"),
    ] {
        std::fs::write(&path, &whole[..n_left]).unwrap();
        refuses_the_rest(&path, &["m.gguf", says]);
    }
}

#[test]
fn weights_that_are_cut_off_are_not_pulled() {
    let Some(shared) = crate::real::shared_folder() else { return };
    let check = |export: &str, weights: &str, says: &[&str]| {
        let lapwing = Lapwing::new();
        let original = shared.join("exports").join(export);
        let folder = lapwing.path("export");
        for file in files_below(&original) {
            let to = folder.join(&file);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            // Not with the permissions of the original, which may be read-only.
            std::fs::write(to, std::fs::read(original.join(file)).unwrap()).unwrap();
        }
        lapwing.run(&["pull", folder.to_str().unwrap()]).expect_code(0);
        let weights = std::fs::File::options().write(true).open(folder.join(weights)).unwrap();
        weights.set_len(10_000).unwrap();
        refuses_the_rest(&folder, says);
    };
    check("stories260k-hf", "model.safetensors", &["model.safetensors", "expected", "found"]);
    check("stories260k-ov-int8", "openvino_model.bin", &["inside the BIN of 10000 bytes"]);
    check("stories260k-ort-int4", "model.onnx.data", &["expected at least", "found 10000"]);
    check("stories260k-transformersjs", "onnx/model_q4.onnx", &["model_q4.onnx"]);
}

#[test]
fn what_is_no_model() {
    let lapwing = Lapwing::new();
    std::fs::write(lapwing.path("notes.txt"), "hi").unwrap();
    let check = |path: &str, says: &[&str]| {
        lapwing.run(&["pull", path]).expect_code(1).expect_says(says);
    };
    check(lapwing.path("notes.txt").to_str().unwrap(), &["no model in", ".gguf"]);
    check("file:/nowhere.gguf", &["cannot read /nowhere.gguf"]);
    let adapter = lapwing.path("adapter");
    std::fs::create_dir(&adapter).unwrap();
    let file = adapter.join("adapter_model.safetensors");
    std::fs::write(&file, b"\x02\0\0\0\0\0\0\0{}").unwrap();
    check(adapter.to_str().unwrap(), &["config.json is missing"]);
    check(file.to_str().unwrap(), &["is one file of a model", "hint: `lapwing pull "]);
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());
}

#[test]
fn one_process_per_model() {
    let lapwing = Lapwing::new();
    let original = checkpoint(&lapwing);
    lapwing.run(&["pull", &original]).expect_code(0);
    let lock = Lock::try_acquire(&lapwing.path("models/.locks/My-Model.lock")).unwrap();
    let holder = format!("process {}", std::process::id());
    lapwing.run(&["rm", "My-Model", "--yes"]).expect_code(1).expect_says(&[&holder, "hint: wait"]);

    // The second pull waits until the first is done.
    let mut command = lapwing.command(&["pull", &original]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(child.try_wait().unwrap().is_none());
    drop(lock);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains(&format!("waiting for {holder}")), "{stderr}");
}

#[test]
fn a_folder_that_was_not_pulled_is_not_replaced() {
    let lapwing = Lapwing::new();
    let original = checkpoint(&lapwing);
    let by_hand = lapwing.path("models/My-Model");
    std::fs::create_dir_all(&by_hand).unwrap();
    std::fs::write(by_hand.join("letter.txt"), "dear").unwrap();
    let outcome = lapwing.run(&["pull", &original]).expect_code(1);
    outcome.expect_says(&["the name My-Model is taken", "a folder that was not pulled", "--as"]);
    assert_eq!(files_below(&by_hand), ["letter.txt"]);
}

#[test]
fn names_that_would_share_a_folder_are_refused() {
    let lapwing = Lapwing::new();
    let original = checkpoint(&lapwing);
    lapwing.run(&["pull", &original, "--as", "a/b"]).expect_code(0);
    let outcome = lapwing.run(&["pull", &original, "--as", "a--b"]).expect_code(1);
    outcome.expect_says(&["cannot be a model name", "hint: "]);
}
