//! What this machine has, and what it lacks, for an Intel GPU or NPU through OpenVINO.
//!
//! Read from the files of the kernel and of the loader; nothing is loaded, so that a driver that
//! crashes cannot end this process. A fact that is fine does not promise that the library offers
//! the device, and this module never asks it. To add a kind of device: a `Kind` beside the two,
//! and a function that lists what it needs, in the order in which it is needed.

mod distribution;
mod libraries;
mod nodes;

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use lapwing_backend::DeviceKind;
use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};

use crate::fact::{Fact, Standing};

use distribution::{Distribution, Part};
use libraries::Libraries;
use nodes::{Kind, NPU};

/// The Level Zero loader that first knew the NPU's driver by its present name.
const LOADER_WITH_NEW_NAME: [u64; 3] = [1, 17, 17];

/// What the fact about compilers for the NPU is called.
pub const NPU_COMPILER: &str = "npu compiler";

/// The property by which OpenVINO is told who translates graphs for an NPU.
pub const COMPILER_PROPERTY: &str = "NPU_COMPILER_TYPE";

/// Who translates a graph for an NPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NpuCompiler {
    /// The installed driver.
    Driver,
    /// A library beside OpenVINO.
    Plugin,
}

impl NpuCompiler {
    /// The value of [`COMPILER_PROPERTY`].
    pub fn name(self) -> &'static str {
        match self {
            NpuCompiler::Driver => "DRIVER",
            NpuCompiler::Plugin => "PLUGIN",
        }
    }
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
    system: &'static str,
    library_folders: Vec<PathBuf>,
    openvino: Option<PathBuf>,
    open: fn(&Path) -> io::Result<()>,
}

/// What a machine has for one kind of device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// The kind.
    pub kind: DeviceKind,
    /// What was looked at, in the order in which it is needed.
    pub facts: Vec<Fact>,
    /// The first thing that is missing, in few words; `None` when nothing is.
    pub reason: Option<String>,
}

impl DeviceFacts {
    fn new(kind: DeviceKind) -> DeviceFacts {
        DeviceFacts { kind, facts: Vec::new(), reason: None }
    }

    /// What is not fine, in the order in which it is needed.
    pub fn missing(&self) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(|fact| fact.standing != Standing::Fine)
    }

    fn add(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    fn lack(&mut self, reason: &str, fact: Fact) {
        self.reason.get_or_insert_with(|| reason.to_owned());
        self.facts.push(fact);
    }
}

impl Machine {
    /// This machine. Libraries are looked for in the folder of OpenVINO and in those of
    /// `library_path` first, then in the system's.
    pub fn here(openvino: Option<&Path>, library_path: Option<&OsStr>) -> Machine {
        Machine {
            root: PathBuf::from("/"),
            system: std::env::consts::OS,
            library_folders: library_path.map_or_else(Vec::new, libraries::split),
            openvino: openvino.map(Path::to_owned),
            open: |path| OpenOptions::new().read(true).write(true).open(path).map(|_| ()),
        }
    }

    /// What there is for a GPU or an NPU; `None` for what needs nothing but a CPU.
    pub fn facts(&self, kind: DeviceKind) -> Option<DeviceFacts> {
        match kind {
            DeviceKind::Gpu => Some(self.gpu()),
            DeviceKind::Npu => Some(self.npu()),
            DeviceKind::Cpu | DeviceKind::NpuOnCpu => None,
        }
    }

    /// What there is for an Intel GPU.
    pub fn gpu(&self) -> DeviceFacts {
        let mut facts = DeviceFacts::new(DeviceKind::Gpu);
        if self.is_unknown(&nodes::GPU, &mut facts) {
            return facts;
        }
        nodes::look(self, &nodes::GPU, &mut facts);
        let distribution = Distribution::read(self);
        let libraries = Libraries::new(self);
        let loader = "libOpenCL.so.1";
        match libraries.find(loader) {
            Some(path) => facts.add(Fact::fine(loader, self.shown(&path))),
            None => facts.lack(
                &missing(loader),
                Fact::absent(loader, libraries::NOT_FOUND, distribution.cure(Part::OpenClLoader)),
            ),
        }
        let driver = "libigdrcl.so";
        let cure = || distribution.cure(Part::OpenClDriver);
        match self.opencl_driver(&libraries) {
            Ok(Some(path)) => facts.add(Fact::fine(driver, self.shown(&path))),
            Ok(None) => facts.lack(
                &missing(driver),
                Fact::absent(driver, "no file in /etc/OpenCL/vendors names it", cure()),
            ),
            Err(found) => facts.lack(&missing(driver), Fact::broken(driver, found, cure())),
        }
        facts
    }

    /// What there is for an Intel NPU.
    pub fn npu(&self) -> DeviceFacts {
        let mut facts = DeviceFacts::new(DeviceKind::Npu);
        if self.is_unknown(&NPU, &mut facts) {
            return facts;
        }
        nodes::look(self, &NPU, &mut facts);
        let distribution = Distribution::read(self);
        let libraries = Libraries::new(self);
        let name = "libze_loader.so.1";
        let loader = libraries.find(name);
        match &loader {
            Some(path) => facts.add(Fact::fine(name, self.shown(path))),
            None => facts.lack(
                &missing(name),
                Fact::absent(name, libraries::NOT_FOUND, distribution.cure(Part::LevelZeroLoader)),
            ),
        }
        self.npu_driver(loader.as_deref(), &libraries, distribution, &mut facts);
        let what = NPU_COMPILER;
        match self.npu_compiler_file(&libraries) {
            Some((_, path)) => facts.add(Fact::fine(what, self.shown(&path))),
            None => {
                let found = "neither libnpu_driver_compiler.so nor OpenVINO's own compiler";
                let cure = distribution.cure(Part::NpuCompiler);
                facts.lack("no NPU compiler", Fact::absent(what, found, cure));
            }
        }
        facts
    }

    /// Who can translate graphs for the NPU: OpenVINO's own library where it is beside OpenVINO,
    /// as the library prefers it, else the driver's; `None` when neither is there.
    pub fn npu_compiler(&self) -> Option<NpuCompiler> {
        self.npu_compiler_file(&Libraries::new(self)).map(|(compiler, _)| compiler)
    }

    fn npu_compiler_file(&self, libraries: &Libraries) -> Option<(NpuCompiler, PathBuf)> {
        let own = self.openvino.iter().map(|folder| {
            (NpuCompiler::Plugin, folder.join("libopenvino_intel_npu_compiler_loader.so"))
        });
        let of_driver = libraries.find("libnpu_driver_compiler.so");
        own.filter(|(_, path)| libraries::fits(path))
            .chain(of_driver.map(|path| (NpuCompiler::Driver, path)))
            .next()
    }

    /// The NPU's user driver, by a name that the Level Zero loader knows.
    fn npu_driver(
        &self,
        loader: Option<&Path>,
        libraries: &Libraries,
        distribution: Distribution,
        facts: &mut DeviceFacts,
    ) {
        let (what, older) = ("libze_intel_npu.so.1", "libze_intel_vpu.so.1");
        let version = loader.and_then(libraries::version);
        let is_old = version.as_ref().is_some_and(|version| version[..] < LOADER_WITH_NEW_NAME[..]);
        let [new, old] = [what, older].map(|name| libraries.find(name));
        match (new, old) {
            (Some(path), _) if !is_old => facts.add(Fact::fine(what, self.shown(&path))),
            (_, Some(path)) => facts.add(Fact::fine(what, self.shown(&path))),
            (Some(path), None) => {
                let version: Vec<String> = version.iter().flatten().map(u64::to_string).collect();
                let (path, version) = (self.shown(&path), version.join("."));
                let found = format!("{path}: Level Zero {version} looks for {older} only");
                let cure = "install Level Zero 1.17.17 or later: \
                    https://github.com/oneapi-src/level-zero/releases";
                facts.lack("Level Zero is too old", Fact::broken(what, found, cure));
            }
            (None, None) => facts.lack(
                &missing(what),
                Fact::absent(what, libraries::NOT_FOUND, distribution.cure(Part::NpuDriver)),
            ),
        }
    }

    /// The library that Intel's entry in the list of OpenCL drivers names.
    ///
    /// # Errors
    ///
    /// When there is such an entry and no such library, with what was found.
    fn opencl_driver(&self, libraries: &Libraries) -> Result<Option<PathBuf>, String> {
        let folder = self.below("/etc/OpenCL/vendors");
        let mut stale = None;
        let is_entry = |path: &PathBuf| path.extension().is_some_and(|end| end == "icd");
        for entry in nodes::entries(&folder).filter(is_entry) {
            let Ok(text) = regular::read_text(&entry, N_TEXT_BYTES_MAX) else { continue };
            let Some(named) = text.lines().map(str::trim).find(|line| line.contains("libigdrcl"))
            else {
                continue;
            };
            let found = match named.starts_with('/') {
                true => Some(self.below(named)).filter(|path| libraries::fits(path)),
                false => libraries.find(named),
            };
            match found {
                Some(path) => return Ok(Some(path)),
                None => {
                    let entry = self.shown(&entry);
                    stale = Some(format!("{entry} names {named}, which cannot be loaded"));
                }
            }
        }
        stale.map_or(Ok(None), Err)
    }

    /// Say that nothing is known, where this is not Linux.
    fn is_unknown(&self, kind: &Kind, facts: &mut DeviceFacts) -> bool {
        let is_unknown = self.system != "linux";
        if is_unknown {
            let found = format!("not known on this system ({})", self.system);
            facts.lack("not known on this system", Fact::absent(kind.device, found, ""));
        }
        is_unknown
    }

    /// An absolute path, below the root.
    fn below(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A path as the machine itself would name it.
    fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.root) {
            Ok(inner) => format!("/{}", inner.display()),
            Err(_) => path.display().to_string(),
        }
    }
}

fn missing(library: &str) -> String {
    format!("{library} is missing")
}

#[cfg(all(unix, any(test, feature = "fakes")))]
#[doc(hidden)]
#[allow(clippy::unwrap_used, clippy::new_without_default, reason = "a fixture of tests")]
pub mod fakes;
#[cfg(test)]
mod tests;
