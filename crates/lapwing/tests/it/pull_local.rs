//! `lapwing pull` from a path, and the store: list, rm, locks.

use lapwing::lock::Lock;

use crate::{Lapwing, files_below, leftovers, sha256};

fn checkpoint(lapwing: &Lapwing) -> String {
    let path = lapwing.path("My Model.gguf");
    std::fs::write(&path, "weights").unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_file_there_and_back() {
    let lapwing = Lapwing::new();
    let original = checkpoint(&lapwing);
    let pulled = lapwing.json(&["pull", &original, "--json"]);
    assert_eq!(pulled[0]["name"], "My-Model");
    assert_eq!(pulled[0]["was_there"], false);
    assert_eq!(pulled[0]["size_bytes"], 7);

    let record = std::fs::read_to_string(lapwing.path("models/My-Model/.lapwing.json")).unwrap();
    assert!(record.contains(&sha256(b"weights")), "{record}");
    let listed = lapwing.json(&["list", "--json"]);
    assert_eq!(listed[0]["path"], lapwing.path("models/My-Model/My Model.gguf").to_str().unwrap());
    assert_eq!(listed[0]["kind"], "gguf");
    let table = lapwing.run(&["list"]).expect_code(0).stdout;
    assert!(table.starts_with("NAME") && table.contains("My-Model"), "{table}");

    let again = lapwing.json(&["pull", &format!("file:{original}"), "--json"]);
    assert_eq!(again[0]["was_there"], true);
    lapwing.run(&["rm", "My-Model", "--yes"]).expect_code(0);
    assert_eq!(lapwing.json(&["list", "--json"]), serde_json::json!([]));
    assert!(std::fs::exists(&original).unwrap());
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());
}

#[test]
fn a_folder_under_another_name() {
    let lapwing = Lapwing::new();
    let folder = lapwing.path("export");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    for file in ["openvino_model.xml", "openvino_model.bin", "sub/extra.json", ".hidden"] {
        std::fs::write(folder.join(file), file).unwrap();
    }
    lapwing.run(&["pull", folder.to_str().unwrap(), "--as", "team/model"]).expect_code(0);
    let files = files_below(&lapwing.path("models/team--model"));
    let expected = [".lapwing.json", "openvino_model.bin", "openvino_model.xml", "sub/extra.json"];
    assert_eq!(files, expected);
    assert_eq!(lapwing.json(&["list", "--json"])[0]["name"], "team/model");
}

#[cfg(unix)]
#[test]
fn a_link_and_its_removal() {
    let lapwing = Lapwing::new();
    let original = checkpoint(&lapwing);
    lapwing.run(&["pull", &original, "--link"]).expect_code(0);
    assert!(lapwing.path("models/My-Model/My Model.gguf").is_symlink());
    assert_eq!(lapwing.json(&["list", "--json"])[0]["size_bytes"], 7);
    lapwing.run(&["rm", "My-Model", "--yes"]).expect_code(0);
    assert_eq!(std::fs::read(&original).unwrap(), b"weights");
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
    std::thread::sleep(std::time::Duration::from_millis(600));
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
