//! Models that Hugging Face's own tools have downloaded: found, pulled without a download, checked.

use std::path::{Path, PathBuf};

use crate::hub::{COMMIT, Hub, HubFile, Manners};
use crate::{Lapwing, files_below, leftovers, sha256};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "openvino_model.bin";

fn files() -> Vec<HubFile> {
    let large = |path| HubFile { is_large: true, ..HubFile::of_model(path) };
    [CONFIG, "openvino_model.xml", WEIGHTS].map(large).into()
}

/// The repository's folder in a cache that holds these files, as `hf download` leaves it.
fn cache(root: &Path, files: &[HubFile]) -> PathBuf {
    let repository = root.join("models--org--repo");
    let (blobs, snapshot) = (repository.join("blobs"), repository.join("snapshots").join(COMMIT));
    for folder in [&blobs, &snapshot, &repository.join("refs")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(repository.join("refs/main"), COMMIT).unwrap();
    for file in files {
        let blob = sha256(&file.bytes);
        std::fs::write(blobs.join(&blob), &file.bytes).unwrap();
        let link = snapshot.join(file.path);
        std::os::unix::fs::symlink(Path::new("../../blobs").join(blob), link).unwrap();
    }
    repository
}

fn start() -> (Hub, Lapwing) {
    let hub = Hub::start(files(), Manners::default());
    let lapwing = Lapwing::new().with("HF_ENDPOINT", &hub.endpoint);
    (hub, lapwing)
}

fn n_downloads(hub: &Hub) -> usize {
    files().iter().map(|file| hub.downloads(file.path).len()).sum()
}

fn assert_whole(lapwing: &Lapwing) {
    let folder = lapwing.path("models/org--repo");
    assert_eq!(files_below(&folder), [".lapwing.json", CONFIG, WEIGHTS, "openvino_model.xml"]);
    for file in files() {
        assert!(std::fs::read(folder.join(file.path)).unwrap() == file.bytes, "{}", file.path);
        assert!(!folder.join(file.path).is_symlink());
    }
    assert_eq!(leftovers(lapwing), Vec::<String>::new());
}

#[test]
fn what_is_in_the_cache_is_not_downloaded() {
    let (hub, lapwing) = start();
    let repository = cache(&lapwing.path("hf-home/hub"), &files());
    let outcome = lapwing.run(&["pull", "org/repo"]).expect_code(0);
    outcome.expect_says(&["3 of them, ", &repository.display().to_string(), "not downloaded"]);
    assert_eq!(n_downloads(&hub), 0);
    assert_whole(&lapwing);
    // The store has the files themselves: the cache may go.
    std::fs::remove_dir_all(repository).unwrap();
    assert_whole(&lapwing);
}

#[test]
fn what_the_cache_lacks_is_downloaded() {
    let (hub, lapwing) = start();
    cache(&lapwing.path("elsewhere"), &files()[..2]);
    let lapwing = {
        let folder = lapwing.path("elsewhere").to_str().unwrap().to_owned();
        lapwing.with("HF_HUB_CACHE", folder)
    };
    lapwing.run(&["pull", "org/repo"]).expect_code(0).expect_says(&["2 of them"]);
    assert_eq!((n_downloads(&hub), hub.downloads(WEIGHTS).len()), (1, 1));
    assert_whole(&lapwing);
}

#[test]
fn a_damaged_file_of_the_cache_is_downloaded_and_left_as_it_is() {
    let (hub, lapwing) = start();
    let repository = cache(&lapwing.path("hf-home/hub"), &files());
    let blob = repository.join("blobs").join(sha256(&files()[2].bytes));
    let damaged = vec![b'?'; files()[2].bytes.len()];
    std::fs::write(&blob, &damaged).unwrap();
    let outcome = lapwing.run(&["pull", "org/repo"]).expect_code(0);
    outcome.expect_says(&["openvino_model.bin is downloaded all the same: it is damaged there"]);
    assert_eq!(hub.downloads(WEIGHTS).len(), 1);
    assert_whole(&lapwing);
    assert!(std::fs::read(&blob).unwrap() == damaged);

    // Without the hub there is no other.
    let lapwing = lapwing.with("HF_HUB_OFFLINE", "1");
    let outcome = lapwing.run(&["pull", "org/repo", "--as", "again"]).expect_code(1);
    outcome.expect_says(&["openvino_model.bin: it is damaged there", "hint: unset HF_HUB_OFFLINE"]);
}

#[test]
fn offline_the_hub_is_not_asked() {
    let (hub, lapwing) = start();
    let lapwing = lapwing.with("HF_HUB_OFFLINE", "TRUE");
    let outcome = lapwing.run(&["pull", "org/repo"]).expect_code(1);
    outcome.expect_says(&["nothing is downloaded now", "no snapshot of its main branch", "hint: "]);
    let repository = cache(&lapwing.path("hf-home/hub"), &files()[..2]);
    let outcome = lapwing.run(&["pull", "org/repo"]).expect_code(1);
    outcome.expect_says(&["openvino_model.bin is missing", "hint: unset HF_HUB_OFFLINE"]);
    std::fs::remove_dir_all(repository).unwrap();

    cache(&lapwing.path("hf-home/hub"), &files());
    lapwing.run(&["pull", "org/repo"]).expect_code(0);
    assert_whole(&lapwing);
    let source = &lapwing.json(&["list", "--json"])[0]["source"];
    assert_eq!(*source, format!("hf:org/repo@{COMMIT}"));
    let outcome = lapwing.run(&["pull", "org/repo@v1"]).expect_code(1);
    outcome.expect_says(&["no snapshot of v1"]);
    assert!(hub.requests().is_empty());
}

#[test]
fn offline_no_wheel_is_downloaded_either() {
    // A pip that would be asked would be named.
    let lapwing = Lapwing::new().with("HF_HUB_OFFLINE", "1").with("LAPWING_PYTHON", "/nowhere");
    for name in ["smollm2-135m-instruct", "openvino", "onnxruntime"] {
        let outcome = lapwing.run(&["pull", name, "--force"]).expect_code(1);
        let outcome = outcome.expect_says(&["nothing is downloaded now", "hint: unset HF_HUB_OFF"]);
        assert!(!outcome.stderr.contains("/nowhere"), "{}", outcome.stderr);
    }
}

#[test]
fn a_model_that_only_the_cache_has_is_found_by_its_name() {
    let lapwing = Lapwing::new();
    let outcome = lapwing.run(&["inspect", "org/repo"]).expect_code(1);
    outcome.expect_says(&["no model \"org/repo\""]);
    // Half a model is none.
    let repository = cache(&lapwing.path("hf-home/hub"), &files()[..2]);
    let outcome = lapwing.run(&["inspect", "org/repo"]).expect_code(1);
    let says =
        ["no model \"org/repo\"", "openvino_model.bin is missing", "hint: `lapwing pull org/"];
    outcome.expect_says(&says);
    std::fs::remove_dir_all(repository).unwrap();

    let repository = cache(&lapwing.path("hf-home/hub"), &files());
    let outcome = lapwing.run(&["inspect", "org/repo", "--json"]).expect_code(0);
    assert!(outcome.stdout.contains("\"kind\": \"openvino-ir\""), "{}", outcome.stdout);
    let outcome = outcome.expect_says(&["warning: org/repo is not in the store", "taken from"]);
    assert!(!outcome.stderr.contains("WARN"), "{}", outcome.stderr);
    outcome.expect_says(&["taken from the Hugging Face cache", &repository.display().to_string()]);
    lapwing.run(&["inspect", &format!("org/repo@{COMMIT}")]).expect_code(0);
    lapwing.run(&["inspect", "org/repo@v1"]).expect_code(1);

    // What is in the store comes first.
    let lapwing = lapwing.with("HF_HUB_OFFLINE", "1");
    lapwing.run(&["pull", "org/repo"]).expect_code(0);
    let outcome = lapwing.run(&["inspect", "org/repo"]).expect_code(0);
    assert!(!outcome.stderr.contains("cache"), "{}", outcome.stderr);
}
