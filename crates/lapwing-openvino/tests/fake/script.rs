//! What the fake is told to be: a text file, one statement a line, `#` begins a comment.
//!
//! ```text
//! version 2026.4.1-22982-fake          the build number
//! log /tmp/x/calls.log                 append what is asked to this file
//! vocabulary 512                       length of the logits where the graph does not tell
//! compile_ms 300                       a compilation that no blob saves takes so long
//! blob_bytes 65536                     what a compiled model takes in CACHE_DIR
//! device NPU Intel(R) AI Boost         a device that is there: id, FULL_DEVICE_NAME
//! property NPU NPU_DRIVER_VERSION 1688 an answer of a device
//! compiled NPU EXECUTION_DEVICES CPU   an answer of what is compiled for a device
//! cached NPU nan                       logits of what comes out of CACHE_DIR: nan, other
//! fault STAGE DEVICE [times N] KIND [ARGUMENT]
//! ```
//!
//! STAGE is `load`, `devices`, `property`, `read`, `compile`, `request` or `infer`. DEVICE is an
//! id, a kind (`GPU` means `GPU.1` too), `*`, or for `property` also `ID/KEY`; it is `*` where no
//! device is concerned (`load`, `devices`, `read`). A fault with `times N` happens in the first N
//! calls, counted beside the script, so that later processes go on counting.
//!
//! KIND: `error TEXT` (`\n` is a line's end), `abort`, `segfault`, `hang`, `exit CODE`,
//! `allocate [MIB]` (memory grows until someone stops it; behind MIB, 4096 by default, it hangs),
//! and three after which the call goes on with the next fault: `print TEXT` to stderr,
//! `slow MILLISECONDS`, `until FILE` (it waits until there is such a file).

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::process;
use std::thread::{park, sleep};
use std::time::Duration;

/// Names the script.
pub(crate) const VARIABLE: &str = "LAPWING_FAKE_OPENVINO";

/// How fast `allocate` grows.
const N_BLOCK_MIB: usize = 8;

#[derive(Debug)]
pub(crate) struct Script {
    path: PathBuf,
    pub(crate) version: String,
    log: Option<PathBuf>,
    pub(crate) n_vocab: Option<usize>,
    pub(crate) compile_time: Duration,
    pub(crate) n_blob_bytes: usize,
    pub(crate) devices: Vec<Device>,
    compiled: Vec<Answer>,
    cached: Vec<(String, Cached)>,
    faults: Vec<Fault>,
}

/// What becomes of the logits of a model that comes out of a cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cached {
    Nan,
    Other,
}

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) properties: Vec<(String, String)>,
}

#[derive(Debug)]
struct Answer {
    device: String,
    key: String,
    value: String,
}

#[derive(Debug)]
struct Fault {
    line_idx: usize,
    stage: String,
    device: String,
    n_times: Option<u64>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Error(String),
    Abort,
    Segfault,
    Hang,
    Exit(i32),
    Allocate { n_mib_max: usize },
    Print(String),
    Slow(Duration),
    Until(PathBuf),
}

impl Script {
    /// Read the script anew. A script that is not understood ends the process: it is the test
    /// that is wrong.
    pub(crate) fn read() -> Script {
        let path = std::env::var_os(VARIABLE).map(PathBuf::from);
        let path = path.unwrap_or_else(|| panic!("{VARIABLE} names no script"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let mut script = Script {
            path,
            version: "2026.4.1-22982-fake".to_owned(),
            log: None,
            n_vocab: None,
            compile_time: Duration::ZERO,
            n_blob_bytes: 4096,
            devices: Vec::new(),
            compiled: Vec::new(),
            cached: Vec::new(),
            faults: Vec::new(),
        };
        for (line_idx, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') && script.take(line_idx, line).is_none() {
                panic!("{}:{}: not understood: {line}", script.path.display(), line_idx + 1);
            }
        }
        script
    }

    fn take(&mut self, line_idx: usize, line: &str) -> Option<()> {
        let (word, rest) = split(line);
        match word {
            "version" => self.version = rest.to_owned(),
            "log" => self.log = Some(PathBuf::from(rest)),
            "vocabulary" => self.n_vocab = Some(rest.parse().ok()?),
            "compile_ms" => self.compile_time = Duration::from_millis(rest.parse().ok()?),
            "blob_bytes" => self.n_blob_bytes = rest.parse().ok()?,
            "device" => {
                let (id, name) = split(rest);
                let name = ("FULL_DEVICE_NAME".to_owned(), name.to_owned());
                self.devices.push(Device { id: id.to_owned(), properties: vec![name] });
            }
            "property" => {
                let Answer { device, key, value } = answer(rest)?;
                let device = self.devices.iter_mut().find(|known| known.id == device)?;
                device.properties.push((key, value));
            }
            "compiled" => self.compiled.push(answer(rest)?),
            "cached" => {
                let (device, logits) = split(rest);
                let cached = match logits {
                    "nan" => Cached::Nan,
                    "other" => Cached::Other,
                    _ => return None,
                };
                self.cached.push((device.to_owned(), cached));
            }
            "fault" => self.faults.push(fault(line_idx, rest)?),
            _ => return None,
        }
        Some(())
    }

    /// The device that an id means: `GPU` is the first one, which is `GPU.0` too.
    pub(crate) fn device(&self, id: &str) -> Option<&Device> {
        let numbered = |id: &str| match id.contains('.') {
            true => id.to_owned(),
            false => format!("{id}.0"),
        };
        self.devices.iter().find(|device| numbered(&device.id) == numbered(id))
    }

    /// What a model compiled for `device` is told to answer.
    pub(crate) fn compiled_answer(&self, device: &str, key: &str) -> Option<&str> {
        let mut answers = self.compiled.iter();
        let found = answers.find(|answer| answer.device == device && answer.key == key);
        found.map(|answer| answer.value.as_str())
    }

    /// What becomes of the logits of a model for `device` that comes out of a cache.
    pub(crate) fn cached(&self, device: &str) -> Option<Cached> {
        self.cached.iter().find(|(meant, _)| meant == device).map(|(_, cached)| *cached)
    }

    /// Append one line to the log: words between tabs.
    pub(crate) fn log(&self, words: &[&str]) {
        let Some(log) = &self.log else { return };
        let line = format!("{}\n", words.join("\t"));
        let file = OpenOptions::new().create(true).append(true).open(log);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the log can be written");
    }

    /// Let go wrong what the script says goes wrong in this stage. `key` is that of a property.
    pub(crate) fn play(&self, stage: &str, device: &str, key: &str) -> Result<(), String> {
        for fault in &self.faults {
            let meant = fault.device.as_str();
            let kind = device.split('.').next().unwrap_or_default();
            let is_meant = meant == "*"
                || meant == device
                || meant == kind
                || meant == [device, key].join("/");
            if fault.stage == stage && is_meant && self.is_due(fault) {
                fault.kind.happen()?;
            }
        }
        Ok(())
    }

    fn is_due(&self, fault: &Fault) -> bool {
        let Some(n_times) = fault.n_times else { return true };
        let count = format!("{}.{}.count", self.path.display(), fault.line_idx + 1);
        let file = OpenOptions::new().create(true).append(true).open(count);
        let nth = file.and_then(|mut file: File| {
            file.write_all(b"x")?;
            // Behind one's own byte, whoever else appends.
            file.stream_position()
        });
        nth.expect("the count can be written") <= n_times
    }
}

impl Kind {
    fn happen(&self) -> Result<(), String> {
        match self {
            Kind::Error(text) => Err(text.clone()),
            Kind::Abort => process::abort(),
            Kind::Segfault => crate::segfault(),
            Kind::Hang => hang(),
            Kind::Exit(code) => process::exit(*code),
            Kind::Allocate { n_mib_max } => Err(allocate(*n_mib_max)),
            Kind::Print(text) => {
                crate::say(text);
                Ok(())
            }
            Kind::Slow(time) => {
                sleep(*time);
                Ok(())
            }
            Kind::Until(file) => {
                while !file.exists() {
                    sleep(Duration::from_millis(5));
                }
                Ok(())
            }
        }
    }
}

fn hang() -> ! {
    loop {
        park();
    }
}

/// Grow until memory is refused, and give what C++ says then.
fn allocate(n_mib_max: usize) -> String {
    let mut blocks = Vec::new();
    while blocks.len() * N_BLOCK_MIB < n_mib_max {
        let mut block = Vec::new();
        if block.try_reserve_exact(N_BLOCK_MIB << 20).is_err() {
            return "std::bad_alloc".to_owned();
        }
        // Written, so that it is memory and not only an address.
        block.resize(N_BLOCK_MIB << 20, 1_u8);
        blocks.push(block);
        sleep(Duration::from_millis(2));
    }
    hang()
}

fn answer(text: &str) -> Option<Answer> {
    let (device, rest) = split(text);
    let (key, value) = split(rest);
    let is_whole = !key.is_empty();
    is_whole.then(|| Answer {
        device: device.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

fn fault(line_idx: usize, text: &str) -> Option<Fault> {
    const STAGES: [&str; 7] =
        ["load", "devices", "property", "read", "compile", "request", "infer"];
    let (stage, rest) = split(text);
    let (device, mut rest) = split(rest);
    let mut n_times = None;
    if let ("times", counted) = split(rest) {
        let (count, behind) = split(counted);
        n_times = Some(count.parse().ok()?);
        rest = behind;
    }
    let (word, argument) = split(rest);
    let kind = match word {
        "error" => Kind::Error(argument.replace("\\n", "\n")),
        "abort" => Kind::Abort,
        "segfault" => Kind::Segfault,
        "hang" => Kind::Hang,
        "exit" => Kind::Exit(argument.parse().ok()?),
        "allocate" if argument.is_empty() => Kind::Allocate { n_mib_max: 4096 },
        "allocate" => Kind::Allocate { n_mib_max: argument.parse().ok()? },
        "print" => Kind::Print(argument.to_owned()),
        "slow" => Kind::Slow(Duration::from_millis(argument.parse().ok()?)),
        "until" if !argument.is_empty() => Kind::Until(argument.into()),
        _ => return None,
    };
    let (stage, device) = (stage.to_owned(), device.to_owned());
    STAGES.contains(&stage.as_str()).then_some(Fault { line_idx, stage, device, n_times, kind })
}

/// The first word and what is behind it.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    (word, rest.trim())
}
