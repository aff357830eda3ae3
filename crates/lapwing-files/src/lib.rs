//! What the file system cannot do by itself: files and folders that appear whole or not at all,
//! locks that name their holder, hashes of large files, journals of long work, free space.
//!
//! - [`new_file`], [`new_folder`]: written under another name and renamed; what a killed process
//!   left is swept by the next one.
//! - [`regular`]: files that are looked at before they are read, and no more of them than makes sense.
//! - [`text`]: the marks in front of texts, which are none of them.
//! - [`Lock`], [`Lease`]: locks of the operating system, which end with their holder.
//! - [`checksum`]: SHA-256 with progress, CRC-32, hexadecimal digits.
//! - [`disk`]: free space, sizes of folders.
//! - [`Allowance`]: what a container lets this process have of processors and memory.
//! - [`Identity`]: whether a file is still the one that was opened.
//! - [`Journal`]: what is finished of a long piece of work, so that it can go on after a break.
//!
//! Whatever takes long asks a `&dyn Fn() -> bool` whether to stop, and says so by a variant of its
//! error. What the system refused is a [`FileError`], with the path.
//!
//! Must not know: what is in the files, settings, other crates of Lapwing. Nothing here prints or
//! reads the environment.
//!
//! One more way to write a file begins with [`new_file::NewFile`], one more lock with [`Lock`]: a
//! crate that renames, locks, hashes or reads a whole file by itself has missed this one.

pub mod checksum;
pub mod disk;
pub mod new_file;
pub mod new_folder;
pub mod regular;
pub mod text;

mod cgroup;
mod error;
mod identity;
mod journal;
mod lock;

pub use cgroup::Allowance;
pub use error::FileError;
pub use identity::Identity;
pub use journal::{Journal, JournalKey, JournalUnitError, OpenJournalError, resume};
pub use lock::{Lease, Lock, LockError};
