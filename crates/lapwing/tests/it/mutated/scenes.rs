//! What is mutated: folders with models and files of every kind, and the commands that read them.
//!
//! Everything is made here, from a small model with random weights, or is in the repository.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use lapwing_export::Target;
use lapwing_export::made_up_model;
use serde_json::json;

use super::AT;
use crate::mutate::SplitMix;
use crate::real::with_runtimes;
use crate::{Lapwing, files_below, gguf_file};

/// A home of the program with files that are mutated, one a case.
pub(super) struct Scene {
    pub(super) name: &'static str,
    /// Is copied for every case.
    pub(super) home: PathBuf,
    /// Below the home.
    pub(super) files: Vec<String>,
    /// [`AT`] stands for the home.
    pub(super) commands: Vec<Vec<String>>,
    /// Whether a command loads a model.
    pub(super) needs_runtimes: bool,
}

/// Where all scenes are made, and the parts that several of them use.
struct Stage {
    folder: PathBuf,
    checkpoint: PathBuf,
    ir: PathBuf,
    onnx: PathBuf,
}

/// All scenes that can be played here, below `folder`.
pub(super) fn all(folder: &Path) -> Vec<Scene> {
    let made = folder.join("made");
    let make = |target| made_up_model::make(&made, target).expect("a made-up model");
    let (ir, onnx) = (make(Target::OpenVino), make(Target::Onnx));
    let checkpoint = made.join("checkpoint");
    for model in [&ir, &onnx, &checkpoint] {
        write_text_files(model);
    }
    let stage = Stage { folder: folder.to_owned(), checkpoint, ir, onnx };
    let mut scenes = vec![stage.checkpoint(), stage.gguf(), stage.plan(), stage.records()];
    scenes.extend([stage.settings(), stage.store()]);
    if with_runtimes(Lapwing::new()).is_some() {
        let mut more = vec![stage.openvino(), stage.genai(), stage.transformersjs()];
        more.extend([stage.recommendation(), stage.texts(), stage.journal()]);
        more.push(stage.correction());
        more.iter_mut().for_each(|scene| scene.needs_runtimes = true);
        scenes.extend(more);
    }
    scenes
}

/// A journal with its key and two windows, where it has come so far.
fn begun(journal: &Path) -> Option<String> {
    let text = std::fs::read_to_string(journal).ok()?;
    let lines: Vec<&str> = text.split_inclusive('\n').take(3).collect();
    (lines.len() == 3 && text.ends_with('\n')).then(|| lines.concat())
}

/// What a model folder has beside its weights and its tokenizer.
fn write_text_files(model: &Path) {
    let template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n\
        {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    write(&model.join("chat_template.jinja"), template);
    let special = json!({"bos_token": "word1", "eos_token": {"content": "word2"}});
    write(&model.join("special_tokens_map.json"), &special.to_string());
    let tokenizer = json!({
        "bos_token": "word1", "eos_token": "word2", "model_max_length": 512,
        "add_bos_token": true, "added_tokens_decoder": {"1": {"content": "word1", "special": true}},
    });
    write(&model.join("tokenizer_config.json"), &tokenizer.to_string());
    let generation = json!({
        "do_sample": true, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "eos_token_id": [2],
        "bos_token_id": 1, "repetition_penalty": 1.1, "max_length": 64,
    });
    write(&model.join("generation_config.json"), &generation.to_string());
}

/// The commands, one a line.
fn commands(lines: &[&str]) -> Vec<Vec<String>> {
    lines.iter().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

const RUN: &str = "run --model @/model --prompt word1 --max-tokens 3 --json --seed 1";
const INSPECT: &str = "inspect @/model --json";
/// What is done with a checkpoint.
const EXPORTS: [&str; 5] = [
    INSPECT,
    "inspect @/model",
    "export @/model --to openvino --weights f32 --out @/out/export",
    "export @/model --to openvino --weights int4 --out @/out/export --json",
    "export @/model --to onnx --weights int8 --out @/out/export --report",
];

impl Stage {
    /// A scene whose home holds `parts`: names below it, and the folders or files they come from.
    fn scene(&self, name: &'static str, parts: &[(&str, &Path)], lines: &[&str]) -> Scene {
        let home = self.folder.join(name);
        for (to, from) in parts {
            copy(from, &home.join(to));
        }
        let (files, commands) = (files_below(&home), commands(lines));
        Scene { name, home, files, commands, needs_runtimes: false }
    }

    fn openvino(&self) -> Scene {
        let ppl = "eval ppl --model @/model --text @/text.txt --window 16 --limit 2 --json";
        let text = self.text();
        let parts: [(&str, &Path); 2] = [("model", &self.ir), ("text.txt", &text)];
        let raw = "run --model @/model --prompt word1 --raw --max-tokens 2 --top-k 3 --seed 3";
        self.scene("openvino", &parts, &[RUN, RUN, INSPECT, "inspect @/model", ppl, raw])
    }

    fn genai(&self) -> Scene {
        let ids = "run --model @/model --prompt-ids 1,2,3 --max-tokens 2 --seed 1";
        self.scene("onnx-genai", &[("model", &self.onnx)], &[RUN, RUN, INSPECT, ids])
    }

    /// The same graph in the other layout.
    fn transformersjs(&self) -> Scene {
        let name = "onnx-transformersjs";
        let model = self.folder.join(name).join("model");
        copy(&self.onnx, &model);
        std::fs::create_dir(model.join("onnx")).expect("a folder");
        for file in ["model.onnx", "model.onnx.data"] {
            std::fs::rename(model.join(file), model.join("onnx").join(file)).expect("it moves");
        }
        std::fs::remove_file(model.join("genai_config.json")).expect("it is there");
        copy(&self.checkpoint.join("config.json"), &model.join("config.json"));
        self.scene(name, &[], &[RUN, RUN, INSPECT])
    }

    fn checkpoint(&self) -> Scene {
        let pull = "pull @/model --as mine";
        let lines = [&EXPORTS[..], &[pull]].concat();
        self.scene("checkpoint", &[("model", &self.checkpoint)], &lines)
    }

    fn gguf(&self) -> Scene {
        let folder = self.folder.join("gguf");
        std::fs::create_dir(&folder).expect("a folder");
        gguf_file::small("llama").write(&folder);
        let lines = EXPORTS.map(|line| line.replace("@/model", "@/model.gguf"));
        self.scene("gguf", &[], &lines.each_ref().map(String::as_str))
    }

    fn plan(&self) -> Scene {
        let plan = json!({
            "default": "int4", "group_size": 32, "symmetric": true, "head": "int8",
            "tensors": {"*.v_proj.*": {"precision": "int8", "group_size": 64}, "*.o_proj.*": "f16"},
        });
        let path = self.folder.join("plan.json");
        write(&path, &plan.to_string());
        let line = "export @/model --to onnx --weights @/plan.json --out @/out/export";
        let parts: [(&str, &Path); 2] = [("plan.json", &path), ("model", &self.checkpoint)];
        let scene = self.scene("plan", &parts, &[line]);
        Scene { files: vec!["plan.json".to_owned()], ..scene }
    }

    fn records(&self) -> Scene {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let records = manifest.join("../lapwing-measure/testdata/records_version_1.jsonl");
        let parts: [(&str, &Path); 2] =
            [("profiles/laptop/a.jsonl", &records), ("b.jsonl", &records)];
        let lines = [
            "report laptop --format html --out @/out.html",
            "report laptop --format markdown",
            "report laptop --format csv --run latest",
            "compare @/profiles/laptop/a.jsonl @/b.jsonl --json",
            "compare laptop @/b.jsonl --force",
        ];
        self.scene("records", &parts, &lines)
    }

    fn settings(&self) -> Scene {
        let (settings, catalog) = (self.folder.join("lapwing.toml"), self.folder.join("own.toml"));
        write(&settings, "threads = 1\ncontext = 64\nprecision = \"exact\"\npip = [\"pip3\"]\n");
        let entry = "[[model]]\nname = \"mine\"\nsource = \"hf:a/b@main\"\nkind = \"gguf\"\n\
            description = \"Mine\"\nlicence = \"MIT\"\nsize_bytes = 1000\n";
        write(&catalog, entry);
        let parts: [(&str, &Path); 2] = [("lapwing.toml", &settings), ("catalog.toml", &catalog)];
        let lines = ["list --all --json", "list --all", "devices --json", "doctor --json"];
        self.scene("settings", &parts, &lines)
    }

    /// A model of the store with its record, and the ledger of trials.
    fn store(&self) -> Scene {
        let home = self.folder.join("store");
        let lapwing = Lapwing::new().with("LAPWING_HOME", home.to_str().expect("a path"));
        let checkpoint = self.checkpoint.to_str().expect("a path");
        let line = ["export", checkpoint, "--to", "onnx", "--name", "mine"];
        lapwing.run(&line).expect_code(0);
        let trials = json!({"schema_version": 1, "trials": [{
            "configuration": {
                "model": "/m/openvino_model.xml", "model_bytes": 7, "model_stamp": "",
                "backend": "openvino", "version": "2026.4.1", "device": "GPU", "driver": null,
                "options": "",
            },
            "at": "2026-11-21T12:00:00Z", "failure": null,
        }]});
        let ledger = self.folder.join("trials.json");
        write(&ledger, &trials.to_string());
        let lines =
            ["list --json", "list", "inspect mine --json", "devices --json", "rm mine --yes"];
        let scene = self.scene("store", &[("cache/trials.json", &ledger)], &lines);
        let is_read = |file: &String| file.ends_with(".json") && !file.ends_with("tokenizer.json");
        Scene { files: scene.files.into_iter().filter(is_read).collect(), ..scene }
    }

    fn recommendation(&self) -> Scene {
        let n_bytes: u64 = ["openvino_model.xml", "openvino_model.bin"]
            .map(|file| std::fs::metadata(self.ir.join(file)).expect("the model").len())
            .iter()
            .sum();
        let recommended = json!({"model": {
            "device": "cpu", "backend": "openvino", "metric": "throughput", "figure": 7.5,
            "unit": "tokens/s", "verdict": "faster than gpu", "record_id": "00ff",
            "model_sha256": "ab", "model_bytes": n_bytes,
        }});
        let path = self.folder.join("recommended.json");
        write(&path, &recommended.to_string());
        let parts: [(&str, &Path); 2] = [("recommendations.json", &path), ("model", &self.ir)];
        let scene = self.scene("recommendation", &parts, &[RUN]);
        Scene { files: vec!["recommendations.json".to_owned()], ..scene }
    }

    fn texts(&self) -> Scene {
        let text = self.text();
        let data = self.folder.join("data");
        let line = |value: serde_json::Value| format!("{value}\n").repeat(3);
        let piqa = json!({"goal": "word1 word2", "sol1": "word3", "sol2": "word4"});
        write(&data.join("piqa.jsonl"), &line(piqa));
        write(&self.folder.join("prompt.txt"), "word1 word2\nword3\n");
        write(&data.join("labels.lst"), "0\n1\n0\n");
        write(&data.join("lambada.jsonl"), &line(json!({"text": "word1 word2 word3 word4"})));
        let lines = [
            "run --model @/model --prompt-file @/prompt.txt --max-tokens 2 --json --seed 1",
            "eval ppl --model @/model --text @/text.txt --window 16 --limit 2",
            "eval task piqa --model @/model --data @/data/piqa.jsonl --labels @/data/labels.lst --json",
            "eval task lambada_openai --model @/model --data @/data/lambada.jsonl --json",
            "calibrate --model @/model --text @/text.txt --window 8 --windows 60 --out \
             @/out.correction.json",
        ];
        let prompt = self.folder.join("prompt.txt");
        let parts: [(&str, &Path); 4] =
            [("text.txt", &text), ("prompt.txt", &prompt), ("data", &data), ("model", &self.ir)];
        let mut scene = self.scene("texts", &parts, &lines);
        scene.files.retain(|file| !file.starts_with("model/"));
        scene
    }

    /// A measurement that was killed behind its second window goes on.
    fn journal(&self) -> Scene {
        let text = self.folder.join("long.txt");
        write(&text, &"word1 word2 word3 word4 ".repeat(900));
        let line = "eval ppl --model @/model --text @/text.txt --window 128 --limit 24";
        let parts: [(&str, &Path); 2] = [("text.txt", &text), ("model", &self.ir)];
        let scene = self.scene("journal", &parts, &[line]);
        let lapwing = with_runtimes(Lapwing::new()).expect("it was there before");
        let line = line.replace(AT, &format!("{}/", scene.home.display()));
        let words: Vec<&str> = line.split_whitespace().collect();
        let journals = scene.home.join("cache/eval");
        // A fast machine may have done all before it is killed.
        for _ in 0..20 {
            let mut command = lapwing.command(&words);
            command.env("LAPWING_HOME", &scene.home).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().expect("the program");
            let begun = |name: &String| begun(&journals.join(name));
            while child.try_wait().expect("it is ours").is_none() {
                if files_below(&journals).iter().any(|name| begun(name).is_some()) {
                    break;
                }
            }
            child.kill().and_then(|()| child.wait()).expect("it is ours");
            let names = files_below(&journals);
            if let Some((name, text)) = names.iter().find_map(|name| Some((name, begun(name)?))) {
                write(&journals.join(name), &text);
                return Scene { files: vec![format!("cache/eval/{name}")], ..scene };
            }
        }
        panic!("no measurement was killed while it had something to keep");
    }

    fn correction(&self) -> Scene {
        let text = self.text();
        let parts: [(&str, &Path); 2] = [("model", &self.ir), ("text.txt", &text)];
        let line = "run --model @/model --prompt word1 --max-tokens 2 --json --seed 1 \
            --correction auto";
        let scene = self.scene("correction", &parts, &[line]);
        let lapwing = with_runtimes(Lapwing::new()).expect("it was there before");
        let at = |name: &str| scene.home.join(name).to_str().expect("a path").to_owned();
        let (model, text) = (at("model"), at("text.txt"));
        let lapwing = lapwing.with("LAPWING_HOME", scene.home.to_str().expect("a path"));
        let calibrate = ["calibrate", "--model", &model, "--text", &text, "--window", "8"];
        let windows = ["--windows", "60", "--min-gain", "0"];
        lapwing.run(&[&calibrate[..], &windows].concat()).expect_code(0);
        let files = files_below(&scene.home.join("profiles")).into_iter();
        Scene { files: files.map(|file| format!("profiles/{file}")).collect(), ..scene }
    }

    fn text(&self) -> PathBuf {
        let path = self.folder.join("text.txt");
        let mut random = SplitMix::new(1);
        let words: Vec<String> = (0..900).map(|_| format!("word{}", random.below(500))).collect();
        write(&path, &(words.join(" ") + "\n"));
        path
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
    std::fs::write(path, text).expect("the folder of scenes is writable");
}

/// A file, or a folder with everything in it.
pub(super) fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        std::fs::create_dir_all(to.parent().expect("a file is in a folder")).expect("a folder");
        std::fs::copy(from, to).expect("a copy");
        return;
    }
    std::fs::create_dir_all(to).expect("a folder");
    for file in files_below(from) {
        copy(&from.join(&file), &to.join(&file));
    }
}
