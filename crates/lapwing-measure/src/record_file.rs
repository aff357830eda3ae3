//! Files of records: one a line, appended under a lock, whole or not at all.
//!
//! `profiles/<host>/<date>.jsonl` by convention; see [`path_below`].

use std::path::{Path, PathBuf};

use crate::record::Record;

mod append;
mod folder;
mod read;
mod select;
mod visit;

pub use append::{AppendError, append, append_while};
pub use folder::{ReadFolderError, keep_first_of_each, read_all, read_folder};
pub use read::{BAD_LINES_MAX, ReadFileError, RecordLineError, Take, read};
pub use select::{SelectRecordsError, Selected, keep_run, select, select_all};
pub use visit::visit_all;

/// How a record file's name ends.
pub const EXTENSION: &str = "jsonl";

/// The largest record file that is appended to or read, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 30;

/// The bytes of a host's name that a folder's name is made of.
const HOST_BYTES_MAX: usize = 64;

/// Where a record belongs: `<profiles>/<host>/<date>.jsonl`.
///
/// Whatever the host calls itself, the folder is one right below `profiles`.
pub fn path_below(profiles: &Path, record: &Record) -> PathBuf {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let plain = |byte: u8| if is_plain(&byte) { byte.into() } else { '_' };
    let host: String = record.host.bytes().take(HOST_BYTES_MAX).map(plain).collect();
    let host = match host.trim_start_matches('.') {
        "" => "unknown",
        host => host,
    };
    // A record has a valid time, or it is never written.
    let date = record.measured_at.get(..10).unwrap_or("undated");
    profiles.join(host).join(date).with_extension(EXTENSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples;

    #[test]
    fn a_record_belongs_to_its_host_and_day() {
        let check = |host: &str, expected: &str| {
            let record = Record { host: host.to_owned(), ..samples::decode() };
            assert_eq!(path_below(Path::new("p"), &record), Path::new(expected), "{host}");
        };
        check("laptop-7.local", "p/laptop-7.local/2026-11-21.jsonl");
        check("a b/c\\d", "p/a_b_c_d/2026-11-21.jsonl");
        check("../../etc", "p/_.._etc/2026-11-21.jsonl");
        check("..", "p/unknown/2026-11-21.jsonl");
        check("", "p/unknown/2026-11-21.jsonl");
        check("\0é", "p/___/2026-11-21.jsonl");
        let long = "h".repeat(300);
        check(&long, &format!("p/{}/2026-11-21.jsonl", "h".repeat(64)));
    }
}
