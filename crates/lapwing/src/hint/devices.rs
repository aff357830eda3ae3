//! Advice about GPUs and NPUs: what a machine lacks for them, and what their libraries mean by what
//! they say.

use std::error::Error;

use lapwing_backend::{DeviceKind, DeviceRequest, OpenError, StepError};
use lapwing_host::Fact;
use lapwing_host::hardware::{Machine, NPU_COMPILER, NpuCompiler};
use lapwing_host::ort_plugin::{Lack, LackOfPlugin, NoOnnxDevice};

/// The backend that runs GPUs and NPUs.
const OPENVINO: &str = "openvino";

/// What to say where OpenVINO says this.
struct Known {
    /// A part of the message.
    part: &'static str,
    advice: Advice,
}

/// What to say.
enum Advice {
    /// The first thing that this kind of device lacks here.
    Lacks(DeviceKind),
    /// Where to get a compiler, or that the driver's will do.
    Compiler,
    /// This.
    Say(&'static str),
}

/// What OpenVINO 2026 and its plugins say when a device cannot be used, the most telling first:
/// messages wrap one another.
const KNOWN: [Known; 25] = [
    Known { part: "from_shape.back() % 64", advice: Advice::Say(SHORT_ROWS) },
    Known { part: "libOpenCL.so", advice: Advice::Lacks(DeviceKind::Gpu) },
    Known { part: "devices query", advice: Advice::Lacks(DeviceKind::Gpu) },
    Known { part: "clGetPlatformIDs", advice: Advice::Lacks(DeviceKind::Gpu) },
    Known { part: "max alloc size supported by device", advice: Advice::Say(TOO_LARGE) },
    Known { part: "npu_compiler_loader", advice: Advice::Compiler },
    Known { part: "Could not find an NPU device", advice: Advice::Lacks(DeviceKind::Npu) },
    Known { part: "No available backend", advice: Advice::Lacks(DeviceKind::Npu) },
    Known { part: "No available devices", advice: Advice::Lacks(DeviceKind::Npu) },
    Known { part: "No NPU devices were found", advice: Advice::Lacks(DeviceKind::Npu) },
    Known { part: "Level zero backend is not found", advice: Advice::Lacks(DeviceKind::Npu) },
    Known { part: "to_shape was called on a dynamic shape", advice: Advice::Say(DYNAMIC) },
    Known { part: "is not supported for current configuration", advice: Advice::Say(OPTION) },
    Known { part: "Unsupported property", advice: Advice::Say(OPTION) },
    Known { part: "is not a valid UINT32 option", advice: Advice::Say(NUMBER) },
    Known { part: "is not power of 2", advice: Advice::Say(CHUNK) },
    Known { part: "different OV version", advice: Advice::Say(BLOB) },
    Known { part: "blob metadata version", advice: Advice::Say(BLOB) },
    Known { part: "wasn't serialized via", advice: Advice::Say(BLOB) },
    Known { part: "OUT_OF_HOST_MEMORY", advice: Advice::Say(ALLOCATION) },
    Known { part: "OUT_OF_DEVICE_MEMORY", advice: Advice::Say(ALLOCATION) },
    Known { part: "zeMemAlloc", advice: Advice::Say(ALLOCATION) },
    Known { part: "NPUW_LLM_MAX_PROMPT_LEN", advice: Advice::Say(PROMPT) },
    Known { part: "KV-Cache is full", advice: Advice::Say(FULL) },
    Known { part: "for all devices in [NPU]", advice: Advice::Say(COMPILATION) },
];

const SHORT_ROWS: &str = "the NPU path unpacks int4 on a CPU only where rows have a multiple of 64 \
    entries: export this model with --weights int8";
const TOO_LARGE: &str = "the GPU holds no piece of memory so large: ask for less with --context, \
    or take a smaller model";
const DYNAMIC: &str = "the NPU needs fixed shapes, which only decoders that keep their own state \
    are given: `lapwing export CHECKPOINT --to openvino --for npu --out DIR` writes one";
const OPTION: &str = "this OpenVINO or its driver does not know the option: leave out \
    --property, or get the version that Lapwing is tested with (`lapwing pull openvino`)";
const NUMBER: &str = "a number is more than the NPU's plugin takes: lower --npu-prompt, \
    --context or what --property says";
const CHUNK: &str =
    "give a power of two to --property NPUW_LLM_PREFILL_CHUNK_SIZE=…, or leave it out";
const BLOB: &str = "another version of OpenVINO or of the driver compiled what is in the cache: \
    `lapwing cache clear` removes it";
const ALLOCATION: &str = "the NPU's driver gave no memory: lower --context and --npu-prompt, take a \
    smaller model, or set DISABLE_OPENVINO_GENAI_NPU_L0=1, which keeps buffers out of the driver";
const PROMPT: &str = "shorten the prompt, or compile for longer ones with --npu-prompt";
const FULL: &str = "the sequence fills what was compiled for: ask for more with --context";
const COMPILATION: &str = "the NPU's compiler refused the model: update the NPU's driver, which \
    brings it, and use weights of `lapwing export … --for npu`; --device cpu and gpu need neither";

/// What the user can do about an error of a GPU or NPU, if that is known.
pub(super) fn for_cause(
    cause: &(dyn Error + 'static),
    machine: &dyn Fn() -> Machine,
) -> Option<String> {
    first_of!(cause =>
        |error| open(error, machine),
        |error| step(error, machine),
        |error| Some(no_onnx_device(error, machine)),
    )
}

/// What ONNX Runtime needs for a device, after what the machine needs.
fn no_onnx_device(error: &NoOnnxDevice, machine: &dyn Fn() -> Machine) -> String {
    let Lack { kind, of_plugin, of_machine } = &error.lack;
    let for_onnx = match of_plugin {
        LackOfPlugin::WrongKind => {
            "`lapwing export CHECKPOINT --to openvino --for npu --out DIR` writes a model for NPUs"
        }
        LackOfPlugin::NotInstalled => {
            "`lapwing pull onnxruntime-ep-openvino` gets what ONNX Runtime needs for Intel GPUs"
        }
        LackOfPlugin::Unusable { .. } => {
            "`lapwing pull onnxruntime onnxruntime-ep-openvino --force` gets both again"
        }
        LackOfPlugin::NoOffer if of_machine.is_some() => "",
        LackOfPlugin::NoOffer => "`lapwing devices` shows what is there",
    };
    let for_machine = of_machine.as_ref().and_then(|_| lacks(&machine(), *kind));
    let both = [for_machine.as_deref().unwrap_or_default(), for_onnx];
    both.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

fn open(error: &OpenError, machine: &dyn Fn() -> Machine) -> Option<String> {
    match error {
        OpenError::NoDevice { backend, requested: DeviceRequest::One(kind, _), offered }
            if *backend == OPENVINO && !offers(offered, *kind) =>
        {
            lacks(&machine(), *kind)
        }
        OpenError::Refused { source, .. } => refusal(&**source, machine),
        _ => None,
    }
}

fn step(error: &StepError, machine: &dyn Fn() -> Machine) -> Option<String> {
    match error {
        StepError::PromptTooLong { n_tokens, .. } => Some(format!(
            "shorten the prompt, or compile for longer ones: --npu-prompt {n_tokens}, within \
             --context"
        )),
        StepError::ScoreOverSwitch { n_switch, .. } => {
            Some(format!("`--window {n_switch}` is the longest that can be scored"))
        }
        StepError::Library { source, .. } => refusal(&**source, machine),
        _ => None,
    }
}

/// Whether there is such a device, only of another number.
fn offers(offered: &str, kind: DeviceKind) -> bool {
    let kind = kind.to_string();
    let mut names = offered.split(", ").map(str::to_ascii_lowercase);
    names.any(|name| name.split('.').next() == Some(&*kind))
}

/// What OpenVINO's own words mean.
fn refusal(source: &(dyn Error + 'static), machine: &dyn Fn() -> Machine) -> Option<String> {
    let mut said = Vec::new();
    let mut cause = Some(source);
    while let Some(error) = cause {
        said.push(error.to_string());
        cause = error.source();
    }
    let known = KNOWN.iter().find(|known| said.iter().any(|text| text.contains(known.part)))?;
    match known.advice {
        Advice::Lacks(kind) => lacks(&machine(), kind),
        Advice::Compiler => compiler(&machine()),
        Advice::Say(text) => Some(text.to_owned()),
    }
}

/// The first thing that a kind of device lacks, with its cure.
fn lacks(machine: &Machine, kind: DeviceKind) -> Option<String> {
    let facts = machine.facts(kind)?;
    let first: Option<&Fact> = facts.missing().next();
    Some(match (first, &facts.reason) {
        (Some(Fact { cure, .. }), Some(reason)) if !cure.is_empty() => {
            format!("{kind}: {reason}; {cure} (`lapwing doctor` shows all it needs)")
        }
        (_, Some(reason)) => format!("{kind}: {reason}"),
        (_, None) => format!(
            "what a {kind} needs is there (`lapwing doctor`), and OpenVINO still does not offer \
             it: its driver may be too old for the device, or for this OpenVINO"
        ),
    })
}

/// What to do where OpenVINO looks for its own compiler, which it has not.
fn compiler(machine: &Machine) -> Option<String> {
    let facts = machine.npu();
    let advice = match facts.missing().next() {
        Some(fact) if fact.what == NPU_COMPILER => {
            format!(
                "no compiler for NPUs is there; {}; then --property NPU_COMPILER_TYPE=DRIVER takes it",
                fact.cure
            )
        }
        None if machine.npu_compiler() == Some(NpuCompiler::Driver) => {
            "OpenVINO's own compiler for NPUs is not there: --property NPU_COMPILER_TYPE=DRIVER takes the \
             driver's"
                .to_owned()
        }
        _ => return lacks(machine, DeviceKind::Npu),
    };
    Some(advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapwing_host::hardware::fakes::Fake;

    fn refused(message: &str) -> OpenError {
        OpenError::Refused {
            backend: OPENVINO,
            version: "2026.4.1".into(),
            model: "m/openvino_model.xml".into(),
            device: "NPU".into(),
            source: format!("Exception from core.cpp:112:\n{message}\n").into(),
        }
    }

    /// What the libraries say in full, and a part of the advice; one each, in the table's order.
    const MESSAGES: [(&str, &str); 25] = [
        ("NPUW: Assertion from_shape.back() % 64 == 0 failed", "--weights int8"),
        (
            "Cannot load library 'libopenvino_intel_gpu_plugin.so': libOpenCL.so.1: cannot open \
             shared object file: No such file or directory",
            "libOpenCL.so.1 is missing; sudo apt install ocl-icd-libopencl1",
        ),
        (
            "[GPU] No supported OCL devices found or unexpected error happened during devices \
             query.",
            "libOpenCL.so.1 is missing",
        ),
        ("[GPU] clGetPlatformIDs error -1001", "libOpenCL.so.1 is missing"),
        (
            "[GPU] Exceeded max size of memory object allocation: requested 4831838208 bytes, but \
             max alloc size supported by device is 1073741824 bytes.",
            "--context",
        ),
        (
            "Cannot load library '/x/libopenvino_intel_npu_compiler_loader.so': cannot open \
             shared object file: No such file or directory",
            "npu: no permission; sudo usermod -aG",
        ),
        (
            "Could not find an NPU device. The driver compiler requires a valid device to be \
             present in the system.",
            "npu: no permission; sudo usermod -aG",
        ),
        ("No available backend", "npu: no permission"),
        ("No available devices. Failed to create infer request!", "npu: no permission"),
        ("No NPU devices were found.", "npu: no permission"),
        ("Level zero backend is not found!", "npu: no permission"),
        ("to_shape was called on a dynamic shape.", "--for npu"),
        (
            "[ NOT_FOUND ] Option 'NPUW_X' is not supported for current configuration",
            "lapwing pull openvino",
        ),
        ("NotFound: Unsupported property NO_SUCH by CPU plugin.", "leave out --property"),
        ("Value '99999999999' is not a valid UINT32 option", "--npu-prompt"),
        (
            "Configuration Error: chunk size (3) is not power of 2. Please adjust \
             NPUW_LLM_PREFILL_CHUNK_SIZE.",
            "--property NPUW_LLM_PREFILL_CHUNK_SIZE",
        ),
        ("This blobs was serialized with different OV version!", "lapwing cache clear"),
        (
            "Metadata version is not supported! Imported blob metadata version: 9.0, but the \
             current version is 2.0",
            "lapwing cache clear",
        ),
        (
            "NPUW: Assertion llm_compiled_indicator == NPUW_LLM_COMPILED_MODEL_INDICATOR && \
             \"This blob wasn't serialized via LLMCompiledModel!\" failed",
            "lapwing cache clear",
        ),
        (
            "L0 pfnCreate2 result: ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY, code 0x70000002",
            "DISABLE_OPENVINO_GENAI_NPU_L0=1",
        ),
        ("ZE_RESULT_ERROR_OUT_OF_DEVICE_MEMORY", "DISABLE_OPENVINO_GENAI_NPU_L0=1"),
        ("L0 zeMemAllocHost result: 0x78000001", "DISABLE_OPENVINO_GENAI_NPU_L0=1"),
        (
            "Input prompt is longer than configured \"NPUW_LLM_MAX_PROMPT_LEN\": 1024",
            "--npu-prompt",
        ),
        ("KV-Cache is full: num_stored_tokens=191 capacity=191", "--context"),
        ("Failed to compile Model0_FCEW000__0 for all devices in [NPU]", "update the NPU's driver"),
    ];

    #[test]
    fn every_message_of_the_table_has_a_cure() {
        let fake = Fake::new();
        fake.gpu().npu().os_release("debian");
        let machine = || fake.machine_without_permission();
        // A GPU that can be opened, so that its libraries are what is missing first.
        let open_machine = || fake.machine();
        for (known, (message, expected)) in KNOWN.iter().zip(MESSAGES) {
            assert!(message.contains(known.part), "{message:?} has no {:?}", known.part);
            let is_gpu = matches!(known.advice, Advice::Lacks(DeviceKind::Gpu));
            let machine: &dyn Fn() -> Machine = if is_gpu { &open_machine } else { &machine };
            let hint = for_cause(&refused(message), machine).unwrap_or_default();
            assert!(hint.contains(expected), "{message:?}: {hint:?}");
            let step =
                StepError::Library { backend: OPENVINO, n_positions: 3, source: message.into() };
            assert_eq!(for_cause(&step, machine).as_ref(), Some(&hint));
        }
        assert_eq!(for_cause(&refused("something else"), &machine), None);
    }

    #[test]
    fn wrapped_messages_are_told_by_the_most_telling_part() {
        let fake = Fake::new();
        let wrapped = "Failed to compile Model0_FCEW000__0 for all devices in [NPU]\n\
            ZE_RESULT_ERROR_OUT_OF_HOST_MEMORY";
        let hint = for_cause(&refused(wrapped), &|| fake.machine()).unwrap();
        assert!(hint.contains("DISABLE_OPENVINO_GENAI_NPU_L0"), "{hint}");
    }

    #[test]
    fn a_device_that_is_not_offered_is_told_by_the_first_thing_it_lacks() {
        let fake = Fake::new();
        let check = |kind: DeviceKind, offered: &str, expected: Option<&str>| {
            let error = OpenError::NoDevice {
                backend: OPENVINO,
                requested: DeviceRequest::One(kind, None),
                offered: offered.into(),
            };
            let hint = for_cause(&error, &|| fake.machine());
            match (&hint, expected) {
                (Some(hint), Some(expected)) => assert!(hint.contains(expected), "{hint}"),
                _ => assert_eq!(hint.as_deref(), expected, "{kind} {offered}"),
            }
        };
        check(DeviceKind::Gpu, "CPU", Some("gpu: no device; nothing to install"));
        check(DeviceKind::Npu, "CPU, GPU", Some("npu: no device; nothing to install"));
        // Another number than those that are there, and what is no hardware.
        check(DeviceKind::Gpu, "CPU, GPU.0, GPU.1", None);
        check(DeviceKind::Cpu, "CPU", None);
        fake.gpu().os_release("arch");
        check(DeviceKind::Gpu, "CPU", Some("sudo pacman -S ocl-icd (`lapwing doctor`"));
        fake.gpu_libraries();
        check(DeviceKind::Gpu, "CPU", Some("OpenVINO still does not offer it"));
        let elsewhere = OpenError::NoDevice {
            backend: "onnxruntime",
            requested: DeviceRequest::One(DeviceKind::Gpu, None),
            offered: "CPU".into(),
        };
        assert_eq!(for_cause(&elsewhere, &|| fake.machine()), None);
    }

    #[test]
    fn what_onnx_runtime_lacks_is_told_with_what_the_machine_lacks() {
        let fake = Fake::new();
        let check = |kind, of_plugin, of_machine: Option<&str>, expected: &[&str]| {
            let lack = Lack { kind, of_plugin, of_machine: of_machine.map(str::to_owned) };
            let error = NoOnnxDevice { device: DeviceRequest::One(kind, None), lack };
            let hint = for_cause(&error, &|| fake.machine()).unwrap();
            assert!(expected.iter().all(|part| hint.contains(part)), "{hint}");
        };
        let (gpu, npu) = (DeviceKind::Gpu, DeviceKind::Npu);
        let pull = "lapwing pull onnxruntime-ep-openvino";
        check(gpu, LackOfPlugin::NotInstalled, Some("no device"), &["gpu: no device", pull]);
        check(gpu, LackOfPlugin::NotInstalled, None, &[pull]);
        check(gpu, LackOfPlugin::NoOffer, Some("no device"), &["gpu: no device"]);
        let again = "--force";
        check(gpu, LackOfPlugin::Unusable { reason: "x".into() }, None, &[pull_both(), again]);
        check(npu, LackOfPlugin::WrongKind, Some("no device"), &["npu: no device", "--for npu"]);
    }

    fn pull_both() -> &'static str {
        "lapwing pull onnxruntime onnxruntime-ep-openvino"
    }

    #[test]
    fn a_compiler_of_the_driver_is_named_where_it_is_there() {
        let message = "Cannot load library libopenvino_intel_npu_compiler_loader.so";
        let fake = Fake::new();
        fake.npu().npu_libraries();
        let hint = || for_cause(&refused(message), &|| fake.machine()).unwrap();
        assert!(
            hint().contains("--property NPU_COMPILER_TYPE=DRIVER takes the driver's"),
            "{}",
            hint()
        );
        fake.file("/usr/lib64/libnpu_driver_compiler.so", "no library");
        let missing = "no compiler for NPUs is there; install intel-driver-compiler-npu";
        assert!(hint().contains(missing), "{}", hint());
    }

    #[test]
    fn a_prompt_beyond_the_compiled_one_is_told_how_to_compile() {
        let fake = Fake::new();
        let long = StepError::PromptTooLong { n_tokens: 90, n_prompt_tokens_max: 64 };
        let hint = for_cause(&long, &|| fake.machine()).unwrap();
        assert!(hint.contains("--npu-prompt 90") && hint.contains("--context"), "{hint}");
    }
}
