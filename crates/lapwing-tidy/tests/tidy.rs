//! The house rules that the compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};

/// Who may depend on whom, lowest layer first. The arrow list *is* this table.
const ARROWS: &[(&str, &[&str])] = &[
    ("lapwing-kernels", &[]),
    ("lapwing-team", &[]),
    ("lapwing-files", &[]),
    ("lapwing-formats", &["lapwing-files"]),
    ("lapwing-model", &["lapwing-files"]),
    ("lapwing-report", &[]),
    ("lapwing-store", &["lapwing-files", "lapwing-formats", "lapwing-model"]),
    ("lapwing-quant", &[]),
    ("lapwing-weights", &["lapwing-files", "lapwing-formats", "lapwing-model"]),
    ("lapwing-backend", &["lapwing-model"]),
    ("lapwing-native", &["lapwing-formats", "lapwing-model", "lapwing-weights"]),
    ("lapwing-logits", &["lapwing-kernels"]),
    ("lapwing-text", &["lapwing-files", "lapwing-model"]),
    ("lapwing-openvino", &["lapwing-backend", "lapwing-files", "lapwing-formats", "lapwing-model"]),
    ("lapwing-ort", &["lapwing-backend", "lapwing-formats", "lapwing-model"]),
    (
        "lapwing-export",
        &["lapwing-files", "lapwing-formats", "lapwing-model", "lapwing-quant", "lapwing-weights"],
    ),
    ("lapwing-runtime", &["lapwing-backend", "lapwing-logits", "lapwing-model", "lapwing-text"]),
    ("lapwing-grammar", &["lapwing-model", "lapwing-runtime", "lapwing-text"]),
    (
        "lapwing-host",
        &[
            "lapwing-backend",
            "lapwing-files",
            "lapwing-formats",
            "lapwing-logits",
            "lapwing-model",
            "lapwing-openvino",
            "lapwing-ort",
            "lapwing-runtime",
            "lapwing-store",
            "lapwing-text",
        ],
    ),
    (
        "lapwing-serving",
        &[
            "lapwing-backend",
            "lapwing-files",
            "lapwing-grammar",
            "lapwing-host",
            "lapwing-logits",
            "lapwing-model",
            "lapwing-runtime",
            "lapwing-store",
            "lapwing-text",
        ],
    ),
    (
        "lapwing-eval",
        &[
            "lapwing-backend",
            "lapwing-files",
            "lapwing-kernels",
            "lapwing-logits",
            "lapwing-model",
            "lapwing-report",
            "lapwing-runtime",
            "lapwing-text",
        ],
    ),
    (
        "lapwing-lab",
        &[
            "lapwing-backend",
            "lapwing-eval",
            "lapwing-logits",
            "lapwing-model",
            "lapwing-report",
            "lapwing-runtime",
            "lapwing-text",
        ],
    ),
    (
        "lapwing-measure",
        &[
            "lapwing-backend",
            "lapwing-files",
            "lapwing-logits",
            "lapwing-model",
            "lapwing-report",
            "lapwing-runtime",
            "lapwing-text",
        ],
    ),
    ("lapwing-parquet", &["lapwing-measure"]),
    ("lapwing-daemon", &["lapwing-host", "lapwing-measure", "lapwing-serving"]),
    (
        "lapwing",
        &[
            "lapwing-backend",
            "lapwing-daemon",
            "lapwing-eval",
            "lapwing-export",
            "lapwing-files",
            "lapwing-host",
            "lapwing-lab",
            "lapwing-logits",
            "lapwing-measure",
            "lapwing-model",
            "lapwing-parquet",
            "lapwing-report",
            "lapwing-runtime",
            "lapwing-serving",
            "lapwing-store",
            "lapwing-text",
            "lapwing-weights",
        ],
    ),
    ("lapwing-tidy", &[]),
];

/// Files and folders that may hold `unsafe`, with the reason a reviewer would ask for.
const UNSAFE_PLACES: &[(&str, &str)] = &[
    ("lapwing-kernels/src", "SIMD"),
    ("lapwing-team/src", "parts of a buffer, and a function for the time of a run"),
    ("lapwing-formats/src/map.rs", "memory maps"),
    ("lapwing-openvino/src/native", "a C library"),
    ("lapwing/src/bin/lapwing.rs", "an environment variable, before any thread"),
];

/// Words that only the program may use: one place decides, prints and reads the environment.
const PROGRAM_WORDS: &[&str] = &[
    "println!",
    "eprintln!",
    "process::exit",
    "anyhow::",
    "clap::",
    "env::var",
    "tracing_subscriber",
];

/// Ways to read a file without a look at what it is: `lapwing_files::regular` looks first.
const UNSEEN_READS: &[&str] = &["File::open(", "fs::read(", "fs::read_to_string("];

/// Files that may read so, with the reason.
const UNSEEN_READERS: &[(&str, &str)] = &[
    ("lapwing-files/src/regular.rs", "it looks"),
    ("lapwing-files/src/new_file.rs", "a folder, whose entries are to be on the disk"),
    ("lapwing-team/src/placement.rs", "the kernel's own files"),
    ("lapwing-formats/src/map.rs", "a map is none of a pipe or a device"),
    ("lapwing-backend/src/conformance/golden.rs", "test code"),
    ("lapwing-backend/src/conformance/readme.rs", "test code"),
    ("lapwing-host/src/hardware/fakes.rs", "test code"),
    ("lapwing-export/src/head_map.rs", "its tests"),
];

const CODE_LINES_MAX: usize = 400;

#[test]
fn dependencies_follow_the_arrows() {
    let mut broken = Vec::new();
    for folder in crates() {
        let name = file_name(&folder);
        let Some((_, allowed)) = ARROWS.iter().find(|(krate, _)| *krate == name) else {
            broken.push(format!("{name}: not in ARROWS"));
            continue;
        };
        for dependency in lapwing_dependencies(&folder) {
            if !allowed.contains(&dependency.as_str()) {
                broken.push(format!("{name} -> {dependency}: not an allowed arrow"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn arrows_point_down() {
    let layer = |name: &str| ARROWS.iter().position(|(krate, _)| *krate == name);
    for (name, allowed) in ARROWS {
        for dependency in *allowed {
            assert!(layer(dependency).is_some(), "{name} -> {dependency}: no such crate");
            assert!(layer(dependency) < layer(name), "{name} -> {dependency} points up");
        }
    }
}

#[test]
fn the_architecture_page_shows_the_same_arrows() {
    let page = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md"));
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `lapwing"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let names: Vec<&str> = rows.iter().map(|row| row[1].trim_matches('`')).collect();
    assert_eq!(names, ARROWS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for (row, (name, allowed)) in rows.iter().zip(ARROWS) {
        let listed = |text: &str| -> Vec<String> {
            text.split(", ").map(|name| format!("lapwing-{name}")).collect()
        };
        let shown = match (row[3], row[3].strip_prefix("all but ")) {
            ("nothing", _) => Vec::new(),
            (_, Some(others)) => {
                let is_other = |name: &&String| {
                    !listed(others).contains(name)
                        && !["lapwing", "lapwing-tidy"].contains(&&***name)
                };
                all.iter().filter(is_other).cloned().collect()
            }
            (some, None) => listed(some),
        };
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let allowed = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(sorted(shown), sorted(allowed), "{name}");
    }
}

#[test]
fn files_fit_on_a_few_screens() {
    let mut long = Vec::new();
    for file in rust_files() {
        let text = read(&file);
        let n_lines = code_of(&text).lines().count();
        if CODE_LINES_MAX < n_lines {
            long.push(format!("{}: {n_lines} lines before its tests", file.display()));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn unsafe_stays_where_it_was_agreed() {
    for file in rust_files() {
        let opts_in = read(&file).contains("allow(unsafe_code");
        let path = file.display().to_string();
        let agreed =
            UNSAFE_PLACES.iter().any(|(place, _)| path.contains(&format!("crates/{place}")));
        assert!(agreed || !opts_in, "{path} opts in to unsafe");
    }
}

#[test]
fn only_the_program_prints_decides_and_reads_the_environment() {
    for file in rust_files() {
        let path = file.display().to_string();
        // The conformance suite is test code: it says what it skips.
        if path.contains("crates/lapwing/") || path.contains("lapwing-backend/src/conformance") {
            continue;
        }
        let code = code_of(&read(&file));
        let code: Vec<&str> =
            code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for word in PROGRAM_WORDS {
            let found = code.iter().any(|line| line.contains(word));
            assert!(!found, "{word} in {path}");
        }
    }
}

#[test]
fn files_are_looked_at_before_they_are_read() {
    for file in rust_files() {
        let path = file.display().to_string();
        if UNSEEN_READERS.iter().any(|(place, _)| path.ends_with(&format!("crates/{place}"))) {
            continue;
        }
        let code = code_of(&read(&file));
        // A type of its own may be called so.
        let is_read = |line: &&str| {
            UNSEEN_READS.iter().any(|word| {
                let before = line.split(word).next().unwrap_or_default();
                line.contains(word) && !before.ends_with(|c: char| c.is_alphanumeric())
            })
        };
        let found: Vec<&str> = code.lines().filter(is_read).collect();
        assert!(found.is_empty(), "{path} reads what it has not looked at: {found:?}");
    }
}

#[test]
fn files_are_mapped_in_one_place() {
    for file in rust_files() {
        let is_place = file.ends_with("lapwing-formats/src/map.rs");
        let maps = code_of(&read(&file)).contains("memmap2");
        assert!(is_place || !maps, "{} maps files itself: `lapwing_formats::Map`", file.display());
    }
}

/// To look for examples takes as long as to compile a crate, so that is done where there are some.
#[test]
fn examples_in_pages_are_compiled() {
    for folder in crates() {
        let is_looked_for = !read(&folder.join("Cargo.toml")).contains("doctest = false");
        let files = rust_files().into_iter().filter(|file| file.starts_with(&folder));
        let has_examples = files.into_iter().any(|file| has_example(&read(&file)));
        let name = file_name(&folder);
        assert_eq!(is_looked_for, has_examples, "{name}: `doctest` of its library");
    }
}

/// Whether there is a block of code in the documentation that is not said to be text.
fn has_example(text: &str) -> bool {
    let lines = text.lines().map(str::trim_start);
    let pages = lines.filter_map(|line| line.strip_prefix("///").or(line.strip_prefix("//!")));
    let fences = pages.filter_map(|line| line.trim_start().strip_prefix("```"));
    fences.step_by(2).any(|kind| kind != "text")
}

#[test]
fn every_crate_says_what_it_is_for() {
    for folder in crates() {
        let root = folder.join("src/lib.rs");
        assert!(!root.exists() || read(&root).starts_with("//! "), "{}", root.display());
    }
}

/// A file without the tests at its end.
fn code_of(text: &str) -> String {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
}

fn lapwing_dependencies(folder: &Path) -> Vec<String> {
    let manifest = read(&folder.join("Cargo.toml"));
    let (_, dependencies) = manifest.split_once("\n[dependencies]").unwrap_or_default();
    let section = dependencies.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split_once('='));
    names
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| name.starts_with("lapwing"))
        .collect()
}

fn crates() -> Vec<PathBuf> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<PathBuf> =
        list(&crates).into_iter().filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = crates().iter().map(|krate| krate.join("src")).collect();
    while let Some(folder) = folders.pop() {
        for path in list(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                files.push(path);
            }
        }
    }
    files
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| fs::canonicalize(entry.path()).unwrap_or_default())
        .collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
