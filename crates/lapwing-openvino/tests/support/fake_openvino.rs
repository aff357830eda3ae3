//! The pretended OpenVINO of `tests/fake`: built on demand, told by a script what to play.
//!
//! Included by path from the tests of this crate and of the program. The statements of a script
//! are listed in `tests/fake/script.rs`; the library reads it anew in every call, so a test may
//! change it while a process runs.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the script to the library.
pub(crate) const VARIABLE: &str = "LAPWING_FAKE_OPENVINO";

/// The folder that holds the library and nothing else, as an installation does: it may stand in
/// `OPENVINO_INSTALL_DIR`.
pub(crate) fn folder() -> PathBuf {
    library().parent().expect("a file is in a folder").to_owned()
}

/// `libopenvino_c.so`, compiled unless it is there for these sources already. Processes that ask
/// at the same time wait for the first one.
pub(crate) fn library() -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lapwing-openvino/tests/fake");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(built).expect("the folder for tests' files");
    let lock = File::create(built.join("fake-openvino.lock")).expect("a lock file");
    lock.lock().expect("the lock; it goes with the file");
    let folder = built.join(format!("fake-openvino-{:016x}", fingerprint(&sources)));
    let library = folder.join("libopenvino_c.so");
    if !library.is_file() {
        fs::create_dir_all(&folder).expect("a folder for the library");
        // Whole under its name, also when the compiler is stopped.
        let partial = built.join("fake-openvino.partial");
        compile(&sources.join("openvino.rs"), &partial);
        fs::rename(&partial, &library).expect("the library gets its name");
    }
    library
}

fn fingerprint(sources: &Path) -> u64 {
    let entries = fs::read_dir(sources).unwrap_or_else(|e| panic!("{}: {e}", sources.display()));
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry of the folder").path()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        hasher.write(&fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())));
    }
    hasher.finish()
}

fn compile(source: &Path, target: &Path) {
    // Cargo tells tests where it is; its compiler is beside it.
    let beside = std::env::var_os("CARGO").map(|cargo| Path::new(&cargo).with_file_name("rustc"));
    let named = std::env::var_os("RUSTC").map(PathBuf::from);
    let compiler = named.or(beside.filter(|path| path.is_file())).unwrap_or("rustc".into());
    let mut command = Command::new(&compiler);
    command.args(["--crate-type=cdylib", "--crate-name=openvino_c", "--edition=2024"]);
    command.args(["-Copt-level=1", "-Cstrip=symbols"]).arg(source).arg("-o").arg(target);
    let output = command.output().unwrap_or_else(|e| panic!("{}: {e}", compiler.display()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the fake does not compile:\n{said}");
}

/// A script in the making, in a folder of its own beside its log.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    folder: PathBuf,
    text: String,
}

impl Script {
    /// A machine with a CPU only.
    pub(crate) fn new(folder: &Path) -> Script {
        let log = folder.join("calls.log");
        let script = Script { folder: folder.to_owned(), text: String::new() };
        script.line(&format!("log {}", log.display())).line("device CPU Fake Processor")
    }

    /// A laptop with a CPU, an integrated GPU and an NPU.
    pub(crate) fn laptop(folder: &Path) -> Script {
        Script::new(folder)
            .line("device GPU Fake Graphics (iGPU)")
            .line("property GPU GPU_DEVICE_TOTAL_MEM_SIZE 17179869184")
            .line("property GPU OPTIMIZATION_CAPABILITIES FP32 BIN FP16 INT8 EXPORT_IMPORT")
            .line("property GPU INFERENCE_PRECISION_HINT f16")
            .line("device NPU Fake AI Boost")
            .line("property NPU NPU_DRIVER_VERSION 1688")
            .line("property NPU OPTIMIZATION_CAPABILITIES FP16 INT8 EXPORT_IMPORT")
    }

    /// Add a statement.
    pub(crate) fn line(mut self, line: &str) -> Script {
        self.text.push_str(line);
        self.text.push('\n');
        self
    }

    /// Write it and give its path, for [`VARIABLE`].
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.folder.join("openvino.script");
        fs::write(&path, &self.text).expect("the script can be written");
        path
    }
}

/// Something that the library was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// `compile`, `compiled` (it succeeded), `request` or `infer`.
    pub(crate) what: String,
    pub(crate) device: String,
    /// The process.
    pub(crate) pid: Option<u32>,
    /// The properties, or other facts, sorted by name.
    pub(crate) facts: Vec<(String, String)>,
}

impl Call {
    pub(crate) fn fact(&self, key: &str) -> Option<&str> {
        self.facts.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// What was asked of every library with a script in `folder`, in order.
pub(crate) fn calls(folder: &Path) -> Vec<Call> {
    let text = fs::read_to_string(folder.join("calls.log")).unwrap_or_default();
    text.lines().map(call).collect()
}

fn call(line: &str) -> Call {
    let mut words = line.split('\t').map(str::to_owned);
    let mut next = || words.next().expect("a call has a name and a device");
    let (what, device) = (next(), next());
    let pair = |word: String| {
        let (key, value) = word.split_once('=').expect("facts are pairs");
        (key.to_owned(), value.to_owned())
    };
    let (pids, facts): (Vec<_>, Vec<_>) = words.map(pair).partition(|(key, _)| key == "pid");
    let pid = pids.first().map(|(_, pid)| pid.parse().expect("a process id"));
    Call { what, device, pid, facts }
}

/// Write the smallest export that Lapwing takes: token ids to logits by one matrix, one state.
///
/// Shapes: logits `[1, n, n_vocab]`. `rt_info` goes into the element of that name, for facts about
/// weights.
pub(crate) fn write_model(folder: &Path, n_vocab: usize, rt_info: &str) {
    fs::create_dir_all(folder).expect("a folder for the model");
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    };
    let entries = (0..n_vocab * N_HIDDEN).map(|idx| ((idx * 7) % 13) as f32 - 6.0);
    let mut bin: Vec<u8> = entries.flat_map(f32::to_le_bytes).collect();
    bin.extend(1_i64.to_le_bytes());
    bin.extend(0_i64.to_le_bytes());
    write("openvino_model.bin", &bin);
    write("openvino_model.xml", xml(n_vocab, rt_info).as_bytes());
    let config = format!(
        "{{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \
         \"vocab_size\": {n_vocab}, \"hidden_size\": {N_HIDDEN}, \"num_hidden_layers\": 1, \
         \"num_attention_heads\": 1, \"num_key_value_heads\": 1, \"head_dim\": {N_HIDDEN}, \
         \"max_position_embeddings\": 512, \"bos_token_id\": 1, \"eos_token_id\": 2}}"
    );
    write("config.json", config.as_bytes());
}

const N_HIDDEN: usize = 4;

fn xml(n_vocab: usize, rt_info: &str) -> String {
    let (hidden, logits) = (["-1", "-1", "4"], ["-1", "-1", &n_vocab.to_string()]);
    let n_bytes = n_vocab * N_HIDDEN * size_of::<f32>();
    let table = format!("element_type=\"f32\" shape=\"{n_vocab}, 4\" offset=\"0\"");
    let state = "variable_id=\"past_key_values.0.keypresent.0.key\" variable_type=\"f32\" \
                 variable_shape=\"1,?,4\"";
    let integer =
        |offset: usize| format!("element_type=\"i64\" shape=\"\" offset=\"{offset}\" size=\"8\"");
    let parameter = |rank: &str, of: &str| format!("shape=\"{rank}\" element_type=\"{of}\"");
    let ids = ["-1", "-1"];
    let mut graph = Layers::default();
    let input_ids =
        graph.add("Parameter", "input_ids", &parameter("?,?", "i64"), &[], ("I64", &ids));
    graph.add("Parameter", "attention_mask", &parameter("?,?", "i64"), &[], ("I64", &ids));
    graph.add("Parameter", "position_ids", &parameter("?,?", "i64"), &[], ("I64", &ids));
    graph.add("Parameter", "beam_idx", &parameter("?", "i32"), &[], ("I32", &ids[..1]));
    let table = format!("{table} size=\"{n_bytes}\"");
    let table = graph.add("Const", "table", &table, &[], ("FP32", &[&n_vocab.to_string(), "4"]));
    let one = graph.add("Const", "one", &integer(n_bytes), &[], ("I64", &[]));
    let zero = graph.add("Const", "zero", &integer(n_bytes + 8), &[], ("I64", &[]));
    let gather = "batch_dims=\"0\"";
    let embedded =
        graph.add("Gather", "embedded", gather, &[&table, &input_ids, &zero], ("FP32", &hidden));
    let past = graph.add("ReadValue", "past", state, &[], ("FP32", &["1", "-1", "4"]));
    let present =
        graph.add("Concat", "present", "axis=\"1\"", &[&past, &embedded], ("FP32", &hidden));
    graph.add("Assign", "stored", state, &[&present], ("FP32", &hidden));
    let keep = "keep_dims=\"true\"";
    let sum = graph.add("ReduceSum", "sum", keep, &[&present, &one], ("FP32", &["1", "1", "4"]));
    let mixed = graph.add(
        "Add",
        "mixed",
        "auto_broadcast=\"numpy\"",
        &[&embedded, &sum],
        ("FP32", &hidden),
    );
    let head = "transpose_a=\"false\" transpose_b=\"true\"";
    let made = graph.add("MatMul", "logits", head, &[&mixed, &table], ("FP32", &logits));
    graph.add("Result", "result", "", &[&made], ("", &[]));
    format!(
        "<?xml version=\"1.0\"?>\n<net name=\"tiny\" version=\"11\">\n<layers>\n{}</layers>\n\
         <edges>\n{}</edges>\n<rt_info>{rt_info}</rt_info>\n</net>\n",
        graph.layers, graph.edges
    )
}

/// A graph in the making.
#[derive(Default)]
struct Layers {
    n_layers: usize,
    layers: String,
    edges: String,
}

/// What a layer gives, as the port of one that takes it.
struct Given {
    layer_id: usize,
    port_id: usize,
    precision: String,
    dims: String,
}

impl Layers {
    fn add(
        &mut self,
        kind: &str,
        name: &str,
        data: &str,
        takes: &[&Given],
        (precision, dims): (&str, &[&str]),
    ) -> Given {
        let layer_id = self.n_layers;
        self.n_layers += 1;
        let dims: String = dims.iter().map(|dim| format!("<dim>{dim}</dim>")).collect();
        let port = |id: usize, precision: &str, names: &str, dims: &str| {
            format!("<port id=\"{id}\" precision=\"{precision}\"{names}>{dims}</port>")
        };
        let mut inputs = String::new();
        for (to_port, given) in takes.iter().enumerate() {
            let Given { layer_id: from, port_id, precision, dims } = given;
            inputs.push_str(&port(to_port, precision, "", dims));
            self.edges.push_str(&format!(
                "<edge from-layer=\"{from}\" from-port=\"{port_id}\" to-layer=\"{layer_id}\" \
                 to-port=\"{to_port}\" />\n"
            ));
        }
        let port_id = takes.len();
        let names = format!(" names=\"{name}\"");
        let output = port(port_id, precision, &names, &dims);
        let wrap = |tag: &str, inside: &str| format!("<{tag}>{inside}</{tag}>");
        let input = if takes.is_empty() { String::new() } else { wrap("input", &inputs) };
        let output = if kind == "Result" { String::new() } else { wrap("output", &output) };
        let opset = match kind {
            "Gather" => "opset8",
            "ReadValue" | "Assign" => "opset6",
            _ => "opset1",
        };
        self.layers.push_str(&format!(
            "<layer id=\"{layer_id}\" name=\"{name}\" type=\"{kind}\" version=\"{opset}\">\
             <data {data} />{input}{output}</layer>\n"
        ));
        Given { layer_id, port_id, precision: precision.to_owned(), dims }
    }
}
