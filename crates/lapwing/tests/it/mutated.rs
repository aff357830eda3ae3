//! Mutated files of every kind, given to the whole command: no case ends with a signal, a panic, a
//! hang, more memory than its files explain, an error of another form than the contract, or half an
//! output.
//!
//! `LAPWING_TEST_MUTATIONS=5000` asks for more cases, `LAPWING_TEST_MUTATIONS=1234..1235` for one,
//! `LAPWING_TEST_MUTATION_SEED` for others.
#![cfg(target_os = "linux")]

mod judge;
mod mutation;
mod process;
mod scenes;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use judge::Baseline;
use process::Ended;
use scenes::Scene;

use crate::mutate::SplitMix;
use crate::real::with_runtimes;
use crate::{Lapwing, files_below};

/// Cases of a run; `LAPWING_TEST_MUTATIONS` asks for more.
const N_CASES: usize = 300;
const SEED: u64 = 1;
/// Stands for the home in the commands of scenes.
const AT: &str = "@/";

/// One mutation of one file of one scene, and one command: always the same for a seed and a number.
struct Case<'a> {
    number: usize,
    scene: &'a Scene,
    file: &'a str,
    command_idx: usize,
    /// What was done to the file.
    told: String,
    home: Lapwing,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.scene.commands[self.command_idx].join(" ");
        let Self { number, scene, file, told, .. } = self;
        write!(f, "case {number}, {}: {file}: {told}\n    lapwing {command}", scene.name)
    }
}

impl<'a> Case<'a> {
    fn new(seed: u64, number: usize, scenes: &'a [Scene]) -> Case<'a> {
        // Neighbouring numbers have nothing in common.
        let mut random = SplitMix::new(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // A scene with more commands comes more often, and a graph more often than a small file.
        let commands = scenes.iter().flat_map(|scene| {
            (0..scene.commands.len()).map(move |command_idx| (scene, command_idx))
        });
        let (scene, command_idx) = random.choose(&commands.collect::<Vec<_>>());
        let files = scene.files.iter().flat_map(|file| std::iter::repeat_n(file, weight(file)));
        let file = random.choose(&files.collect::<Vec<_>>());
        let home = home_of(scene);
        let neighbours: Vec<_> = scene.files.iter().map(|file| scene.home.join(file)).collect();
        let told = mutation::apply(&home.path(file), &neighbours, &mut random);
        Case { number, scene, file, command_idx, told, home }
    }
}

/// How often a file is mutated, beside others of its scene: what has much to go wrong, often.
fn weight(file: &str) -> usize {
    let name = file.rsplit('/').next().unwrap_or_default();
    match name.rsplit('.').next().unwrap_or_default() {
        "xml" | "onnx" | "gguf" | "safetensors" => 8,
        "json" if name.ends_with("config.json") => 3,
        _ => 1,
    }
}

/// The program with a copy of the scene's home.
fn home_of(scene: &Scene) -> Lapwing {
    let lapwing = match scene.needs_runtimes {
        true => with_runtimes(Lapwing::new()).expect("scenes that need them are left out"),
        false => Lapwing::new(),
    };
    scenes::copy(&scene.home, lapwing.home.path());
    lapwing.with("LAPWING_THREADS", "1").with("LAPWING_TRIAL_SECONDS", "20")
}

/// Run one of the commands of a scene in a home.
fn run(home: &Lapwing, scene: &Scene, command_idx: usize) -> Ended {
    let root = format!("{}/", home.home.path().display());
    let words = scene.commands[command_idx].iter().map(|word| word.replace(AT, &root));
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    process::run(home.command(&words))
}

fn numbers() -> Range<usize> {
    let asked = std::env::var("LAPWING_TEST_MUTATIONS").ok();
    let Some(asked) = asked else { return 0..N_CASES };
    let number = |text: &str| text.parse().expect("a number of cases, or FIRST..END");
    match asked.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => 0..number(&asked),
    }
}

fn seed() -> u64 {
    let asked = std::env::var("LAPWING_TEST_MUTATION_SEED").ok();
    asked.map_or(SEED, |seed| seed.parse().expect("a seed"))
}

/// What is wrong with a case, with its home kept for whoever mends it.
fn play(case: Case<'_>, baselines: &[Vec<Baseline>], scenes: &[Scene]) -> Option<String> {
    let before = files_below(case.home.home.path());
    let ended = run(&case.home, case.scene, case.command_idx);
    let scene_idx = scenes.iter().position(|scene| std::ptr::eq(scene, case.scene))?;
    let baseline = &baselines[scene_idx][case.command_idx];
    let wrong = judge::wrong(&case, &ended, baseline, &before);
    if wrong.is_empty() {
        return None;
    }
    let text = format!(
        "{case}\n  {}\n    code {:?}, {} kB\n    stdout: {:.300}\n    stderr: {:.1500}",
        wrong.join("\n  "),
        ended.code,
        ended.peak_bytes / 1000,
        ended.stdout,
        ended.stderr,
    );
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mutated-{}", case.number));
    let _ = std::fs::remove_dir_all(&kept);
    scenes::copy(case.home.home.path(), &kept);
    Some(format!("{text}\n    kept: {}", kept.display()))
}

/// Every item of `0..n`, on as many threads as there are cores.
fn on_all_cores<T: Send>(n: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let n_threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..n_threads.min(n) {
            scope.spawn(|| {
                loop {
                    let item_idx = next.fetch_add(1, Ordering::Relaxed);
                    if n <= item_idx {
                        break;
                    }
                    let outcome = work(item_idx);
                    done.lock().expect("no work panics").push((item_idx, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no work panics");
    done.sort_by_key(|(item_idx, _)| *item_idx);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Of every command of every scene, all of which succeed.
fn baselines(scenes: &[Scene]) -> Vec<Vec<Baseline>> {
    let mut failures = Vec::new();
    let mut baselines = Vec::new();
    for scene in scenes {
        let all = on_all_cores(scene.commands.len(), |idx| judge::baseline(scene, idx));
        let (whole, failed): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        baselines.push(whole.into_iter().flatten().collect());
        failures.extend(failed.into_iter().filter_map(Result::err));
    }
    assert!(failures.is_empty(), "without any mutation:\n{}", failures.join("\n"));
    baselines
}

#[test]
fn no_mutated_file_harms_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let scenes = scenes::all(folder.path());
    let baselines = baselines(&scenes);
    let (seed, numbers) = (seed(), numbers());
    println!("seed {seed}, cases {numbers:?} of {} scenes", scenes.len());
    let failures = on_all_cores(numbers.len(), |idx| {
        play(Case::new(seed, numbers.start + idx, &scenes), &baselines, &scenes)
    });
    let failures: Vec<String> = failures.into_iter().flatten().collect();
    assert!(
        failures.is_empty(),
        "seed {seed}: {} of {} cases fail:\n{}",
        failures.len(),
        numbers.len(),
        failures.join("\n"),
    );
}
