//! What happens at a compilation: which properties a device takes, which devices the NPU path may
//! use, what `CACHE_DIR` does. Texts and rules are those of OpenVINO 2026.4.1.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::path::Path;
use std::thread::sleep;

use crate::graph::{Graph, hash, mix};
use crate::script::{Cached, Script};

/// Properties that the core takes for every device.
const CORE_KEYS: [&str; 2] = ["CACHE_DIR", "CACHE_MODE"];
const CPU_KEYS: [&str; 16] = [
    "NUM_STREAMS",
    "INFERENCE_NUM_THREADS",
    "PERF_COUNT",
    "INFERENCE_PRECISION_HINT",
    "PERFORMANCE_HINT",
    "EXECUTION_MODE_HINT",
    "PERFORMANCE_HINT_NUM_REQUESTS",
    "ENABLE_CPU_PINNING",
    "SCHEDULING_CORE_TYPE",
    "ENABLE_HYPER_THREADING",
    "LOG_LEVEL",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE",
    "KV_CACHE_PRECISION",
    "KEY_CACHE_PRECISION",
    "VALUE_CACHE_PRECISION",
    "WEIGHTS_PATH",
];
/// From the option list in the plugin's public source, not seen on a device. Threads of inference
/// are not among them.
const GPU_KEYS: [&str; 13] = [
    "NUM_STREAMS",
    "COMPILATION_NUM_THREADS",
    "PERF_COUNT",
    "INFERENCE_PRECISION_HINT",
    "PERFORMANCE_HINT",
    "EXECUTION_MODE_HINT",
    "PERFORMANCE_HINT_NUM_REQUESTS",
    "MODEL_PRIORITY",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE",
    "KV_CACHE_PRECISION",
    "ACTIVATIONS_SCALE_FACTOR",
    "GPU_QUEUE_PRIORITY",
    "WEIGHTS_PATH",
];
/// Of the options that begin with `NPUW_`; others are refused.
const NPUW_KEYS: [&str; 20] = [
    "NPUW_DEVICES",
    "NPUW_ONLINE_PIPELINE",
    "NPUW_WEIGHTS_BANK",
    "NPUW_FALLBACK_EXEC",
    "NPUW_CACHE_DIR",
    "NPUW_DQ",
    "NPUW_FUNCALL_FOR_ALL",
    "NPUW_LLM",
    "NPUW_LLM_BATCH_DIM",
    "NPUW_LLM_SEQ_LEN_DIM",
    "NPUW_LLM_MAX_PROMPT_LEN",
    "NPUW_LLM_MIN_RESPONSE_LEN",
    "NPUW_LLM_MAX_GENERATION_TOKEN_LEN",
    "NPUW_LLM_PREFILL_CHUNK_SIZE",
    "NPUW_LLM_PREFILL_HINT",
    "NPUW_LLM_GENERATE_HINT",
    "NPUW_LLM_GENERATE_PYRAMID",
    "NPUW_LLM_SHARED_HEAD",
    "NPUW_LLM_ENABLE_PREFIX_CACHING",
    "NPUW_LLM_CACHE_ROPE",
];
/// Properties that change no blob's name.
const KEYS_OUTSIDE_BLOBS: [&str; 4] =
    ["CACHE_DIR", "CACHE_MODE", "INFERENCE_NUM_THREADS", "PERFORMANCE_HINT"];

/// So many bytes at the end of a blob are not missed.
const N_UNREAD_BYTES: usize = 16;

#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) device: String,
    pub(crate) graph: Graph,
    pub(crate) n_vocab: usize,
    /// The sizes of the NPU path, when it was taken.
    pub(crate) static_sizes: Option<StaticSizes>,
    /// What the logits are made of: that of a damaged blob is another.
    pub(crate) seed: u64,
    /// Whether all logits are NaN.
    pub(crate) is_nan: bool,
    /// Entries that the NPU path thinks are in the cache of every request.
    pub(crate) n_stored: AtomicUsize,
    answers: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct StaticSizes {
    pub(crate) n_prompt_max: usize,
    pub(crate) n_stored_max: usize,
    pub(crate) n_generation_max: usize,
}

pub(crate) type Properties = BTreeMap<String, String>;

impl Compiled {
    pub(crate) fn new(
        script: &Script,
        graph: Graph,
        weights_hash: u64,
        device: &str,
        properties: &Properties,
    ) -> Result<Compiled, String> {
        let (kind, number) = device.split_once('.').unwrap_or((device, ""));
        let static_sizes = match kind {
            "NPU" => Some(check_npu(script, properties)?),
            _ => {
                check_presence(script, device, properties)?;
                check_keys(kind, properties)?;
                None
            }
        };
        let n_vocab = graph.n_vocab.or(script.n_vocab);
        let n_vocab = n_vocab.ok_or("neither graph nor script tell the vocabulary's length")?;
        let (body, is_hit) = body(script, &graph, weights_hash, device, properties)?;
        let n_read = script.n_blob_bytes.saturating_sub(N_UNREAD_BYTES).min(body.len());
        let mut answers = properties.clone();
        answers.remove("CACHE_DIR");
        let executing = if kind == "GPU" && number.is_empty() { "GPU.0" } else { device };
        answers.insert("EXECUTION_DEVICES".to_owned(), executing.to_owned());
        let hit = if is_hit { "YES" } else { "NO" };
        answers.insert("LOADED_FROM_CACHE".to_owned(), hit.to_owned());
        let cached = script.cached(device).filter(|_| is_hit);
        let seed = hash(&body[..n_read]) ^ u64::from(cached == Some(Cached::Other));
        let is_nan = cached == Some(Cached::Nan);
        let n_stored = AtomicUsize::new(0);
        let device = device.to_owned();
        Ok(Compiled { device, graph, n_vocab, static_sizes, seed, is_nan, n_stored, answers })
    }

    pub(crate) fn property(&self, script: &Script, key: &str) -> Result<String, String> {
        if let Some(told) = script.compiled_answer(&self.device, key) {
            return Ok(told.to_owned());
        }
        let answer = self.answers.get(key).cloned();
        answer.ok_or_else(|| format!("Unsupported property: {key}"))
    }
}

/// Whether `device` can be used, with the words of the plugin that misses something.
pub(crate) fn check_presence(
    script: &Script,
    device: &str,
    properties: &Properties,
) -> Result<(), String> {
    if script.device(device).is_some() {
        return Ok(());
    }
    let (kind, number) = device.split_once('.').unwrap_or((device, "0"));
    let has_one = script.devices.iter().any(|known| known.id.split('.').next() == Some(kind));
    Err(match kind {
        "GPU" if has_one => {
            format!("[GPU] compile_model: Couldn't find config for GPU with id {number}")
        }
        "GPU" => "Cannot load library \"/fake/libopenvino_intel_gpu_plugin.so\": libOpenCL.so.1: \
                  cannot open shared object file: No such file or directory"
            .to_owned(),
        "NPU" if properties.get("NPU_COMPILER_TYPE").is_some_and(|kind| kind == "DRIVER") => {
            "Could not find an NPU device. The driver compiler requires a valid device to be \
             present in the system."
                .to_owned()
        }
        "NPU" => {
            let loader = "/fake/libopenvino_intel_npu_compiler_loader.so";
            format!(
                "VCL compiler loading failed, aborting. Error: Exception from \
                 src/plugins/intel_npu/src/utils/src/vcl/vcl_api.cpp:22:\nCannot load library \
                 \"{loader}\": {loader}: cannot open shared object file: No such file or directory"
            )
        }
        _ => format!("Device with \"{device}\" name is not registered in the OpenVINO Runtime"),
    })
}

fn check_keys(kind: &str, properties: &Properties) -> Result<(), String> {
    for (key, value) in properties {
        let key = key.as_str();
        let (known, refusal) = match kind {
            "CPU" => {
                (&CPU_KEYS[..], format!("NotFound: Unsupported property {key} by CPU plugin."))
            }
            _ => (&GPU_KEYS[..], format!("Option not found: {key}")),
        };
        if !known.contains(&key) && !CORE_KEYS.contains(&key) {
            return Err(refusal);
        }
        if key == "INFERENCE_NUM_THREADS" && value.parse::<u32>().is_err() {
            return Err(format!(
                "Wrong value for property key {key}. Expected only non negative integer numbers."
            ));
        }
    }
    Ok(())
}

/// The NPU path for language models; without its two switches the compiler sees dynamic shapes.
fn check_npu(script: &Script, properties: &Properties) -> Result<StaticSizes, String> {
    let is_set = |key: &str| properties.get(key).is_some_and(|value| value == "YES");
    let is_llm = is_set("NPU_USE_NPUW") && is_set("NPUW_LLM");
    for key in properties.keys().filter(|key| key.starts_with("NPUW_")) {
        let is_of_llm = key.starts_with("NPUW_LLM_");
        if !NPUW_KEYS.contains(&key.as_str()) || (is_of_llm && !is_llm) {
            return Err(format!(
                "[ NOT_FOUND ] Option '{key}' is not supported for current configuration"
            ));
        }
    }
    if !is_llm {
        check_presence(script, "NPU", properties)?;
        return Err("to_shape was called on a dynamic shape.".to_owned());
    }
    check_hint(properties, "PREFILL_HINT", ["DYNAMIC", "STATIC"], "")?;
    let advice = " Please select either \"FAST_COMPILE\" or \"BEST_PERF\".";
    check_hint(properties, "GENERATE_HINT", ["FAST_COMPILE", "BEST_PERF"], advice)?;
    let n_chunk = number(properties, "NPUW_LLM_PREFILL_CHUNK_SIZE", 1024)?;
    if !n_chunk.is_power_of_two() {
        return Err(format!(
            "Configuration Error: chunk size ({n_chunk}) is not power of 2. Please adjust \
             NPUW_LLM_PREFILL_CHUNK_SIZE."
        ));
    }
    let n_prompt_max = number(properties, "NPUW_LLM_MAX_PROMPT_LEN", 1024)?.next_multiple_of(64);
    let n_response = number(properties, "NPUW_LLM_MIN_RESPONSE_LEN", 128)?.next_multiple_of(64);
    let n_generation_max = number(properties, "NPUW_LLM_MAX_GENERATION_TOKEN_LEN", 1)?;
    check_npuw_devices(script, properties)?;
    if properties.get("KV_CACHE_PRECISION").is_some_and(|precision| precision == "f32") {
        // The library writes behind its memory then, and the C library ends the process.
        crate::say("free(): invalid size");
        std::process::abort();
    }
    let n_stored_max = n_prompt_max + n_response - 1;
    Ok(StaticSizes { n_prompt_max, n_stored_max, n_generation_max })
}

/// The first one that is there is used, however many before it are not.
fn check_npuw_devices(script: &Script, properties: &Properties) -> Result<(), String> {
    let devices = properties.get("NPUW_DEVICES").map_or("NPU", String::as_str);
    let missing = |device: &str| check_presence(script, device, properties).err();
    let failures: Vec<Option<String>> = devices.split(',').map(missing).collect();
    match failures.iter().any(Option::is_none) {
        true => Ok(()),
        false => Err(failures.into_iter().flatten().next().unwrap_or_default()),
    }
}

fn check_hint(
    properties: &Properties,
    key: &str,
    known: [&str; 2],
    advice: &str,
) -> Result<(), String> {
    let Some(found) = properties.get(&format!("NPUW_LLM_{key}")) else { return Ok(()) };
    match known.contains(&found.as_str()) {
        true => Ok(()),
        false if advice.is_empty() => Err(format!("Unsupported \"{key}\" provided: {found}")),
        false => Err(format!("Unsupported \"{key}\" provided: {found}.{advice}")),
    }
}

fn number(properties: &Properties, key: &str, default: usize) -> Result<usize, String> {
    let Some(text) = properties.get(key) else { return Ok(default) };
    let found = text.parse::<u32>().map(|number| number as usize);
    found.map_err(|_| {
        format!(
            "Failed to parse '{key}' option : Exception from \
             src/plugins/intel_npu/src/al/src/config/config.cpp:61:\nValue '{text}' is not a \
             valid UINT32 option"
        )
    })
}

/// The compiled bytes and whether they were there already.
///
/// They depend on the weights only, so that every device gives the same logits.
fn body(
    script: &Script,
    graph: &Graph,
    weights_hash: u64,
    device: &str,
    properties: &Properties,
) -> Result<(Vec<u8>, bool), String> {
    let mut state = weights_hash;
    let fresh = (0..script.n_blob_bytes.max(1)).map(|_| {
        state = mix(state);
        state as u8
    });
    let Some(folder) = properties.get("CACHE_DIR").map(Path::new) else {
        sleep(script.compile_time);
        return Ok((fresh.collect(), false));
    };
    if !folder.exists() {
        std::fs::create_dir_all(folder).map_err(|error| {
            format!("Couldn't create directory [\"{}\"], err={error})", folder.display())
        })?;
    }
    let mut identity = format!("{} {weights_hash} {device}", graph.text_hash);
    for (key, value) in properties {
        if !KEYS_OUTSIDE_BLOBS.contains(&key.as_str()) {
            identity.push_str(&format!(" {key}={value}"));
        }
    }
    let identity = hash(identity.as_bytes());
    let blob = folder.join(format!("{identity}.blob"));
    let header = header(script, identity, device);
    if let Some(body) = read_blob(&blob, &header, script.n_blob_bytes) {
        return Ok((body, true));
    }
    sleep(script.compile_time);
    let body: Vec<u8> = fresh.collect();
    let whole = [header.as_bytes(), &body].concat();
    // Without room the model is compiled all the same, and nothing stays.
    if std::fs::write(&blob, whole).is_err() && blob.is_file() {
        std::fs::remove_file(&blob).expect("what was written in part can be removed");
    }
    Ok((body, false))
}

/// What a blob begins with. The library's version counts in `runtime_info` only, which the NPU's
/// plugin leaves empty.
fn header(script: &Script, identity: u64, device: &str) -> String {
    let version = &script.version;
    let runtime_info = match device.starts_with("NPU") {
        true => String::new(),
        false => format!("{{OV_VERSION:{version}}}"),
    };
    format!(
        "<?xml version=\"1.0\"?><compiled_blob ie_version=\"{version}\" file_info=\"{identity}\" \
         runtime_info=\"{runtime_info}\"/>\n"
    )
}

/// The body of a blob that the library would take: one that is cut off by more than a little, of
/// another model or another version is passed over without a word; changed bytes are not noticed.
fn read_blob(blob: &Path, header: &str, n_body_bytes: usize) -> Option<Vec<u8>> {
    let bytes = std::fs::read(blob).ok()?;
    let end = bytes.iter().position(|&byte| byte == b'\n')? + 1;
    let checked = |text: &str| text.split_once("file_info=").map(|(_, checked)| checked.to_owned());
    let found = checked(std::str::from_utf8(&bytes[..end]).ok()?)?;
    let body = bytes[end..].to_vec();
    let is_whole = n_body_bytes <= body.len() + N_UNREAD_BYTES;
    (Some(found) == checked(header) && is_whole).then_some(body)
}
