//! Where a runtime is: an installed one that the user points to, else the one in our home.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use lapwing_files::regular;

use crate::options::{Origin, Pointer, StoreOptions};

use super::{Native, Runtime};

/// Folders below an OpenVINO installation that hold `libopenvino_c.so`: the folder itself, the
/// archives (`runtime/lib/…`), system packages (`lib/…`), an unpacked or installed wheel.
const OPENVINO_SUBFOLDERS: [&str; 9] = [
    "",
    "runtime/lib/intel64",
    "runtime/lib/aarch64",
    "runtime/lib/arm64",
    "lib",
    "lib64",
    "lib/x86_64-linux-gnu",
    "libs",
    "openvino/libs",
];
/// The same for ONNX Runtime.
const ONNXRUNTIME_SUBFOLDERS: [&str; 5] = ["", "lib", "lib64", "capi", "onnxruntime/capi"];

/// A library that can be given to the loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The library file.
    pub path: PathBuf,
    /// Who said so.
    pub source: Source,
}

/// Who said where a runtime is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The user, in the environment or in the settings file.
    User(Origin),
    /// `lapwing pull` put it there.
    Home,
}

/// Why a runtime was not found.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum LocateError {
    /// The user points somewhere where it is not.
    #[error(
        "no {} in {}, where the {origin} points", runtime.library(), path.display()
    )]
    Pointer { runtime: Native, path: PathBuf, origin: Origin },
    /// The library is cut off: loading it would end the process.
    #[error("{} is cut off: its header tells of {expected} bytes, it has {found}", path.display())]
    CutOff { runtime: Native, path: PathBuf, expected: u64, found: u64 },
    /// It was never fetched, and the user points nowhere.
    #[error("{runtime} is not installed: no {} in {}", runtime.library(), folder.display())]
    Missing {
        runtime: Native,
        /// Where `lapwing pull` would put it.
        folder: PathBuf,
    },
}

/// The library of `runtime`. Fetches nothing and loads nothing.
///
/// # Errors
///
/// When the user points to a place without it, or it was never fetched.
pub fn locate(runtime: impl Into<Native>, options: &StoreOptions) -> Result<Located, LocateError> {
    let runtime = runtime.into();
    let located = find(runtime, options)?;
    match missing_bytes(&located.path) {
        Some((expected, found)) => {
            Err(LocateError::CutOff { runtime, path: located.path, expected, found })
        }
        None => Ok(located),
    }
}

/// How long a 64-bit little-endian ELF file says that it is, and how long it is, when it is
/// shorter. The section table is at its end; the system's loader maps a cut-off file all the same
/// and the process dies when it reads beyond.
fn missing_bytes(library: &Path) -> Option<(u64, u64)> {
    const N_HEADER_BYTES: usize = 64;
    let mut header = [0; N_HEADER_BYTES];
    let mut file = regular::open(library).ok()?;
    file.read_exact(&mut header).ok()?;
    let found = file.metadata().ok()?.len();
    let is_elf = header.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]);
    let number = |range: std::ops::Range<usize>| {
        header[range].iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte))
    };
    // e_shoff, e_shentsize and e_shnum of the ELF header.
    let expected = number(0x28..0x30).saturating_add(number(0x3a..0x3c) * number(0x3c..0x3e));
    (is_elf && found < expected).then_some((expected, found))
}

fn find(runtime: Native, options: &StoreOptions) -> Result<Located, LocateError> {
    let pointer = match runtime {
        Native::Runtime(Runtime::OnnxRuntime) => &options.pointers.onnxruntime,
        Native::Runtime(Runtime::OpenVino) => &options.pointers.openvino,
        Native::OrtPlugin => &None,
    };
    if let Some(Pointer { path, origin }) = pointer {
        let found = at_pointer(runtime, path).ok_or_else(|| LocateError::Pointer {
            runtime,
            path: path.clone(),
            origin: origin.clone(),
        })?;
        return Ok(Located { path: found, source: Source::User(origin.clone()) });
    }
    let folder = runtime.folder(options);
    match in_folder(runtime, &folder) {
        Some(path) => Ok(Located { path, source: Source::Home }),
        None => Err(LocateError::Missing { runtime, folder }),
    }
}

fn at_pointer(runtime: Native, path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_path_buf());
    }
    let subfolders: &[&str] = match runtime {
        Native::Runtime(Runtime::OnnxRuntime) => &ONNXRUNTIME_SUBFOLDERS,
        Native::Runtime(Runtime::OpenVino) => &OPENVINO_SUBFOLDERS,
        Native::OrtPlugin => &[""],
    };
    subfolders.iter().find_map(|subfolder| in_folder(runtime, &path.join(subfolder)))
}

/// The library in exactly this folder: the unversioned name, else the highest versioned one.
pub(super) fn in_folder(runtime: Native, folder: &Path) -> Option<PathBuf> {
    let plain = folder.join(runtime.library());
    if plain.is_file() {
        return Some(plain);
    }
    let versioned = format!("{}.", runtime.library());
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&versioned))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .max_by_key(|path| version_of(path))
}

/// `libonnxruntime.so.1.31.1` as `[1, 31, 1]`.
fn version_of(path: &Path) -> Vec<u64> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let version = name.split_once(".so.").map_or("", |(_, version)| version);
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_off_library_is_told_before_it_is_loaded() {
        // This test's own program is an ELF file on the systems where it matters.
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &whole).unwrap();
        assert_eq!(missing_bytes(file.path()), None);
        std::fs::write(file.path(), &whole[..100_000]).unwrap();
        let is_elf = whole.starts_with(b"\x7fELF");
        assert_eq!(missing_bytes(file.path()).is_some(), is_elf);
        std::fs::write(file.path(), "no library").unwrap();
        assert_eq!(missing_bytes(file.path()), None);
    }

    #[test]
    fn layouts_of_installations() {
        let check = |runtime: Runtime, files: &[&str], expected: Option<&str>| {
            let root = tempfile::tempdir().unwrap();
            for file in files {
                let path = root.path().join(file);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "").unwrap();
            }
            let found = at_pointer(runtime.into(), root.path());
            let expected = expected.map(|path| root.path().join(path));
            assert_eq!(found, expected, "{files:?}");
        };
        let openvino = Runtime::OpenVino;
        check(openvino, &[], None);
        check(openvino, &["libopenvino_c.so.2641"], Some("libopenvino_c.so.2641"));
        check(
            openvino,
            &["runtime/lib/intel64/libopenvino_c.so", "runtime/lib/intel64/libopenvino_c.so.2641"],
            Some("runtime/lib/intel64/libopenvino_c.so"),
        );
        check(openvino, &["libs/libopenvino_c.so.2641"], Some("libs/libopenvino_c.so.2641"));
        check(openvino, &["libopenvino.so.2641"], None);
        check(
            Runtime::OnnxRuntime,
            &["lib/libonnxruntime.so.1.9.0", "lib/libonnxruntime.so.1.31.1"],
            Some("lib/libonnxruntime.so.1.31.1"),
        );
    }
}
