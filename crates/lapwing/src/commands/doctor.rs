//! `lapwing doctor`: what is wrong with the installation, and how to mend it.

use std::borrow::Cow;
use std::path::Path;

use serde_json::json;

use crate::cli::DoctorArgs;
use crate::compile_cache;
use crate::engine;
use crate::natives::{LocateError, Runtime, locate};
use crate::pip::Pip;
use crate::printer::{Printer, human_bytes};
use crate::settings::{Origin, Settings};
use crate::store::Store;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It works.
    Fine,
    /// Something optional is not there.
    Absent,
    /// It is there and does not work.
    Broken,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    what: &'static str,
    standing: Standing,
    /// What was found.
    found: String,
    /// What the user can do; empty when nothing needs doing.
    cure: Cow<'static, str>,
}

/// Something is broken; the table says what.
#[derive(Debug, thiserror::Error)]
#[error("{n_broken} of {n_findings} checks failed")]
pub struct Unwell {
    /// Checks that failed.
    pub n_broken: usize,
    /// Checks made.
    pub n_findings: usize,
}

/// Look at everything the other commands rely on.
///
/// # Errors
///
/// When something is broken: no runtime can be used, or one that is there does not load.
pub fn run(settings: &Settings, printer: &Printer, args: &DoctorArgs) -> anyhow::Result<()> {
    let findings = examine(settings);
    let n_broken = findings.iter().filter(|f| f.standing == Standing::Broken).count();
    if args.json {
        let checks = findings.iter().map(|finding| {
            let cure = (!finding.cure.is_empty()).then_some(&finding.cure);
            let standing = finding.standing.name();
            json!({"what": finding.what, "standing": standing, "found": finding.found, "cure": cure})
        });
        printer.json(&json!({"checks": checks.collect::<Vec<_>>(), "n_broken": n_broken}))?;
    } else {
        for finding in &findings {
            printer.line(format!(
                "{:7} {:18} {}",
                finding.standing.name(),
                finding.what,
                finding.found
            ))?;
            if !finding.cure.is_empty() {
                printer.line(format!("{:26} -> {}", "", finding.cure))?;
            }
        }
    }
    match n_broken {
        0 => Ok(()),
        n_broken => Err(Unwell { n_broken, n_findings: findings.len() }.into()),
    }
}

impl Standing {
    fn name(self) -> &'static str {
        match self {
            Standing::Fine => "ok",
            Standing::Absent => "absent",
            Standing::Broken => "broken",
        }
    }
}

fn examine(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![home(settings), disk(settings), python(settings)];
    let runtimes: Vec<Finding> =
        Runtime::ALL.into_iter().map(|each| runtime(each, settings)).collect();
    let n_usable = runtimes.iter().filter(|f| f.standing == Standing::Fine).count();
    let n_broken = runtimes.iter().filter(|f| f.standing == Standing::Broken).count();
    findings.extend(runtimes);
    if n_usable == 0 {
        findings.push(Finding {
            what: "backends",
            standing: Standing::Broken,
            found: "no runtime can be used: no model can run".to_owned(),
            cure: match n_broken {
                0 => "lapwing pull onnxruntime openvino".into(),
                _ => "mend one of those above".into(),
            },
        });
    }
    findings.push(models(settings));
    findings.push(cache(settings));
    findings.extend(drivers());
    findings
}

/// Whether the data folder can be written.
fn home(settings: &Settings) -> Finding {
    let folder = settings.home.models();
    let probe = std::fs::create_dir_all(&folder)
        .and_then(|()| tempfile::Builder::new().prefix(".doctor-").tempfile_in(&folder));
    match probe {
        Ok(_) => fine("data folder", folder.display().to_string()),
        Err(error) => Finding {
            what: "data folder",
            standing: Standing::Broken,
            found: format!("cannot write {}: {error}", folder.display()),
            cure: "make it writable, or set LAPWING_HOME to a folder that is".into(),
        },
    }
}

/// Whether there is room for a small model.
fn disk(settings: &Settings) -> Finding {
    const N_BYTES_WANTED: u64 = 2_000_000_000;
    let folder = settings.home.models();
    match crate::disk::free_bytes(&folder) {
        Some(n_bytes) => {
            let found = format!("{} free", human_bytes(n_bytes));
            match N_BYTES_WANTED <= n_bytes {
                true => fine("disk", found),
                false => Finding {
                    what: "disk",
                    standing: Standing::Absent,
                    found: format!("only {found}"),
                    cure: "remove models with `lapwing rm`, or move LAPWING_HOME".into(),
                },
            }
        }
        None => Finding {
            what: "disk",
            standing: Standing::Absent,
            found: "the free space is not known".to_owned(),
            cure: "".into(),
        },
    }
}

fn python(settings: &Settings) -> Finding {
    match Pip::find(settings) {
        Ok(pip) => fine("pip", pip.to_string()),
        Err(error) => Finding {
            what: "pip",
            standing: Standing::Absent,
            found: error.to_string(),
            cure: "needed by `lapwing pull` only: install Python 3 with pip".into(),
        },
    }
}

fn runtime(runtime: Runtime, settings: &Settings) -> Finding {
    let what = runtime.name();
    let located = match locate(runtime, settings) {
        Ok(located) => located,
        Err(error @ LocateError::Missing { .. }) => {
            let cure = format!("lapwing pull {what}").into();
            return Finding { what, standing: Standing::Absent, found: error.to_string(), cure };
        }
        Err(error) => return broken(runtime, error.to_string(), settings),
    };
    match engine::load(runtime, settings) {
        Ok(backend) => fine(what, format!("{} from {}", backend.version(), located.path.display())),
        Err(error) => broken(runtime, format!("{error:#}"), settings),
    }
}

/// A library that is not where the user says, or cannot be used.
fn broken(runtime: Runtime, found: String, settings: &Settings) -> Finding {
    let what = runtime.name();
    let pointer = match runtime {
        Runtime::OnnxRuntime => &settings.pointers.onnxruntime,
        Runtime::OpenVino => &settings.pointers.openvino,
    };
    // As long as the user points somewhere, no other library is looked for.
    let without = match runtime.folder(settings).exists() {
        true => "then the pulled runtime is found".to_owned(),
        false => format!("then `lapwing pull {what}` gets one"),
    };
    let cure = match pointer.as_ref().map(|pointer| &pointer.origin) {
        None => format!("lapwing pull {what} --force"),
        Some(Origin::Environment(variable)) => {
            format!("correct {variable}, or unset it: {without}")
        }
        Some(Origin::File { path, key }) => {
            format!("correct `{key}` in {}, or remove it: {without}", path.display())
        }
    };
    Finding { what, standing: Standing::Broken, found, cure: cure.into() }
}

fn models(settings: &Settings) -> Finding {
    match Store::new(settings.home.models()).list() {
        Ok(models) if models.is_empty() => Finding {
            what: "models",
            standing: Standing::Absent,
            found: "none in the store".to_owned(),
            cure: "lapwing list --all, then lapwing pull NAME".into(),
        },
        Ok(models) => fine("models", format!("{} in the store", models.len())),
        Err(error) => Finding {
            what: "models",
            standing: Standing::Broken,
            found: format!("{:#}", anyhow::Error::new(error)),
            cure: "remove the broken entry by hand".into(),
        },
    }
}

fn cache(settings: &Settings) -> Finding {
    let folder = compile_cache::folder(&settings.home);
    let size = human_bytes(compile_cache::n_bytes(&folder));
    let most = human_bytes(compile_cache::N_BYTES_MAX);
    fine("compile cache", format!("{size} of at most {most} (`lapwing rm --cache` empties it)"))
}

/// Graphics and neural processors: the kernel's devices and the user's libraries.
fn drivers() -> Vec<Finding> {
    let gpu = device_files("/dev/dri", "renderD");
    let npu = device_files("/dev/accel", "accel");
    vec![
        driver("gpu device", gpu, "for an Intel GPU: a kernel with i915 or xe"),
        driver("npu device", npu, "for an Intel NPU: a kernel of 6.8 or later with intel_vpu"),
    ]
}

fn driver(what: &'static str, devices: Vec<String>, cure: &'static str) -> Finding {
    if devices.is_empty() {
        return Finding {
            what,
            standing: Standing::Absent,
            found: "none".to_owned(),
            cure: cure.into(),
        };
    }
    let closed: Vec<&String> =
        devices.iter().filter(|path| std::fs::File::open(path).is_err()).collect();
    match closed.first() {
        None => fine(what, devices.join(", ")),
        Some(path) => Finding {
            what,
            standing: Standing::Broken,
            found: format!("{path} cannot be opened"),
            cure: "add yourself to the group `render`, then log in again".into(),
        },
    }
}

fn device_files(folder: &str, prefix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(Path::new(folder)) else { return Vec::new() };
    let mut paths: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().display().to_string())
        .collect();
    paths.sort();
    paths
}

fn fine(what: &'static str, found: String) -> Finding {
    Finding { what, standing: Standing::Fine, found, cure: "".into() }
}
