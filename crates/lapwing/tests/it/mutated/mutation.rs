//! One mutation of one file: of its bytes, of what its format means, or of the file as a whole.

mod gguf;
mod json;
mod protobuf;
mod words;
mod xml;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::mutate::{SplitMix, mutate};

/// What becomes of the file.
enum Change {
    Bytes(Vec<u8>),
    Absent,
    Folder,
    Link(PathBuf),
}

/// Change `path`, which has `neighbours` beside it in the same folder of models; says what was done.
pub(super) fn apply(path: &Path, neighbours: &[PathBuf], random: &mut SplitMix) -> String {
    let bytes = std::fs::read(path).expect("the file of a scene");
    let (change, told) = match random.below(10) {
        0 => as_a_whole(&bytes, neighbours, random),
        1 | 2 => of_bytes(&bytes, random),
        _ => {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match by_format(name, &bytes, random) {
                Some((bytes, told)) => (Change::Bytes(bytes), told),
                None => of_bytes(&bytes, random),
            }
        }
    };
    std::fs::remove_file(path).expect("it is there");
    match change {
        Change::Bytes(bytes) => std::fs::write(path, bytes),
        Change::Absent => Ok(()),
        Change::Folder => std::fs::create_dir(path),
        Change::Link(target) => symlink(target, path),
    }
    .expect("the folder of a case is writable");
    told
}

fn as_a_whole(bytes: &[u8], neighbours: &[PathBuf], random: &mut SplitMix) -> (Change, String) {
    let change = match random.below(9) {
        0 => (Change::Absent, "removed"),
        1 => (Change::Bytes(Vec::new()), "emptied"),
        2 => (Change::Folder, "a folder"),
        3 => (Change::Link("nowhere".into()), "a link to nothing"),
        4 => (Change::Link("/dev/zero".into()), "a link to /dev/zero"),
        5 => (Change::Bytes(bytes.repeat(2)), "twice"),
        6 => (Change::Bytes(vec![0; bytes.len()]), "zeros"),
        7 => (Change::Bytes(vec![0xff; bytes.len()]), "ones"),
        _ => {
            let other = &neighbours[random.below(neighbours.len())];
            let told = format!("the content of {}", other.display());
            return (Change::Bytes(std::fs::read(other).expect("a neighbour")), told);
        }
    };
    (change.0, change.1.to_owned())
}

fn of_bytes(bytes: &[u8], random: &mut SplitMix) -> (Change, String) {
    let mutation_idx = random.below(1 << 20);
    (Change::Bytes(mutate(bytes, mutation_idx)), format!("bytes, mutation {mutation_idx}"))
}

/// `None` where the format has nothing to change.
fn by_format(name: &str, bytes: &[u8], random: &mut SplitMix) -> Option<(Vec<u8>, String)> {
    match name.rsplit('.').next().unwrap_or_default() {
        "json" => json::mutate(bytes, random),
        "jsonl" => json::mutate_line(bytes, random),
        "safetensors" => json::mutate_header(bytes, random),
        "xml" => xml::mutate(bytes, random),
        "onnx" => protobuf::mutate(bytes, random),
        "gguf" => gguf::mutate(bytes, random),
        "jinja" => words::mutate(bytes, words::TEMPLATE, random),
        "toml" => words::mutate(bytes, words::SETTING, random),
        "txt" | "lst" => words::mutate(bytes, words::TEXT, random),
        _ => Some(floats(bytes, random)),
    }
}

/// Some numbers of raw weights become NaN or infinite, or all of them large.
fn floats(bytes: &[u8], random: &mut SplitMix) -> (Vec<u8>, String) {
    let mut bytes = bytes.to_vec();
    let value = random.choose(&[f32::NAN, f32::INFINITY, f32::MAX, -f32::MAX, 1e30]);
    let every = random.choose(&[1, 1000, 100_000]);
    for number in bytes.chunks_exact_mut(4).step_by(every) {
        number.copy_from_slice(&value.to_le_bytes());
    }
    (bytes, format!("{value} in every {every}. number"))
}

/// Numbers that a file may claim and nobody can have.
const NUMBERS: &[u64] = &[
    0,
    1,
    3,
    1 << 15,
    1 << 31,
    1 << 33,
    1 << 40,
    1 << 53,
    1 << 62,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];
