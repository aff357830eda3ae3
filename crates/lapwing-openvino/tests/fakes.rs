//! OpenVINO as a script plays it: devices that this machine lacks, refusals, crashes.
//!
//! A process loads one OpenVINO, so every test runs in a process of its own: it starts this binary
//! again with its own name, and does its work there.

#[path = "support/fake_openvino.rs"]
mod fake_openvino;

use std::error::Error as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fake_openvino::{Call, Script, calls, write_model};
use lapwing_backend::conformance::{
    bad_input_is_refused, chunks_do_not_matter, decoders_are_independent, exact_options,
    rewind_equals_fresh, steps_equal_scores, steps_together_equal_steps_alone,
};
use lapwing_backend::{
    Backend as _, CacheOutcome, DeviceKind, OpenError, OpenOptions, Precision, StepError,
};
use lapwing_model::ModelFolder;
use lapwing_openvino::{LoadError, OpenVinoBackend};

const N_VOCAB: usize = 32;
const PROMPT: [u32; 9] = [1, 4, 7, 21, 3, 30, 11, 8, 21];
const OTHER: [u32; 5] = [1, 2, 31, 0, 5];

/// Files of one test, and the process in which it runs.
struct Stage {
    name: &'static str,
    folder: PathBuf,
}

impl Stage {
    /// The inner process: its folder was made by the outer one.
    fn inner(name: &'static str) -> Option<Stage> {
        let script = PathBuf::from(std::env::var_os(fake_openvino::VARIABLE)?);
        let folder = script.parent().expect("a script is in a folder").to_owned();
        Some(Stage { name, folder })
    }

    /// An empty folder in the outer process.
    fn outer(name: &'static str) -> Stage {
        let folder = format!("fakes-{}-{name}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        Stage { name, folder }
    }

    fn command(&self, script: &Script) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args([self.name, "--exact", "--nocapture"]);
        command.env(fake_openvino::VARIABLE, script.write());
        command
    }

    fn played(&self) -> PathBuf {
        self.folder.join("played")
    }

    fn model(&self) -> ModelFolder {
        let folder = self.folder.join("model");
        write_model(&folder, N_VOCAB, "");
        ModelFolder::open(&folder, None).expect("the folder opens")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let is_outer = std::env::var_os(fake_openvino::VARIABLE).is_none();
        if is_outer && !std::thread::panicking() {
            std::fs::remove_dir_all(&self.folder).expect("the test's folder goes");
        }
    }
}

/// Run `test` in a process of its own, where the library plays `script`. `name` is the calling
/// test's.
fn play(name: &'static str, script: impl Fn(&Path) -> Script, test: impl Fn(&Stage)) {
    if let Some(stage) = Stage::inner(name) {
        test(&stage);
        std::fs::write(stage.played(), "").expect("a note that the test ran");
        return;
    }
    let stage = Stage::outer(name);
    let output = stage.command(&script(&stage.folder)).output().expect("this binary starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    assert!(stage.played().is_file(), "no test is named {name}:\n{said}");
}

fn load() -> OpenVinoBackend {
    OpenVinoBackend::load(&fake_openvino::library()).expect("the fake loads")
}

/// Options of a run on `device` with nothing else asked.
fn on(device: &str) -> OpenOptions {
    OpenOptions { device: device.parse().expect("a device"), ..exact_options() }
}

/// The model of a test whose logits claim to be of another size.
fn claiming(stage: &Stage, size: &str) -> ModelFolder {
    let folder = stage.model();
    let xml = std::fs::read_to_string(&folder.graph).expect("the graph");
    // The logits, and what takes them as the result.
    let shape = |size: &str| format!("<dim>-1</dim><dim>-1</dim><dim>{size}</dim>");
    let changed = xml.replace(&shape(&N_VOCAB.to_string()), &shape(size));
    assert_ne!(changed, xml);
    std::fs::write(&folder.graph, changed).expect("the graph is written");
    folder
}

fn refusal(backend: &OpenVinoBackend, folder: &ModelFolder, options: &OpenOptions) -> OpenError {
    backend.open(folder, options).map(drop).expect_err("it is refused")
}

fn compilations(stage: &Stage) -> Vec<Call> {
    calls(&stage.folder).into_iter().filter(|call| call.what == "compile").collect()
}

#[test]
fn sizes_that_a_graph_claims_are_not_believed() {
    const NAME: &str = "sizes_that_a_graph_claims_are_not_believed";
    play(
        NAME,
        |folder| Script::new(folder).line("vocabulary 20"),
        |stage| {
            let backend = load();
            for size in ["0", "8589934592", "4611686018427387904"] {
                let refused = refusal(&backend, &claiming(stage, size), &on("cpu")).to_string();
                assert!(refused.contains("its logits make no rows"), "{refused}");
                assert!(refused.contains(&format!("found {size}")), "{refused}");
            }
            // Where the graph does not tell, the manifest does.
            let model = backend.open(&claiming(stage, "-1"), &on("cpu")).expect("it opens");
            assert_eq!(model.n_vocab(), N_VOCAB);
            let mut logits = vec![0.0; N_VOCAB];
            let error = model.decoder().expect("a decoder").step(&[1, 2], &mut logits);
            let error = error.expect_err("its rows are shorter");
            let source = error.source().expect("what the library gave").to_string();
            assert!(source.contains("expected 32 logits in a row, found 20"), "{source}");
        },
    );
}

#[test]
fn every_function_that_is_called_is_played() {
    let library = std::fs::read(fake_openvino::library()).expect("the library");
    let native = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/native");
    let files = std::fs::read_dir(&native).expect("the folder of calls");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("an entry").path()).collect();
    files.push(native.with_extension("rs"));
    let mut n_found = 0;
    for file in files {
        let code = std::fs::read_to_string(&file).expect("a source");
        for call in code.split("openvino_sys::ov_").skip(1) {
            let Some((name, _)) = call.split_once('(') else { continue };
            if !name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_') {
                continue;
            }
            // As the table of symbols writes it.
            let symbol = [b"\0ov_", name.as_bytes(), b"\0"].concat();
            let is_there = library.windows(symbol.len()).any(|window| window == symbol);
            assert!(is_there, "the fake has no ov_{name}");
            n_found += 1;
        }
    }
    assert!(20 < n_found, "only {n_found} calls found");
}

#[test]
fn devices_have_names_and_numbers() {
    let script = |folder: &Path| {
        Script::new(folder)
            .line("device GPU.0 Fake Graphics (iGPU)")
            .line("device GPU.1 Fake Card (dGPU)")
            .line("device NPU Fake AI Boost")
            .line("device GNA what no backend runs")
            .line("fault property GPU.1/FULL_DEVICE_NAME error no driver")
    };
    play("devices_have_names_and_numbers", script, |_| {
        let devices = load().devices().expect("a list");
        let found: Vec<_> = devices
            .iter()
            .map(|device| (device.kind, device.id.as_str(), device.name.as_str()))
            .collect();
        let expected = [
            (DeviceKind::Cpu, "CPU", "Fake Processor"),
            (DeviceKind::Gpu, "GPU.0", "Fake Graphics (iGPU)"),
            (DeviceKind::Gpu, "GPU.1", ""),
            (DeviceKind::Npu, "NPU", "Fake AI Boost"),
        ];
        assert_eq!(found, expected);
    });
}

#[test]
fn a_number_picks_the_device() {
    let script =
        |folder: &Path| Script::new(folder).line("device GPU.0 first").line("device GPU.1 second");
    play("a_number_picks_the_device", script, |stage| {
        let (backend, model) = (load(), stage.model());
        for (asked, expected) in [("gpu.1", "GPU.1"), ("gpu.0", "GPU.0"), ("gpu", "GPU.0")] {
            let opened = backend.open(&model, &on(asked)).expect(asked);
            assert_eq!(opened.device_used().id, expected, "{asked}");
        }
        let ids: Vec<String> = compilations(stage).into_iter().map(|call| call.device).collect();
        assert_eq!(ids, ["GPU.1", "GPU.0", "GPU.0"]);
        for asked in ["gpu.2", "npu"] {
            let error = refusal(&backend, &model, &on(asked));
            assert!(matches!(error, OpenError::NoDevice { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(asked) && text.contains("CPU, GPU.0, GPU.1"), "{text}");
        }
        assert_eq!(compilations(stage).len(), 3, "what is not there is not compiled for");
    });
}

#[test]
fn a_refusal_keeps_the_librarys_words() {
    let script = |folder: &Path| {
        Script::laptop(folder)
            .line("fault compile GPU times 1 error Program build failed\\nerror: out of registers")
            .line("fault read * times 2 error Unable to read the model")
            .line("fault compile NPU error [NPU_VCL] Compiler returned msg: unsupported operation")
    };
    play("a_refusal_keeps_the_librarys_words", script, |stage| {
        let (backend, model) = (load(), stage.model());
        let check = |device: &str, expected: &str| {
            let error = refusal(&backend, &model, &on(device));
            assert!(matches!(error, OpenError::Refused { .. }), "{error}");
            let words = error.source().expect("the library's words").to_string();
            assert_eq!(words, format!("{expected} (GENERAL_ERROR)"));
        };
        check("cpu", "reading the graph: Unable to read the model");
        check("gpu", "reading the graph: Unable to read the model");
        check("gpu", "compiling: Program build failed; error: out of registers");
        check("npu", "compiling: [NPU_VCL] Compiler returned msg: unsupported operation");
        backend.open(&model, &on("gpu")).map(drop).expect("the second time it compiles");
    });
}

#[test]
fn what_the_library_cannot_tell_at_the_start_is_an_error() {
    let script = |folder: &Path| {
        Script::new(folder)
            .line("fault load * times 1 error cannot parse plugins.xml")
            .line("fault devices * times 1 error the driver does not answer")
    };
    play("what_the_library_cannot_tell_at_the_start_is_an_error", script, |_| {
        let error = OpenVinoBackend::load(&fake_openvino::library()).expect_err("no core");
        let words = error.source().expect("the library's words").to_string();
        assert!(words.contains("cannot parse plugins.xml"), "{words}");
        let backend = load();
        let error = backend.devices().expect_err("no list");
        let words = error.source().expect("the library's words").to_string();
        assert!(words.contains("the driver does not answer"), "{words}");
        assert_eq!(backend.devices().expect("the second time").len(), 1);
    });
}

#[test]
fn an_old_library_is_refused() {
    let script = |folder: &Path| Script::new(folder).line("version 2026.3.0-21000-fake");
    play("an_old_library_is_refused", script, |stage| {
        let library = fake_openvino::library();
        let error = OpenVinoBackend::load(&library).expect_err("it is too old");
        assert!(matches!(error, LoadError::TooOld { .. }), "{error}");
        assert!(error.to_string().contains("2026.3.0"), "{error}");
        // The script is read anew in every call.
        Script::new(&stage.folder).line("version 2026.4.0-1-fake").write();
        assert_eq!(load().version(), "2026.4.0");
        Script::new(&stage.folder).line("version 2024.6.0-1-fake").write();
        let error = OpenVinoBackend::load(&library).expect_err("it is far too old");
        let words = error.source().expect("a cause").to_string();
        assert!(words.contains("2024.6.0-1-fake"), "{words}");
    });
}

#[test]
fn devices_are_told_what_they_understand() {
    const LATENCY: (&str, &str) = ("PERFORMANCE_HINT", "LATENCY");
    let exact = |kv_cache| {
        vec![
            ("DYNAMIC_QUANTIZATION_GROUP_SIZE", "0"),
            ("INFERENCE_PRECISION_HINT", "f32"),
            ("KV_CACHE_PRECISION", kv_cache),
            LATENCY,
        ]
    };
    let threads = ("INFERENCE_NUM_THREADS", "2");
    let mut exact_on_cpu = exact("f32");
    exact_on_cpu.insert(1, threads);
    let cases = [
        ("cpu", Precision::Exact, exact_on_cpu),
        ("cpu", Precision::Fast, vec![threads, LATENCY]),
        ("gpu", Precision::Exact, exact("f16")),
        ("gpu", Precision::Fast, vec![("INFERENCE_PRECISION_HINT", "f16"), LATENCY]),
    ];
    play("devices_are_told_what_they_understand", Script::laptop, |stage| {
        let (backend, model) = (load(), stage.model());
        for (device, precision, expected) in &cases {
            let options = OpenOptions { precision: *precision, ..on(device) };
            backend.open(&model, &options).map(drop).expect(device);
            let compiled = compilations(stage).pop().expect("a compilation");
            let facts = compiled.facts.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            assert_eq!(&facts.collect::<Vec<_>>(), expected, "{device}, {precision:?}");
        }
    });
}

#[test]
fn an_npu_is_asked_for_alone() {
    play("an_npu_is_asked_for_alone", Script::laptop, |stage| {
        let (backend, model) = (load(), stage.model());
        for (asked, expected) in [("npu", "NPU"), ("npu:cpu", "CPU")] {
            let opened = backend.open(&model, &on(asked)).expect(asked);
            assert_eq!(opened.device_used().kind.to_string(), asked);
            let compiled = compilations(stage).pop().expect("a compilation");
            assert_eq!(
                (compiled.device.as_str(), compiled.fact("NPUW_DEVICES")),
                ("NPU", Some(expected))
            );
            assert_eq!(compiled.fact("NPU_USE_NPUW"), Some("YES"));
            assert_eq!(compiled.fact("NPUW_LLM"), Some("YES"));
        }
    });
}

#[test]
fn the_conformance_suite_holds_on_the_cpu() {
    play("the_conformance_suite_holds_on_the_cpu", Script::new, |stage| {
        let (backend, folder) = (load(), stage.model());
        let model = backend.open(&folder, &exact_options()).expect("it opens");
        chunks_do_not_matter(&backend, &folder, &*model, &PROMPT, 0.0, 0.0);
        decoders_are_independent(&*model, &PROMPT, &OTHER);
        steps_together_equal_steps_alone(&*model, &PROMPT, &OTHER, 0.0);
        rewind_equals_fresh(&*model, &PROMPT, &OTHER, 0.0);
        bad_input_is_refused(&backend, &folder);
    });
}

#[test]
fn every_device_gives_the_logits_of_the_cpu() {
    play("every_device_gives_the_logits_of_the_cpu", Script::laptop, |stage| {
        let (backend, folder) = (load(), stage.model());
        let oracle = backend.open(&folder, &exact_options()).expect("it opens");
        for device in ["gpu", "npu", "npu:cpu"] {
            let model = backend.open(&folder, &on(device)).expect(device);
            let steps: [&[u32]; 4] = [&PROMPT, &OTHER, &[3], &[9, 9]];
            steps_equal_scores(&*model, &*oracle, &steps, 0.0);
            steps_equal_scores(&*model, &*oracle, &[&[5], &[6], &OTHER], 0.0);
            decoders_are_independent(&*model, &PROMPT, &OTHER);
            steps_together_equal_steps_alone(&*model, &PROMPT, &OTHER, 0.0);
            steps_together_equal_steps_alone(&*model, &OTHER, &PROMPT, 0.0);
            rewind_equals_fresh(&*model, &PROMPT, &OTHER, 0.0);
            // A conversation that starts with one token after a long answer: an NPU that is asked
            // in the same request gives wrong logits.
            let (mut found, mut expected) = (vec![0.0; N_VOCAB], vec![0.0; N_VOCAB]);
            let mut decoder = model.decoder().expect("a decoder");
            decoder.step(&PROMPT, &mut found).expect("a prompt");
            decoder.step(&OTHER, &mut found).expect("an answer");
            decoder.rewind(0).expect("starting anew always works");
            decoder.step(&[7], &mut found).expect("one token");
            oracle.decoder().expect("a decoder").step(&[7], &mut expected).expect("one token");
            assert_eq!(found, expected, "{device}");
        }
    });
}

#[test]
fn a_prompt_that_nobody_wants_is_cancelled() {
    let script = |folder: &Path| Script::laptop(folder).line("fault infer * slow 200");
    play("a_prompt_that_nobody_wants_is_cancelled", script, |stage| {
        let (backend, folder) = (load(), stage.model());
        let mut logits = vec![0.0; N_VOCAB];
        for (device, n_cancelled) in [("cpu", 1), ("gpu", 2)] {
            let model = backend.open(&folder, &on(device)).expect("it opens");
            let mut decoder = model.decoder().expect("a decoder");
            let stopped = decoder.step_while(&PROMPT, &mut logits, &mut || false);
            let stopped = stopped.expect_err("nobody wants it");
            assert!(matches!(stopped, StepError::Stopped { n_positions: None }), "{stopped}");
            let cancelled =
                calls(&stage.folder).iter().filter(|call| call.what == "cancel").count();
            assert_eq!(cancelled, n_cancelled, "{device}");
        }
        // NPUW runs a prompt to its end, and what goes in behind it token by token.
        let model = backend.open(&folder, &on("npu")).expect("it opens");
        let mut decoder = model.decoder().expect("a decoder");
        decoder.step_while(&PROMPT, &mut logits, &mut || false).expect("it goes to its end");
        let stopped = decoder.step_while(&OTHER, &mut logits, &mut || false);
        let stopped = stopped.expect_err("nobody wants it");
        let n_positions = Some(PROMPT.len() + 1);
        assert!(
            matches!(stopped, StepError::Stopped { n_positions: found } if found == n_positions)
        );
        assert_eq!(decoder.n_positions(), PROMPT.len() + 1);
    });
}

#[test]
fn an_npus_limits_are_errors_before_it_is_asked() {
    play("an_npus_limits_are_errors_before_it_is_asked", Script::laptop, |stage| {
        let (backend, folder) = (load(), stage.model());
        let mut options = OpenOptions { n_positions_max: Some(100), ..on("npu") };
        options.n_prompt_tokens_max = Some(70);
        let model = backend.open(&folder, &options).expect("it opens");
        let mut logits = vec![0.0; N_VOCAB];
        let mut decoder = model.decoder().expect("a decoder");
        let n_calls = calls(&stage.folder).len();
        let error = decoder.step(&[1; 71], &mut logits).expect_err("the prompt is too long");
        assert!(matches!(error, StepError::PromptTooLong { n_tokens: 71, .. }), "{error}");
        assert_eq!(calls(&stage.folder).len(), n_calls, "nothing went in");
        decoder.step(&[1; 70], &mut logits).expect("the longest prompt");
        decoder.step(&[2; 30], &mut logits).expect("the longest answer");
        let error = decoder.step(&[3], &mut logits).expect_err("there is no room");
        assert!(matches!(error, StepError::ContextFull { n_max: 100, .. }), "{error}");
    });
}

#[test]
fn a_failure_while_running_keeps_the_librarys_words() {
    let script = |folder: &Path| {
        Script::laptop(folder)
            .line("fault infer GPU times 1 error [GPU] clWaitForEvents, error code: -14")
            .line("fault request CPU error no memory for a request")
    };
    play("a_failure_while_running_keeps_the_librarys_words", script, |stage| {
        let (backend, folder) = (load(), stage.model());
        let model = backend.open(&folder, &on("gpu")).expect("it opens");
        let mut logits = vec![0.0; N_VOCAB];
        let mut decoder = model.decoder().expect("a decoder");
        let error = decoder.step(&PROMPT, &mut logits).expect_err("it fails");
        let words = error.source().expect("the library's words").to_string();
        assert!(words.contains("error code: -14"), "{words}");
        let model = backend.open(&folder, &on("cpu")).expect("it opens");
        let error = model.decoder().map(drop).expect_err("it fails");
        assert!(error.to_string().contains("no memory for a request"), "{error}");
    });
}

#[test]
fn a_compiled_model_is_kept_and_a_damaged_one_never_used() {
    let script = |folder: &Path| Script::laptop(folder).line("blob_bytes 10000");
    play("a_compiled_model_is_kept_and_a_damaged_one_never_used", script, |stage| {
        let (backend, folder) = (load(), stage.model());
        for device in ["cpu", "gpu", "npu", "npu:cpu"] {
            let options =
                OpenOptions { cache_folder: Some(stage.folder.join(device)), ..on(device) };
            let run = || {
                let model = backend.open(&folder, &options).expect(device);
                let cache_use = model.cache_use().expect("there is a cache");
                let mut logits = vec![0.0; N_VOCAB];
                model.decoder().expect("a decoder").step(&PROMPT, &mut logits).expect("a prompt");
                (cache_use.outcome.clone(), cache_use.folder.clone(), logits)
            };
            let (outcome, entry, expected) = run();
            assert!(matches!(outcome, CacheOutcome::Stored), "{device}: {outcome:?}");
            let (outcome, _, found) = run();
            assert!(matches!(outcome, CacheOutcome::Hit), "{device}: {outcome:?}");
            assert_eq!(found, expected, "{device}");
            // The library takes this one, and gives other logits.
            let blob = blob(&entry);
            let mut bytes = std::fs::read(&blob).expect("a blob");
            bytes[5000] ^= 1;
            std::fs::write(&blob, bytes).expect("a blob");
            let (outcome, _, found) = run();
            assert!(matches!(outcome, CacheOutcome::Rebuilt { .. }), "{device}: {outcome:?}");
            assert_eq!(found, expected, "{device}: after the damage");
        }
    });
}

#[test]
fn what_comes_out_of_the_cache_must_compute_what_went_in() {
    const NAME: &str = "what_comes_out_of_the_cache_must_compute_what_went_in";
    play(NAME, Script::laptop, |stage| {
        let (backend, folder) = (load(), stage.model());
        for (device, logits) in
            [("cpu", "nan"), ("gpu", "other"), ("gpu", "nan"), ("npu", "nan"), ("npu:cpu", "other")]
        {
            let cache = stage.folder.join(format!("{device} {logits}"));
            let options = OpenOptions { cache_folder: Some(cache), ..on(device) };
            let run = || {
                let model = backend.open(&folder, &options).expect(device);
                let outcome = model.cache_use().expect("there is a cache").outcome.clone();
                let mut row = vec![0.0; N_VOCAB];
                model.decoder().expect("a decoder").step(&PROMPT, &mut row).expect("a prompt");
                (outcome, row)
            };
            Script::laptop(&stage.folder).write();
            let plain = OpenOptions { cache_folder: None, ..options.clone() };
            let model = backend.open(&folder, &plain).expect(device);
            let mut expected = vec![0.0; N_VOCAB];
            model.decoder().expect("a decoder").step(&PROMPT, &mut expected).expect("a prompt");
            // A GPU's model comes out of the cache as soon as it is stored.
            if device != "gpu" {
                assert_eq!(run(), (CacheOutcome::Stored, expected.clone()), "{device}");
            }
            let id = device.split(':').next().expect("a name").to_uppercase();
            let script = Script::laptop(&stage.folder);
            script.line(&format!("cached {id} {logits}")).write();
            let mut n_bytes = Vec::new();
            for start in 0..3 {
                let (outcome, found) = run();
                let CacheOutcome::NotStored { why } = outcome else {
                    panic!("{device}, {logits}, start {start}: {outcome:?}")
                };
                let expected_why = "gives back of its own cache computes something else: logit ";
                assert!(why.contains(expected_why), "{device}, {logits}: {why}");
                assert_eq!(found, expected, "{device}, {logits}, start {start}");
                let entries = lapwing_openvino::cache::entries(
                    options.cache_folder.as_ref().expect("it was given"),
                );
                n_bytes.extend(entries.iter().map(|entry| entry.n_bytes));
            }
            // Nothing is kept but that it is of no use.
            assert!(n_bytes.len() == 3 && n_bytes.iter().all(|&n| n < 4096), "{n_bytes:?}");
        }
    });
}

#[test]
fn an_npu_that_cannot_infer_is_refused_when_the_model_is_opened() {
    let script = |folder: &Path| {
        Script::laptop(folder).line("fault infer NPU error from_shape.size() == 2 failed")
    };
    play("an_npu_that_cannot_infer_is_refused_when_the_model_is_opened", script, |stage| {
        let (backend, folder) = (load(), stage.model());
        for device in ["npu", "npu:cpu"] {
            let cache_folder = Some(stage.folder.join("cache"));
            for options in [on(device), OpenOptions { cache_folder, ..on(device) }] {
                let error = refusal(&backend, &folder, &options);
                let words = error.source().expect("the library's words").to_string();
                assert!(words.contains("from_shape.size() == 2"), "{words}");
                assert!(matches!(error, OpenError::Refused { .. }), "{error}");
            }
        }
        let left = lapwing_openvino::cache::entries(&stage.folder.join("cache"));
        assert!(left.is_empty(), "{left:?}");
    });
}

fn blob(entry: &Path) -> PathBuf {
    let files = std::fs::read_dir(entry).expect("the entry's folder");
    let mut files = files.map(|file| file.expect("a file").path());
    let is_blob = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "blob");
    files.find(is_blob).expect("what the library wrote")
}

#[test]
fn a_crash_ends_the_process_as_told() {
    const NAME: &str = "a_crash_ends_the_process_as_told";
    if let Some(stage) = Stage::inner(NAME) {
        let (backend, folder) = (load(), stage.model());
        backend.open(&folder, &exact_options()).map(drop).expect("it goes wrong otherwise");
        return;
    }
    let stage = Stage::outer(NAME);
    let check = |fault: &str, code: Option<i32>, signal: Option<i32>, said: &str| {
        let script = Script::new(&stage.folder)
            .line("fault compile CPU print the plugin's last words")
            .line(&format!("fault compile CPU {fault}"));
        let output = stage.command(&script).output().expect("this binary starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        let found = (output.status.code(), output.status.signal());
        assert_eq!(found, (code, signal), "{fault}: {errors}");
        assert!(errors.contains("the plugin's last words"), "{fault}: {errors}");
        assert!(errors.contains(said), "{fault}: {errors}");
    };
    check("abort", None, Some(6), "");
    check("segfault", None, Some(11), "");
    check("exit 7", Some(7), None, "");
    // A panic of the inner test.
    check("error it is refused", Some(101), None, "it is refused");
    for fault in ["hang", "allocate 64"] {
        let script = Script::new(&stage.folder).line(&format!("fault compile CPU {fault}"));
        let mut command = stage.command(&script);
        let mut child = command.stdout(Stdio::null()).spawn().expect("this binary starts");
        let is_compiling = || calls(&stage.folder).iter().any(|call| call.pid == Some(child.id()));
        let patience = Instant::now() + Duration::from_secs(60);
        while !is_compiling() {
            assert!(Instant::now() < patience, "{fault}: it never compiles");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(child.try_wait().expect("its state"), None, "{fault}: it is still there");
        child.kill().expect("it can be stopped");
        child.wait().expect("it ends");
    }
}
