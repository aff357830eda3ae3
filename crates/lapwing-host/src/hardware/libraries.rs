//! Shared libraries, found where the system's loader would find them.
//!
//! The loader itself reads `/etc/ld.so.cache`. That is made from `/etc/ld.so.conf` and the usual
//! folders, and these are looked through here: they say the same wherever `ldconfig` was run after
//! the last installation, and are text of a documented form. A file counts when it is made for this
//! processor, so that the 32-bit libraries of other folders do not.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};

use super::{Machine, nodes};

/// Folders that every loader knows, `{}` being the processor.
const USUAL_FOLDERS: [&str; 6] =
    ["/lib/{}-linux-gnu", "/usr/lib/{}-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];

/// What to say of a library that is nowhere.
pub(super) const NOT_FOUND: &str = "not found where the loader looks";

/// How deep `ld.so.conf` may include other files.
const N_INCLUDES_MAX: usize = 4;

/// The folders of the loader, in its order.
#[derive(Debug)]
pub(super) struct Libraries {
    folders: Vec<PathBuf>,
}

impl Libraries {
    /// The folders of a machine: beside OpenVINO, whose plugins look there first, those of
    /// `LD_LIBRARY_PATH`, those of the configuration, the usual ones.
    pub(super) fn new(machine: &Machine) -> Libraries {
        let mut folders: Vec<PathBuf> = machine.openvino.iter().cloned().collect();
        folders.extend(machine.library_folders.iter().map(|folder| machine.below(folder)));
        configured(machine, &machine.below("/etc/ld.so.conf"), N_INCLUDES_MAX, &mut folders);
        let usual = USUAL_FOLDERS.iter().map(|name| name.replace("{}", std::env::consts::ARCH));
        folders.extend(usual.map(|folder| machine.below(folder)));
        Libraries { folders }
    }

    /// The first library of this name that this process could load.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        self.folders.iter().map(|folder| folder.join(name)).find(|path| fits(path))
    }
}

/// The folders of `LD_LIBRARY_PATH`.
pub(super) fn split(library_path: &OsStr) -> Vec<PathBuf> {
    std::env::split_paths(library_path).filter(|folder| folder.is_absolute()).collect()
}

/// Add the folders that a file of the loader's configuration names, and those of files it
/// includes.
fn configured(machine: &Machine, file: &Path, n_includes: usize, folders: &mut Vec<PathBuf>) {
    let Ok(text) = regular::read_text(file, N_TEXT_BYTES_MAX) else { return };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line.strip_prefix("include").filter(|rest| rest.starts_with([' ', '\t'])) {
            Some(pattern) if n_includes > 0 => {
                // A pattern without a folder is meant beside the file.
                let pattern = Path::new("/etc").join(pattern.trim());
                for included in matching(&machine.below(pattern)) {
                    configured(machine, &included, n_includes - 1, folders);
                }
            }
            None if line.starts_with('/') => folders.push(machine.below(line)),
            _ => {}
        }
    }
}

/// The files that fit a pattern whose last part may have one star.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some((start, end)) = name.split_once('*') else { return vec![pattern.to_owned()] };
    let Some(folder) = pattern.parent() else { return Vec::new() };
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        start.len() + end.len() <= name.len() && name.starts_with(start) && name.ends_with(end)
    };
    nodes::entries(folder).filter(fits).collect()
}

/// Whether a file is there and is a library for this processor.
pub(super) fn fits(path: &Path) -> bool {
    const N_HEADER_BYTES: usize = 20;
    let mut header = [0; N_HEADER_BYTES];
    let read = regular::open(path).and_then(|mut file| file.read_exact(&mut header));
    // e_machine of the ELF header; 64 bits, little end first.
    let machine = u16::from_le_bytes([header[18], header[19]]);
    let is_ours = match std::env::consts::ARCH {
        "x86_64" => machine == 62,
        "aarch64" => machine == 183,
        _ => true,
    };
    read.is_ok() && header.starts_with(b"\x7fELF\x02\x01") && is_ours
}

/// The version that the name of the real file ends in: `libze_loader.so.1.17.17` behind a link.
pub(super) fn version(path: &Path) -> Option<Vec<u64>> {
    let real = std::fs::canonicalize(path).ok()?;
    let name = real.file_name()?.to_str()?;
    let (_, version) = name.split_once(".so.")?;
    let parts: Option<Vec<u64>> = version.split('.').map(|part| part.parse().ok()).collect();
    parts.filter(|parts| parts.len() > 1)
}
