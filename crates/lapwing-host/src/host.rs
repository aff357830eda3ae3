//! What a program opens models with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lapwing_files::Allowance;
use lapwing_store::StoreOptions;
use lapwing_store::natives::{Runtime, locate};

use crate::hardware::Machine;
use crate::ledger::Ledger;
use crate::trial::TrialLimits;
use crate::worker::WorkerCommand;

/// Folders, and how devices are tried: everything that opening a model needs beside the request.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where models and native runtimes are.
    pub store: StoreOptions,
    /// A folder for what can be made again: compiled models, what came of trials.
    pub cache: PathBuf,
    /// The folder of correction profiles.
    pub profiles: PathBuf,
    /// The file of devices that were measured to be best, which `auto` takes; `None` looks at none.
    pub recommendations: Option<PathBuf>,
    /// How a GPU or an NPU is tried before this process opens a model on it.
    pub trials: Trials,
    /// Where the system's loader looks for libraries first: what this process has as
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<OsString>,
    /// What this process may have of processors and memory. Whoever opens a model hears when it is
    /// too little.
    pub allowance: Allowance,
}

/// How a device that is new to a model is tried: in a process that may die.
#[derive(Debug, Clone)]
pub struct Trials {
    /// What tries it, by [`attempt::serve`](crate::attempt::serve); `None` where this process is
    /// expendable itself.
    pub worker: Option<WorkerCommand>,
    /// What that may take.
    pub limits: TrialLimits,
    /// Whether the CPU is tried, too. A library's plugin for the CPU crashes by damaged files only,
    /// and a model is opened twice at its first start then.
    pub cpu_too: bool,
}

impl Host {
    /// Everything below `folder`, where `lapwing` with its `LAPWING_HOME` keeps the same. Devices are
    /// not tried: see [`Trials::worker`].
    pub fn below(folder: &Path) -> Host {
        // A change of the working folder changes nothing.
        let folder = &std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let allowance = Allowance::of_this_process();
        Host {
            store: StoreOptions::below(folder),
            cache: folder.join("cache"),
            profiles: folder.join("profiles"),
            recommendations: Some(folder.join("recommendations.json")),
            trials: Trials { worker: None, limits: TrialLimits::usual(&allowance), cpu_too: false },
            library_path: None,
            allowance,
        }
    }

    /// The folder of compiled models, there or not.
    pub fn compiled_models(&self) -> PathBuf {
        self.cache.join("openvino")
    }

    /// What came of trials.
    pub fn ledger(&self) -> Ledger {
        Ledger::new(&self.cache)
    }

    /// This machine, as the libraries of this host see it.
    pub fn machine(&self) -> Machine {
        let openvino = locate(Runtime::OpenVino, &self.store).ok();
        let folder = openvino.as_ref().and_then(|located| located.path.parent());
        Machine::here(folder, self.library_path.as_deref())
    }
}
