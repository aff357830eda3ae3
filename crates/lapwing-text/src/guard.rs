//! The wall around a crate that panics on some malformed files.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What went wrong in there.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Call into the `tokenizers` crate, which panics on some malformed tables.
pub(crate) fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, Cause> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let text = text.unwrap_or_else(|| "unknown cause".to_owned());
            Err(format!("its tables are inconsistent: {text}").into())
        }
    }
}
