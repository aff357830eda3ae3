//! `lapwing doctor`: what is wrong with the installation, and how to mend it.

mod deep;

use std::path::Path;

use lapwing_host::compile_cache;
use lapwing_host::ort_plugin::{self, Plugin};
use lapwing_host::{Fact, Standing};
use lapwing_store::{
    Origin, Pip, Store,
    natives::{LocateError, Native, Runtime, locate},
};
use serde_json::{Value, json};

use crate::cli::DoctorArgs;
use crate::printer::{PrintError, Printer, human_bytes};
use crate::settings::Settings;
use lapwing_host::allowance;

/// Something is broken; the table says what.
#[derive(Debug, thiserror::Error)]
#[error("{n_broken} of {n_findings} checks failed")]
pub struct Unwell {
    pub n_broken: usize,
    pub n_findings: usize,
}

/// Look at everything the other commands rely on.
///
/// # Errors
///
/// When something is broken: no runtime can be used, or one that is there does not load.
pub fn run(settings: &Settings, printer: &Printer, args: &DoctorArgs) -> anyhow::Result<()> {
    let findings = examine(settings);
    let deep = match args.deep {
        true => Some(deep::run(settings, printer, args.model.as_deref())?),
        false => None,
    };
    let tried = deep.as_deref().unwrap_or_default();
    let n_broken = findings.iter().filter(|f| f.standing == Standing::Broken).count()
        + tried.iter().filter(|tried| tried.is_broken()).count();
    match args.json {
        true => {
            let mut report = as_json(&findings, n_broken);
            if deep.is_some() {
                report["devices"] = deep::as_json(tried);
            }
            printer.json(&report)?;
        }
        false => {
            print(&findings, settings, printer)?;
            if deep.is_some() {
                printer.line("")?;
                printer.table(&deep::HEADER, &deep::table(tried))?;
            }
        }
    }
    match n_broken {
        0 => Ok(()),
        n_broken => Err(Unwell { n_broken, n_findings: findings.len() + tried.len() }.into()),
    }
}

fn as_json(findings: &[Fact], n_broken: usize) -> Value {
    let checks = findings.iter().map(|finding| {
        let cure = (!finding.cure.is_empty()).then_some(&finding.cure);
        let standing = finding.standing.name();
        json!({"what": finding.what, "standing": standing, "found": finding.found, "cure": cure})
    });
    json!({"checks": checks.collect::<Vec<_>>(), "n_broken": n_broken})
}

fn print(findings: &[Fact], settings: &Settings, printer: &Printer) -> Result<(), PrintError> {
    let needless = if settings.verbosity == 0 { needless(settings) } else { Vec::new() };
    let shown = findings.iter().filter(|finding| !needless.contains(finding));
    for Fact { what, standing, found, cure } in shown {
        printer.hanging(&format!("{:7} {what:20} ", standing.name()), found)?;
        if !cure.is_empty() {
            printer.hanging(&" ".repeat(29), &format!("-> {cure}"))?;
        }
    }
    if !needless.is_empty() {
        printer.note("-v also tells what a device that is not in this machine would need");
    }
    Ok(())
}

fn examine(settings: &Settings) -> Vec<Fact> {
    let mut findings = vec![home(settings), disk(settings), python(settings)];
    findings.extend(container(settings));
    let runtimes: Vec<Fact> =
        Runtime::ALL.into_iter().map(|each| runtime(each, settings)).collect();
    let n_usable = runtimes.iter().filter(|f| f.standing == Standing::Fine).count();
    let n_broken = runtimes.iter().filter(|f| f.standing == Standing::Broken).count();
    findings.extend(runtimes);
    findings.push(ort_plugin(settings));
    if n_usable == 0 {
        let cure = match n_broken {
            0 => "lapwing pull onnxruntime openvino",
            _ => "mend one of those above",
        };
        findings.push(Fact::broken("backends", "no runtime can be used: no model can run", cure));
    }
    findings.push(models(settings));
    findings.push(cache(settings));
    let machine = settings.host.machine();
    findings.extend(machine.gpu().facts);
    findings.extend(machine.npu().facts);
    findings
}

/// What a GPU or an NPU needs that is not in this machine at all.
fn needless(settings: &Settings) -> Vec<Fact> {
    let machine = settings.host.machine();
    let of_device = |facts: Vec<Fact>| {
        let is_absent = facts.first().is_some_and(|device| device.standing == Standing::Absent);
        let more = facts.into_iter().skip(1).filter(move |_| is_absent);
        more.filter(|fact| fact.standing == Standing::Absent)
    };
    of_device(machine.gpu().facts).chain(of_device(machine.npu().facts)).collect()
}

/// Whether the data folder can be written.
fn home(settings: &Settings) -> Fact {
    let folder = settings.home.models();
    let probe = std::fs::create_dir_all(&folder)
        .and_then(|()| tempfile::Builder::new().prefix(".doctor-").tempfile_in(&folder));
    match probe {
        Ok(_) => Fact::fine("data folder", folder.display().to_string()),
        Err(error) => Fact::broken(
            "data folder",
            format!("cannot write {}: {error}", folder.display()),
            "make it writable, or set LAPWING_HOME to a folder that is",
        ),
    }
}

/// Whether there is room for a small model.
fn disk(settings: &Settings) -> Fact {
    const N_BYTES_WANTED: u64 = 2_000_000_000;
    let folder = settings.home.models();
    match lapwing_files::disk::free_bytes(&folder) {
        Some(n_bytes) => {
            let found = format!("{} free", human_bytes(n_bytes));
            match N_BYTES_WANTED <= n_bytes {
                true => Fact::fine("disk", found),
                false => Fact::absent(
                    "disk",
                    format!("only {found}"),
                    "remove models with `lapwing rm`, or move LAPWING_HOME",
                ),
            }
        }
        None => Fact::absent("disk", "the free space is not known", ""),
    }
}

/// What a container allows, where one limits anything.
fn container(settings: &Settings) -> Option<Fact> {
    let allowed = allowance::told(&settings.host.allowance)?;
    Some(Fact::fine("container", format!("{allowed}; the rest of the machine is out of reach")))
}

fn python(settings: &Settings) -> Fact {
    match Pip::find(settings.host.store.pip.as_ref()) {
        Ok(pip) => Fact::fine("pip", pip.to_string()),
        Err(error) => Fact::absent(
            "pip",
            error.to_string(),
            "needed by `lapwing pull` only: install Python 3 with pip",
        ),
    }
}

fn runtime(runtime: Runtime, settings: &Settings) -> Fact {
    let what = runtime.name();
    let located = match locate(runtime, &settings.host.store) {
        Ok(located) => located,
        Err(error @ LocateError::Missing { .. }) => {
            return Fact::absent(what, error.to_string(), format!("lapwing pull {what}"));
        }
        Err(error) => return broken(runtime, error.to_string(), settings),
    };
    match lapwing_host::load(runtime, &settings.host) {
        Ok(backend) => {
            let found = format!("{} from {}", backend.version(), located.path.display());
            Fact::fine(what, found)
        }
        Err(error) => broken(runtime, format!("{error:#}"), settings),
    }
}

/// The plugin of ONNX Runtime: it may be absent.
fn ort_plugin(settings: &Settings) -> Fact {
    const WHAT: &str = "ort plugin";
    let plugin = Native::OrtPlugin;
    let broken = |found: String| {
        Fact::broken(WHAT, found, format!("lapwing pull {} --force", plugin.name()))
    };
    let path = |library: &Path| library.display().to_string();
    match ort_plugin::load(&settings.host) {
        Err(LocateError::Missing { .. }) => Fact::absent(
            WHAT,
            format!("{plugin} is not installed: only ONNX models on Intel GPUs need it"),
            format!("lapwing pull {}", plugin.name()),
        ),
        Err(error) => broken(error.to_string()),
        Ok(Some(Plugin::Refused { library, reason })) => {
            broken(format!("ONNX Runtime cannot load {}: {reason}", path(&library)))
        }
        Ok(Some(Plugin::Loaded { library, version, .. })) => {
            let version = version.unwrap_or_else(|| plugin.version().to_owned());
            Fact::fine(WHAT, format!("{version} from {}", path(&library)))
        }
        Ok(Some(Plugin::Absent) | None) => {
            Fact::absent(WHAT, "it needs ONNX Runtime", "lapwing pull onnxruntime")
        }
    }
}

/// A library that is not where the user says, or cannot be used.
fn broken(runtime: Runtime, found: String, settings: &Settings) -> Fact {
    let what = runtime.name();
    let pointer = match runtime {
        Runtime::OnnxRuntime => &settings.host.store.pointers.onnxruntime,
        Runtime::OpenVino => &settings.host.store.pointers.openvino,
    };
    // As long as the user points somewhere, no other library is looked for.
    let without = match runtime.folder(&settings.host.store).exists() {
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
    Fact::broken(what, found, cure)
}

fn models(settings: &Settings) -> Fact {
    match Store::new(settings.home.models()).list() {
        Ok(models) if models.is_empty() => Fact::absent(
            "models",
            "none in the store",
            "lapwing list --all, then lapwing pull NAME",
        ),
        Ok(models) => Fact::fine("models", format!("{} in the store", models.len())),
        Err(error) => Fact::broken(
            "models",
            format!("{:#}", anyhow::Error::new(error)),
            "remove the broken entry by hand",
        ),
    }
}

fn cache(settings: &Settings) -> Fact {
    let folder = settings.host.compiled_models();
    let probe = std::fs::create_dir_all(&folder)
        .and_then(|()| tempfile::Builder::new().prefix(".doctor-").tempfile_in(&folder));
    if let Err(error) = probe {
        let found = format!(
            "cannot write {}: {error}: models are compiled at every start",
            folder.display()
        );
        let cure = "make it writable, or set LAPWING_HOME to a folder that is";
        return Fact::absent("compile cache", found, cure);
    }
    let size = human_bytes(compile_cache::n_bytes(&folder));
    let most = human_bytes(compile_cache::N_BYTES_MAX);
    Fact::fine(
        "compile cache",
        format!("{size} of at most {most} (`lapwing cache list` shows it, `clear` empties it)"),
    )
}
