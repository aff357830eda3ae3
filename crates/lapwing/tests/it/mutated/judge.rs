//! What is right about the end of a command, whatever was in its files.

use std::collections::BTreeSet;

use lapwing_host::trial::Stage;
use serde_json::Value;

use super::process::Ended;
use super::scenes::Scene;
use super::{Case, home_of, run};
use crate::files_below;

/// What a chat template may hold at once, whatever it says; also covers what varies between runs.
const ALLOWANCE_BYTES: u64 = 64 << 20;
/// Memory in multiples of the mutated file: what the others take the baseline has.
const FILE_MULTIPLES_MAX: u64 = 4;

/// The limit of CPU time was reached.
const SIGXCPU: i32 = 24;

/// What a command does when nothing is mutated.
pub(super) struct Baseline {
    peak_bytes: u64,
    /// Files that it leaves.
    new_files: BTreeSet<String>,
}

/// Run a command of a scene as it is; what it says where it fails.
pub(super) fn baseline(scene: &Scene, command_idx: usize) -> Result<Baseline, String> {
    let home = home_of(scene);
    let before = files_below(home.home.path());
    let ended = run(&home, scene, command_idx);
    let line = scene.commands[command_idx].join(" ");
    // The doctor finds that something is missing here.
    let expected: &[i32] = if line.starts_with("doctor") { &[0, 1] } else { &[0] };
    let is_expected = ended.code.is_some_and(|code| expected.contains(&code));
    match is_expected {
        true => Ok(Baseline { peak_bytes: ended.peak_bytes, new_files: new_files(&home, &before) }),
        false => Err(format!("{}: {line}: {:?}: {}", scene.name, ended.code, ended.stderr)),
    }
}

fn new_files(home: &crate::Lapwing, before: &[String]) -> BTreeSet<String> {
    let after = files_below(home.home.path()).into_iter();
    after.filter(|file| !before.contains(file)).collect()
}

/// Everything that is wrong.
pub(super) fn wrong(
    case: &Case<'_>,
    ended: &Ended,
    baseline: &Baseline,
    before: &[String],
) -> Vec<String> {
    let mut wrong = Vec::new();
    if ended.timed_out || ended.signal == Some(SIGXCPU) || ended.stderr.contains("SIGXCPU ended") {
        return vec!["HANG".to_owned()];
    }
    if let Some(signal) = ended.signal {
        wrong.push(format!("SIGNAL {signal}"));
    }
    wrong.extend(guarded_end(&ended.stderr));
    if ended.code == Some(101) || ended.stderr.contains("panicked at") {
        wrong.push("PANIC".to_owned());
    }
    let file = std::fs::metadata(case.home.path(case.file));
    let n_bytes = file.map_or(0, |metadata| metadata.len());
    let allowed = baseline.peak_bytes + FILE_MULTIPLES_MAX * n_bytes + ALLOWANCE_BYTES;
    if allowed < ended.peak_bytes {
        wrong.push(format!("MEMORY: {} allowed, {} found", allowed, ended.peak_bytes));
    }
    // Tabs and line ends of what a message quotes move nothing but the text behind them.
    if ended.stderr.contains(|symbol: char| symbol.is_control() && !"\n\t".contains(symbol)) {
        wrong.push("CONTROL CHARACTERS in a message".to_owned());
    }
    wrong.extend(match ended.code {
        Some(0) => None,
        Some(1 | 2) => error_text(case, ended),
        other => ended.signal.is_none().then(|| format!("EXIT CODE {other:?}")),
    });
    wrong.extend(data(case, ended));
    if ended.code != Some(0) {
        let left = new_files(&case.home, before);
        let is_ours = |file: &&String| !file.ends_with(".lock") && !file.starts_with("cache/");
        let left: Vec<&String> = left.difference(&baseline.new_files).filter(is_ours).collect();
        let half = left.iter().map(|file| file.as_str());
        let whole = baseline.new_files.iter().filter(|file| file.starts_with("out"));
        let half: Vec<&str> = half
            .chain(whole.map(String::as_str).filter(|file| case.home.path(file).exists()))
            .collect();
        if !half.is_empty() {
            wrong.push(format!("LEFT: {half:?}"));
        }
    }
    wrong
}

/// What ended a guarded process, unless that was a library at work: the files are read by us.
fn guarded_end(stderr: &str) -> Option<String> {
    let line = stderr.lines().find(|line| line.contains(" ended the work"))?;
    let of_library = [Stage::Library, Stage::Compile, Stage::Inference, Stage::Run];
    let is_of_library = of_library.iter().any(|stage| line.contains(&format!(" while {stage}")));
    (!is_of_library).then(|| format!("CRASH: {line}"))
}

#[test]
fn a_crash_behind_the_guard_is_seen_unless_it_is_a_librarys() {
    let line = |stage: Stage| {
        format!("error: SIGSEGV ended the work on m: segmentation fault while {stage}\n")
    };
    for stage in [Stage::Start, Stage::Files, Stage::End] {
        assert!(guarded_end(&line(stage)).is_some(), "{stage}");
    }
    assert_eq!(guarded_end(&line(Stage::Compile)), None);
    assert_eq!(guarded_end("error: cannot open m\n"), None);
}

/// `error: …` once and with a path, then a hint or nothing.
fn error_text(case: &Case<'_>, ended: &Ended) -> Option<String> {
    let mut lines = ended.stderr.lines().skip_while(|line| !line.starts_with("error: "));
    // The doctor's findings are data, and its error counts them.
    let is_doctor = case.scene.commands[case.command_idx][0] == "doctor";
    if lines.next().is_none() {
        return Some("NO ERROR LINE".to_owned());
    }
    let mut advice = lines.skip_while(|line| line.starts_with("  "));
    if advice.next().is_some_and(|line| !line.starts_with("hint: ")) {
        return Some("MORE LINES behind the error".to_owned());
    }
    // What is wrong of several files may be told of the folder that was named.
    let home = case.home.home.path().to_str().unwrap_or_default();
    let file = case.file.rsplit('/').next().unwrap_or_default();
    let is_named = ended.stderr.contains(home) || ended.stderr.contains(file);
    (!is_named && !is_doctor).then(|| "NO PATH in the message".to_owned())
}

/// Under `--json`, stdout is nothing or JSON.
fn data(case: &Case<'_>, ended: &Ended) -> Option<String> {
    let is_json = case.scene.commands[case.command_idx].iter().any(|word| word == "--json");
    if ended.stdout.starts_with("not UTF-8") {
        return Some("STDOUT is not UTF-8".to_owned());
    }
    let is_absent = ended.stdout.is_empty() && ended.code != Some(0);
    let is_right = !is_json || is_absent || serde_json::from_str::<Value>(&ended.stdout).is_ok();
    (!is_right).then(|| "NO JSON on stdout".to_owned())
}
