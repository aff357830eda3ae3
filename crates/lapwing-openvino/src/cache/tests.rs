use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use lapwing_backend::{CacheOutcome, Device};
use lapwing_formats::Map;

use super::entry::RECORD_FILE;
use super::place::files_of;
use super::*;

/// A model that the pretended library compiled.
#[derive(Debug)]
struct Model {
    text: String,
    is_from_cache: bool,
    /// Whether the library says where it is from.
    tells: bool,
    row: Vec<f32>,
}

impl Compiled for Model {
    type Error = String;

    fn first_row(&self) -> Result<Vec<f32>, String> {
        match self.row.is_empty() {
            true => Err("it does not infer".to_owned()),
            false => Ok(self.row.clone()),
        }
    }

    fn is_from_cache(&self) -> Option<bool> {
        self.tells.then_some(self.is_from_cache)
    }
}

/// What the pretended library does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// It writes nothing and goes on, as OpenVINO does on a full disk.
    WritesNothing,
    /// It fails, and names the folder.
    FailsInFolder,
    /// It fails whenever something is in the folder.
    FailsToRead,
    /// It cannot compile the model.
    Refuses,
    /// It does not take what is there, and writes under another name.
    TakesNothing,
    /// What it takes of what is there gives NaN.
    GivesNan,
    /// What it takes of what is there cannot infer, what it compiles can.
    FailsToInferWhatIsThere,
    /// Nothing can infer.
    FailsToInfer,
}

/// A folder for a cache, and a library that compiles into it.
struct Case {
    root: tempfile::TempDir,
    weights: Map,
    kind: DeviceKind,
    tells: bool,
    fault: Cell<Fault>,
    /// The folders of the calls: `-` for none, `partial` or `entry`.
    calls: RefCell<Vec<&'static str>>,
}

impl Case {
    fn new() -> Case {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("model.bin"), "weights").unwrap();
        let weights = Map::open(&root.path().join("model.bin")).unwrap();
        let (fault, calls) = (Cell::default(), RefCell::default());
        Case { root, weights, kind: DeviceKind::Cpu, tells: true, fault, calls }
    }

    fn cache(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    /// The only entry's folder.
    fn folder(&self) -> PathBuf {
        let entries = entries(&self.cache());
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].folder.clone()
    }

    fn compile(&self, folder: Option<&Path>) -> Result<Model, String> {
        let is_partial = |folder: &Path| folder.extension().is_some_and(|e| e == "partial");
        self.calls.borrow_mut().push(match folder {
            None => "-",
            Some(folder) if is_partial(folder) => "partial",
            Some(_) => "entry",
        });
        let fault = self.fault.get();
        let tells = self.tells;
        let model = |is_from_cache| {
            let row = match fault {
                Fault::GivesNan if is_from_cache => vec![f32::NAN; 2],
                Fault::FailsToInferWhatIsThere if is_from_cache => Vec::new(),
                Fault::FailsToInfer => Vec::new(),
                _ => vec![0.5, -0.5],
            };
            Model { text: "compiled".to_owned(), is_from_cache, tells, row }
        };
        if fault == Fault::Refuses {
            return Err("no such operation".to_owned());
        }
        let Some(folder) = folder else { return Ok(model(false)) };
        let mut blob = folder.join("1.blob");
        let is_there = blob.exists();
        match fault {
            Fault::FailsInFolder => return Err(format!("cannot open {}", blob.display())),
            Fault::WritesNothing if !is_there => return Ok(model(false)),
            Fault::FailsToRead if is_there => return Err("bad blob".to_owned()),
            Fault::TakesNothing if is_there => blob = folder.join("2.blob"),
            _ if is_there => return Ok(model(true)),
            _ => {}
        }
        std::fs::write(blob, "compiled").unwrap();
        Ok(model(false))
    }

    fn open(&self) -> Result<Cached<Model>, String> {
        let device = Device { kind: self.kind, id: "CPU".to_owned(), name: "Xeon".to_owned() };
        let facts = KeyFacts {
            library_version: "2026.4.1",
            device: &device,
            driver_version: None,
            graph_file: Path::new("/models/a.xml"),
            graph_xml: "<net/>",
            weights: &self.weights,
            feeding: &[],
            properties: &[],
        };
        self.calls.borrow_mut().clear();
        compile_through(&self.cache(), &facts, &mut |folder| self.compile(folder))
    }

    /// Open the model; the outcome in a few words, and the calls of the library.
    #[track_caller]
    fn check(&self, expected: &str, calls: &[&str]) {
        let cached = self.open().unwrap();
        assert_eq!(cached.compiled.text, "compiled");
        let found = match cached.cache_use.outcome {
            CacheOutcome::Hit => "hit".to_owned(),
            CacheOutcome::Stored => "stored".to_owned(),
            CacheOutcome::Rebuilt { why } => format!("rebuilt: {why}"),
            CacheOutcome::NotStored { why } => format!("not stored: {why}"),
        };
        assert!(found.contains(expected), "{found} instead of {expected}");
        assert_eq!(*self.calls.borrow(), calls);
        let is_kept = !found.starts_with("not");
        assert_eq!(cached.cache_use.n_bytes, if is_kept { 8 } else { 0 });
        assert_eq!(cached.lease.is_some(), is_kept);
        // Whatever happened, nothing is left over.
        let entries = std::fs::read_dir(self.cache()).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().into_string().unwrap();
            assert!(!name.contains("partial"), "{name} is left");
        }
        if is_kept {
            assert_eq!(cached.cache_use.folder, self.folder());
        }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder().join(name), text).unwrap();
    }
}

#[test]
fn a_model_is_compiled_once() {
    let case = Case::new();
    case.check("stored", &["partial"]);
    case.check("hit", &["entry"]);
    case.check("hit", &["entry"]);
    let [entry] = &entries(&case.cache())[..] else { panic!("one entry") };
    let record = entry.record.as_ref().unwrap();
    assert_eq!((entry.state.clone(), record.blobs.len()), (EntryState::Ready, 1));
}

#[test]
fn an_open_model_keeps_its_entry() {
    let case = Case::new();
    for _ in 0..2 {
        let cached = case.open().unwrap();
        assert!(trim(&case.cache(), 0).is_empty());
        assert_eq!(entries(&case.cache())[0].state, EntryState::InUse);
        drop(cached);
    }
    assert_eq!(trim(&case.cache(), 0).len(), 1);
}

#[test]
fn what_cannot_be_right_is_not_given_to_the_library() {
    let case = Case::new();
    case.check("stored", &["partial"]);
    case.write("1.blob", "compilex");
    case.check("rebuilt: 1.blob is damaged", &["partial"]);
    case.check("hit", &["entry"]);
    case.write("1.blob", "comp");
    case.check("rebuilt: 1.blob has 4 bytes", &["partial"]);
    case.write("2.blob", "foreign");
    case.check("rebuilt: 2.blob is none", &["partial"]);
    case.write(RECORD_FILE, "{");
    case.check("rebuilt: entry.json is damaged", &["partial"]);
    std::fs::remove_file(case.folder().join(RECORD_FILE)).unwrap();
    case.check("rebuilt: entry.json", &["partial"]);
    case.check("hit", &["entry"]);
}

#[test]
fn what_the_library_cannot_use_is_compiled_anew() {
    let case = Case::new();
    case.check("stored", &["partial"]);
    case.fault.set(Fault::FailsToRead);
    case.check("rebuilt: OpenVINO cannot use it: bad blob", &["entry", "partial"]);
    case.fault.set(Fault::None);
    case.check("hit", &["entry"]);
}

#[test]
fn what_computes_something_else_than_what_went_in_is_never_used_nor_stored_again() {
    for (kind, fault, found) in [
        (DeviceKind::Cpu, Fault::GivesNan, "logit 0 is NaN instead of 0.5"),
        (DeviceKind::Cpu, Fault::FailsToInferWhatIsThere, "it does not infer"),
        (DeviceKind::Gpu, Fault::GivesNan, "logit 0 is NaN instead of 0.5"),
    ] {
        let case = Case { kind, ..Case::new() };
        if kind == DeviceKind::Cpu {
            case.check("stored", &["partial"]);
        }
        case.fault.set(fault);
        let why = format!(
            "not stored: what OpenVINO gives back of its own cache computes \
                           something else: {found}"
        );
        // A GPU's model is taken out of the cache at once.
        let first: &[&str] = match kind {
            DeviceKind::Cpu => &["entry", "-"],
            _ => &["partial", "entry", "-"],
        };
        case.check(&why, first);
        case.check(&why, &["-"]);
        // Also when the library would be right by now: its version would be another.
        case.fault.set(Fault::None);
        case.check(&why, &["-"]);
        assert!(files_of(&case.folder()).is_empty());
        let entries = entries(&case.cache());
        assert_eq!(entries[0].state, EntryState::Ready);
        remove(&case.cache(), &entries[0]).unwrap();
        let calls: &[&str] =
            if kind == DeviceKind::Cpu { &["partial"] } else { &["partial", "entry"] };
        case.check("stored", calls);
    }
}

#[test]
fn what_came_out_right_once_is_not_asked_again() {
    let case = Case::new();
    case.check("stored", &["partial"]);
    case.check("hit", &["entry"]);
    // Whoever asked would find out.
    case.fault.set(Fault::FailsToInferWhatIsThere);
    case.check("hit", &["entry"]);
    // What is compiled anew was never asked.
    case.write("1.blob", "compilex");
    case.check("rebuilt: 1.blob is damaged", &["partial"]);
    case.check("not stored: what OpenVINO gives back", &["entry", "-"]);
}

#[test]
fn a_model_that_cannot_infer_leaves_nothing() {
    let case = Case::new();
    case.fault.set(Fault::FailsToInfer);
    assert_eq!(case.open().unwrap_err(), "it does not infer");
    assert!(entries(&case.cache()).is_empty());
    case.fault.set(Fault::None);
    case.check("stored", &["partial"]);
}

#[test]
fn what_the_library_does_not_take_is_replaced_by_what_it_wrote() {
    let case = Case::new();
    case.check("stored", &["partial"]);
    case.check("hit", &["entry"]);
    case.fault.set(Fault::TakesNothing);
    case.check("rebuilt: OpenVINO did not take it", &["entry"]);
    let files: Vec<_> = files_of(&case.folder()).into_keys().collect();
    assert_eq!(files, ["2.blob"], "the old one is gone");
}

#[test]
fn what_the_library_never_took_is_not_written_at_every_start() {
    for tells in [true, false] {
        let case = Case { tells, ..Case::new() };
        case.check("stored", &["partial"]);
        case.fault.set(Fault::TakesNothing);
        case.check("not stored: OpenVINO does not take what it wrote of this model", &["entry"]);
        assert!(files_of(&case.folder()).is_empty());
        case.check("not stored: OpenVINO does not take what it wrote of this model", &["-"]);
    }
}

#[test]
fn a_library_that_does_not_say_is_judged_by_what_it_wrote() {
    let case = Case { tells: false, ..Case::new() };
    case.check("stored", &["partial"]);
    case.check("hit", &["entry"]);
    case.fault.set(Fault::TakesNothing);
    case.check("rebuilt: OpenVINO did not take it", &["entry"]);
}

#[test]
fn a_model_that_cannot_be_compiled_leaves_nothing() {
    let case = Case::new();
    case.fault.set(Fault::Refuses);
    assert_eq!(case.open().unwrap_err(), "no such operation");
    assert_eq!(*case.calls.borrow(), ["partial"], "it is not tried twice");
    assert!(entries(&case.cache()).is_empty());
    // Nor does it take away what was there.
    case.fault.set(Fault::None);
    case.check("stored", &["partial"]);
    case.fault.set(Fault::Refuses);
    case.open().unwrap_err();
    case.fault.set(Fault::None);
    case.check("hit", &["entry"]);
}

#[test]
fn what_cannot_be_written_is_compiled_all_the_same() {
    let case = Case::new();
    case.fault.set(Fault::WritesNothing);
    case.check("not stored: OpenVINO wrote nothing", &["partial"]);
    case.fault.set(Fault::FailsInFolder);
    case.check("not stored: cannot open", &["partial", "-"]);
    case.fault.set(Fault::None);
    case.check("stored", &["partial"]);
    // A damaged entry that cannot be replaced does not stay.
    case.write("1.blob", "compilex");
    case.fault.set(Fault::WritesNothing);
    case.check("not stored", &["partial"]);
    assert!(entries(&case.cache()).is_empty());
    let blocked = Case::new();
    std::fs::write(blocked.cache(), "a file").unwrap();
    blocked.check("not stored: cannot make", &["-"]);
}

/// No process may write there, not even that of an administrator.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_takes_no_files_is_no_error() {
    let case = Case::new();
    std::os::unix::fs::symlink("/proc/self/task", case.cache()).unwrap();
    let cached = case.open().unwrap();
    let CacheOutcome::NotStored { why } = cached.cache_use.outcome else {
        panic!("{:?}", cached.cache_use)
    };
    assert!(why.contains("cannot write in"), "{why}");
    assert_eq!(*case.calls.borrow(), ["-"]);
}

/// As on a read-only disk: the lock is a folder, so it cannot be opened.
#[test]
fn an_entry_that_cannot_be_locked_is_still_used() {
    let case = Case::new();
    case.check("stored", &["partial"]);
    let lock = lock_path(&case.cache(), &entries(&case.cache())[0].key);
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    case.check("hit", &["entry"]);
    case.write("1.blob", "compilex");
    case.check("not stored: 1.blob is damaged, and cannot write in", &["-"]);
    std::fs::remove_dir_all(case.folder()).unwrap();
    case.check("not stored: cannot write in", &["-"]);
}

#[test]
fn what_a_killed_process_left_is_taken_for_nothing() {
    let case = Case::new();
    case.check("stored", &["partial"]);
    let folder = case.folder();
    let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
    // Killed while the library wrote, and after it wrote.
    for (pid, has_record) in [(1, false), (2, true)] {
        let partial = case.cache().join(format!(".{name}.{pid}.partial"));
        std::fs::create_dir(&partial).unwrap();
        std::fs::write(partial.join("1.blob"), "comp").unwrap();
        if has_record {
            std::fs::copy(folder.join(RECORD_FILE), partial.join(RECORD_FILE)).unwrap();
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(entries(&case.cache()).is_empty());
    // `check` finds that they are gone.
    case.check("stored", &["partial"]);
    // Between the removal of a bad entry and its replacement.
    std::fs::remove_file(case.folder().join(RECORD_FILE)).unwrap();
    case.check("rebuilt", &["partial"]);
}

#[test]
fn a_gpu_runs_out_of_a_folder_that_stays() {
    let case = Case { kind: DeviceKind::Gpu, ..Case::new() };
    case.check("stored", &["partial", "entry"]);
    case.check("hit", &["entry"]);
    case.write("1.blob", "compilex");
    case.fault.set(Fault::WritesNothing);
    case.check("not stored", &["partial", "-"]);
    case.fault.set(Fault::FailsToRead);
    case.check("not stored: bad blob", &["partial", "entry", "-"]);
    assert!(entries(&case.cache()).is_empty());
}

#[test]
fn of_two_at_once_one_compiles_and_the_other_waits() {
    let case = Case::new();
    let (cache, weights) = (case.cache(), case.weights.clone());
    let begin = Arc::new(Barrier::new(2));
    let open = || {
        let (cache, weights, begin) = (cache.clone(), weights.clone(), Arc::clone(&begin));
        std::thread::spawn(move || {
            let device =
                Device { kind: DeviceKind::Cpu, id: "CPU".to_owned(), name: String::new() };
            let facts = KeyFacts {
                library_version: "2026.4.1",
                device: &device,
                driver_version: None,
                graph_file: Path::new("a.xml"),
                graph_xml: "<net/>",
                weights: &weights,
                feeding: &[],
                properties: &[],
            };
            begin.wait();
            let compile = &mut |folder: Option<&Path>| -> Result<Model, String> {
                let blob = folder.unwrap().join("1.blob");
                let is_from_cache = blob.exists();
                // Half of it is there for a while.
                std::fs::write(&blob, "comp").unwrap();
                std::thread::sleep(Duration::from_millis(50));
                std::fs::write(&blob, "compiled").unwrap();
                let (text, row) = ("compiled".to_owned(), vec![0.5]);
                Ok(Model { text, is_from_cache, tells: true, row })
            };
            compile_through(&cache, &facts, compile).unwrap().cache_use.outcome
        })
    };
    let both = [open(), open()].map(|thread| thread.join().unwrap());
    assert!(both.contains(&CacheOutcome::Stored) && both.contains(&CacheOutcome::Hit), "{both:?}");
}
