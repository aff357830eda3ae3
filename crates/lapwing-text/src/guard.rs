//! The wall around code that may panic on what a file says.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What went wrong in there.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Call into the `tokenizers` crate, which panics on some malformed tables.
pub(crate) fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, Cause> {
    match caught(call) {
        Ok(result) => result,
        Err(text) => Err(format!("its tables are inconsistent: {text}").into()),
    }
}

/// What a call gives, or what it said when it panicked.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        text.unwrap_or_else(|| "unknown cause".to_owned())
    })
}
