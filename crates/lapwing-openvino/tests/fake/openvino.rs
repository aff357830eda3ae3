//! A library that plays OpenVINO: a script says which devices it has, what they answer and what
//! goes wrong where; see `script.rs` for its statements.
//!
//! It is compiled by `tests/support/fake_openvino.rs` and loaded instead of `libopenvino_c`. This
//! file is the C side: handles, strings, tensors. Every exported function has the name, arguments
//! and effect of the function of the same name in OpenVINO's C API, as far as Lapwing calls it.
#![allow(unsafe_code, reason = "it is a C library; its caller keeps to OpenVINO's C API")]
#![deny(clippy::undocumented_unsafe_blocks)]

mod compile;
mod graph;
mod handle;
mod request;
mod script;
mod tensor;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use std::{ptr, slice};

use compile::{Compiled, Properties, check_presence};
use graph::{Graph, hash, mix};
use handle::{free, get, give, hand_out, put, take_back, text};
use request::{Inputs, Request};
use script::Script;
use tensor::Tensor;

type Status = i32;
const OK: Status = 0;
const GENERAL_ERROR: Status = -1;
const RESULT_NOT_READY: Status = -9;
const INFER_CANCELLED: Status = -13;

/// Requests that run on a thread of their own, by their address, and those that were cancelled.
static RUNNING: Mutex<BTreeMap<usize, JoinHandle<Status>>> = Mutex::new(BTreeMap::new());
static CANCELLED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// So much of both ends of the weights counts as their identity.
const N_WEIGHTS_BYTES_READ: usize = 1 << 16;

/// The message of the last call that failed.
static LAST_ERROR: Mutex<String> = Mutex::new(String::new());
type LogCallback = unsafe extern "C" fn(*const c_char);
static LOG_CALLBACK: Mutex<Option<LogCallback>> = Mutex::new(None);

#[repr(C)]
struct Version {
    build_number: *const c_char,
    description: *const c_char,
}

#[repr(C)]
struct DeviceList {
    devices: *mut *mut c_char,
    size: usize,
}

#[repr(C)]
struct Property {
    key: *const c_char,
    value: *const c_void,
}

/// A graph that was read, and what its weights are known by.
struct Model {
    xml: String,
    weights_hash: u64,
}

struct InferRequest {
    sequence: Request,
    inputs: BTreeMap<String, Tensor>,
}

/// Write a line as plugins do: to stderr, and to the log callback when there is one.
fn say(text: &str) {
    eprintln!("{text}");
    let callback = *lock(&LOG_CALLBACK);
    if let (Some(callback), Ok(text)) = (callback, CString::new(text)) {
        // SAFETY: the caller set it for this; the text outlives the call.
        unsafe { callback(text.as_ptr()) };
    }
}

fn segfault() -> ! {
    // SAFETY: none: this is the fault that the script asks for.
    unsafe { ptr::without_provenance_mut::<u8>(64).write_volatile(0) };
    unreachable!("nothing is mapped there")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keep the message of a failure, with source locations around it as the library has them.
fn status(outcome: Result<(), String>) -> Status {
    let Err(message) = outcome else { return OK };
    *lock(&LAST_ERROR) = format!(
        "Exception from src/inference/src/cpp/core.cpp:117:\nException from \
         src/inference/src/dev/plugin.cpp:54:\n{message}\n\n"
    );
    GENERAL_ERROR
}

#[unsafe(no_mangle)]
extern "C" fn ov_get_openvino_version(version: *mut Version) -> Status {
    let build_number = give(&Script::read().version);
    put(version, Version { build_number, description: give("OpenVINO Runtime") });
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_version_free(version: *mut Version) {
    take_back(get(version).build_number.cast_mut());
    take_back(get(version).description.cast_mut());
}

#[unsafe(no_mangle)]
extern "C" fn ov_free(content: *const c_char) {
    take_back(content.cast_mut());
}

#[unsafe(no_mangle)]
extern "C" fn ov_get_last_err_msg() -> *const c_char {
    give(&lock(&LAST_ERROR))
}

#[unsafe(no_mangle)]
extern "C" fn ov_util_set_log_callback(callback: Option<LogCallback>) {
    *lock(&LOG_CALLBACK) = callback;
}

#[unsafe(no_mangle)]
extern "C" fn ov_util_reset_log_callback() {
    *lock(&LOG_CALLBACK) = None;
}

#[unsafe(no_mangle)]
extern "C" fn ov_core_create(core: *mut *mut u8) -> Status {
    status(Script::read().play("load", "*", "").map(|()| hand_out(0, core)))
}

#[unsafe(no_mangle)]
extern "C" fn ov_core_free(core: *mut u8) {
    free(core);
}

#[unsafe(no_mangle)]
extern "C" fn ov_core_get_available_devices(_core: *const u8, list: *mut DeviceList) -> Status {
    let script = Script::read();
    status(script.play("devices", "*", "").map(|()| {
        let ids: Box<[*mut c_char]> = script.devices.iter().map(|known| give(&known.id)).collect();
        let size = ids.len();
        put(list, DeviceList { devices: Box::into_raw(ids).cast(), size });
    }))
}

#[unsafe(no_mangle)]
extern "C" fn ov_available_devices_free(list: *mut DeviceList) {
    let DeviceList { devices, size } = *get(list);
    let ids = ptr::slice_from_raw_parts_mut(devices, size);
    // SAFETY: made from such a box and freed once.
    let ids = unsafe { Box::from_raw(ids) };
    ids.iter().for_each(|&id| take_back(id));
}

#[unsafe(no_mangle)]
extern "C" fn ov_core_get_property(
    _core: *const u8,
    device: *const c_char,
    key: *const c_char,
    value: *mut *mut c_char,
) -> Status {
    let (script, device, key) = (Script::read(), text(device), text(key));
    status(script.play("property", &device, &key).and_then(|()| {
        put(value, give(&device_property(&script, &device, &key)?));
        Ok(())
    }))
}

fn device_property(script: &Script, device: &str, key: &str) -> Result<String, String> {
    let Some(known) = script.device(device) else {
        return match device {
            "NPU" if key.contains("DRIVER") => Err("No available backend".to_owned()),
            "NPU" => Err(format!("Unsupported configuration key: {key}")),
            _ => check_presence(script, device, &Properties::new()).map(|()| String::new()),
        };
    };
    let answer = known.properties.iter().rev().find(|(known, _)| known == key);
    answer.map(|(_, value)| value.clone()).ok_or_else(|| match device {
        "CPU" => format!("Cannot get unsupported property: {key}"),
        _ => format!("Unsupported configuration key: {key}"),
    })
}

#[unsafe(no_mangle)]
extern "C" fn ov_core_read_model_from_memory_buffer(
    _core: *const u8,
    xml: *const c_char,
    _n_xml_bytes: usize,
    weights: *const Tensor,
    model: *mut *mut Model,
) -> Status {
    let xml = text(xml);
    status(Script::read().play("read", "*", "").and_then(|()| {
        Graph::read(&xml)?;
        hand_out(Model { xml, weights_hash: weights_hash(get(weights)) }, model);
        Ok(())
    }))
}

fn weights_hash(weights: &Tensor) -> u64 {
    let mut weights = lock(weights);
    let (n_bytes, data) = (weights.len(), weights.data());
    // SAFETY: weights are a tensor of so many bytes.
    let bytes = unsafe { slice::from_raw_parts(data, n_bytes) };
    let n_read = n_bytes.min(N_WEIGHTS_BYTES_READ);
    mix(hash(&bytes[..n_read]) ^ mix(hash(&bytes[n_bytes - n_read..])) ^ n_bytes as u64)
}

#[unsafe(no_mangle)]
extern "C" fn ov_model_free(model: *mut Model) {
    free(model);
}

#[unsafe(no_mangle)]
extern "C" fn ov_core_set_properties(
    _core: *const u8,
    device: *const c_char,
    _n_properties: usize,
    _properties: *const Property,
) -> Status {
    Script::read().log(&["set", &text(device)]);
    0
}

#[unsafe(no_mangle)]
extern "C" fn ov_core_compile_model_props(
    _core: *const u8,
    model: *const Model,
    device: *const c_char,
    n_properties: usize,
    properties: *const Property,
    compiled: *mut *mut Arc<Compiled>,
) -> Status {
    let (script, device) = (Script::read(), text(device));
    let asked = match n_properties {
        0 => Properties::new(),
        // SAFETY: the caller gives so many pairs of C strings.
        n => unsafe { slice::from_raw_parts(properties, n) }
            .iter()
            .map(|pair| (text(pair.key), text(pair.value.cast())))
            .collect(),
    };
    let pid = format!("pid={}", std::process::id());
    let pairs: Vec<String> = asked.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut words = vec!["compile", &device, &pid];
    words.extend(pairs.iter().map(String::as_str));
    script.log(&words);
    status(script.play("compile", &device, "").and_then(|()| {
        let Model { xml, weights_hash } = get(model);
        let made = Compiled::new(&script, Graph::read(xml)?, *weights_hash, &device, &asked)?;
        let hit = made.property(&script, "LOADED_FROM_CACHE")?;
        script.log(&["compiled", &device, &pid, &format!("LOADED_FROM_CACHE={hit}")]);
        hand_out(Arc::new(made), compiled);
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn ov_compiled_model_get_property(
    compiled: *const Arc<Compiled>,
    key: *const c_char,
    value: *mut *mut c_char,
) -> Status {
    let answer = get(compiled).property(&Script::read(), &text(key));
    status(answer.map(|answer: String| put(value, give(&answer))))
}

#[unsafe(no_mangle)]
extern "C" fn ov_compiled_model_free(compiled: *mut Arc<Compiled>) {
    free(compiled);
}

#[unsafe(no_mangle)]
extern "C" fn ov_compiled_model_create_infer_request(
    compiled: *const Arc<Compiled>,
    request: *mut *mut InferRequest,
) -> Status {
    let (script, compiled) = (Script::read(), get(compiled));
    script.log(&["request", &compiled.device]);
    status(script.play("request", &compiled.device, "").map(|()| {
        let sequence = Request::new(Arc::clone(compiled));
        hand_out(InferRequest { sequence, inputs: BTreeMap::new() }, request);
    }))
}

#[unsafe(no_mangle)]
extern "C" fn ov_infer_request_free(request: *mut InferRequest) {
    free(request);
}

#[unsafe(no_mangle)]
extern "C" fn ov_infer_request_set_tensor(
    request: *mut InferRequest,
    name: *const c_char,
    tensor: *const Tensor,
) -> Status {
    // SAFETY: the request lives and is used by one thread at a time.
    let request = unsafe { &mut *request };
    let (name, tensor) = (text(name), Arc::clone(get(tensor)));
    let element = lock(&tensor).element_name();
    let outcome = request.sequence.check_input(&name, element);
    status(outcome.map(|()| drop(request.inputs.insert(name, tensor))))
}

#[unsafe(no_mangle)]
extern "C" fn ov_infer_request_start_async(request: *mut InferRequest) -> Status {
    let address = request as usize;
    let running = std::thread::spawn(move || ov_infer_request_infer(address as *mut InferRequest));
    lock(&RUNNING).insert(address, running);
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_infer_request_wait_for(request: *mut InferRequest, ms: i64) -> Status {
    let until = Instant::now() + Duration::from_millis(ms.unsigned_abs());
    while Instant::now() < until {
        if lock(&RUNNING).get(&(request as usize)).is_none_or(JoinHandle::is_finished) {
            return ov_infer_request_wait(request);
        }
        sleep(Duration::from_millis(1));
    }
    RESULT_NOT_READY
}

#[unsafe(no_mangle)]
extern "C" fn ov_infer_request_wait(request: *mut InferRequest) -> Status {
    let running = lock(&RUNNING).remove(&(request as usize));
    let status = running.map_or(OK, |running| running.join().unwrap_or(GENERAL_ERROR));
    match lock(&CANCELLED).remove(&(request as usize)) {
        true => INFER_CANCELLED,
        false => status,
    }
}

/// What runs goes on to its end, as on devices that cannot be stopped; its result is lost.
#[unsafe(no_mangle)]
extern "C" fn ov_infer_request_cancel(request: *mut InferRequest) -> Status {
    Script::read().log(&["cancel", &get(request).sequence.compiled.device]);
    lock(&CANCELLED).insert(request as usize);
    OK
}

#[unsafe(no_mangle)]
extern "C" fn ov_infer_request_infer(request: *mut InferRequest) -> Status {
    // SAFETY: as above.
    let request = unsafe { &mut *request };
    let inputs: Inputs = request
        .inputs
        .iter()
        .map(|(name, tensor)| (name.clone(), lock(tensor).integers()))
        .collect();
    let (script, device) = (Script::read(), request.sequence.compiled.device.clone());
    let n_tokens = inputs.get("input_ids").map_or(0, Vec::len);
    script.log(&["infer", &device, &format!("n_tokens={n_tokens}")]);
    status(script.play("infer", &device, "").and_then(|()| request.sequence.infer(&inputs)))
}

#[unsafe(no_mangle)]
extern "C" fn ov_infer_request_get_tensor(
    request: *const InferRequest,
    name: *const c_char,
    tensor: *mut *mut Tensor,
) -> Status {
    let sequence = &get(request).sequence;
    status(sequence.logits(&text(name)).map(|logits| {
        let dims = vec![1, logits.n_rows, sequence.compiled.n_vocab];
        hand_out(tensor::of_floats(dims, &logits.values), tensor);
    }))
}
