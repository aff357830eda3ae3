//! What the program does, written where it survives the program.
//!
//! A page of memory that guard and guarded share as a file: the number of the last token of an
//! answer, and one line of JSON about the stage, each written by one call that costs about a
//! microsecond. Without a guard nothing is written. Before both the guard writes how many signals it
//! has passed on.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use lapwing_files::Identity;
use serde::{Deserialize, Serialize};

use crate::trial::Stage;

/// Files of a model whose identity is kept, at most: for a message only.
const N_FILES_MAX: usize = 100;
/// Folders below a model's own that are looked into: `onnx`.
const DEPTH_MAX: usize = 1;
/// The number of the token, behind the one of signals.
const TOKEN_AT: u64 = 8;
/// Bytes of each number.
const N_NUMBER_BYTES: usize = 8;
/// A longer page is not ours.
const PAGE_BYTES_MAX: u64 = 1 << 20;

/// What the program does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {
    /// How far it has come.
    pub stage: Stage,
    /// The models and checkpoints that were opened last, the latest at the end.
    pub models: Vec<Opened>,
    /// What it ends with; counts at the end only.
    pub exit_code: u8,
    /// Tokens of the present answer.
    #[serde(skip)]
    pub n_tokens: u64,
}

/// A model or a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Where it is, as it is shown: a name need not be UTF-8, the page is.
    pub path: PathBuf,
    /// The library, its version and the device, where one runs it.
    pub with: Option<String>,
    /// Its files, as they were then; without those whose names are not UTF-8.
    pub files: Vec<(PathBuf, Identity)>,
}

impl Doing {
    const NOTHING: Doing =
        Doing { stage: Stage::Start, models: Vec::new(), exit_code: 0, n_tokens: 0 };
}

/// Where this process writes; empty without a guard.
static WRITTEN: OnceLock<Written> = OnceLock::new();

/// Write to the page at `path` from now on. Where that cannot be, the guard knows less.
pub(super) fn write_to(path: &Path) {
    if let Ok(written) = Written::to(path) {
        let _ = WRITTEN.set(written);
    }
}

/// The model or the checkpoint at `path` is read from now on. Of what is used with another one, as a
/// model with its reference, both are kept.
pub fn reads(path: &Path) {
    WRITTEN.get().into_iter().for_each(|written| written.reads(path));
}

/// A stage of opening a model begins, with a library; the path of the model is that of
/// [`reads`].
pub fn begins(stage: Stage, with: &str) {
    WRITTEN.get().into_iter().for_each(|written| written.begins(stage, with));
}

/// The model is open, and used.
pub fn runs() {
    WRITTEN.get().into_iter().for_each(Written::runs);
}

/// The present answer has so many tokens.
pub fn answers(n_tokens: usize) {
    WRITTEN.get().into_iter().for_each(|written| written.answers(n_tokens));
}

/// The work is done; what is left is to end with this code.
pub fn ends(exit_code: u8) {
    WRITTEN.get().into_iter().for_each(|written| written.ends(exit_code));
}

/// How many signals the guard has passed on; nothing without a guard, or where that cannot be read.
#[cfg(unix)]
pub fn n_passed_on() -> Option<u64> {
    let mut number = [0; N_NUMBER_BYTES];
    let page = &WRITTEN.get()?.page;
    std::os::unix::fs::FileExt::read_exact_at(page, &mut number, 0).ok()?;
    Some(u64::from_le_bytes(number))
}

/// The page as the guarded process has it.
struct Written {
    page: File,
    doing: Mutex<Doing>,
}

impl Written {
    fn to(path: &Path) -> io::Result<Written> {
        let page = File::options().read(true).write(true).open(path)?;
        let written = Written { page, doing: Mutex::new(Doing::NOTHING) };
        written.change(|_| {});
        Ok(written)
    }

    fn reads(&self, path: &Path) {
        self.change(|doing| {
            let n_kept = usize::from(doing.stage == Stage::Run).min(doing.models.len());
            doing.models.drain(..doing.models.len() - n_kept);
            let shown = path.to_string_lossy().into_owned().into();
            doing.models.push(Opened { path: shown, with: None, files: identities(path) });
            doing.stage = Stage::Files;
        });
    }

    fn begins(&self, stage: Stage, with: &str) {
        match stage {
            Stage::Files => self.reads(with.as_ref()),
            _ => self.change(|doing| {
                doing.stage = stage;
                if let Some(opened) = doing.models.last_mut() {
                    opened.with = Some(with.to_owned());
                }
            }),
        }
    }

    fn runs(&self) {
        self.change(|doing| doing.stage = Stage::Run);
    }

    fn answers(&self, n_tokens: usize) {
        let n_tokens = u64::try_from(n_tokens).unwrap_or(u64::MAX);
        // Whoever guards knows less then.
        let _ = write_at(&self.page, &n_tokens.to_le_bytes(), TOKEN_AT);
    }

    fn ends(&self, exit_code: u8) {
        self.change(|doing| {
            doing.stage = Stage::End;
            doing.exit_code = exit_code;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Doing)) {
        let mut doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut doing);
        let written = serde_json::to_vec(&*doing).map_err(io::Error::from).and_then(|json| {
            let bytes = [&[0; N_NUMBER_BYTES], &json[..], b"\n"].concat();
            write_at(&self.page, &bytes, TOKEN_AT)
        });
        if written.is_err() {
            // What was written before is no longer so: better that nothing is known.
            let _ = self.page.set_len(TOKEN_AT);
        }
    }
}

#[cfg(unix)]
fn write_at(page: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(page, bytes, at)
}

#[cfg(not(unix))]
fn write_at(page: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    use std::io::{Seek as _, SeekFrom, Write as _};
    let mut page = page;
    page.seek(SeekFrom::Start(at))?;
    page.write_all(bytes)
}

/// The files at `path`, or in the folder at `path`.
fn identities(path: &Path) -> Vec<(PathBuf, Identity)> {
    let mut found = Vec::new();
    add_identities(path, DEPTH_MAX, &mut found);
    found
}

fn add_identities(path: &Path, depth: usize, found: &mut Vec<(PathBuf, Identity)>) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    if metadata.is_file() && found.len() < N_FILES_MAX && path.to_str().is_some() {
        found.push((path.to_owned(), Identity::of(&metadata)));
    }
    if !metadata.is_dir() {
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match depth.checked_sub(1) {
            None if is_folder => {}
            less => add_identities(&entry.path(), less.unwrap_or(0), found),
        }
    }
}

/// The page as the guard has it.
pub(super) struct Page {
    path: PathBuf,
    kept: Kept,
}

#[cfg(target_os = "linux")]
type Kept = File;
#[cfg(not(target_os = "linux"))]
type Kept = tempfile::NamedTempFile;

impl Page {
    /// An empty page; `None` when the system has none.
    pub(super) fn new() -> Option<Page> {
        let page = kept().and_then(|page| {
            write_at(page.file(), &[0; N_NUMBER_BYTES], 0)?;
            Ok(page)
        });
        page.inspect_err(|error| tracing::debug!(%error, "no page to share")).ok()
    }

    /// Where the guarded process finds it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// So many signals are passed on, with the one that comes now.
    #[cfg(unix)]
    pub(super) fn passes_on(&self, n_signals: u64) {
        // Whoever is guarded counts by himself then.
        let _ = write_at(self.file(), &n_signals.to_le_bytes(), 0);
    }

    /// What was written last.
    pub(super) fn read(&self) -> Option<Doing> {
        parse(&contents(self.file()).ok()?)
    }

    #[cfg(target_os = "linux")]
    fn file(&self) -> &File {
        &self.kept
    }

    #[cfg(not(target_os = "linux"))]
    fn file(&self) -> &File {
        self.kept.as_file()
    }
}

/// In memory, without a name: nothing is left of it however the two processes end. The other one
/// inherits it under the same number.
#[cfg(target_os = "linux")]
fn kept() -> io::Result<Page> {
    use std::os::fd::AsRawFd as _;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    let file = File::from(memfd_create(c"lapwing-doing", MFdFlags::empty())?);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
    Ok(Page { path, kept: file })
}

#[cfg(not(target_os = "linux"))]
fn kept() -> io::Result<Page> {
    let file = tempfile::NamedTempFile::new()?;
    Ok(Page { path: file.path().to_owned(), kept: file })
}

fn contents(mut file: &File) -> io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _};
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(PAGE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<Doing> {
    let (number, line) = bytes.get(N_NUMBER_BYTES..)?.split_first_chunk()?;
    // What is behind the end of the line is of an earlier, longer one.
    let line = line.split(|&byte| byte == b'\n').next()?;
    let doing: Doing = serde_json::from_slice(line).ok()?;
    Some(Doing { n_tokens: u64::from_le_bytes(*number), ..doing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_last_is_read() {
        let page = Page::new().unwrap();
        assert_eq!(page.read(), None, "nothing was written");
        // As another process finds it.
        let written = Written::to(page.path()).unwrap();
        assert_eq!(page.read(), Some(Doing::NOTHING));
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("onnx/deeper")).unwrap();
        for file in ["config.json", "onnx/model.onnx", "onnx/deeper/not"] {
            std::fs::write(folder.path().join(file), file).unwrap();
        }
        written.begins(Stage::Files, folder.path().to_str().unwrap());
        written.begins(Stage::Compile, "openvino 2026.4.1 on cpu");
        written.answers(7);
        #[cfg(unix)]
        page.passes_on(3);
        let doing = page.read().unwrap();
        assert_eq!((doing.stage, doing.n_tokens), (Stage::Compile, 7));
        let [opened] = &doing.models[..] else { panic!("{doing:?}") };
        assert_eq!(opened.with.as_deref(), Some("openvino 2026.4.1 on cpu"));
        let mut names: Vec<_> = opened.files.iter().map(|(path, _)| path.clone()).collect();
        names.sort();
        let expected = ["config.json", "onnx/model.onnx"].map(|name| folder.path().join(name));
        assert_eq!(names, expected);
        // A shorter line, and a stage that has not answered yet.
        written.reads("/nowhere".as_ref());
        written.runs();
        let doing = page.read().unwrap();
        assert_eq!((doing.stage, doing.n_tokens, doing.models.len()), (Stage::Run, 0, 1));
        written.reads("/reference".as_ref());
        written.runs();
        let paths = |doing: Doing| doing.models.into_iter().map(|opened| opened.path);
        let both = ["/nowhere", "/reference"].map(PathBuf::from);
        assert_eq!(page.read().map(|doing| paths(doing).collect::<Vec<_>>()), Some(both.into()));
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt as _;
            let name = std::ffi::OsStr::from_bytes(b"\xff");
            std::fs::write(folder.path().join(name), "").unwrap();
            for (path, n_files) in [(folder.path(), 2), (&folder.path().join(name), 0)] {
                written.begins(Stage::Compile, "openvino");
                written.reads(path);
                let doing = page.read().unwrap();
                let [opened] = &doing.models[..] else { panic!("{doing:?}") };
                assert_eq!((doing.stage, opened.files.len()), (Stage::Files, n_files));
                assert_eq!(opened.path.to_str().unwrap(), path.to_string_lossy());
            }
        }
        written.ends(3);
        assert_eq!(page.read().map(|doing| (doing.stage, doing.exit_code)), Some((Stage::End, 3)));
    }

    #[test]
    fn a_page_that_makes_no_sense_says_nothing() {
        let numbers = [7; 2 * N_NUMBER_BYTES];
        for line in [&b""[..], b"{\n", &[0xff; 40]] {
            let bytes = [&numbers, line].concat();
            assert_eq!(parse(&bytes), None, "{bytes:?}");
        }
        for n_bytes in 0..numbers.len() {
            assert_eq!(parse(&numbers[..n_bytes]), None, "{n_bytes}");
        }
    }
}
